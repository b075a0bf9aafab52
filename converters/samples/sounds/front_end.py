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

from collections.abc import Mapping, Sequence
from typing import Any

from edgeq.converters.samples.input_shapes import Array, begin, show_shape
from edgeq.converters.samples.sounds.features import (
    Real,
    SoundError,
    compute_features,
    read_samples,
)
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
    frames = next((size for size in spec.shape[1:] if size != 1), -1)
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
        DataError: it has several channels, other values, or is shorter than a frame.
    """
    wave = read_wave(clip, where)
    if len(wave) < sound.window:
        raise DataError(
            f"{begin(where)} has {len(wave)} samples, fewer than window={sound.window}."
        )
    return compute_features(sound, wave)


def read_wave(clip: Array, where: str) -> Array:
    """One channel of samples from -1 to 1; arguments as of `transform`.

    Raises:
        DataError: it has several channels, or other values.
    """
    try:
        return read_samples(clip, begin(where))
    except SoundError as error:
        raise DataError(error.message, hint=error.hint) from error


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
