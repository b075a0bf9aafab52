"""The child process that runs the float model: `python -m edgeq.converters.calibration_worker`.

On stdin, one line of JSON {"model", "result", "keep", "observe"} and then samples to the end; the
ranges and the first outputs go to the result file.
"""

from __future__ import annotations

import json
import math
import operator
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from edgeq import flatbuffer
from edgeq.converters.framing import read_sample

_MAX_LANES = 4
_MOST_BYTES = 1 << 30  # of tensors held by all lanes

Sample = tuple[int, list[NDArray[Any]]]


class Observer:
    """Running minimum and maximum of every tensor, kept apart for even and odd samples.

    Args:
        names: of the tensors.
    """

    def __init__(self, names: Sequence[str]):
        self.names = names
        self.halves = np.empty((2, 2, len(names)), np.float32)
        self.halves[:, 0], self.halves[:, 1] = np.inf, -np.inf

    def look(self, number: int, views: Sequence[NDArray[np.float32]]) -> None:
        """Take in the tensors of one sample.

        Raises:
            RuntimeError: a tensor holds NaN or infinity.
        """
        edges = np.zeros((len(views), 2), np.float32)
        for row, view in zip(edges, views, strict=True):
            if view.size:
                row[:] = np.min(view), np.max(view)
        broken = np.flatnonzero(~np.isfinite(edges).all(axis=1))
        if len(broken):
            name = self.names[broken[0]]
            raise RuntimeError(f"tensor {name!r} holds NaN or infinity for sample {number}.")
        low, high = self.halves[number % 2]
        np.minimum(low, edges[:, 0], out=low)
        np.maximum(high, edges[:, 1], out=high)

    def merge(self, other: Observer) -> None:
        """Take in what another one saw."""
        low, high = self.halves[:, 0], self.halves[:, 1]
        np.minimum(low, other.halves[:, 0], out=low)
        np.maximum(high, other.halves[:, 1], out=high)


class Lane:
    """One interpreter and its observer; lanes work side by side on different samples.

    Args:
        content: the model, with the watched tensors exposed.
        threads: of one inference.
        inputs: tensor indices.
        outputs: likewise.
        watched: indices of the tensors to observe.
        names: theirs.
    """

    def __init__(
        self,
        content: bytes,
        threads: int,
        inputs: Sequence[int],
        outputs: Sequence[int],
        watched: Sequence[int],
        names: Sequence[str],
    ):
        self._interpreter = Interpreter(model_content=content, num_threads=threads)
        self._inputs, self._outputs, self._watched = inputs, outputs, watched
        self._shapes: list[tuple[int, ...]] = []
        self.observer = Observer(names)
        self.count = 0
        self.kept: dict[str, NDArray[Any]] = {}

    def work(self, queue: Queue, keep: int) -> tuple[int, Exception] | None:
        """Take samples until there are none left; keep the outputs of those numbered below `keep`.

        Returns:
            The sample that failed, and how: the interpreter refuses, or a tensor holds NaN.
        """
        while (sample := queue.take()) is not None:
            try:
                self._run(*sample, keep)
            except (RuntimeError, ValueError) as error:
                queue.close()
                return sample[0], error
        return None

    def _run(self, number: int, arrays: Sequence[NDArray[Any]], keep: int) -> None:
        set_inputs(self._interpreter, self._inputs, arrays, self._shapes)
        self._interpreter.invoke()
        if number < keep:
            for place, index in enumerate(self._outputs):
                self.kept[f"output_{place}_{number}"] = self._interpreter.get_tensor(index)
        # Views: the interpreter refuses to run while one of them is alive.
        self.observer.look(number, [self._interpreter.tensor(i)() for i in self._watched])
        self.count += 1


class Queue:
    """Numbered samples from a stream, handed out in order to whoever asks next."""

    def __init__(self, stream: BinaryIO):
        self._stream, self._lock, self._next = stream, Lock(), 0
        self._is_closed = False

    def take(self) -> Sample | None:
        """The next sample, None at the end."""
        with self._lock:
            arrays = None if self._is_closed else read_sample(self._stream)
            if arrays is None:
                self._is_closed = True
                return None
            self._next += 1
            return self._next - 1, arrays

    def close(self) -> None:
        """Hand out no more."""
        self._is_closed = True


