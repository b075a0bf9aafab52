"""Write the command line of a conversion, for messages."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from edgeq.converters.samples.label_files import LabelledData
from edgeq.values import ConvertOptions

# Flags that are not named like their field.
_FLAGS = {
    "input_shapes": "--input-shape",
    "fixed_inputs": "--fix-input",
    "trusted": "--unsafe-deserialization",
    "min_sqnr_db": "--min-sqnr",
    "max_drop_points": "--max-drop",
    "metrics": "--metric",
}


def convert_command(
    model: Any,
    output: Any,
    options: ConvertOptions,
    *,
    data: Any = None,
    test_data: Any = None,
    preprocess: Sequence[str] = (),
) -> str:
    """Return `edgeq convert` with these arguments, quoted for a shell, without defaults.

    Args:
        model: a path, or a Python object, which is shown by the name of its type.
        data: the same.
    """
    words = ["edgeq", "convert", _named(model)]
    for flag, given in (("--data", data), ("--test-data", test_data)):
        if isinstance(given, LabelledData):
            words += [flag, _named(given.data), "--labels", str(given.labels)]
        elif given is not None:
            words += [flag, _named(given)]
    words += [word for text in preprocess for word in ("--preprocess", text)]
    words += ["-o", str(output)]
    return shlex.join([*words, *_words_of(options, ConvertOptions())])


def changed_flags(before: ConvertOptions, after: ConvertOptions) -> str:
    """Return the flags that turn `before` into `after`, quoted for a shell."""
    own = replace(
        after,
        keep_float=tuple(item for item in after.keep_float if item not in before.keep_float),
        int16=tuple(item for item in after.int16 if item not in before.int16),
        int4=tuple(item for item in after.int4 if item not in before.int4),
    )
    flags = shlex.join(_words_of(own, replace(before, keep_float=(), int16=(), int4=())))
    return f"{flags} (without --int4)".strip() if before.int4 and not after.int4 else flags


def _words_of(options: ConvertOptions, other: ConvertOptions) -> list[str]:
    """Return the flags of the fields that differ; a field set back to None or () has none."""
    words: list[str] = []
    for field in fields(ConvertOptions):
        value = getattr(options, field.name)
        is_unset = value is None or value is False or value == ()
        if value != getattr(other, field.name) and not is_unset:
            flag = _FLAGS.get(field.name, "--" + field.name.replace("_", "-"))
            words += _flag_words(field.name, flag, value)
    return words


def _named(value: Any) -> str:
    return str(value) if isinstance(value, (str, Path)) else type(value).__name__


def _flag_words(name: str, flag: str, value: Any) -> list[str]:
    if value is True:
        return [flag]
    if name == "batch":
        return [flag, "dynamic" if value == 0 else str(value)]
    if name == "input_shapes":
        shapes = [(of, ",".join("?" if size == -1 else str(size) for size in s)) for of, s in value]
        return [word for of, sizes in shapes for word in (flag, f"{of}={sizes}")]
    if name == "fixed_inputs":
        return [word for of, number in value for word in (flag, f"{of}={number!r}")]
    if isinstance(value, tuple):
        return [word for item in value for word in (flag, item)]
    return [flag, f"{value:g}" if isinstance(value, float) else str(value)]
