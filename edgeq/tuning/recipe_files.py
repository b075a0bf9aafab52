"""The files that recipes start from: float models, ranges and plain INT8 files, made once."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from edgeq.conversion.calibrated_models import calibrated_models
from edgeq.conversion.plan import Job
from edgeq.conversion.prepare import Prepared
from edgeq.conversion.range_candidates import (
    CalibratedModel,
    RangeCandidate,
    choose_corrections,
    choose_judges,
    choose_statistics,
    make_candidates,
)
from edgeq.conversion.scoring import Scorer
from edgeq.converters.calibration.histograms import compact
from edgeq.converters.corrections.correct import OF_LAYERS
from edgeq.converters.writer.precisions import choose_precisions, name_of, narrow_layers
from edgeq.files.storage import to_plain
from edgeq.tflite import flatbuffer
from edgeq.tuning.content_store import Store
from edgeq.tuning.float_outputs import Part, Recording
from edgeq.tuning.trial import Task
from edgeq.values import Histogram, Issue, Ranges, Recipe

_Key = tuple[str, bool, str]


@dataclass(frozen=True)
class _Base:
    """The float model and the ranges that a recipe starts from.

    Attributes:
        source: digest of the float model in the store.
        digest: of its ranges.
    """

    ranges: Ranges
    source: str
    digest: str


class Workshop:
    """Makes tasks out of recipes.

    Args:
        ready: the calibrated float model.
        recording: the samples of trials.

    Raises:
        QuantizationError: the quantizer refused the model.
    """

    def __init__(self, ready: Prepared, store: Store, recording: Recording):
        self._ready, self.store, self.recording = ready, store, recording
        self._bases: dict[_Key, _Base] = {}
        self.corrections = self._allowed()
        given = ready.job, ready.model, ready.plan
        scorer = Scorer(*given, ready.run, choose_judges(*given))
        models = calibrated_models(*given, ready.run, self.corrections, scorer, ready.issues)
        self._models = {item.is_equalized: item for item in models}
        for granularity in ("channel", "tensor"):
            job = _with_granularity(ready.job, granularity)
            for variant in self._candidates(job, models):
                key = (variant.ranges.statistic, variant.is_equalized, granularity)
                if key not in self._bases:
                    self._bases[key] = self._base(variant)

    @property
    def later_corrections(self) -> tuple[str, ...]:
        """The corrections that are made layer by layer after quantization."""
        return tuple(name for name in self.corrections if name in OF_LAYERS)

    def plain_recipes(self) -> tuple[Recipe, ...]:
        """One for each base, the simplest first."""
        return tuple(Recipe(*key) for key in self._bases)

    def task(self, recipe: Recipe, part: Part) -> Task:
        """Return the task that tries a recipe on some samples."""
        key = (recipe.statistic, recipe.is_equalized, recipe.granularity)
        base = self._bases[key]
        return Task(
            recipe=recipe,
            source=base.source,
            ranges=base.digest,
            io=self._ready.job.io,
            fits=self.recording.fits,
            inputs=part.inputs,
            outputs=part.outputs,
            labels=part.labels,
            carried=self._ready.carried(self._ready.model, self._ready.job.options.layout),
            metric=self.recording.metric,
            wide=self._ready.job.wide,
            recurrent=self._ready.job.options.recurrent,
        )

    def source(self, recipe: Recipe) -> bytes:
        """The float model that a recipe starts from."""
        key = (recipe.statistic, recipe.is_equalized, recipe.granularity)
        return self.store.read(self._bases[key].source)

    def ranges(self, recipe: Recipe) -> Ranges:
        """The ranges that a recipe starts from."""
        return self._bases[recipe.statistic, recipe.is_equalized, recipe.granularity].ranges

    def histograms(self, recipe: Recipe) -> tuple[Histogram, ...]:
        """Return the histograms of the float model that a recipe starts from."""
        seen = self._models[recipe.is_equalized].run.statistics
        return compact(seen, self.ranges(recipe))

    def notes(self, recipe: Recipe) -> tuple[Issue, ...]:
        """Return what a file made from a recipe has to report."""
        return self._models[recipe.is_equalized].notes

    def names(self, recipe: Recipe) -> list[str]:
        """Names of the first outputs of all operators, in execution order."""
        tree = flatbuffer.parse(self.source(recipe), "the float model")
        tensors = tree.subgraphs[0].tensors
        return [
            flatbuffer.text(tensors[operator.outputs[0]].name)
            for operator in tree.subgraphs[0].operators
        ]

    def with_kernels(self, recipe: Recipe) -> frozenset[str]:
        """Names of the operators that have 16x8 kernels."""
        real = flatbuffer.parse(self.source(recipe), "the float model")
        wide = choose_precisions(real, "int16")
        return frozenset(
            name_of(real, operator)
            for operator, precision in zip(real.subgraphs[0].operators, wide, strict=True)
            if precision == "int16"
        )

    def narrow_layers(self, recipe: Recipe) -> dict[str, int]:
        """Names of the layers that can have INT4 weights, and the number of those weights."""
        real = flatbuffer.parse(self.source(recipe), "the float model")
        return narrow_layers(real)

    def _allowed(self) -> tuple[str, ...]:
        job = self._ready.job
        return choose_corrections(job, self._ready.model, self._ready.plan, self._ready.issues)

    def _candidates(self, job: Job, models: tuple[CalibratedModel, ...]) -> list[RangeCandidate]:
        statistics = choose_statistics(job, self._ready.model, self._ready.plan)
        plain = make_candidates(job, models[:1], statistics, (), self._ready.issues)
        if not self.corrections:
            return plain
        return plain + make_candidates(job, models, statistics, self.corrections, [])

    def _base(self, variant: RangeCandidate) -> _Base:
        source = self.store.put(Path(variant.model.file.path).read_bytes())
        ranges = json.dumps(to_plain(variant.ranges)).encode()
        return _Base(variant.ranges, source, self.store.put(ranges))


def _with_granularity(job: Job, granularity: str) -> Job:
    return replace(job, options=replace(job.options, granularity=granularity))
