"""A CSV file as a source: a header, one sample per line, matched to inputs by column name."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeq.converters.fitting import Array, quote, sample_dtype, sample_shape, show_shape
from edgeq.converters.sources import Labels, Row, make_labels
from edgeq.errors import DataError
from edgeq.storage import hash_file
from edgeq.values import Issue, TensorSpec

_LABEL_COLUMNS = ("y", "label")


@dataclass(frozen=True)
class _Column:
    """Where one input's values stand, and what they become."""

    positions: tuple[int, ...]
    shape: tuple[int, ...]
    is_integer: bool


@dataclass(frozen=True, eq=False)
class TableSource:
    """A CSV file read line by line."""

    name: str
    path: Path
    header: tuple[str, ...]
    columns: Mapping[str, _Column]
    labels: Labels
    count: int
    kind: str = "csv"
    issues: tuple[Issue, ...] = ()

    @property
    def has_labels(self) -> bool:
        """See `Source`."""
        return self.labels.values is not None

    @property
    def class_names(self) -> tuple[str, ...]:
        """See `Source`."""
        return self.labels.class_names

    def digest(self) -> str:
        """Of the file."""
        return hash_file(self.path)

    def read(self, indices: Sequence[int] | None) -> Iterator[Row]:
        """See `Source`."""
        wanted = iter(range(self.count) if indices is None else indices)
        target = next(wanted, None)
        for index, (line, fields) in enumerate(_read_lines(self.path, self.name, self.header)):
            if target is None:
                return
            if index != target:
                continue
            where = f"line {line} of {self.name}"
            inputs = {
                name: self._parse(fields, column, where) for name, column in self.columns.items()
            }
            yield Row(index, inputs, self.labels.pick(index), where)
            target = next(wanted, None)

    def _parse(self, fields: Sequence[str], column: _Column, where: str) -> Array:
        values = []
        for position in column.positions:
            text = fields[position].strip()
            try:
                values.append(int(text) if column.is_integer else float(text))
            except ValueError as error:
                kind = "an integer" if column.is_integer else "a number"
                raise DataError(
                    f"Column {self.header[position]!r} in {where} holds {text!r}, not {kind}."
                ) from error
        return np.array(values, np.int64 if column.is_integer else np.float64).reshape(column.shape)


def open_table(path: Path, inputs: Sequence[TensorSpec], name: str) -> TableSource:
    """A CSV file; it is read once in full to count samples and collect labels.

    Columns `NAME`, or `NAME[0]`, `NAME[1]`..., belong to input NAME, flattened row by row; with a
    single input and no such column, all columns but the label are its values in order. The label
    is the column `y` or `label`: integers, numbers, or texts that are numbered in sorted order.

    Raises:
        DataError: no header, columns that do not fit the inputs, a ragged line, or no lines.
    """
    with _readable(name), path.open(newline="", encoding="utf-8-sig") as stream:
        header = tuple(text.strip() for text in next(csv.reader(stream), []))
    _check_header(header, name)
    label = _find_label(header, inputs, name)
    columns = _match_columns(header, label, inputs, name)
    count, texts = 0, []
    for _, fields in _read_lines(path, name, header):
        count += 1
        if label is not None:
            texts.append(fields[label].strip())
    if count == 0:
        raise DataError(f"{name} holds no samples.")
    values = None if label is None else _parse_labels(texts)
    return TableSource(name, path, header, columns, make_labels(values, count, name), count)


@contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{name} cannot be read as CSV: {quote(error)}.") from error


def _read_lines(
    path: Path, name: str, header: Sequence[str]
) -> Iterator[tuple[int, Sequence[str]]]:
    """Line number and fields of every line that is not blank."""
    with _readable(name), path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.reader(stream)
        next(reader, None)
        for fields in reader:
            if not fields:
                continue
            if len(fields) != len(header):
                raise DataError(
                    f"Line {reader.line_num} of {name} has {len(fields)} fields, "
                    f"the header has {len(header)}."
                )
            yield reader.line_num, fields


def _check_header(header: Sequence[str], name: str) -> None:
    if not header:
        raise DataError(f"{name} is empty.", hint="The first line must name the columns.")
    if len(header) == 1 and (";" in header[0] or "\t" in header[0]):
        raise DataError(f"{name} does not separate its columns by commas: {header[0]!r}.")
    if all(_is_number(text) for text in header):
        raise DataError(
            f"{name} has no header: its first line is all numbers.",
            hint="The first line must name the columns.",
        )
    repeated = [text for text in header if header.count(text) > 1]
    if repeated:
        raise DataError(f"{name} has {header.count(repeated[0])} columns named {repeated[0]!r}.")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _find_label(header: Sequence[str], inputs: Sequence[TensorSpec], name: str) -> int | None:
    taken = [spec.name for spec in inputs]
    found = [text for text in _LABEL_COLUMNS if text in header and text not in taken]
    if len(found) > 1:
        raise DataError(f"{name} has two label columns, 'y' and 'label'.", hint="Keep one.")
    return header.index(found[0]) if found else None


def _match_columns(
    header: Sequence[str], label: int | None, inputs: Sequence[TensorSpec], name: str
) -> dict[str, _Column]:
    groups = {spec.name: _find_columns(header, spec.name) for spec in inputs}
    features = [place for place in range(len(header)) if place != label]
    if len(inputs) == 1 and not groups[inputs[0].name]:
        groups = {inputs[0].name: features}
    missing = [key for key, places in groups.items() if not places]
    used = {place for places in groups.values() for place in places}
    unknown = [header[place] for place in features if place not in used]
    if missing or unknown:
        what = f"no column for input {missing[0]!r}" if missing else ""
        what = what or f"a column {unknown[0]!r} that belongs to no input"
        wanted = ", ".join(repr(spec.name) for spec in inputs)
        raise DataError(
            f"{name} has {what}; the model's inputs are {wanted}.",
            hint="Name columns NAME, or NAME[0], NAME[1]... after the inputs, labels 'y'.",
        )
    return {spec.name: _make_column(groups[spec.name], spec, name) for spec in inputs}


def _find_columns(header: Sequence[str], name: str) -> list[int]:
    """Positions of `name`, or of `name[0]`, `name[1]`... in the order of their numbers."""
    if name in header:
        return [header.index(name)]
    positions: list[int] = []
    while f"{name}[{len(positions)}]" in header:
        positions.append(header.index(f"{name}[{len(positions)}]"))
    return positions


def _make_column(positions: Sequence[int], spec: TensorSpec, name: str) -> _Column:
    shape = sample_shape(spec)
    fixed = int(np.prod([size for size in shape if size >= 0], dtype=np.int64))
    dynamic = sum(size < 0 for size in shape)
    fits = len(positions) == fixed if not dynamic else len(positions) % max(fixed, 1) == 0
    if dynamic > 1 or not fits:
        raise DataError(
            f"{name} has {len(positions)} columns for input {spec.name!r}, "
            f"which takes {show_shape(shape)} values."
        )
    return _Column(tuple(positions), shape, sample_dtype(spec).kind in "iu")


def _parse_labels(texts: Sequence[str]) -> Array:
    for dtype in (np.int64, np.float64):
        try:
            return np.array(texts).astype(dtype)
        except (ValueError, OverflowError):
            continue
    return np.array(texts)
