"""A small encoder whose residual stream has two channels far larger than the others."""

from __future__ import annotations

import numpy as np

from edgeq.converters.rewrites.apply import rewrite
from tests.converters.rewrites.normal_forms import keras, root_mean_square
from tests.converters.rewrites.tiny_graphs import Builder, schema

SHAPE = (1, 6, 8)
TIMES = 40
OUTLIERS = np.array([1, 1, TIMES, 1, 1, 1, TIMES, 1.0])


def samples(count: int) -> np.ndarray:
    """Inputs [count, 1, tokens, channels]."""
    return np.float32(np.random.default_rng(1).normal(size=(count, *SHAPE)))


def encoder() -> bytes:
    """Positions, layer normalization before two dense layers, a residual, RMS, a dense layer."""
    build, random = Builder(), np.random.default_rng(0)

    def dense(source: int, outputs: int, rows: np.ndarray, columns: np.ndarray) -> int:
        weights = random.normal(size=(outputs, 8)) * rows[:outputs, np.newaxis] * columns
        options = schema.FullyConnectedOptionsT()
        options.keepNumDims = True
        inputs = [source, build.constant(weights), build.constant(np.zeros(outputs))]
        return build.add("FULLY_CONNECTED", inputs, [*SHAPE[:-1], outputs], options=options)

    ones = np.ones(8)
    embedded = dense(build.input(SHAPE), 8, OUTLIERS, ones)
    positions = build.constant(random.normal(size=SHAPE) * OUTLIERS)
    stream = build.add("ADD", [embedded, positions], SHAPE)
    normal = keras(build, stream)
    gate = build.add("TANH", [dense(normal, 8, ones, ones)], SHAPE)
    product = build.add("MUL", [gate, dense(normal, 8, ones, ones)], SHAPE)
    stream = build.add("ADD", [stream, dense(product, 8, ones / 10, ones)], SHAPE)
    scaled = root_mean_square(build, stream)
    return rewrite(build.content(dense(scaled, 5, ones, 1 / OUTLIERS))).content
