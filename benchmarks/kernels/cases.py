"""A tiny model of every operator that computes with float tensors: operands and options."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Operand:
    """An input of an operator.

    Attributes:
        kind: "input" (of the model), "constant" (quantized like an input), "weights", "bias" or
            "plain" (never quantized).
        values: a plain operand's.
        shape, low, high: of random values, in real units.
        grid: if not 0, the values are odd multiples of half of it.
        axis: of the weights' channels; None for one scale per tensor.
    """

    kind: str
    shape: tuple[int, ...] = ()
    low: float | None = None
    high: float | None = None
    grid: float = 0
    axis: int | None = None
    values: NDArray[Any] | None = None


@dataclass(frozen=True)
class Case:
    """One operator with its operands: `name` is the operator's, perhaps with "/variant".

    Attributes:
        options: class of the schema without "OptionsT", and its fields.
        outputs: dtype of each result.
        identity: the float operator does not exist: its result is the first operand.
    """

    name: str
    operands: tuple[Operand | None, ...]
    options: tuple[str, dict[str, Any]] | None = None
    outputs: tuple[str, ...] = ("float32",)
    identity: bool = False
    values: tuple[NDArray[Any] | None, ...] = field(default=(), compare=False)

    @property
    def operator(self) -> str:
        """The operator's name."""
        return self.name.partition("/")[0]


# Each float operand of a case has another range, so that a kernel that mixes up scales is found.
_RANGES = ((-2.0, 3.0), (-1.3, 0.8), (-0.6, 1.1), (-3.5, 0.9))


def x(*shape: int, low: float | None = None, high: float | None = None, grid: float = 0) -> Operand:
    return Operand("input", shape or (2, 5, 6, 4), low, high, grid)


def k(*shape: int, low: float | None = None, high: float | None = None, grid: float = 0) -> Operand:
    return Operand("constant", shape, low, high, grid)


def w(*shape: int, axis: int | None = 0) -> Operand:
    return Operand("weights", shape, axis=axis)


def b(size: int) -> Operand:
    return Operand("bias", (size,), -0.9, 0.7)


def i(values: Any, dtype: str = "int32") -> Operand:
    return Operand("plain", values=np.array(values, dtype))


def case(name: str, *operands: Operand | None, options: str = "", outputs: str = "float32",
         identity: bool = False, **fields: Any) -> Case:  # fmt: skip
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    values = []
    for number, item in enumerate(operands):
        if item is None:
            values.append(None)
            continue
        if item.values is not None:
            values.append(item.values)
            continue
        low, high = _RANGES[number % len(_RANGES)]
        low, high = low if item.low is None else item.low, high if item.high is None else item.high
        drawn = generator.uniform(low, high, item.shape)
        if item.grid:
            drawn = (np.floor(drawn / item.grid) + 0.5) * item.grid
        if item.kind == "weights":  # INT4 represents them exactly
            drawn = generator.integers(-7, 8, item.shape) * 0.13
            first = (0,) * (drawn.ndim - 1)
            np.moveaxis(drawn, item.axis or 0, 0)[(slice(None), *first)] = 7 * 0.13
        values.append(drawn.astype(np.float32))
    chosen = (options, fields) if options else None
    return Case(name, operands, chosen, tuple(outputs.split()), identity, tuple(values))


# Operators of one operand without options: name to (lowest, highest value, grid).
_UNARY: dict[str, tuple[float, float, float]] = {
    "ABS": (-3, 2, 0), "CEIL": (-5, 7, 0.5), "COS": (-3, 3, 0), "ELU": (-4, 3, 0),
    "EXP": (-2, 1, 0), "FLOOR": (-5, 7, 0.5), "HARD_SWISH": (-5, 5, 0), "LOG": (0.2, 4, 0),
    "LOGISTIC": (-6, 6, 0), "LOG_SOFTMAX": (-4, 4, 0), "NEG": (-3, 2, 0), "RELU": (-3, 4, 0),
    "RELU6": (-3, 8, 0), "RELU_N1_TO_1": (-3, 2, 0), "RELU_0_TO_1": (-1, 2, 0),
    "ROUND": (-5, 7, 0.5), "RSQRT": (0.3, 4, 0), "SIGN": (-3, 2, 0.25), "SIN": (-3, 3, 0),
    "SQRT": (0, 4, 0), "SQUARE": (-2, 3, 0), "TANH": (-4, 4, 0), "ZEROS_LIKE": (1, 3, 0),
}  # fmt: skip

