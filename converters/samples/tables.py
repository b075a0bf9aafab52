"""Tables, with one sample in each row: CSV files, and those of pandas, Polars and PyArrow.

Columns `NAME`, or `NAME[0]`, `NAME[1]`..., belong to input NAME, flattened row by row; with a
single input and no such column, all columns but the label are its values in order.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from edgeq.converters.samples.data_file import DataFile, unreadable
from edgeq.converters.samples.input_shapes import (
    Array,
    begin,
    quote,
    sample_dtype,
    sample_shape,
    show_shape,
)
from edgeq.converters.samples.libraries import as_array, is_of
from edgeq.converters.samples.sources import FileSource, Row, code_texts, find_label, require_count
from edgeq.errors import DataError
from edgeq.files.npy import shorten
from edgeq.values import TensorSpec

# Characters; the shortest fields of a row take twenty times as many bytes in Python.
_MOST_ROW = 16_000_000
_TABLES = (("pandas", "DataFrame"), ("polars", "DataFrame"), ("pyarrow", "Table"))
_NESTED = (
    "A column has one number in each row. Give arrays as {name: numpy.stack(table[name])}, those "
    'of Hugging Face by with_format("numpy").'
)


@dataclass(frozen=True)
class Column:
    """The columns that hold one input's values, and what they become."""

    positions: tuple[int, ...]
    shape: tuple[int, ...]
    is_integer: bool


@dataclass(eq=False, kw_only=True)
class TableSource(FileSource):
    """A CSV file read line by line.

    Attributes:
        label: position of the column of labels.
        read_label: from the text of a label to its number.
    """

    header: tuple[str, ...]
    columns: Mapping[str, Column]
    label: int | None = None
    read_label: Callable[[str], int | float] = float

    def read(self, indices: Sequence[int] | None) -> Iterator[Row]:
        """Rows in order, see `Source.read`."""
        wanted = iter(self.wanted(indices))
        target = next(wanted, None)
        for index, (line, fields) in enumerate(_read_lines(self.file, self.header)):
            if target is None:
                return
            if index != target:
                continue
            where = f"line {line} of {self.name}"
            inputs = {
                name: self._parse(fields, column, where) for name, column in self.columns.items()
            }
            label = None if self.label is None else self.read_label(fields[self.label].strip())
            yield Row(index, inputs, label, where)
            target = next(wanted, None)

    def _parse(self, fields: Sequence[str], column: Column, where: str) -> Array:
        values = []
        for position in column.positions:
            text = fields[position].strip()
            try:
                values.append(int(text) if column.is_integer else float(text))
            except ValueError as error:
                kind = "an integer" if column.is_integer else "a number"
                raise DataError(
                    f"Column {shorten(self.header[position])} in {where} holds {shorten(text)}, "
                    f"not {kind}."
                ) from error
        return np.array(values, np.int64 if column.is_integer else np.float64).reshape(column.shape)


def open_table(path: Path, inputs: Sequence[TensorSpec], name: str) -> TableSource:
    """Open a CSV file, which is read once in full to count samples and collect labels.

    Labels are in one of the columns `LABEL_NAMES`: integers, numbers, or texts that are numbered
    in sorted order.

    Raises:
        DataError: no header, columns that do not fit the inputs, a ragged line, or no lines.
    """
    file = DataFile(path, name)
    header = tuple(text.strip() for text in next(_read_fields(file), (0, ()))[1])
    _check_header(header, name)
    columns, label = match_columns(header, inputs, name)
    count, are_integers, are_numbers = 0, True, True
    for _, fields in _read_lines(file, header):
        count += 1
        if label is not None:
            text = fields[label].strip()
            are_integers = are_integers and _is_int64(text)
            are_numbers = are_integers or (are_numbers and _is_number(text))
    if count == 0:
        raise DataError(f"{name} holds no samples.")
    source = TableSource(
        name=name, kind="csv", count=count, has_labels=label is not None,
        file=file, header=header, columns=columns, label=label,
    )  # fmt: skip
    if label is None or are_numbers:
        return replace(source, read_label=int if are_integers else float)
    texts = (fields[label].strip() for _, fields in _read_lines(file, header))
    numbers, class_names = code_texts(texts, name)
    return replace(source, read_label=numbers.__getitem__, class_names=class_names)


