"""The version of each operator that the writer made, after TensorFlow's op_version.cc."""

from __future__ import annotations

import math
from typing import Any

from edgeq.tflite import flatbuffer, kernels
from edgeq.tflite.operators import at_least

_OLDEST = "1.5.0"


def set_version(tree: Any, graph: Any, operator: Any, name: str, dtype: str) -> None:
    """Give an operator the version of its form.

    Args:
        dtype: as in `kernels.version`.
    """
    number = kernels.version(name, dtype, _form(tree, graph, operator, name))
    operator.opcodeIndex = flatbuffer.add_opcode(tree, name, number)


def _form(tree: Any, graph: Any, operator: Any, name: str) -> set[str]:
    """The words for what a version depends on, see `kernels.version`."""
    inputs = [i for i in flatbuffer.indices(operator.inputs) if i >= 0]
    shapes = [flatbuffer.indices(graph.tensors[i].shape) for i in inputs]
    options = operator.builtinOptions
    ranks = [len(shape) for shape in shapes] or [0]
    is_broadcast = len(shapes) > 1 and shapes[0] != shapes[1]
    weights = [graph.tensors[i] for i in inputs if flatbuffer.is_constant(tree, graph.tensors[i])]
    words = {
        "broadcast": is_broadcast,
        "rank3": ranks[0] != 4,
        "rank5": (max(ranks) if is_broadcast else ranks[0]) > 4,
        "rank6": ranks[0] > 5,
        "channel": any(_channels(tensor) > 1 for tensor in weights),
        "bias": name == "TRANSPOSE_CONV" and len(inputs) == 4,
        "no_bias": name == "FULLY_CONNECTED" and len(operator.inputs) == 2,
        "keep_num_dims": bool(getattr(options, "keepNumDims", False)),
        "dilated": max(getattr(options, "dilationWFactor", 1),
                       getattr(options, "dilationHFactor", 1)) > 1,
        "grouped": name == "CONV_2D" and shapes[0][-1] != shapes[1][-1],
        "activation": name == "TRANSPOSE_CONV" and bool(options.fusedActivationFunction),
        "half_pixel": bool(getattr(options, "halfPixelCenters", False)),
        "align_corners": bool(getattr(options, "alignCorners", False)),
        "new_axis": bool(getattr(options, "newAxisMask", 0) or getattr(options, "ellipsisMask", 0)),
        "offset": bool(getattr(options, "offset", False)),
        "batch_dims": bool(getattr(options, "batchDims", 0)),
        "asymmetric": bool(getattr(options, "asymmetricQuantizeInputs", False)),
        "rescaled": name == "MUL" and _is_rescaled(graph, operator),
    }  # fmt: skip
    return {word for word, holds in words.items() if holds}


def _channels(tensor: Any) -> int:
    own = tensor.quantization
    return 0 if own is None or own.scale is None else len(own.scale)


def _is_rescaled(graph: Any, operator: Any) -> bool:
    touched = (*flatbuffer.indices(operator.inputs), *flatbuffer.indices(operator.outputs))
    scales = [
        float(graph.tensors[i].quantization.scale[0])
        for i in touched
        if _channels(graph.tensors[i])
    ]
    return len(scales) == 3 and math.prod(scales[:2]) >= scales[2]


def set_min_runtime(tree: Any) -> None:
    """State the oldest TensorFlow Lite release that has the versions of all operators."""
    used = (
        (flatbuffer.operator_name(tree, item), tree.operatorCodes[item.opcodeIndex].version)
        for graph in tree.subgraphs
        for item in graph.operators
    )
    text = at_least(_OLDEST, used)
    flatbuffer.set_metadata(tree, "min_runtime_version", text.encode().ljust(16, b"\0"))
