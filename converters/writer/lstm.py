"""The fused LSTM in integers: INT8 weights, input and hidden state, INT16 cell state.

The rules are those of TensorFlow's quantizer (prepare_quantize_lstm.h, operator_property.cc),
with one exception: the scale of the cell state stays between 2**-15 and 2**-9, because the kernel
computes no other tanh.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgeq.converters.writer import integers
from edgeq.converters.writer.integers import Stored
from edgeq.converters.writer.parameters import INT16_PEAK, Affine, from_range, set_parameters
from edgeq.converters.writer.rebuilding import Rebuilding
from edgeq.errors import QuantizationError
from edgeq.tflite import flatbuffer, kernels
from edgeq.tflite.lstm import GATES, INPUTS, FusedLstm

_MOST_BITS = 6  # of the cell state before the binary point
_NORM_STEP = 2.0**-10  # of a bias behind layer normalization, in steps of the coefficients
_EMPTY = [0]  # shape of tensors that hold parameters only

Span = tuple[float, float]


def write_lstm(
    new: Rebuilding,
    source: Any,
    operator: Any,
    own: FusedLstm,
    given: Affine,
    made: Affine,
    spans: Mapping[int, Span],
) -> Any:
    """The integer form of a fused LSTM, without its version.

    Args:
        new: the quantized graph, which gets its constants, states and intermediates.
        source: the float model.
        operator: the LSTM there.
        own: its tensors.
        given: parameters of its input.
        made: parameters of its result, which are those of the hidden state, too.
        spans: tensor to calibrated range, of `own.inner()`.

    Raises:
        QuantizationError: a range is missing.
    """
    maker = _Maker(new, source, spans)
    inputs = maker.store_gates(own, given)
    hidden = made
    if own.projection >= 0:
        hidden = from_range(*maker.span(own.unprojected), "int8")
        inputs[16:18] = maker.store_product(own.projection, own.projection_bias, hidden)
    inputs[0] = new.read(own.data, given)
    inputs[18:20] = own.hidden, own.cell
    new.make(own.hidden, made)
    new.make(own.cell, cell_form(*maker.span(own.cell)))
    new.make(own.result, made)
    if own.is_stateless:
        new.graph.operators += _clear_states(new, own, inputs[0], given, made)
    result = copy.copy(operator)
    result.inputs = np.array(inputs, np.int32)
    between = [*maker.sums(own), maker.add("effective_hidden_scale", hidden)]
    result.intermediates = np.array(between, np.int32)
    return result


def _clear_states(
    new: Rebuilding, own: FusedLstm, data: int, given: Affine, made: Affine
) -> list[Any]:
    """Operators that set both states to zero, so that no call depends on the previous one.

    The states are variables, which the kernel leaves as they are after the last step, and which
    few programs reset. A value of the input times zero is written into them.

    Args:
        data: index of the quantized input.
        given, made: parameters of the input and of the hidden state.
    """
    tree, graph, kit = new.tree, new.graph, flatbuffer.schema()
    stem = flatbuffer.tensor_name(graph, own.hidden)
    batch, cells = flatbuffer.indices(graph.tensors[own.hidden].shape)

    def constant(name: str, values: Any) -> int:
        return flatbuffer.add_constant(tree, graph, f"{stem}/{name}", values)

    first, column = (
        flatbuffer.add_tensor(graph, f"{stem}/{name}", shape, "int8")
        for name, shape in (("first", [batch, 1, 1]), ("column", [batch, 1]))
    )
    zeros = constant("zeros", np.zeros((1, cells), np.int8))
    for index, form in ((first, given), (column, given)):
        set_parameters(graph.tensors[index], form)
    set_parameters(graph.tensors[zeros], Affine("int8", made.scale / given.scale / 2))
    begin = constant("begin", np.zeros(3, np.int32))
    size, shape = (constant("size", np.array([batch, 1, 1], np.int32)),
                   constant("shape", np.array([batch, 1], np.int32)))  # fmt: skip
    reshaping = kit.ReshapeOptionsT()
    reshaping.newShape = np.array([batch, 1], np.int32)
    return [
        flatbuffer.make_operator(
            tree, kind, reads, [result], version=kernels.version(kind, dtype), options=options
        )
        for kind, reads, result, dtype, options in (
            ("SLICE", [data, begin, size], first, "int8", kit.SliceOptionsT()),
            ("RESHAPE", [first, shape], column, "int8", reshaping),
            ("MUL", [column, zeros], own.hidden, "int8", kit.MulOptionsT()),
            ("QUANTIZE", [own.hidden], own.cell, "int16", kit.QuantizeOptionsT()),
        )
    ]


def cell_form(low: float, high: float) -> Affine:
    """The parameters of a cell state: INT16 with the next power of two as limit."""
    peak = max(-low, high)
    bits = math.ceil(math.log2(peak)) if peak > 0 else 0
    return Affine("int16", 2.0 ** (min(max(bits, 0), _MOST_BITS) - 15))


class _Maker:
    """Stores the tensors of one LSTM."""

    def __init__(self, new: Rebuilding, source: Any, spans: Mapping[int, Span]):
        self._new, self._source, self._spans = new, source, spans

    def span(self, index: int) -> Span:
        if index not in self._spans:
            graph = self._source.subgraphs[0]
            name = "of an LSTM" if index < 0 else repr(flatbuffer.tensor_name(graph, index))
            raise QuantizationError(f"Calibration found no range for the inner tensor {name}.")
        return self._spans[index]

    def store_gates(self, own: FusedLstm, given: Affine) -> list[int]:
        """The 24 inputs with the weights and biases of the gates; -1 for all others.

        Gates may share a constant, such as a bias of zeros, and store it with different scales.
        """
        inputs = [-1] * INPUTS
        for gate, weights in enumerate(own.weights):
            if weights < 0:
                continue
            norm, bias, peephole = own.norms[gate], own.biases[gate], own.peepholes[gate]
            if norm >= 0:
                step = Affine("int32", _NORM_STEP)
                inputs[1 + gate] = self._store(weights, self._rounded(weights, 127))
                inputs[20 + gate], inputs[12 + gate] = self.store_product(
                    norm, bias, step, INT16_PEAK
                )
            else:
                inputs[1 + gate], inputs[12 + gate] = self.store_product(weights, bias, given)
            recurrent = own.recurrent[gate]
            inputs[5 + gate] = self._store(recurrent, self._rounded(recurrent, 127))
            if peephole >= 0:
                place = 9 + min(gate, 2)
                inputs[place] = self._store(peephole, self._rounded(peephole, INT16_PEAK))
        return inputs

    def store_product(
        self, weights: int, bias: int, given: Affine, peak: int = 127
    ) -> tuple[int, int]:
        """Weights, and a bias in steps of the accumulator, which widens their scale if needed."""
        stored = self._rounded(weights, peak)
        if bias < 0:
            return self._store(weights, stored), -1
        values = self._values(bias)
        fitting, steps = integers.fit_bias(values, given, stored.scales)
        if fitting != stored.scales:
            stored = self._rounded(weights, peak, fitting)
        return (
            self._store(weights, stored),
            self._store(bias, integers.store_bias(values, steps)),
        )

    def sums(self, own: FusedLstm) -> list[int]:
        """The intermediates with the parameters of the gates before layer normalization.

        The kernel needs parameters of an absent input gate, too, and computes nonsense without.
        """
        found = []
        for gate, name in enumerate(GATES):
            form = None
            if own.has_norms:
                index = own.sums[gate] if own.sums else -1
                low, high = self.span(index) if own.norms[gate] >= 0 else (-1.0, 1.0)
                form = from_range(low, high, "int16")
            found.append(self.add(f"input_to_{name}", form))
        return found

    def add(self, name: str, form: Affine | None) -> int:
        """A new intermediate, which holds parameters only."""
        graph = self._new.graph
        index = flatbuffer.add_tensor(graph, f"{name}_intermediate", _EMPTY, "float32")
        if form is not None:
            set_parameters(graph.tensors[index], form)
        return index

    def _values(self, index: int) -> Any:
        return flatbuffer.constant(self._source, self._source.subgraphs[0].tensors[index])

    def _rounded(self, index: int, peak: int, scales: Any = None) -> Stored:
        values = self._values(index)
        scales = integers.weight_scales(values, None, peak) if scales is None else scales
        dtype = "int8" if peak == 127 else "int16"
        return Stored(integers.round_weights(values, scales, None, peak), dtype, scales)

    def _store(self, index: int, stored: Stored) -> int:
        return self._new.constant(index, stored, (stored.dtype, stored.scales.tobytes()))
