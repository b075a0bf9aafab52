"""A compiled model with its buffers."""

from __future__ import annotations

import array
import ctypes
import random
import time
from pathlib import Path
from typing import Any

from ..job import JobError
from .litert import Event, Handle, Layout, Runtime, Size, TensorType
from .refused import find_refused

FLOAT32, FLOAT16, UINT8, INT8 = 1, 10, 3, 9  # LiteRtElementType


class Model:
    """A compiled model with its buffers; the inputs have random values."""

    def __init__(self, runtime: Runtime, path: str, threads: int):
        self.runtime = runtime
        model = self._read(path)
        options = runtime.options(threads)
        try:
            self.compiled = runtime.make(
                "CreateCompiledModel", runtime.environment, model, options
            )  # fmt: skip
        except JobError as error:
            raise JobError("bad_model", f"the model cannot be compiled: {error}") from error
        self.profiler = runtime.make("CompiledModelGetProfiler", self.compiled)
        if not self.profiler:
            raise JobError("runtime_too_old", "it has no profiler")
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

        LiteRT's reader refuses the state and intermediate tensors of fused LSTMs, though its
        interpreter runs them from the same bytes: they are zero while it reads.
        """
        environment = self.runtime.environment
        try:
            return self.runtime.make("CreateModelFromFile", environment, path.encode())
        except JobError as error:
            self.content = bytearray(Path(path).read_bytes())  # for as long as the model is used
            refused = find_refused(self.content)
            if not refused:
                raise JobError("bad_model", f"the model cannot be read: {error}") from error
        for place in refused:
            self.content[place] = 0
        memory = (ctypes.c_char * len(self.content)).from_buffer(self.content)
        try:
            size = Size(len(self.content))
            model = self.runtime.make("CreateModelFromBuffer", environment, memory, size)
        except JobError as error:
            raise JobError("bad_model", f"the model cannot be read: {error}") from error
        for place, value in refused.items():
            self.content[place] = value
        return model

    def _main_signature(self, model: Handle) -> int:
        """The signature of the main subgraph, which is also the one that `bench` runs."""
        runtime = self.runtime
        main = runtime.make("GetModelSubgraph", model, Size(0))
        for index in range(runtime.count("GetNumModelSignatures", model)):
            signature = runtime.make("GetModelSignature", model, Size(index))
            if runtime.make("GetSignatureSubgraph", signature).value == main.value:
                return index
        return 0

    def _types(self, signature: Handle, side: str) -> list[TensorType]:
        """Types of the inputs or outputs of a signature."""
        found = []
        for index in range(self.runtime.count(f"GetNumSignature{side}s", signature)):
            tensor = self.runtime.make(f"GetSignature{side}TensorByIndex", signature, Size(index))
            kind = TensorType()
            self.runtime.call("GetRankedTensorType", tensor, ctypes.byref(kind))
            found.append(kind)
        return found

    def _resize(self, index: int, kind: TensorType) -> None:
        """Set dynamic dimensions to 1."""
        shape = kind.shape()
        if all(size >= 0 for size in shape):
            return
        kind.fix([size if size >= 0 else 1 for size in shape])
        dimensions = (ctypes.c_int * len(shape))(*kind.shape())
        where = (self.compiled, self.signature, Size(index))
        self.runtime.call("CompiledModelResizeInputTensor", *where, dimensions, Size(len(shape)))

    def _fix_outputs(self, kinds: list[TensorType]) -> None:
        """Set the shapes that the outputs have with these inputs."""
        layouts = (Layout * len(kinds))()
        where = (self.compiled, self.signature, Size(len(kinds)))
        update = ctypes.c_bool(True)
        self.runtime.call("GetCompiledModelOutputTensorLayouts", *where, layouts, update)
        for kind, layout in zip(kinds, layouts):
            kind.rank = layout.rank
            kind.fix(list(layout.dimensions))

    def _buffers(self, side: str, kinds: list[TensorType]) -> Any:
        """One buffer for each input or output, of the kind that the model requires."""
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
        """Fill a buffer with random values; integers that may be indices are zero."""
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
        """Run one inference; the time it took in ns."""
        inputs, outputs = self.inputs, self.outputs
        sizes = Size(len(inputs)), Size(len(outputs))
        began = time.perf_counter_ns()
        self.runtime.call(
            "RunCompiledModel", self.compiled, self.signature, sizes[0], inputs, sizes[1], outputs
        )
        return time.perf_counter_ns() - began

    def profiled_run(self) -> list[Event]:
        """Events of one inference, in the order in which they began."""
        self.runtime.call("ResetProfiler", self.profiler)
        self.runtime.call("StartProfiler", self.profiler)
        self.run()
        self.runtime.call("StopProfiler", self.profiler)
        count = ctypes.c_int()
        self.runtime.call("GetNumProfilerEvents", self.profiler, ctypes.byref(count))
        events = (Event * count.value)()
        self.runtime.call("GetProfilerEvents", self.profiler, count, events)
        return list(events)
