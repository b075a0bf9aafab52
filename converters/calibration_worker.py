"""The child process that runs the float model: `python -m edgeq.converters.calibration_worker`.

On stdin, one line of JSON {"model", "result", "keep", "observe"} and then samples to the end; the
ranges and the first outputs go to the result file.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from edgeq import flatbuffer
from edgeq.converters.framing import read_sample

_MAX_THREADS = 4  # small models gain nothing from more
_WORTH_THREADS = 500_000  # elements per inference


class Observer:
    """Running minimum and maximum of every tensor, kept apart for even and odd samples.

    Args:
        sizes: number of elements of each tensor, to share the work out evenly.
    """

    def __init__(self, indices: Sequence[int], names: Sequence[str], sizes: Sequence[int]):
        self.indices, self.names = indices, names
        self.halves = np.empty((2, 2, len(indices)), np.float32)
        self.halves[:, 0], self.halves[:, 1] = np.inf, -np.inf
        self.count = 0
        # numpy lets go of the interpreter lock while it searches; below some size, handing
        # work to a thread costs more than doing it.
        threads = _threads() if sum(sizes) >= _WORTH_THREADS else 1
        self._shares = _share_out(sizes, threads)
        self._pool = ThreadPoolExecutor(threads)

    def look(self, interpreter: Interpreter) -> None:
        """Take in the tensors of the inference that just ran.

        Raises:
            RuntimeError: a tensor holds NaN or infinity.
        """
        low, high = self.halves[self.count % 2]

        def search(positions: Sequence[int]) -> None:
            for position in positions:
                # The interpreter refuses to run while a view of its memory is alive.
                view = interpreter.tensor(self.indices[position])()
                edges = (view.min(), view.max()) if view.size else (0, 0)
                low[position] = np.minimum(low[position], edges[0])
                high[position] = np.maximum(high[position], edges[1])

        if len(self._shares) == 1:
            search(self._shares[0])
        else:
            list(self._pool.map(search, self._shares))
        broken = np.flatnonzero(~(np.isfinite(low) & np.isfinite(high)))
        if len(broken):
            name = self.names[broken[0]]
            raise RuntimeError(f"tensor {name!r} holds NaN or infinity for sample {self.count}.")
        self.count += 1


def _threads() -> int:
    return min(os.cpu_count() or 1, _MAX_THREADS)


def _share_out(sizes: Sequence[int], count: int) -> list[list[int]]:
    """Positions in `count` groups of about the same total size, the largest dealt first."""
    shares: list[list[int]] = [[] for _ in range(count)]
    totals = [0] * count
    for position in sorted(range(len(sizes)), key=lambda item: -sizes[item]):
        least = totals.index(min(totals))
        shares[least].append(position)
        totals[least] += sizes[position]
    return shares


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
    interpreter = Interpreter(model_content=content, num_threads=_threads())
    sizes = [math.prod(flatbuffer.indices(graph.tensors[index].shape)) for index in watched]
    observer = Observer(watched, names, sizes)
    kept: dict[str, Any] = {}
    shapes: list[tuple[int, ...]] = []
    while (sample := read_sample(samples)) is not None:
        set_inputs(interpreter, inputs, sample, shapes)
        interpreter.invoke()
        if observer.count < keep:
            for number, index in enumerate(outputs):
                kept[f"output_{number}_{observer.count}"] = interpreter.get_tensor(index)
        observer.look(interpreter)
    np.savez(
        result,
        count=observer.count,
        indices=np.array(watched, np.int32),
        names=np.array(names, np.str_),
        halves=observer.halves,
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
