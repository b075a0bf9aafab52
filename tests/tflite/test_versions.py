"""Operator versions: those that TensorFlow 2.21's quantizer wrote for the same forms."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.kernels.cases import CASES
from benchmarks.kernels.forms import build
from edgeq.tflite import flatbuffer
from edgeq.tflite.operators import OPERATORS, first_release
from edgeq.tflite.versions import FORM, _versions, form, version


@pytest.mark.parametrize(
    ("operator", "dtype", "words", "wanted"),
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
def test_versions_by_form(operator: str, dtype: str, words: tuple[str, ...], wanted: int) -> None:
    assert version(operator, dtype, words) == wanted


DTYPES = {"bool", "dynamic", "float16", "float32", "int16", "int4", "int8"}

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


@pytest.mark.parametrize(
    ("name", "written", "dtype", "words"),
    [
        ("ADD", "int8", "int8", "no_bias"),
        ("ADD/broadcast5", "int8", "int8", "broadcast exactly_rank5 no_bias rank3 rank5"),
        ("SUB/broadcast6", "int16", "int16", "broadcast int16_index no_bias rank3 rank5 rank6"),
        ("MUL", "int8", "int8", "no_bias"),
        ("PACK", "int8", "int8", "no_bias rank3"),
        ("ABS", "int8", "int8", ""),
        ("CONV_2D", "int8", "int8", "broadcast channel"),
        ("CONV_2D/tensor", "int8", "int8", "broadcast"),
        ("CONV_2D/grouped", "int8", "int8", "broadcast channel grouped"),
        ("CONV_2D/dilated", "int8", "int8", "broadcast channel dilated"),
        ("CONV_2D", "float32", "float32", "broadcast"),
        ("CONV_2D", "dynamic", "dynamic", "broadcast channel"),
        ("CONV_2D", "int4", "int4", "broadcast channel"),
        ("CONV_2D", "int16", "int16", "broadcast channel"),
        ("CONV_2D", "int16/bias32", "int16", "bias_type broadcast channel"),
        ("FULLY_CONNECTED/keep_num_dims", "int8", "int8", "broadcast channel keep_num_dims rank3"),
        ("FULLY_CONNECTED/two_inputs", "int8", "int8", "broadcast channel no_bias rank3"),
        ("FULLY_CONNECTED/no_bias", "int8", "int8", "broadcast channel rank3"),
        ("FULLY_CONNECTED/computed_weights", "int8", "int8", "broadcast rank3"),
        ("TRANSPOSE_CONV", "int8", "int8", "bias broadcast channel rank3"),
        ("TRANSPOSE_CONV/no_bias", "int8", "int8", "broadcast channel rank3"),
        ("TRANSPOSE/rank6", "int8", "int8", "broadcast no_bias rank3 rank5 rank6"),
        ("RESIZE_BILINEAR/half_pixel", "int8", "int8", "broadcast half_pixel no_bias"),
        ("RESIZE_BILINEAR/align", "int16", "int16", "align_corners broadcast no_bias"),
        ("SPLIT", "int8", "int8", "broadcast no_bias rank3"),
        ("FILL", "int16", "int16", "broadcast int16_index no_bias rank3"),
        ("SPARSE_TO_DENSE", "int8", "int8", "bias broadcast rank3"),
        ("GATHER/batched", "int8", "int8", "batch_dims broadcast no_bias rank3"),
        ("QUANTIZE", "int16", "int16", ""),
        ("DEQUANTIZE", "int16", "int16", ""),
        ("SELECT", "int8", "bool", ""),
        ("MATRIX_SET_DIAG", "int8", "int8", "broadcast no_bias rank3"),
    ],
)
def test_forms_read_from_a_flatbuffer(name: str, written: str, dtype: str, words: str) -> None:
    assert read_form(name, written) == (dtype, frozenset(words.split()))


def read_form(name: str, written: str, peak: float = 0, activation: int = 0) -> object:
    """The result of `form` for a case's file with the results 0 and `peak`."""
    results = tuple(np.array([[0, peak]], np.float32) for _ in CASES[name].outputs)
    content = build(CASES[name], written, "all", results, activation).content
    graph = flatbuffer.parse(content, name).subgraphs[0]
    return form(graph, graph.operators[0], CASES[name].operator)


def test_a_fused_activation_and_a_large_product_of_scales() -> None:
    conv = frozenset(("activation", "bias", "broadcast", "channel", "rank3"))
    assert read_form("TRANSPOSE_CONV", "int8", activation=1) == ("int8", conv)
    # All three scales are peak / 255, so that the product is the result's scale at 255.
    assert read_form("MUL", "int8", peak=254) == ("int8", frozenset(("no_bias",)))
    assert read_form("MUL", "int8", peak=255) == ("int8", frozenset(("no_bias", "rescaled")))
    assert read_form("ADD", "int8", peak=255) == ("int8", frozenset(("no_bias",)))


def test_every_version_has_a_release() -> None:
    for name, forms in _versions().items():
        assert name in OPERATORS, name
        for words, number in forms:
            assert first_release(name, number) is not None, (name, words)
            assert words <= FORM.keys() | DTYPES, name
