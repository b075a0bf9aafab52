"""Arrays in NumPy's `.npy` format, whose headers are checked before memory is allocated.

numpy.load trusts a header, which may state 10^12 samples, or a dtype that is unpickled.
"""

from __future__ import annotations

import ast
import math
import os
import re
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from edgeq.errors import DataError
from edgeq.files.reading import open_file

MAGIC = b"\x93NUMPY"

_AGAIN = "Save the array again, with numpy.save or numpy.savez."
_NUMBERS = "Store arrays of numbers."
_LENGTHS = {(1, 0): "<H", (2, 0): "<I", (3, 0): "<I"}
_MOST_HEADER_BYTES = 10_000  # numpy's limit
_MOST_DIMENSIONS = 32  # numpy's limit before version 2
_DTYPE = re.compile(r"[<>|=]?[?biufcmMSUV]\d{0,9}(\[\w{1,20}\])?")
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class Header:
    """The header of an array.

    Attributes:
        shape: of the array.
        is_fortran: whether the first index varies fastest.
        dtype: of the values.
        start: bytes before the values.
    """

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[Any]
    start: int

    @property
    def count(self) -> int:
        """Size of the first dimension."""
        return self.shape[0]

    @property
    def row_values(self) -> int:
        """Values at one index of the first dimension."""
        return math.prod(self.shape[1:])

    @property
    def row_bytes(self) -> int:
        """Bytes at one index of the first dimension."""
        return self.row_values * self.dtype.itemsize

    @property
    def size(self) -> int:
        """Bytes of all values."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(stream: IO[bytes], where: str, size: int) -> Header:
    """Read and check the header of an array; the values follow in the stream.

    Args:
        stream: at its beginning.
        where: name of the array in messages.
        size: bytes in the stream, with the header.

    Raises:
        DataError: it is not an array, is damaged, holds objects or structures, or states more
            values than follow.
    """
    text, start = _read_text(stream, where)
    header = _parse(text, start, where)
    if min(header.shape, default=0) < 0:
        shown = shorten(header.shape)
        raise DataError(f"{where} states the invalid shape {shown}.", hint=_AGAIN)
    if header.size > size - start:
        raise DataError(
            f"{where} states {header.size:,} bytes of values, but {max(size - start, 0):,} follow.",
            hint=_AGAIN,
        )
    return header


def load(path: Path) -> NDArray[Any]:
    """Read a whole array from a file that another process of edgeq wrote.

    Raises:
        OSError: the file cannot be read.
        DataError: it is damaged.
    """
    with open_file(path) as stream:
        return read_values(stream, str(path), os.fstat(stream.fileno()).st_size)


def load_all(path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of an `.npz` that a process of edgeq wrote after it opened foreign files.

    It must not be compressed, so that no array is larger than the file.

    Raises:
        OSError: the file cannot be read.
        DataError: it is damaged or compressed.
    """
    with open_file(path) as stream:
        try:
            archive = zipfile.ZipFile(stream)
            if any(item.compress_type != zipfile.ZIP_STORED for item in archive.infolist()):
                raise zipfile.BadZipFile("it is compressed")
            arrays = {}
            for item in archive.infolist():
                with archive.open(item) as member:
                    values = read_values(member, f"{item.filename} in {path}", item.file_size)
                arrays[item.filename.removesuffix(".npy")] = values
            return arrays
        except (zipfile.BadZipFile, struct.error, ValueError, RuntimeError, EOFError) as error:
            raise DataError(f"{path} is damaged: {error}.") from error


def read_values(stream: IO[bytes], where: str, size: int) -> NDArray[Any]:
    """Read a whole array; arguments and errors as of `read_header`."""
    header = read_header(stream, where, size)
    flat = np.frombuffer(read_exactly(stream, header.size, where), header.dtype)
    return flat.reshape(header.shape, order="F" if header.is_fortran else "C")


