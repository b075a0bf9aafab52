"""The operators in which each tool writes a normalization, from dumps of their files.

Each function adds the operators to a builder and returns the result's tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tests.converters.rewrites.tiny_graphs import Builder, schema

GAMMA = np.linspace(0.5, 1.5, 8)
BETA = np.linspace(-0.4, 0.3, 8)


def reduce(build: Builder, kind: str, source: int, axes: Sequence[int], shape: Any) -> int:
    """A reduction; its axes stay if the shape has them."""
    options = schema.ReducerOptionsT()
    options.keepDims = len(shape) == len(build.graph.tensors[source].shape)
    return build.add(kind, [source, build.constant(axes, "int32")], shape, options=options)


def reshape(build: Builder, source: int, shape: Sequence[int]) -> int:
    return build.add("RESHAPE", [source, build.constant(shape, "int32")], shape)


def keras(build: Builder, x: int, epsilon: float = 1e-3) -> int:
    """Keras 3, LayerNormalization of [1, 6, 8]: x * a + (beta - mean * a)."""
    whole, small = [1, 6, 8], [1, 6, 1]
    mean = reduce(build, "MEAN", x, [-1], small)
    minus = build.add("NEG", [mean], small)
    squares = build.add("SQUARED_DIFFERENCE", [x, mean], whole)
    variance = reduce(build, "MEAN", squares, [-1], small)
    positive = build.add("ADD", [variance, build.constant(epsilon)], small)
    root = build.add("RSQRT", [positive], small)
    scale = build.add("MUL", [root, build.constant(GAMMA.reshape(1, 1, 8))], whole)
    offset = build.add("MUL", [minus, scale], whole)
    offset = build.add("ADD", [offset, build.constant(BETA.reshape(1, 1, 8))], whole)
    scaled = build.add("MUL", [x, scale], whole)
    return build.add("ADD", [scaled, offset], whole)


def old_keras(build: Builder, x: int) -> int:
    """Keras 3.0: the variance is E[x^2] - E[x]^2."""
    whole, small = [1, 6, 8], [1, 6, 1]
    mean = reduce(build, "MEAN", x, [2], small)
    squares = reduce(build, "MEAN", build.add("SQUARE", [x], whole), [2], small)
    variance = build.add("SUB", [squares, build.add("SQUARE", [mean], small)], small)
    root = build.add("RSQRT", [build.add("ADD", [variance, build.constant(1e-3)], small)], small)
    scale = build.add("MUL", [root, build.constant(GAMMA)], whole)
    offset = build.add("MUL", [mean, scale], whole)
    offset = build.add("SUB", [build.constant(BETA.reshape(1, 1, 8)), offset], whole)
    return build.add("ADD", [build.add("MUL", [x, scale], whole), offset], whole)


def litert_torch(build: Builder, x: int) -> int:
    """litert-torch, LayerNorm of [1, 6, 8]: reductions to [6], and back with RESHAPE."""
    whole, small = [1, 6, 8], [1, 6, 1]
    mean = reduce(build, "MEAN", x, [0, 2], [6])
    squares = build.add("SQUARED_DIFFERENCE", [x, reshape(build, mean, small)], whole)
    variance = reduce(build, "MEAN", squares, [0, 2], [6])
    root = build.add("RSQRT", [build.add("ADD", [variance, build.constant(1e-5)], [6])], [6])
    product = build.add("MUL", [root, mean], [6])
    minus = build.add("SUB", [build.constant(0.0), product], [6])
    scaled = build.add("MUL", [x, reshape(build, root, small)], whole)
    shifted = build.add("ADD", [scaled, reshape(build, minus, small)], whole)
    times = build.add("MUL", [shifted, build.constant(GAMMA)], whole)
    return build.add("ADD", [times, build.constant(BETA)], whole)


def tf_keras(build: Builder, x: int) -> int:
    """tf_keras, LayerNormalization of [1, 6, 8]: as a fused batch normalization of a transpose."""
    moved = [1, 8, 1, 6]
    image = reshape(build, x, [1, 6, 8, 1])
    turned = build.add("TRANSPOSE", [image, build.constant([0, 2, 3, 1], "int32")], moved)
    mean = reduce(build, "MEAN", turned, [0, 1, 2], [6])
    squares = build.add("SQUARED_DIFFERENCE", [turned, mean], moved)
    variance = reduce(build, "MEAN", squares, [0, 1, 2], [6])
    root = build.add("RSQRT", [build.add("ADD", [variance, build.constant(1e-3)], [6])], [6])
    scaled = build.add("MUL", [turned, root], moved)
    minus = build.add(
        "SUB", [build.constant(np.zeros(6)), build.add("MUL", [mean, root], [6])], [6]
    )
    shifted = build.add("ADD", [scaled, minus], moved)
    back = build.add("TRANSPOSE", [shifted, build.constant([0, 3, 1, 2], "int32")], [1, 6, 8, 1])
    times = build.add("MUL", [reshape(build, back, [1, 6, 8]), build.constant(GAMMA)], [1, 6, 8])
    return build.add("ADD", [times, build.constant(BETA)], [1, 6, 8])


def onnx2tf(build: Builder, x: int) -> int:
    """onnx2tf, LayerNormalization of [1, 6, 8]: 1 / sqrt."""
    whole, small = [1, 6, 8], [1, 6, 1]
    centred = build.add("SUB", [x, reduce(build, "MEAN", x, [2], small)], whole)
    squares = build.add("MUL", [centred, centred], whole)
    variance = reduce(build, "MEAN", squares, [2], small)
    positive = build.add("ADD", [variance, build.constant([1e-5])], small)
    root = build.add("SQRT", [positive], small)
    inverse = build.add("DIV", [build.constant([1.0]), root], small)
    times = build.add(
        "MUL", [build.add("MUL", [centred, inverse], whole), build.constant(GAMMA)], whole
    )
    return build.add("ADD", [times, build.constant(BETA)], whole)


def root_mean_square(build: Builder, x: int) -> int:
    """RMSNormalization of Keras and RMSNorm of PyTorch."""
    squares = build.add("SQUARE", [x], [1, 6, 8])
    mean = reduce(build, "MEAN", squares, [2], [1, 6, 1])
    positive = build.add("ADD", [mean, build.constant(1e-6)], [1, 6, 1])
    root = build.add("RSQRT", [positive], [1, 6, 1])
    times = build.add("MUL", [x, root], [1, 6, 8])
    return build.add("MUL", [times, build.constant(GAMMA)], [1, 6, 8])


def unit(build: Builder, x: int) -> int:
    """UnitNormalization of Keras: no mean, no epsilon, but a largest factor."""
    squares = build.add("SQUARE", [x], [1, 6, 8])
    root = build.add("RSQRT", [reduce(build, "SUM", squares, [-1], [1, 6, 1])], [1, 6, 1])
    root = build.add("MINIMUM", [root, build.constant(1e12)], [1, 6, 1])
    return build.add("MUL", [x, root], [1, 6, 8])


def keras_groups(build: Builder, x: int) -> int:
    """Keras 3, GroupNormalization of [1, 6, 8] in two groups, with five axes."""
    whole, small = [1, 2, 3, 2, 4], [1, 1, 1, 2, 1]
    parts = reshape(build, x, whole)
    mean = reduce(build, "MEAN", parts, [1, 2, 4], small)
    centred = build.add("SUB", [parts, mean], whole)
    squares = build.add("SQUARE", [centred], whole)
    variance = reduce(build, "MEAN", squares, [1, 2, 4], small)
    root = build.add("RSQRT", [build.add("ADD", [variance, build.constant(1e-3)], small)], small)
    wide = [1, 1, 1, 2, 4]
    scale = build.add("MUL", [root, build.constant(GAMMA.reshape(wide))], wide)
    offset = build.add("MUL", [build.add("NEG", [mean], small), scale], wide)
    offset = build.add("ADD", [offset, build.constant(BETA.reshape(wide))], wide)
    whole_again = build.add("ADD", [build.add("MUL", [parts, scale], whole), offset], whole)
    return reshape(build, whole_again, [1, 6, 8])


def torch_groups(build: Builder, x: int) -> int:
    """litert-torch, GroupNorm of [1, 6, 8] (channels first) in three groups.

    Groups exist for the statistics only; gamma and beta are applied to the whole tensor.
    """
    parts = reshape(build, x, [1, 3, 2, 8])
    mean = reduce(build, "MEAN", parts, [2, 3], [1, 3, 1, 1])
    centred = build.add("SUB", [parts, mean], [1, 3, 2, 8])
    squares = build.add("MUL", [centred, centred], [1, 3, 2, 8])
    variance = reduce(build, "MEAN", squares, [2, 3], [1, 3])
    positive = build.add("ADD", [variance, build.constant(1e-5)], [1, 3])
    root = build.add("RSQRT", [reshape(build, positive, [1, 3, 1, 1])], [1, 3, 1, 1])
    scale = build.add("MUL", [root, build.constant(GAMMA[:6].reshape(1, 3, 2, 1))], [1, 3, 2, 1])
    minus = build.add("MUL", [mean, build.constant(-1.0)], [1, 3, 1, 1])
    offset = build.add("MUL", [minus, scale], [1, 3, 2, 1])
    offset = build.add("ADD", [offset, build.constant(BETA[:6].reshape(1, 3, 2, 1))], [1, 3, 2, 1])
    scaled = build.add("MUL", [x, reshape(build, scale, [1, 6, 1])], [1, 6, 8])
    return build.add("ADD", [scaled, reshape(build, offset, [1, 6, 1])], [1, 6, 8])


FORMS: tuple[Callable[[Builder, int], int], ...] = (
    keras, old_keras, litert_torch, tf_keras, onnx2tf, root_mean_square, unit, keras_groups,
    torch_groups,
)  # fmt: skip
