"""The version that an operator needs in a form, after TensorFlow's converter.

The facts are from tensorflow/lite/tools/versioning/op_version.cc and op_signature.cc. INT16 forms
have the version that names them there, or the INT8 one if none does. TensorFlow's `Calibrator`
gives them the INT8 version, with which an older runtime takes the file and then fails.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Any

from edgeq.tflite import flatbuffer

# Each row: operators, then form:version pairs. The first pair whose words all describe the form
# counts, and version 1 if none does. INT4 comes first: TensorFlow writes the lower versions of
# grouped convolutions and of dense layers without bias, which older runtimes do not refuse.
_VERSIONS = """
ABS int16:3 int8:2
ADD int16:3 int8:2
ARG_MAX ARG_MIN int8:2
AVERAGE_POOL_2D MAX_POOL_2D int16:3 int8:2
BATCH_MATMUL int16:3 int8:2 dynamic+asymmetric:4
BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND int16:4 rank3:3 int8:2
BROADCAST_TO int8:3 int16:3 float32:2
CAST int8:3
CONCATENATION int16:3 int8:2
CONV_2D int4:7 int16+bias_type:8 grouped:6 int16:4 int8:3 dynamic+channel:5 dynamic:2
DEPTHWISE_CONV_2D dynamic+channel:6 int16:5 dynamic:4 int8:3 int4:7 dilated:2
DEQUANTIZE int4:6 int16:3 float16:3 int8+channel:5 int8:2
DIV broadcast+rank5:2
EQUAL int16:4 int8:2
EXP LOG REDUCE_PROD int8:2 int16:2
FILL float16:4 int8:3 int16:3
FLOOR_DIV int16:3 int8:3 float32:2
FLOOR_MOD int16:2 int8:2
FULLY_CONNECTED int4:10 dynamic+channel:12 int16+bias_type:11 sparse:8 int16:7 no_bias:6
    keep_num_dims:5 int8:4 dynamic+asymmetric:9 dynamic:3
