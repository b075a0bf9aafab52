"""A Python function that yields samples, as a source: it runs again for every pass."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import itertools
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeq.converters.samples.input_shapes import Array, begin, quote
from edgeq.converters.samples.sources import (
    Row,
    Source,
    match_names,
    plain_label,
    update_digest,
)
from edgeq.errors import DataError
from edgeq.issues import make_issue
from edgeq.values import Issue, TensorSpec

_REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class FunctionSource(Source):
    """Samples from calling a function without arguments and iterating over what it returns.

    The digest is that of the longest run of samples read so far; a later pass that yields
    different ones is reported as an issue.

    Args:
        function: returns or yields samples: an array for a single input, otherwise a dict by
            input name; or (sample, label) pairs.
        name: what the user named.
        inputs: the model's.
    """

    def __init__(self, function: Callable[[], Any], name: str, inputs: Sequence[TensorSpec]):
        super().__init__(name=name, kind="function", count=None)
        self._function = function
        self._inputs = tuple(inputs)
        self._consumed = (0, hashlib.sha256().hexdigest())
        self._is_repeatable = True

    @property
    def issues(self) -> tuple[Issue, ...]:
        """Whether a pass differed from an earlier one."""
        if self._is_repeatable:
            return ()
        message = (
            f"{self.name} yields other samples each time it is called, so results cannot be "
            "reproduced; fix its random seed."
        )
        return (make_issue("data.not_repeatable", message),)

    def digest(self) -> str:
        """SHA-256 of the samples consumed so far."""
        return self._consumed[1]

    def read(self, indices: Sequence[int] | None) -> Iterator[Row]:
        """Rows in order; they end when the function ends.

        Raises:
            DataError: the function fails, yields nothing, or yields something that is not a sample.
        """
        wanted = itertools.count() if indices is None else iter(indices)
        target = next(wanted, None)
        digest, position = hashlib.sha256(), 0
        for item in self._items() if target is not None else ():
            row = self._make_row(item, position)
            position += 1
            update_digest(digest, row.inputs, row.label)
            found = (position, digest.hexdigest())
            if position > self._consumed[0]:
                self._consumed = found
            elif position == self._consumed[0] and found != self._consumed:
                self._is_repeatable = False
            if row.index == target:
                yield row
                target = next(wanted, None)
                if target is None:
                    return
        if target is not None:
            self.count = position
            if position == 0:
                raise DataError(f"{self.name} yields no samples.")

    def _items(self) -> Iterator[Any]:
        """The items that the function yields; its errors become a DataError."""
        position = 0
        try:
            for item in self._function():
                yield item
                position += 1
        except Exception as error:
            raise DataError(
                f"{self.name} failed at sample {position}: {type(error).__name__}: {quote(error)}.",
                details=traceback.format_exc(),
            ) from error

    def _make_row(self, item: Any, index: int) -> Row:
        where = f"sample {index} of {self.name}"
        sample, label = item, None
        if isinstance(item, tuple):
            if len(item) != 2:
                raise DataError(
                    f"{begin(where)} is a tuple of {len(item)}.",
                    hint="Yield a sample, or a (sample, label) pair; several inputs as a dict.",
                )
            sample, label = item[0], _read_array(item[1], where)
            if label.dtype.kind not in "fiub":
                raise DataError(
                    f"The label of {where} is {item[1]!r}, not a number.",
                    hint="Yield the index of the class.",
                )
            label = plain_label(label)
        if index == 0:
            self.has_labels = isinstance(item, tuple)
        if isinstance(item, tuple) != self.has_labels:
            have = "have a label" if self.has_labels else "have none"
            raise DataError(
                f"{begin(where)} and sample 0 differ: only one of them has a label.",
                hint=f"Let all samples {have}.",
            )
        if isinstance(sample, Mapping):
            names, _ = match_names(list(sample), self._inputs, begin(where), label=None)
        elif len(self._inputs) > 1:
            wanted = ", ".join(repr(spec.name) for spec in self._inputs)
            raise DataError(
                f"{begin(where)} is one array, but the model's inputs are {wanted}.",
                hint="Yield a dict with one array per input, by name.",
            )
        else:
            sample, names = {"": sample}, {self._inputs[0].name: ""}
        inputs = {name: _read_array(sample[key], where) for name, key in names.items()}
        return Row(index, inputs, label, where)


def open_function(reference: str, inputs: Sequence[TensorSpec]) -> FunctionSource:
    """Open the function named "package.module:function"; the current folder is importable.

    Raises:
        DataError: there is no such module or function, or importing it fails.
    """
    module_name, _, function_name = reference.partition(":")
    folder = str(Path.cwd())
    if folder not in sys.path:
        # Last, so that no file here hides a package that edgeq or the function needs; left there,
        # because the function may import more while it runs.
        sys.path.append(folder)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        hint = f"Write {module_name[:-3]}:{function_name}" if module_name.endswith(".py") else None
        raise DataError(
            f"Module {module_name!r} cannot be imported: {type(error).__name__}: {quote(error)}.",
            hint=hint,
            details=traceback.format_exc(),
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        known = [
            key
            for key, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__ and key[0] != "_"
        ]
        hint = f"It has {', '.join(known) or 'none'}."
        found = None if module.__file__ is None else Path(module.__file__).resolve()
        own = Path(f"{module_name}.py")
        if own.exists() and found != own.resolve():
            hint = f"It is {found}, which hides your {own}: rename yours."
        raise DataError(f"Module {module_name!r} has no function {function_name!r}.", hint=hint)
    return FunctionSource(function, reference, inputs)


def is_function_reference(text: str) -> bool:
    """Whether a text has the form "package.module:function"."""
    return _REFERENCE.fullmatch(text) is not None


def _read_array(value: Any, where: str) -> Array:
    try:
        array = np.asarray(value)
    except Exception as error:
        raise DataError(
            f"{begin(where)} is not an array: {type(error).__name__}: {quote(error)}."
        ) from error
    if array.dtype.hasobject:
        raise DataError(f"{begin(where)} is {type(value).__name__}, not an array.")
    return array
