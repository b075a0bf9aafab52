"""How raw samples become model inputs: declared once as text, applied by every command.

scale=1/127.5,offset=-1        resize=224x224,channels=bgr        image:mobilenet_v2
sound=log-mel,rate=16000,window=480,hop=320,bands=40
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeq.converters.samples.declared_values import KEYS, MAIN_KEYS, parse_value, suggest
from edgeq.converters.samples.input_shapes import (
    CHANNELS_LAST_HINT,
    Array,
    begin,
    image_shape,
    is_channels_first,
    sample_dtype,
    show_shape,
)
from edgeq.converters.samples.presets import PRESETS
from edgeq.converters.samples.sounds import front_end
from edgeq.errors import DataError, UsageError
from edgeq.metrics.letterbox import find_letterbox
from edgeq.values import Preprocessing, TensorSpec

_GREY = 114  # around a letterboxed image, as most detectors were trained

# ---------------------------------------------------------------- text to values


def parse_preprocessing(
    texts: Sequence[str], inputs: Sequence[TensorSpec]
) -> tuple[Preprocessing, ...]:
    """Read the values of `--preprocess`; several for one input are combined.

    Each text is `[INPUT:]PART,PART...` with parts `scale=N`, `offset=N`, `mean=N:N:N`,
    `std=N:N:N`, `resize=HEIGHTxWIDTH`, `letterbox=HEIGHTxWIDTH` with `pad=114`,
    `channels=rgb|bgr|gray`, `exif=apply`, those of a front end for sounds (`front_end.KEYS`), or
    the name of a preset, which combines with the size and `exif` only. N is a number or a fraction
    such as 1/255.

    Args:
        texts: as typed.
        inputs: the model's, with batch dimension.

    Returns:
        One entry per input that declares any, in the order of the inputs.

    Raises:
        UsageError: an unknown or repeated part, an invalid value, or one that contradicts the
            model's input.
    """
    declared: dict[str, dict[str, Any]] = {}
    known = [spec.name for spec in inputs]
    for text in texts:
        prefix, body = _split_input(text, inputs)
        if prefix is None and len(inputs) > 1:
            raise UsageError(
                f"--preprocess {text} does not say for which input.",
                hint=f"Write INPUT:{text}, with INPUT one of {', '.join(known)}.",
            )
        if prefix is not None and prefix not in known:
            raise UsageError(
                f"--preprocess {text} names input {prefix!r}, which the model does not have.",
                hint=suggest(prefix, known),
            )
        values = declared.setdefault(prefix or known[0], {})
        if prefix is not None:
            values["input"] = prefix
        for part in body.split(","):
            _add_part(values, part.strip(), text)
    return tuple(_build(declared[spec.name], spec) for spec in inputs if spec.name in declared)


def check_preprocessing(text: str) -> None:
    """Refuse what `parse_preprocessing` would refuse for any model.

    Raises:
        UsageError: an unknown or repeated part, or an invalid value.
    """
    _, body = _split_input(text, ())
    values: dict[str, Any] = {}
    for part in body.split(","):
        _add_part(values, part.strip(), text)


def _split_input(text: str, inputs: Sequence[TensorSpec]) -> tuple[str | None, str]:
    """The input that a text names, if any, and the rest; names may contain colons."""
    named = [spec.name for spec in inputs if text.startswith(spec.name + ":")]
    if named:
        name = max(named, key=len)
        return name, text[len(name) + 1 :]
    head, colon, rest = text.partition(":")
    if colon and "=" not in head and "," not in head:
        return head, rest
    return None, text


def _add_part(values: dict[str, Any], part: str, text: str) -> None:
    key, equals, value = (piece.strip() for piece in part.partition("="))
    if not equals and key not in PRESETS:
        what = f"the unknown preset {key!r}" if key else "an empty part"
        hint = f"{suggest(key, list(PRESETS))} Or KEY=VALUE with {', '.join(MAIN_KEYS)}."
        if re.fullmatch(r"[-+]?[.\d][-+.\d/e]*", key):
            hint = f"Did you mean scale={key}?"
        # std=0.9,1.1,1.3
        number, typed = r"[-+.\d/e]+", text.replace(" ", "")
        several = rf"(?<==){number}(,{number})+(?=,|$)"
        meant = re.sub(several, lambda found: found[0].replace(",", ":"), typed)
        if meant != typed:
            hint = f"Several numbers are separated by colons: {meant}"
        raise UsageError(f"--preprocess {text} has {what}.", hint=hint)
    if re.search(r"\s\w+=", part):
        whole = re.sub(r"\s+(?=\w+=)", ",", text)
        raise UsageError(
            f"--preprocess {text} has parts without a comma between them.",
            hint=f"Separate parts by commas: {whole}",
        )
    if equals and key not in KEYS:
        raise UsageError(
            f"--preprocess {text} has the unknown key {key!r}.", hint=suggest(key, KEYS, MAIN_KEYS)
        )
    name = key if equals else "preset"
    if name in values:
        raise UsageError(f"--preprocess {text} sets {name} a second time.")
    values[name] = parse_value(key, value, f"--preprocess {text}") if equals else key


# ---------------------------------------------------------------- against the model


def _build(values: dict[str, Any], spec: TensorSpec) -> Preprocessing:
    values = _resolve_letterbox(values)
    sound = {key: values.pop(key) for key in front_end.KEYS if key in values}
    if sound:
        return _build_sound(sound, values, spec)
    preset = values.get("preset")
    clashing = sorted(set(values) - {"preset", "resize", "pad", "input", "exif"})
    if preset is not None and clashing:
        raise UsageError(
            f"Preset {preset!r} and {clashing[0]}= cannot be combined for input {spec.name!r}.",
            hint="A preset sets everything but resize=.",
        )
    built = replace(PRESETS[preset] if preset else Preprocessing(), **values)
    shape, shown = image_shape(spec), show_shape(spec.shape[1:])
    converts = "channels" in values or built.channels != "rgb"
    if shape is None and (built.resize or converts or "exif" in values):
        part = "resize" if built.resize else "channels" if converts else "exif"
        raise UsageError(
            f"{part}= is for images with channels last, but input {spec.name!r} is {shown}.",
            hint=CHANNELS_LAST_HINT if is_channels_first(spec) else None,
        )
    if (
        shape is not None
        and built.resize
        and not all(want in (-1, size) for want, size in zip(shape[:2], built.resize, strict=True))
    ):
        raise UsageError(
            f"resize={show_shape(built.resize)} contradicts input {spec.name!r}, which is {shown}.",
            hint=f"Type resize={show_shape(shape[:2])}.",
        )
    if (
        shape is not None
        and converts
        and shape[2] not in (-1, 1 if built.channels == "gray" else 3)
    ):
        raise UsageError(
            f"channels={built.channels} contradicts input {spec.name!r}, which is {shown}."
        )
    _check_numbers(built, spec)
    return built


def _build_sound(
    sound: Mapping[str, Any], values: Mapping[str, Any], spec: TensorSpec
) -> Preprocessing:
    clashing = sorted(set(values) - {"scale", "offset", "mean", "std", "input"})
    if clashing:
        raise UsageError(
            f"sound= and {clashing[0]}= cannot be combined for input {spec.name!r}.",
            hint="Numbers may follow a front end: scale=, offset=, mean=, std=.",
        )
    built = replace(Preprocessing(), sound=front_end.build_front_end(sound, spec), **values)
    _check_numbers(built, spec)
    return built


def _check_numbers(built: Preprocessing, spec: TensorSpec) -> None:
    """Refuse scaling that the input cannot take."""
    shown = show_shape(spec.shape[1:])
    is_numeric = (built.scale, built.offset, built.mean, built.std) != (1.0, 0.0, (), ())
    if (is_numeric or built.sound is not None) and sample_dtype(spec).kind != "f":
        raise UsageError(
            f"Input {spec.name!r} takes {sample_dtype(spec)}: scaling would not leave integers.",
            hint="Declare resize= and channels= only.",
        )
    for key, numbers in (("mean", built.mean), ("std", built.std)):
        count = spec.shape[-1]
        if len(numbers) > 1 and count not in (-1, len(numbers)):
            raise UsageError(
                f"{key} has {len(numbers)} values, but input {spec.name!r} is {shown}.",
                hint=CHANNELS_LAST_HINT if is_channels_first(spec) else f"Give 1 value or {count}.",
            )


def _resolve_letterbox(values: dict[str, Any]) -> dict[str, Any]:
    """letterbox= as resize= with pad=."""
    if "letterbox" not in values:
        if "pad" in values:
            raise UsageError(
                "pad= is the grey around a letterboxed image.", hint="Write letterbox=640x640."
            )
        return values
    if "resize" in values:
        raise UsageError("resize= and letterbox= cannot be combined.", hint="Keep one of them.")
    rest = {key: value for key, value in values.items() if key != "letterbox"}
    return {"pad": _GREY, **rest, "resize": values["letterbox"]}


def find_preprocessing(declared: Sequence[Preprocessing], name: str) -> Preprocessing | None:
    """The entry for an input; one without a name is for the only input."""
    return next((entry for entry in declared if entry.input in (None, name)), None)


# ---------------------------------------------------------------- values to text


def format_preprocessing(preprocessing: Preprocessing) -> str:
    """The shortest text that `parse_preprocessing` reads as this value."""
    base = PRESETS.get(preprocessing.preset or "", Preprocessing())
    bare = replace(
        preprocessing, input=None, preset=None, resize=None, pad=None, exif="ignore", sound=None
    )
    parts = [] if preprocessing.sound is None else front_end.format_front_end(preprocessing.sound)
    if preprocessing.preset is not None and bare == base:
        parts.append(preprocessing.preset)
        bare = Preprocessing()
    if preprocessing.resize is not None:
        key = "resize" if preprocessing.pad is None else "letterbox"
        parts.append(f"{key}={show_shape(preprocessing.resize)}")
    if preprocessing.pad not in (None, _GREY):
        parts.append(f"pad={preprocessing.pad}")
    if preprocessing.exif != "ignore":
        parts.append(f"exif={preprocessing.exif}")
    if bare.channels != "rgb":
        parts.append(f"channels={bare.channels}")
    for key, number, default in (("scale", bare.scale, 1.0), ("offset", bare.offset, 0.0)):
        if number != default:
            parts.append(f"{key}={_show_number(number)}")
    for key, numbers in (("mean", bare.mean), ("std", bare.std)):
        if numbers:
            parts.append(f"{key}={':'.join(map(_show_number, numbers))}")
    prefix = "" if preprocessing.input is None else f"{preprocessing.input}:"
    return prefix + (",".join(parts) or "scale=1")


def _show_number(value: float) -> str:
    text = repr(value).removesuffix(".0")
    if len(text) > 8 and value:
        inverse = repr(round(1 / value, 6)).removesuffix(".0")
        if float(inverse) and 1 / float(inverse) == value:
            return f"1/{inverse}"
    return text


# ---------------------------------------------------------------- values to arrays


def apply(
    preprocessing: Preprocessing, array: Array, where: str = "the array"
) -> NDArray[np.float32]:
    """Prepare one raw sample for the model: `(x * scale + offset - mean) / std` in float32.

    Args:
        preprocessing: the front end or resize is done first, then channels, then numbers.
        array: without batch dimension; for resize and gray, uint8 pixels, height x width or
            height x width x channels. Resizing uses Pillow's bilinear filter, which averages when
            it reduces the size; gray is its ITU-R 601-2 luma.
        where: names the array in messages.

    Raises:
        DataError: the array does not hold numbers, or is not an image where one is needed.
    """
    if array.dtype.kind not in "fiub":
        raise DataError(f"{begin(where)} holds {array.dtype} values, not numbers.")
    if preprocessing.sound is not None:
        array = front_end.transform(preprocessing.sound, array, where)
    pixels = array
    if preprocessing.resize is not None:
        pixels = _bring_to_size(pixels, preprocessing.resize, preprocessing.pad, where)
    if preprocessing.channels != "rgb":
        pixels = _convert_channels(pixels, preprocessing.channels, where)
    for key, numbers in (("mean", preprocessing.mean), ("std", preprocessing.std)):
        if len(numbers) > 1 and (not pixels.ndim or pixels.shape[-1] != len(numbers)):
            raise DataError(
                f"{begin(where)} is {show_shape(pixels.shape)}, "
                f"but {key} has {len(numbers)} values."
            )
    with np.errstate(all="ignore"):  # an overflow becomes infinity, which the linter reports
        values: NDArray[np.float32] = pixels.astype(np.float32)
        if preprocessing.scale != 1.0:
            values = values * np.float32(preprocessing.scale)
        if preprocessing.offset != 0.0:
            values = values + np.float32(preprocessing.offset)
        if preprocessing.mean:
            values = values - np.array(preprocessing.mean, np.float32)
        if preprocessing.std:
            values = np.divide(values, np.array(preprocessing.std, np.float32))
    return values


def _bring_to_size(array: Array, size: tuple[int, int], pad: int | None, where: str) -> Array:
    if pad is None:
        return _resize(array, size, where)
    _as_image(array, "letterbox", where)
    top, left, height, width = find_letterbox(size, array.shape)
    whole = np.full((*size, *array.shape[2:]), pad, np.uint8)
    whole[top : top + height, left : left + width] = _resize(array, (height, width), where)
    return whole


def _resize(array: Array, size: tuple[int, int], where: str) -> Array:
    if array.shape[:2] == size:
        return array
    # In two calls, because each step is rounded to bytes, and the order of the two in one call
    # depends on Pillow's version (13 begins with the height when that shrinks more).
    wide = _as_image(array, "resize", where)
    wide = wide.resize((size[1], wide.height), Image.Resampling.BILINEAR)
    resized = np.asarray(wide.resize((size[1], size[0]), Image.Resampling.BILINEAR))
    return resized[:, :, np.newaxis] if array.ndim == 3 and array.shape[2] == 1 else resized


def _convert_channels(array: Array, channels: str, where: str) -> Array:
    if channels == "gray":
        if array.ndim == 2 or array.shape[2:] == (1,):
            return array
        return np.asarray(_as_image(array, "channels", where).convert("L"))[:, :, np.newaxis]
    if array.ndim != 3 or array.shape[2] != 3:
        raise DataError(
            f"{begin(where)} is {show_shape(array.shape)}: channels={channels} needs an image "
            "with 3 channels last."
        )
    return array[:, :, ::-1]


def _as_image(array: Array, key: str, where: str) -> Image.Image:
    is_image = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3))
    if array.dtype != np.uint8 or not is_image or not array.size:
        raise DataError(
            f"{begin(where)} is {show_shape(array.shape)} of {array.dtype}: {key}= needs uint8 "
            "pixels, height x width x 1 or 3 channels.",
            hint="Store raw pixels as uint8, or prepare the samples beforehand.",
        )
    return Image.fromarray(
        np.ascontiguousarray(array[:, :, 0] if array.shape[2:] == (1,) else array)
    )
