"""Find the layers that lose accuracy, from two files and some samples."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeq.accuracy.class_names import require_clear_names
from edgeq.accuracy.inference import Interface, read_interface
from edgeq.accuracy.paired_runs import make_scorers, measure_quality
from edgeq.children.child import Child, time_limit_s
from edgeq.comparison.pairing import find_differences, open_pair, refer_baseline
from edgeq.conversion.feeding import (
    find_doubt,
    inherited_doubts,
    known_classes,
    read_makers,
    was_held_out,
)
from edgeq.conversion.file_metadata import read_decoding, read_preprocessing
from edgeq.conversion.remedies import selector
from edgeq.conversion.ways_out import open_reconverter
from edgeq.converters.calibration.calibrate import batch_size
from edgeq.converters.graph.matching import match_operators
from edgeq.converters.lowering.model_kinds import shown
from edgeq.converters.rewrites.apply import rewrite
from edgeq.converters.samples.label_files import LabelledData
from edgeq.converters.samples.open_samples import Sample, Samples, choose, open_samples
from edgeq.converters.samples.preprocessing import parse_preprocessing
from edgeq.debugging.causes import explain
from edgeq.debugging.trying import Culprit
from edgeq.debugging.trying import try_remedies as try_remedies_of
from edgeq.device_runners.devices.addresses import resolve_device
from edgeq.errors import DataError, EdgeqError, UsageError
from edgeq.files import scratch, storage
from edgeq.files.reading import unchanged
from edgeq.progress import OnProgress
from edgeq.tflite import flatbuffer
from edgeq.values import DebugReport, LayerReport

# Figures that the causes need and the report leaves out.
_FOR_CAUSES = (
    "operand_ratio", "is_float", "is_narrow", "makers", "readers", "selector", "before", "behind"
)  # fmt: skip
# All other text is a number that JSON cannot express.
_TEXTS = frozenset({"name", "quantized_name", "operator", "selector"})


def debug_pair(
    baseline: Any,
    candidate: Path,
    data: Any,
    *,
    try_remedies: bool,
    on_progress: OnProgress,
    **options: Any,
) -> DebugReport:
    """Compare two models layer by layer; `edgeq.debug` documents the arguments.

    Args:
        options: see `_inspect`.

    Raises:
        DataError: two different models, or samples that do not fit.
        UsageError: a model has dynamic dimensions.
    """
    with unchanged(baseline, candidate):
        report, culprits = _inspect(baseline, candidate, data, on_progress=on_progress, **options)
        if not try_remedies or not any(cause.changes for item in culprits for cause in item.causes):
            return report
        if (doubt := find_doubt(report.issues)) is not None:
            untried = f"first correct how the samples are fed: {doubt.message} [{doubt.code}]"
            return replace(report, untried=untried)
        try:
            with open_reconverter(
                candidate, baseline=baseline, data=data, preprocess=report.preprocessing,
                on_progress=on_progress, most=report.sample_count,
            ) as reconverter:  # fmt: skip
                tried = try_remedies_of(reconverter, culprits, report.quality)
        except EdgeqError as error:
            return replace(report, untried=error.message)
    layers = tuple(map(tried.explain, culprits))
    return replace(report, layers=layers, remedies=tried.ranked())


def _inspect(
    baseline: Any,
    candidate: Path,
    data: Any,
    *,
    metrics: Sequence[str],
    decode: str | None,
    preprocess: Sequence[str] | None,
    samples: int,
    seed: int,
    on_progress: OnProgress,
) -> tuple[DebugReport, tuple[Culprit, ...]]:
    """Return what each layer loses and costs, with its possible causes."""
    with scratch.folder() as folder:
        first, second, batch = open_pair(baseline, candidate, folder)
        files = refer_baseline(first, baseline), storage.refer(second, str(candidate))
        first = _fix_batch(first, folder / "first.tflite")
        second = _fix_batch(second, folder / "second.tflite")
        first = _rewrite_alike(first, second, folder / "rewritten.tflite")
        leader = read_interface(first)
        follower = read_interface(second, leader)
        _require_fixed(leader)
        _require_float(leader, shown(baseline))
        texts = tuple(preprocess or ())
        if preprocess is None:
            texts = read_preprocessing(second) or read_preprocessing(first)
        opened = open_samples(data, leader.inputs, parse_preprocessing(texts, leader.inputs))
        makers = read_makers(candidate)
        require_clear_names(opened, leader.outputs, known_classes(makers))
        on_progress("debug", 0, None)
        rows = _read_rows(opened, leader, samples, seed)
        pairs = ((row.inputs, row.label) for row in rows)
        decoding = decode or read_decoding(second) or read_decoding(first)
        scorers = None
        if metrics or (opened.has_labels and (decoding or isinstance(data, LabelledData))):
            scorers = make_scorers(metrics, decoding, leader.inputs)
        quality = measure_quality(first, second, pairs, resolve_device("local"), scorers=scorers)
        metric = next((pair.loss.name for pair in quality.metrics if pair.loss is not None), None)
        job = _write_job(folder, rows, leader, follower)
        found = _run(
            {
                **job,
                "float": str(first),
                "quantized": str(second),
                "metric": metric,
                "decoding": decoding,
            },
            folder,
        )
        culprits = _rank(_read_layers(found["layers"]))
        inherited = tuple(inherited_doubts(opened.ref, texts, makers))
        report = DebugReport(
            baseline=files[0],
            candidate=files[1],
            data=opened.ref,
            sample_count=len(rows),
            quality=replace(quality, is_held_out=was_held_out(inherited)),
            layers=tuple(item.layer for item in culprits),
            unmatched=tuple(found["unmatched"]),
            preprocessing=texts,
            metric=metric,
            issues=(
                *opened.issues,
                *find_differences(leader, batch, (first, second), texts, opened),
                *inherited,
            ),
        )
    return report, culprits


def _fix_batch(path: Path, target: Path) -> Path:
    """The file, or one in which a dynamic batch is the 1 that its shapes are written for."""
    tree = flatbuffer.read(path)
    inputs, _ = flatbuffer.interface(tree)
    if all(-1 not in spec.shape for spec in inputs) or any(-1 in spec.shape[1:] for spec in inputs):
        return path
    for graph in tree.subgraphs:
        for tensor in graph.tensors:
            tensor.shapeSignature = None
    target.write_bytes(flatbuffer.serialize(tree))
    return target


def _rewrite_alike(first: Path, second: Path, target: Path) -> Path:
    """The float model, rewritten as before quantization unless fewer operators match then."""
    content, candidate = first.read_bytes(), flatbuffer.read(second)
    made = rewrite(content)
    shares = []
    for one in (content, made.content):
        tree = flatbuffer.parse(one, str(first))
        try:
            found = len(match_operators(tree, candidate))
        except DataError:  # these are two different models
            found = 0
        shares.append(found / max(len(tree.subgraphs[0].operators), 1))
    if not made.names or shares[1] < shares[0]:
        return first
    target.write_bytes(made.content)
    return target


def _require_fixed(interface: Interface) -> None:
    for spec in interface.inputs:
        if -1 in spec.shape:
            raise UsageError(
                f"debug needs fixed shapes, and input {spec.name!r} is {spec.shape}.",
                hint="Convert both models with fixed sizes: --input-shape NAME=1,224,224,3",
            )


def _require_float(interface: Interface, name: str) -> None:
    quantized = [spec for spec in (*interface.inputs, *interface.outputs) if spec.scales]
    if quantized:
        raise DataError(
            f"{name} is itself quantized ({quantized[0].name!r}), so it cannot be the FP32 model.",
            hint="Name the float model that the other was made from, or swap the two.",
        )


def _read_rows(opened: Samples, leader: Interface, most: int, seed: int) -> list[Sample]:
    """Samples in whole batches."""
    rows = list(opened.iterate(choose(opened, most, seed)))
    size = batch_size(leader.inputs)
    count = len(rows) // size * size
    if count == 0:
        raise DataError(f"{len(rows)} samples are too few: the model's batch size is {size}.")
    return rows[:count]


def _write_job(
    folder: Path, rows: Sequence[Sample], leader: Interface, follower: Interface
) -> dict[str, Any]:
    """The samples as files, a batch of them to a row."""
    size = batch_size(leader.inputs)
    inputs = {}
    for number, spec in enumerate(leader.inputs):
        stacked = np.stack([row.inputs[spec.name] for row in rows])
        path = folder / f"input-{number}.npy"
        np.save(path, stacked.reshape(-1, size, *stacked.shape[1:]))
        inputs[spec.name] = str(path)
    labels = [row.label for row in rows]
    target = None
    if size == 1 and all(label is not None for label in labels):
        target = str(folder / "labels.npy")
        np.save(target, np.stack(labels))
    return {
        "inputs": inputs,
        "names": dict(follower.input_names),
        "labels": target,
        "result": str(folder / "debug.json"),
    }


def _run(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run the worker, which an interpreter may take down."""
    with Child(["edgeq.debugging.worker"], folders=[folder], late=True, feed=True) as child:
        child.send(json.dumps(job))
        with child.limited(time_limit_s()):
            status = child.wait()
        log = child.log()
        if status == 0:
            return dict(json.loads(Path(job["result"]).read_text("utf-8")))
        if child.crash is not None:
            raise DataError(
                f"The runtime {child.ending} in one of the layers.",
                hint=child.hint(None),
                details=log,
            )
        last = child.last_line(f"it {child.ending}")
    if last.startswith("These are two different models"):
        raise DataError(last, hint="Name the float model that the other was made from.")
    raise DataError(f"The two models cannot be compared: {last}", details=log)


