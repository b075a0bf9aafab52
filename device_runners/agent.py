"""The agent: one self-contained file that runs models on whatever machine it is put on.

    python agent.py facts          what this machine is, as one JSON line
    python agent.py run JOBDIR     do JOBDIR/job.json; events on stdout, JOBDIR/result.json
    python agent.py worker FD      (internal) the process that holds one interpreter

It needs the standard library, numpy, and one of ai_edge_litert, tflite_runtime, tensorflow; it
imports nothing of edgeq. Native code can crash, so the agent only coordinates: each model lives
in a worker process of its own, which makes a crash a line in the result, and memory a figure per
model. A job names files relative to its folder; the last event is {"event": "end"}, so that a
reader knows a cut-off stream from a finished one. Runs on Python 3.8 and newer.
"""

from __future__ import annotations

import contextlib
import gc
import glob
import importlib
import json
import math
import os
import platform
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, ClassVar, Dict, List, Optional, Sequence, Tuple

PROTOCOL = 1

# Import name, distribution name; in the order they are looked for.
RUNTIMES = (
    ("ai_edge_litert.interpreter", "ai-edge-litert"),
    ("tflite_runtime.interpreter", "tflite-runtime"),
    ("tensorflow.lite", "tensorflow"),
)

BURST_S = 0.03  # of inferences in a row before the next model has its turn
MIN_RUNS = 30  # below this an interval of the median says little
MAX_RUNS = 20000  # a model of a microsecond would fill the record with times
TIGHT = 0.01  # half-width of the interval, relative to the median, that ends a measurement
WARMUP_S = 2.0  # at most, once a model has run three times
SAMPLE_S = 0.5  # between looks at clock and temperature


class JobError(Exception):
    """A failure with a stable code, for the result."""

    def __init__(self, code: str, message: str, details: str = ""):
        super().__init__(message)
        self.code = code
        self.details = details

    def plain(self) -> Dict[str, Any]:
        """As JSON."""
        return {"code": self.code, "message": str(self), "details": self.details}


# ---------------------------------------------------------------- statistics


def median_interval(times: Sequence[float]) -> Tuple[float, float, float]:
    """95 % interval of the median from order statistics; assumes no distribution.

    The ranks n/2 -+ 1.96 sqrt(n)/2 are the normal approximation of the binomial quantiles
    (Conover, "Practical Nonparametric Statistics", section 3.2).

    Args:
        times: at least one number, any order.

    Returns:
        (low, median, high); the extremes where there are too few for an interval.
    """
    ordered = sorted(times)
    count = len(ordered)
    middle = count // 2
    median = ordered[middle] if count % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    spread = 1.959964 * math.sqrt(count) / 2
    low = max(0, math.floor(count / 2 - spread))
    high = min(count - 1, math.ceil(count / 2 + spread))
    return ordered[low], median, ordered[high]


def is_tight(times: Sequence[float]) -> bool:
    """Whether the median is known well enough to stop."""
    low, median, high = median_interval(times)
    return len(times) >= MIN_RUNS and (high - low) / 2 <= TIGHT * median


# ---------------------------------------------------------------- facts


def read_text(path: str) -> Optional[str]:
    """A small file's content, None where it is missing or unreadable."""
    try:
        return Path(path).read_text("utf-8", "replace").strip("\0\n ")
    except OSError:
        return None


def read_number(path: str) -> Optional[int]:
    """The integer in a small file, None where there is none."""
    text = read_text(path)
    return int(text) if text and text.lstrip("-").isdigit() else None


ARM_PARTS = {
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd0d": "Cortex-A77",
    "0xd40": "Neoverse-V1",
    "0xd41": "Cortex-A78",
    "0xd44": "Cortex-X1",
    "0xd46": "Cortex-A510",
    "0xd47": "Cortex-A710",
}


def cpu_model() -> Optional[str]:
    """The processor's name, with the board's where there is one."""
    info = read_text("/proc/cpuinfo") or ""
    fields: Dict[str, str] = {}
    for line in info.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    part = fields.get("CPU part")
    name = fields.get("model name") or (ARM_PARTS.get(part, part) if part else None)
    board = read_text("/proc/device-tree/model")
    return f"{name} ({board})" if board else name or platform.processor() or None


