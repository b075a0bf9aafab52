"""Run a model on any device with real values: quantize inputs, dequantize outputs.

The agent on the device only moves integers; quantizing and dequantizing happen here, once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.accuracy.columns import Columns, find_columns, join_columns
from edgeq.device_runners.devices.device import Device
from edgeq.device_runners.measuring import run_job
from edgeq.errors import DataError
from edgeq.tflite import quantmath
from edgeq.tflite.joined_outputs import join_outputs, join_specs, read_joins
from edgeq.tflite.model_file import ModelFile, read_model
from edgeq.values import JoinedOutput, TensorSpec

Arrays = Mapping[str, NDArray[Any]]

_CHUNK_BYTES = 32 << 20  # of inputs on disk at a time, per chunk
_CHUNK_SAMPLES = 256


@dataclass(frozen=True)
class Interface:
    """Inputs and outputs of a `.tflite` and, where another model leads, the names it uses.

    Attributes:
        outputs: as a caller knows them: those that the file gives in parts are joined.
        tensors: the outputs as they are in the file.
        joins: how parts are joined.
        input_names: own input name to the leading model's.
        output_names: own output name to the leading model's.
        columns: of its outputs, by name (see `columns.py`); read of a leading model only.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    tensors: tuple[TensorSpec, ...]
    joins: tuple[JoinedOutput, ...]
    min_runtime_version: str | None
    input_names: Mapping[str, str] = field(default_factory=dict)
    output_names: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, Columns] = field(default_factory=dict)


def read_interface(model: Path | ModelFile, leader: Interface | None = None) -> Interface:
    """Read the interface of a file; a leading model's names replace different ones.

    Raises:
        DataError: the two have different inputs or outputs.
    """
    file = read_model(model)
    path, (inputs, tensors) = file.path, file.interface
    joins = read_joins(file.tree, str(path))
    outputs = join_specs(tensors, joins)
    return Interface(
        inputs,
        outputs,
        tensors,
        joins,
        file.min_runtime_version,
        _match("inputs", path, inputs, inputs if leader is None else leader.inputs),
        _match("outputs", path, outputs, outputs if leader is None else leader.outputs),
        join_columns(find_columns(file.tree), joins) if leader is None else {},
    )


def _match(
    side: str, path: Path, own: Sequence[TensorSpec], wanted: Sequence[TensorSpec]
) -> dict[str, str]:
    """Match by name; if another tool renamed them, by shapes that only one tensor has."""
    names = {spec.name for spec in own}
    if len(own) == len(wanted) == 1 and not _fits(own[0], wanted[0]):
        raise DataError(
            f"{path} is another model: its {side[:-1]} {own[0].name!r} has the shape "
            f"{own[0].shape[1:]}, that of the model it is compared with {wanted[0].shape[1:]}."
        )
    if names == {spec.name for spec in wanted}:
        return {name: name for name in names}
    if len(own) == len(wanted) == 1:
        return {own[0].name: wanted[0].name}
    by_shape: dict[tuple[int, ...], list[str]] = {}
    for spec in wanted:
        by_shape.setdefault(spec.shape[1:], []).append(spec.name)
    found = {spec.name: by_shape.get(spec.shape[1:], []) for spec in own}
    if len(own) != len(wanted) or any(len(candidates) != 1 for candidates in found.values()):
        raise DataError(
            f"{path} has the {side} {', '.join(sorted(names))}; the model it is compared with has "
            f"{', '.join(spec.name for spec in wanted)}, and their shapes do not show which is "
            "which."
        )
    return {name: candidates[0] for name, candidates in found.items()}


def _fits(own: TensorSpec, wanted: TensorSpec) -> bool:
    """Return whether two shapes agree, without the batch and dynamic sizes (-1)."""
    pairs = zip(own.shape[1:], wanted.shape[1:], strict=False)
    same_rank = len(own.shape) == len(wanted.shape)
    return same_rank and all(a == b or -1 in (a, b) for a, b in pairs)


def run_samples(
    models: Sequence[tuple[Path | ModelFile, Interface]],
    samples: Iterable[Arrays],
    device: Device,
    **options: Any,
) -> Iterator[list[dict[str, NDArray[Any]]]]:
    """Stream samples through models side by side.

    Args:
        models: files and their interfaces, matched to that of the first.
        samples: the first model's input name to array without batch dimension, in real units.
        options: of `measure.infer`: runtime, threads, workers, on_event.

    Yields:
        For each model, the first model's output name to [chunk, ...] in real units, in order.

    Raises:
        DeviceError: the runtime is missing or too old, or the run died.
    """
    interfaces = [interface for _, interface in models]
    chunks = (_quantized(interfaces, group) for group in _groups(samples))
    for raw in run_job.infer([model for model, _ in models], chunks, device, **options):
        yield [
            _real_outputs(interface, found)
            for interface, found in zip(interfaces, raw, strict=True)
        ]


def _real_outputs(
    interface: Interface, found: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """Outputs in real units, joined, by the leading model's names."""
    real = {spec.name: quantmath.dequantize(found[spec.name], spec) for spec in interface.tensors}
    joined = join_outputs(real, interface.joins)
    return {interface.output_names[name]: values for name, values in joined.items()}


def _quantized(
    interfaces: Sequence[Interface], group: Sequence[Arrays]
) -> list[dict[str, NDArray[Any]]]:
    """The inputs of each model; those that are equal are one array."""
    stacked = {name: np.stack([sample[name] for sample in group]) for name in group[0]}
    made: dict[Any, NDArray[Any]] = {}

    def quantize(name: str, spec: TensorSpec) -> NDArray[Any]:
        key = name, spec.dtype, spec.scales, spec.zero_points
        if key not in made:
            made[key] = quantmath.quantize(stacked[name], spec)
        return made[key]

    return [
        {spec.name: quantize(interface.input_names[spec.name], spec) for spec in interface.inputs}
        for interface in interfaces
    ]


def _groups(samples: Iterable[Arrays]) -> Iterator[list[Arrays]]:
    """Group consecutive samples of equal shapes, up to a chunk; dynamic models may mix shapes."""
    group: list[Arrays] = []
    for sample in samples:
        size = sum(array.nbytes for array in sample.values()) or 1
        limit = max(1, min(_CHUNK_SAMPLES, _CHUNK_BYTES // size))
        if group and (len(group) >= limit or _shapes(sample) != _shapes(group[0])):
            yield group
            group = []
        group.append(sample)
    if group:
        yield group


def _shapes(sample: Arrays) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in sample.items()}
