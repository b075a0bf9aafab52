"""The shapes that a model from PyTorch or ONNX is lowered with, and the order of dimensions."""

from __future__ import annotations

import json
from collections.abc import Sequence

from edgeq.converters.lowering.lower import check_shapes
from edgeq.converters.samples.input_shapes import show_shape
from edgeq.errors import UsageError
from edgeq.values import ConvertOptions, FloatModel
from edgeq.wording import repeat_option

# In the file, so that `compare` lowers the source in the same way.
SOURCE_INPUTS_KEY = "edgeq.source_inputs"


def store_inputs(shapes: dict[str, tuple[int, ...]], options: ConvertOptions) -> str:
    """The shapes and fixed values of the source's inputs, as JSON."""
    return json.dumps({"shapes": shapes, "fixed": dict(options.fixed_inputs)})


def fix_shapes(
    options: ConvertOptions, declared: dict[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    """The shapes to lower with, in the source's layout: all dimensions fixed.

    Args:
        declared: by input name, -1 where dynamic.

    Raises:
        UsageError: a size is missing, or contradicts one that the model fixes.
    """
    asked = check_shapes(options, declared)
    fixed = {}
    for name, own in declared.items():
        shape = tuple(asked.get(name, own))
        if shape and name not in asked:
            if shape[0] == -1:
                shape = (options.batch or 1, *shape[1:])
            elif options.batch not in (None, shape[0]):
                raise UsageError(
                    f"--batch {options.batch} does not fit input {name!r}, which the model fixes "
                    f"to {show_shape(shape)}.",
                    hint="Export it with a dynamic batch size, or leave the option out.",
                )
        if -1 in shape:
            sizes = ",".join("?" if size == -1 else str(size) for size in shape)
            raise UsageError(
                f"Input {name!r} is {show_shape(shape)}, and this kind of model is lowered with "
                "fixed shapes.",
                hint=f"Pass {repeat_option('--input-shape', [f'{name}={sizes}'])} "
                "with a number for each ?.",
            )
        fixed[name] = shape
    return fixed


def find_moves(options: ConvertOptions, shapes: dict[str, tuple[int, ...]]) -> list[int]:
    """Positions of the inputs whose second dimension moves to the end: images, channels first.

    Args:
        shapes: by input name, in the source's layout.

    Raises:
        UsageError: --layout nhwc is given, and there are none.
    """
    if options.layout == "source":
        return []
    moves = [
        position
        for position, shape in enumerate(shapes.values())
        if len(shape) == 4 and not _has_channels_last(shape)
    ]
    if not moves:
        shown = ", ".join(f"{name!r} is {show_shape(shape)}" for name, shape in shapes.items())
        raise UsageError(
            f"--layout nhwc has nothing to move: {shown}.",
            hint="It is for inputs of four dimensions with channels first; leave it out.",
        )
    return moves


def _has_channels_last(shape: Sequence[int]) -> bool:
    """Whether the source takes NHWC already, as ONNX files made from TensorFlow do."""
    return shape[3] in (1, 3) and shape[1] not in (1, 3)


def describe_layout(
    model: FloatModel,
    shapes: dict[str, tuple[int, ...]],
    moved_inputs: Sequence[str],
    moved_outputs: Sequence[str],
) -> list[str]:
    """Notes on the order of dimensions, one for each image.

    Args:
        model: as lowered.
        shapes: of the source's inputs.
        moved_inputs: names of inputs with channels last that are first in the source.
        moved_outputs: names of such outputs.
    """
    notes = []
    for spec in model.inputs:
        own, shown = shapes[spec.name], f"input {spec.name!r} is {show_shape(spec.shape)}"
        if spec.name in moved_inputs:
            notes.append(f"{shown}, NHWC; the source takes {show_shape(own)}, NCHW")
        elif len(own) == 4 and _has_channels_last(own):
            notes.append(f"{shown}, NHWC as in the source")
        elif len(own) == 4:
            last = show_shape((own[0], *own[2:], own[1]))
            notes.append(f"{shown}, NCHW as in the source; --layout nhwc makes it {last}")
    notes += [
        f"output {spec.name!r} is {show_shape(spec.shape)}, NHWC; the source gives NCHW"
        for spec in model.outputs
        if spec.name in moved_outputs
    ]
    return notes