def distribution_version(name: str) -> Optional[str]:
    """Version of an installed distribution, None without it."""
    try:
        from importlib.metadata import PackageNotFoundError, version
    except ImportError:
        return None
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def find_runtimes() -> List[Tuple[str, str, str]]:
    """Installed runtimes as (import name, distribution name, version), best first."""
    found = []
    for module, name in RUNTIMES:
        version = distribution_version(name)
        if name == "tensorflow" and version is None:
            version = distribution_version("tensorflow-cpu")
        if version is not None:
            found.append((module, name, version))
    return found


def core_count() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_bytes() -> Optional[int]:
    """Physical memory."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def machine_facts() -> Dict[str, Any]:
    """What this machine is; None for what it does not tell."""
    return {
        "protocol": PROTOCOL,
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpu_model": cpu_model(),
        "core_count": core_count(),
        "memory_bytes": memory_bytes(),
        "governor": read_text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "python": platform.python_version(),
        "numpy": distribution_version("numpy"),
        "runtimes": [{"name": name, "version": version} for _, name, version in find_runtimes()],
    }


def read_numbers(pattern: str) -> List[int]:
    """The numbers above zero in all files that match."""
    return [number for number in map(read_number, glob.glob(pattern)) if number]


def health() -> Dict[str, Any]:
    """Clock, temperature and processor time right now; None for what cannot be read."""
    clocks = read_numbers("/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq")
    heat = read_numbers("/sys/class/thermal/thermal_zone*/temp")
    return {
        "clock_mhz": max(clocks) / 1000 if clocks else None,
        "temperature_celsius": max(heat) / 1000 if heat else None,
        "busy_s": busy_seconds(),
        "own_s": sum(os.times()[:4]),
        "time_s": time.monotonic(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def busy_seconds() -> Optional[float]:
    """Processor time that all processes together have used, None without /proc/stat."""
    first = (read_text("/proc/stat") or "").split("\n", 1)[0].split()
    if len(first) < 9 or first[0] != "cpu":
        return None
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, first[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


# ---------------------------------------------------------------- the worker process


def load_interpreter(
    path: str, runtime: Optional[str], threads: int, delegates: bool = True
) -> Tuple[Any, Dict[str, str]]:
    """An interpreter with the runtime's name and version; allocated when its shapes are fixed.

    Raises:
        JobError: no runtime, or it cannot load the model.
    """
    found = find_runtimes()
    wanted = [item for item in found if runtime in (None, item[1])]
    if not wanted:
        known = ", ".join(name for _, name, _ in found) or "none"
        raise JobError("runtime_missing", f"{runtime or 'a runtime'} is not installed ({known} is)")
    module_name, name, version = wanted[0]
    module = importlib.import_module(module_name)
    options = {"num_threads": threads}
    if not delegates:
        options["experimental_op_resolver_type"] = (
            importlib.import_module("tensorflow.lite.experimental")
            if name == "tensorflow"
            else module
        ).OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        interpreter = module.Interpreter(model_path=path, **options)
        if not has_dynamic_input(interpreter):
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise explain_load(str(error), name, version) from error
    return interpreter, {"name": name, "version": version}


def has_dynamic_input(interpreter: Any) -> bool:
    """Whether an input has to be resized first; until then, its dynamic dimensions are 1."""
    details = interpreter.get_input_details()
    return any(-1 in detail.get("shape_signature", detail["shape"]) for detail in details)


def explain_load(text: str, name: str, version: str) -> JobError:
    """The runtime's complaint as a coded error."""
    first = next((line.strip() for line in text.splitlines() if line.strip()), "no message")
    if "Didn't find op for builtin opcode" in text:
        return JobError("runtime_too_old", f"{name} {version} is too old: {first}", text)
    if "unresolved custom op" in text or "Select TensorFlow op" in text:
        return JobError("unsupported_op", f"{name} {version} lacks an operator: {first}", text)
    return JobError("bad_model", f"{name} {version} cannot load the model: {first}", text)


