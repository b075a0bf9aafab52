"""WAV files of a folder: one channel of samples from -1 to 1."""

from __future__ import annotations

from collections.abc import Iterator

from edgeq.converters.samples.sounds.features import (
    Real,
    SoundError,
    decode_wav,
    fit_length,
    parse_wav,
    require_rate,
)
from edgeq.converters.samples.sounds.front_end import clip_length
from edgeq.converters.samples.sources import require_size
from edgeq.errors import DataError
from edgeq.issues import make_issue
from edgeq.values import Issue, Preprocessing, TensorSpec


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
        try:
            wav = parse_wav(content, where)
            self._rate = wav.rate if self._rate is None else self._rate
            require_rate(wav.rate, self._rate, where)
        except SoundError as error:
            raise DataError(error.message, hint=error.hint) from error
        require_size(wav.count, wav.bits // 8, where)
        clip = decode_wav(wav)
        if self._length is None:
            return clip
        if len(clip) < self._length:
            self._filled.add(file)
        elif len(clip) >= self._length + self._hop:
            self._cut.add(file)
        return fit_length(clip, self._length)
