"""The float model's outputs, recorded once for all trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.accuracy.class_names import require_clear_names
from edgeq.accuracy.inference import read_interface
from edgeq.accuracy.paired_runs import run_pairs
from edgeq.conversion.prepare import Prepared
from edgeq.converters.samples.open_samples import Samples, choose, hold_out, spread
from edgeq.device_runners.devices.addresses import resolve_device
from edgeq.errors import DataError, UsageError
from edgeq.metrics.catalogue import default_metrics
from edgeq.metrics.decoding import find_decoder
from edgeq.tflite.joined_outputs import join_outputs
from edgeq.tuning.content_store import Store

_MOST_SAMPLES = 10_000
_MOST_BYTES = 1 << 30  # of inputs, per input
_MOST_FITS = 96  # calibration samples that corrections are fitted on
_FEWEST_APART = 400  # samples from which on a half is kept for the final figure


@dataclass(frozen=True)
class Part:
    """Digests of samples in the store, see `trial.Task`."""

    inputs: dict[str, str]
    outputs: dict[str, str]
    labels: str
    count: int


@dataclass(frozen=True)
class Recording:
    """The samples that trials run on, with the float model's outputs.

    Attributes:
        fits: input name to digest of calibration samples.
        search: samples that the search looks at.
        proof: those that confirm its choice; the same ones when there are few.
        samples: the data set they are from.
        proof_indices: of `proof`, in that data set.
        metric: of the task, that the budget is for; None for top-1.
    """

    fits: dict[str, str]
    search: Part
    proof: Part
    samples: Samples
    proof_indices: tuple[int, ...]
    metric: str | None = None

    @property
    def is_apart(self) -> bool:
        """Return whether separate samples confirm the selected trial."""
        return self.search != self.proof


def record(ready: Prepared, store: Store, *, needs_labels: bool) -> Recording:
    """Run the float model over the samples to judge on, and keep what goes in and comes out.

    Raises:
        DataError: there are no labels where a budget needs them, or no samples to judge on.
        UsageError: the model has dynamic dimensions.
        DeviceError: the model cannot be run.
    """
    for spec in ready.model.inputs:
        if -1 in spec.shape:
            raise UsageError(
                f"tune needs fixed shapes, and input {spec.name!r} is {spec.shape}.",
                hint="Fix it with --input-shape, and leave out --batch dynamic.",
            )
    used, indices = _to_judge_on(ready)
    if needs_labels and not used.has_labels:
        raise DataError(
            f"--max-drop needs labelled samples, and {used.ref.source} has no class labels.",
            hint="Put labels into the data (y in an .npz, a folder per class), or use --labels, or "
            "give --min-sqnr.",
        )
    require_clear_names(used, ready.model.outputs)
    assert ready.plan.samples is not None
    fits = [
        sample.inputs
        for sample in ready.plan.samples.iterate(spread(ready.plan.chosen, _MOST_FITS))
    ]
    names = [spec.name for spec in ready.model.inputs]
    kept = {name: _keep(store, [sample[name] for sample in fits]) for name in names}
    if len(indices) < _FEWEST_APART:
        part = _record_part(ready, store, used, indices)
        return Recording(kept, part, part, used, indices, _find_metric(ready, store, part))
    halves = _halves(indices, ready.job.options.seed)
    search, proof = (_record_part(ready, store, used, half) for half in halves)
    return Recording(kept, search, proof, used, halves[1], _find_metric(ready, store, search))


def _find_metric(ready: Prepared, store: Store, part: Part) -> str | None:
    """The task's first metric; by default that for the form of the labels."""
    options = ready.job.options
    if not ready.plan.has_task or not part.labels or ":" in next(iter(options.metrics), ""):
        return None  # a budget refuses the user's function, see `require_budgets`
    if options.metrics:
        return options.metrics[0]
    sides = ({"": part.labels}, part.outputs)
    labels, outputs = (
        {name: _first(store, digest) for name, digest in side.items()} for side in sides
    )
    joined = join_outputs(outputs, ready.model.joins)
    decoder = find_decoder(ready.decoding, ready.model.inputs)
    return default_metrics(joined if decoder is None else decoder(joined), labels[""])[0]


def _first(store: Store, digest: str) -> NDArray[Any]:
    """The first sample of an array, with its batch dimension."""
    return np.asarray(np.load(store.path(digest), mmap_mode="r", allow_pickle=False)[:1])


def _halves(indices: Sequence[int], seed: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two random halves: every second sample may be every second class."""
    drawn = np.random.default_rng(seed).permutation(np.asarray(indices))
    middle = len(drawn) // 2
    first, second = np.sort(drawn[:middle]), np.sort(drawn[middle:])
    return tuple(map(int, first)), tuple(map(int, second))


def _to_judge_on(ready: Prepared) -> tuple[Samples, tuple[int, ...]]:
    """Labelled test data, or what calibration left of the representative dataset."""
    plan = ready.plan
    size = max(int(np.prod(spec.shape[1:])) * 4 for spec in ready.model.inputs)
    used = plan.test or plan.samples
    assert used is not None
    labels = (getattr(item.label, "nbytes", 0) for item in used.iterate((0,)))
    size = max(size, *(4 * label for label in labels))  # they wait in memory, and are joined there
    most = min(_MOST_SAMPLES, max(1, _MOST_BYTES // size))
    if plan.test is not None:
        return plan.test, choose(plan.test, most, ready.job.options.seed)
    assert plan.samples is not None
    indices = hold_out(plan.samples, plan.chosen, most)
    if not indices:
        raise DataError(
            "No samples are left to judge on: all calibrate.",
            hint="Pass --test-data, or fewer calibration samples with --samples.",
        )
    return plan.samples, indices


def _record_part(ready: Prepared, store: Store, used: Samples, indices: Sequence[int]) -> Part:
    interface = read_interface(Path(ready.model.file.path))
    inputs: dict[str, list[NDArray[Any]]] = {spec.name: [] for spec in interface.inputs}

    def pairs() -> Any:
        for number, sample in enumerate(used.iterate(tuple(indices))):
            ready.job.on_progress("run the float model", number, len(indices))
            for name, own in inputs.items():
                own.append(sample.inputs[name])
            yield sample.inputs, sample.label

    models = [(Path(ready.model.file.path), interface)]
    chunks = list(run_pairs(models, pairs(), resolve_device("local")))
    outputs = {
        spec.name: _keep(store, np.concatenate([found[0][spec.name] for found, _ in chunks]))
        for spec in interface.outputs
    }
    labels = [label for _, label in chunks if label is not None]
    has_labels = len(labels) == len(chunks)
    return Part(
        {name: _keep(store, own) for name, own in inputs.items()},
        outputs,
        _keep(store, np.concatenate(labels)) if has_labels else "",
        len(indices),
    )


def _keep(store: Store, values: Any) -> str:
    path = store.folder / "new.npy"
    np.save(path, np.stack(values) if isinstance(values, list) else values)
    return store.adopt(path)
