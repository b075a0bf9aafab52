"""The worker process: it holds one interpreter and obeys the coordinator's commands."""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from .arrays import draw, pad, save_atomically, unbatch
from .confinement import enter_sandbox
from .job import JobError
from .machine import peak_bytes, pin
from .runtimes import import_runtime, load_interpreter

BEAT_S = 1.0  # between a busy worker's signs of life
ALIGNMENT = 64  # of tensors in the arena


class Worker:
    """One interpreter; each public method is a command.

    Args:
        beat: reports to the coordinator that a long call is still at work.
    """

    def __init__(self, beat: Callable[[], None]) -> None:
        self.beat = beat
        self.is_confined = False
        self.interpreter: Any = None
        self.names: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
        self.shapes: dict[str, tuple[int, ...]] = {}

    def check(self, runtime: str | None, sandbox: str | None) -> list[str]:
        """Import a runtime and enter the sandbox; list what the sandbox lacks on this machine."""
        import_runtime(runtime)
        self.is_confined = True
        return enter_sandbox(sandbox)

    def enter(self, folder: str) -> None:
        """Work in the folder of another job, which is in the one that this process may change."""
        os.chdir(folder)

    def rest(self) -> None:
        """Free the model and leave the job's folder; the process stays for the next job."""
        self.interpreter = None
        os.chdir("..")  # Windows removes no folder in which a process works

    def pin(self, cores: list[int]) -> None:
        """Bind this process, and the threads that it will start, to these cores.

        Raises:
            JobError: the kernel refuses.
        """
        try:
            pin(cores)
        except OSError as error:
            listed = ", ".join(map(str, cores))
            raise JobError("cores_refused", f"cores {listed} cannot be used: {error}") from error

    def load(
        self,
        model: str,
        runtime: str | None,
        threads: int,
        sandbox: str | None,
        kernels: str = "xnnpack",
    ) -> dict[str, Any]:
        """Load and allocate a model; the time in ms does not include the runtime's import."""
        if not self.is_confined:
            self.check(runtime, sandbox)
        self.interpreter, info, spent = load_interpreter(model, runtime, threads, kernels)
        self.names, self.shapes = (self._named("inputs"), self._named("outputs")), {}
        return {"init_ms": spent, "runtime": info}

    def _named(self, side: str) -> dict[str, Any]:
        """Details of tensors by signature name; without a signature, by tensor name."""
        if side == "inputs":
            details = self.interpreter.get_input_details()
        else:
            details = self.interpreter.get_output_details()
        known = {index: name for name, index in self._signature().get(side, {}).items()}
        return {known.get(detail["index"], detail["name"]): detail for detail in details}

    def _signature(self) -> dict[str, dict[str, int]]:
        """The first signature of the main subgraph; others refer to other subgraphs' tensors."""
        inner = getattr(self.interpreter, "_interpreter", None)
        subgraph = getattr(inner, "GetSubgraphIndexFromSignature", None)
        listed: dict[str, Any] = getattr(self.interpreter, "_get_full_signature_list", dict)()
        for key, signature in listed.items():
            if subgraph is None or subgraph(key) == 0:
                return dict(signature)
        return {}

    # -- bench

    def feed(self, arrays: dict[str, str], seed: int) -> None:
        """Set the inputs once: from .npy files by input name; the others get random values."""
        import numpy

        random = numpy.random.default_rng(seed)
        values = {}
        for name, detail in self.names[0].items():
            if name in arrays:
                values[name] = numpy.load(arrays[name], allow_pickle=False)
            else:
                values[name] = draw(random, detail)
        self._set(values)

    def _set(self, values: dict[str, Any]) -> None:
        """Set all inputs; resize those of dynamic shape."""
        shapes = {name: value.shape for name, value in values.items()}
        if shapes != self.shapes:
            for name, detail in self.names[0].items():
                if tuple(detail["shape"]) != shapes[name]:
                    self.interpreter.resize_tensor_input(detail["index"], shapes[name])
                    detail["shape"] = shapes[name]
            self.interpreter.allocate_tensors()
            self.shapes = shapes
        for name, detail in self.names[0].items():
            self.interpreter.set_tensor(detail["index"], values[name])

    def burst(self, count: int, time_s: float | None = None) -> list[int]:
        """Times of `count` inferences in a row, in ns; ends early after `time_s`."""
        inner = getattr(self.interpreter, "_interpreter", None)
        # The inner call: the public one first looks for live views, which takes microseconds.
        invoke = inner.Invoke if inner is not None else self.interpreter.invoke
        clock = time.perf_counter_ns
        times = []
        end = None if time_s is None else clock() + int(time_s * 1e9)
        gc.disable()
        try:
            for _ in range(count):
                began = clock()
                invoke()
                done = clock()
                times.append(done - began)
                if end is not None and done >= end:
                    break
        finally:
            gc.enable()
        return times

    def memory(self) -> int:
        """Largest resident size of this process so far, in bytes."""
        return peak_bytes()

    def arena(self) -> int | None:
        """Bytes from the first activation to the end of the planner's arena.

        Constants are in the model, not in the arena. The kernels' scratch tensors have higher
        indices than the model's tensors; those that persist between runs lie outside of the arena
        and do not count. None if activations are scattered, as those of dynamic shape are.
        """
        own = {detail["index"] for detail in self.interpreter.get_input_details()}
        named = set(own)
        for operator in self.interpreter._get_ops_details():
            own.update(int(index) for index in operator["outputs"])
            named.update(int(index) for index in operator["inputs"])
        last = max(own | named)
        listed = {detail["index"] for detail in self.interpreter.get_tensor_details()}
        spans = sorted(filter(None, map(self._span, own)))
        begin, end = spans[0][0], max(span[1] for span in spans)
        if end - begin > 4 * sum(span[1] - span[0] + ALIGNMENT for span in spans):
            return None
        scratch = filter(None, map(self._span, (index for index in listed if index > last)))
        for start, stop_at in sorted(scratch):
            if begin <= start <= end + ALIGNMENT:
                end = max(end, stop_at)
        return end - begin

    def _span(self, index: int) -> tuple[int, int] | None:
        """First and last address of a tensor; None if nothing reads it."""
        try:
            view = self.interpreter.tensor(index)()
        except ValueError:
            return None
        start = int(view.__array_interface__["data"][0])
        return start, start + int(view.nbytes)

    # -- infer

    def infer(self, inputs: dict[str, str], outputs: dict[str, str]) -> None:
        """Run one chunk: from .npy files by input name to .npy files by output name."""
        import numpy

        arrays = self._open(inputs)
        count = len(next(iter(arrays.values())))
        batch = max(self._batch(detail) for detail in self.names[0].values())
        kept: dict[str, list[Any]] = {name: [] for name in outputs}
        beaten = time.monotonic()
        for start in range(0, count, batch):
            size = min(batch, count - start)
            self._set({name: pad(array[start : start + size], batch)
                       for name, array in arrays.items()})  # fmt: skip
            self.interpreter.reset_all_variables()
            self.interpreter.invoke()
            for name in outputs:
                value = self.interpreter.get_tensor(self.names[1][name]["index"])
                kept[name].append(unbatch(name, value, batch)[:size])
            if time.monotonic() - beaten > BEAT_S:
                beaten = time.monotonic()
                self.beat()
        for name, path in outputs.items():
            save_atomically(path, numpy.concatenate(kept[name]))

    def _open(self, files: dict[str, str]) -> dict[str, Any]:
        """A chunk's inputs, mapped into memory.

        Raises:
            JobError: an input is missing, or they have different numbers of samples.
        """
        import numpy

        missing = sorted(set(self.names[0]) - set(files))
        if missing:
            raise JobError("bad_input", f"no values for input {', '.join(missing)}")
        arrays = {
            name: numpy.load(files[name], mmap_mode="r", allow_pickle=False)
            for name in self.names[0]
        }
        counts = {name: len(array) for name, array in arrays.items()}
        if len(set(counts.values())) != 1:
            listed = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise JobError("bad_input", f"inputs with different numbers of samples: {listed}")
        return arrays

    def _batch(self, detail: dict[str, Any]) -> int:
        """Samples per inference of this input; 1 if its batch size is dynamic."""
        shape = detail.get("shape_signature", detail["shape"])
        return int(shape[0]) if len(shape) and shape[0] > 0 else 1


def serve(channel: Any) -> None:
    """Answer commands from stdin on `channel` until stdin ends."""

    def send(message: dict[str, Any]) -> None:
        channel.write(json.dumps(message) + "\n")
        channel.flush()

    worker = Worker(lambda: send({"alive": True}))
    for line in sys.stdin:
        command = json.loads(line)
        try:
            reply = {"ok": getattr(worker, command["call"])(**command["arguments"])}
        except JobError as error:
            reply = {"error": error.plain()}
        except MemoryError:
            full = JobError("out_of_memory", "the machine has too little memory")
            reply = {"error": full.plain()}
        except Exception as error:  # noqa: BLE001 -- the coordinator reports it
            text = f"{type(error).__name__}: {error}"
            reply = {"error": JobError("failed", text.splitlines()[0], text).plain()}
        send(reply)
