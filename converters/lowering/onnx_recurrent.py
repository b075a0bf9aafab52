"""LSTM, GRU and RNN nodes of an ONNX model as the operators of each step.

TensorFlow Lite's fused operators keep their state from one inference to the next, which the ONNX
node does not, and some have no integer kernel. The equations are those of the ONNX operators.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeq.converters.lowering.onnx_graph import evaluate, set_nodes, slice_to

_ACTIVATIONS = {
    "LSTM": [b"Sigmoid", b"Tanh", b"Tanh"],
    "GRU": [b"Sigmoid", b"Tanh"],
    "RNN": [b"Tanh"],
}
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
# A step has about ten operators; more of them than this take minutes to convert.
_MOST_STEPS = 128
# Version from which the sizes of Split are an input.
_SPLIT_INPUT = 13


def unroll(model: Any) -> list[str]:
    """Replace recurrent nodes in place.

    Args:
        model: with fixed shapes of its inputs.

    Returns:
        Names of the nodes that stay, because they have too many steps or another form.
    """
    left, graph = [], model.graph
    (opset,) = (item.version for item in model.opset_import if item.domain in ("", "ai.onnx"))
    for node in [item for item in graph.node if item.op_type in _GATES]:
        known = _constants(model, node)
        steps = 0 if known is None else len(known["directions"]) * known["steps"]
        if known is None or not 0 < steps <= _MOST_STEPS:
            left.append(node.name or node.output[0])
            continue
        made = _Layer(graph, node, known, opset).write()
        place = next(i for i, item in enumerate(graph.node) if item.output == node.output)
        set_nodes(graph, [*graph.node[:place], *made, *graph.node[place + 1 :]])
    return left


def _constants(model: Any, node: Any) -> dict[str, Any] | None:
    """The weights and settings of a node, None for a form that is not written here."""
    import onnx

    kind, names = node.op_type, [*node.input, *[""] * 8][:8]
    set_ = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
    directions = {b"forward": [0], b"reverse": [1], b"bidirectional": [0, 1]}[
        set_.get("direction", b"forward")
    ]
    plain = _ACTIVATIONS[kind] * len(directions)
    others = ("clip", "input_forget", "layout", "activation_alpha", "activation_beta")
    if set_.get("activations", plain) != plain or any(set_.get(name) for name in others):
        return None
    weights = [name for name in names[1:4] if name]
    lengths, peepholes = names[4], names[7]
    read = [*weights, *([lengths] if lengths else [])]
    if peepholes or slice_to(model.graph, read, through_sizes=False)[1]:
        return None
    shape = f"{node.output[0] or node.output[1]}/shape"
    probe = onnx.ModelProto.FromString(model.SerializeToString())
    probe.graph.node.append(onnx.helper.make_node("Shape", [names[0]], [shape]))
    found = dict(zip([*read, shape], evaluate(probe, [*read, shape]), strict=True))
    steps, batch = int(found[shape][0]), int(found[shape][1])
    if lengths and (found[lengths] != steps).any():
        return None
    return {
        "directions": directions, "steps": steps, "batch": batch,
        "hidden": int(found[names[2]].shape[2]),
        "W": found[names[1]], "R": found[names[2]], "B": found.get(names[3]),
        "before": bool(set_.get("linear_before_reset", 0)),
        "h": names[5], "c": names[6] if kind == "LSTM" else "",
    }  # fmt: skip


class _Layer:
    """Writes the nodes of one layer; all values of a step have the shape [1, batch, size]."""

    def __init__(self, graph: Any, node: Any, known: dict[str, Any], opset: int):
        self._graph, self._node, self._known, self._opset = graph, node, known, opset
        self._stem = next(name for name in node.output if name)
        self._nodes: list[Any] = []
        self._count = 0

    def write(self) -> list[Any]:
        """Return the nodes."""
        known, node = self._known, self._node
        batch, hidden = known["batch"], known["hidden"]
        wholes, lasts = [], []
        for place, direction in enumerate(known["directions"]):
            rows, last = self._direction(place, is_reverse=direction == 1)
            whole = self._add("Concat", rows, axis=0) if len(rows) > 1 else rows[0]
            wholes.append(self._shaped(whole, [len(rows), 1, batch, hidden]))
            lasts.append(last)
        outputs = list(node.output)
        if outputs[0]:
            self._join(wholes, 1, outputs[0])
        for name, values in zip(outputs[1:], zip(*lasts, strict=True), strict=False):
            if name:
                self._join(list(values), 0, name)
        return self._nodes

    def _direction(self, place: int, *, is_reverse: bool) -> tuple[list[str], list[str]]:
        """The hidden states in the order of the input, and the last hidden (and cell) state."""
        import numpy

        known, kind = self._known, self._node.op_type
        hidden, gates = known["hidden"], _GATES[kind]
        size = gates * hidden
        bias = numpy.zeros(2 * size, numpy.float32) if known["B"] is None else known["B"][place]
        own, other = bias[:size], bias[size:].copy()
        kept = other[2 * hidden :].copy() if kind == "GRU" else None
        if kind == "GRU" and known["before"]:
            other[2 * hidden :] = 0
        product = self._add("MatMul", [self._node.input[0], self._constant(known["W"][place].T)])
        given = self._add("Add", [product, self._constant(own + other)])
        h, c = (self._initial(known[name], place) for name in ("h", "c"))
        recurrent = known["R"][place].T
        weights = [self._constant(recurrent)]
        if kind == "GRU":
            parts = recurrent[:, : 2 * hidden], recurrent[:, 2 * hidden :]
            weights = [*map(self._constant, parts), self._constant(kept)]
        order = range(known["steps"])
        rows = {}
        for step in reversed(order) if is_reverse else order:
            x = given
            if known["steps"] > 1:
                x = self._add("Gather", [given, self._constant(numpy.array([step]))], axis=0)
            if kind == "LSTM":
                h, c = self._lstm(x, h, c, weights[0])
            elif kind == "GRU":
                h = self._gru(x, h, weights)
            else:
                h = self._add("Tanh", [self._plus(x, h, weights[0])])
            rows[step] = h
        return [rows[step] for step in order], [h, c] if kind == "LSTM" else [h]

    def _lstm(self, x: str, h: str, c: str, weights: str) -> tuple[str, str]:
        i, o, f, g = self._split(self._plus(x, h, weights), [self._known["hidden"]] * 4)
        i, o, g = (self._add(k, [v]) for k, v in (("Sigmoid", i), ("Sigmoid", o), ("Tanh", g)))
        new = self._add("Mul", [i, g])
        if c:
            kept = self._add("Mul", [self._add("Sigmoid", [f]), c])
            new = self._add("Add", [kept, new])
        return self._add("Mul", [o, self._add("Tanh", [new])]), new

    def _gru(self, x: str, h: str, weights: Sequence[str]) -> str:
        size = self._known["hidden"]
        first, last = self._split(x, [2 * size, size])
        gates = self._add("Sigmoid", [self._plus(first, h, weights[0])])
        z, r = self._split(gates, [size, size])
        if self._known["before"]:
            inner = weights[2]
            if h:
                inner = self._add("Add", [self._add("MatMul", [h, weights[1]]), weights[2]])
            last = self._add("Add", [last, self._add("Mul", [r, inner])])
        elif h:
            last = self._plus(last, self._add("Mul", [r, h]), weights[1])
        new = self._add("Tanh", [last])
        if not h:
            return self._add("Sub", [new, self._add("Mul", [z, new])])
        return self._add("Add", [new, self._add("Mul", [z, self._add("Sub", [h, new])])])

    # ------------------------------------------------------------ small parts

    def _add(self, kind: str, inputs: Sequence[str], **settings: Any) -> str:
        import onnx

        name = self._name()
        self._nodes.append(onnx.helper.make_node(kind, inputs, [name], name, **settings))
        return name

    def _name(self) -> str:
        self._count += 1
        return f"{self._stem}/step{self._count}"

    def _constant(self, values: Any) -> str:
        import numpy
        import onnx

        name = self._name()
        stored = onnx.numpy_helper.from_array(numpy.ascontiguousarray(values), name)
        self._graph.initializer.append(stored)
        return name

    def _plus(self, x: str, h: str, weights: str) -> str:
        return self._add("Add", [x, self._add("MatMul", [h, weights])]) if h else x

    def _split(self, value: str, sizes: list[int]) -> list[str]:
        import numpy
        import onnx

        names = [self._name() for _ in sizes]
        if self._opset >= _SPLIT_INPUT:
            inputs, settings = [value, self._constant(numpy.array(sizes))], {}
        else:
            inputs, settings = [value], {"split": sizes}
        node = onnx.helper.make_node("Split", inputs, names, names[0], axis=-1, **settings)
        self._nodes.append(node)
        return names

    def _shaped(self, value: str, shape: list[int]) -> str:
        import numpy

        return self._add("Reshape", [value, self._constant(numpy.array(shape))])

    def _initial(self, name: str, place: int) -> str:
        import numpy

        if not name or len(self._known["directions"]) == 1:
            return name
        return self._add("Gather", [name, self._constant(numpy.array([place]))], axis=0)

    def _join(self, values: list[str], axis: int, name: str) -> None:
        import onnx

        kind, settings = ("Concat", {"axis": axis}) if len(values) > 1 else ("Identity", {})
        self._nodes.append(onnx.helper.make_node(kind, values, [name], name, **settings))
