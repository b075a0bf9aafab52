"""Score quantized files: their outputs against the float model's, on calibration samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgeq.accuracy.inference import read_interface
from edgeq.accuracy.paired_runs import run_pairs
from edgeq.accuracy.quality_meter import QualityMeter
from edgeq.accuracy.verdict import worst_sqnr_db
from edgeq.conversion.plan import Job, SamplePlan
from edgeq.converters.calibration.calibrate import FloatRun
from edgeq.converters.calibration.logits import expose_logits, seen_limits
from edgeq.tflite.model_file import read_model
from edgeq.values import FloatModel


def score_files(
    job: Job,
    model: FloatModel,
    plan: SamplePlan,
    run: FloatRun,
    contents: Sequence[bytes],
    judges: Sequence[int],
) -> list[float]:
    """SQNR of the worst part of each file's outputs, before a final activation, all in one run.

    Args:
        run: the float model's calibration pass, which knows what its softmaxes can tell apart.
        contents: files with the float model's inputs and outputs.
        judges: indices of the samples to run.

    Returns:
        In dB, one for each file.
    """
    assert plan.samples is not None
    source = Path(model.file.path).read_bytes()
    limits = seen_limits(source, run.statistics.needed)
    files = []
    for number, content in enumerate((source, *contents)):
        path = job.folder / f"candidate-{number}.tflite"
        path.write_bytes(expose_logits(content))
        files.append(read_model(path))
    leader = read_interface(files[0])
    models = [(file, read_interface(file, leader)) for file in files]
    meters = [QualityMeter(leader.outputs, leader.columns) for _ in contents]
    pairs = ((sample.inputs, None) for sample in plan.samples.iterate(judges))
    for outputs, _ in run_pairs(models, pairs, job.device):
        seen = [
            {
                name: np.clip(values, *limits[name]) if name in limits else values
                for name, values in own.items()
            }
            for own in outputs
        ]
        for meter, own in zip(meters, seen[1:], strict=True):
            meter.add(seen[0], own, None)
    return [worst_sqnr_db(meter.result(is_held_out=True)) for meter in meters]
