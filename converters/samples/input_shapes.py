"""Fitting a sample to a model input: shape without the batch dimension, dtype, layout."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.errors import DataError
from edgeq.values import TensorSpec
from edgeq.wording import repeat_option

Array = NDArray[Any]

CHANNELS_LAST_HINT = (
    "If the model came from .pt2 or .onnx, convert it again with --layout nhwc: channels last."
)


def is_channels_first(spec: TensorSpec) -> bool:
    """Whether the input seems to take images with channels first."""
    shape = sample_shape(spec)
    return len(shape) == 3 and shape[0] in (1, 3) and shape[2] not in (1, 3, -1)


def show_shape(shape: Sequence[int]) -> str:
    """A shape for messages: "28x28x1", with "?" for a dynamic dimension."""
    return "x".join("?" if size < 0 else str(size) for size in shape) or "a single number"


def begin(where: str) -> str:
    """A name with a capital letter, for the beginning of a sentence."""
    return where[:1].upper() + where[1:]


def quote(error: BaseException) -> str:
    """The message of another library on one line, without the full stop that ours adds."""
    text = " ".join(str(error).split()).rstrip(".")
    return text if len(text) <= 300 else f"{text[:297]}..."


def sample_shape(spec: TensorSpec) -> tuple[int, ...]:
    """The shape of one sample: the input's without the batch dimension; -1 where dynamic."""
    return spec.shape[1:]


def sample_dtype(spec: TensorSpec) -> np.dtype[Any]:
    """The dtype of a sample before quantization: float32 for a quantized input."""
    return np.dtype("float32" if spec.scales else spec.dtype)


def image_shape(spec: TensorSpec) -> tuple[int, int, int] | None:
    """(height, width, channels) of an input that takes images with channels last, or None."""
    shape = sample_shape(spec)
    if len(shape) == 2:
        return (shape[0], shape[1], 1)
    if len(shape) == 3 and shape[2] in (1, 3, -1):
        return (shape[0], shape[1], shape[2])
    return None


def fit(
    array: Array,
    spec: TensorSpec,
    where: str,
    declare: Callable[[str], tuple[str, ...]] | None = None,
) -> Array:
    """Convert an array to the shape and dtype of an input.

    Dimensions of size 1 are added or removed where nothing else differs, because the order of the
    elements is then the same in both shapes; nothing else is reshaped.

    Args:
        array: one sample without batch dimension, preprocessed.
        spec: the model input; -1 dimensions fit any size.
        where: names the sample in messages, e.g. "sample 3 of x.npz".
        declare: of 8-bit pixels, which edgeq can resize and convert: from further parts of
            `--preprocess` to all its texts.

    Returns:
        A read-only array of the input's sample shape and `sample_dtype`.

    Raises:
        DataError: the shape differs, or the values are not numbers of the input's dtype.
    """
    wanted, target = sample_shape(spec), sample_dtype(spec)
    if not array.size and 0 not in wanted:
        raise DataError(
            f"Input {spec.name!r} takes {show_shape(wanted)}, but {where} holds no values: its "
            f"shape is {array.shape}.",
            hint="Store one array of all samples, whose first dimension counts them.",
        )
    if len(array.shape) != len(wanted) or any(
        want not in (-1, size) for want, size in zip(wanted, array.shape, strict=True)
    ):
        if -1 in wanted or _without_ones(array.shape) != _without_ones(wanted):
            raise _shape_error(array.shape, spec, where, declare)
        array = array.reshape(wanted)
    if array.dtype.kind not in "fiub":
        raise DataError(
            f"Input {spec.name!r} takes {target}, but {where} holds {array.dtype} values.",
            hint="Store numbers.",
        )
    if target.kind != "f" and array.dtype != target:
        _check_integers(array, target, spec, where)
    # The owner of a writeable array may fill it with the next sample, so it is copied.
    # An overflow becomes infinity; the linter reports it, as well as NaN.
    with np.errstate(over="ignore", invalid="ignore"):
        fitted = np.asarray(array.astype(target, copy=array.flags.writeable))
    fitted.flags.writeable = False
    return fitted


def _without_ones(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def _shape_error(
    shape: tuple[int, ...],
    spec: TensorSpec,
    where: str,
    declare: Callable[[str], tuple[str, ...]] | None,
) -> DataError:
    wanted, swap = sample_shape(spec), None
    if len(shape) == len(wanted) == 3:
        if wanted[2] < min(wanted[:2]) and shape == (wanted[2], *wanted[:2]):
            swap = ("last", "first", "(0, 2, 3, 1)", "(1, 2, 0)", "")
        elif wanted[0] < min(wanted[1:]) and shape == (*wanted[1:], wanted[0]):
            swap = ("first", "last", "(0, 3, 1, 2)", "(2, 0, 1)", f" {CHANNELS_LAST_HINT}")
    takes = f"Input {spec.name!r} takes {show_shape(wanted)}"
    holds = f"{where} is {show_shape(shape)}"
    if swap is not None:
        return DataError(
            f"{takes} (channels {swap[0]}), but {holds} (channels {swap[1]}).",
            hint=f"Store the samples as x.transpose{swap[2]}, or one PyTorch sample as "
            f"x.permute{swap[3]}.{swap[4]}",
        )
    hint: str | None = None
    texts: tuple[str, ...] = ()
    if declare is not None and is_channels_first(spec):
        hint = CHANNELS_LAST_HINT
    elif _without_ones(shape) == _without_ones(wanted)[1:]:
        hint = "The first dimension must count samples: store one sample as x[None]."
    elif declare is not None:
        parts = _missing_parts(shape, spec)
        texts = declare(",".join(parts)) if parts else ()
        hint = f"Declare it: {repeat_option('--preprocess', texts)}" if texts else None
    if hint is None and shape == (math.prod(wanted),):
        hint = f"Store the samples as x.reshape{(-1, *wanted)}."
    return DataError(f"{takes}, but {holds}.", hint=hint, preprocess=texts)


def _missing_parts(shape: tuple[int, ...], spec: TensorSpec) -> list[str]:
    """The parts of `--preprocess` that would make an image fit, empty if none would."""
    target = image_shape(spec)
    if target is None or len(shape) not in (2, 3):
        return []
    channels = shape[2] if len(shape) == 3 else 1
    parts = []
    if -1 not in target[:2] and shape[:2] != target[:2]:
        parts.append(f"resize={target[0]}x{target[1]}")
    if target[2] == 1 and channels == 3:
        parts.append("channels=gray")
    elif target[2] not in (-1, channels):
        return []
    return parts


def _check_integers(array: Array, target: np.dtype[Any], spec: TensorSpec, where: str) -> None:
    """Raise a DataError unless the integer (or bool) target represents every value exactly."""
    low, high = (0, 1) if target.kind == "b" else (np.iinfo(target).min, np.iinfo(target).max)
    flat = array.reshape(-1)
    wrong = (flat < low) | (flat > high)
    if array.dtype.kind == "f":
        # 2.0 ** 63 compares equal to the int64 limit after rounding, but does not fit.
        wrong |= (flat != np.floor(flat)) | (flat >= float(high) + 1)
    if wrong.any():
        raise DataError(
            f"Input {spec.name!r} takes {target} from {low} to {high}, "
            f"but {where} holds {flat[wrong][0]}.",
        )
