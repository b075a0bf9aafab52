"""`.npy` and `.npz` files as sources, row by row.

A pass needs the memory of a few rows, whatever the file's size and whatever it states: headers are
checked against the real sizes before anything is allocated, and rows and labels are read from the
file, or from the archive's members, compressed or not.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np

from edgeq.converters.samples.data_file import DataFile, unreadable
from edgeq.converters.samples.input_shapes import Array, quote
from edgeq.converters.samples.sources import (
    MAX_LABEL_BYTES,
    FileSource,
    Row,
    code_texts,
    count_rows,
    match_names,
    plain_label,
    read_text,
    require_labels,
    require_one_input,
    require_size,
)
from edgeq.errors import DataError
from edgeq.files.npy import Header, read_exactly, read_header, read_values
from edgeq.values import Issue, Preprocessing, TensorSpec

_PIECE_BYTES = 1 << 20
_BLOCK_BYTES = 64 << 20  # rows of a column-major array that are gathered at a time
_MOST_READ_BYTES = 4 << 20
# By zlib's documentation, deflate makes data at most 1032 times smaller.
_KNOWN_COMPRESSION = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: 1032}
_IS_ENCRYPTED = 0x1

_SAVE_AGAIN = "Save the arrays again with numpy.savez or numpy.savez_compressed."

# Opens a member by its name, at its beginning.
Opener = Callable[[str], AbstractContextManager[IO[bytes]]]


@dataclass(frozen=True)
class Column:
    """One array: its member in the archive ("" in an `.npy` file), and its header."""

    member: str
    header: Header
    where: str


@dataclass(eq=False, kw_only=True)
class NumpySource(FileSource):
    """Arrays of a file, by input name, read row by row.

    Attributes:
        numbers: the number of each label that is a text.
    """

    columns: Mapping[str, Column]
    label: Column | None = None
    numbers: Mapping[str, int] | None = None

    def read(self, indices: Sequence[int] | None) -> Iterator[Row]:
        """Rows in order; an archive is decompressed from its beginning to the last index."""
        wanted = self.wanted(indices)
        with readable(self.name), self.file.open() as stream, ExitStack() as stack:
            open_member = _member_opener(stream, self.kind, self.name)
            columns = {
                name: stack.enter_context(closing(_rows(open_member, column, wanted)))
                for name, column in self.columns.items()
            }
            labels = None
            if self.label is not None:
                labels = stack.enter_context(closing(_rows(open_member, self.label, wanted)))
            for index in wanted:
                inputs = {name: next(rows) for name, rows in columns.items()}
                value = None if labels is None else next(labels)
                if value is None or self.numbers is None:
                    label = None if value is None else plain_label(value)
                else:
                    label = self.numbers[read_text(value, self.name)]
                self.file.check(stream)
                yield Row(index, inputs, label, f"sample {index} of {self.name}")


def open_npy(path: Path, inputs: Sequence[TensorSpec], name: str) -> NumpySource:
    """Open an `.npy` file for a model with one input.

    Raises:
        DataError: several inputs, no samples, a damaged file, or values that are not numbers.
    """
    spec = require_one_input(inputs, f"{name} holds one array and")
    file = DataFile(path, name)
    with readable(name), file.open() as stream:
        column = Column("", read_header(stream, name, file.size), name)
    _require_samples(column)
    count = count_rows({spec.name: column.header.count}, name)
    return NumpySource(name=name, kind="npy", count=count, file=file, columns={spec.name: column})


def open_npz(path: Path, inputs: Sequence[TensorSpec], name: str) -> NumpySource:
    """Open an `.npz` file with one array per input, and labels as `y`.

    Raises:
        DataError: names or lengths do not match, or the file is damaged or holds Python objects.
    """
    file = DataFile(path, name)
    with readable(name), file.open() as stream:
        archive = _open_archive(stream, name)
        found = [key.removesuffix(".npy") for key in archive.namelist() if key.endswith(".npy")]
        members, label = match_names(found, inputs, name)
        columns = {key: _read_column(archive, member, file) for key, member in members.items()}
        for column in columns.values():
            _require_samples(column)
        count = count_rows({key: column.header.count for key, column in columns.items()}, name)
        source = NumpySource(name=name, kind="npz", count=count, file=file, columns=columns)
        if label is None:
            return source
        labels = _read_column(archive, label, file)
        require_label_column(labels, count, name)
        source = replace(source, label=labels, has_labels=True)
        if labels.header.dtype.kind not in "US":
            return source
        with closing(_rows(archive.open, labels, range(count))) as rows:
            numbers, class_names = code_texts((read_text(row, name) for row in rows), name)
        file.check(stream)
    return replace(source, numbers=numbers, class_names=class_names)


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Turn what numpy, zipfile and zlib raise for a damaged file into one error."""
    try:
        yield
    except OSError as error:
        raise unreadable(name, error) from error
    # zipfile raises not only BadZipFile for nonsense.
    except (zipfile.BadZipFile, zlib.error, struct.error, ValueError, EOFError) as error:
        raise DataError(
            f"{name} is damaged or truncated: {quote(error)}.", hint=_SAVE_AGAIN
        ) from error
    except NotImplementedError as error:  # how zipfile refuses what it does not know
        raise DataError(f"{name} cannot be read: {quote(error)}.", hint=_SAVE_AGAIN) from error


