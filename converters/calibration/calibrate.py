"""Calibration: run the float model over the representative dataset and keep every tensor's range.

The model runs on XNNPACK in a child process (`worker.py`) with every float tensor as an output, so
nothing is read after an in-place operator has overwritten it. The stock calibrator reads too late:
a tensor that an ADD consumes in place gets the union of both ranges. Samples stream through a pipe;
memory does not grow with their number.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq import host
from edgeq.children.child import Child, time_limit_s
from edgeq.children.framing import write_sample
from edgeq.converters.calibration.statistics import Statistics
from edgeq.errors import QuantizationError
from edgeq.files import npy
from edgeq.tflite import flatbuffer
from edgeq.tflite.model_file import shared_tree
from edgeq.values import FloatModel, TensorSpec
from edgeq.wording import ask_for_sizes

Inputs = Mapping[str, NDArray[Any]]
_Shapes = tuple[tuple[int, ...], ...]

_PIPE_BYTES = 1 << 20  # what Linux grants everyone

# glibc asks for huge pages: the float model with all tensors in memory runs 12 % faster. Other C
# libraries, and kernels without transparent huge pages, ignore it.
_HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}

# Those that TensorFlow's quantizer knows (operator_property.cc), and the writer does not.
_OPAQUE = {"LSTM", "SVDF"}


@dataclass(frozen=True)
class FloatRun:
    """Results of one pass of the float model over the samples.

    Attributes:
        statistics: per tensor, over all samples.
        halves: [2, 2, tensors]: (even samples, odd samples) x (minimum, maximum).
        outputs: the model's outputs for what `first_inputs` returns, and for later batches of that
            shape that `every` chose, output name to [kept, ...].
    """

    statistics: Statistics
    halves: NDArray[np.float32]
    outputs: dict[str, NDArray[Any]]


def why_stock(content: bytes) -> str | None:
    """The reason why edgeq's calibrator cannot see all of a float model; None if it can."""
    tree = shared_tree(content, "the float model")
    if len(tree.subgraphs) > 1:
        return f"it has {len(tree.subgraphs)} subgraphs (control flow)"
    names = {flatbuffer.operator_name(tree, operator) for operator in tree.subgraphs[0].operators}
    opaque = sorted(names & _OPAQUE)
    return f"it has fused recurrent operators ({', '.join(opaque)})" if opaque else None


class FloatRunner:
    """The child process that will run the float model, started early, while others import.

    Args:
        folder: working folder.
    """

    def __init__(self, folder: Path):
        self._result = folder / "float-run.npz"
        worker = ["edgeq.converters.calibration.worker"]
        self._child = Child(worker, folders=[folder], late=True, feed=True, environment=_HUGE_PAGES)

    def __enter__(self) -> FloatRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.close()

    def run(
        self,
        model: FloatModel,
        samples: Iterator[Inputs],
        keep: int,
        observe: str = "all",
        every: int = 0,
    ) -> FloatRun:
        """One pass over the samples; a runner runs once.

        Args:
            samples: input name to array without batch dimension.
            keep: number of first batches whose outputs are returned.
            every: after them, the outputs of each such batch are returned, too, so that they are
                not all of one class where a data set is sorted; none for 0.
            observe: what to collect of the tensors: "all", their "extremes", or "nothing", which
                runs the model as it is, for its outputs alone.

        Raises:
            QuantizationError: the interpreter refused the model, died or took longer than
                `time_limit_s` for a sample, or a tensor became NaN or infinite.
        """
        child = self._child
        # Room for a whole sample: the next one is prepared while this one runs.
        host.make_room(child.stdin, _PIPE_BYTES)
        job = {"model": model.file.path, "result": str(self._result), "keep": keep, "every": every}
        shapes: list[_Shapes] = []
        limit_s = time_limit_s()
        with child.feeding() as stream:
            stream.write(json.dumps({**job, "observe": observe}).encode() + b"\n")
            for arrays in batches(samples, model.inputs):
                shapes.append(_shapes(arrays))
                with child.limited(limit_s):
                    write_sample(stream, [arrays[spec.name] for spec in model.inputs])
        with child.limited(limit_s):
            status = child.wait()
        if child.crash is not None:
            damaged = "The model file is probably damaged; export it again."
            raise QuantizationError(
                f"The interpreter {child.ending} while it ran the float model.",
                hint=child.hint(None if child.is_late else damaged),
                details=child.log(),
            )
        if status != 0:
            for spec in model.inputs:
                if -1 in spec.shape[1:]:
                    raise QuantizationError(
                        f"The input {spec.name!r} has dynamic sizes, {list(spec.shape)}, and the "
                        "model cannot be run with those of the samples.",
                        hint=ask_for_sizes(spec),
                        details=child.log(),
                    )
            raise QuantizationError(
                f"The float model cannot be run: {child.last_line('no message')}",
                details=child.log(),
            )
        return _read(self._result, model, shapes)


