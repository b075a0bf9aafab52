"""FP32 against INT8 on the same samples: accuracy in pairs, outputs, size, latency, a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeq.accuracy.class_names import require_clear_names
from edgeq.accuracy.inference import read_interface
from edgeq.accuracy.paired_runs import (
    labelled_pairs,
    make_scorers,
    measure_quality,
)
from edgeq.accuracy.verdict import judge_comparison
from edgeq.comparison.pairing import find_differences, open_pair, refer_baseline
from edgeq.conversion.feeding import (
    find_doubt,
    inherited_doubts,
    known_classes,
    read_makers,
    was_held_out,
)
from edgeq.conversion.file_metadata import read_decoding, read_preprocessing
from edgeq.conversion.ways_out import find_ways_out, is_lost, open_reconverter
from edgeq.converters.lowering.model_kinds import shown
from edgeq.converters.samples.open_samples import open_samples
from edgeq.converters.samples.preprocessing import parse_preprocessing
from edgeq.device_runners.devices.device import Device, events_as_progress
from edgeq.device_runners.measuring import run_job
from edgeq.errors import EdgeqError
from edgeq.files import scratch, storage
from edgeq.files.reading import unchanged
from edgeq.progress import OnProgress
from edgeq.tflite import flatbuffer
from edgeq.tflite.model_file import read_model
from edgeq.values import BenchOptions, Comparison


def compare_pair(
    baseline: Any,
    candidate: Path,
    data: Any,
    *,
    on_progress: OnProgress,
    **options: Any,
) -> Comparison:
    """Compare a candidate with its baseline; `edgeq.compare` documents the arguments.

    Args:
        options: more arguments of `_compare`.
    """
    with unchanged(baseline, candidate):
        found = _compare(baseline, candidate, data, on_progress=on_progress, **options)
        if not is_lost(found.quality) or _has_other_causes(found):
            return found
        try:
            with open_reconverter(
                candidate, baseline=baseline, data=data, preprocess=found.preprocessing,
                on_progress=on_progress,
            ) as reconverter:  # fmt: skip
                return replace(found, ways_out=find_ways_out(reconverter, found.quality))
        except EdgeqError as error:
            untried = f"no other conversion could be tried: {error.message}"
            return replace(found, reasons=(*found.reasons, untried))


def _has_other_causes(found: Comparison) -> bool:
    """Return whether the layers, the inputs or the baseline are wrong: no conversion fixes that."""
    causes = {"compare.other_layers", "compare.baseline_quantized"}
    is_other = any(issue.code in causes for issue in found.issues)
    return is_other or find_doubt(found.issues) is not None


def _compare(
    baseline: Any,
    candidate: Path,
    data: Any,
    *,
    metrics: Sequence[str],
    preprocess: Sequence[str] | None,
    decode: str | None,
    samples: int | None,
    seed: int,
    target: Device,
    bench_options: BenchOptions,
    latency: bool,
    on_progress: OnProgress,
    **options: Any,
) -> Comparison:
    """Run both on the same samples.

    Args:
        target: the device that runs both.
        options: options of `run_job.infer`.
    """
    with scratch.folder() as folder:
        first, second, batch = open_pair(baseline, candidate, folder)
        leader = read_interface(first)
        texts = tuple(preprocess or ())
        if preprocess is None:
            texts = read_preprocessing(second) or read_preprocessing(first)
        opened = open_samples(data, leader.inputs, parse_preprocessing(texts, leader.inputs))
        makers = read_makers(candidate)
        require_clear_names(opened, leader.outputs, known_classes(makers))
        pairs = labelled_pairs(opened, samples, seed, on_progress, "compare")
        wanted = opened.has_labels or metrics
        decoding = decode or read_decoding(second) or read_decoding(first)
        scorers = make_scorers(metrics, decoding, leader.inputs) if wanted else None
        quality = measure_quality(first, second, pairs, target, scorers=scorers, **options)
        timing = None
        if latency:
            timing = run_job.bench(
                [first, second], target, bench_options,
                on_event=events_as_progress(on_progress), shown_as={first: shown(baseline)},
            )  # fmt: skip
        sizes = refer_baseline(first, baseline), storage.refer(second)
        inherited = tuple(inherited_doubts(opened.ref, texts, makers))
        differences = find_differences(leader, batch, (first, second), texts, opened)
        issues = (*opened.issues, *differences, *inherited)
        quality = replace(quality, is_held_out=was_held_out(inherited))
        is_int8 = computes_int8(read_model(second).tree)
    verdict, reasons = judge_comparison(quality, timing, issues, is_int8)
    return Comparison(
        baseline=sizes[0],
        candidate=sizes[1],
        data=opened.ref,
        quality=replace(quality, metrics=()),
        metrics_baseline=tuple(pair.baseline for pair in quality.metrics),
        metrics_candidate=tuple(pair.candidate for pair in quality.metrics),
        size_ratio=sizes[0].size_bytes / sizes[1].size_bytes,
        bench=timing,
        verdict=verdict,
        reasons=reasons,
        preprocessing=texts,
        issues=issues,
        device=target.facts().device,
        processor=target.facts().processor,
        losses=tuple(pair.loss for pair in quality.metrics if pair.loss is not None),
        decoding=decoding,
    )


def computes_int8(tree: Any) -> bool:
    """Return whether an operator of a model has INT8 values as its first input and its result."""
    tensors = tree.subgraphs[0].tensors
    ends = (
        (*flatbuffer.indices(operator.inputs)[:1], *flatbuffer.indices(operator.outputs)[:1])
        for operator in tree.subgraphs[0].operators
    )
    return any(
        len(pair) == 2 and all(flatbuffer.dtype(tensors[index]) == "int8" for index in pair)
        for pair in ends
    )
