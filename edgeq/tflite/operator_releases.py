"""Since which release TensorFlow Lite has which version of an operator."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

# Each version's release in order, the first version's first; "-" where there was none. The figures
# are those of TensorFlow's own table (tensorflow/lite/tools/versioning/runtime_version.cc).
_RELEASES = """
ABS 1.13 2.4 2.5 2.6 2.12
ADD 1.5 1.14 2.4 2.6 2.13
ADD_N 1.14
ARG_MAX 1.9 1.14 2.9
ARG_MIN 1.9 1.14 2.9
ASSIGN_VARIABLE 2.6
ATAN2 2.10
AVERAGE_POOL_2D 1.5 1.14 2.3
BATCH_MATMUL 2.3 2.3 2.4 2.5
BATCH_TO_SPACE_ND 1.6 1.14 2.3 2.12
BIDIRECTIONAL_SEQUENCE_LSTM 1.14 1.14 1.14
BIDIRECTIONAL_SEQUENCE_RNN 1.14 1.14 2.3
BROADCAST_ARGS 2.6
BROADCAST_TO - 2.5 2.5
CALL_ONCE 2.5
CAST 1.5 2.7 2.8 2.9 2.12 2.15 2.17
CEIL 1.14
CONCATENATION 1.5 1.14 2.3 2.14
CONV_2D 1.5 1.14 1.14 2.3 2.4 2.9 2.11 2.15
CONV_3D 2.5
COS 1.14
CUMSUM 2.4
DENSIFY 2.2
DEPTHWISE_CONV_2D 1.5 1.12 1.14 2.2 2.3 2.3 2.11
DEPTH_TO_SPACE 2.1 2.5
DEQUANTIZE 1.13.1 1.14 1.15 2.2 2.7 2.18
DIV 1.6 2.3
DYNAMIC_UPDATE_SLICE 2.9 2.17 2.19 2.20
ELU 1.14
EMBEDDING_LOOKUP 1.13 1.14 1.14 2.18
EQUAL 1.14 1.14 2.3 2.13
EXP 1.7 2.12
EXPAND_DIMS 1.10
FAKE_QUANT 1.5 1.10
FILL 1.13 2.3 2.5 2.12
FLOOR 1.9
FLOOR_DIV 1.14 1.14 2.13
FLOOR_MOD 1.13 2.13
FULLY_CONNECTED 1.5 1.10 1.14 1.14 2.0 2.1 2.3 2.3 2.3 2.11 2.15 2.17 2.18
GATHER 1.6 1.14 1.15 2.4 2.5 2.13 2.15
GATHER_ND 1.14 2.3 2.5 2.13 2.16
GELU 2.9 2.9
GREATER 1.14 1.14
GREATER_EQUAL 1.14 1.14 2.13
HARD_SWISH 1.15
IF 1.15
L2_NORMALIZATION 1.5 1.14
LEAKY_RELU 1.13.1 2.3
LESS 1.14 1.14 2.13
LESS_EQUAL 1.14 1.14
LOG 1.14 2.15
LOGISTIC 1.14 1.14 2.3
LOG_SOFTMAX 1.14 1.14
LSTM 1.7 1.10 1.14 2.3
MAXIMUM 1.14 1.14 2.3 2.3
MAX_POOL_2D 1.5 1.14 2.3
MEAN 1.6 1.14 2.4
MINIMUM 1.14 1.14 2.3 2.3
MIRROR_PAD 1.13.1 2.3 2.12
MUL 1.5 1.14 1.15 2.3 2.6 2.11 2.13
NOT_EQUAL 1.14 1.14 2.3
PACK 1.11 1.14 2.3 2.13
PAD 1.5 1.14 2.4 2.6
PADV2 1.9 1.14 2.4 2.6
QUANTIZE 1.14 1.15 2.7
RANGE 1.13 2.14
READ_VARIABLE 2.6
REDUCE_ALL 2.6
REDUCE_MAX 1.11 1.14 2.5
REDUCE_MIN 1.11 1.14 2.5
REDUCE_PROD 1.11 2.6
RELU 1.5 2.1 2.5
RELU6 1.5 1.14 2.5
RELU_0_TO_1 2.10
RESIZE_BILINEAR 1.7 1.14 2.2 2.5
RESIZE_NEAREST_NEIGHBOR 1.13.1 1.14 2.3 2.4
REVERSE_V2 1.14 2.2 2.5
RNN 1.5 1.14 2.3
ROUND 1.14
RSQRT 1.10 2.5 2.15
SELECT 1.14 1.14 2.12 2.12
SELECT_V2 2.2 2.12
SHAPE 1.10
SIGN 2.11 2.12
SLICE 1.14 1.14 1.14 2.4 2.5 2.14
SOFTMAX 1.5 1.14 2.3
SPACE_TO_BATCH_ND 1.6 1.14 2.3 2.12
SPACE_TO_DEPTH 1.5 1.14
SPARSE_TO_DENSE 1.9 1.14 1.15
SPLIT 1.5 1.14 1.14 2.3
SPLIT_V 1.13.1 2.3
SQUARED_DIFFERENCE 1.13.1 2.5
SQUEEZE 1.6 2.5
STRIDED_SLICE 1.6 1.14 2.1 2.2 2.5 2.6 2.14 2.14
SUB 1.6 1.14 2.3 2.4 2.4
SUM 1.10 1.15
SVDF 1.5 1.14 2.2 2.3
TANH 1.14 1.14 2.3
TILE 1.10.1 2.2 2.8
TOPK_V2 1.7 1.14 2.13
TRANSPOSE 1.6 1.14 1.15 2.3 2.4 2.12 2.14.4
TRANSPOSE_CONV 1.9 2.2 2.3 2.13 2.15
UNIDIRECTIONAL_SEQUENCE_LSTM 1.13.1 1.14 2.3 2.12
UNIDIRECTIONAL_SEQUENCE_RNN 1.14 1.14 2.3
UNPACK 1.11 1.14 2.2 2.3
VAR_HANDLE 2.6
WHERE 1.14 2.8
WHILE 1.15
"""


def release(version: str) -> tuple[int, ...]:
    """A version's leading numbers, for comparing: "2.17.0" is newer than "2.9.0"."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def at_least(stated: str, operators: Iterable[tuple[str, int]]) -> str:
    """The newer of a release and that in which the youngest operator came."""
    found = [first_release(name, version) for name, version in operators]
    return max([stated, *(item for item in found if item is not None)], key=release)


def first_release(operator: str, version: int) -> str | None:
    """The release in which a version of an operator came; None where it is not known here."""
    known = _table().get(operator, ())
    found = known[version - 1] if 1 <= version <= len(known) else "-"
    if found == "-":
        return None
    return found if found.count(".") == 2 else f"{found}.0"


@cache
def _table() -> dict[str, tuple[str, ...]]:
    rows = (line.split() for line in _RELEASES.strip().splitlines())
    return {name: tuple(releases) for name, *releases in rows}
