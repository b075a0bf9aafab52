"""Decide by samples whether the classes of an INT8 model are spread over one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.accuracy.inference import read_interface
from edgeq.accuracy.paired_runs import run_pairs
from edgeq.conversion.plan import Job, SamplePlan
from edgeq.converters.corrections.ties import spread_ties
from edgeq.issues import make_issue
from edgeq.tflite.model_file import read_model
from edgeq.values import FloatModel, Issue

_CLEARLY = 2.0  # standard errors of the mean gain over the samples


def settle_ties(
    job: Job,
    model: FloatModel,
    plan: SamplePlan,
    judges: Sequence[int],
    content: bytes,
    issues: list[Issue],
) -> bytes:
    """Spread the classes if the model then chooses the float model's ones clearly more often.

    A few hundred samples with one choice each do not show this.

    Args:
        judges: indices of the samples to run.
        content: the quantized file.
        issues: receives a note if the file changes.

    Returns:
        The file to keep.
    """
    assert plan.samples is not None
    spread, axes = spread_ties(content)
    if not axes:
        return content
    paths = [Path(model.file.path)]
    for number, made in enumerate((content, spread)):
        paths.append(job.folder / f"ties-{number}.tflite")
        paths[-1].write_bytes(made)
    files = [read_model(path) for path in paths]
    leader = read_interface(files[0])
    models = [(file, read_interface(file, leader)) for file in files]
    pairs = ((sample.inputs, None) for sample in plan.samples.iterate(judges))
    rates = [
        np.stack([_differ(expected, own, axes) for own in others], axis=1)
        for (expected, *others), _ in run_pairs(models, pairs, job.device)
    ]
    before, after = np.concatenate(rates).T
    gains = before - after
    error = np.std(gains, ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else np.inf
    if not np.mean(gains) > _CLEARLY * error:
        return content
    message = (
        f"the classes of output {', '.join(map(repr, axes))} are spread over one INT8 step by "
        f"their biases, so that fewer have equal values: {np.mean(after):.2%} of the largest "
        f"classes differ from the float model's on calibration samples, instead of "
        f"{np.mean(before):.2%}"
    )
    issues.append(make_issue("convert.ties", message))
    return spread


def _differ(
    expected: Mapping[str, NDArray[Any]],
    made: Mapping[str, NDArray[Any]],
    axes: Mapping[str, int | None],
) -> NDArray[np.float64]:
    """Return the share of choices that differ in each sample, [samples].

    Args:
        axes: of the classes in an output; None if it has numbers of classes.
    """
    found = []
    for name, axis in axes.items():
        ours, theirs = (
            outputs[name] if axis is None else outputs[name].argmax(axis)
            for outputs in (expected, made)
        )
        found.append((ours != theirs).reshape(len(ours), -1))
    return np.asarray(np.mean(np.concatenate(found, axis=1), axis=1))