def shorten(value: Any) -> str:
    """A value from a file for a message: one line of printable characters, at most 80."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def read_exactly(stream: IO[bytes], size: int, where: str) -> bytearray:
    """Read this number of bytes, in pieces, into memory that is allocated once.

    Raises:
        DataError: the stream is shorter.
    """
    content = bytearray(size)
    view = memoryview(content)
    filled = 0
    while filled < size:
        piece = stream.read(min(_PIECE_BYTES, size - filled))
        if not piece:
            raise DataError(f"The file ends within {where}.", hint=_AGAIN)
        view[filled : filled + len(piece)] = piece
        filled += len(piece)
    return content


def _read_text(stream: IO[bytes], where: str) -> tuple[str, int]:
    """The header's text, and the bytes up to its end."""
    begin = stream.read(8)
    if begin[:6] != MAGIC or len(begin) < 8:
        raise DataError(f"{where} is not an .npy array: it begins with {begin!r}.", hint=_AGAIN)
    version = (begin[6], begin[7])
    if version not in _LENGTHS:
        shown = ".".join(map(str, version))
        raise DataError(
            f"{where} has version {shown} of the .npy format, which edgeq does not know.",
            hint=_AGAIN,
        )
    field = _LENGTHS[version]
    stated = stream.read(struct.calcsize(field))
    length = struct.unpack(field, stated)[0] if len(stated) == struct.calcsize(field) else 0
    if not 0 < length <= _MOST_HEADER_BYTES:
        raise DataError(
            f"{where} has a header of {length:,} bytes; edgeq reads 1 to {_MOST_HEADER_BYTES:,}.",
            hint=_AGAIN,
        )
    content = stream.read(length)
    if len(content) < length:
        raise DataError(f"{where} is truncated within its header.", hint=_AGAIN)
    return content.decode("latin-1"), 8 + len(stated) + length


def _parse(text: str, start: int, where: str) -> Header:
    try:
        # Python 2 wrote sizes as 28L.
        found = ast.literal_eval(re.sub(r"(?<=\d)L\b", "", text).strip())
    # The last two are for values that are nested too deeply.
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise _unreadable(text, where) from error
    if not isinstance(found, dict) or set(found) != {"descr", "fortran_order", "shape"}:
        raise _unreadable(text, where)
    descr, is_fortran, shape = found["descr"], found["fortran_order"], found["shape"]
    sizes_are_whole = isinstance(shape, tuple) and all(type(size) is int for size in shape)
    if not sizes_are_whole or not isinstance(is_fortran, bool) or len(shape) > _MOST_DIMENSIONS:
        raise _unreadable(text, where)
    return Header(shape, is_fortran and len(shape) > 1, _read_dtype(descr, where), start)


def _unreadable(text: str, where: str) -> DataError:
    return DataError(f"{where} has an invalid header: {shorten(text)}.", hint=_AGAIN)


def _read_dtype(descr: Any, where: str) -> np.dtype[Any]:
    """A plain dtype: no fields, no subarrays, no objects."""
    if _has_objects(descr):
        raise DataError(
            f"{where} holds Python objects, which edgeq does not unpickle.", hint=_NUMBERS
        )
    if not isinstance(descr, str):
        shown = f"the structured dtype {shorten(descr)}"
        raise DataError(f"{where} holds values of {shown}, not plain numbers.", hint=_NUMBERS)
    try:
        if _DTYPE.fullmatch(descr) is None:
            raise TypeError(descr)
        dtype = np.dtype(descr)
        if dtype.itemsize == 0 or dtype.hasobject:
            raise TypeError(descr)
    except (TypeError, ValueError) as error:
        shown = shorten(descr)
        raise DataError(f"{where} has the unknown dtype {shown}.", hint=_NUMBERS) from error
    return dtype


def _has_objects(descr: Any) -> bool:
    if isinstance(descr, (list, tuple)):
        return any(map(_has_objects, descr))
    return isinstance(descr, str) and re.fullmatch(r"[<>|=]?O\d*|object", descr) is not None
