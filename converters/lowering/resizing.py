"""Fixed sizes for the dynamic dimensions of a float `.tflite`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgeq.children.child import Child, time_limit_s
from edgeq.converters.lowering.lower import check_shapes
from edgeq.errors import LoweringError, UsageError
from edgeq.files import scratch, storage
from edgeq.tflite import flatbuffer
from edgeq.values import ConvertOptions, FloatModel, TensorSpec
from edgeq.wording import ask_for_sizes


def fix_shapes(model: FloatModel, options: ConvertOptions, folder: Path) -> FloatModel:
    """Give the inputs of an adopted `.tflite` the sizes that the options set.

    Args:
        folder: where the resized model is written.

    Raises:
        LoweringError, UsageError: see `choose_shapes` and `resize`.
    """
    shapes = choose_shapes(options, model.inputs)
    if shapes is None:
        return model
    target = folder / "resized.tflite"
    resize(Path(model.file.path), shapes, target)
    inputs, outputs = flatbuffer.interface(flatbuffer.read(target))
    return replace(model, file=storage.refer(target), inputs=inputs, outputs=outputs)


def choose_shapes(options: ConvertOptions, inputs: Sequence[TensorSpec]) -> list[list[int]] | None:
    """The inputs' shapes that `--input-shape` and `--batch` request; None if neither is given.

    A dynamic first dimension that neither sets becomes 1.

    Raises:
        UsageError: an unknown input, a size that the model fixes, or one that is still dynamic.
    """
    asked = check_shapes(options, {spec.name: spec.shape for spec in inputs})
    if not asked and not options.batch:
        return None
    found = []
    for spec in inputs:
        first, *others = asked.get(spec.name, spec.shape) or [1]
        shape = [(options.batch or 1) if first < 0 else first, *others] if spec.shape else []
        if min(shape, default=1) < 0:
            raise UsageError(
                f"The input {spec.name!r} has dynamic sizes: {list(spec.shape)}.",
                hint=ask_for_sizes(spec),
            )
        found.append(shape)
    return found


def resize(source: Path, shapes: Sequence[Sequence[int]], target: Path) -> None:
    """Write a model whose tensors all have the shapes that follow from those of its inputs.

    Args:
        source: the float `.tflite`.
        shapes: of its inputs, in their order.
        target: the file to write.

    Raises:
        LoweringError: the model cannot be run with these shapes.
    """
    with scratch.folder() as folder:
        result = folder / "shapes.json"
        words = ["edgeq.converters.lowering.resizing_child", str(source.resolve()), str(result)]
        words.append(json.dumps(shapes))
        with Child(words, folders=[folder], late=True, deadline_s=time_limit_s()) as child:
            if child.wait() != 0:
                listed = ", ".join(str(list(shape)) for shape in shapes)
                raise LoweringError(
                    f"The model cannot be run with inputs of the shapes {listed}: "
                    f"{child.last_line(f'the interpreter {child.ending}')}",
                    hint=child.hint(None),
                    details=child.log(),
                )
        found = json.loads(result.read_text("utf-8"))
    tree = flatbuffer.read(source)
    for index, tensor in enumerate(tree.subgraphs[0].tensors):
        if not flatbuffer.is_constant(tree, tensor) and str(index) in found:
            tensor.shape, tensor.shapeSignature = np.array(found[str(index)], np.int32), None
    target.write_bytes(flatbuffer.serialize(tree))
