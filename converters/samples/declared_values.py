"""The keys of `--preprocess`, and what each may be set to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from edgeq.converters.samples.presets import CONSTRUCTORS
from edgeq.converters.samples.sounds import front_end
from edgeq.errors import UsageError, did_you_mean

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "channels": ("rgb", "bgr", "gray"),
    "exif": ("ignore", "apply"),
    **{key: kind for key, kind in front_end.KEYS.items() if isinstance(kind, tuple)},
}
MAIN_KEYS = (
    "resize", "letterbox", "pad", "channels", "exif", "scale", "offset", "mean", "std", "sound",
)  # fmt: skip
KEYS = tuple(dict.fromkeys((*MAIN_KEYS, *front_end.KEYS)))


def suggest(name: str, known: Sequence[str], shown: Sequence[str] | None = None) -> str:
    """Return a hint: the name that was probably meant, and those to show, by default all."""
    flat = name.lower().replace("_", "").replace("-", "")
    near = [preset for begins, preset in CONSTRUCTORS if flat.startswith(begins)]
    near = [preset for preset in near if preset in known][:1]
    guess = f"Did you mean {near[0]!r}? " if near else did_you_mean(name, known)
    return f"{guess}Known: {', '.join(shown or known)}."


def parse_value(key: str, text: str, where: str) -> Any:
    """Read what one key is set to.

    Raises:
        UsageError: it cannot be set to that.
    """
    if key in ("resize", "letterbox"):
        height, _, width = text.lower().partition("x")
        if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
            raise UsageError(f"{where}: {text!r} is not HEIGHTxWIDTH such as 224x224.")
        return int(height), int(width)
    if key in _CHOICES:
        if text not in _CHOICES[key]:
            what = "an order of channels" if key == "channels" else f"a value of {key}="
            raise UsageError(f"{where}: {text!r} is not {what}.", hint=suggest(text, _CHOICES[key]))
        return text
    if key == "pad" or front_end.KEYS.get(key) is int:
        if not text.isdecimal() or (key == "pad" and int(text) > 255):
            what = "a grey value from 0 to 255" if key == "pad" else "a whole number"
            raise UsageError(f"{where}: {key} must be {what}, not {text!r}.")
        return int(text)
    return _parse_numbers(key, text, where)


def _parse_numbers(key: str, text: str, where: str) -> float | tuple[float, ...]:
    is_list = key in ("mean", "std")
    numbers = []
    for piece in text.split(":") if is_list else [text]:
        top, slash, bottom = piece.strip().partition("/")
        try:
            numbers.append(float(top) / float(bottom) if slash else float(top))
        except (ValueError, ZeroDivisionError):
            numbers.append(math.nan)
        if not math.isfinite(numbers[-1]):
            raise UsageError(
                f"{where}: {piece.strip()!r} is not a number or fraction such as 1/255."
            )
    if key == "std" and min(numbers) <= 0:
        raise UsageError(f"{where}: a standard deviation must be above 0, not {text!r}.")
    if key == "scale" and numbers[0] == 0:
        raise UsageError(f"{where}: a scale of 0 makes all samples equal.")
    return tuple(numbers) if is_list else numbers[0]
