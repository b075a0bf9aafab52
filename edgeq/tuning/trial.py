"""One trial: make the file of a recipe and run it beside the float model's recorded outputs.

A trial needs no TensorFlow and no data but what its task names in the store, so that it runs in a
child process here as well as on a machine of a cluster.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from edgeq.accuracy.columns import find_columns
from edgeq.accuracy.quality_meter import QualityMeter
from edgeq.accuracy.verdict import worst_sqnr_db
from edgeq.conversion.file_metadata import finish_file
from edgeq.converters.corrections.worker import correct_tree
from edgeq.converters.proof.layer_errors import measure_effects
from edgeq.converters.quantization.quantize import quantize
from edgeq.converters.quantization.selectors import NOT_WIDE, Mix, WideEnds
from edgeq.files.storage import to_plain
from edgeq.tflite import flatbuffer, quantmath
from edgeq.tuning.content_store import Store
from edgeq.values import Ranges, Recipe, TensorRange
from edgeq.values.schemes import SCHEMES

Arrays = Mapping[str, NDArray[Any]]

_load = partial(np.load, allow_pickle=False)
_CHUNK_SAMPLES = 256
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
        preprocessing: texts that the file is to carry.
        layout: the value of `--layout`, stored in the file.
        rewrites: of the float model, stored in the file.
        wide: what stays in float at the ends, with every recipe.
    """

    recipe: Recipe
    source: str
    ranges: str
    io: str
    fits: dict[str, str]
    inputs: dict[str, str]
    outputs: dict[str, str]
    labels: str
    preprocessing: tuple[str, ...]
    layout: str
    rewrites: tuple[str, ...]
    wide: WideEnds = NOT_WIDE

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
    for name in ("preprocessing", "rewrites"):
        fields[name] = tuple(fields[name])
    fields["wide"] = WideEnds(**{side: tuple(own) for side, own in fields["wide"].items()})
    return Task(Recipe(**recipe), **fields)


def mix_of(recipe: Recipe, wide: WideEnds) -> Mix:
    """Return the operators that a recipe keeps from INT8; the ends stay in float."""
    int16 = tuple(name for name in recipe.int16 if name not in wide.operators)
    return Mix(recipe.keep_float, int16, recipe.int4, wide)


def make_file(task: Task, store: Store) -> bytes:
    """The finished flatbuffer of a recipe; the same task gives the same bytes.

    Raises:
        QuantizationError: precisions cannot be mixed as asked.
        RuntimeError, ValueError: the interpreter refused an operator.
    """
    recipe, source = task.recipe, store.read(task.source)
    stored = json.loads(store.read(task.ranges))
    tensors = tuple(TensorRange(**item) for item in stored.pop("tensors"))
    ranges = Ranges(**stored, tensors=tensors)
    mix = mix_of(recipe, task.wide)
    made = quantize(source, ranges, SCHEMES["int8"], task.io, recipe.granularity, mix)
    if recipe.corrections:
        tree = flatbuffer.parse(made, "the quantized model")
        fits = {name: _load(store.path(digest)) for name, digest in task.fits.items()}
        real = flatbuffer.parse(source, "the float model")
        batched = {name: _batches(values, _batch(real)) for name, values in fits.items()}
        correct_tree(real, tree, batched, recipe.corrections)
        made = flatbuffer.serialize(tree)
    return finish_file(made, task.preprocessing, task.layout, task.rewrites)


def try_task(task: Task, store: Store) -> dict[str, Any]:
    """Make the file and run it; the fields of a `Trial` that this tells, as plain JSON.

    Raises:
        See `make_file`.
    """
    content = make_file(task, store)
    tree = flatbuffer.parse(content, "the trial")
    inputs, wanted = (
        {name: _load(store.path(digest), mmap_mode="r") for name, digest in side.items()}
        for side in (task.inputs, task.outputs)
    )
    labels = _load(store.path(task.labels)) if task.labels else None
    real = flatbuffer.parse(store.read(task.source), "the float model")
    _, specs = flatbuffer.interface(real)
    meter = QualityMeter(specs, find_columns(real))
    runner = _Runner(content, tree)
    count = len(next(iter(inputs.values())))
    for start in range(0, count, _CHUNK_SAMPLES):
        part = slice(start, start + _CHUNK_SAMPLES)
        given = runner.run({name: values[part] for name, values in inputs.items()})
        expected = {name: np.asarray(values[part]) for name, values in wanted.items()}
        meter.add(expected, given, None if labels is None else labels[part])
    quality = meter.result(is_held_out=True)
    return {
        "sha256": hashlib.sha256(content).hexdigest(),
        "size_bytes": len(content),
        "structure": structure(tree),
        "sqnr_db": worst_sqnr_db(quality),
        "paired": to_plain(quality.paired),
    }


def rank_operators(task: Task, store: Store) -> list[dict[str, Any]]:
    """Fields of the `LayerEffect` of each operator, worst first; see `make_file`."""
    source = store.read(task.source)
    size = _batch(flatbuffer.parse(source, "the float model"))
    inputs = {
        name: _batches(_load(store.path(digest))[:_RANKING_SAMPLES], size)
        for name, digest in task.fits.items()
    }
    effects = measure_effects(source, make_file(task, store), inputs)
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
        details = (self._interpreter.get_input_details(), self._interpreter.get_output_details())
        self._places = [[item["index"] for item in side] for side in details]

    def run(self, samples: Arrays) -> dict[str, NDArray[Any]]:
        """Input name to [n, ...] -> output name to [n, ...]."""
        size = max(self._inputs[0].shape[0], 1)
        count = len(next(iter(samples.values())))
        fed = [
            _batches(quantmath.quantize(np.asarray(samples[spec.name]), spec), size)
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


def _batch(tree: Any) -> int:
    inputs, _ = flatbuffer.interface(tree)
    return max(inputs[0].shape[0], 1)


def _batches(values: NDArray[Any], size: int) -> NDArray[Any]:
    """[n, ...] -> [batches, size, ...]; the last sample fills the last batch up."""
    missing = -len(values) % size
    if missing:
        values = np.concatenate([values, np.repeat(values[-1:], missing, axis=0)])
    return values.reshape(-1, size, *values.shape[1:])
