"""From a source model to a checked float `.tflite`: the value everything later works on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq import flatbuffer, storage
from edgeq.converters.process import TensorFlowProcess
from edgeq.errors import LoweringError, SourceError, UsageError
from edgeq.values import FileRef, FloatModel, TensorSpec

# Sums in another order differ by about 1e-6 of the largest value; a different function, by far more.
MAX_DEVIATION = 1e-3


@dataclass(frozen=True)
class SourceOptions:
    """How to read and trace the source model.

    Attributes:
        batch: size of a dynamic first dimension; 0 keeps it dynamic; None means 1 for models
            that are traced and "as it is" for a `.tflite`.
        shapes: (input name, whole shape with -1 for dynamic) overriding the model's own.
        custom_objects: "module:NAME" each.
        trusted: run code carried by the file.
        signature: of a SavedModel with several.
    """

    batch: int | None = None
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    custom_objects: tuple[str, ...] = ()
    trusted: bool = False
    signature: str | None = None


def lower(
    path: Path, kind: str, options: SourceOptions, process: TensorFlowProcess, folder: Path
) -> FloatModel:
    """Read a framework's model in the child process and lower it.

    Args:
        kind: "keras", "h5" or "saved_model".
        folder: working folder; receives `float.tflite`.

    Raises:
        SourceError, LoweringError, UsageError: see `frameworks.load` and `tflite.lower`.
    """
    read = process.call(
        "load",
        path=str(path),
        kind=kind,
        custom_objects=list(options.custom_objects),
        trusted=options.trusted,
        signature=options.signature,
    )
    known = [name for name, _, _ in read["inputs"]]
    shapes = _checked_shapes(options, read["inputs"])
    lowered = process.call(
        "lower",
        out=str(folder / "lowered.tflite"),
        batch=None if options.batch == 0 else (options.batch or 1),
        shapes=shapes,
    )
    assert lowered["input_names"] == known
    return finish(
        (folder / "lowered.tflite").read_bytes(),
        folder,
        source=storage.refer(path),
        source_kind=kind,
        framework=read["framework"],
        input_names=known,
        output_names=lowered["output_names"],
        unrolled=lowered["unrolled"],
        notes=read["notes"],
    )


def finish(
    content: bytes,
    folder: Path,
    *,
    source: FileRef,
    source_kind: str,
    framework: str,
    input_names: Sequence[str],
    output_names: Sequence[str],
    unrolled: Sequence[str],
    notes: Sequence[str],
) -> FloatModel:
    """Give a freshly lowered flatbuffer the source's names and write `float.tflite`."""
    tree = flatbuffer.parse(content, "the lowered model")
    graph = tree.subgraphs[0]
    # The converter may reorder inputs; they were traced under the names input_0, input_1, ...
    traced = [flatbuffer.text(graph.tensors[i].name) for i in flatbuffer.indices(graph.inputs)]
    order = [int(name.split(":")[0].rsplit("_", 1)[1]) for name in traced]
    flatbuffer.set_interface(tree, [input_names[i] for i in order], list(output_names))
    target = folder / "float.tflite"
    target.write_bytes(flatbuffer.serialize(tree))
    inputs, outputs = flatbuffer.interface(tree)
    return FloatModel(
        file=storage.refer(target),
        source=source,
        source_kind=source_kind,
        framework=framework,
        inputs=inputs,
        outputs=outputs,
        unrolled_layers=tuple(unrolled),
        notes=tuple(notes),
    )


def adopt(path: Path, options: SourceOptions) -> FloatModel:
    """A float `.tflite` from elsewhere as the source.

    Raises:
        SourceError: damaged, or already quantized.
        UsageError: options that only a traced model can follow.
    """
    if options.batch is not None or options.shapes:
        raise UsageError(
            "--batch and --input-shape cannot change a .tflite, whose shapes are fixed in it.",
            hint="Convert from the Keras model, or leave the option out.",
        )
    tree = flatbuffer.read(path)
    quantized = _quantized_tensors(tree)
    if quantized:
        raise SourceError(
            f"{path} is already quantized: {len(quantized)} tensors, {quantized[0]!r} first.",
            hint="Convert from the float model; `edgeq compare` measures the file as it is.",
        )
    inputs, outputs = flatbuffer.interface(tree)
    file = storage.refer(path)
    return FloatModel(file, file, "tflite", "TensorFlow Lite file", inputs, outputs)


def _quantized_tensors(tree: Any) -> list[str]:
    small = {"int8", "uint8", "int16", "int4", "float16"}
    return [
        flatbuffer.text(tensor.name)
        for graph in tree.subgraphs
        for tensor in graph.tensors
        if flatbuffer.dtype_names()[tensor.type] in small
        and (tensor.quantization is not None or flatbuffer.is_constant(tree, tensor))
        and (
            flatbuffer.dtype_names()[tensor.type] == "float16"
            or (tensor.quantization is not None and tensor.quantization.scale is not None)
        )
    ]


def _checked_shapes(
    options: SourceOptions, inputs: Sequence[tuple[str, Sequence[int], str]]
) -> dict[str, list[int]]:
    declared = {name: tuple(shape) for name, shape, _ in inputs}
    for name, shape in options.shapes:
        if name not in declared:
            raise UsageError(
                f"--input-shape names {name!r}; the model's inputs are {', '.join(declared)}."
            )
        own = declared[name]
        fits = len(own) == len(shape) and all(
            size in (-1, asked) for size, asked in zip(own, shape, strict=True)
        )
        if not fits:
            raise UsageError(
                f"--input-shape {name}={shape} does not fit the model's {own}.",
                hint="Only dimensions that are dynamic (-1) can be set.",
            )
    return {name: list(shape) for name, shape in options.shapes}


def check(
    model: FloatModel,
    reference: Mapping[str, NDArray[Any]],
    outputs: Mapping[str, NDArray[Any]],
) -> FloatModel:
    """The model with its measured deviation from the source on the check samples.

    Args:
        reference: output name to the source model's values, [samples, ...].
        outputs: output name to the float `.tflite`'s values, same shapes.

    Raises:
        LoweringError: the two compute different functions.
    """
    worst = 0.0
    for name, expected in reference.items():
        got = outputs[name].reshape(expected.shape).astype(np.float64)
        peak = float(np.max(np.abs(expected), initial=0.0)) or 1.0
        worst = max(worst, float(np.max(np.abs(got - expected), initial=0.0)) / peak)
        if not worst <= MAX_DEVIATION:
            raise LoweringError(
                f"The float .tflite is not the source model: output {name!r} differs by "
                f"{worst:.2%} of its largest value on {len(expected)} samples "
                f"(limit {MAX_DEVIATION:.1%}).",
                hint="Look for layers that behave differently in training, or random ones.",
            )
    return replace(model, max_deviation=worst)


def random_samples(
    inputs: Sequence[TensorSpec], count: int, seed: int
) -> list[dict[str, NDArray[Any]]]:
    """Inputs for the check when there is no data: normal floats, zero integers.

    Returns:
        `count` samples, input name to array without batch dimension; dynamic sizes become 1.
    """
    random = np.random.default_rng(seed)

    def draw(spec: TensorSpec) -> NDArray[Any]:
        shape = [max(size, 1) for size in spec.shape[1:]]
        dtype = np.dtype(spec.dtype)
        if dtype.kind == "f":
            return random.standard_normal(shape).astype(dtype)
        return np.zeros(shape, dtype)

    return [{spec.name: draw(spec) for spec in inputs} for _ in range(count)]
