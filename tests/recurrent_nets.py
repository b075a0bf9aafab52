"""A recurrent layer whose steps are single operators, as TFLiteConverter unrolls one of Keras."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.converters.rewrites.tiny_graphs import Builder

STEPS, FEATURES, UNITS, CLASSES = 20, 4, 8, 3
ARRANGING = STEPS  # operators in front of the layer


def unrolled(units: Any = 1.0, *, is_at_once: bool = False) -> bytes:
    """A gated layer, `h = z * h + (1 - z) * tanh(...)`, and a dense layer on its last state.

    Args:
        units: of the features; the weights undo them.
        is_at_once: whether the inputs of all steps have one product, as from PyTorch.
    """
    net, random = Builder(), np.random.default_rng(0)
    source = net.input([1, STEPS, FEATURES])
    kernel = net.constant(random.normal(0, 1, (2 * UNITS, FEATURES)) / units)
    recurrent = net.constant(random.normal(0, 1, (2 * UNITS, UNITS)))
    bias = net.constant(np.repeat([3.0, 0.0], UNITS))  # open gates: a long memory
    if is_at_once:
        products = dense(net, source, kernel, bias)
        steps = [cut(net, products, [step, 0], [1, 2 * UNITS]) for step in range(STEPS)]
    else:
        steps = [cut(net, source, [0, step, 0], [1, 1, FEATURES]) for step in range(STEPS)]
    one, state = net.constant(np.float32(1)), -1
    for step in steps:
        value = step if is_at_once else dense(net, step, kernel, bias)
        if state >= 0:
            value = net.add("ADD", [value, dense(net, state, recurrent, -1)], [1, 2 * UNITS])
        gate, new = (cut(net, value, [0, begin], [1, UNITS]) for begin in (0, UNITS))
        gate = net.add("LOGISTIC", [gate], [1, UNITS])
        new = net.add("TANH", [new], [1, UNITS])
        closed = net.add("SUB", [one, gate], [1, UNITS])
        new = net.add("MUL", [closed, new], [1, UNITS])
        if state >= 0:
            new = net.add("ADD", [net.add("MUL", [gate, state], [1, UNITS]), new], [1, UNITS])
        state = new
    return net.content(dense(net, state, net.constant(random.normal(0, 1, (CLASSES, UNITS))), -1))


def one_step(*, reads_state: bool = True) -> bytes:
    """A step of an LSTM with its states as inputs and outputs, and a dense layer on the hidden one.

    Args:
        reads_state: whether the gates depend on the hidden state.
    """
    net, random = Builder(), np.random.default_rng(0)
    source = net.input([1, FEATURES])
    hidden, cell = (net.input([1, UNITS], name=name) for name in ("hidden", "cell"))
    sums = dense(net, source, net.constant(random.normal(0, 1, (4 * UNITS, FEATURES))), -1)
    if reads_state:
        own = dense(net, hidden, net.constant(random.normal(0, 1, (4 * UNITS, UNITS))), -1)
        sums = net.add("ADD", [sums, own], [1, 4 * UNITS])
    gates = [cut(net, sums, [0, place * UNITS], [1, UNITS]) for place in range(4)]
    kinds = ("LOGISTIC", "LOGISTIC", "TANH", "LOGISTIC")
    enter, keep, new, leave = (
        net.add(kind, [gate], [1, UNITS]) for kind, gate in zip(kinds, gates, strict=True)
    )
    kept, new = (net.add("MUL", pair, [1, UNITS]) for pair in ([keep, cell], [enter, new]))
    cell_out = net.add("ADD", [kept, new], [1, UNITS])
    hidden_out = net.add("MUL", [leave, net.add("TANH", [cell_out], [1, UNITS])], [1, UNITS])
    last = dense(net, hidden_out, net.constant(random.normal(0, 1, (CLASSES, UNITS))), -1)
    return net.content(last, hidden_out, cell_out)


def repeated(rows: int) -> bytes:
    """Two uses of one dense layer, one behind the other, on some rows."""
    net = Builder()
    source = net.input([1, rows, FEATURES])
    weights = net.constant(np.random.default_rng(0).normal(0, 1, (FEATURES, FEATURES)))
    value = net.add("RESHAPE", [source, net.constant([rows, FEATURES], "int32")], [rows, FEATURES])
    for _ in range(2):
        value = net.add("TANH", [dense(net, value, weights, -1)], [rows, FEATURES])
    return net.content(value)


def dense(net: Builder, source: int, weights: int, bias: int) -> int:
    """A dense layer with stored weights; no bias if it is -1."""
    count, width = (int(size) for size in net.graph.tensors[weights].shape)
    rows = int(np.prod(net.graph.tensors[source].shape)) // width
    return net.add("FULLY_CONNECTED", [source, weights, bias], [rows, count])


def cut(net: Builder, source: int, begin: Sequence[int], size: Sequence[int]) -> int:
    """A part of a tensor."""
    places = [net.constant(values, "int32") for values in (begin, size)]
    return net.add("SLICE", [source, *places], size)


def sequences(count: int = 100, units: Any = 1.0) -> Any:
    """Samples, float32 [count, STEPS, FEATURES]."""
    random = np.random.default_rng(1)
    return np.float32(random.normal(0, 1, (count, STEPS, FEATURES)) * units)
