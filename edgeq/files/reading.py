"""Reading files of the user: without waiting for a pipe, and with a check for changes."""

from __future__ import annotations

import errno
import inspect
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Any, BinaryIO, ParamSpec, TypeVar

from edgeq import host
from edgeq.errors import EdgeqError, SourceError, UsageError

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_file(path: Path) -> BinaryIO:
    """Open a regular file to read it.

    Raises:
        OSError: it does not exist, cannot be read, or is not a regular file: opening a named pipe
            would wait for a writer, and reading a device may never end.
    """
    _require_regular(path.stat())  # before opening it: for some devices, that is an action
    handle = host.open_to_read(path)
    stream = os.fdopen(handle, "rb")
    try:
        _require_regular(os.fstat(handle))
    except OSError:
        stream.close()
        raise
    return stream


def read_file(path: Path, most: int) -> bytes:
    """The content of a regular file.

    Args:
        path: of the file.
        most: the most bytes that it may have.

    Raises:
        OSError: it is larger, or `open_file` cannot open it.
    """
    with open_file(path) as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it holds more than {most:,} bytes")
    return content


def _require_regular(found: os.stat_result) -> None:
    if stat.S_ISREG(found.st_mode):
        return
    kind = next((text for fits, text in _KINDS if fits(found.st_mode)), "something else")
    raise OSError(errno.EINVAL, f"it is {kind}, not a file")


def stamp(stream: BinaryIO) -> tuple[int, ...]:
    """Numbers that change when a file is written to, or is replaced."""
    return _stamp(os.fstat(stream.fileno()))


def _stamp(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


@contextmanager
def unchanged(*models: Any) -> Iterator[None]:
    """Check that models, which the block reads several times, do not change in it.

    Args:
        models: paths of files or folders are checked, other models are not.

    Raises:
        SourceError: one has changed; also if the block failed, perhaps for that reason.
    """
    paths = [Path(model) for model in models if isinstance(model, (str, Path))]
    before = [_stamps(path) for path in paths]
    failure: Exception | None = None
    try:
        yield
    except (EdgeqError, OSError) as error:
        failure = error
    for path, seen in zip(paths, before, strict=True):
        if _stamps(path) != seen:
            raise SourceError(
                f"{path} changed while edgeq used it.",
                hint="Run the command again when nothing writes to it.",
            ) from failure
    if failure is not None:
        raise failure


def _stamps(path: Path) -> dict[str, tuple[int, ...]]:
    """The stamps of a file, or of all files in a folder; empty if it does not exist."""
    found = {}
    for item in (path, *(path.rglob("*") if path.is_dir() else ())):
        with suppress(OSError):
            found[str(item)] = _stamp(item.stat())
    return found


_CONVERT_FIRST = 'Convert it first: edgeq.convert(model, "model.tflite", ...)'


def model_path(model: Any, hint: str = _CONVERT_FIRST) -> Path:
    """Return the path of a `.tflite`, or of another file, that a Python caller names.

    Args:
        hint: what to type where the model is an object.

    Raises:
        UsageError: it is an object, such as a `keras.Model`.
    """
    if not isinstance(model, (str, os.PathLike)):
        kind = type(model).__name__
        raise UsageError(f"A path is needed, not an object of type {kind}.", hint=hint)
    return Path(model)


def model_paths(models: Any) -> list[Path]:
    """Return the paths of one or several `.tflite` files; see `model_path`."""
    return list(map(model_path, listed(models)))


def listed(models: Any) -> list[Any]:
    """Return several models as a list, and a single one as a list of one."""
    is_one = isinstance(models, (str, bytes, os.PathLike)) or not isinstance(models, Iterable)
    return [models] if is_one else list(models)


def needs_unchanged(
    *names: str,
) -> Callable[[Callable[_Given, _Result]], Callable[_Given, _Result]]:
    """Run a function in `unchanged`, for its arguments of these names: see `model_paths`."""

    def decorate(function: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
        signature = inspect.signature(function)

        @wraps(function)
        def checked(*args: _Given.args, **more: _Given.kwargs) -> _Result:
            given = signature.bind(*args, **more).arguments
            with unchanged(*(path for name in names for path in model_paths(given[name]))):
                return function(*args, **more)

        return checked

    return decorate
