"""Sounds with NumPy alone: WAV files, and the features of keyword models.

Python packages contain this file, so they compute what the model was measured with.
"""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.values.front_end import FrontEnd

Real = NDArray[np.float32]

_INTEGER, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_FORMATS = {_INTEGER: (8, 16, 24, 32), _FLOAT: (32, 64)}  # bits of each
_UNKNOWN_SIZE = 0xFFFFFFFF  # of a sound that a program wrote into a pipe
_BLOCK_POINTS = 1 << 22  # that are transformed at a time


class SoundError(ValueError):
    """States what is wrong with a sound; `hint` says what to do, or is None."""

    def __init__(self, message: str, hint: str | None = None):
        super().__init__(message if hint is None else f"{message} {hint}")
        self.message = message
        self.hint = hint


# ---------------------------------------------------------------- WAV files


@dataclass(frozen=True)
class Wav:
    """A WAV file of one channel.

    Attributes:
        rate: samples per second.
        tag: 1 for PCM, 3 for floats.
        bits: of a sample.
        count: number of samples, above 0.
        data: the bytes of the samples.
    """

    rate: int
    tag: int
    bits: int
    count: int
    data: bytes


def parse_wav(content: bytes, where: str) -> Wav:
    """Read the header of a WAV file (Microsoft's RIFF, PCM or float).

    Args:
        content: of the file.
        where: names it in messages.

    Raises:
        SoundError: it is damaged, has several channels, or another format.
    """
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise SoundError(f"{where} is not a WAV file.", "Convert it, or remove it.")
    parts: dict[bytes, bytes] = {}
    place = 12
    while place + 8 <= len(content) and b"data" not in parts:
        key, size = struct.unpack_from("<4sI", content, place)
        left = len(content) - place - 8
        if left < size != _UNKNOWN_SIZE:
            raise SoundError(
                f"{where} is truncated: a part of it states {size:,} bytes, and {left:,} follow.",
                "Repair or remove it.",
            )
        parts[key] = content[place + 8 : place + 8 + size]
        place += 8 + size + size % 2
    form = parts.get(b"fmt ", b"")
    if len(form) < 16 or b"data" not in parts:
        raise SoundError(f"{where} is damaged or truncated.", "Repair or remove it.")
    tag, channels, rate, _, frame, bits = struct.unpack_from("<HHIIHH", form)
    if tag == _EXTENSIBLE and len(form) >= 26:
        (tag,) = struct.unpack_from("<H", form, 24)
    if channels != 1:
        raise SoundError(
            f"{where} has {channels} channels instead of one.",
            "Mix them: ffmpeg -i IN.wav -ac 1 OUT.wav",
        )
    if bits not in _FORMATS.get(tag, ()):
        raise SoundError(
            f"{where} has format {tag} with {bits} bits; only PCM of 8 to 32 bits and floats are "
            "read.",
            "Convert it: ffmpeg -i IN.wav -c:a pcm_s16le OUT.wav",
        )
    if frame != bits // 8:
        raise SoundError(
            f"{where} has {bits} bits in {frame} bytes, which is not read.",
            "Convert it: ffmpeg -i IN.wav -c:a pcm_s16le OUT.wav",
        )
    count = len(parts[b"data"]) // (bits // 8)
    if count == 0:
        raise SoundError(f"{where} holds no samples.", "Remove it.")
    return Wav(rate, tag, bits, count, parts[b"data"][: count * (bits // 8)])


def decode_wav(wav: Wav) -> Real:
    """The samples, from -1 to 1, float32 [count]."""
    data, bits = wav.data, wav.bits
    if wav.tag == _FLOAT:
        return np.frombuffer(data, f"<f{bits // 8}").astype(np.float32)
    if bits == 8:  # without sign, unlike the others
        values = np.frombuffer(data, np.uint8).astype(np.int32) - 128
    elif bits == 24:
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        values, bits = wide.view("<i4")[:, 0], 32
    else:
        values = np.frombuffer(data, f"<i{bits // 8}").astype(np.int32)
    scaled: Real = values.astype(np.float32) / np.float32(1 << (bits - 1))
    return scaled


def require_rate(found: int, declared: int, where: str) -> None:
    """Refuse a sound with another rate; nothing is resampled.

    Raises:
        SoundError: the rates differ.
    """
    if found != declared:
        raise SoundError(
            f"{where} has {found} samples per second, not {declared}.",
            f"Convert it: ffmpeg -i IN.wav -ar {declared} OUT.wav",
        )


def fit_length(clip: NDArray[Any], length: int) -> NDArray[Any]:
    """A sound of exactly `length` samples: cut at its end, or followed by zeros."""
    missing = max(0, length - len(clip))
    return np.concatenate([clip, np.zeros(missing, clip.dtype)])[:length]


# ---------------------------------------------------------------- features


def read_samples(clip: NDArray[Any], where: str) -> NDArray[Any]:
    """One channel of samples from -1 to 1.

    Args:
        clip: [samples]; real values from -1 to 1, or signed integers of 8 to 32 bits, which are
            scaled.
        where: names it in messages.

    Raises:
        SoundError: it has several channels, or other values.
    """
    wave = clip.reshape(-1) if clip.ndim == 2 and 1 in clip.shape else clip
    if wave.ndim != 1:
        shape = "x".join(map(str, clip.shape))
        raise SoundError(
            f"{where} is {shape}: a sound has one channel of samples.",
            "Mix the channels beforehand.",
        )
    if wave.dtype in (np.int8, np.int16, np.int32):
        scaled: NDArray[Any] = wave / -float(np.iinfo(wave.dtype).min)
        return scaled
    if wave.dtype.kind != "f":
        raise SoundError(
            f"{where} holds {wave.dtype} values: a sound has real values from -1 to 1, or signed "
            "integers of 8 to 32 bits.",
        )
    return wave


def compute_features(sound: FrontEnd, wave: NDArray[Any]) -> Real:
    """Compute the features of a sound with at least `sound.window` samples.

    Args:
        wave: [samples], real values.

    Returns:
        float32 [frames, values].
    """
    starts = np.arange(frame_count(sound, len(wave))) * sound.hop
    size = max(1, _BLOCK_POINTS // sound.fft)
    blocks = [
        _features(sound, wave[starts[i : i + size, np.newaxis] + np.arange(sound.window)])
        for i in range(0, len(starts), size)
    ]
    return np.concatenate(blocks)


def frame_count(sound: FrontEnd, samples: int) -> int:
    """Number of whole frames in a sound with so many samples, at least `sound.window`."""
    return (samples - sound.window) // sound.hop + 1


def _features(sound: FrontEnd, frames: NDArray[Any]) -> Real:
    values = np.abs(np.fft.rfft(frames * taper(sound), sound.fft)) ** sound.power
    if sound.kind != "spectrogram":
        values = np.log(values @ filters(sound).T + sound.floor)
    if sound.kind == "mfcc":
        values = values @ cosines(sound.bands, sound.coefficients)
    return np.asarray(values, np.float32)


@functools.lru_cache
def taper(sound: FrontEnd) -> NDArray[np.float64]:
    """The factor of each sample of a frame, [window]."""
    if sound.taper == "hanning":
        return np.hanning(sound.window)
    return np.hanning(sound.window + 1)[:-1]


@functools.lru_cache
def filters(sound: FrontEnd) -> NDArray[np.float64]:
    """Triangles at equal distances on the mel scale of HTK, [bands, frequencies]."""
    frequencies = np.fft.rfftfreq(sound.fft, 1 / sound.rate)
    corners = np.linspace(_mel(sound.low), _mel(sound.high), sound.bands + 2)
    if sound.filters == "tensorflow":
        places = _mel(frequencies)
    else:
        places, corners = frequencies, 700 * (10 ** (corners / 2595) - 1)
    before, peak, behind = (corners[i : i + sound.bands, np.newaxis] for i in range(3))
    rising, falling = (places - before) / (peak - before), (behind - places) / (behind - peak)
    found = np.asarray(np.maximum(0, np.minimum(rising, falling)), np.float64)
    if sound.filters == "tensorflow":
        found[:, 0] = 0  # it leaves out the mean
    return found


def _mel(hertz: Any) -> Any:
    return 2595 * np.log10(1 + hertz / 700)


@functools.lru_cache
def cosines(bands: int, coefficients: int) -> NDArray[np.float64]:
    """The cosine transform of type 2 as TensorFlow scales it, [bands, coefficients]."""
    angles = np.pi / bands * (np.arange(bands)[:, np.newaxis] + 0.5) * np.arange(coefficients)
    return np.asarray(np.cos(angles) * np.sqrt(2 / bands))