class Worker:
    """What runs inside a worker process: one interpreter, driven by commands."""

    def __init__(self) -> None:
        self.interpreter: Any = None
        self.names: Tuple[Dict[str, Any], Dict[str, Any]] = ({}, {})
        self.shapes: Dict[str, Tuple[int, ...]] = {}

    def load(
        self, model: str, runtime: Optional[str], threads: int, delegates: bool = True
    ) -> Dict[str, Any]:
        """Load and allocate; the time it took, without importing the runtime."""
        found = find_runtimes()
        for module, name, _ in found:
            if runtime in (None, name):
                importlib.import_module(module)
                break
        began = time.perf_counter_ns()
        self.interpreter, info = load_interpreter(model, runtime, threads, delegates)
        spent = (time.perf_counter_ns() - began) / 1e6
        self.names = (self._named("inputs"), self._named("outputs"))
        return {"init_ms": spent, "runtime": info}

    def _named(self, side: str) -> Dict[str, Any]:
        """Signature name to tensor detail, the tensor's own name where there is no signature."""
        if side == "inputs":
            details = self.interpreter.get_input_details()
        else:
            details = self.interpreter.get_output_details()
        names = {detail["index"]: detail["name"] for detail in details}
        for signature in (getattr(self.interpreter, "_get_full_signature_list", dict)()).values():
            for name, index in signature[side].items():
                if index in names:
                    names[index] = name
        return {names[detail["index"]]: detail for detail in details}

    # -- bench

    def feed(self, arrays: Dict[str, str], seed: int) -> None:
        """Set the inputs once: given .npy files by name, random values for the others."""
        import numpy

        random = numpy.random.default_rng(seed)
        values = {}
        for name, detail in self.names[0].items():
            if name in arrays:
                values[name] = numpy.load(arrays[name], allow_pickle=False)
            else:
                values[name] = draw(random, detail)
        self._set(values)

    def _set(self, values: Dict[str, Any]) -> None:
        """Copy all inputs in, resizing those of dynamic shape."""
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

    def burst(self, count: int, time_s: Optional[float] = None) -> List[int]:
        """Times of `count` inferences in a row, in ns; ends early after `time_s`."""
        inner = getattr(self.interpreter, "_interpreter", None)
        # The bare call: the public one first looks for live views, which costs microseconds.
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
        for line in (read_text("/proc/self/status") or "").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def arena(self) -> Optional[int]:
        """Bytes between the first and the last activation in the planner's arena.

        Constants lie in the model, not in the arena. None when activations are scattered, as
        those of dynamic shape are.
        """
        owned = {detail["index"] for detail in self.interpreter.get_input_details()}
        for operator in self.interpreter._get_ops_details():
            owned.update(int(index) for index in operator["outputs"])
        spans = []
        for index in owned:
            try:
                view = self.interpreter.tensor(index)()
            except ValueError:  # never allocated: nothing reads it
                continue
            start = view.__array_interface__["data"][0]
            spans.append((start, start + view.nbytes))
            del view
        size = max(end for _, end in spans) - min(start for start, _ in spans)
        return size if size <= 4 * sum(end - start for start, end in spans) else None

    # -- infer

    def infer(self, inputs: Dict[str, str], outputs: Dict[str, str]) -> None:
        """Run one chunk: .npy files by input name to .npy files by output name."""
        import numpy

        missing = sorted(set(self.names[0]) - set(inputs))
        if missing:
            raise JobError("bad_input", f"no values for input {', '.join(missing)}")
        arrays = {name: numpy.load(path, mmap_mode="r") for name, path in inputs.items()}
        count = len(next(iter(arrays.values())))
        kept: Dict[str, List[Any]] = {name: [] for name in outputs}
        for start, size in self._groups(count):
            group = {
                name: pad(arrays[name][start : start + size], self._batch(detail))
                for name, detail in self.names[0].items()
            }
            self._set(group)
            self.interpreter.reset_all_variables()
            self.interpreter.invoke()
            for name in outputs:
                value = self.interpreter.get_tensor(self.names[1][name]["index"])
                kept[name].append(value[:size] if value.ndim else value[None])
        for name, path in outputs.items():
            save_atomically(path, numpy.concatenate(kept[name]))

    def _batch(self, detail: Dict[str, Any]) -> int:
        shape = detail.get("shape_signature", detail["shape"])
        return int(shape[0]) if len(shape) and shape[0] > 0 else 1

    def _groups(self, count: int) -> List[Tuple[int, int]]:
        size = max((self._batch(detail) for detail in self.names[0].values()), default=1)
        return [(start, min(size, count - start)) for start in range(0, count, size)]