def share_cores(held_bytes: int) -> tuple[int, int]:
    """How many lanes, and threads per lane.

    Whole samples side by side scale better than one inference on all cores; each lane holds
    all tensors of the model, though.
    """
    cores = os.cpu_count() or 1
    lanes = max(1, min(cores, _MAX_LANES, _MOST_BYTES // max(1, held_bytes)))
    return lanes, max(1, min(cores, _MAX_LANES) // lanes)


def observable(tree: Any) -> list[int]:
    """Float tensors of the main subgraph that are inputs or computed, not constants."""
    graph = tree.subgraphs[0]
    produced = [index for op in graph.operators for index in flatbuffer.indices(op.outputs)]
    return [
        index
        for index in dict.fromkeys([*flatbuffer.indices(graph.inputs), *produced])
        if flatbuffer.dtype_names()[graph.tensors[index].type] == "float32"
    ]


def expose(tree: Any, indices: Sequence[int]) -> bytes:
    """The model with more outputs: an output's memory is never reused by a later operator."""
    graph = tree.subgraphs[0]
    own = flatbuffer.indices(graph.outputs)
    graph.outputs = np.array([*own, *(i for i in indices if i not in own)], np.int32)
    tree.signatureDefs = []  # they name the old outputs
    return flatbuffer.serialize(tree)


def run(path: Path, result: Path, samples: BinaryIO, keep: int, *, observe: bool) -> None:
    """Read samples to the end; write the result."""
    tree = flatbuffer.read(path)
    graph = tree.subgraphs[0]
    inputs, outputs = flatbuffer.indices(graph.inputs), flatbuffer.indices(graph.outputs)
    watched = observable(tree) if observe else []
    names = [flatbuffer.text(graph.tensors[index].name) for index in watched]
    content = expose(tree, watched) if observe else path.read_bytes()
    sizes = [math.prod(flatbuffer.indices(graph.tensors[index].shape)) for index in watched]
    count, threads = share_cores(4 * sum(sizes) + len(content))
    lanes = [Lane(content, threads, inputs, outputs, watched, names) for _ in range(count)]
    queue = Queue(samples)
    with ThreadPoolExecutor(count) as pool:
        failures = [
            found for found in pool.map(lambda lane: lane.work(queue, keep), lanes) if found
        ]
    if failures:
        raise min(failures, key=operator.itemgetter(0))[1]
    total, *others = (lane.observer for lane in lanes)
    for other in others:
        total.merge(other)
    kept: dict[str, Any] = {name: array for lane in lanes for name, array in lane.kept.items()}
    np.savez(
        result,
        count=sum(lane.count for lane in lanes),
        indices=np.array(watched, np.int32),
        names=np.array(names, np.str_),
        halves=total.halves,
        **kept,
    )


def set_inputs(
    interpreter: Interpreter,
    indices: Sequence[int],
    arrays: Sequence[NDArray[Any]],
    shapes: list[tuple[int, ...]],
) -> None:
    """Copy one sample in, resizing dynamic dimensions and forgetting the last sample's state.

    Args:
        shapes: the inputs' shapes as last allocated, empty before that; updated in place.
    """
    new_shapes = [array.shape for array in arrays]
    if new_shapes != shapes:
        # Before the first sample, dynamic dimensions are 1, which many models cannot run with.
        for index, shape in zip(indices, new_shapes, strict=True):
            interpreter.resize_tensor_input(index, shape)
        interpreter.allocate_tensors()
        shapes[:] = new_shapes
    interpreter.reset_all_variables()
    for index, array in zip(indices, arrays, strict=True):
        interpreter.set_tensor(index, array)


def main() -> None:
    """Wait for a job and do it."""
    line = sys.stdin.buffer.readline()
    if not line:
        return  # the parent failed before it had a model
    job = json.loads(line)
    paths = Path(job["model"]), Path(job["result"])
    run(*paths, sys.stdin.buffer, job["keep"], observe=job["observe"])


if __name__ == "__main__":
    try:
        main()
    except (RuntimeError, ValueError) as error:
        sys.exit(str(error).splitlines()[-1] if str(error) else repr(error))
