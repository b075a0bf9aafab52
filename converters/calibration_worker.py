"""The child process that runs the float model: samples on stdin, ranges and outputs to a file.

Usage: python -m edgeq.converters.calibration_worker MODEL RESULT.npz KEEP ranges|outputs
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from edgeq import flatbuffer
from edgeq.converters.framing import read_sample

_MAX_THREADS = 4  # small models gain nothing from more


class Observer:
    """Running minimum and maximum of every tensor, kept apart for even and odd samples."""

    def __init__(self, indices: Sequence[int], names: Sequence[str]):
        self.indices, self.names = indices, names
        self.halves = np.empty((2, 2, len(indices)), np.float32)
        self.halves[:, 0], self.halves[:, 1] = np.inf, -np.inf
        self.count = 0

    def look(self, interpreter: Interpreter) -> None:
        """Take in the tensors of the inference that just ran."""
        low, high = self.halves[self.count % 2]
        for position, index in enumerate(self.indices):
            view = interpreter.tensor(index)()
            if view.size == 0:
                continue
            minimum, maximum = view.min(), view.max()
            del view  # the interpreter refuses to run while a view of its memory is alive
            if not (np.isfinite(minimum) and np.isfinite(maximum)):
                sys.exit(
                    f"tensor {self.names[position]!r} holds NaN or infinity "
                    f"for sample {self.count}."
                )
            low[position] = min(low[position], minimum)
            high[position] = max(high[position], maximum)
        self.count += 1


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


def run(path: Path, result: Path, keep: int, *, observe: bool) -> None:
    """Read samples until stdin ends; write the result."""
    tree = flatbuffer.read(path)
    graph = tree.subgraphs[0]
    inputs, outputs = flatbuffer.indices(graph.inputs), flatbuffer.indices(graph.outputs)
    watched = observable(tree) if observe else []
    names = [flatbuffer.text(graph.tensors[index].name) for index in watched]
    content = expose(tree, watched) if observe else path.read_bytes()
    threads = min(os.cpu_count() or 1, _MAX_THREADS)
    interpreter = Interpreter(model_content=content, num_threads=threads)
    observer = Observer(watched, names)
    kept: list[list[NDArray[Any]]] = [[] for _ in outputs]
    shapes: list[tuple[int, ...]] = []
    while (sample := read_sample(sys.stdin.buffer)) is not None:
        set_inputs(interpreter, inputs, sample, shapes)
        interpreter.invoke()
        if len(kept[0]) < keep:
            for store, index in zip(kept, outputs, strict=True):
                store.append(interpreter.get_tensor(index))
        observer.look(interpreter)
    arrays: dict[str, Any] = {
        f"output_{i}": np.concatenate(store) for i, store in enumerate(kept) if store
    }
    np.savez(
        result,
        count=observer.count,
        indices=np.array(watched, np.int32),
        names=np.array(names, np.str_),
        halves=observer.halves,
        **arrays,
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


if __name__ == "__main__":
    try:
        run(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), observe=sys.argv[4] == "ranges")
    except (RuntimeError, ValueError) as error:
        sys.exit(str(error).splitlines()[-1] if str(error) else repr(error))