def pad(group: Any, batch: int) -> Any:
    """A short last group filled up with its last sample."""
    import numpy

    if len(group) >= batch:
        return numpy.ascontiguousarray(group)
    return numpy.concatenate([group, numpy.repeat(group[-1:], batch - len(group), axis=0)])


def draw(random: Any, detail: Dict[str, Any]) -> Any:
    """Random values that fit an input; integers that may be indices are zero."""
    import numpy

    shape = [max(int(size), 1) for size in detail["shape"]]
    dtype = numpy.dtype(detail["dtype"])
    if dtype.kind == "f":
        return random.random(shape).astype(dtype)
    if dtype.itemsize == 1 and dtype.kind in "iu":
        limits = numpy.iinfo(dtype)
        return random.integers(limits.min, limits.max + 1, shape).astype(dtype)
    return numpy.zeros(shape, dtype)


def save_atomically(path: str, array: Any) -> None:
    """An output is there whole or not at all, so that a resumed run can trust it."""
    import numpy

    temporary = Path(path + ".tmp")
    with temporary.open("wb") as stream:
        numpy.save(stream, array)
    temporary.replace(path)


def serve(channel: Any) -> None:
    """Answer commands from stdin on `channel` until stdin ends."""
    worker = Worker()
    for line in sys.stdin:
        command = json.loads(line)
        try:
            reply = {"ok": getattr(worker, command["call"])(**command["arguments"])}
        except JobError as error:
            reply = {"error": error.plain()}
        except MemoryError:
            full = JobError("out_of_memory", "the machine has too little memory")
            reply = {"error": full.plain()}
        except Exception as error:  # noqa: BLE001 -- the coordinator reports it; nothing is lost
            text = f"{type(error).__name__}: {error}"
            reply = {"error": JobError("failed", text.splitlines()[0], text).plain()}
        channel.write(json.dumps(reply) + "\n")
        channel.flush()


# ---------------------------------------------------------------- the coordinator


class Child:
    """A worker process seen from the coordinator."""

    alive: ClassVar[List[Child]] = []

    def __init__(self, deadline: Optional[float]):
        self.deadline = deadline
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 -- lives as long as the worker
        replies, theirs = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), "worker", str(theirs)],
            stdin=subprocess.PIPE,
            stdout=self.log,
            stderr=self.log,
            pass_fds=(theirs,),
        )
        os.close(theirs)
        self.replies = os.fdopen(replies, "rb", buffering=0)
        self.buffer = b""
        Child.alive.append(self)

    def send(self, call: str, **arguments: Any) -> None:
        """Start a call; `receive` gets its result."""
        line = json.dumps({"call": call, "arguments": arguments}) + "\n"
        assert self.process.stdin is not None
        # Of a dead worker, receive finds the body and says how it died.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(line.encode())
            self.process.stdin.flush()

    def receive(self) -> Any:
        """The result of the call that was sent.

        Raises:
            JobError: the call failed, the worker died, or the deadline passed.
        """
        while b"\n" not in self.buffer:
            left = None if self.deadline is None else self.deadline - time.monotonic()
            if left is not None and left <= 0:
                self.kill()
                raise JobError("timeout", "the model did not finish before the deadline")
            ready, _, _ = select.select([self.replies], [], [], left)
            chunk = os.read(self.replies.fileno(), 65536) if ready else None
            if chunk == b"":
                raise self.post_mortem()
            self.buffer += chunk or b""
        line, _, self.buffer = self.buffer.partition(b"\n")
        reply = json.loads(line)
        if "error" in reply:
            error = reply["error"]
            raise JobError(error["code"], error["message"], error["details"] or self.tail())
        return reply["ok"]

    def call(self, name: str, **arguments: Any) -> Any:
        """Send and receive."""
        self.send(name, **arguments)
        return self.receive()

    def post_mortem(self) -> JobError:
        """How a worker died, from its status."""
        status = self.process.wait()
        if status >= 0:
            return JobError("crashed", f"the worker ended with status {status}", self.tail())
        name = signal.Signals(-status).name
        extra = ", probably out of memory" if name == "SIGKILL" else ""
        return JobError("crashed", f"the worker was killed by {name}{extra}", self.tail())

    def tail(self) -> str:
        """The last lines that native code printed."""
        self.log.seek(0, os.SEEK_END)
        self.log.seek(max(0, self.log.tell() - 4096))
        return self.log.read().decode("utf-8", "replace").strip()

    def kill(self) -> None:
        """End the worker, whatever it does."""
        self.process.kill()
        self.process.wait()
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
        self.replies.close()
        self.log.close()
        if self in Child.alive:
            Child.alive.remove(self)