# ---------------------------------------------------------------- members of an archive


class _Bounded:
    """A file for zipfile, which would read a list of members of any size into memory."""

    def __init__(self, stream: BinaryIO, name: str):
        self._stream, self._name = stream, name
        self.tell, self.seekable = stream.tell, stream.seekable

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move, as a file does."""
        if whence == os.SEEK_SET and offset < 0:
            raise zipfile.BadZipFile("a member begins before the file")
        return self._stream.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        """Read, as a file does; zipfile passes no size where it searches the end of the file."""
        if size > _MOST_READ_BYTES:
            raise DataError(
                f"{self._name} has a list of members of {size:,} bytes; edgeq reads at most "
                f"{_MOST_READ_BYTES:,}.",
                hint=_SAVE_AGAIN,
            )
        return self._stream.read(_MOST_READ_BYTES if size < 0 else size)


def _open_archive(stream: BinaryIO, name: str) -> zipfile.ZipFile:
    return zipfile.ZipFile(_Bounded(stream, name))


def _member_opener(stream: BinaryIO, kind: str, name: str) -> Opener:
    if kind == "npz":
        return _open_archive(stream, name).open

    def rewind(_: str) -> AbstractContextManager[IO[bytes]]:
        stream.seek(0)
        return nullcontext(stream)

    return rewind


def _read_column(archive: zipfile.ZipFile, key: str, file: DataFile) -> Column:
    where, name = f"{key!r} in {file.name}", f"{key}.npy"
    if archive.namelist().count(name) > 1:
        raise DataError(f"{file.name} holds {key!r} twice.", hint=_SAVE_AGAIN)
    info = archive.getinfo(name)
    if info.flag_bits & _IS_ENCRYPTED:
        raise DataError(f"{where} is encrypted.", hint="Store it without a password.")
    ratio = _KNOWN_COMPRESSION.get(info.compress_type)
    if ratio is None:
        raise DataError(
            f"{where} is compressed by method {info.compress_type}, which edgeq does not read.",
            hint=_SAVE_AGAIN,
        )
    packed = min(info.compress_size, file.size)
    if info.file_size > ratio * packed:
        raise DataError(
            f"{where} states {info.file_size:,} bytes; its {packed:,} bytes in the file cannot "
            "expand to that.",
            hint=_SAVE_AGAIN,
        )
    with archive.open(info) as stream:
        return Column(name, read_header(stream, where, info.file_size), where)


# ---------------------------------------------------------------- what may be in them


def _require_samples(column: Column) -> None:
    header, where = column.header, column.where
    if header.dtype.kind not in "fiub":
        raise DataError(f"{where} holds {header.dtype} values.", hint="Store numbers.")
    if not header.shape:
        raise DataError(
            f"{where} holds a single number where an array of samples belongs.",
            hint="The first dimension must count samples: store one sample as x[None].",
        )
    if 0 in header.shape[1:]:
        raise DataError(
            f"The samples in {where} hold no values: their shape is {header.shape[1:]}.",
            hint="Store one array of all samples, whose first dimension counts them.",
        )
    require_size(header.row_values, header.dtype.itemsize, f"Each sample in {where}")


def require_label_column(column: Column, count: int, name: str) -> None:
    """Check an array of labels, see `require_labels`."""
    header, where = column.header, column.where
    require_labels(header.dtype, header.count if header.shape else 0, count, name)
    if 0 in header.shape[1:]:
        raise DataError(f"The labels in {where} hold no values: their shape is {header.shape[1:]}.")
    if header.row_bytes > MAX_LABEL_BYTES:
        raise DataError(
            f"Each label in {where} takes {header.row_bytes:,} bytes; edgeq takes at most "
            f"{MAX_LABEL_BYTES:,}.",
            hint="Store class indices, or masks of a smaller dtype.",
        )


class ArrayDecoder:
    """Reads the `.npy` files of a folder, one sample in each.

    Args:
        spec: of the input, which `fit` checks.
        preprocessing: of the input, or None.
    """

    def __init__(self, spec: TensorSpec, preprocessing: Preprocessing | None):
        pass

    def issues(self, name: str) -> Iterator[Issue]:
        """No doubts."""
        return iter(())

    def decode(self, content: bytes, file: str, name: str) -> Array:
        """Return the array in a file.

        Raises:
            DataError: it is damaged, or its values are not numbers.
        """
        where = f"Array {file} of {name}"
        with readable(where):
            array = read_values(io.BytesIO(content), where, len(content))
        if array.dtype.kind not in "fiub":
            raise DataError(f"{where} holds {array.dtype} values.", hint="Store numbers.")
        require_size(array.size, array.itemsize, where)
        return _read_only(array)


# ---------------------------------------------------------------- rows


def _rows(
    open_member: Opener, column: Column, indices: Sequence[int]
) -> Generator[Array, None, None]:
    header = column.header
    if header.is_fortran:
        yield from _gathered_rows(open_member, column, indices)
        return
    with open_member(column.member) as stream:
        _skip(stream, header.start)
        position = 0
        for index in indices:
            _skip(stream, (index - position) * header.row_bytes)
            where = f"sample {index} of {column.where}"
            values = np.frombuffer(read_exactly(stream, header.row_bytes, where), header.dtype)
            yield _read_only(values.reshape(header.shape[1:]))
            position = index + 1


def _gathered_rows(
    open_member: Opener, column: Column, indices: Sequence[int]
) -> Generator[Array, None, None]:
    """Rows of a column-major array, whose values are scattered: a block of rows in each pass."""
    header = column.header
    size = max(1, _BLOCK_BYTES // header.row_bytes)
    for start in range(0, len(indices), size):
        block = indices[start : start + size]
        with open_member(column.member) as stream:
            _skip(stream, header.start)
            table = _gather(stream, column, block)
        for place in range(len(block)):
            yield _read_only(table[:, place].reshape(header.shape[1:], order="F"))


def _gather(stream: IO[bytes], column: Column, block: Sequence[int]) -> Array:
    """[values of a row, rows of the block]; in the file, a value of all rows is in one place."""
    header = column.header
    item = header.dtype.itemsize
    at_once = max(1, _PIECE_BYTES // (header.count * item))
    first, stop = (block[0], block[-1] + 1) if at_once == 1 else (0, header.count)
    picks = np.asarray(block) - first
    table = np.empty((header.row_values, len(block)), header.dtype)
    _skip(stream, first * item)
    for place in range(0, header.row_values, at_once):
        count = min(at_once, header.row_values - place)
        content = read_exactly(stream, count * (stop - first) * item, column.where)
        table[place : place + count] = np.frombuffer(content, header.dtype).reshape(count, -1)[
            :, picks
        ]
        _skip(stream, (header.count - (stop - first)) * item)
    return table


def _skip(stream: IO[bytes], size: int) -> None:
    if not isinstance(stream, zipfile.ZipExtFile):
        stream.seek(size, os.SEEK_CUR)
        return
    while size > 0 and (piece := stream.read(min(size, _PIECE_BYTES))):
        size -= len(piece)


def _read_only(values: Array) -> Array:
    values.flags.writeable = False  # so that nobody needs a copy
    return values
