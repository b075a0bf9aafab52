"""The child process that runs the float model.

On stdin, one line of JSON {"model", "result", "keep", "every", "observe"} and then samples to the
end; the ranges and the kept outputs go to the result file.
"""

from __future__ import annotations

import json
import math
import operator
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from edgeq.children import sandbox
from edgeq.children.framing import read_sample
from edgeq.converters.calibration.channel_extremes import channel_extremes
from edgeq.converters.calibration.channel_groups import find_groups
from edgeq.converters.calibration.lstm_steps import LstmSteps, find_lstms
from edgeq.converters.calibration.norm_scales import open_norms
from edgeq.converters.calibration.saturation import needed, read_by_softmax
from edgeq.converters.calibration.statistics import BINS, ExactSum, bin_numbers
from edgeq.converters.rewrites.soundness import READABLE
from edgeq.tflite import flatbuffer

_MAX_LANES = 4
_MOST_BYTES = 1 << 30  # of tensors held by all lanes
_MOST_COUNTED = 8192  # values of a tensor that a sample adds to its histogram
_MOST_WAITING = 1 << 20  # values put aside for the histograms

Sample = tuple[int, list[NDArray[Any]]]


class Observer:
    """Running statistics of every tensor, explained in `statistics`.

    Args:
        names: of the tensors.
        channelwise: place of each tensor whose channels are watched one by one, to their shape:
            [C], or one that broadcasts to the tensor's.
        rowwise: places of the tensors that a softmax reads, see `saturation.needed`.
        has_histogram: keep histograms and sums too, not only extremes.
    """

    def __init__(
        self,
        names: Sequence[str],
        channelwise: Mapping[int, tuple[int, ...]] | None = None,
        rowwise: frozenset[int] = frozenset(),
        *,
        has_histogram: bool = False,
    ):
        self.names, self._has_histogram = names, has_histogram
        self._channelwise, self._rowwise = channelwise or {}, rowwise
        self.halves = np.empty((2, 2, len(names)), np.float32)
        self.halves[:, 0], self.halves[:, 1] = np.inf, -np.inf
        self.sums = ExactSum(len(names)), ExactSum(len(names))
        self.channels: dict[int, NDArray[np.float32]] = {}
        self.needed = np.empty((2, len(names)), np.float32)
        self.needed[0], self.needed[1] = np.inf, -np.inf
        self.histogram = np.zeros((len(names), BINS) if has_histogram else (0, BINS), np.int64)
        self._waiting: list[NDArray[np.int64]] = []
        self._waiting_count = 0

    def look(self, number: int, views: Sequence[NDArray[np.float32]]) -> None:
        """Add the tensors of one sample.

        Raises:
            RuntimeError: a tensor holds NaN or infinity.
        """
        edges = np.zeros((len(views), 2), np.float32)
        for place, (row, view) in enumerate(zip(edges, views, strict=True)):
            if view.size:
                if place in self._channelwise:
                    found = channel_extremes(view, self._channelwise[place])
                    self._add_channels(place, found)
                    row[:] = found[0].min(), found[1].max()
                else:
                    row[:] = np.min(view), np.max(view)
                if place in self._rowwise:
                    self._add_needed(np.array([place]), *needed(view))
        broken = np.flatnonzero(~np.isfinite(edges).all(axis=1))
        if len(broken):
            name = self.names[broken[0]]
            raise RuntimeError(f"tensor {name!r} holds NaN or infinity for sample {number}.")
        low, high = self.halves[number % 2]
        np.minimum(low, edges[:, 0], out=low)
        np.maximum(high, edges[:, 1], out=high)
        if self._has_histogram:
            for total, column in zip(self.sums, edges.T, strict=True):
                total.add(column)
            self._count(number, views)

    def _add_needed(self, places: Any, low: Any, high: Any) -> None:
        self.needed[0, places] = np.minimum(self.needed[0, places], low)
        self.needed[1, places] = np.maximum(self.needed[1, places], high)

    def _add_channels(self, place: int, found: NDArray[np.float32]) -> None:
        known = self.channels.setdefault(place, found.copy())
        np.minimum(known[0], found[0], out=known[0])
        np.maximum(known[1], found[1], out=known[1])

    def _count(self, number: int, views: Sequence[NDArray[np.float32]]) -> None:
        """Set a regular subset of each tensor aside for the histograms."""
        strides = [max(1, -(-view.size // _MOST_COUNTED)) for view in views]
        # Another phase for each sample, so that all positions have their turn.
        picked = [
            view.reshape(-1)[number % stride :: stride]
            for view, stride in zip(views, strides, strict=True)
        ]
        keys = bin_numbers(np.concatenate(picked)).astype(np.int64)
        keys += np.repeat(BINS * np.arange(len(picked)), [len(values) for values in picked])
        self._waiting.append(keys)
        self._waiting_count += len(keys)
        if self._waiting_count > max(_MOST_WAITING, self.histogram.size):
            self.settle()

    def settle(self) -> None:
        """Add what was put aside to the histograms."""
        if self._waiting:
            keys = np.concatenate(self._waiting)
            flat = np.bincount(keys, minlength=self.histogram.size)
            self.histogram += flat.reshape(self.histogram.shape)
        self._waiting, self._waiting_count = [], 0

    def merge(self, other: Observer) -> None:
        """Add what another observer saw; both are settled."""
        low, high = self.halves[:, 0], self.halves[:, 1]
        np.minimum(low, other.halves[:, 0], out=low)
        np.maximum(high, other.halves[:, 1], out=high)
        self.histogram += other.histogram
        for own, its in zip(self.sums, other.sums, strict=True):
            own.mantissas += its.mantissas
        for place, found in other.channels.items():
            self._add_channels(place, found)
        self._add_needed(np.arange(len(self.names)), *other.needed)


class Lane:
    """One interpreter and its observer; lanes work side by side on different samples.

    Args:
        content: the model, with the watched tensors exposed.
        threads: of one inference.
        inputs: tensor indices.
        outputs: tensor indices.
        watched: indices of the tensors to observe.
        fused: LSTMs whose inner tensors are observed, too; those that they read are watched.
        dtypes: what the file says of each computed tensor.
        observer: of those tensors, this lane's own.
    """

    def __init__(
        self,
        content: bytes,
        threads: int,
        inputs: Sequence[int],
        outputs: Sequence[int],
        watched: Sequence[int],
        fused: Sequence[LstmSteps],
        dtypes: Mapping[int, str],
        observer: Observer,
    ):
        self._interpreter = Interpreter(model_content=content, num_threads=threads)
        self._inputs, self._outputs, self._watched = inputs, outputs, watched
        self._fused, self._dtypes = fused, dtypes
        self._shapes: list[tuple[int, ...]] = []
        self.observer = observer
        self.count = 0
        self.kept: dict[str, NDArray[Any]] = {}

    def work(self, queue: Queue, keep: int, every: int) -> tuple[int, Exception] | None:
        """Take samples until there are none left.

        Args:
            keep: number of first samples whose outputs are kept.
            every: after them, the outputs of each such sample are kept, too; none for 0.

        Returns:
            The sample that failed, and how: the interpreter refuses, or a tensor holds NaN.
        """
        while (sample := queue.take()) is not None:
            try:
                number = sample[0]
                self._run(*sample, number < keep or (every > 0 and number % every == 0))
            except (RuntimeError, ValueError) as error:
                queue.close()
                return sample[0], error
        self.observer.settle()
        return None

    def _run(self, number: int, arrays: Sequence[NDArray[Any]], keeps: bool) -> None:
        set_inputs(self._interpreter, self._inputs, arrays, self._shapes)
        if self.count == 0:
            require_dtypes(self._interpreter, self._dtypes)
        self._interpreter.invoke()
        if keeps:
            for place, index in enumerate(self._outputs):
                self.kept[f"output_{place}_{number}"] = self._interpreter.get_tensor(index)
        # Views: the interpreter refuses to run while one of them is alive.
        views = {index: self._interpreter.tensor(index)() for index in self._watched}
        inner = [values for item in self._fused for values in item.run(views[item.own.data])]
        self.observer.look(number, [*views.values(), *inner])
        self.count += 1


class Queue:
    """Numbered samples from a stream, given out in order."""

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
        if flatbuffer.dtype(graph.tensors[index]) == "float32"
    ]


def expose(tree: Any, indices: Sequence[int]) -> bytes:
    """The model with more outputs: an output's memory is never reused by a later operator."""
    graph = tree.subgraphs[0]
    own = flatbuffer.indices(graph.outputs)
    graph.outputs = np.array([*own, *(i for i in indices if i not in own)], np.int32)
    tree.signatureDefs = []  # they name the old outputs
    return flatbuffer.serialize(tree)


def run(path: Path, result: Path, samples: BinaryIO, keep: int, every: int, observe: str) -> None:
    """Read samples to the end; write the result.

    Args:
        observe: "nothing", "extremes" or "all".
    """
    tree = flatbuffer.read(path)
    graph = tree.subgraphs[0]
    inputs, outputs = flatbuffer.indices(graph.inputs), flatbuffer.indices(graph.outputs)
    watched = observable(tree) if observe != "nothing" else []
    fused = find_lstms(tree) if observe != "nothing" else []
    seen = [*watched, *(index for item in fused for index in item.inner)]
    channelwise: dict[int, tuple[int, ...]] = {}
    rowwise = frozenset[int]()
    if observe == "all":
        opened = flatbuffer.read(path)
        open_norms(opened)
        groups = find_groups(opened)
        read = read_by_softmax(tree)
        channelwise = {
            place: groups.groups[index].shape
            for place, index in enumerate(watched)
            if index in groups.tensors
        }
        rowwise = frozenset(place for place, index in enumerate(watched) if index in read)
    content = expose(tree, watched) if watched else path.read_bytes()
    names = [flatbuffer.tensor_name(graph, index) for index in seen]
    sizes = [math.prod(flatbuffer.indices(graph.tensors[index].shape)) for index in seen]
    count, threads = share_cores(4 * sum(sizes) + len(content))
    observers = [
        Observer(names, channelwise, rowwise, has_histogram=observe == "all") for _ in range(count)
    ]
    made = {index for item in graph.operators for index in flatbuffer.indices(item.outputs)}
    dtypes = {index: flatbuffer.dtype(graph.tensors[index]) for index in made if index >= 0}
    lanes = [
        Lane(content, threads, inputs, outputs, watched, fused, dtypes, own) for own in observers
    ]
    queue = Queue(samples)
    with ThreadPoolExecutor(count) as pool:
        failures = [
            found for found in pool.map(lambda lane: lane.work(queue, keep, every), lanes) if found
        ]
    if failures:
        raise min(failures, key=operator.itemgetter(0))[1]
    total, *others = observers
    for other in others:
        total.merge(other)
    kept: dict[str, Any] = {name: array for lane in lanes for name, array in lane.kept.items()}
    samples_seen = sum(lane.count for lane in lanes)
    found: dict[str, Any] = {
        "count": samples_seen,
        "indices": np.array(seen, np.int32),
        "names": np.array(names, np.str_),
        "halves": total.halves,
        "means": np.stack([item.totals() for item in total.sums]) / max(samples_seen, 1),
        "histogram": total.histogram,
        "needed": total.needed,
        **{f"channels_{seen[place]}": own for place, own in total.channels.items()},
    }
    np.savez(result, **found, **kept)


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


def require_dtypes(interpreter: Interpreter, stated: Mapping[int, str]) -> None:
    """Refuse a file that states other dtypes than its operators compute: edgeq reads the file's.

    Args:
        interpreter: after the allocation of its tensors.
        stated: tensor to dtype.

    Raises:
        RuntimeError: names the first such tensor.
    """
    for detail in interpreter.get_tensor_details():
        dtype, own = stated.get(detail["index"], ""), np.dtype(detail["dtype"])
        if dtype in READABLE and own.name in READABLE and own.name != dtype:
            raise RuntimeError(
                f"the file says that the tensor {detail['name']!r} is {dtype}, and its operator "
                f"computes {own.name}."
            )


def main() -> None:
    """Wait for a job and do it; the status is a sentence where it cannot be done."""
    sandbox.confine_as_planned()
    line = sys.stdin.buffer.readline()
    if not line:
        return  # the parent failed before it had a model
    job = json.loads(line)
    paths = Path(job["model"]), Path(job["result"])
    try:
        run(*paths, sys.stdin.buffer, job["keep"], job["every"], job["observe"])
    except (RuntimeError, ValueError) as error:
        sys.exit(str(error).splitlines()[-1] if str(error) else repr(error))