def read_label_table(
    path: Path, name: str
) -> tuple[dict[str, int | float | Array], tuple[str, ...]]:
    """Read a CSV file of labels: a header, then a file name and one or more values in each line.

    Returns:
        The label of each file, and the names of the classes if labels are texts.

    Raises:
        DataError: no header, a ragged line, a file named twice, or texts among several values.
    """
    file = DataFile(path, name)
    header = tuple(text.strip() for text in next(_read_fields(file), (0, ()))[1])
    _check_header(header, name)
    if len(header) < 2:
        raise DataError(
            f"{name} has one column, {shorten(header[0])}.",
            hint="The first column names the file, the others are its label.",
        )
    found: dict[str, list[str]] = {}
    for line, fields in _read_lines(file, header):
        key, *values = (text.strip() for text in fields)
        if key in found:
            raise DataError(f"Line {line} of {name} labels {shorten(key)} a second time.")
        found[key] = values
    texts = [text for values in found.values() for text in values]
    if all(map(_is_int64, texts)) or all(map(_is_number, texts)):
        number = int if all(map(_is_int64, texts)) else float
        rows = {key: [number(text) for text in values] for key, values in found.items()}
        return {key: row[0] if len(row) == 1 else np.array(row) for key, row in rows.items()}, ()
    if len(header) > 2:
        strange = next(text for text in texts if not _is_number(text))
        raise DataError(
            f"{name} has several values a file, and {shorten(strange)} is not a number."
        )
    numbers, class_names = code_texts(texts, name)
    return {key: numbers[values[0]] for key, values in found.items()}, class_names


def _read_fields(file: DataFile) -> Iterator[tuple[int, Sequence[str]]]:
    """Line number and fields of every row that is not blank, with the header."""
    taken = 0  # characters of the row that is being read

    def bounded(text: TextIO) -> Iterator[str]:
        """The lines; csv.reader alone would read a line of any length into memory."""
        nonlocal taken
        while line := text.readline(_MOST_ROW + 1):
            taken += len(line)
            if taken > _MOST_ROW:
                raise DataError(
                    f"A row of {file.name} has more than {_MOST_ROW:,} characters.",
                    hint="Give one sample a line; large samples as an .npz file.",
                )
            yield line

    with file.open() as stream:
        try:
            text = io.TextIOWrapper(stream, "utf-8-sig", newline="")
            reader = csv.reader(bounded(text))
            for fields in reader:
                taken = 0
                require_count(reader.line_num - 1, file.name, "lines")
                file.check(stream)
                if fields:
                    yield reader.line_num, fields
        except OSError as error:
            raise unreadable(file.name, error) from error
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(
                f"{file.name} cannot be read as CSV: {quote(error)}.",
                hint="Save it as UTF-8 text with commas between the columns.",
            ) from error


