"""Choose the ranges of inputs by the quality of the outputs.

An INT8 model reads each input in 255 steps of one size. If one feature is a hundred times as large
as the others, such as the energy before cepstral coefficients, the steps are as large as the other
features' values. The rounding of an input can be measured alone: the float model runs on rounded
inputs, with one narrower range after the other. A range that cuts off rare values is used if the
outputs come closer to the float model's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeq.conversion.plan import Job, SamplePlan
from edgeq.conversion.scoring import Scorer
from edgeq.converters.calibration.calibrate import FloatRun
from edgeq.converters.calibration.input_rounding import round_input
from edgeq.converters.calibration.saturation import Limit
from edgeq.converters.calibration.statistics import choose_ranges, make_ranges
from edgeq.converters.writer.comparisons import EQUALITY
from edgeq.errors import DataError
from edgeq.issues import make_issue
from edgeq.tflite import flatbuffer
from edgeq.tflite.model_file import read_model
from edgeq.values import FloatModel, Issue, Ranges

_FACTORS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.45, 0.4, 0.35, 0.3, 0.25, 0.2)
_USED = 0.75  # share of the range that 99 % of the values fill; images fill more
_ENOUGH_DB = 40.0  # an input whose rounding costs less than this needs no other range
_LEAST_GAIN_DB = 2.0
_STEPS = 253  # of the INT8 values, without one at each end
_ALIKE_DB = 0.2  # the wider of two ranges is used unless the other is better by more

Score = Callable[[Sequence[bytes]], list[float]]


def choose_input_limits(
    job: Job,
    model: FloatModel,
    run: FloatRun,
    scorer: Scorer,
    known: Collection[str],
    issues: list[Issue],
) -> dict[str, Limit]:
    """Return narrower ranges, by tensor name, for the inputs where they improve the outputs.

    Args:
        run: the float model's calibration pass.
        scorer: of the float model.
        known: inputs with ranges from `find_mask_limits`, which they keep.
        issues: receives a note for each.
    """
    content = Path(model.file.path).read_bytes()
    try:
        ranges, core = (
            {item.index: item for item in choose_ranges(run.statistics, statistic).tensors}
            for statistic in ("minmax", "percentile:99")
        )
    except DataError:
        return {}  # too few values to call any rare
    found: dict[str, Limit] = {}
    graph = read_model(Path(model.file.path)).tree.subgraphs[0]
    for spec, index in zip(model.inputs, flatbuffer.indices(graph.inputs), strict=True):
        if index not in ranges or spec.name in job.wide.inputs:
            continue  # integers, or not INT8
        item = ranges[index]
        if item.name in known:
            continue
        whole = min(item.minimum, 0.0), max(item.maximum, 0.0)
        used = max(core[index].maximum, 0.0) - min(core[index].minimum, 0.0)
        if used >= _USED * (whole[1] - whole[0]):
            continue  # no rare values, or always zero

        def score(limits: Sequence[Limit], index: int = index) -> list[float]:
            return scorer.score([round_input(content, index, limit) for limit in limits])

        limit, before, after = _search(whole, score)
        if after - before < _LEAST_GAIN_DB:
            continue
        found[item.name] = limit
        issues.append(_note(item.name, whole, limit, after - before))
    return found


def find_mask_limits(model: FloatModel, plan: SamplePlan) -> dict[str, Limit]:
    """Return the ranges of inputs without the values that only mark masked steps, by tensor name.

    Keras' Masking compares its input with such a value, such as -999. In a range that reaches to
    it, all others share a few steps. A range that ends one step beyond them keeps it apart: its
    lowest or highest integer then stands for the value, and for nothing else.

    Args:
        model: the float model; only inputs that it compares itself count.
    """
    if plan.samples is None:
        return {}
    tree = read_model(Path(model.file.path)).tree
    graph, found = tree.subgraphs[0], {}
    for spec, index in zip(model.inputs, flatbuffer.indices(graph.inputs), strict=True):
        marks = _find_marks(tree, graph, index) if spec.dtype == "float32" else set()
        if not marks:
            continue
        low = high = 0.0
        for sample in plan.samples.iterate(plan.chosen):
            values = sample.inputs[spec.name]
            real = values[~np.isin(values, list(marks))]
            low, high = min(low, real.min(initial=0)), max(high, real.max(initial=0))
        step = (high - low) / _STEPS
        lower = low - step if min(marks) < low else low
        higher = high + step if max(marks) > high else high
        if (lower, higher) != (low, high):
            found[flatbuffer.tensor_name(graph, index)] = float(lower), float(higher)
    return found


def _find_marks(tree: Any, graph: Any, index: int) -> set[float]:
    """Return the constants that a tensor is compared with for equality."""
    found = set()
    for operator in graph.operators:
        read = flatbuffer.indices(operator.inputs)
        if index in read and flatbuffer.operator_name(tree, operator) in EQUALITY:
            others = [graph.tensors[other] for other in read if other != index]
            found |= {
                float(flatbuffer.constant(tree, other).item())
                for other in others
                if flatbuffer.is_constant(tree, other)
                and flatbuffer.constant(tree, other).size == 1
            }
    return found


def _note(name: str, whole: Limit, limit: Limit, gain_db: float) -> Issue:
    message = (
        f"input {name!r} has values from {whole[0]:.4g} to {whole[1]:.4g}, and its INT8 range is "
        f"{limit[0]:.4g} to {limit[1]:.4g}: the finer steps gain {gain_db:.1f} dB at the outputs; "
        "scaling each feature separately would gain more"
    )
    return make_issue("convert.input_narrowed", message)


def _search(
    whole: Limit, score: Callable[[Sequence[Limit]], list[float]]
) -> tuple[Limit, float, float]:
    """Return the best range, the SQNR in dB of the whole range, and that of the best one."""
    (before,) = score([whole])
    best, after = whole, before
    if before >= _ENOUGH_DB:
        return best, before, after
    for side in (0, 1):
        if whole[side] == 0:
            continue
        tried = [_scaled(best, side, factor) for factor in _FACTORS]
        scores = score(tried)
        highest = max(scores)
        place = next(i for i, value in enumerate(scores) if value >= highest - _ALIKE_DB)
        best, after = tried[place], scores[place]
    return best, before, after


def _scaled(limit: Limit, side: int, factor: float) -> Limit:
    low, high = limit
    return (low * factor, high) if side == 0 else (low, high * factor)


def cut_inputs(ranges: Ranges, limits: Mapping[str, Limit]) -> Ranges:
    """Cut the ranges of inputs at the limits from the functions above."""
    tensors = tuple(
        replace(
            item,
            minimum=max(item.minimum, limits[item.name][0]),
            maximum=min(item.maximum, limits[item.name][1]),
        )
        if item.name in limits
        else item
        for item in ranges.tensors
    )
    if tensors == ranges.tensors:
        return ranges
    return make_ranges(ranges.statistic, ranges.sample_count, tensors)
