"""LiteRT's C API through ctypes: structures and signatures as in litert/c of LiteRT 2.3."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..job import JobError
from ..runtimes import distribution_version
from . import OLDEST

CPU = 1  # kLiteRtHwAcceleratorCpu


class TensorType(ctypes.Structure):
    """LiteRtRankedTensorType; the highest bit of the rank is set if there are strides."""

    _fields_ = (
        ("element", ctypes.c_int),
        ("rank", ctypes.c_uint8),
        ("dimensions", ctypes.c_int32 * 8),
        ("strides", ctypes.c_uint32 * 8),
    )

    def shape(self) -> list[int]:
        """Dimensions; dynamic ones are negative."""
        return list(self.dimensions[: self.rank & 0x7F])

    def fix(self, shape: list[int]) -> None:
        """Set the dimensions."""
        for number, size in enumerate(shape):
            self.dimensions[number] = size


class Layout(ctypes.Structure):
    """LiteRtLayout."""

    _fields_ = TensorType._fields_[1:]


class Event(ctypes.Structure):
    """ProfiledEventData; `memory` is three figures before and three after."""

    _fields_ = (
        ("tag", ctypes.c_char_p),
        ("kind", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("duration_us", ctypes.c_uint64),
        ("memory", ctypes.c_uint64 * 6),
        ("operator", ctypes.c_int64),
        ("subgraph", ctypes.c_int64),
        ("source", ctypes.c_int),
    )


Handle = ctypes.c_void_p
Size = ctypes.c_size_t


class Runtime:
    """LiteRT's C API.

    Args:
        library: the only file in its folder, see `private_library`.
    """

    def __init__(self, library: Path):
        self.library = ctypes.CDLL(str(library))
        self.environment = self.make("CreateEnvironment", ctypes.c_int(0), None)

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function.

        Raises:
            JobError: it is missing, or returns another status than kLiteRtStatusOk.
        """
        try:
            function = getattr(self.library, "LiteRt" + name)
        except AttributeError as error:
            raise JobError("runtime_too_old", f"it has no LiteRt{name}") from error
        status = function(*arguments)
        if status:
            raise JobError("failed", f"LiteRt{name} returned status {status}")

    def make(self, name: str, *arguments: Any) -> Handle:
        """The handle that a function leaves in its last argument."""
        handle = Handle()
        self.call(name, *arguments, ctypes.byref(handle))
        return handle

    def count(self, name: str, *arguments: Any) -> int:
        """The size that a function leaves in its last argument."""
        found = Size()
        self.call(name, *arguments, ctypes.byref(found))
        return found.value

    def options(self, threads: int) -> Handle:
        """Options for the CPU, with profiling; the runtime frees the texts with C's `free`."""
        c = ctypes.CDLL(None)
        c.strdup.restype, c.strdup.argtypes = Handle, [ctypes.c_char_p]
        options = self.make("CreateOptions")
        self.call("SetOptionsHardwareAccelerators", options, ctypes.c_int(CPU))
        for name, text in (
            (b"runtime_options_string", b"enable_profiling = true\n"),
            (b"xnnpack", b"num_threads = %d\n" % threads),
        ):
            payload = Handle(c.strdup(text))
            extra = self.make("CreateOpaqueOptions", name, payload, ctypes.cast(c.free, Handle))
            self.call("AddOpaqueOptions", options, extra)
        return options


@contextlib.contextmanager
def private_library() -> Iterator[tuple[Path, str]]:
    """A copy of LiteRT's library, alone in a folder, and its release.

    LiteRT loads accelerators that it finds beside its library; the one that is installed with it
    ends the process on processors without LSE instructions (Cortex-A53, A72).

    Raises:
        JobError: it is not installed, or too old.
    """
    if sys.platform in ("darwin", "win32"):
        raise JobError("no_linux", f"edgeq times operators on Linux only, not on {sys.platform}")
    found = importlib.util.find_spec("ai_edge_litert")
    if found is None or not found.submodule_search_locations:
        raise JobError("runtime_missing", "ai-edge-litert is not installed")
    release = distribution_version("ai-edge-litert", "ai-edge-litert-nightly") or "unknown"
    numbers = tuple(int(part) for part in release.split(".")[:2] if part.isdigit())
    library = Path(found.submodule_search_locations[0]) / "libLiteRt.so"
    if (numbers and numbers < OLDEST) or not library.exists():
        wanted = ".".join(map(str, OLDEST))
        message = f"ai-edge-litert {release} cannot time operators, {wanted} can"
        raise JobError("runtime_too_old", message)
    with tempfile.TemporaryDirectory(prefix="edgeq-", dir=".") as folder:
        copy = Path(folder).resolve() / library.name
        shutil.copyfile(library, copy)
        yield copy, release
