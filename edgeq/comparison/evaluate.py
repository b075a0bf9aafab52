"""Accuracy of one or more models on labelled data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeq.accuracy.class_names import require_clear_names
from edgeq.accuracy.inference import read_interface
from edgeq.accuracy.paired_runs import (
    Scorer,
    labelled_pairs,
    run_pairs,
)
from edgeq.conversion.command_line import changed_flags
from edgeq.conversion.convert import float_tflite
from edgeq.conversion.feeding import inherited_doubts, known_classes, read_makers
from edgeq.conversion.file_metadata import read_decoding, read_preprocessing
from edgeq.converters.lowering import model_kinds
from edgeq.converters.samples.open_samples import open_samples
from edgeq.converters.samples.preprocessing import parse_preprocessing
from edgeq.device_runners.devices import runtimes
from edgeq.device_runners.devices.device import Device
from edgeq.errors import UsageError
from edgeq.files import scratch, storage
from edgeq.files.reading import unchanged
from edgeq.issues import make_issue
from edgeq.metrics.decoding import find_decoder
from edgeq.progress import OnProgress
from edgeq.values import ConvertOptions, Evaluation, Issue
from edgeq.wording import file_name, repeat_option


def evaluate_models(
    models: Sequence[Any],
    data: Any,
    *,
    metrics: Sequence[str],
    preprocess: Sequence[str] | None,
    decode: str | None,
    lowering: ConvertOptions,
    samples: int | None,
    seed: int,
    device: Device,
    on_progress: OnProgress,
    **options: Any,
) -> tuple[Evaluation, ...]:
    """Evaluate each model on the same samples; see `edgeq.evaluate`.

    Args:
        lowering: the inputs' shapes and constants, for framework models.
    """
    _require_framework(models, lowering)
    found = []
    with unchanged(*models), scratch.folder() as folder:
        # An object has no record, and no file: its digest is that of the lowered model.
        makers = [read_makers(model) if isinstance(model, Path) else () for model in models]
        known = known_classes(made for own in makers for made in own)
        for model, own in zip(models, makers, strict=True):
            path = float_tflite(model, folder, lowering)
            interface = read_interface(path)
            texts = read_preprocessing(path) if preprocess is None else preprocess
            steps = parse_preprocessing(texts, interface.inputs)
            opened = open_samples(data, interface.inputs, steps)
            require_clear_names(opened, interface.outputs, known)
            decoding = read_decoding(path) if decode is None else decode
            name = file_name(model_kinds.shown(model))
            scorer = Scorer(metrics, find_decoder(decoding, interface.inputs))
            pairs = labelled_pairs(opened, samples, seed, on_progress, f"evaluate {name}")
            for (outputs,), labels in run_pairs([(path, interface)], pairs, device, **options):
                scorer.add(outputs, labels)
            values, facts = scorer.values(), device.facts()
            doubts = inherited_doubts(opened.ref, tuple(texts), own)
            item = Evaluation(
                model=storage.refer(
                    model if isinstance(model, Path) else path, model_kinds.shown(model)
                ),
                data=opened.ref,
                sample_count=scorer.count,
                runtime=runtimes.choose_runtime(device, options.get("runtime")),
                metrics=values,
                interval=values[0].interval,
                preprocessing=tuple(texts),
                issues=(*opened.issues, *doubts),
                device=facts.device,
                processor=facts.processor,
                decoding=decoding,
            )
            found.append(item)
    fed = [item.preprocessing for item in found]
    return tuple(
        replace(item, issues=(*item.issues, *_fed_differently(item, fed))) for item in found
    )


def _require_framework(models: Sequence[Any], lowering: ConvertOptions) -> None:
    """Refuse options that no model takes.

    Raises:
        UsageError: names the option.
    """
    given = changed_flags(ConvertOptions(), lowering)
    if given and all(model_kinds.kind_of(model) == "tflite" for model in models):
        raise UsageError(
            f"No model takes {given}: all are .tflite files, which were converted before.",
            hint="Leave it out, or name the models that they were made from.",
        )


def _fed_differently(item: Evaluation, fed: Sequence[tuple[str, ...]]) -> tuple[Issue, ...]:
    """Doubt a model that was fed the raw samples while another was not."""
    other = next((texts for texts in fed if texts), None)
    if item.preprocessing or other is None:
        return ()
    message = (
        f"{item.model.path} carries no preprocessing and was fed the samples as they are; another "
        f"model was fed with {' '.join(other)!r}. To feed all of them the same, write "
        f"{repeat_option('--preprocess', other)}."
    )
    return (make_issue("eval.fed_differently", message),)