def _read_lines(file: DataFile, header: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    """Line number and fields of every row below the header."""
    for line, fields in islice(_read_fields(file), 1, None):
        if len(fields) != len(header):
            raise DataError(
                f"Line {line} of {file.name} has {len(fields)} fields, "
                f"the header has {len(header)}."
            )
        yield line, fields


def _check_header(header: Sequence[str], name: str) -> None:
    if not header:
        raise DataError(f"{name} is empty.", hint="The first line must name the columns.")
    if len(header) == 1 and (";" in header[0] or "\t" in header[0]):
        raise DataError(
            f"{name} has columns that are not separated by commas: {shorten(header[0])}.",
            hint="Export it with commas, and with points in numbers such as 0.5.",
        )
    if all(_is_number(text) for text in header):
        raise DataError(
            f"{name} has no header: its first line is all numbers.",
            hint="The first line must name the columns.",
        )
    text, count = Counter(header).most_common(1)[0]
    if count > 1:
        raise DataError(f"{name} has {count} columns named {shorten(text)}.")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def match_columns(
    header: Sequence[str], inputs: Sequence[TensorSpec], name: str, hint: str | None = None
) -> tuple[dict[str, Column], int | None]:
    """The columns of each input, and the position of the labels.

    Args:
        header: different names.
        name: names the table at the beginning of a message.
        hint: if there are not as many columns as an input has values.

    Raises:
        DataError: columns are missing, belong to no input, or are not as many as its values.
    """
    places = {text: place for place, text in enumerate(header)}
    groups: dict[str, list[int]] = {}
    for spec in inputs:
        groups[spec.name] = found = [places[spec.name]] if spec.name in places else []
        while spec.name not in places and (key := f"{spec.name}[{len(found)}]") in places:
            found.append(places[key])
    own = find_label(header, [*groups], name)
    label = None if own is None else places[own]
    features = [place for place in places.values() if place != label]
    if len(inputs) == 1 and not groups[inputs[0].name]:
        groups = {inputs[0].name: features}
    missing = [key for key, positions in groups.items() if not positions]
    used = {place for positions in groups.values() for place in positions}
    unknown = [header[place] for place in features if place not in used]
    if missing or unknown:
        what = f"no column for input {missing[0]!r}" if missing else ""
        what = what or f"a column {shorten(unknown[0])} that belongs to no input"
        wanted = ", ".join(repr(spec.name) for spec in inputs)
        raise DataError(
            f"{name} has {what}; the model's inputs are {wanted}.",
            hint="Name columns NAME, or NAME[0], NAME[1]... after the inputs, labels 'y'.",
        )
    columns = {}
    for spec in inputs:
        positions, shape = groups[spec.name], sample_shape(spec)
        fixed = int(np.prod([size for size in shape if size >= 0], dtype=np.int64))
        dynamic = sum(size < 0 for size in shape)
        fits = len(positions) == fixed if not dynamic else len(positions) % max(fixed, 1) == 0
        if dynamic > 1 or not fits:
            raise DataError(
                f"{name} has {len(positions)} columns for input {spec.name!r}, "
                f"which takes {show_shape(shape)} values.",
                hint=hint,
            )
        columns[spec.name] = Column(tuple(positions), shape, sample_dtype(spec).kind in "iu")
    return columns, label


def _is_int64(text: str) -> bool:
    try:
        return -(2**63) <= int(text) < 2**63
    except ValueError:
        return False


# ---------------------------------------------------------------- tables of libraries


def is_table(value: Any) -> bool:
    """Whether an object is a table of pandas, Polars or PyArrow."""
    return any(is_of(value, package, name) for package, name in _TABLES)


def read_table(
    table: Any, inputs: Sequence[TensorSpec], name: str
) -> tuple[dict[str, Array], Array | None]:
    """Take a table of a library apart.

    Args:
        table: see `is_table`.
        name: names it in messages.

    Returns:
        By input name an array [rows, ...], and the labels or None.

    Raises:
        DataError: see `match_columns`, or a column does not hold numbers.
    """
    keys = list(getattr(table, "column_names", None) or table.columns)
    header = [str(key) for key in keys]
    columns, label = match_columns(header, inputs, begin(name), _NESTED)

    def read(position: int) -> Array:
        return as_array(table[keys[position]], f"column {shorten(header[position])} of {name}")

    arrays = {}
    for key, column in columns.items():
        parts = [read(position) for position in column.positions]
        for position, part in zip(column.positions, parts, strict=True):
            if part.dtype.kind not in "fiub":
                raise DataError(
                    f"Column {shorten(header[position])} of {name} holds {part.dtype} values, not "
                    "numbers."
                )
        arrays[key] = np.stack(parts, axis=1).reshape(len(table), *column.shape)
    return arrays, None if label is None else read(label)