_BINARY = {"ADD": {"options": "Add"}, "SUB": {"options": "Sub"}, "MUL": {"options": "Mul"},
           "MAXIMUM": {}, "MINIMUM": {}, "SQUARED_DIFFERENCE": {}}  # fmt: skip
_COMPARING = ("GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL")
_POOL = {"padding": 1, "strideW": 2, "strideH": 2, "filterWidth": 2, "filterHeight": 2}
_STRIDES = {"strideW": 1, "strideH": 1}


def _binary_cases() -> list[Case]:
    found = []
    for name, options in _BINARY.items():
        found += [
            case(name, x(), x(2, 5, 6, 4), **options),
            case(f"{name}/constant", x(), k(4), **options),
            case(f"{name}/scalar", x(), k(), **options),
            case(f"{name}/swapped", k(1, 1, 6, 1), x(), **options),
            case(f"{name}/rank5", x(2, 3, 2, 4, 5), x(2, 3, 2, 4, 5), **options),
            case(f"{name}/broadcast5", x(2, 3, 2, 4, 5), k(2, 1, 2, 1, 5), **options),
            case(f"{name}/broadcast6", x(2, 3, 2, 2, 4, 3), k(2, 1, 2, 1, 4, 1), **options),
        ]
    near = {"low": 0.4, "high": 2.5}
    tiny = Operand("input", values=np.linspace(-1, 1, 960, dtype=np.float32) ** 5)
    found += [
        # The kernels shift too far if a quotient is below half a step, which these operands reach.
        case("DIV", tiny, x(960, low=0.6, high=9), options="Div"),
        case("DIV/large_quotients", x(low=1), x(low=0.4, high=1.5), options="Div"),
        case("FLOOR_DIV", x(low=1, high=9), k(4, low=0.9, high=1.1)),
        case("FLOOR_MOD", x(low=1, high=9), k(4, low=3, high=3.5)),
        case("POW", x(**near), k(4, low=0.5, high=2)),
        case("ATAN2", x(), x(**near)),
        case("ADD_N", x(), x(), x(), options="AddN"),
        case("PRELU", x(), k(1, 1, 4)),
        case("EQUAL", x(grid=0.5), x(grid=0.5), outputs="bool"),
        case("NOT_EQUAL", x(grid=0.5), x(grid=0.5), outputs="bool"),
    ]
    return found + [
        case(name, x(grid=0.5), x(low=-1.375, high=1.375, grid=0.25), outputs="bool")
        for name in _COMPARING
    ]


