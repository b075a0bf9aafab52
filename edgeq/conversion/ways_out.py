"""Find another conversion that loses nothing, by trying each on the user's model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from edgeq.accuracy.parts import LOST_DB
from edgeq.accuracy.verdict import find_lost, judge_comparison, output_sqnr_db, worst_sqnr_db
from edgeq.conversion.command_line import convert_command
from edgeq.conversion.feeding import read_makers
from edgeq.conversion.file_metadata import finish_file
from edgeq.conversion.plan import choose_mix
from edgeq.conversion.prepare import Prepared, prepare
from edgeq.conversion.proof import measure_result, prove
from edgeq.conversion.quantize import quantize_model
from edgeq.conversion.remedies import propose
from edgeq.conversion.wide_ends import keep_ends_wide
from edgeq.converters.quantization.resolve_scheme import resolve
from edgeq.converters.samples.open_samples import choose
from edgeq.errors import CertificateError, QuantizationError, UsageError
from edgeq.progress import OnProgress
from edgeq.values import Conversion, ConvertOptions, Quality, WayOut

# Samples of a large test set that show whether a part is lost.
_MOST_TESTED = 256


def is_lost(quality: Quality) -> bool:
    """Return whether a part of the outputs is lost, or all of them without labels to judge by."""
    if find_lost(quality):
        return True
    outputs = replace(quality, metrics=())
    return quality.drop_points is None and judge_comparison(outputs, None)[0] == "no"


@dataclass(frozen=True)
class Reconverter:
    """Converts a calibrated model with other options, and measures it on the same samples.

    Attributes:
        ready: the calibrated model.
        options: the candidate's options; the defaults if no record states them.
        command: returns the command line for some options.
        is_made_so: whether the candidate was made with these options.
    """

    ready: Prepared
    options: ConvertOptions
    command: Callable[[ConvertOptions], str]
    is_made_so: bool

    @property
    def source(self) -> bytes:
        """The float flatbuffer."""
        return Path(self.ready.model.file.path).read_bytes()

    def convert(self, options: ConvertOptions) -> Quality | None:
        """Convert with these options and measure the file; None if the conversion fails."""
        ready = self.ready
        scheme, io = resolve(options.scheme, options.io, options.granularity)
        job = replace(ready.job, scheme=scheme, io=io, options=options)
        target = job.folder / "way-out.tflite"
        try:
            job, model, run = keep_ends_wide(job, ready.model, ready.plan, ready.run, [])
            made = quantize_model(job, model, ready.plan, run, [])
            carried = ready.carried(model, options.layout)
            target.write_bytes(finish_file(made.content, carried))
            prove(job, target, model, choose_mix(job, made.source or model), [])
        except (QuantizationError, CertificateError, UsageError):
            return None  # a missing kernel, or an operator that stays float
        return measure_result(job, model, replace(ready.plan, has_task=False), target, [])

    def try_out(self, options: ConvertOptions) -> WayOut:
        """Convert with `--effort fast`, and with the full effort only if nothing is lost."""
        quality = self.convert(replace(options, effort="fast"))
        if quality is not None and not is_lost(quality) and options.effort != "fast":
            quality = self.convert(options)
        if quality is None:
            return WayOut(self.command(options), None, keeps=False)
        return WayOut(self.command(options), worst_sqnr_db(quality), not is_lost(quality))


def find_ways_out(reconverter: Reconverter, quality: Quality) -> tuple[WayOut, ...]:
    """Try other conversions until one keeps what was lost.

    Args:
        quality: quality of the file with a lost part.

    Returns:
        The conversions that were tried, in order; only the last one may keep everything.
    """
    tried: list[WayOut] = []
    options = reconverter.options
    first = () if reconverter.is_made_so else (options,)
    ways = (*first, *propose(reconverter.source, lost_outputs(quality), options))
    for number, changed in enumerate(ways):
        reconverter.ready.job.on_progress("try a way out", number, None)
        tried.append(reconverter.try_out(changed))
        if tried[-1].keeps:
            break
    return tuple(tried)


def lost_outputs(quality: Quality) -> frozenset[str]:
    """Return the names of the outputs with a lost part or column."""
    return frozenset(
        output.name
        for output in quality.outputs
        if (sqnr := output_sqnr_db(output)) is not None
        and (sqnr < LOST_DB or any(part.lost for part in output.parts))
    )


# ---------------------------------------------------------------- for an existing file


@contextmanager
def open_reconverter(
    candidate: Path,
    *,
    baseline: Any,
    data: Any,
    preprocess: Sequence[str],
    on_progress: OnProgress,
    most: int = _MOST_TESTED,
) -> Iterator[Reconverter]:
    """Prepare the baseline to be converted in other ways.

    The calibration data is that of the record beside the candidate. Without a record, or if that
    data no longer exists, a part of `data` calibrates and the rest measures.

    Args:
        preprocess: `--preprocess` texts of both models.
        most: the highest number of samples of `data` to measure on.

    Raises:
        EdgeqError: the baseline cannot be converted at all.
    """
    made = next((made for made in read_makers(candidate) if isinstance(made, Conversion)), None)
    options = ConvertOptions() if made is None else _plain(made.options)
    used, test = data, None
    if made is not None and made.data is not None and Path(made.data.source).exists():
        used, test = made.data.source, data
    # The calibration pass must keep enough for every statistic and correction tried later.
    most_asked = replace(options, effort="balanced", statistic="auto", corrections="auto")
    with ExitStack() as stack:
        ready = prepare(
            stack, baseline, *resolve(options.scheme, options.io, options.granularity), data=used,
            test_data=test, preprocess=preprocess, options=most_asked, verbose=False,
            on_progress=on_progress, tensorflow=None,
        )  # fmt: skip
        if ready.plan.test is not None:
            tested = choose(ready.plan.test, most, options.seed)
            ready = replace(ready, plan=replace(ready.plan, tested=tested))
        typed = partial(convert_command, baseline, candidate, data=used, preprocess=preprocess)
        is_own = made is not None and made.options.engine == "edgeq"
        yield Reconverter(ready, options, typed, is_own)


def _plain(options: ConvertOptions) -> ConvertOptions:
    """Remove the options that would run code or read other files: the record is not trusted.

    Records of edgeq 0.1 may name another engine, which no longer exists.
    """
    return replace(
        options, engine="edgeq", trusted=False, custom_objects=(), torch_python=None,
        onnx_python=None, min_sqnr_db=None, max_drop_points=None, metrics=(),
    )  # fmt: skip
