"""The front end of a keyword model as the tables that generated code has.

A frame is multiplied by the taper and transformed: `leaves` transforms of the odd factor of the
size, then butterflies of radix 2. `compute` does the same in NumPy: it proves the tables, and shows
how far a precision is from that of `eval`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.converters.samples.sounds import features
from edgeq.values import FrontEnd

Table = NDArray[np.float64]

_BLOCK_POINTS = 1 << 20  # that are transformed at a time
_NONE = np.zeros(0)


@dataclass(frozen=True, eq=False)
class Tables:
    """Constants of a front end.

    Attributes:
        odd: the odd factor of `fft`; the rest is a power of two.
        taper: factor of each sample of a frame, [window].
        cosines: cos(2 pi i / fft) for all i that are used.
        sines: the same of the sine.
        starts: the first frequency of each band, [bands].
        counts: number of frequencies of each band, [bands].
        weights: of the frequencies of all bands, one band after the other.
        transform: [bands, coefficients]; empty without a cosine transform.
    """

    odd: int
    taper: Table
    cosines: Table
    sines: Table
    starts: NDArray[np.int64]
    counts: NDArray[np.int64]
    weights: Table
    transform: Table


def make_tables(sound: FrontEnd) -> Tables:
    """The constants that generated code has for a front end."""
    odd = sound.fft
    while odd % 2 == 0:
        odd //= 2
    # Butterflies use half of the circle, the odd factor all of it.
    turns = np.arange(sound.fft if odd > 1 else max(1, sound.fft // 2)) / sound.fft
    starts, counts, weights = [], [], []
    for band in features.filters(sound) if sound.bands else ():
        used = np.flatnonzero(band)
        start, end = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 0)
        starts.append(start)
        counts.append(end - start)
        weights.append(band[start:end])
    return Tables(
        odd,
        features.taper(sound),
        np.cos(2 * np.pi * turns),
        np.sin(2 * np.pi * turns),
        np.array(starts, np.int64),
        np.array(counts, np.int64),
        np.concatenate([_NONE, *weights]),
        features.cosines(sound.bands, sound.coefficients) if sound.coefficients else _NONE,
    )


def compute(sound: FrontEnd, wave: NDArray[Any], dtype: type[np.floating[Any]]) -> NDArray[Any]:
    """The features as generated code computes them.

    Args:
        wave: [samples], at least a window.
        dtype: float64 or float32, of tables and arithmetic.

    Returns:
        [frames, values], `dtype`.
    """
    tables = make_tables(sound)
    with np.errstate(all="ignore"):  # a floor may be too small for float32
        return _in_blocks(sound, tables, wave, dtype)


def _in_blocks(
    sound: FrontEnd, tables: Tables, wave: NDArray[Any], dtype: type[np.floating[Any]]
) -> NDArray[Any]:
    starts = np.arange(features.frame_count(sound, len(wave))) * sound.hop
    size, offsets = max(1, _BLOCK_POINTS // sound.fft), np.arange(sound.window)
    return np.concatenate(
        [
            _features(sound, tables, wave[starts[i : i + size, np.newaxis] + offsets], dtype)
            for i in range(0, len(starts), size)
        ]
    )


def _features(
    sound: FrontEnd, tables: Tables, frames: NDArray[Any], dtype: type[np.floating[Any]]
) -> NDArray[Any]:
    values = np.zeros((len(frames), sound.fft), dtype)
    values[:, : sound.window] = frames.astype(dtype) * tables.taper.astype(dtype)
    real, imaginary = _transform(tables, values)
    half = sound.fft // 2 + 1
    energies: NDArray[Any] = (
        real[:, :half] * real[:, :half] + imaginary[:, :half] * imaginary[:, :half]
    )
    if sound.power == 1:
        energies = np.sqrt(energies)
    if sound.kind == "spectrogram":
        return energies
    bands: NDArray[Any] = np.zeros((len(frames), sound.bands), dtype)
    weights, place = tables.weights.astype(dtype), 0
    for band, (start, count) in enumerate(zip(tables.starts, tables.counts, strict=True)):
        bands[:, band] = energies[:, start : start + count] @ weights[place : place + count]
        place += count
    bands = np.log(bands + dtype(sound.floor))
    return bands if sound.kind == "log-mel" else bands @ tables.transform.astype(dtype)


def _transform(tables: Tables, values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Real and imaginary part of the Fourier transform of each row, in the type of the rows."""
    dtype, size = values.dtype, values.shape[1]
    cosines, sines = tables.cosines.astype(dtype), tables.sines.astype(dtype)
    odd, leaves = tables.odd, size // tables.odd
    real, imaginary = np.zeros_like(values), np.zeros_like(values)
    place = 0  # of the leaf's first sample: its number with the bits reversed
    for leaf in range(leaves):
        own = values[:, place::leaves]
        for k in range(odd):
            turns = np.arange(odd) * k % odd * leaves
            real[:, leaf * odd + k] = own @ cosines[turns]
            imaginary[:, leaf * odd + k] = -(own @ sines[turns])
        bit = leaves >> 1
        while place & bit:
            place ^= bit
            bit >>= 1
        place |= bit
    half = odd
    while half < size:
        turns = np.arange(half) * (size // (2 * half))
        for start in range(0, size, 2 * half):
            low, high = slice(start, start + half), slice(start + half, start + 2 * half)
            turned = real[:, high] * cosines[turns] + imaginary[:, high] * sines[turns]
            other = imaginary[:, high] * cosines[turns] - real[:, high] * sines[turns]
            real[:, high], imaginary[:, high] = real[:, low] - turned, imaginary[:, low] - other
            real[:, low], imaginary[:, low] = real[:, low] + turned, imaginary[:, low] + other
        half *= 2
    return real, imaginary