def _layer_cases() -> list[Case]:
    fully = {"options": "FullyConnected"}
    return [
        case("CONV_2D", x(1, 8, 8, 4), w(6, 3, 3, 4), b(6), options="Conv2D", **_STRIDES),
        case("CONV_2D/tensor", x(1, 8, 8, 4), w(6, 3, 3, 4, axis=None), b(6), options="Conv2D",
             **_STRIDES),
        case("CONV_2D/pointwise", x(1, 8, 8, 8), w(6, 1, 1, 8), b(6), options="Conv2D", **_STRIDES),
        case("CONV_2D/dilated", x(1, 8, 8, 4), w(6, 3, 3, 4), b(6), options="Conv2D", **_STRIDES,
             dilationWFactor=2, dilationHFactor=2),
        case("CONV_2D/grouped", x(1, 8, 8, 4), w(6, 3, 3, 2), b(6), options="Conv2D", **_STRIDES),
        case("DEPTHWISE_CONV_2D", x(1, 8, 8, 4), w(1, 3, 3, 4, axis=3), b(4),
             options="DepthwiseConv2D", **_STRIDES, depthMultiplier=1),
        case("DEPTHWISE_CONV_2D/multiplier", x(1, 8, 8, 4), w(1, 3, 3, 8, axis=3), b(8),
             options="DepthwiseConv2D", **_STRIDES, depthMultiplier=2),
        case("DEPTHWISE_CONV_2D/dilated", x(1, 8, 8, 4), w(1, 3, 3, 4, axis=3), b(4),
             options="DepthwiseConv2D", **_STRIDES, depthMultiplier=1, dilationWFactor=2,
             dilationHFactor=2),
        case("FULLY_CONNECTED", x(3, 16), w(10, 16), b(10), **fully),
        case("FULLY_CONNECTED/tensor", x(3, 16), w(10, 16, axis=None), b(10), **fully),
        case("FULLY_CONNECTED/no_bias", x(3, 16), w(10, 16), None, **fully),
        case("FULLY_CONNECTED/two_inputs", x(3, 16), w(10, 16), **fully),
        case("FULLY_CONNECTED/keep_num_dims", x(2, 3, 16), w(10, 16), b(10), keepNumDims=True,
             **fully),
        case("FULLY_CONNECTED/computed_weights", x(3, 16), x(10, 16, low=-1, high=1), None,
             **fully),
        case("TRANSPOSE_CONV", i([1, 8, 8, 6]), w(6, 3, 3, 4), x(1, 4, 4, 4), b(6),
             options="TransposeConv", strideW=2, strideH=2),
        case("TRANSPOSE_CONV/no_bias", i([1, 8, 8, 6]), w(6, 3, 3, 4), x(1, 4, 4, 4),
             options="TransposeConv", strideW=2, strideH=2),
        case("CONV_3D", x(1, 4, 4, 4, 3), w(2, 2, 2, 3, 5, axis=4), b(5), options="Conv3D",
             strideD=1, **_STRIDES),
        case("CONV_3D_TRANSPOSE", i([1, 4, 4, 4, 5]), w(2, 2, 2, 5, 3, axis=3), x(1, 4, 4, 4, 3),
             options="Conv3D", strideD=1, **_STRIDES),
        case("BATCH_MATMUL", x(2, 3, 8), x(2, 8, 5), options="BatchMatMul"),
        case("BATCH_MATMUL/constant", x(2, 3, 8), k(2, 8, 5), options="BatchMatMul"),
        case("BATCH_MATMUL/weights", x(2, 3, 8), w(2, 8, 5, axis=None), options="BatchMatMul"),
        case("BATCH_MATMUL/adjoint", x(2, 3, 8), x(2, 5, 8), options="BatchMatMul", adjY=True),
        case("BATCH_MATMUL/broadcast", x(2, 2, 3, 8), x(8, 5), options="BatchMatMul"),
        case("EMBEDDING_LOOKUP", i([0, 3, 1, 7]), k(8, 16)),
        case("EMBEDDING_LOOKUP/weights", i([0, 3, 1, 7]), w(8, 16, axis=None)),
        case("EMBEDDING_LOOKUP/channel", i([0, 3, 1, 7]), w(8, 16)),
    ]  # fmt: skip


def _reducing_cases() -> list[Case]:
    rank5 = x(2, 3, 2, 4, 5)
    found = []
    for name in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"):
        found += [
            case(name, x(low=-1, high=3), i([1, 2]), options="Reducer", keepDims=True),
            case(f"{name}/last", x(low=-1, high=3), i([-1]), options="Reducer"),
            case(f"{name}/rank5", rank5, i([1, 3]), options="Reducer"),
        ]
    return [
        *found,
        case("REDUCE_PROD", x(low=0.5, high=1.5), i([3]), options="Reducer"),
        case("AVERAGE_POOL_2D", x(1, 8, 8, 4), options="Pool2D", **_POOL),
        case("MAX_POOL_2D", x(1, 8, 8, 4), options="Pool2D", **_POOL),
        case("L2_POOL_2D", x(1, 8, 8, 4), options="Pool2D", **_POOL),
        case("ARG_MAX", x(low=-4, high=4), i(3), options="ArgMax", outputType=2, outputs="int32"),
        case("ARG_MIN", x(low=-4, high=4), i(3), options="ArgMin", outputType=2, outputs="int32"),
        case("TOPK_V2", x(3, 20), i(4), options="TopKV2", outputs="float32 int32"),
        case("CUMSUM", x(3, 8), i(1), options="Cumsum"),
        case("SOFTMAX", x(4, 10, low=-4, high=4), options="Softmax", beta=1.0),
        case("L2_NORMALIZATION", x(6, 4), options="L2Norm"),
        case("LOCAL_RESPONSE_NORMALIZATION", x(1, 4, 4, 8), options="LocalResponseNormalization",
             radius=2, bias=1.0, alpha=0.5, beta=0.5),
        case("UNIDIRECTIONAL_SEQUENCE_LSTM", x(1, 7, 5)),
        case("SEGMENT_SUM", x(6, 4), i([0, 0, 1, 1, 1, 2])),
        case("UNSORTED_SEGMENT_SUM", x(6, 4), i([0, 2, 1, 1, 0, 2]), i(3)),
        case("UNSORTED_SEGMENT_PROD", x(6, 4), i([0, 2, 1, 1, 0, 2]), i(3)),
        case("UNSORTED_SEGMENT_MAX", x(6, 4), i([0, 2, 1, 1, 0, 2]), i(3)),
        case("UNSORTED_SEGMENT_MIN", x(6, 4), i([0, 2, 1, 1, 0, 2]), i(3)),
    ]  # fmt: skip