def emit(event: str, **fields: Any) -> None:
    """One event line."""
    print(json.dumps(dict(fields, event=event)), flush=True)


def run_job(folder: str) -> None:
    """Do a job and write its result.

    The result is there even when every model failed: {"facts", "models": [{...} or {"error"}]}.
    """
    os.chdir(folder)
    job = json.loads(Path("job.json").read_text("utf-8"))
    if job["protocol"] != PROTOCOL:
        raise SystemExit(f"this agent speaks protocol {PROTOCOL}, the job {job['protocol']}")
    limit = job.get("deadline_s")
    deadline = None if limit is None else time.monotonic() + limit
    task = {"bench": run_bench, "infer": run_infer}[job["task"]]
    result = {"protocol": PROTOCOL, "facts": machine_facts()}
    result.update(task(job, deadline))
    Path("result.json.tmp").write_text(json.dumps(result), "utf-8")
    Path("result.json.tmp").replace("result.json")
    emit("end", result="result.json")


def run_bench(job: Dict[str, Any], deadline: Optional[float]) -> Dict[str, Any]:
    """Measure models in turns; one that fails does not stop the others."""
    runs = [Bench(index, entry, job, deadline) for index, entry in enumerate(job["models"])]
    for run in runs:
        run.guarded(run.prepare)
    for run in runs:
        run.guarded(run.warm_up)
    looks = [health()]
    number = 0
    while any(run.wants_more() for run in runs):
        order = runs[number % len(runs) :] + runs[: number % len(runs)]
        for run in order:
            # A model that is done goes on as long as another is not: rounds stay paired.
            run.guarded(run.measure)
        number += 1
        if time.monotonic() - looks[-1]["time_s"] >= SAMPLE_S:
            looks.append(health())
            emit("progress", step="measure", done=min(len(run.times) for run in runs))
    for run in runs:
        run.guarded(run.finish)
    looks.append(health())
    return {"models": [run.plain() for run in runs], "health": looks}


