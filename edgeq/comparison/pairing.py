"""Open a float model and its quantized counterpart, and check that they can be compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.accuracy.inference import Interface, read_interface
from edgeq.conversion.convert import float_tflite
from edgeq.conversion.feeding import find_doubt, read_makers
from edgeq.conversion.file_metadata import (
    read_layout,
    read_outputs,
    read_preprocessing,
    read_source_inputs,
)
from edgeq.converters.calibration.calibrate import batch_size
from edgeq.converters.graph.dequantized import float_twin
from edgeq.converters.graph.matching import require_same_layers
from edgeq.converters.lowering.exported_models import FRAMEWORKS
from edgeq.converters.lowering.model_kinds import identify, kind_of, shown
from edgeq.converters.rewrites.outputs.cutting import cut_outputs
from edgeq.converters.samples.open_samples import Samples, choose
from edgeq.converters.samples.preprocessing import (
    format_preprocessing,
    parse_preprocessing,
)
from edgeq.converters.samples.same_feeding import are_same, with_sizes
from edgeq.errors import DataError, UsageError
from edgeq.files import storage
from edgeq.files.kinds import KINDS
from edgeq.issues import make_issue
from edgeq.tflite import flatbuffer, lstm
from edgeq.values import ConvertOptions, FileRef, Issue, Preprocessing, TensorSpec
from edgeq.wording import repeat_option

# Samples that fill less than this part of an input's range were not prepared like those that
# it was calibrated with.
_NARROW = 8
_JUDGED_SAMPLES = 16  # a single dark picture is not enough to know


def open_pair(baseline: Any, candidate: Path, folder: Path) -> tuple[Path, Path, int]:
    """Return both as `.tflite`, the baseline lowered like the candidate, and the batch size.

    Raises:
        UsageError: the candidate is not a `.tflite`.
    """
    if (key := identify(candidate)) != "tflite":
        raise UsageError(
            f"The candidate {candidate} is {KINDS[key].what}, not a .tflite.",
            hint=f"{KINDS[key].hint(str(candidate))}; or swap both: FP32 is the first.",
        )
    batch = batch_size(read_interface(candidate).inputs)
    options = ConvertOptions(batch=batch)
    if (source := kind_of(baseline)) in FRAMEWORKS:
        options = read_source_inputs(candidate, replace(options, layout=read_layout(candidate)))
    elif source != "tflite":
        is_fused = lstm.count(flatbuffer.read(candidate)) > 0
        options = replace(options, lstm="fused" if is_fused else "unrolled")
    lowered = float_tflite(baseline, folder, options)
    if outputs := read_outputs(candidate):
        cut = folder / "cut.tflite"
        cut.write_bytes(cut_outputs(lowered.read_bytes(), outputs))
        lowered = cut
    return lowered, candidate, batch


def refer_baseline(lowered: Path, baseline: Any) -> FileRef:
    """Refer to the float `.tflite` by the name of the model it was lowered from."""
    note = "" if lowered == baseline else " (lowered to .tflite)"
    return storage.refer(lowered, f"{shown(baseline)}{note}")


def find_differences(
    baseline: Interface,
    batch: int,
    files: tuple[Path, Path],
    preprocess: Sequence[str],
    samples: Samples,
) -> tuple[Issue, ...]:
    """Return issues if the baseline is not the FP32 counterpart of the candidate.

    Args:
        batch: batch size of the candidate.
        files: both as `.tflite`.
        preprocess: `--preprocess` texts for both.
        samples: the samples for both.
    """
    candidate, specs = read_interface(files[1], baseline), baseline.inputs
    carried = parse_preprocessing(read_preprocessing(files[1]), specs)
    fed = parse_preprocessing(preprocess, specs)
    found = _find_beyond(candidate, samples, is_declared=bool(carried))
    ways = _Ways(
        could_stay=all(find_doubt(made.issues) is None for made in read_makers(files[1])),
        could_change=not found,
    )
    if carried and not are_same(fed, carried, specs):
        found.append(_fed_otherwise(fed, carried, specs, ways))
    else:
        found += _find_narrow(candidate, samples, fed, bool(carried), ways)
    real = flatbuffer.parse(files[0].read_bytes(), "FP32")
    made = flatbuffer.parse(float_twin(files[1].read_bytes()), "it")
    if lstm.count(real) == lstm.count(made):  # otherwise one of them has unrolled layers
        try:
            require_same_layers(real, made)
        except DataError as error:
            found.append(make_issue("compare.other_layers", error.message))
    ours = batch_size(baseline.inputs)
    if ours != batch:
        message = f"FP32 takes {ours} samples at a time, the candidate {batch}"
        found.append(make_issue("compare.batches_differ", f"{message}: latencies are per run."))
    quantized = [spec.name for spec in (*baseline.inputs, *baseline.outputs) if spec.scales]
    if quantized:
        message = (
            f"The first model is itself quantized ({quantized[0]!r}), so it cannot be the FP32 "
            "baseline; swap the two models?"
        )
        found.append(make_issue("compare.baseline_quantized", message))
    return tuple(found)


@dataclass(frozen=True)
class _Ways:
    """Says what to type if a candidate was calibrated on raw samples and is fed prepared ones.

    Attributes:
        could_stay: whether the candidate may be right: `convert` had no doubt about its samples.
        could_change: whether the samples as they are fed now may be right.
    """

    could_stay: bool
    could_change: bool

    def show(
        self,
        fed: Sequence[Preprocessing],
        carried: tuple[Preprocessing, ...],
        specs: Sequence[TensorSpec],
    ) -> str:
        """Return what to type."""
        wanted = with_sizes(carried, fed, specs)
        stay = "remove --preprocess" if wanted == carried else f"write {_options(wanted)}"
        is_raw = are_same(carried, (), specs) and not are_same(fed, (), specs)
        if not is_raw or not self.could_change:
            return stay
        change = f"convert again with {_options(fed)}"
        if not self.could_stay:
            return change
        return f"{stay}, or, if the model learned from such values, {change}"


def _fed_otherwise(
    fed: Sequence[Preprocessing],
    carried: tuple[Preprocessing, ...],
    specs: Sequence[TensorSpec],
    ways: _Ways,
) -> Issue:
    """State what the candidate declares, and how to feed it so from the same samples."""
    way = ways.show(fed, carried, specs)
    message = f"The candidate declares {_show(carried)} and was fed {_show(fed)}; {way}."
    return make_issue("compare.fed_otherwise", message)


def _show(declared: Sequence[Preprocessing]) -> str:
    return repr(" ".join(map(format_preprocessing, declared)))


def _options(declared: Sequence[Preprocessing]) -> str:
    return repeat_option("--preprocess", map(format_preprocessing, declared))


def _pair_ranges(
    candidate: Interface, samples: Samples
) -> Iterator[tuple[TensorSpec, NDArray[Any], NDArray[np.float64]]]:
    """Yield each quantized input, values of some samples, and the ends of what it can take."""
    taken = list(samples.iterate(choose(samples, _JUDGED_SAMPLES, seed=0)))
    for spec in candidate.inputs:
        if spec.scales:
            values = [sample.inputs[candidate.input_names[spec.name]] for sample in taken]
            limits = np.iinfo(spec.dtype)
            ends = np.array([limits.min, limits.max], np.float64) - spec.zero_points[0]
            yield spec, np.concatenate([own.reshape(-1) for own in values]), ends * spec.scales[0]


def _find_narrow(
    candidate: Interface,
    samples: Samples,
    fed: Sequence[Preprocessing],
    is_declared: bool,
    ways: _Ways,
) -> Iterator[Issue]:
    """Yield issues if samples fill only a small part of the range of a quantized input.

    Args:
        fed: what prepared the samples.
        is_declared: whether the candidate declares the same.
        ways: says what to type.
    """
    for spec, values, ends in _pair_ranges(candidate, samples):
        low, high = values.min(), values.max()
        if not 0 < (high - low) * _NARROW < ends[1] - ends[0]:
            continue
        given, taken = f"{low:.3g} to {high:.3g}", f"{ends[0]:.3g} to {ends[1]:.3g}"
        own = replace(spec, name=candidate.input_names[spec.name])
        is_scaled = not are_same(fed, (), [own])
        if is_scaled and not is_declared:
            nothing = tuple(Preprocessing(entry.input) for entry in fed)
            message = (
                "The candidate seems to be calibrated without preprocessing: its range for input "
                f"{spec.name!r} is {taken}. It was fed with {_show(fed)}, which gives {given}: "
                f"{ways.show(fed, nothing, [own])}."
            )
            yield make_issue("compare.fed_otherwise", message)
            continue
        way = "to be on another scale than those that calibrated it"
        if is_scaled:
            way = f"to be normalized before {_show(fed)} does it; give raw samples"
        message = (
            f"Values for input {spec.name!r} are only {given}, but the candidate's range is "
            f"{taken}: the samples seem {way}."
        )
        yield make_issue("data.normalized_twice" if is_scaled else "data.range_mismatch", message)


def _find_beyond(candidate: Interface, samples: Samples, is_declared: bool) -> list[Issue]:
    """Return issues if samples exceed the range of a quantized input by far.

    Args:
        is_declared: whether the candidate declares its preprocessing.
    """
    way = "" if is_declared else ": declare the preprocessing with --preprocess"
    found = []
    for spec, values, ends in _pair_ranges(candidate, samples):
        low, high = np.percentile(values, (5, 95))  # rare values may exceed it on purpose
        if max(high - ends[1], ends[0] - low) > ends[1] - ends[0]:
            message = (
                f"Most values for input {spec.name!r} are {low:.3g} to {high:.3g}, but the "
                f"candidate's range is {ends[0]:.3g} to {ends[1]:.3g}{way}."
            )
            found.append(make_issue("data.range_mismatch", message))
    return found
