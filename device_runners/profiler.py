"""Time of each operator of a `.tflite`: one self-contained file that runs where the agent runs.

    python profiler.py MODEL RESULT.json THREADS RUNS

It needs the standard library and ai-edge-litert 2.3 or newer, whose `libLiteRt.so` it drives
through its C API, and imports nothing of edgeq. It is started by the agent as a process of its
own, because native code can crash. The result is {"runtime", "latency_ns", "invoke_us", "events",
"memory"}, one list entry per inference, or {"error"}. Runs on Python 3.8 and newer.

Structures and signatures are those of the headers in litert/c of LiteRT 2.3.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import importlib.util
import json
import os
import random
import shutil
import struct
import sys
import tempfile
import threading
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

OLDEST = (2, 3)  # earlier releases have other signatures
WARMUP_S = 0.5
MIN_WARMUP = 3
COPIES = 5
COPY_BYTES = (32 << 20, 256 << 20)  # at least and at most, in one copy

CPU = 1  # kLiteRtHwAcceleratorCpu
FLOAT32, FLOAT16, UINT8, INT8 = 1, 10, 3, 9  # LiteRtElementType
OPERATOR, DELEGATE_OPERATORS, DEFAULT = 2, (4, 8), 1  # LiteRtProfilerEventType


class ProfileError(Exception):
    """A failure with a stable code, for the result."""

    def __init__(self, code: str, message: str, details: str = ""):
        super().__init__(message)
        self.code = code
        self.details = details


class TensorType(ctypes.Structure):
    """LiteRtRankedTensorType; the rank's highest bit says whether there are strides."""

    _fields_ = (
        ("element", ctypes.c_int),
        ("rank", ctypes.c_uint8),
        ("dimensions", ctypes.c_int32 * 8),
        ("strides", ctypes.c_uint32 * 8),
    )

    def shape(self) -> List[int]:
        """Dimensions, negative where dynamic."""
        return list(self.dimensions[: self.rank & 0x7F])

    def fix(self, shape: List[int]) -> None:
        """Take these dimensions."""
        for number, size in enumerate(shape):
            self.dimensions[number] = size


class Layout(ctypes.Structure):
    """LiteRtLayout."""

    _fields_ = TensorType._fields_[1:]


class Event(ctypes.Structure):
    """ProfiledEventData; memory use is three numbers before and three after."""

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
    """LiteRT's C API, from a library that lies alone in a folder."""

    def __init__(self, library: Path):
        self.library = ctypes.CDLL(str(library))
        self.environment = self.make("CreateEnvironment", ctypes.c_int(0), None)

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function.

        Raises:
            ProfileError: it is missing, or returns another status than kLiteRtStatusOk.
        """
        try:
            function = getattr(self.library, "LiteRt" + name)
        except AttributeError as error:
            raise ProfileError("runtime_too_old", f"it has no LiteRt{name}") from error
        status = function(*arguments)
        if status:
            raise ProfileError("failed", f"LiteRt{name} returned status {status}")

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
        """Options for the CPU, with profiling; the runtime frees the texts with C's own `free`."""
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