class Bench:
    """One model's measurement, step by step."""

    def __init__(
        self, index: int, entry: Dict[str, Any], job: Dict[str, Any], deadline: Optional[float]
    ):
        self.index, self.entry, self.job, self.deadline = index, entry, job, deadline
        self.child: Any = None
        self.error: Optional[Dict[str, Any]] = None
        self.facts: Dict[str, Any] = {}
        self.warmup: List[int] = []
        self.rounds: List[List[int]] = []
        self.times: List[int] = []
        self.size = 1

    def guarded(self, step: Callable[[], None]) -> None:
        """Run a step; an error ends this model's part."""
        if self.error is not None:
            return
        try:
            step()
        except JobError as error:
            self.error = error.plain()
        if self.error is not None and self.child is not None:
            self.child.kill()

    def prepare(self) -> None:
        """Load, set the inputs, and run once."""
        emit("progress", step="load", done=self.index)
        self.child = Child(self.deadline)
        options = {"runtime": self.job.get("runtime"), "threads": self.job["threads"]}
        self.facts = self.child.call("load", model=self.entry["path"], **options)
        self.child.call("feed", arrays=self.entry.get("inputs", {}), seed=0)
        self.facts["first_ms"] = self.child.call("burst", count=1)[0] / 1e6

    def warm_up(self) -> None:
        """Run until two windows in a row have the same median within 5 %, or time is up."""
        emit("progress", step="warm up", done=self.index)
        began = time.monotonic()
        last: Optional[float] = None
        while True:
            times = self.child.call("burst", count=1000, time_s=0.05)
            self.warmup += times
            median = median_interval(times)[1]
            is_steady = last is not None and abs(median - last) <= 0.05 * last
            if is_steady or (len(self.warmup) >= 3 and time.monotonic() - began > WARMUP_S):
                break
            last = median
        self.size = min(max(1, round(BURST_S * 1e9 / median)), MAX_RUNS // 20)

    def wants_more(self) -> bool:
        """Whether this model needs another round."""
        if self.error is not None:
            return False
        if self.job.get("runs") is not None:
            return len(self.times) < int(self.job["runs"])
        spent = sum(self.times) / 1e9
        if spent >= float(self.job["max_time_s"]) or len(self.times) >= MAX_RUNS:
            return False
        # Looking at the interval sorts all times: only now and then.
        return spent < float(self.job["min_time_s"]) or not is_tight(self.times)

    def measure(self) -> None:
        """One round's burst."""
        size = self.size
        if self.job.get("runs") is not None:
            size = min(size, self.job["runs"] - len(self.times))
        if size > 0:
            times = self.child.call("burst", count=size)
            self.rounds.append(times)
            self.times += times

    def finish(self) -> None:
        """Memory of this process, then the arena from a process of its own."""
        self.facts["peak_rss_bytes"] = self.child.call("memory")
        self.child.kill()
        probe = Child(self.deadline)
        try:
            probe.call("load", model=self.entry["path"], runtime=self.job.get("runtime"),
                       threads=1, delegates=False)  # fmt: skip
            self.facts["arena_bytes"] = probe.call("arena")
        except JobError:
            self.facts["arena_bytes"] = None  # this runtime does not let us look
        finally:
            probe.kill()

    def plain(self) -> Dict[str, Any]:
        """As JSON: facts and raw times in ns, or the error."""
        if self.error is not None:
            return {"error": self.error}
        return dict(self.facts, warmup_ns=self.warmup, rounds_ns=self.rounds)


def run_infer(job: Dict[str, Any], deadline: Optional[float]) -> Dict[str, Any]:
    """Run chunks of samples on several workers at once; finished chunks are not run again."""
    todo = [chunk for chunk in job["chunks"] if not is_finished(chunk)]
    total, done = len(job["chunks"]), len(job["chunks"]) - len(todo)
    workers: List[Child] = []
    runtime = None
    try:
        while todo or workers:
            while todo and len(workers) < job["workers"]:
                child = Child(deadline)
                workers.append(child)
                runtime = child.call("load", model=job["model"], runtime=job.get("runtime"),
                                     threads=job["threads"])["runtime"]  # fmt: skip
                child.send("infer", **todo.pop(0))
            ready, _, _ = select.select([child.replies for child in workers], [], [], 1.0)
            for child in [child for child in workers if child.replies in ready]:
                child.receive()
                done += 1
                emit("progress", step="run", done=done, total=total)
                if todo:
                    child.send("infer", **todo.pop(0))
                else:
                    workers.remove(child)
                    child.kill()
            if deadline is not None and time.monotonic() > deadline:
                raise JobError("timeout", "the model did not finish before the deadline")
    except JobError as error:
        return {"error": error.plain()}
    return {"runtime": runtime}


def is_finished(chunk: Dict[str, Any]) -> bool:
    """Whether an earlier run of this job left all outputs of a chunk."""
    return all(Path(path).exists() for path in chunk["outputs"].values())


def stop(number: int, frame: Any) -> None:
    """Ended by a signal: take the workers along."""
    sys.exit(128 + number)


def main() -> None:
    """Entry point."""
    if sys.argv[1:2] == ["worker"]:
        with os.fdopen(int(sys.argv[2]), "w", encoding="utf-8") as channel:
            serve(channel)
        return
    signal.signal(signal.SIGTERM, stop)
    try:
        if sys.argv[1:2] == ["facts"]:
            print(json.dumps(machine_facts()))
        else:
            run_job(sys.argv[2])
    finally:
        for child in list(Child.alive):
            child.kill()


if __name__ == "__main__":
    main()
