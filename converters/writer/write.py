"""The writer: a float flatbuffer and ranges become the quantized flatbuffer.

The arithmetic is that of the TensorFlow Lite 8-bit quantization specification.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeq.converters.rewrites.editor import Editor
from edgeq.converters.rewrites.normalization import find_inner
from edgeq.converters.rewrites.soundness import empty_tensors
from edgeq.converters.rewrites.tables import Table, fill_table, find_replaced, look_up
from edgeq.converters.writer import comparisons, integers
from edgeq.converters.writer.filters import FilterStore
from edgeq.converters.writer.layers import find_filter
from edgeq.converters.writer.lstm import write_lstm
from edgeq.converters.writer.parameters import REAL, Affine, as_uint8, from_range
from edgeq.converters.writer.precisions import (
    choose_precisions,
    choose_tables,
    find_ends,
    growing_tensors,
    name_of,
    real_tensors,
)
from edgeq.converters.writer.propagation import Forms, Node, propagate, propagate_int16
from edgeq.converters.writer.rebuilding import Rebuilding
from edgeq.converters.writer.versions import set_min_runtime, set_version
from edgeq.errors import QuantizationError
from edgeq.tflite import flatbuffer, kernels, lstm
from edgeq.tflite.compacting import drop_unused
from edgeq.values import Ranges, TensorSpec
from edgeq.wording import repeat_option

INTEGERS = ("int8", "int16")
# Release of ADD 4, the youngest common INT16 kernel; operator versions do not always tell.
OLDEST_INT16 = "2.6.0"
# Release since which dense layers with float inputs may have a scale per channel (version 12);
# tflite-runtime 2.14 refuses those with INT4 weights, too (benchmarks/kernels).
_OLDEST_INT4_CHANNELS = "2.17.0"
# Ranges of INT16 tensors inside recurrent layers of an INT8 file, over the calibrated ones: a state
# that grows over the steps goes beyond what a few samples show, and 15 bits are enough.
_ROOM = 2.0


@dataclass(frozen=True)
class Target:
    """The properties that the quantized model has to have.

    Attributes:
        activations: "int8" or "int16", of operators without another precision.
        io: dtype of the inputs and outputs: "int8", "uint8", "int16" or "float32".
        per_channel: scales of the weights per output channel.
        keep_float: names of operators that stay float.
        int16: names of operators with INT16 activations.
        int4: names of operators with INT4 weights, see `precisions.narrow_layers`.
        real_inputs: names of the inputs that are float32 whatever `io` says.
        real_outputs: the same of the outputs.
    """

    activations: str
    io: str
    per_channel: bool = True
    keep_float: tuple[str, ...] = ()
    int16: tuple[str, ...] = ()
    int4: tuple[str, ...] = ()
    real_inputs: frozenset[str] = frozenset()
    real_outputs: frozenset[str] = frozenset()


class Writer:
    """Writes one float model with many ranges; weights are rounded once.

    Args:
        content: the float flatbuffer.
        target: what its files have to be.

    Raises:
        QuantizationError: an operator has no kernel that `target` requires.
    """

    def __init__(self, content: bytes, target: Target):
        self._tree = flatbuffer.parse(content, "the float model")
        self._target = target
        self._graph = self._tree.subgraphs[0]
        self._precisions = choose_precisions(
            self._tree, target.activations, target.keep_float, target.int16
        )
        empty = empty_tensors(self._graph)
        self._constants = {
            index
            for index, tensor in enumerate(self._graph.tensors)
            if flatbuffer.is_constant(self._tree, tensor) or index in empty
        }
        self._names = [flatbuffer.operator_name(self._tree, op) for op in self._graph.operators]
        places = range(len(self._names))
        self._filters = [
            find_filter(self._tree, self._graph.operators[place], self._names[place])
            for place in places
        ]
        named = {*target.keep_float, *target.int16}
        tables = choose_tables(self._tree, target.activations, named)
        self._tables = {table.operators[-1]: table for table in tables}
        self._replaced = find_replaced(self._tree, tables)
        self._inner = find_inner(Editor(self._tree))
        self._lstms = [lstm.read(self._tree, operator) for operator in self._graph.operators]
        self._nodes = [self._node(place) for place in places]
        self._growing = growing_tensors(self._tree, self._precisions, target.activations)
        self._store = FilterStore(self._tree, per_channel=target.per_channel)
        self._real = find_ends(self._tree, target.real_inputs, target.real_outputs)

    def _node(self, place: int) -> Node:
        """An integer operator as the propagation sees it; others read and make nothing."""
        precision, operator = self._precisions[place], self._graph.operators[place]
        if (table := self._tables.get(place)) is not None:
            return Node((table.source,), (table.result,))
        if precision not in INTEGERS or place in self._replaced:
            return Node((), ())
        if (own := self._lstms[place]) is not None:
            return Node((own.data,), (own.result,))
        name, filter_ = self._names[place], self._filters[place]
        rule = kernels.rule(name, precision)
        is_same = rule in ("input", "all")
        if name in comparisons.KINDS:  # two scales round equal values to different ones
            is_same = name in comparisons.EQUALITY
        real = real_tensors(self._tree, operator)
        makes = tuple(index for index in flatbuffer.indices(operator.outputs) if index in real)
        stored = () if filter_ is None else (filter_.weights, filter_.bias)
        reads = tuple(
            index
            for index in real
            if index not in (*makes, *stored) and (is_same or index not in self._constants)
        )
        fixed = Affine(precision, *kernels.FIXED[name, precision]) if rule == "fixed" else None
        return Node(reads, makes, len(flatbuffer.indices(operator.inputs)), is_same, fixed)

    @property
    def precisions(self) -> list[str | None]:
        """The precision of each operator, see `choose_precisions`."""
        return list(self._precisions)

    def write(self, ranges: Ranges) -> bytes:
        """The quantized flatbuffer.

        Args:
            ranges: of every float tensor that an integer operator reads or makes.

        Raises:
            QuantizationError: a tensor has no range.
        """
        return _Run(self, ranges).run()


class _Run:
    """One file in the making."""

    def __init__(self, writer: Writer, ranges: Ranges):
        self._source, self._target, self._graph = writer._tree, writer._target, writer._graph
        self._names, self._precisions = writer._names, writer._precisions
        self._filters, self._filter_store = writer._filters, writer._store
        self._lstms, self._tables, self._replaced = writer._lstms, writer._tables, writer._replaced
        self._nodes, self._constants = writer._nodes, writer._constants
        self._real_inputs, self._real_outputs = writer._real
        self._ranges = {item.index: (item.minimum, item.maximum) for item in ranges.tensors}
        self._ranges |= writer._inner.widen(self._ranges)
        self._growing = writer._growing & self._ranges.keys()
        self._stored = self._constants & {
            index for index in flatbuffer.indices(self._graph.outputs) if self._is_float(index)
        }
        for index in self._stored:
            values = flatbuffer.constant(self._source, self._graph.tensors[index])
            self._ranges[index] = integers.constant_range(values)
        self._forms = {dtype: self._propagate(dtype) for dtype in INTEGERS}
        self._new = Rebuilding(self._source)

    def run(self) -> bytes:
        new, graph = self._new, self._graph
        for index in flatbuffer.indices(graph.inputs):
            if self._is_float(index):
                new.make(index, self._interface_form(index, is_input=True))
        for index in self._stored:
            new.make(index, REAL)
        for place, operator in enumerate(graph.operators):
            self._add(place, operator)
        moved = {
            index: new.finish(index, self._interface_form(index, is_input=False))
            if self._is_float(index)
            else index
            for index in flatbuffer.indices(graph.outputs)
        }
        new.graph.outputs = np.array([moved[i] for i in flatbuffer.indices(graph.outputs)], "i4")
        new.tree.signatureDefs = _move_outputs(self._source.signatureDefs, moved)
        drop_unused(new.tree)
        set_min_runtime(new.tree)
        if "int16" in self._precisions:
            flatbuffer.require_runtime(new.tree, OLDEST_INT16)
        dense = [i for i, name in enumerate(self._names) if name == "FULLY_CONNECTED"]
        if self._target.per_channel and any(map(self._weights_dtype, dense)):
            flatbuffer.require_runtime(new.tree, _OLDEST_INT4_CHANNELS)
        return flatbuffer.serialize(new.tree)

    # ------------------------------------------------------------ parameters

    def _propagate(self, dtype: str) -> Forms:
        """The parameters of the tensors of the operators with one precision."""
        nodes = [
            node if precision == dtype else Node((), ())
            for node, precision in zip(self._nodes, self._precisions, strict=True)
        ]
        if dtype not in self._precisions:
            return Forms()
        own = {index: from_range(*span, dtype) for index, span in self._ranges.items()}
        if dtype == "int16":
            for index in self._growing:
                own[index] = own[index]._replace(scale=_ROOM * own[index].scale)
            return propagate_int16(nodes, own, self._constants)
        outputs = set(flatbuffer.indices(self._graph.outputs))
        forms = propagate(nodes, own, self._constants, outputs)
        self._fold(nodes, forms)
        return forms

    def _fold(self, nodes: list[Node], forms: Forms) -> None:
        """Let an operator that can choose its scale make what all of its readers want."""
        readers = defaultdict(list)
        others = set(flatbuffer.indices(self._graph.outputs))  # read otherwise, too
        for place, (node, operator) in enumerate(zip(nodes, self._graph.operators, strict=True)):
            for index in dict.fromkeys(node.reads):
                readers[index].append(place)
            others.update(i for i in flatbuffer.indices(operator.inputs) if i not in node.reads)
        for node in nodes:
            is_free = not node.is_same_scale and node.fixed is None
            for index in node.makes if is_free else ():
                wanted = {forms.of_operand(place, index) for place in readers[index]}
                if index not in others and len(wanted) == 1:
                    (only,) = wanted
                    if only is not None:
                        forms.own[index] = only

    def _is_float(self, index: int) -> bool:
        """Whether a tensor can be quantized; integers and booleans stay as they are."""
        return flatbuffer.dtype(self._graph.tensors[index]) == "float32"

    def _interface_form(self, index: int, *, is_input: bool) -> Affine:
        """The form in which the model takes an input or returns an output."""
        io = self._target.io
        if io == "float32" or index in (self._real_inputs if is_input else self._real_outputs):
            return REAL
        dtype = "int16" if io == "int16" else "int8"
        own = self._forms[dtype].own.get(index) or self._of_range(index, dtype)
        return as_uint8(own) if io == "uint8" else own

    def _of_range(self, index: int, dtype: str) -> Affine:
        if index not in self._ranges:
            name = flatbuffer.tensor_name(self._graph, index)
            raise QuantizationError(f"Calibration found no range for the tensor {name!r}.")
        return from_range(*self._ranges[index], dtype)

    # ------------------------------------------------------------ operators

    def _add(self, place: int, operator: Any) -> None:
        """Add an operator in its precision, behind the conversions that it needs."""
        precision, name, new = self._precisions[place], self._names[place], self._new
        if precision == "int8" and self._lstms[place] is not None:
            self._add_lstm(place, operator)
            return
        if place in self._tables:
            self._add_table(place, self._tables[place])
        if place in self._replaced:
            return
        if precision in INTEGERS and name in comparisons.KINDS:
            self._add_comparison(place, operator)
            return
        made = copy.copy(operator)
        inputs, outputs = flatbuffer.indices(operator.inputs), flatbuffer.indices(operator.outputs)
        real = set(real_tensors(self._source, operator))
        if precision in INTEGERS:
            stored = self._store(place, precision)
            forms = self._forms[precision]
            made.inputs = [
                stored[index] if index in stored
                else new.read(index, self._operand(forms, place, index, precision))
                if index in real else index
                for index in inputs
            ]  # fmt: skip
            for index in outputs:
                if index in real:
                    new.make(index, forms.of_result(index) or self._of_range(index, precision))
        else:
            made.inputs = [
                new.read(index, REAL) if index in real and index not in self._constants else index
                for index in inputs
            ]
            for index in outputs:
                if index in real:
                    new.make(index, REAL)
        made.inputs = np.array(made.inputs, np.int32)
        if precision == "int16" and hasattr(made.builtinOptions, "potScaleInt16"):
            made.builtinOptions = copy.copy(made.builtinOptions)
            made.builtinOptions.potScaleInt16 = False  # scales are not powers of two
        new.graph.operators.append(made)
        if precision in INTEGERS:
            set_version(new.tree, new.graph, made, name, self._weights_dtype(place) or precision)

    def _add_lstm(self, place: int, operator: Any) -> None:
        own, forms = self._lstms[place], self._forms["int8"]
        assert own is not None
        given = self._operand(forms, place, own.data, "int8")
        result = forms.of_result(own.result) or self._of_range(own.result, "int8")
        made = write_lstm(self._new, self._source, operator, own, given, result, self._ranges)
        self._new.graph.operators.append(made)
        set_version(self._new.tree, self._new.graph, made, lstm.NAME, "int8")

    def _add_table(self, place: int, table: Table) -> None:
        """Add the operators that look up a function of one tensor."""
        forms, new = self._forms["int8"], self._new
        given = self._operand(forms, place, table.source, "int8")
        result = forms.of_result(table.result) or self._of_range(table.result, "int8")
        source = new.read(table.source, given)
        new.make(table.result, result)
        entries = fill_table(self._source, table, _spec(given), _spec(result))
        new.graph.operators += look_up(new.tree, new.graph, source, table.result, entries)

    def _add_comparison(self, place: int, operator: Any) -> None:
        """Add the operators that compare real values as INT32 numbers."""
        dtype, new, pair = self._precisions[place], self._new, flatbuffer.indices(operator.inputs)
        assert dtype is not None
        computed = [index for index in pair if index not in self._constants]
        found = []
        for index in pair:
            # A constant is counted in the steps of the other operand.
            known = index if index in computed or not computed else computed[0]
            form = self._operand(self._forms[dtype], place, known, dtype)
            if index in computed:
                found.append(comparisons.Operand(form, new.read(index, form)))
            else:
                values = flatbuffer.constant(self._source, self._graph.tensors[index])
                is_input = known in flatbuffer.indices(self._graph.inputs)
                found.append(comparisons.Operand(form, None, values, is_input))
        made = comparisons.compare(new.tree, new.graph, operator, self._names[place], found)
        new.graph.operators += made

    def _operand(self, forms: Forms, place: int, index: int, dtype: str) -> Affine:
        return forms.of_operand(place, index) or self._of_range(index, dtype)

    def _weights_dtype(self, place: int) -> str | None:
        """Dtype of INT4 weights; None for others."""
        if self._filters[place] is None or self._precisions[place] != "int8":
            return None
        name = name_of(self._source, self._graph.operators[place])
        return "int4" if name in self._target.int4 else None

    def _store(self, place: int, dtype: str) -> dict[int, int]:
        """The constants of an integer operator: tensor of the float model to the new one."""
        operator, filter_, new = self._graph.operators[place], self._filters[place], self._new
        forms, found = self._forms[dtype], {}
        if filter_ is not None and filter_.weights >= 0:
            given = self._operand(forms, place, filter_.data, dtype)
            kind = self._weights_dtype(place) or "int8"
            found = self._filter_store.store(new, filter_, kind, given)
        for index in real_tensors(self._source, operator):
            if index in found or index not in self._constants:
                continue
            values = flatbuffer.constant(self._source, self._graph.tensors[index])
            if np.isnan(values).any():
                named = flatbuffer.tensor_name(self._graph, index)
                user = name_of(self._source, operator)
                raise QuantizationError(
                    f"The constant {named!r} holds NaN, which {dtype.upper()} cannot represent.",
                    hint=f"Keep its operator in float: {repeat_option('--keep-float', [user])}",
                )
            own = forms.wanted.get((place, index))
            if own is None:
                own = from_range(*integers.constant_range(values), dtype)
            found[index] = new.constant(index, integers.store_constant(values, own), own)
        return found


def _spec(own: Affine) -> TensorSpec:
    return TensorSpec("", (), own.dtype, (own.scale,), (own.zero_point,))


def _move_outputs(signatures: Any, moved: Mapping[int, int]) -> Any:
    """The signatures with the numbers that the main subgraph's outputs have now."""
    made = []
    for signature in signatures or ():
        own = copy.copy(signature)
        if own.subgraphIndex == 0:
            own.outputs = [copy.copy(entry) for entry in own.outputs or ()]
            for entry in own.outputs:
                entry.tensorIndex = moved.get(entry.tensorIndex, entry.tensorIndex)
        made.append(own)
    return made
