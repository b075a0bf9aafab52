"""The main path: the functions behind convert, tune, bench, eval, compare and debug.

    import edgeq
    result = edgeq.convert("model.keras", "model.tflite", data="samples.npz")
    print(result.quality.drop_points, result.certificate.min_runtime_version)

Each function imports what it alone needs: a conversion starts a tenth of a second earlier.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgeq.accuracy.inference import read_interface
from edgeq.conversion.convert import convert_model
from edgeq.conversion.file_metadata import read_preprocessing
from edgeq.converters.lowering.framework_process import TensorFlowProcess
from edgeq.converters.samples.kept import read_once
from edgeq.converters.samples.label_files import LabelledData
from edgeq.converters.samples.open_samples import open_samples
from edgeq.converters.samples.preprocessing import parse_preprocessing
from edgeq.device_runners.devices.addresses import resolve_device
from edgeq.device_runners.devices.device import Device, events_as_progress
from edgeq.errors import UsageError
from edgeq.files.reading import listed, model_path, model_paths
from edgeq.progress import OnNote, OnProgress, no_note, quiet
from edgeq.tflite import quantmath
from edgeq.values import (
    BenchOptions,
    BenchResult,
    Comparison,
    Conversion,
    ConvertOptions,
    DebugReport,
    Evaluation,
    TuneOptions,
    Tuning,
)

PathLike = str | Path


def convert(
    model: Any,
    output: PathLike,
    data: Any = None,
    *,
    test_data: Any = None,
    labels: PathLike | None = None,
    preprocess: Sequence[str] = (),
    options: ConvertOptions | None = None,
    verbose: bool = False,
    on_progress: OnProgress = quiet,
    on_note: OnNote = no_note,
    tensorflow: TensorFlowProcess | None = None,
    **settings: Any,
) -> Conversion:
    """Convert a trained model to a `.tflite`, prove what it is, and write it with its record.

    Args:
        model: path of a `.keras`, `.h5`, SavedModel folder, `.pt2`, `.onnx` or float `.tflite`;
            or a `keras.Model`, or a concrete function.
        output: path of the `.tflite`; the record goes beside it, with `.json` appended.
        data: representative dataset: a path, "package.module:function", arrays, a list, a
            generator, the function of a TFLiteConverter, or a data set of another library; see
            `open_samples`.
        test_data: labelled samples to measure quality on; held out from `data` by default.
        labels: of `test_data`, or of `data` without it, see `evaluate`.
        preprocess: `--preprocess` texts, e.g. "scale=1/255".
        on_note: called before calibration with what the options cost; `issues` has it, too.
        tensorflow: a process to use, which the caller ends; by default one is started.
        settings: fields of `ConvertOptions`, e.g. `scheme="int8"`.

    Raises:
        EdgeqError: one of its kinds; the output is then as it was before.
    """
    return convert_model(
        model,
        Path(output),
        **_labelled(data, test_data, labels),
        preprocess=_as_list(preprocess),
        options=replace(options or ConvertOptions(), **settings),
        verbose=verbose,
        on_progress=on_progress,
        on_note=on_note,
        tensorflow=tensorflow,
    )


def tune(
    model: Any,
    output: PathLike,
    data: Any,
    *,
    test_data: Any = None,
    labels: PathLike | None = None,
    preprocess: Sequence[str] = (),
    options: TuneOptions | None = None,
    device: str | Device = "local",
    python: PathLike | None = None,
    verbose: bool = False,
    on_progress: OnProgress = quiet,
    tensorflow: TensorFlowProcess | None = None,
    **settings: Any,
) -> Tuning:
    """Find the fastest or smallest model inside an accuracy budget, and prove and write it.

    Each trial is written to a journal beside the output, so that the same call continues after an
    interruption. The journal is removed when the search succeeds.

    Args:
        model: as output, data, test_data, labels, preprocess and tensorflow, as in `convert`.
        device: where latency is measured.
        python: interpreter that runs the agent there, this one by default.
        settings: fields of `TuneOptions`, or of the `ConvertOptions` in it, e.g.
            `max_drop_points=0.5`.

    Raises:
        GateError: no model meets the budget.
        EdgeqError: another of its kinds; the output is then as it was before.
    """
    target = resolve_device(device, python=None if python is None else Path(python))
    given = options or TuneOptions()
    own = {field.name for field in fields(TuneOptions)}
    inner = {name: value for name, value in settings.items() if name not in own}
    outer = {name: value for name, value in settings.items() if name in own}
    chosen = replace(given, **outer)
    from edgeq.tuning.tuner import tune_model

    return tune_model(
        model,
        Path(output),
        **_labelled(data, test_data, labels),
        preprocess=_as_list(preprocess),
        options=replace(chosen, convert=replace(chosen.convert, **inner)),
        device=target,
        verbose=verbose,
        on_progress=on_progress,
        tensorflow=tensorflow,
    )


def bench(
    models: Sequence[PathLike],
    *,
    device: str = "local",
    python: PathLike | None = None,
    options: BenchOptions | None = None,
    data: Any = None,
    preprocess: Sequence[str] | None = None,
    on_progress: OnProgress = quiet,
    **settings: Any,
) -> BenchResult:
    """Measure latency and memory of `.tflite` files alternately on one device.

    Args:
        models: the speed-up of all others is relative to the first one.
        device: see `device_runners/devices/kinds.py`.
        python: interpreter that runs the agent, this one by default.
        data: one real sample to feed instead of random values.
        preprocess: of `data`; None uses the texts in each file.
        settings: fields of `BenchOptions`, e.g. `threads=4`.

    Raises:
        DeviceError: a model cannot be run there.
    """
    paths = model_paths(models)
    if not paths:
        raise UsageError("There is no model to measure.")
    target = resolve_device(device, python=None if python is None else Path(python))
    chosen = replace(options or BenchOptions(), **settings)
    data = read_once(data)
    if data is None and preprocess:
        raise UsageError("--preprocess has no effect without --data.", hint="Leave it out.")
    texts = None if preprocess is None else _as_list(preprocess)
    inputs = None
    if data is not None:
        inputs = {str(path): _first_inputs(path, data, texts) for path in paths}
    from edgeq.device_runners.measuring import bench as measuring

    return measuring.bench(
        paths, target, chosen, inputs=inputs, on_event=events_as_progress(on_progress)
    )


def evaluate(
    models: Any,
    data: Any,
    *,
    labels: PathLike | None = None,
    metrics: Sequence[str] = (),
    preprocess: Sequence[str] | None = None,
    decode: str | None = None,
    samples: int | None = None,
    seed: int = 0,
    input_shapes: Sequence[tuple[str, tuple[int, ...]]] = (),
    fixed_inputs: Sequence[tuple[str, float]] = (),
    device: str = "local",
    python: PathLike | None = None,
    runtime: str | None = None,
    threads: int = 1,
    workers: int | None = None,
    on_progress: OnProgress = quiet,
) -> tuple[Evaluation, ...]:
    """Accuracy of models on labelled data.

    Args:
        models: one or several `.tflite` files or framework models, paths or objects as in
            `convert`, which are lowered to float first.
        labels: where the labels are, if not in the data: a COCO JSON file, a folder of YOLO text
            files or of masks, a CSV file of file names and values, or an `.npy` file.
        metrics: names from `metrics.catalogue.METRICS` or "module:function"; chosen from the
            labels' form by default.
        preprocess: None uses the texts in each file.
        decode: how boxes are read from the outputs, see `metrics.decoding`; None uses the text in
            each file.
        samples: evaluate on this many samples, chosen deterministically.
        input_shapes: of framework models, see `ConvertOptions`.
        fixed_inputs: of framework models, see `ConvertOptions`.
        runtime: that runs them; the first one found by default.
        threads: that compute one inference.
        workers: parallel runs; all cores by default.

    Raises:
        EdgeqError: one of its kinds.
    """
    target = resolve_device(device, python=None if python is None else Path(python))
    texts = None if preprocess is None else _as_list(preprocess)
    from edgeq.comparison.evaluate import evaluate_models

    return evaluate_models(
        list(map(_model, listed(models))),
        _with_labels(data, labels),
        metrics=_as_list(metrics),
        preprocess=texts,
        decode=decode,
        lowering=ConvertOptions(input_shapes=tuple(input_shapes), fixed_inputs=tuple(fixed_inputs)),
        samples=samples,
        seed=seed,
        device=target,
        on_progress=on_progress,
        runtime=runtime,
        threads=threads,
        workers=workers,
    )


def compare(
    baseline: Any,
    candidate: PathLike,
    data: Any,
    *,
    labels: PathLike | None = None,
    metrics: Sequence[str] = (),
    preprocess: Sequence[str] | None = None,
    decode: str | None = None,
    samples: int | None = None,
    seed: int = 0,
    device: str | Device = "local",
    python: PathLike | None = None,
    bench_options: BenchOptions | None = None,
    latency: bool = True,
    runtime: str | None = None,
    threads: int = 1,
    workers: int | None = None,
    on_progress: OnProgress = quiet,
) -> Comparison:
    """FP32 against INT8 on the same samples: accuracy in pairs, outputs, size, latency.

    Args:
        baseline: a float `.tflite`, or a framework model, path or object as in `convert`, which
            is lowered first.
        candidate: a `.tflite`.
        labels: see `evaluate`.
        metrics: more metrics than the paired top-1.
        preprocess: None uses the texts in the candidate, or those in the baseline.
        decode: see `evaluate`; None uses the text in the candidate, or that in the baseline.
        latency: False leaves the benchmark out.
        runtime: that runs them; the first one found by default.
        threads: that compute one inference.
        workers: parallel runs; all cores by default.

    Raises:
        EdgeqError: one of its kinds.
    """
    from edgeq.comparison.compare import compare_pair

    return compare_pair(
        _model(baseline),
        model_path(candidate),
        _with_labels(data, labels),
        metrics=_as_list(metrics),
        preprocess=None if preprocess is None else _as_list(preprocess),
        decode=decode,
        samples=samples,
        seed=seed,
        target=resolve_device(device, python=None if python is None else Path(python)),
        bench_options=bench_options or BenchOptions(),
        latency=latency,
        on_progress=on_progress,
        runtime=runtime,
        threads=threads,
        workers=workers,
    )


def debug(
    baseline: Any,
    candidate: PathLike,
    data: Any,
    *,
    labels: PathLike | None = None,
    metrics: Sequence[str] = (),
    decode: str | None = None,
    preprocess: Sequence[str] | None = None,
    samples: int = 64,
    seed: int = 0,
    try_remedies: bool = True,
    on_progress: OnProgress = quiet,
) -> DebugReport:
    """Find the layers of a quantized model that lose accuracy, the causes, and what helps.

    Args:
        baseline: a float `.tflite`, or a framework model, path or object as in `convert`, which
            is lowered first.
        candidate: a quantized `.tflite` of the same model, from any tool.
        labels: see `evaluate`.
        metrics: see `evaluate`; what a layer costs is measured by the first one.
        decode: see `evaluate`.
        preprocess: None uses the texts in the candidate, or those in the baseline.
        samples: number of samples to measure on.
        try_remedies: False reports the causes only; a remedy is advised only if it was tried.

    Raises:
        DataError: two different models, or samples that do not fit.
        EdgeqError: another of its kinds.
    """
    from edgeq.debugging.debugger import debug_pair

    return debug_pair(
        _model(baseline),
        model_path(candidate),
        _with_labels(data, labels),
        metrics=_as_list(metrics),
        decode=decode,
        preprocess=None if preprocess is None else _as_list(preprocess),
        samples=samples,
        seed=seed,
        try_remedies=try_remedies,
        on_progress=on_progress,
    )


def _model(model: Any) -> Any:
    """A path, or the object of a framework."""
    return Path(model) if isinstance(model, (str, os.PathLike)) else model


def _as_list(given: Any) -> list[Any]:
    """Several of them, or a single one that was not put into a list."""
    return [given] if isinstance(given, (str, Path)) else list(given)


def _with_labels(data: Any, labels: PathLike | None) -> Any:
    data = read_once(data)
    return data if labels is None else LabelledData(data, Path(labels))


def _labelled(data: Any, test_data: Any, labels: PathLike | None) -> dict[str, Any]:
    """Return the data sets, with the labels beside the one that measures."""
    if test_data is not None:
        return {"data": read_once(data), "test_data": _with_labels(test_data, labels)}
    return {"data": None if data is None else _with_labels(data, labels), "test_data": None}


def _first_inputs(
    path: Path, data: Any, preprocess: Sequence[str] | None
) -> dict[str, NDArray[Any]]:
    """The first sample of a data set as the exact input tensors of a model."""
    interface = read_interface(path)
    texts = read_preprocessing(path) if preprocess is None else preprocess
    opened = open_samples(data, interface.inputs, parse_preprocessing(texts, interface.inputs))
    sample = next(opened.iterate([0]))
    return {
        spec.name: quantmath.quantize(sample.inputs[spec.name][None], spec)
        for spec in interface.inputs
    }
