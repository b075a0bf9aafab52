"""WAV files of a folder: one channel of samples from -1 to 1."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edgeq.converters.samples.front_end import clip_length
from edgeq.converters.samples.sources import require_size
from edgeq.errors import DataError
from edgeq.issues import make_issue
from edgeq.values import Issue, Preprocessing, TensorSpec

_INTEGER, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_FORMATS = {_INTEGER: (8, 16, 24, 32), _FLOAT: (32, 64)}  # bits of each
_UNKNOWN_SIZE = 0xFFFFFFFF  # of a sound that a program wrote into a pipe
Real = NDArray[np.float32]


class SoundDecoder:
    """Reads WAV files for one model input.

    With a front end, a clip that is too long is cut at its end, and one that is too short is
    followed by zeros, so that it gives the input's frames; an issue says how many were.

    Args:
        spec: the input.
        preprocessing: of the input, or None; its front end states the rate.
    """

    def __init__(self, spec: TensorSpec, preprocessing: Preprocessing | None):
        sound = None if preprocessing is None else preprocessing.sound
        self._rate = None if sound is None else sound.rate
        self._length = None if sound is None else clip_length(sound, spec)
        self._hop = 0 if sound is None else sound.hop
        self._cut: set[str] = set()
        self._filled: set[str] = set()

    def issues(self, name: str) -> Iterator[Issue]:
        """Doubts about the files decoded so far.

        Args:
            name: of the folder.
        """
        for files, done in ((self._cut, "cut at the end"), (self._filled, "filled with zeros")):
            if files:
                message = (
                    f"{len(files)} sounds of {name} were {done}, so that all have {self._length} "
                    f"samples, e.g. {min(files)}."
                )
                yield make_issue("data.clips_fitted", message)

    def decode(self, content: bytes, file: str, name: str) -> Real:
        """Return the samples of a file.

        Raises:
            DataError: it is damaged, has several channels, a format that edgeq does not read, or
                another rate than declared or than the first file.
        """
        where = f"Sound {file} of {name}"
        rate, clip = _read(content, where)
        if self._rate is None:
            self._rate = rate
        if rate != self._rate:
            raise DataError(
                f"{where} has {rate} samples per second, not {self._rate}.",
                hint=f"Convert it: ffmpeg -i IN.wav -ar {self._rate} OUT.wav",
            )
        if self._length is None:
            return clip
        if len(clip) < self._length:
            self._filled.add(file)
            clip = np.concatenate([clip, np.zeros(self._length - len(clip), np.float32)])
        elif len(clip) >= self._length + self._hop:
            self._cut.add(file)
        return clip[: self._length]


def _read(content: bytes, where: str) -> tuple[int, Real]:
    """The rate and samples of a WAV file (Microsoft's RIFF, PCM or float)."""
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise DataError(f"{where} is not a WAV file.", hint="Convert it, or remove it.")
    parts: dict[bytes, bytes] = {}
    place = 12
    while place + 8 <= len(content) and b"data" not in parts:
        key, size = struct.unpack_from("<4sI", content, place)
        left = len(content) - place - 8
        if left < size != _UNKNOWN_SIZE:
            raise DataError(
                f"{where} is truncated: a part of it states {size:,} bytes, and {left:,} follow.",
                hint="Repair or remove it.",
            )
        parts[key] = content[place + 8 : place + 8 + size]
        place += 8 + size + size % 2
    form = parts.get(b"fmt ", b"")
    if len(form) < 16 or b"data" not in parts:
        raise DataError(f"{where} is damaged or truncated.", hint="Repair or remove it.")
    tag, channels, rate, _, frame, bits = struct.unpack_from("<HHIIHH", form)
    if tag == _EXTENSIBLE and len(form) >= 26:
        (tag,) = struct.unpack_from("<H", form, 24)
    if channels != 1:
        raise DataError(
            f"{where} has {channels} channels instead of one.",
            hint="Mix them: ffmpeg -i IN.wav -ac 1 OUT.wav",
        )
    if bits not in _FORMATS.get(tag, ()):
        raise DataError(
            f"{where} has format {tag} with {bits} bits; edgeq reads PCM of 8 to 32 bits and "
            "floats.",
            hint="Convert it: ffmpeg -i IN.wav -c:a pcm_s16le OUT.wav",
        )
    if frame != bits // 8:
        raise DataError(
            f"{where} has {bits} bits in {frame} bytes, which edgeq does not read.",
            hint="Convert it: ffmpeg -i IN.wav -c:a pcm_s16le OUT.wav",
        )
    count = len(parts[b"data"]) // (bits // 8)
    if count == 0:
        raise DataError(f"{where} holds no samples.", hint="Remove it.")
    require_size(count, bits // 8, where)
    return rate, _decode(parts[b"data"][: count * (bits // 8)], tag, bits)


def _decode(data: bytes, tag: int, bits: int) -> Real:
    if tag == _FLOAT:
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
