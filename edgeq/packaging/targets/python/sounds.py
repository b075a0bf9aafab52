"""From a sound to the features that the model was trained with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeq.converters.samples.sounds.features import (
    compute_features,
    decode_wav,
    fit_length,
    parse_wav,
    read_samples,
    require_rate,
)
from edgeq.values.front_end import FrontEnd

if TYPE_CHECKING:
    from typing import TypeAlias

# A WAV file, samples with their rate, or samples at the declared rate.
SoundLike: TypeAlias = "str | Path | tuple[ArrayLike, int] | ArrayLike"


@dataclass(frozen=True)
class Sound:
    """An input that is a sound.

    Attributes:
        length: number of samples that the model's frames need; longer sounds are cut at their end,
            and shorter ones are followed by zeros.
    """

    front_end: FrontEnd
    length: int

    def features(self, sound: SoundLike) -> NDArray[np.float32]:
        """The features, [frames, values].

        Args:
            sound: path of a WAV file with one channel; or `(samples, rate)`; or samples at the
                declared rate. Samples are real values from -1 to 1, or signed integers of 8 to 32
                bits.

        Raises:
            OSError: the file cannot be read.
            ValueError: it has another rate, several channels, or is not a sound.
        """
        wave = fit_length(self._read(sound), self.length)
        return compute_features(self.front_end, wave)

    def _read(self, sound: Any) -> NDArray[Any]:
        where, rate = "The sound", self.front_end.rate
        if isinstance(sound, (str, Path)):
            where = f"Sound {sound}"
            wav = parse_wav(Path(sound).read_bytes(), where)
            require_rate(wav.rate, rate, where)
            return decode_wav(wav)
        if isinstance(sound, tuple) and len(sound) == 2 and np.ndim(sound[0]):
            sound, found = sound
            require_rate(found, rate, where)
        return read_samples(np.asarray(sound), where)