class Model:
    """A compiled model with its buffers, random values in its inputs."""

    def __init__(self, runtime: Runtime, path: str, threads: int):
        self.runtime = runtime
        model = self._read(path)
        options = runtime.options(threads)
        try:
            self.compiled = runtime.make(
                "CreateCompiledModel", runtime.environment, model, options
            )  # fmt: skip
        except ProfileError as error:
            raise ProfileError("bad_model", f"the model cannot be compiled: {error}") from error
        self.profiler = runtime.make("CompiledModelGetProfiler", self.compiled)
        if not self.profiler:
            raise ProfileError("runtime_too_old", "it has no profiler")
        self.signature = Size(self._main_signature(model))
        described = runtime.make("GetModelSignature", model, self.signature)
        inputs = self._types(described, "Input")
        for index, kind in enumerate(inputs):
            self._resize(index, kind)
        outputs = self._types(described, "Output")
        self._fix_outputs(outputs)
        self.inputs = self._buffers("Input", inputs)
        self.outputs = self._buffers("Output", outputs)
        generator = random.Random(0)
        for buffer, kind in zip(self.inputs, inputs):
            self._fill(Handle(buffer), kind, generator)

    def _read(self, path: str) -> Handle:
        """The file as a model.

        LiteRT's reader refuses what fused LSTMs have, state and intermediate tensors, though its
        interpreter runs them from the same bytes: it does not see them while it reads.
        """
        environment = self.runtime.environment
        try:
            return self.runtime.make("CreateModelFromFile", environment, path.encode())
        except ProfileError as error:
            self.content = bytearray(Path(path).read_bytes())  # for as long as the model is used
            refused = find_refused(self.content)
            if not refused:
                raise ProfileError("bad_model", f"the model cannot be read: {error}") from error
        for place in refused:
            self.content[place] = 0
        memory = (ctypes.c_char * len(self.content)).from_buffer(self.content)
        try:
            size = Size(len(self.content))
            model = self.runtime.make("CreateModelFromBuffer", environment, memory, size)
        except ProfileError as error:
            raise ProfileError("bad_model", f"the model cannot be read: {error}") from error
        for place, value in refused.items():
            self.content[place] = value
        return model

    def _main_signature(self, model: Handle) -> int:
        """The signature of the main subgraph, the only one that `bench` runs, too."""
        runtime = self.runtime
        main = runtime.make("GetModelSubgraph", model, Size(0))
        for index in range(runtime.count("GetNumModelSignatures", model)):
            signature = runtime.make("GetModelSignature", model, Size(index))
            if runtime.make("GetSignatureSubgraph", signature).value == main.value:
                return index
        return 0

    def _types(self, signature: Handle, side: str) -> List[TensorType]:
        found = []
        for index in range(self.runtime.count(f"GetNumSignature{side}s", signature)):
            tensor = self.runtime.make(f"GetSignature{side}TensorByIndex", signature, Size(index))
            kind = TensorType()
            self.runtime.call("GetRankedTensorType", tensor, ctypes.byref(kind))
            found.append(kind)
        return found

    def _resize(self, index: int, kind: TensorType) -> None:
        """Dynamic dimensions become 1."""
        shape = kind.shape()
        if all(size >= 0 for size in shape):
            return
        kind.fix([size if size >= 0 else 1 for size in shape])
        dimensions = (ctypes.c_int * len(shape))(*kind.shape())
        where = (self.compiled, self.signature, Size(index))
        self.runtime.call("CompiledModelResizeInputTensor", *where, dimensions, Size(len(shape)))

    def _fix_outputs(self, kinds: List[TensorType]) -> None:
        """The shapes that outputs have once the inputs have theirs."""
        layouts = (Layout * len(kinds))()
        where = (self.compiled, self.signature, Size(len(kinds)))
        update = ctypes.c_bool(True)
        self.runtime.call("GetCompiledModelOutputTensorLayouts", *where, layouts, update)
        for kind, layout in zip(kinds, layouts):
            kind.rank = layout.rank
            kind.fix(list(layout.dimensions))

    def _buffers(self, side: str, kinds: List[TensorType]) -> Any:
        """One buffer for each input or output, as the model requires it."""
        runtime = self.runtime
        buffers = (Handle * len(kinds))()
        for index, kind in enumerate(kinds):
            where = (self.compiled, self.signature, Size(index))
            needed = runtime.make(f"GetCompiledModel{side}BufferRequirements", *where)
            buffers[index] = runtime.make(
                "CreateManagedTensorBufferFromRequirements",
                runtime.environment, ctypes.byref(kind), needed,
            )  # fmt: skip
        return buffers

    def _fill(self, buffer: Handle, kind: TensorType, generator: random.Random) -> None:
        """Random values; integers that may be indices are zero."""
        size = self.runtime.count("GetTensorBufferPackedSize", buffer)
        address = self.runtime.make("GetTensorBufferHostMemory", buffer)
        if kind.element == FLOAT32:
            values = array.array("f", (generator.random() for _ in range(size // 4))).tobytes()
        elif kind.element in (INT8, UINT8):
            values = bytes(generator.getrandbits(8) for _ in range(size))
        elif kind.element == FLOAT16:
            values = b"\x00\x38" * (size // 2)  # 0.5
        else:
            values = bytes(size)
        ctypes.memmove(address, values, size)

    def run(self) -> int:
        """One inference; how long it took, in ns."""
        inputs, outputs = self.inputs, self.outputs
        sizes = Size(len(inputs)), Size(len(outputs))
        began = time.perf_counter_ns()
        self.runtime.call(
            "RunCompiledModel", self.compiled, self.signature, sizes[0], inputs, sizes[1], outputs
        )
        return time.perf_counter_ns() - began

    def profiled_run(self) -> List[Event]:
        """One inference's events, in the order in which they began."""
        self.runtime.call("ResetProfiler", self.profiler)
        self.runtime.call("StartProfiler", self.profiler)
        self.run()
        self.runtime.call("StopProfiler", self.profiler)
        count = ctypes.c_int()
        self.runtime.call("GetNumProfilerEvents", self.profiler, ctypes.byref(count))
        events = (Event * count.value)()
        self.runtime.call("GetProfilerEvents", self.profiler, count, events)
        return list(events)


def find_refused(content: bytes | bytearray) -> Dict[int, int]:
    """What LiteRT's reader does not support in a flatbuffer: places and values of bytes.

    They are a tensor's `is_variable` and the length of its `variant_tensors`, and the lengths of an
    operator's `mutating_variable_inputs` and `intermediates`.
    """

    def number(kind: str, place: int) -> int:
        return int(struct.unpack_from("<" + kind, content, place)[0])

    def field(table: int, index: int) -> Optional[int]:
        positions = table - number("i", table)
        if 4 + 2 * index >= number("H", positions):
            return None
        offset = number("H", positions + 4 + 2 * index)
        return table + offset if offset else None

    def vector(table: int, index: int) -> Optional[int]:
        place = field(table, index)
        return None if place is None else place + number("I", place)

    def tables(table: int, index: int) -> Iterator[int]:
        start = vector(table, index)
        for item in range(0 if start is None else number("I", start)):
            place = (start or 0) + 4 + 4 * item
            yield place + number("I", place)

    flags, lengths = [], []
    for graph in tables(number("I", 0), 2):
        for tensor in tables(graph, 0):
            flags.append(field(tensor, 5))
            lengths.append(vector(tensor, 9))
        for operator in tables(graph, 3):
            lengths += [vector(operator, 7), vector(operator, 8)]
    places = [place for place in flags if place is not None]
    places += [start + byte for start in lengths if start is not None for byte in range(4)]
    return {place: content[place] for place in places if content[place]}


Row = Tuple[str, str, Optional[int], int, Optional[int], int]


def read_events(events: List[Event]) -> Tuple[int, List[Row]]:
    """Time of the whole inference in us, and its operators.

    A row is the runtime's name, "builtin" (an operator of the model) or "delegate" (one of
    XNNPACK's, numbered by itself), the operator's index in the model, the subgraph, and start and
    duration in us; XNNPACK tells no start.
    """
    whole: Optional[Event] = None
    rows: List[Row] = []
    for event in events:
        name = (event.tag or b"").decode("utf-8", "replace")
        if event.kind == DEFAULT and name == "Invoke" and whole is None:
            whole = event
        elif event.kind == OPERATOR and whole is not None:
            start = event.start_us - whole.start_us
            rows.append((name, "builtin", event.operator, event.subgraph, start, event.duration_us))
        elif event.kind in DELEGATE_OPERATORS:
            rows.append((name, "delegate", None, event.subgraph, None, event.duration_us))
    if whole is None or not rows:
        raise ProfileError("failed", "the runtime told no operator's time")
    return whole.duration_us, rows


def measure(model: Model, runs: int) -> Dict[str, Any]:
    """Times of so many inferences, with the profiler and without.

    Raises:
        ProfileError: the operators differ from one inference to the next.
    """
    began, done = time.monotonic(), 0
    while done < MIN_WARMUP or time.monotonic() - began < WARMUP_S:
        model.run()
        done += 1
    latency_ns, invoke_us = [], []
    events: List[Dict[str, Any]] = []
    for _ in range(runs):
        model.run()  # reading the profiler has emptied the caches
        latency_ns.append(model.run())
        whole, rows = read_events(model.profiled_run())
        invoke_us.append(whole)
        if not events:
            fields = ("name", "kind", "operator", "subgraph", "start_us")
            events = [dict(zip(fields, row), durations_us=[]) for row in rows]
        if [row[:4] for row in rows] != [tuple(event.values())[:4] for event in events]:
            raise ProfileError("failed", "the runtime told other operators than a run before")
        for event, row in zip(events, rows):
            event["durations_us"].append(row[5])
    return {"latency_ns": latency_ns, "invoke_us": invoke_us, "events": events}


def cache_bytes() -> Optional[int]:
    """Size of the last cache before the memory, None when Linux does not tell."""
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        with contextlib.suppress(OSError, ValueError):
            sizes.append(int(path.read_text().strip().rstrip("K")) << 10)
    return max(sizes, default=None)


def available_bytes() -> int:
    """Memory that may be taken."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return 0


def measure_memory(threads: int) -> Dict[str, Any]:
    """How fast so many threads move bytes between memory and processor, the best of some copies.

    A copy of four times the last cache counts its bytes twice, read and written, as STREAM's does.
    """
    cache = cache_bytes()
    wanted = max(COPY_BYTES[0], 4 * (cache or 0))
    size = min(wanted, COPY_BYTES[1], available_bytes() // 8) // threads
    pairs = [(bytearray(size), bytearray(size)) for _ in range(threads)]
    places = [[(ctypes.c_char * size).from_buffer(one) for one in pair] for pair in pairs]
    best = float("inf")
    for _ in range(COPIES):
        copies = [
            threading.Thread(target=ctypes.memmove, args=(*place, size)) for place in places
        ]  # fmt: skip
        began = time.perf_counter()
        for copy in copies:
            copy.start()
        for copy in copies:
            copy.join()
        best = min(best, time.perf_counter() - began)
    return {"bytes_per_s": 2 * size * threads / best, "cache_bytes": cache}


@contextlib.contextmanager
def private_library() -> Iterator[Tuple[Path, str]]:
    """A copy of LiteRT's library in a folder of its own, and the release it is from.

    LiteRT loads accelerators that it finds beside its library; the one that comes with it ends the
    process on processors without LSE instructions (Cortex-A53, A72).

    Raises:
        ProfileError: it is not installed, or too old.
    """
    found = importlib.util.find_spec("ai_edge_litert")
    if found is None or not found.submodule_search_locations:
        raise ProfileError("runtime_missing", "ai-edge-litert is not installed")
    release = "unknown"
    for name in ("ai-edge-litert", "ai-edge-litert-nightly"):
        with contextlib.suppress(PackageNotFoundError):
            release = version(name)
            break
    numbers = tuple(int(part) for part in release.split(".")[:2] if part.isdigit())
    library = Path(found.submodule_search_locations[0]) / "libLiteRt.so"
    if (numbers and numbers < OLDEST) or not library.exists():
        wanted = ".".join(map(str, OLDEST))
        message = f"ai-edge-litert {release} cannot time operators, {wanted} can"
        raise ProfileError("runtime_too_old", message)
    with tempfile.TemporaryDirectory(prefix="edgeq-", dir=".") as folder:
        copy = Path(folder).resolve() / library.name
        shutil.copyfile(library, copy)
        yield copy, release


def profile(path: str, threads: int, runs: int) -> Dict[str, Any]:
    """The result for one model."""
    try:
        with private_library() as (library, release):
            model = Model(Runtime(library), path, threads)
            found = measure(model, runs)
            found["memory"] = measure_memory(threads)
    except ProfileError as error:
        return {"error": {"code": error.code, "message": str(error), "details": error.details}}
    return dict(found, runtime={"name": "ai-edge-litert", "version": release})


def main() -> None:
    """Entry point."""
    model, result, threads, runs = sys.argv[1:]
    found = profile(model, int(threads), int(runs))
    Path(result).write_text(json.dumps(found), "utf-8")
    sys.stdout.flush()
    os._exit(0)  # nothing of the runtime is worth tearing down, and doing so may crash


if __name__ == "__main__":
    main()
