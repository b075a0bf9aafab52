from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeq.converters.rewrites.apply import rewrite, unpack
from edgeq.errors import SourceError
from tests.converters.rewrites.tiny_graphs import Builder, kinds, run, schema


def vector(kind: str, values: list[int]) -> Any:
    made = getattr(schema, f"{kind}VectorT")()
    made.values = np.array(values, {"Int32": np.int32}.get(kind, np.dtype(kind.lower())))
    return made


def level(size: int, segments: Any = None, places: Any = None) -> Any:
    made = schema.DimensionMetadataT()
    if segments is None:
        made.format, made.denseSize = schema.DimensionType.DENSE, size
        return made
    made.format = schema.DimensionType.SPARSE_CSR
    kind = schema.SparseIndexVector
    made.arraySegmentsType, made.arraySegments = kind.Uint8Vector, vector("Uint8", segments)
    made.arrayIndicesType, made.arrayIndices = kind.Int32Vector, vector("Int32", places)
    return made


def sparse(
    build: Builder, stored: Any, shape: list[int], order: list[int], blocks: list[int],
    levels: list[Any], dtype: str = "float32",
) -> int:  # fmt: skip
    index = build.constant(stored, dtype)
    tensor = build.graph.tensors[index]
    tensor.shape, tensor.sparsity = np.array(shape, np.int32), schema.SparsityParametersT()
    tensor.sparsity.traversalOrder, tensor.sparsity.blockMap = order, blocks
    tensor.sparsity.dimMetadata = levels
    return index


def rows(build: Builder, dtype: str = "float32") -> int:
    """[[0, 5, 0, 6], [0, 0, 0, 0], [7, 0, 0, 0]]: rows dense, columns sparse."""
    levels = [level(3), level(0, [0, 2, 2, 3], [1, 3, 0])]
    return sparse(build, [5, 6, 7], [3, 4], [0, 1], [], levels, dtype)


def columns(build: Builder) -> int:
    """The same, column by column."""
    levels = [level(4), level(0, [0, 1, 2, 2, 3], [2, 0, 0])]
    return sparse(build, [7, 5, 6], [3, 4], [1, 0], [], levels)


def blocks(build: Builder) -> int:
    """[4, 4] in blocks of 2x2; the upper right and the lower left ones are stored."""
    levels = [level(2), level(0, [0, 1, 2], [1, 0]), level(2), level(2)]
    return sparse(build, [1, 2, 3, 4, 5, 6, 7, 8], [4, 4], [0, 1, 2, 3], [0, 1], levels)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (rows, [[0, 5, 0, 6], [0, 0, 0, 0], [7, 0, 0, 0]]),
        (columns, [[0, 5, 0, 6], [0, 0, 0, 0], [7, 0, 0, 0]]),
        (blocks, [[0, 0, 1, 2], [0, 0, 3, 4], [5, 6, 0, 0], [7, 8, 0, 0]]),
    ],
)
def test_sparse_weights_are_unpacked_as_the_interpreter_does(
    make: Any, expected: list[list[int]]
) -> None:
    build = Builder()
    shape = np.shape(expected)
    x = build.input(shape)
    dense = build.add("DENSIFY", [make(build)], shape)
    content = build.content(build.add("ADD", [x, dense], shape))
    made = unpack(content)
    assert made.names == ("sparse weights unpacked (1)",)
    assert kinds(made.content) == ["ADD"]
    zeros = np.zeros(shape)
    np.testing.assert_array_equal(run(made.content, zeros)[0], expected)
    np.testing.assert_array_equal(run(content, zeros)[0], expected)


def test_sparse_weights_in_half_are_unpacked_twice() -> None:
    build = Builder()
    x = build.input([3, 4])
    dense = build.add("DENSIFY", [rows(build, "float16")], [3, 4], "float16")
    weights = build.add("DEQUANTIZE", [dense], [3, 4], version=3)
    content = build.content(build.add("ADD", [x, weights], [3, 4]))
    made = unpack(content)
    assert made.names == ("sparse weights unpacked (1)", "FP16 weights unpacked (1)")
    x_values = np.random.default_rng(0).normal(size=(3, 4))
    np.testing.assert_array_equal(run(made.content, x_values)[0], run(content, x_values)[0])