GATHER int4:7 int16_index:6 batch_dims:5 int16:4 int8:2
GATHER_ND int16_index:4 int16:3
GELU SPLIT_V SUM SQUARED_DIFFERENCE SQRT int8:2 int16:2
DEPTH_TO_SPACE GREATER LESS_EQUAL LOG_SOFTMAX SPACE_TO_DEPTH int8:2
GREATER_EQUAL LESS int16:3 int8:2
L2_NORMALIZATION NOT_EQUAL int8:2
LEAKY_RELU int16:2
LOGISTIC TANH int16:3 int8:2
MAXIMUM MINIMUM int16:4 broadcast+rank5:3 int8:2
MEAN MIRROR_PAD REDUCE_MAX REDUCE_MIN RELU RELU6 RSQRT SOFTMAX int16:3 int8:2
MUL int16:4 rescaled:3 int8:2
PACK int8:2 int16:3
PAD PADV2 rank5:4 int16:3 int8:2
QUANTIZE channel:3 int16:2
RESIZE_BILINEAR int16:4 half_pixel:3 int8:2
RESIZE_NEAREST_NEIGHBOR int16:4 half_pixel:3 align_corners:3 int8:2
REVERSE_V2 TILE int8:3 int16:3
SELECT exactly_rank5:3
SLICE rank5:5 int16:4 int8:2
SPARSE_TO_DENSE int8:3
SPLIT int16:4 int8:2
STRIDED_SLICE offset:8 new_axis:6 rank5:4 int8:2 int16:2
SUB int16:5 broadcast+rank5:3 int8:2
SVDF int8:3 dynamic+asymmetric:4 dynamic:2
TOPK_V2 int16:3 int8:2
TRANSPOSE rank6:6 int16:5 rank5:4 int8:2
TRANSPOSE_CONV int16+bias_type:5 activation:4 bias:3 int16:3 int8:2 dynamic:2
UNIDIRECTIONAL_SEQUENCE_LSTM diagonal:4 dynamic+asymmetric:3 dynamic:2
BIDIRECTIONAL_SEQUENCE_LSTM dynamic+asymmetric:3 dynamic:2
RNN UNIDIRECTIONAL_SEQUENCE_RNN BIDIRECTIONAL_SEQUENCE_RNN dynamic+asymmetric:3 dynamic:2
UNPACK int8:2 int16:4
WHERE bool:1 float32:2 int8:2
"""


# Word to the property of a form, besides the dtypes, that a version depends on.
FORM = {
    "activation": "has a fused activation",
    "align_corners": "resizes with alignCorners",
    "asymmetric": "quantizes its float inputs asymmetrically",
    "batch_dims": "gathers with batchDims",
    "bias": "TRANSPOSE_CONV with a bias",
    "bias_type": "states quantizedBiasType",
    "broadcast": "its first two inputs have different shapes",
    "channel": "has a scale per channel, of its weights or of the tensor that it converts",
    "diagonal": "LSTM with diagonal recurrent tensors",
    "dilated": "has a dilation",
    "exactly_rank5": "one of its first three inputs has five dimensions",
    "grouped": "its filter reads fewer channels than its input has",
    "half_pixel": "resizes with halfPixelCenters",
    "int16_index": "its second input has dtype int16",
    "keep_num_dims": "FULLY_CONNECTED with keepNumDims",
    "new_axis": "slices with a new axis or an ellipsis",
    "no_bias": "has two inputs",
    "rank3": "its first input does not have four dimensions",
    "offset": "slices with ends relative to the begins",
    "rank5": "an input has more than four dimensions",
    "rank6": "an input has more than five dimensions",
    "rescaled": "the product of its two scales is at least its result's scale",
    "sparse": "its weights are sparse",
}


@cache
def _versions() -> dict[str, tuple[tuple[frozenset[str], int], ...]]:
    rows: dict[str, tuple[tuple[frozenset[str], int], ...]] = {}
    for row in _VERSIONS.strip().replace("\n    ", " ").splitlines():
        words = row.split()
        pairs = (word.split(":") for word in words if ":" in word)
        forms = tuple((frozenset(form.split("+")), int(number)) for form, number in pairs)
        rows |= {word: forms for word in words if ":" not in word}
    return rows


def version(operator: str, dtype: str, form: Collection[str] = ()) -> int:
    """The version that TensorFlow's converter writes for an operator in a form.

    Args:
        operator: name in the schema.
        dtype: "float32", "int8", "int16", "int4" (INT4 weights, INT8 activations) or "dynamic"
            (INT8 weights, float activations).
        form: words of `FORM` for what else the version depends on. `form` finds them.
    """
    words = {dtype, *form}
    found = (number for needed, number in _versions().get(operator, ()) if needed <= words)
    return next(found, 1)


# Position of the input whose dtype counts, if it is not the first.
_DATA = {"SPLIT": 1, "FILL": 1, "SPARSE_TO_DENSE": 2, "TRANSPOSE_CONV": 2}
# Option of the schema to the word that it means, if it is set.
_OPTIONS = {
    "alignCorners": "align_corners", "asymmetricQuantizeInputs": "asymmetric",
    "batchDims": "batch_dims", "diagonalRecurrentTensors": "diagonal",
    "ellipsisMask": "new_axis", "fusedActivationFunction": "activation",
    "halfPixelCenters": "half_pixel", "keepNumDims": "keep_num_dims", "newAxisMask": "new_axis",
    "offset": "offset", "quantizedBiasType": "bias_type",
}  # fmt: skip


def needed_version(tree: Any, graph: Any, operator: Any) -> int:
    """The version that an operator of a flatbuffer needs; its own code's version does not count.

    Args:
        tree: the `ModelT`.
        graph: the operator's subgraph.
        operator: an `OperatorT` with its inputs, outputs and options.
    """
    name = flatbuffer.operator_name(tree, operator)
    return version(name, *form(graph, operator, name))


def form(graph: Any, operator: Any, name: str) -> tuple[str, frozenset[str]]:
    """The dtype and the words that `version` takes, of an operator of a flatbuffer."""
    inputs = [None if i < 0 else graph.tensors[i] for i in flatbuffer.indices(operator.inputs)]
    outputs = [graph.tensors[i] for i in flatbuffer.indices(operator.outputs)]
    ranks = [len(flatbuffer.indices(item.shape)) for item in inputs if item is not None]
    shapes = [flatbuffer.indices(item.shape) for item in inputs if item is not None]
    options = operator.builtinOptions
    words = {word for option, word in _OPTIONS.items() if getattr(options, option, 0)}
    dilations = ("dilationWFactor", "dilationHFactor")
    weights = inputs[1] if len(inputs) > 1 else None
    scales = [_scales(item) for item in (*inputs[:2], *outputs[:1])]
    found = {
        "broadcast": len(shapes) > 1 and shapes[0] != shapes[1],
        "rank5": max(ranks, default=0) > 4,
        "rank6": max(ranks, default=0) > 5,
        "exactly_rank5": 5 in ranks[:3],
        "rank3": ranks[:1] != [4],
        "no_bias": len(inputs) == 2,
        "bias": len(inputs) == 4 and inputs[3] is not None,
        "sparse": weights is not None and weights.sparsity is not None,
        "int16_index": weights is not None and flatbuffer.dtype(weights) == "int16",
        "dilated": any(getattr(options, option, 1) != 1 for option in dilations),
        "channel": any(len(found) > 1 for found in scales),
        "rescaled": name == "MUL" and all(map(len, scales)) and _is_rescaled(scales),
        "grouped": name == "CONV_2D" and shapes[0][-1:] != shapes[1][-1:],
    }
    words |= {word for word, holds in found.items() if holds}
    data = inputs[_DATA.get(name, 0)] if inputs else None
    dtype = "" if data is None else flatbuffer.dtype(data)
    if name == "QUANTIZE":
        dtype = flatbuffer.dtype(outputs[0])
    kind = "" if weights is None else flatbuffer.dtype(weights)
    both = {("int8", "int4"): "int4", ("float32", "int8"): "dynamic"}
    return both.get((dtype, kind), dtype), frozenset(words)


def _scales(tensor: Any) -> tuple[float, ...]:
    return () if tensor is None else flatbuffer.tensor_spec(tensor, "").scales


def _is_rescaled(scales: list[tuple[float, ...]]) -> bool:
    first, second, result = (found[0] for found in scales)
    return first * second / result >= 1
