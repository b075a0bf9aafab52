"""The front end of a keyword model: a sound becomes a spectrogram, log-mel energies or MFCCs.

sound=log-mel,rate=16000,window=480,hop=320,bands=40

Frames begin every `hop` samples, without padding. Each is multiplied by the taper, filled up with
zeros to `fft` points, and transformed; `power` says whether magnitudes or their squares are taken.
`tf.signal.stft` takes the symmetric taper, `hanning`, if the window is odd.

| kind | values of a frame | as in |
|---|---|---|
| `spectrogram` | fft / 2 + 1 | `tf.signal.stft` |
| `log-mel` | bands: ln(energy + `floor`) | torchaudio; TensorFlow with `filters=tensorflow` |
| `mfcc` | coefficients: cosine transform of log-mel | `tf.signal.mfccs_from_log_mel_spectrograms` |
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.converters.samples.input_shapes import Array, begin, show_shape
from edgeq.errors import DataError, UsageError
from edgeq.values import FrontEnd, TensorSpec

KINDS = ("log-mel", "mfcc", "spectrogram")
# The keys of `--preprocess` that describe it, and what each takes.
KEYS: Mapping[str, type[int] | type[float] | tuple[str, ...]] = {
    "sound": KINDS,
    "rate": int,
    "window": int,
    "hop": int,
    "fft": int,
    "bands": int,
    "coefficients": int,
    "low": float,
    "high": float,
    "floor": float,
    "power": int,
    "taper": ("hann", "hanning"),
    "filters": ("htk", "tensorflow"),
}
# The keys that a kind does not use.
_FOREIGN = {
    "spectrogram": ("bands", "coefficients", "low", "high", "floor", "filters"),
    "log-mel": ("coefficients",),
    "mfcc": (),
}
_MOST = 1 << 20  # of samples in a frame, points and bands
_BLOCK_POINTS = 1 << 22  # that are transformed at a time
Real = NDArray[np.float32]


def build_front_end(values: Mapping[str, Any], spec: TensorSpec) -> FrontEnd:
    """Make a front end from what was declared, and compare it with the model's input.

    Args:
        values: of `KEYS`.
        spec: the input, with batch dimension.

    Raises:
        UsageError: a value is missing, impossible, or does not fit the input.
    """
    kind = values.get("sound")
    if kind is None:
        raise UsageError(
            f"{next(iter(values))}= belongs to the front end of a sound.",
            hint=f"Write sound=KIND first, with KIND one of {', '.join(KINDS)}.",
        )
    for key in _FOREIGN[kind]:
        if key in values:
            uses = " or ".join(f"sound={item}" for item in KINDS if key not in _FOREIGN[item])
            raise UsageError(f"{key}= is not for sound={kind}.", hint=f"It is for {uses}.")
    needed = ["rate", "window", "hop"]
    needed += [] if kind == "spectrogram" else ["bands"]
    needed += ["coefficients"] if kind == "mfcc" else []
    missing = [f"{key}=" for key in needed if key not in values]
    if missing:
        raise UsageError(
            f"sound={kind} needs {', '.join(missing)}.",
            hint="For example: sound=log-mel,rate=16000,window=480,hop=320,bands=40",
        )
    given = {key: value for key, value in values.items() if key != "sound"}
    given.setdefault("fft", 1 << (values["window"] - 1).bit_length())
    if kind != "spectrogram":
        given.setdefault("high", values["rate"] / 2)
    made = FrontEnd(kind=kind, **given)
    _check(made)
    _check_input(made, spec)
    return made


def format_front_end(sound: FrontEnd) -> list[str]:
    """Return the parts of `--preprocess` that `build_front_end` reads as this value."""
    plain = {"fft": 1 << (sound.window - 1).bit_length(), "bands": 0, "coefficients": 0,
             "low": 0.0, "high": 0.0 if sound.kind == "spectrogram" else sound.rate / 2,
             "floor": 1e-6, "power": 2, "taper": "hann", "filters": "htk"}  # fmt: skip
    parts = [f"sound={sound.kind}"]
    for key in [key for key in KEYS if key != "sound"]:
        value = getattr(sound, key)
        if value != plain.get(key):
            parts.append(f"{key}={str(value).removesuffix('.0')}")
    return parts


def size_of(sound: FrontEnd) -> int:
    """Number of values in a frame."""
    sizes = {"spectrogram": sound.fft // 2 + 1, "log-mel": sound.bands}
    return sizes.get(sound.kind, sound.coefficients)


def clip_length(sound: FrontEnd, spec: TensorSpec) -> int | None:
    """Number of samples that give the frames of a model's input; None if any number does."""
    frames = spec.shape[1] if len(spec.shape) > 1 else -1
    return None if frames < 1 else sound.window + (frames - 1) * sound.hop


