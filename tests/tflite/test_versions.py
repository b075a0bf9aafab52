"""Operator versions: those that TensorFlow 2.21's quantizer wrote for the same forms."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.kernels.cases import CASES
from benchmarks.kernels.forms import build
from edgeq.tflite.operators import OPERATORS, first_release
from edgeq.tflite.versions import _versions, version


@pytest.mark.parametrize(
    ("operator", "dtype", "form", "wanted"),
    [
        ("CONV_2D", "int8", ("channel",), 3),
        ("CONV_2D", "int8", ("channel", "grouped"), 6),
        ("CONV_2D", "int4", ("grouped",), 7),
        ("CONV_2D", "int16", ("bias_type",), 8),
        ("CONV_2D", "dynamic", ("channel",), 5),
        ("DEPTHWISE_CONV_2D", "int8", ("dilated",), 3),
        ("DEPTHWISE_CONV_2D", "float32", ("dilated",), 2),
        ("FULLY_CONNECTED", "int8", ("channel",), 4),
        ("FULLY_CONNECTED", "int8", ("keep_num_dims",), 5),
        ("FULLY_CONNECTED", "int4", ("no_bias",), 10),
        ("TRANSPOSE", "int8", ("rank5", "rank6"), 6),
        ("MUL", "int8", ("rescaled",), 3),
        ("QUANTIZE", "int8", (), 1),
        ("DEQUANTIZE", "float16", (), 3),
        ("DEQUANTIZE", "int8", (), 2),
        ("DEQUANTIZE", "int8", ("channel",), 5),
        ("ELU", "int8", (), 1),
        ("Mystery", "int8", (), 1),
    ],
)
def test_versions_by_form(operator: str, dtype: str, form: tuple[str, ...], wanted: int) -> None:
    assert version(operator, dtype, form) == wanted


# Written by mlir_quantize of TensorFlow 2.21 from the float models of these cases.
_WRITTEN = {
    "ADD": 2, "BATCH_MATMUL": 2, "BROADCAST_TO": 3, "CONV_2D/grouped": 6, "EXP": 2,
    "FULLY_CONNECTED/keep_num_dims": 5, "GATHER/batched": 5,
    "GREATER": 2, "MAXIMUM/broadcast5": 3, "MEAN/rank5": 2, "PAD/rank5": 4, "PRELU": 1,
    "RESIZE_BILINEAR/half_pixel": 3, "SLICE/rank5": 5, "SPACE_TO_BATCH_ND": 2, "SPLIT": 2,
    "SQRT": 2, "STRIDED_SLICE/rank5": 4, "SUB/broadcast5": 3, "SUB/rank5": 2, "TOPK_V2": 2,
    "TRANSPOSE/rank5": 4, "TRANSPOSE_CONV": 3, "TRANSPOSE_CONV/no_bias": 2, "UNPACK": 2,
}  # fmt: skip


@pytest.mark.parametrize(("name", "wanted"), _WRITTEN.items())
def test_versions_read_from_a_flatbuffer(name: str, wanted: int) -> None:
    """The script's INT8 files take their operators' versions from `needed_version`."""
    results = tuple(np.zeros((1, 2), np.float32) for _ in CASES[name].outputs)
    assert build(CASES[name], "int8", "own", results).version == wanted


def test_every_version_has_a_release() -> None:
    for name, forms in _versions().items():
        assert name in OPERATORS, name
        for form, number in forms:
            assert first_release(name, number) is not None, (name, form)
