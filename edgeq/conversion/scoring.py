"""Score quantized files: their outputs against the float model's, on calibration samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.accuracy.inference import Interface, read_interface
from edgeq.accuracy.paired_runs import run_pairs
from edgeq.accuracy.quality_meter import QualityMeter
from edgeq.accuracy.verdict import worst_sqnr_db
from edgeq.conversion.plan import Job, SamplePlan
from edgeq.converters.calibration.calibrate import FloatRun
from edgeq.converters.calibration.logits import expose_in_file, seen_limits
from edgeq.converters.calibration.saturation import Limit
from edgeq.tflite.model_file import ModelFile
from edgeq.values import FloatModel

_MOST_BYTES = 64 << 20  # of the float model's outputs that are kept for the next files

Outputs = dict[str, NDArray[Any]]


class Scorer:
    """Scores files with the float model's inputs and outputs; runs the float model once, if ever.

    Args:
        run: the float model's calibration pass, which knows what its softmaxes can tell apart.
        judges: indices of the samples to run.
    """

    def __init__(
        self, job: Job, model: FloatModel, plan: SamplePlan, run: FloatRun, judges: Sequence[int]
    ):
        assert plan.samples is not None
        self._job, self._samples, self._judges = job, plan.samples, judges
        self._source, self._needed = Path(model.file.path), run.statistics.needed
        self._expected: list[Outputs] = []  # by chunk of samples

    @cached_property
    def _limits(self) -> dict[str, Limit]:
        return seen_limits(self._source.read_bytes(), self._needed)

    @cached_property
    def _float(self) -> ModelFile:
        return expose_in_file(self._source.read_bytes(), self._path(0))

    @cached_property
    def _leader(self) -> Interface:
        return read_interface(self._float)

    def score(self, contents: Sequence[bytes]) -> list[float]:
        """SQNR of the worst part of each file's outputs, before a final activation.

        Returns:
            In dB, one for each file.
        """
        files: list[ModelFile] = [
            expose_in_file(content, self._path(1 + number))
            for number, content in enumerate(contents)
        ]
        known = list(self._expected)
        if not known:
            files.insert(0, self._float)
        models = [(file, read_interface(file, self._leader)) for file in files]
        meters = [QualityMeter(self._leader.outputs, self._leader.columns) for _ in contents]
        pairs = ((sample.inputs, None) for sample in self._samples.iterate(self._judges))
        for number, (outputs, _) in enumerate(run_pairs(models, pairs, self._job.device)):
            seen = [self._clip(own) for own in outputs]
            if not known:
                self._expected.append(seen.pop(0))
            for meter, own in zip(meters, seen, strict=True):
                meter.add(self._expected[number], own, None)
        if sum(array.nbytes for own in self._expected for array in own.values()) > _MOST_BYTES:
            self._expected = []
        return [worst_sqnr_db(meter.result(is_held_out=True)) for meter in meters]

    def _clip(self, outputs: Mapping[str, NDArray[Any]]) -> Outputs:
        return {
            name: np.clip(values, *self._limits[name]) if name in self._limits else values
            for name, values in outputs.items()
        }

    def _path(self, number: int) -> Path:
        return self._job.folder / f"candidate-{number}.tflite"