def _read_layers(found: Sequence[dict[str, Any]]) -> list[Culprit]:
    names = [fields["name"] for fields in found]
    return [
        _read_layer({**fields, **_selectors(fields, names), "position": position})
        for position, fields in enumerate(found)
    ]


def _selectors(fields: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the selectors of an operator, of it with its makers, and of it with its readers."""
    own = fields["name"]
    return {
        "selector": selector(own, names),
        "before": tuple(selector(name, names) for name in [*fields["makers"], own]),
        "behind": tuple(selector(name, names) for name in [own, *fields["readers"]]),
    }


def _read_layer(fields: dict[str, Any]) -> Culprit:
    numbers: dict[str, Any] = {
        name: float(value) if isinstance(value, str) and name not in _TEXTS else value
        for name, value in fields.items()
    }
    for name in ("effect_sqnr_db", "changed_percent", "lost_points"):
        numbers.setdefault(name, None)
    causes = explain(numbers)
    for name in _FOR_CAUSES:
        del numbers[name]
    return Culprit(LayerReport(**numbers, cause=causes[0].says, remedy=""), causes)


def _rank(culprits: Sequence[Culprit]) -> tuple[Culprit, ...]:
    """By what they do to the outputs; those that were not carried there come last."""
    return tuple(
        sorted(
            culprits,
            key=lambda item: (
                math.inf if item.layer.effect_sqnr_db is None else item.layer.effect_sqnr_db,
                item.layer.own_sqnr_db,
            ),
        )
    )
