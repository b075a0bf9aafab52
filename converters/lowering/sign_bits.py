"""Replace sign bits, which TensorFlow Lite cannot read, by comparisons.

Keras 3 finds negative zeros with them before every `argmax` and `argmin`, because JAX flushes
denormal numbers to zero (jax-ml/jax#24280), and in `signbit`.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

_SAME = ("Identity", "StopGradient")


def reads_sign_bits(concrete: Any) -> bool:
    """Whether a traced function has the operator."""
    return any(node.op == "BitwiseAnd" for node in concrete.graph.as_graph_def().node)


class _Graph:
    """A GraphDef whose operators are found by name."""

    def __init__(self, graph: Any):
        self._nodes = {node.name: node for node in graph.node}

    def source(self, name: str) -> Any:
        """The operator behind an input, without those that pass their input on."""
        node = self._nodes[name.partition(":")[0]]
        while node.op in _SAME or (node.op == "Cast" and _is_same_type(node)):
            node = self._nodes[node.input[0].partition(":")[0]]
        return node

    def is_constant(self, name: str, value: float) -> bool:
        """Whether an input is this number."""
        node = self.source(name)
        if node.op != "Const":
            return False
        found = tf.make_ndarray(node.attr["value"].tensor)
        return bool(found.size == 1 and found.item() == value)

    def signed(self, node: Any) -> str | None:
        """The tensor whose sign bit the operator tests, if it does."""
        if node.op != "Less" or not self.is_constant(node.input[1], 0):
            return None
        masked = self.source(node.input[0])
        if masked.op != "BitwiseAnd" or not self.is_constant(masked.input[1], tf.int32.min):
            return None
        bits = self.source(masked.input[0])
        is_float = bits.op == "Bitcast" and bits.attr["T"].type == tf.float32.as_datatype_enum
        return str(bits.input[0]) if is_float else None

    def holds_negative_zero(self, node: Any) -> bool:
        """Whether the operator is `logical_and(equal(x, 0), signbit(x))`."""
        if node.op != "LogicalAnd":
            return False
        equal, negative = (self.source(name) for name in node.input)
        tested = self.signed(negative)
        if equal.op != "Equal" or tested is None or not self.is_constant(equal.input[1], 0):
            return False
        return self.source(equal.input[0]) is self.source(tested)


def _is_same_type(node: Any) -> bool:
    return bool(node.attr["SrcT"].type == node.attr["DstT"].type)


def compare_signs(graph: Any) -> None:
    """Take numbers below zero for those with a sign bit; no zero is negative then.

    Args:
        graph: the GraphDef, changed in place.
    """
    found = _Graph(graph)
    for node in graph.node:
        if node.op == "SelectV2" and found.holds_negative_zero(found.source(node.input[0])):
            kept = node.input[2]
            node.op = "Identity"
            node.input[:] = [kept]
    for node in list(graph.node):
        if (tested := found.signed(node)) is not None:
            zero = graph.node.add(name=f"{node.name}_zero", op="Const")
            zero.attr["dtype"].type = tf.float32.as_datatype_enum
            zero.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(0.0, tf.float32))
            node.input[:] = [tested, zero.name]
            node.attr["T"].type = tf.float32.as_datatype_enum
