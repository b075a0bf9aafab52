"""Integers for a layer's weights: rounded with feedback, refitted to the quantized inputs.

A layer is a group of linear maps `y = W x + b`, one for a convolution or a dense layer, one per
channel for a depthwise convolution. Arrays carry the groups first: inputs X [G, rows, K], weights
W [G, O, K]. A row is one position of one sample, K the number of filter taps times channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]

# Parts of the mean diagonal added to it, at least and per input and row. Without them, with few
# rows, inputs that changed very little would have to compensate the errors of all others.
_DAMPING = 0.01
_DAMPING_BY_ROWS = 0.1
_BLOCK = 64
# Parts of a scale that clipping tries. Those of INT4 weights clip already where that lowers the
# error of the weights, so wider ones are tried, too.
_SHARES = {
    127: (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7),
    7: (1.4, 1.3, 1.2, 1.15, 1.1, 1.05, 1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6),
}


@dataclass(frozen=True)
class Moments:
    """Centred second moments of a layer's inputs over the rows that fit.

    Attributes:
        quantized: [G, K, K], of the inputs as the INT8 model has them.
        crossed: [G, K, K], of float inputs with quantized ones; only `refit` needs it.
        rows: that they were measured on.
    """

    quantized: Real
    crossed: Real | None
    rows: int

    @cached_property
    def damped(self) -> Real:
        """`quantized` with something added to its diagonal, [G, K, K]."""
        size = self.quantized.shape[-1]
        mean = np.trace(self.quantized, axis1=1, axis2=2) / size
        damped: Real = self.quantized + self.share * mean[:, np.newaxis, np.newaxis] * np.eye(size)
        damped += 1e-12 * np.eye(size)
        return damped

    @property
    def share(self) -> float:
        """The part of the mean diagonal that is added to it."""
        return _DAMPING + _DAMPING_BY_ROWS * float(self.quantized.shape[-1]) / self.rows

    @cached_property
    def feedback(self) -> Real:
        """Unit upper triangular U with `damped` = U D U' and a diagonal D, [G, K, K]."""
        turned = np.linalg.cholesky(self.damped[:, ::-1, ::-1])
        upper = turned[:, ::-1, ::-1]
        unit: Real = upper / np.diagonal(upper, axis1=1, axis2=2)[:, np.newaxis]
        return unit


def mean_row(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean over rows, [G, rows, K] -> [G, K]: `mean(axis=1)` takes four times longer."""
    mean: NDArray[np.float32] = np.einsum("grk->gk", values) / np.float32(values.shape[1])
    return mean


def measure_moments(quantized: NDArray[np.float32], real: NDArray[np.float32] | None) -> Moments:
    """Moments of the inputs.

    Args:
        quantized: [G, rows, K] of the INT8 model in real units, without their mean.
        real: [G, rows, K] of the float model, without their mean; only `refit` needs it.
    """
    crossed = None if real is None else real.transpose(0, 2, 1) @ quantized
    return Moments(
        (quantized.transpose(0, 2, 1) @ quantized).astype(np.float64),
        None if crossed is None else crossed.astype(np.float64),
        quantized.shape[1],
    )


def refit(weights: Real, moments: Moments) -> Real:
    """Weights that give the float model's outputs from the INT8 model's inputs.

    Ridge regression towards the float weights: with inputs x (float) and z (INT8),
    `W E[x z'] (E[z z'])^-1`, so that what the layers before did wrong in a systematic way is
    undone here.

    Args:
        weights: [G, O, K], float.

    Returns:
        [G, O, K].
    """
    assert moments.crossed is not None
    target = weights @ (moments.crossed + moments.damped - moments.quantized)
    solved = np.linalg.solve(moments.damped, target.transpose(0, 2, 1))
    return np.asarray(solved.transpose(0, 2, 1))


def round_with_feedback(weights: Real, moments: Moments, scales: Real, most: int = 127) -> Real:
    """Round weights one input at a time, the error of each carried over to those still to come.

    Minimizes the error of the outputs on the samples, not of the weights: E. Frantar et al.,
    "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers"
    (ICLR 2023), section 3, with per-channel scales. It is computed in the equivalent form of
    J. Chee et al., "QuIP: 2-Bit Quantization of Large Language Models With Guarantees" (NeurIPS
    2023), section 3, which needs no inverse of the moments.

    Args:
        weights: [G, O, K] in real units.
        scales: [G, O].
        most: the largest integer, 127 for INT8 or 7 for INT4.

    Returns:
        Integers -most..most as float, [G, O, K].
    """
    steps, size = weights / scales[..., np.newaxis], weights.shape[-1]
    upper = moments.feedback
    rounded: Real = np.empty_like(steps)
    lost: Real = np.zeros_like(steps)
    for start in range(0, size, _BLOCK):
        end = min(start + _BLOCK, size)
        wanted = steps[..., start:end] + lost[..., :start] @ upper[:, :start, start:end]
        for column in range(start, end):
            carried = lost[..., start:column] @ upper[:, start:column, column, np.newaxis]
            whole = np.rint(wanted[..., column - start] + carried[..., 0])
            rounded[..., column] = np.minimum(np.maximum(whole, -most), most)
            lost[..., column] = steps[..., column] - rounded[..., column]
    return rounded


def round_plainly(weights: Real, scales: Real, most: int = 127) -> Real:
    """Each weight to the nearest integer, -most..most; weights and scales of the same shape."""
    whole: Real = np.clip(np.rint(weights / scales), -most, most)
    return whole


def clip_scales(weights: Real, moments: Moments, scales: Real, most: int = 127) -> Real:
    """Other scales where clipping a channel's largest weights lowers the outputs' error.

    Each weight's error counts with the variance of its input, as if inputs were independent.

    Args:
        weights: [G, O, K] in real units.
        scales: [G, O]; of INT8 they cover the largest weight.
        most: the largest integer, 127 for INT8 or 7 for INT4.

    Returns:
        [G, O], each between 0.7 and 1 times what it was, for INT4 between 0.6 and 1.4 times.
    """
    best: Real = scales.copy()
    least: Real = np.full(scales.shape, np.inf)
    energy = np.diagonal(moments.quantized, axis1=1, axis2=2)
    for share in _SHARES[most]:
        tried = scales * share
        steps = tried[..., np.newaxis]
        lost = weights - round_plainly(weights, steps, most) * steps
        error = np.einsum("gok,gk->go", lost**2, energy)
        # A tie keeps the larger scale, which clips nothing.
        is_better = error < least * (1 - 1e-9)
        best, least = np.where(is_better, tried, best), np.where(is_better, error, least)
    return best