def run_float_model(
    model: FloatModel,
    samples: Iterator[Inputs],
    folder: Path,
    keep: int,
    observe: str = "all",
    every: int = 0,
) -> FloatRun:
    """Run the float model once, in a new child process; see `FloatRunner.run`."""
    with FloatRunner(folder) as runner:
        return runner.run(model, samples, keep, observe, every)


def batches(samples: Iterator[Inputs], inputs: Sequence[TensorSpec]) -> Iterator[Inputs]:
    """Samples in groups of the model's batch size; a short last group repeats its last sample."""
    size = batch_size(inputs)
    group: list[Inputs] = []
    for sample in samples:
        group.append(sample)
        if len(group) == size:
            yield stack(group, inputs)
            group = []
    if group:
        group += [group[-1]] * (size - len(group))
        yield stack(group, inputs)


def batch_size(inputs: Sequence[TensorSpec]) -> int:
    """Samples per inference; 1 where it is dynamic."""
    return max(1, *(spec.shape[0] for spec in inputs if spec.shape), 1)


def first_inputs(
    samples: Iterator[Inputs], inputs: Sequence[TensorSpec], keep: int
) -> dict[str, NDArray[Any]]:
    """The inputs of those among the first `keep` batches that have the shape of the first.

    Returns:
        Input name to [kept, ...].
    """
    kept = list(islice(batches(samples, inputs), keep))
    alike = [batch for batch in kept if _shapes(batch) == _shapes(kept[0])]
    return {spec.name: np.concatenate([batch[spec.name] for batch in alike]) for spec in inputs}


def _shapes(batch: Inputs) -> _Shapes:
    """The shapes of its inputs; dynamic sizes may bring other ones."""
    return tuple(array.shape for array in batch.values())


def stack(group: Sequence[Inputs], inputs: Sequence[TensorSpec]) -> Inputs:
    """Samples without batch dimension as one batch."""
    return {spec.name: np.stack([sample[spec.name] for sample in group]) for spec in inputs}


def _join(name: str, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """The values of an output for several batches; an output may be a single number."""
    shapes = dict.fromkeys(array.shape for array in arrays)
    if len({shape[1:] for shape in shapes}) > 1:
        raise QuantizationError(
            f"The output {name!r} has another shape for each sample, for example "
            f"{' and '.join(map(str, [*shapes][:2]))}, so outputs cannot be compared.",
            hint="Leave this output out of the model.",
        )
    return np.concatenate([np.atleast_1d(array) for array in arrays])


def _read(result: Path, model: FloatModel, shapes: Sequence[_Shapes]) -> FloatRun:
    """Read the worker's result.

    Args:
        shapes: of each batch.
    """
    stored = npy.load_all(result)
    halves = stored["halves"]
    alike = [number for number, own in enumerate(shapes) if own == shapes[0]]
    kept = [number for number in alike if f"output_0_{number}" in stored]
    outputs = {
        spec.name: _join(spec.name, [stored[f"output_{n}_{number}"] for number in kept])
        for n, spec in enumerate(model.outputs)
    }
    histogram = stored["histogram"]
    channels = {
        int(name.removeprefix("channels_")): stored[name]
        for name in stored
        if name.startswith("channels_")
    }
    found = Statistics(
        sample_count=int(stored["count"]),
        indices=tuple(int(index) for index in stored["indices"]),
        names=tuple(str(name) for name in stored["names"]),
        minimum=halves[:, 0].min(axis=0).astype(np.float64),
        maximum=halves[:, 1].max(axis=0).astype(np.float64),
        mean_minimum=stored["means"][0],
        mean_maximum=stored["means"][1],
        histogram=histogram if len(histogram) else None,
        channels=channels,
        needed={
            int(index): (float(low), float(high))
            for index, low, high in zip(stored["indices"], *stored["needed"], strict=True)
            if low <= high
        },
    )
    return FloatRun(found, halves, outputs)
