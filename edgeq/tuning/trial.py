"""One trial: make the file of a recipe and run it beside the float model's recorded outputs.

A trial needs no TensorFlow and no data but what its task names in the store, so that it runs in a
child process here as well as on a machine of a cluster.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from edgeq.accuracy.paired_runs import Scorer, pair_metrics
from edgeq.accuracy.quality_meter import QualityMeter
from edgeq.accuracy.verdict import worst_sqnr_db
from edgeq.conversion.file_metadata import Carried, finish_tree
from edgeq.converters.corrections.worker import correct_tree
from edgeq.converters.proof.layer_errors import measure_effects
from edgeq.converters.quantization.selectors import NOT_WIDE, Mix, WideEnds
from edgeq.converters.samples.open_samples import spread
from edgeq.files.storage import to_plain
from edgeq.metrics.decoding import find_decoder
from edgeq.tflite import flatbuffer, quantmath
from edgeq.tflite.joined_outputs import join_outputs
from edgeq.tuning.workbench import Workbench, batch_size, in_batches
from edgeq.values import Interval, MetricLoss, Ranges, Recipe, TensorRange

Arrays = Mapping[str, NDArray[Any]]

_CHUNK_SAMPLES = 128  # after each, a trial may be dropped
_FEWEST_TO_DROP = 4 * _CHUNK_SAMPLES  # samples of a search that drops trials
_CERTAIN = 2.0  # half widths of the 95 % interval: about four standard deviations
_RANKING_SAMPLES = 32


@dataclass(frozen=True)
class Task:
    """A recipe and the digests of what it takes to try it.

    Attributes:
        source: the float model that the recipe starts from.
        ranges: of the recipe's statistic, as JSON.
        io: dtype of the inputs and outputs.
        fits: input name to samples [n, ...] that corrections are fitted on.
        inputs: input name to samples [n, ...] in real units.
        outputs: output name to the float model's results for them.
        labels: for them; "" without.
        carried: what the file is to carry.
        metric: of the task, whose loss the budget limits; None for top-1.
        max_drop_points: budget; a trial that is certain to miss it ends early. None: it runs on
            all samples.
        wide: what stays in float at the ends, with every recipe.
        recurrent: activations inside unrolled recurrent layers, with every recipe.
    """

    recipe: Recipe
    source: str
    ranges: str
    io: str
    fits: dict[str, str]
    inputs: dict[str, str]
    outputs: dict[str, str]
    labels: str
    carried: Carried
    metric: str | None = None
    max_drop_points: float | None = None
    wide: WideEnds = NOT_WIDE
    recurrent: str = "int16"

    @property
    def file_key(self) -> str:
        """A name for the file of this recipe, whatever samples it is tried on."""
        made_from = replace(
            self, inputs={}, outputs={}, labels="", metric=None, max_drop_points=None
        )
        text = json.dumps(to_plain(made_from), sort_keys=True)
        return f"made-{hashlib.sha256(text.encode()).hexdigest()}"

    @property
    def digests(self) -> frozenset[str]:
        """Everything it needs from the store."""
        own = {self.source, self.ranges, self.labels}
        arrays = (self.fits, self.inputs, self.outputs)
        return frozenset(own.union(*(item.values() for item in arrays)) - {""})


def read_task(plain: Mapping[str, Any]) -> Task:
    """A task from its plain form, see `storage.to_plain`."""
    fields = dict(plain)
    recipe: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in fields.pop("recipe").items()
    }
    fields["carried"] = msgspec.convert(fields["carried"], Carried)
    fields["wide"] = WideEnds(**{side: tuple(own) for side, own in fields["wide"].items()})
    return Task(Recipe(**recipe), **fields)


def mix_of(recipe: Recipe, wide: WideEnds, recurrent: str) -> Mix:
    """Return the operators that a recipe keeps from INT8; the ends stay in float."""
    int16 = tuple(name for name in recipe.int16 if name not in wide.operators) + wide.int16
    return Mix(recipe.keep_float, int16, recipe.int4, wide, recurrent)


def make_file(task: Task, bench: Workbench) -> bytes:
    """The finished flatbuffer of a recipe; the same task gives the same bytes.

    Raises:
        QuantizationError: precisions cannot be mixed as asked.
        RuntimeError, ValueError: the interpreter refused an operator.
    """
    return flatbuffer.serialize(_make(task, bench))


def _make(task: Task, bench: Workbench) -> Any:
    recipe = task.recipe
    stored = json.loads(bench.store.read(task.ranges))
    tensors = tuple(TensorRange(**item) for item in stored.pop("tensors"))
    ranges = Ranges(**stored, tensors=tensors)
    mix = mix_of(recipe, task.wide, task.recurrent)
    made = bench.writer(task.source, task.io, recipe.granularity, mix).write(ranges)
    tree = flatbuffer.parse(made, "the quantized model")
    if recipe.corrections:
        correct_tree(bench.reference(task.source, task.fits), tree, recipe.corrections)
    finish_tree(tree, task.carried)
    return tree


def _file_and_tree(task: Task, bench: Workbench) -> tuple[bytes, Any]:
    """The file of a recipe; a corrected one is kept for the samples that confirm the choice."""
    path, is_kept = bench.store.path(task.file_key), bool(task.recipe.corrections)
    if is_kept and path.exists():
        content = path.read_bytes()
        return content, flatbuffer.parse(content, "the trial")
    tree = _make(task, bench)
    content = flatbuffer.serialize(tree)
    if is_kept:
        bench.store.put_as(task.file_key, content)
    return content, tree


def try_task(task: Task, bench: Workbench) -> dict[str, Any]:
    """Make the file and run it; the fields of a `Trial` that this tells, as plain JSON.

    Raises:
        See `make_file`.
    """
    content, tree = _file_and_tree(task, bench)
    inputs, wanted = (
        {name: bench.array(digest) for name, digest in side.items()}
        for side in (task.inputs, task.outputs)
    )
    labels = bench.array(task.labels) if task.labels else None
    meter = QualityMeter(*bench.interface(task.source))
    scorer = None if task.metric is None else _make_scorer(task, bench)
    runner = _Runner(content, tree)
    count = len(next(iter(inputs.values())))
    chunks = _chunks(count)
    dropped_after = None
    for number in range(chunks):
        part = slice(number, None, chunks)  # spread over all samples, which classes may sort
        given = runner.run({name: values[part] for name, values in inputs.items()})
        expected = {name: np.asarray(values[part]) for name, values in wanted.items()}
        meter.add(expected, given, None if labels is None else labels[part])
        if scorer is not None:
            assert labels is not None
            scorer.add(join_outputs(given, task.carried.joins), np.asarray(labels[part]))
        elif meter.count < count and is_hopeless(meter.drop(), count, task.max_drop_points):
            dropped_after = meter.count
            break
    quality = meter.result(is_held_out=True)
    return {
        "sha256": hashlib.sha256(content).hexdigest(),
        "size_bytes": len(content),
        "structure": structure(tree),
        "sqnr_db": worst_sqnr_db(quality),
        "paired": to_plain(quality.paired),
        "loss": None if scorer is None else to_plain(_loss(task, bench, scorer)),
        "dropped_after": dropped_after,
    }


def _make_scorer(task: Task, bench: Workbench) -> Scorer:
    inputs, _ = flatbuffer.interface(bench.model(task.source))
    assert task.metric is not None
    return Scorer([task.metric], find_decoder(task.carried.decoding, inputs))


def _loss(task: Task, bench: Workbench, scorer: Scorer) -> MetricLoss | None:
    """How much worse a trial is than the float model, whose score all trials share."""

    def score() -> Scorer:
        found, labels = _make_scorer(task, bench), np.asarray(bench.array(task.labels))
        outputs = {name: np.asarray(bench.array(of)) for name, of in task.outputs.items()}
        joined, chunks = join_outputs(outputs, task.carried.joins), _chunks(len(labels))
        for number in range(chunks):  # in the order of a trial
            part = slice(number, None, chunks)
            found.add({name: values[part] for name, values in joined.items()}, labels[part])
        return found

    baseline = bench.share(("score", task.metric, task.labels, *task.outputs.values()), score)
    (pair,) = pair_metrics(baseline, scorer)
    return pair.loss


def _chunks(count: int) -> int:
    return -(-count // _CHUNK_SAMPLES)


def is_hopeless(drop: Interval | None, count: int, most: float | None) -> bool:
    """Whether a trial is certain to lose more accuracy than the budget allows.

    Args:
        drop: accuracy lost on the samples so far, in percentage points.
        count: samples of the whole search.
        most: the budget; None without.
    """
    if drop is None or most is None or count < _FEWEST_TO_DROP:
        return False
    return drop.value - _CERTAIN * (drop.value - drop.low) > most


def rank_operators(task: Task, bench: Workbench) -> list[dict[str, Any]]:
    """Fields of the `LayerEffect` of each operator, worst first; see `make_file`."""
    inputs = {
        name: values[list(spread(range(len(values)), _RANKING_SAMPLES))]
        for name, values in bench.batches(task.source, task.fits).items()
    }
    effects = measure_effects(bench.store.read(task.source), make_file(task, bench), inputs)
    return [to_plain(effect) for effect in effects if math.isfinite(effect.sqnr_db)]


def structure(tree: Any) -> str:
    """Digest of what decides a file's speed: operators, dtypes and shapes, in order."""
    graph, digest = tree.subgraphs[0], hashlib.sha256()
    for operator in graph.operators:
        touched = (*flatbuffer.indices(operator.inputs), *flatbuffer.indices(operator.outputs))
        tensors = [graph.tensors[index] for index in touched if index >= 0]
        shapes = [(tensor.type, flatbuffer.indices(tensor.shape)) for tensor in tensors]
        scales = [len(flatbuffer.tensor_spec(tensor, "").scales) > 1 for tensor in tensors]
        digest.update(repr((flatbuffer.operator_name(tree, operator), shapes, scales)).encode())
    return digest.hexdigest()[:16]


