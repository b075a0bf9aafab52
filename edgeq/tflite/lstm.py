"""The tensors of the fused LSTM, UNIDIRECTIONAL_SEQUENCE_LSTM.

Order of the inputs and intermediates: tensorflow/lite/kernels/lstm_shared.h.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from edgeq.tflite import flatbuffer

NAME = "UNIDIRECTIONAL_SEQUENCE_LSTM"
GATES = ("input", "forget", "cell", "output")
INPUTS, _OLD_INPUTS = 24, 20  # files without layer normalization may have 20
TANH = 4  # code of ActivationFunctionType
# The end of the names of states that begin with zeros for each sample, as in Keras.
PER_SAMPLE = "_of_one_sample"


@dataclass(frozen=True)
class FusedLstm:
    """Tensors of a fused LSTM; -1 for absent ones. Groups of four are in the order of `GATES`.

    Attributes:
        data: [batch, steps, inputs], or [steps, batch, inputs] if it is time-major.
        weights: [cells, inputs] each; the input gate's is absent if it is 1 - the forget gate.
        recurrent: [cells, outputs] each.
        peepholes: [cells] each; the cell gate has none.
        biases: [cells] each.
        projection: [outputs, cells].
        projection_bias: [outputs].
        hidden: state, [batch, outputs].
        cell: state, [batch, cells].
        norms: [cells] each, coefficients of layer normalization.
        result: the hidden state of every step.
        sums: intermediates: the gates before layer normalization; empty if the file has none.
        unprojected: intermediate: the hidden state before the projection.
        is_time_major: whether steps come before the batch.
        is_stateless: whether each sample begins with states of zero; the kernel keeps states.
        cell_clip, projection_clip: limits of magnitudes; 0 for unlimited.
    """

    data: int
    weights: tuple[int, ...]
    recurrent: tuple[int, ...]
    peepholes: tuple[int, ...]
    biases: tuple[int, ...]
    projection: int
    projection_bias: int
    hidden: int
    cell: int
    norms: tuple[int, ...]
    result: int
    sums: tuple[int, ...]
    unprojected: int
    is_time_major: bool
    is_stateless: bool
    cell_clip: float
    projection_clip: float

    @property
    def has_norms(self) -> bool:
        """Whether its gates are normalized; all or none are."""
        return self.norms[1] >= 0

    def constants(self) -> tuple[int, ...]:
        """The stored tensors that it has."""
        found = (*self.weights, *self.recurrent, *self.peepholes, *self.biases, self.projection,
                 self.projection_bias, *self.norms)  # fmt: skip
        return tuple(index for index in found if index >= 0)

    def inner(self) -> tuple[int, ...]:
        """The tensors between its input and its result whose ranges the integer form needs."""
        sums = [index for index, norm in zip(self.sums, self.norms, strict=False) if norm >= 0]
        hidden = [self.unprojected] if self.projection >= 0 and self.unprojected >= 0 else []
        return (self.cell, *sums, *hidden)


def count(tree: Any) -> int:
    """The number of fused LSTMs in the main subgraph."""
    operators = tree.subgraphs[0].operators
    return sum(flatbuffer.operator_name(tree, operator) == NAME for operator in operators)


def keeping_state(tree: Any) -> tuple[str, ...]:
    """Names of the results of fused LSTMs whose states no operator sets, so that calls depend on
    each other.
    """
    graph = tree.subgraphs[0]
    made = {index for item in graph.operators for index in flatbuffer.indices(item.outputs)}
    found = [own for item in graph.operators if (own := read(tree, item)) is not None]
    return tuple(
        flatbuffer.tensor_name(graph, own.result) for own in found if own.hidden not in made
    )


def read(tree: Any, operator: Any) -> FusedLstm | None:
    """A fused LSTM's tensors; None for other operators and for damaged ones."""
    found, results = flatbuffer.indices(operator.inputs), flatbuffer.indices(operator.outputs)
    if flatbuffer.operator_name(tree, operator) != NAME or len(results) != 1:
        return None
    if len(found) not in (_OLD_INPUTS, INPUTS):
        return None
    inputs = (*found, *(-1,) * (INPUTS - len(found)))
    between, options = flatbuffer.indices(operator.intermediates), _options(operator)
    return FusedLstm(
        data=inputs[0],
        weights=inputs[1:5],
        recurrent=inputs[5:9],
        peepholes=(*inputs[9:11], -1, inputs[11]),
        biases=inputs[12:16],
        projection=inputs[16],
        projection_bias=inputs[17],
        hidden=inputs[18],
        cell=inputs[19],
        norms=inputs[20:24],
        result=results[0],
        sums=between[:4],
        unprojected=between[4] if len(between) > 4 else -1,
        is_time_major=bool(options is not None and options.timeMajor),
        is_stateless=_is_stateless(tree, inputs[18]),
        cell_clip=0.0 if options is None else float(options.cellClip),
        projection_clip=0.0 if options is None else float(options.projClip),
    )


def _is_stateless(tree: Any, hidden: int) -> bool:
    graph = tree.subgraphs[0]
    is_there = 0 <= hidden < len(graph.tensors)  # not in a damaged file
    return is_there and flatbuffer.tensor_name(graph, hidden).endswith(PER_SAMPLE)


def why_float(tree: Any, operator: Any) -> str | None:
    """The reason why a fused LSTM has no integer form; None if it has one.

    The integer kernel always applies tanh, and multiplies whole matrices
    (tensorflow/lite/kernels/lstm_eval.cc).
    """
    own, options = read(tree, operator), _options(operator)
    if own is None or options is None:
        return "it has neither 20 nor 24 inputs, or no options"
    needed = (*own.weights[1:], *own.recurrent[1:], *own.biases[1:], own.data, own.hidden, own.cell)
    if min(needed) < 0:
        return "it lacks weights, biases or a state"
    tensors = tree.subgraphs[0].tensors
    stored = [tensors[index] for index in own.constants()]
    recurrent = [flatbuffer.indices(tensors[index].shape) for index in own.recurrent[1:]]
    doubts = {
        "its activation is not tanh": options.fusedActivationFunction != TANH,
        "its weights are not stored as float32": any(
            not flatbuffer.is_constant(tree, tensor) or flatbuffer.dtype(tensor) != "float32"
            for tensor in stored
        ),
        "its recurrent weights are diagonal": any(len(shape) != 2 for shape in recurrent),
        "its input or its state is shared or constant": not _has_own_states(tree, own),
    }
    return next((reason for reason, holds in doubts.items() if holds), None)


def _options(operator: Any) -> Any:
    """The options of a fused LSTM; None if a damaged file has those of another operator."""
    options, kind = operator.builtinOptions, flatbuffer.schema().UnidirectionalSequenceLSTMOptionsT
    return options if isinstance(options, kind) else None


def _has_own_states(tree: Any, own: FusedLstm) -> bool:
    """Whether the input is computed, and the states are variables of this operator alone."""
    graph = tree.subgraphs[0]
    made = {index for item in graph.operators for index in flatbuffer.indices(item.outputs)}
    made |= set(flatbuffer.indices(graph.inputs))
    uses = Counter(index for item in graph.operators for index in flatbuffer.indices(item.inputs))
    return own.data in made and all(
        uses[index] == 1 and index not in made and graph.tensors[index].isVariable
        for index in (own.hidden, own.cell)
    )
