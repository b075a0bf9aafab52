"""Which operators have integer kernels, which version an integer form has, and how it is scaled.

`kernels.txt` beside this file has the measured facts; `benchmarks/kernels` makes it. The versions
are those that TensorFlow's converter writes, from tensorflow/lite/tools/versioning/op_version.cc.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import NamedTuple

DTYPES = ("int8", "int16", "int4")
RULES = ("own", "input", "all", "fixed")
RUNTIMES = ("litert", "tflite-runtime", "micro")


class Kernel(NamedTuple):
    """What is known of one operator in one integer form.

    Attributes:
        rule: see `rule`.
        sqnr_db: runtime to the SQNR of the result against float; only runtimes that compute it
            right.
    """

    rule: str
    sqnr_db: dict[str, float]


@cache
def measured() -> dict[tuple[str, str], Kernel]:
    """(operator, dtype) to its row of `kernels.txt`."""
    rows = {}
    for line in (Path(__file__).parent / "kernels.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, dtype, kept, *found = line.split()
            pairs = (pair.split("=") for pair in found)
            rows[name, dtype] = Kernel(kept, {runtime: float(db) for runtime, db in pairs})
    return rows


def takes(operator: str, dtype: str) -> bool:
    """Whether ai-edge-litert computes an operator right in an integer form.

    Args:
        operator: name in the schema, e.g. "CONV_2D".
        dtype: "int8"; "int16" for INT16 activations with INT8 weights; "int4" for INT4 weights with
            INT8 activations.
    """
    return not missing(operator, dtype, "litert")


def missing(operator: str, dtype: str, runtime: str) -> bool:
    """Whether a runtime refuses an operator in an integer form, or computes it wrong.

    Args:
        operator: name in the schema.
        dtype: as in `takes`.
        runtime: "litert", "tflite-runtime" or "micro".

    Raises:
        KeyError: no such runtime was measured.
    """
    if runtime not in RUNTIMES:
        raise KeyError(runtime)
    found = measured().get((operator, dtype))
    return found is None or runtime not in found.sqnr_db


def rule(operator: str, dtype: str) -> str:
    """Where the scale and zero point of an integer form's results come from.

    Args:
        operator: name in the schema.
        dtype: as in `takes`.

    Returns:
        "own": their own range; "input": those of the first float input; "all": one range for all
        float inputs and results; "fixed": the range that the kernel prescribes, as `FIXED` lists.

    Raises:
        KeyError: no kernel takes this form.
    """
    return measured()[operator, dtype].rule


# (scale, zero point) of the results that kernels prescribe.
FIXED: dict[tuple[str, str], tuple[float, int]] = {
    ("LOGISTIC", "int8"): (1 / 256, -128),
    ("LOGISTIC", "int16"): (1 / 32768, 0),
    ("SOFTMAX", "int8"): (1 / 256, -128),
    ("SOFTMAX", "int16"): (1 / 32768, 0),
    ("TANH", "int8"): (1 / 128, 0),
    ("TANH", "int16"): (1 / 32768, 0),
    ("L2_NORMALIZATION", "int8"): (1 / 128, 0),
    ("LOG_SOFTMAX", "int8"): (16 / 256, 127),
}


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
CONV_2D int4:7 int16+bias_type:8 grouped:6 int8:3 dynamic+channel:5 dynamic:2
DEPTHWISE_CONV_2D dynamic+channel:6 dynamic:4 int8:3 int4:7 dilated:2
DEQUANTIZE int4:6 int16:3 float16:3 int8+channel:5 int8:2
DIV broadcast+rank5:2
EQUAL int16:4 int8:2
EXP LOG REDUCE_PROD int8:2 int16:2
FILL float16:4 int8:3 int16:3
FLOOR_DIV int16:3 int8:3 float32:2
FLOOR_MOD int16:2 int8:2
FULLY_CONNECTED int4:10 dynamic+channel:12 int16+bias_type:11 sparse:8 no_bias:6 keep_num_dims:5
    int8:4 dynamic+asymmetric:9 dynamic:3
GATHER int4:7 int16_index:6 batch_dims:5 int16:4 int8:2
GATHER_ND int16_index:4 int16:3
GELU int8:2
GREATER LESS_EQUAL DEPTH_TO_SPACE SPACE_TO_DEPTH SPLIT_V SUM LOG_SOFTMAX SQUARED_DIFFERENCE int8:2
GREATER_EQUAL LESS int16:3 int8:2
L2_NORMALIZATION NOT_EQUAL int8:2
LEAKY_RELU int16:2
LOGISTIC TANH int16:3 int8:2
MAXIMUM MINIMUM int16:4 broadcast+rank5:3 int8:2
MEAN MIRROR_PAD REDUCE_MAX REDUCE_MIN RELU RELU6 RSQRT SOFTMAX int16:3 int8:2
MUL int16:4 rescaled:3 int8:2
PACK int8:2 int16:3
PAD PADV2 rank5:4 int16:3 int8:2
QUANTIZE int4:4 channel:3 int16:2
RESIZE_BILINEAR int16:4 half_pixel:3 int8:2
RESIZE_NEAREST_NEIGHBOR int16:4 half_pixel:3 align_corners:3 int8:2
REVERSE_V2 int8:3
SELECT rank5:3
SLICE rank5:5 int16:4 int8:2
SPLIT int16:4 int8:2
STRIDED_SLICE offset:8 new_axis:6 rank5:4 int8:2
SUB int16:5 broadcast+rank5:3 int8:2
SVDF int8:3 dynamic+asymmetric:4 dynamic:2
TILE int8:3
TOPK_V2 int16:3 int8:2
TRANSPOSE rank6:6 int16:5 rank5:4 int8:2
TRANSPOSE_CONV activation:4 bias:3 int8:2 int16:2 dynamic:2
UNIDIRECTIONAL_SEQUENCE_LSTM int16:5 diagonal:4 dynamic+asymmetric:3 dynamic:2
BIDIRECTIONAL_SEQUENCE_LSTM dynamic+asymmetric:3 dynamic:2
RNN UNIDIRECTIONAL_SEQUENCE_RNN BIDIRECTIONAL_SEQUENCE_RNN dynamic+asymmetric:3 dynamic:2
UNPACK int8:2 int16:4
"""


@cache
def _versions() -> dict[str, tuple[tuple[frozenset[str], int], ...]]:
    rows = {}
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
        dtype: "float32", "int8", "int16", "int4" (INT4 weights, INT8 activations; of the input if
            the operator has no weights) or "dynamic" (INT8 weights, float activations).
        form: words for what else the version depends on: "broadcast" (the inputs' shapes differ),
            "rank3" (the first input does not have four dimensions), "rank5" (more than four, of any
            input if it broadcasts), "rank6" (more than five), "channel" (a scale per channel),
            "bias" (TRANSPOSE_CONV has one), "no_bias" (FULLY_CONNECTED has two inputs),
            "keep_num_dims", "bias_type" (`quantizedBiasType` is set), "grouped", "dilated",
            "activation" (TRANSPOSE_CONV has a fused one), "rescaled" (MUL: the product of the
            inputs' scales is at least the result's), "half_pixel", "align_corners", "new_axis" (a
            new axis or an ellipsis), "offset", "batch_dims", "int16_index", "asymmetric"
            (`asymmetricQuantizeInputs`), "sparse", "diagonal".
    """
    words = {dtype, *form}
    found = (number for form, number in _versions().get(operator, ()) if form <= words)
    return next(found, 1)