class _Runner:
    """A model in this process: real values in, real values out."""

    def __init__(self, content: bytes, tree: Any):
        self._interpreter = Interpreter(model_content=content, num_threads=1)
        self._interpreter.allocate_tensors()
        self._inputs, self._outputs = flatbuffer.interface(tree)
        self._size = batch_size(tree)
        details = (self._interpreter.get_input_details(), self._interpreter.get_output_details())
        self._places = [[item["index"] for item in side] for side in details]

    def run(self, samples: Arrays) -> dict[str, NDArray[Any]]:
        """Input name to [n, ...] -> output name to [n, ...]."""
        size = self._size
        count = len(next(iter(samples.values())))
        fed = [
            in_batches(quantmath.quantize(np.asarray(samples[spec.name]), spec), size)
            for spec in self._inputs
        ]
        results: list[list[NDArray[Any]]] = [[] for _ in self._outputs]
        for arrays in zip(*fed, strict=True):
            for place, array in zip(self._places[0], arrays, strict=True):
                self._interpreter.set_tensor(place, array)
            self._interpreter.invoke()
            for place, own in zip(self._places[1], results, strict=True):
                own.append(self._interpreter.get_tensor(place))
        return {
            spec.name: quantmath.dequantize(np.concatenate(own)[:count], spec)
            for spec, own in zip(self._outputs, results, strict=True)
        }
