"""Times of a model's operators, and the speed of the memory."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from ..job import JobError
from ..machine import available_bytes
from .litert import Event, Runtime, private_library
from .model import Model

WARMUP_S = 0.5
MIN_WARMUP = 3
COPIES = 5
COPY_BYTES = (32 << 20, 256 << 20)  # at least and at most, in one copy
OPERATOR, DELEGATE_OPERATORS, DEFAULT = 2, (4, 8), 1  # LiteRtProfilerEventType


def read_events(events: list[Event]) -> tuple[int, list[tuple[Any, ...]]]:
    """Time of the whole inference in us, and its operators.

    A row is the runtime's name for the operator, "builtin" (an operator of the model) or "delegate"
    (one of XNNPACK's, which has its own numbers), the operator's index in the model, the subgraph,
    and start and duration in us; XNNPACK does not report the start.

    Raises:
        JobError: there are no times of operators.
    """
    whole: Event | None = None
    rows: list[tuple[Any, ...]] = []
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
        raise JobError("failed", "the runtime reported no operator's time")
    return whole.duration_us, rows


def measure(model: Model, runs: int) -> dict[str, Any]:
    """Times of `runs` inferences, with the profiler and without.

    Raises:
        JobError: the operators differ from one inference to the next.
    """
    began, done = time.monotonic(), 0
    while done < MIN_WARMUP or time.monotonic() - began < WARMUP_S:
        model.run()
        done += 1
    latency_ns, invoke_us = [], []
    events: list[dict[str, Any]] = []
    for _ in range(runs):
        model.run()  # reading the profiler has evicted the model from the caches
        latency_ns.append(model.run())
        whole, rows = read_events(model.profiled_run())
        invoke_us.append(whole)
        if not events:
            fields = ("name", "kind", "operator", "subgraph", "start_us")
            events = [dict(zip(fields, row), durations_us=[]) for row in rows]
        if [row[:4] for row in rows] != [tuple(event.values())[:4] for event in events]:
            raise JobError(
                "failed", "the runtime reported other operators than in the previous run"
            )
        for event, row in zip(events, rows):
            event["durations_us"].append(row[5])
    return {"latency_ns": latency_ns, "invoke_us": invoke_us, "events": events}


def cache_bytes() -> int | None:
    """Size of the last-level cache; None if Linux does not report it."""
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        with contextlib.suppress(OSError, ValueError):
            sizes.append(int(path.read_text("utf-8").strip().rstrip("K")) << 10)
    return max(sizes, default=None)


def measure_memory(threads: int) -> dict[str, Any]:
    """How fast the threads together move bytes between memory and processor: the best of `COPIES`.

    A copy of four times the last-level cache counts its bytes twice, read and written, like STREAM.
    """
    cache = cache_bytes()
    wanted = max(COPY_BYTES[0], 4 * (cache or 0))
    size = min(wanted, COPY_BYTES[1], (available_bytes() or 0) // 8) // threads
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


def profile(path: str, result: str, threads: str, runs: str) -> None:
    """Write the result for one model to a file, and end the process.

    The result is {"runtime", "latency_ns", "invoke_us", "events", "memory"}, with one list entry
    per inference, or {"error"}.
    """
    try:
        with private_library() as (library, release):
            model = Model(Runtime(library), path, int(threads))
            found = measure(model, int(runs))
            found["memory"] = measure_memory(int(threads))
            found["runtime"] = {"name": "ai-edge-litert", "version": release}
    except JobError as error:
        found = {"error": error.plain()}
    Path(result).write_bytes(json.dumps(found).encode())
    sys.stdout.flush()
    os._exit(0)  # tearing the runtime down may crash
