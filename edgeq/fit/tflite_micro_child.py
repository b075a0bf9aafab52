"""The child that runs tflite-micro, perhaps in another environment without edgeq.

    tflite_micro_child.py JOB.json

JOB.json holds `model`, `inputs` (an .npz with "SAMPLE/INPUT" arrays), `samples`, `most` (bytes of
arena to try at most), `outputs` (path of the .npz with "SAMPLE/OUTPUT" arrays to write) and `reply`
(path of the JSON with the rest of the answer) and `refused` (exit status if it refuses the model).
Messages of tflite-micro go to stderr.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tflite_micro

from edgeq.children.sandbox import confine_as_planned  # which `launch` brings along

_GRAIN = 16  # the runtime aligns everything in its arena to this


def start(content: bytes, arena_bytes: int) -> Any:
    """An interpreter with its tensors allocated."""
    return tflite_micro.runtime.Interpreter.from_bytes(content, arena_size=arena_bytes)


def infer(interpreter: Any, sample: list[Any], output_count: int) -> list[Any]:
    """Run one sample, after removing the state that the previous one may have left."""
    interpreter.reset()
    for index, array in enumerate(sample):
        interpreter.set_input(array, index)
    interpreter.invoke()
    return [interpreter.get_output(index) for index in range(output_count)]


def recorded_bytes(interpreter: Any) -> tuple[int, int]:
    """Bytes that the interpreter reports as allocated, and those that stay; it prints them in C."""
    kept = os.dup(2)
    with tempfile.TemporaryFile() as capture:
        os.dup2(capture.fileno(), 2)
        try:
            interpreter.print_allocations()
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        capture.seek(0)
        text = capture.read().decode(errors="replace")
    found = {part: int(size) for part, size in re.findall(r"Arena allocation (\w+) (\d+)", text)}
    if not {"total", "tail"} <= set(found):
        raise RuntimeError(f"This tflite-micro does not report its use of the arena: {text[:200]}")
    return found["total"], found["tail"]


def least_arena(least: int, works: Callable[[int], bool], most: int) -> int:
    """The smallest size from `least` on that works; a larger one works as well.

    What the interpreter reports is not always enough: it does not count temporary memory that is
    used while operators are prepared.
    """
    step, low, high = _GRAIN, 0, -(-least // _GRAIN) * _GRAIN
    while not works(high):
        if high > most:
            raise RuntimeError("No size of the arena gives the same outputs twice")
        low, high, step = high, high + step, 2 * step
    while high - low > _GRAIN and low:
        middle = (low + high) // 2 // _GRAIN * _GRAIN
        low, high = (low, middle) if works(middle) else (middle, high)
    return high


def survives(action: Callable[[], bool]) -> bool:
    """Whether an action succeeds in a separate process: too small an arena may crash it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            code = 0 if action() else 1
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1] == 0


def main() -> int:
    """Do the job."""
    confine_as_planned()
    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    content = Path(job["model"]).read_bytes()
    arrays = np.load(job["inputs"], allow_pickle=False)
    count = len(arrays.files) // job["samples"]
    samples = [
        [arrays[f"{sample}/{index}"] for index in range(count)] for sample in range(job["samples"])
    ]
    try:
        interpreter = start(content, job["most"])
        found = [infer(interpreter, sample, job["output_count"]) for sample in samples]
    except (RuntimeError, ValueError, IndexError) as error:
        print(f"edgeq: {error}", file=sys.stderr)
        return int(job["refused"])
    recorded, persistent = recorded_bytes(interpreter)

    def same(arena_bytes: int) -> bool:
        again = infer(start(content, arena_bytes), samples[0], job["output_count"])
        return all(a.tobytes() == b.tobytes() for a, b in zip(again, found[0], strict=True))

    least = least_arena(recorded, lambda size: survives(lambda: same(size)), job["most"])
    named = {
        f"{sample}/{index}": array
        for sample, outputs in enumerate(found)
        for index, array in enumerate(outputs)
    }
    np.savez(job["outputs"], **named)
    reply = {"recorded": recorded, "persistent": persistent, "least": least}
    Path(job["reply"]).write_bytes(json.dumps(reply).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
