"""The tensors inside of a fused LSTM, which no interpreter shows: computed again, step by step.

The arithmetic is that of the float kernel (tensorflow/lite/kernels/lstm_eval.cc).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.tflite import flatbuffer, lstm

Values = NDArray[np.float32]

_EPSILON = np.float32(1e-8)  # of the kernel's layer normalization


class LstmSteps:
    """One fused LSTM with its weights.

    Args:
        tree: the float model.
        own: an LSTM that `lstm.why_float` accepts.
    """

    def __init__(self, tree: Any, own: lstm.FusedLstm):
        self.own, self.inner = own, own.inner()
        tensors = tree.subgraphs[0].tensors

        def stored(index: int) -> Values | None:
            if index < 0:
                return None
            return flatbuffer.constant(tree, tensors[index]).astype(np.float32)

        self._gates = [gate for gate in range(4) if own.weights[gate] >= 0]
        self._weights = np.concatenate([stored(own.weights[gate]) for gate in self._gates])
        self._recurrent = np.concatenate([stored(own.recurrent[gate]) for gate in self._gates])
        self._peepholes, self._biases, self._norms = (
            [stored(index) for index in group] for group in (own.peepholes, own.biases, own.norms)
        )
        self._projection, self._bias = stored(own.projection), stored(own.projection_bias)

    def run(self, data: Values) -> list[Values]:
        """The values of the inner tensors for one inference that begins with zero states.

        Args:
            data: the LSTM's input, [batch, steps, inputs] or time-major.

        Returns:
            For each tensor in `inner` its values at every step, [steps, batch, ...].
        """
        steps = data if self.own.is_time_major else np.swapaxes(data, 0, 1)
        cells = len(self._weights) // len(self._gates)
        cell = np.zeros((steps.shape[1], cells), np.float32)
        hidden = np.zeros((steps.shape[1], self._recurrent.shape[1]), np.float32)
        seen: dict[int, list[Values]] = {index: [] for index in self.inner}
        # One product for all steps; a sum in another order than the kernel's.
        given = steps @ self._weights.T
        for step in given:
            both = step + hidden @ self._recurrent.T
            sums = dict(zip(self._gates, np.split(both, len(self._gates), axis=1), strict=True))
            found = {gate: self._gate(sums, gate, cell) for gate in self._gates[:-1]}
            forget = _sigmoid(found[1])
            enter = _sigmoid(found[0]) if 0 in found else 1 - forget
            cell = _clip(forget * cell + enter * np.tanh(found[2]), self.own.cell_clip)
            hidden = _sigmoid(self._gate(sums, 3, cell)) * np.tanh(cell)
            values = {self.own.cell: cell, self.own.unprojected: hidden}
            values |= {index: sums[g] for g, index in enumerate(self.own.sums) if g in sums}
            if self._projection is not None:
                hidden = hidden @ self._projection.T + (0 if self._bias is None else self._bias)
                hidden = _clip(hidden, self.own.projection_clip)
            for index, rows in seen.items():
                rows.append(values[index])
        return [np.stack(rows) for rows in seen.values()]

    def _gate(self, sums: dict[int, Values], gate: int, cell: Values) -> Values:
        """A gate before its activation; its sum gets the peephole's part."""
        peephole, norm, bias = self._peepholes[gate], self._norms[gate], self._biases[gate]
        if peephole is not None:
            sums[gate] = sums[gate] + cell * peephole
        total = sums[gate]
        if norm is not None:
            centred = total - total.mean(axis=1, keepdims=True)
            variance = np.mean(centred**2, axis=1, keepdims=True)
            total = centred / np.sqrt(variance + _EPSILON) * norm
        return total if bias is None else total + bias


def find_lstms(tree: Any) -> list[LstmSteps]:
    """The fused LSTMs of the main subgraph that have an integer form."""
    found = []
    for operator in tree.subgraphs[0].operators:
        own = lstm.read(tree, operator)
        if own is not None and lstm.why_float(tree, operator) is None:
            found.append(LstmSteps(tree, own))
    return found


def _sigmoid(values: Values) -> Values:
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * values), np.float32)


def _clip(values: Values, limit: float) -> Values:
    return np.clip(values, -limit, limit) if limit > 0 else values
