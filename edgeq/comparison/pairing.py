"""A float model and its quantized counterpart, opened to be held against each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgeq.accuracy.inference import Interface, read_interface
from edgeq.conversion.convert import float_tflite
from edgeq.conversion.file_metadata import read_layout, read_preprocessing
from edgeq.converters.calibration.calibrate import batch_size
from edgeq.converters.graph.dequantized import float_twin
from edgeq.converters.graph.matching import require_same_layers
from edgeq.converters.lowering.exported_models import FRAMEWORKS
from edgeq.converters.lowering.model_kinds import KINDS, identify
from edgeq.converters.samples.open_samples import Samples
from edgeq.converters.samples.preprocessing import format_preprocessing, parse_preprocessing
from edgeq.errors import DataError, UsageError
from edgeq.files import storage
from edgeq.issues import make_issue
from edgeq.tflite import flatbuffer
from edgeq.values import ConvertOptions, FileRef, Issue


def open_pair(baseline: Path, candidate: Path, folder: Path) -> tuple[Path, Path, int]:
    """Both as `.tflite`, the baseline lowered as the candidate was; and the batch size of that.

    Raises:
        UsageError: the candidate is no `.tflite`.
    """
    if (kind := identify(candidate)) != "tflite":
        raise UsageError(
            f"The candidate {candidate} is a {KINDS[kind]}, not a .tflite.",
            hint="Convert it first, or swap the two: FP32 comes first.",
        )
    batch = batch_size(read_interface(candidate).inputs)
    layout = read_layout(candidate) if identify(baseline) in FRAMEWORKS else "source"
    options = ConvertOptions(batch=batch, layout=layout)
    return float_tflite(baseline, folder, options), candidate, batch


def refer_baseline(lowered: Path, baseline: Path) -> FileRef:
    """The float `.tflite`, by the name of the model it was lowered from."""
    note = "" if lowered == baseline else " (lowered to .tflite)"
    return storage.refer(lowered, f"{baseline}{note}")


def find_differences(
    baseline: Interface,
    batch: int,
    files: tuple[Path, Path],
    preprocess: Sequence[str],
    samples: Samples,
) -> tuple[Issue, ...]:
    """Doubts about a baseline that is no FP32 counterpart of a candidate with this batch size.

    Args:
        files: both as `.tflite`.
        preprocess: `--preprocess` texts that both are fed with.
        samples: what both are fed.
    """
    found = _find_beyond(read_interface(files[1], baseline), samples)
    carried = read_preprocessing(files[1])
    fed = tuple(map(format_preprocessing, parse_preprocessing(preprocess, baseline.inputs)))
    if carried and fed != carried:
        message = f"The candidate declares {' '.join(carried)!r} and was fed {' '.join(fed)!r}"
        found.append(make_issue("compare.fed_otherwise", f"{message}; leave out --preprocess."))
    real, made = files[0].read_bytes(), float_twin(files[1].read_bytes())
    try:
        require_same_layers(flatbuffer.parse(real, "FP32"), flatbuffer.parse(made, "it"))
    except DataError as error:
        found.append(make_issue("compare.other_layers", error.message))
    ours = batch_size(baseline.inputs)
    if ours != batch:
        message = f"FP32 takes {ours} samples at a time, the candidate {batch}"
        found.append(make_issue("compare.batches_differ", f"{message}: latencies are per run."))
    quantized = [spec.name for spec in (*baseline.inputs, *baseline.outputs) if spec.scales]
    if quantized:
        message = f"The first model is quantized itself ({quantized[0]!r}), so it is no FP32"
        found.append(make_issue("compare.baseline_quantized", f"{message}; swap the two?"))
    return tuple(found)


def _find_beyond(candidate: Interface, samples: Samples) -> list[Issue]:
    """Doubts about samples that reach far beyond what a quantized input can hold."""
    found = []
    sample = next(samples.iterate((0,)))
    for spec in candidate.inputs:
        if not spec.scales:
            continue
        limits = np.iinfo(spec.dtype)
        ends = (np.array([limits.min, limits.max]) - spec.zero_points[0]) * spec.scales[0]
        values = sample.inputs[candidate.input_names[spec.name]]
        low, high = np.percentile(values, (5, 95))  # rare values may lie beyond, on purpose
        if max(high - ends[1], ends[0] - low) > ends[1] - ends[0]:
            message = (
                f"Input {spec.name!r} is mostly fed {low:.3g} to {high:.3g}, and the candidate's "
                f"holds {ends[0]:.3g} to {ends[1]:.3g}: declare the preprocessing with "
                "--preprocess."
            )
            found.append(make_issue("data.range_mismatch", message))
    return found