def _moving_cases() -> list[Case]:
    pads, five = i([[0, 0], [1, 2], [2, 1], [0, 0]]), (2, 3, 2, 4, 5)
    size = i([7, 9])
    mask = i(np.arange(240).reshape(2, 5, 6, 4) % 3 == 0, "bool")
    return [
        case("CONCATENATION", x(), x(), options="Concatenation", axis=3),
        case("CONCATENATION/constant", x(), k(2, 5, 6, 2), options="Concatenation", axis=3),
        case("CONCATENATION/rank5", x(*five), x(*five), options="Concatenation", axis=1),
        case("RESHAPE", x(), i([10, 24]), options="Reshape", newShape=[10, 24]),
        case("SQUEEZE", x(1, 5, 6), options="Squeeze", squeezeDims=[0]),
        case("EXPAND_DIMS", x(5, 6), i(1), options="ExpandDims"),
        case("TRANSPOSE", x(), i([0, 3, 1, 2]), options="Transpose"),
        case("TRANSPOSE/rank5", x(*five), i([0, 4, 3, 1, 2]), options="Transpose"),
        case("TRANSPOSE/rank6", x(2, 3, 2, 4, 2, 3), i([0, 5, 4, 3, 1, 2]), options="Transpose"),
        case("PAD", x(), pads, options="Pad"),
        case("PAD/rank5", x(*five), i([[0, 0], [1, 0], [0, 0], [0, 2], [1, 1]]), options="Pad"),
        case("PADV2", x(), pads, k(low=1, high=2), options="PadV2"),
        case("MIRROR_PAD", x(), pads, options="MirrorPad", mode=0),
        case("SLICE", x(), i([0, 1, 2, 0]), i([2, 3, 3, 4]), options="Slice"),
        case("SLICE/rank5", x(*five), i([0, 1, 0, 0, 2]), i([2, 2, 2, 3, 3]), options="Slice"),
        case("STRIDED_SLICE", x(), i([0, 0, 0, 0]), i([2, 5, 6, 4]), i([1, 2, 1, 2]),
             options="StridedSlice"),
        case("STRIDED_SLICE/shrink", x(), i([0, 1, 0, 0]), i([2, 2, 6, 4]), i([1, 1, 1, 1]),
             options="StridedSlice", shrinkAxisMask=2),
        case("STRIDED_SLICE/rank5", x(*five), i([0] * 5), i(five), i([1, 2, 1, 2, 1]),
             options="StridedSlice"),
        case("SPLIT", i(3), x(), options="Split", numSplits=2, outputs="float32 float32"),
        case("SPLIT_V", x(), i([1, 3]), i(3), options="SplitV", numSplits=2,
             outputs="float32 float32"),
        case("PACK", x(5, 6), x(5, 6), options="Pack", valuesCount=2, axis=1),
        case("UNPACK", x(2, 5, 6), options="Unpack", num=2, axis=0, outputs="float32 float32"),
        case("GATHER", x(8, 6), i([0, 3, 1, 7]), options="Gather", axis=0),
        case("GATHER/constant", k(8, 6), i([0, 3, 1, 7]), options="Gather", axis=0),
        case("GATHER/batched", x(2, 8, 6), i([[0, 3], [1, 7]]), options="Gather", axis=1,
             batchDims=1),
        case("GATHER_ND", x(8, 6), i([[0, 3], [1, 5]]), options="GatherNd"),
        case("SCATTER_ND", i([[0], [3], [1]]), x(3, 6), i([8, 6])),
        case("DYNAMIC_UPDATE_SLICE", x(8, 6), x(2, 3), i([1, 2])),
        case("RESIZE_BILINEAR", x(1, 4, 5, 3), size, options="ResizeBilinear"),
        case("RESIZE_BILINEAR/half_pixel", x(1, 4, 5, 3), size, options="ResizeBilinear",
             halfPixelCenters=True),
        case("RESIZE_BILINEAR/align", x(1, 4, 5, 3), size, options="ResizeBilinear",
             alignCorners=True),
        case("RESIZE_NEAREST_NEIGHBOR", x(1, 4, 5, 3), size, options="ResizeNearestNeighbor"),
        case("RESIZE_NEAREST_NEIGHBOR/half_pixel", x(1, 4, 5, 3), size,
             options="ResizeNearestNeighbor", halfPixelCenters=True),
        case("SPACE_TO_DEPTH", x(1, 4, 6, 3), options="SpaceToDepth", blockSize=2),
        case("DEPTH_TO_SPACE", x(1, 4, 6, 8), options="DepthToSpace", blockSize=2),
        case("SPACE_TO_BATCH_ND", x(1, 4, 6, 3), i([2, 2]), i([[0, 0], [0, 0]]),
             options="SpaceToBatchND"),
        case("SPACE_TO_BATCH_ND/padded", x(1, 3, 5, 3), i([2, 2]), i([[0, 1], [1, 0]]),
             options="SpaceToBatchND"),
        case("BATCH_TO_SPACE_ND", x(4, 2, 3, 3), i([2, 2]), i([[0, 0], [0, 0]]),
             options="BatchToSpaceND"),
        case("REVERSE_V2", x(3, 6), i([1]), options="ReverseV2"),
        case("REVERSE_SEQUENCE", x(3, 6, 4), i([2, 6, 4]), options="ReverseSequence", seqDim=1,
             batchDim=0),
        case("TILE", x(3, 6), i([2, 3]), options="Tile"),
        case("BROADCAST_TO", x(1, 6, 1), i([4, 6, 3])),
        case("BROADCAST_TO/rank6", x(1, 6, 1, 2, 1, 1), i([4, 6, 3, 2, 1, 2])),
        case("SELECT", mask, x(), x(), options="Select"),
        case("SELECT_V2", mask, x(), k(4), options="SelectV2"),
        case("FILL", i([4, 5]), Operand("input", (), 1, 2),
             options="Fill"),
        case("ONE_HOT", i([1, 0, 3]), i(4), k(low=1, high=2), k(low=-1, high=0),
             options="OneHot", axis=-1),
        case("MATRIX_DIAG", x(3, 4), options="MatrixDiag"),
        case("MATRIX_SET_DIAG", x(3, 4, 4), x(3, 4), options="MatrixSetDiag"),
        case("SPARSE_TO_DENSE", i([1, 3, 6]), i([8]), x(3), k(low=0.5, high=1),
             options="SparseToDense"),
        case("WHERE", Operand("input", values=np.float32(np.arange(12).reshape(3, 4) % 4)),
             options="Where", outputs="int64"),
        case("DILATE", x(3, 6), i([2, 2]), k(low=0, high=1)),
    ]  # fmt: skip