def transform(sound: FrontEnd, clip: Array, where: str) -> Real:
    """Compute the features of one sound.

    Args:
        clip: [samples]; real values from -1 to 1, or signed integers of 8 to 32 bits, which are
            scaled.
        where: names it in messages.

    Returns:
        float32 [frames, values].

    Raises:
        DataError: it has several channels, or is shorter than a frame.
    """
    wave: Array = clip.reshape(-1) if clip.ndim == 2 and 1 in clip.shape else clip
    if wave.ndim != 1:
        raise DataError(
            f"{begin(where)} is {show_shape(clip.shape)}: sound= needs one channel of samples.",
            hint="Mix the channels beforehand.",
        )
    if len(wave) < sound.window:
        raise DataError(
            f"{begin(where)} has {len(wave)} samples, fewer than window={sound.window}."
        )
    if wave.dtype in (np.int8, np.int16, np.int32):
        wave = wave / -float(np.iinfo(wave.dtype).min)
    elif wave.dtype.kind != "f":
        raise DataError(
            f"{begin(where)} holds {wave.dtype} values: sound= needs real values from -1 to 1, or "
            "signed integers of 8 to 32 bits.",
        )
    starts = np.arange((len(wave) - sound.window) // sound.hop + 1) * sound.hop
    size = max(1, _BLOCK_POINTS // sound.fft)
    blocks = [
        _features(sound, wave[starts[i : i + size, np.newaxis] + np.arange(sound.window)])
        for i in range(0, len(starts), size)
    ]
    return np.concatenate(blocks)


def _features(sound: FrontEnd, frames: Array) -> Real:
    values = np.abs(np.fft.rfft(frames * _taper(sound), sound.fft)) ** sound.power
    if sound.kind != "spectrogram":
        values = np.log(values @ _filters(sound).T + sound.floor)
    if sound.kind == "mfcc":
        values = values @ _cosines(sound.bands, sound.coefficients)
    return np.asarray(values, np.float32)


@functools.lru_cache
def _taper(sound: FrontEnd) -> NDArray[np.float64]:
    if sound.taper == "hanning":
        return np.hanning(sound.window)
    return np.hanning(sound.window + 1)[:-1]


@functools.lru_cache
def _filters(sound: FrontEnd) -> NDArray[np.float64]:
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
def _cosines(bands: int, coefficients: int) -> NDArray[np.float64]:
    """The cosine transform of type 2 as TensorFlow scales it, [bands, coefficients]."""
    angles = np.pi / bands * (np.arange(bands)[:, np.newaxis] + 0.5) * np.arange(coefficients)
    return np.asarray(np.cos(angles) * np.sqrt(2 / bands))


# ---------------------------------------------------------------- what may be declared


def _check(sound: FrontEnd) -> None:
    for key in ("rate", "window", "hop", "fft"):
        value = getattr(sound, key)
        if not 1 <= value <= _MOST:
            raise UsageError(f"{key}= must be from 1 to {_MOST}, not {value}.")
    if sound.fft < sound.window:
        raise UsageError(f"fft={sound.fft} is smaller than window={sound.window}.")
    if sound.power not in (1, 2):
        raise UsageError(f"power= must be 1 or 2, not {sound.power}.")
    if sound.kind == "spectrogram":
        return
    if not 1 <= sound.bands <= _MOST:
        raise UsageError(f"bands= must be from 1 to {_MOST}, not {sound.bands}.")
    if not 0 <= sound.low < sound.high <= sound.rate / 2:
        raise UsageError(
            f"low={sound.low:g} and high={sound.high:g} must rise from 0 to half of "
            f"rate={sound.rate}."
        )
    if not sound.floor > 0:
        raise UsageError(f"floor= must be above 0, not {sound.floor:g}.")
    if sound.kind == "mfcc" and not 1 <= sound.coefficients <= sound.bands:
        raise UsageError(
            f"coefficients={sound.coefficients} must be from 1 to bands={sound.bands}."
        )


def _check_input(sound: FrontEnd, spec: TensorSpec) -> None:
    shape: Sequence[int] = [size for size in spec.shape[1:] if size != 1]
    if len(shape) != 2 or shape[1] not in (-1, size_of(sound)):
        raise UsageError(
            f"sound={sound.kind} gives frames of {size_of(sound)} values, but input "
            f"{spec.name!r} is {show_shape(spec.shape[1:])}."
        )