def test_sparse_weights_that_a_layer_reads_itself() -> None:
    build = Builder()
    x, weights = build.input([1, 4]), rows(build)
    content = build.content(build.add("FULLY_CONNECTED", [x, weights, -1], [1, 3]))
    made = unpack(content)
    assert made.names == ("sparse weights unpacked (1)",)
    np.testing.assert_array_equal(run(made.content, [[1, 2, 3, 4]])[0], [[34, 0, 7]])


@pytest.mark.parametrize("damage", ["order", "index", "segments", "size", "values", "huge"])
def test_damaged_sparse_weights_are_refused(damage: str) -> None:
    build = Builder()
    x, weights = build.input([3, 4]), rows(build)
    tensor = build.graph.tensors[weights]
    own = tensor.sparsity
    if damage == "order":
        own.traversalOrder = [0, 0]
    elif damage == "index":
        own.dimMetadata[1].arrayIndices = vector("Int32", [1, 9, 0])
    elif damage == "segments":
        own.dimMetadata[1].arraySegments = vector("Uint8", [0, 2])
    elif damage == "size":
        own.dimMetadata[0].denseSize = 2**30
    elif damage == "values":
        build.tree.buffers[tensor.buffer].data = np.zeros(4, np.uint8)
    else:
        tensor.shape = np.array([2**15, 2**13 + 1], np.int32)
    dense = build.add("DENSIFY", [weights], [3, 4])
    content = build.content(build.add("ADD", [x, dense], [3, 4]))
    with pytest.raises(SourceError, match="the sparse weights 'constant1' cannot be read"):
        unpack(content)


def test_an_fp16_input_is_not_unpacked() -> None:
    build = Builder()
    x = build.input([1, 4], "float16")
    content = build.content(build.add("DEQUANTIZE", [x], [1, 4], version=3))
    assert rewrite(content).content is content


@pytest.mark.parametrize(("padding", "size", "expected"), [(1, 3, 6), (1, 2, 6), (2, 3, 7)])
def test_the_transposed_convolution_of_mediapipe_becomes_a_builtin_one(
    padding: int, size: int, expected: int
) -> None:
    """Compared with each input spread over the output, as mediapipe's kernel does."""
    build, random = Builder(), np.random.default_rng(0)
    x = build.input([1, 3, 3, 2])
    weights, bias = random.normal(size=(1, size, size, 2)), np.array([0.5])
    inputs = [x, build.constant(weights), build.constant(bias)]
    made = build.add("TRANSPOSE_CONV", inputs, [1, expected, expected, 1])
    operator = build.graph.operators[-1]
    operator.builtinOptions, operator.builtinOptionsType = None, 0
    operator.customOptions = np.array([padding, 2, 2], "<i4").view(np.uint8)
    build.tree.operatorCodes[operator.opcodeIndex].customCode = "Convolution2DTransposeBias"
    before = build.content(build.add("ABS", [made], [1, expected, expected, 1]))
    done = unpack(before)
    assert kinds(done.content) == ["TRANSPOSE_CONV", "ABS"]
    assert done.names == ("mediapipe's transposed convolution as TRANSPOSE_CONV (1)",)
    values = random.normal(size=(3, 3, 2)).astype(np.float32)
    spread = np.zeros((8, 8))
    for row, column in np.ndindex(3, 3):
        window = np.s_[2 * row : 2 * row + size, 2 * column : 2 * column + size]
        spread[window] += weights[0] @ values[row, column]
    wanted = np.abs(spread[:expected, :expected] + 0.5)
    np.testing.assert_allclose(run(done.content, values[None])[0][0, ..., 0], wanted, rtol=1e-4)
