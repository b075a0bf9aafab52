"""Plan a conversion: its job, and which samples calibrate and which measure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeq.converters.lowering.framework_process import TensorFlowProcess
from edgeq.converters.quantization.selectors import (
    NO_MIX,
    NOT_WIDE,
    Mix,
    WideEnds,
    select_mix,
    with_inner,
)
from edgeq.converters.samples.label_files import LabelledData
from edgeq.converters.samples.open_samples import Samples, choose, hold_out, open_samples
from edgeq.device_runners.devices.device import Device
from edgeq.errors import UsageError
from edgeq.issues import make_issue
from edgeq.metrics.catalogue import check_metric
from edgeq.metrics.decoding import parse_decoding
from edgeq.progress import OnProgress
from edgeq.values import RECURRENT_DTYPES, ConvertOptions, FloatModel, Issue, Preprocessing
from edgeq.values.schemes import SCHEMES, Scheme

CHECK_SAMPLES = 4  # enough to tell two functions apart, few enough to cost nothing
DEFAULT_SAMPLES = 256
MAX_HELD_OUT = 256
MAX_UNHELD = 32  # calibration samples to measure on when none are held out


@dataclass(frozen=True)
class Job:
    """The settings and resources that every step of a conversion needs.

    Attributes:
        io: dtype of inputs and outputs, resolved.
        folder: working folder, removed at the end.
        process: None if no step needs TensorFlow.
        device: this machine, which runs the files that were made.
        wide: what stays in float at the ends, see `edgeq.conversion.wide_ends`.
    """

    scheme: Scheme
    io: str
    options: ConvertOptions
    folder: Path
    process: TensorFlowProcess | None
    on_progress: OnProgress
    device: Device
    wide: WideEnds = NOT_WIDE


@dataclass(frozen=True)
class SamplePlan:
    """The user's data, divided.

    Attributes:
        samples: the representative dataset, None without `--data`.
        chosen: indices to calibrate on.
        test: the separate `--test-data`, if any.
        held_out: indices of `samples` to measure on; empty when all calibrate, or with `test`.
        issues: doubts about the division.
        tested: indices of `test` to measure on, None for all.
        has_task: whether the user named metrics, a decoding or labels: metrics are measured then.
    """

    samples: Samples | None
    chosen: tuple[int, ...]
    test: Samples | None
    held_out: tuple[int, ...]
    issues: tuple[Issue, ...] = ()
    tested: tuple[int, ...] | None = None
    has_task: bool = False

    @property
    def is_held_out(self) -> bool:
        """Whether the samples to measure on took no part in calibration."""
        if self.test is None:
            return bool(self.held_out)
        return self.samples is None or not self.samples.is_same_as(self.test)


def require_budgets(options: ConvertOptions) -> None:
    """Refuse budgets that are not numbers of 0 or more, before any work.

    Raises:
        UsageError: one is negative, infinite or not a number.
    """
    for name, gate in (
        ("--max-drop", options.max_drop_points),
        ("--min-sqnr", options.min_sqnr_db),
    ):
        if gate is not None and not 0 <= gate < math.inf:
            raise UsageError(f"{name} must be 0 or more, not {gate:g}.")
    require_task(options)


def require_task(options: ConvertOptions) -> None:
    """Refuse metrics and a decoding that cannot be read, before any work.

    Raises:
        UsageError: one is unknown, or a budget is for the user's own function.
    """
    for name in options.metrics:
        check_metric(name)
    if options.decode is not None:
        parse_decoding(options.decode)
    first = next(iter(options.metrics), "")
    if options.max_drop_points is not None and ":" in first:
        raise UsageError(
            f"--max-drop limits the loss of the first --metric, and {first} has no interval.",
            hint="Name one of edgeq's metrics first, or remove --max-drop.",
        )


def choose_mix(job: Job, model: FloatModel) -> Mix:
    """Return the operators of a float model that are not INT8: the options', and the ends'."""
    mix = select_options(Path(model.file.path).read_bytes(), job.options)
    return replace(mix, wide=job.wide, int16=(*mix.int16, *job.wide.int16))


def select_options(content: bytes, options: ConvertOptions) -> Mix:
    """Return the operators with another precision than the scheme's.

    These are the operators that `--keep-float`, `--int16`, `--int4` and `--weights` select, and
    the inside of an INT8 model's normalizations.

    Args:
        content: the float flatbuffer.

    Raises:
        UsageError: a selector matches no operator, two contradict each other, or
            `options.recurrent` is unknown.
    """
    if options.recurrent not in RECURRENT_DTYPES:
        raise UsageError(
            f"Unknown dtype {options.recurrent!r} inside recurrent layers; use one of "
            f"{', '.join(RECURRENT_DTYPES)}."
        )
    given = (options.keep_float, options.int16, options.int4)
    mix = NO_MIX
    if any(given) or options.weights != "int8":
        mix = select_mix(content, *given, options.weights)
    mix = replace(mix, recurrent=options.recurrent)
    is_int8 = SCHEMES[options.scheme].activations == "int8" and options.calibrator != "tflite"
    return with_inner(content, mix) if is_int8 else mix


def plan_samples(
    model: FloatModel,
    declared: Sequence[Preprocessing],
    data: Any,
    test_data: Any,
    options: ConvertOptions,
) -> SamplePlan:
    """Divide the data; the same options give the same division.

    `options.samples` is used as given, up to all samples. Without it, up to 256 samples calibrate,
    and at least a fifth of them is held out unless there is `test_data`.

    Raises:
        DataError: the data cannot be read or does not fit the model.
    """
    has_task = bool(options.metrics or options.decode) or any(
        isinstance(given, LabelledData) for given in (data, test_data)
    )
    test = None if test_data is None else open_samples(test_data, model.inputs, declared)
    if data is None:
        return SamplePlan(None, (), test, (), has_task=has_task)
    samples = open_samples(data, model.inputs, declared)
    wanted = options.samples or DEFAULT_SAMPLES
    there = samples.count_up_to(wanted + MAX_HELD_OUT)
    there = there if samples.count is None else samples.count
    issues: tuple[Issue, ...] = ()
    if options.samples is None and test is None:
        wanted = min(wanted, there - there // 5)
    elif options.samples is not None and wanted > there:
        message = f"{wanted} calibration samples were requested, but there are only {there}."
        issues = (make_issue("convert.fewer_samples", message),)
    chosen = choose(samples, min(wanted, there), options.seed)
    if test is not None and samples.is_same_as(test):
        message = (
            f"--test-data is the same data as --data, and {len(chosen)} of its samples calibrate: "
            "the measured quality is too good; remove --test-data to hold out a part of --data."
        )
        issues = (*issues, make_issue("convert.not_held_out", message))
    held_out = () if test is not None else hold_out(samples, chosen, MAX_HELD_OUT)
    return SamplePlan(samples, chosen, test, held_out, issues, has_task=has_task)