def _unary_cases() -> list[Case]:
    options = {"LOG_SOFTMAX": {"options": "LogSoftmax"}}
    found = [
        case(name, x(low=low, high=high, grid=grid), **options.get(name, {}))
        for name, (low, high, grid) in _UNARY.items()
    ]
    return [
        *found,
        case("GELU", x(low=-4, high=4), options="Gelu", approximate=False),
        case("GELU/approximate", x(low=-4, high=4), options="Gelu", approximate=True),
        case("LEAKY_RELU", x(low=-4, high=4), options="LeakyRelu", alpha=0.25),
        case("QUANTIZE", x(), options="Quantize", identity=True),
        case("DEQUANTIZE", x(), options="Dequantize", identity=True, outputs="real"),
        case("CAST", x(low=-9, high=9, grid=1), options="Cast", inDataType=0, outDataType=2,
             outputs="int32"),
        case("SHAPE", x(), options="Shape", outType=2, outputs="int32"),
        case("RANK", x(), options="Rank", outputs="int32"),
        case("BUCKETIZE", x(grid=0.5), options="Bucketize", boundaries=[-1.0, 0.0, 1.0],
             outputs="int32"),
    ]  # fmt: skip


CASES = {
    item.name: item
    for item in (
        *_unary_cases(),
        *_binary_cases(),
        *_layer_cases(),
        *_reducing_cases(),
        *_moving_cases(),
    )
}
