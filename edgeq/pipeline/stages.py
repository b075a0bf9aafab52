"""The stages of a run, as one table: their inputs, their outputs and their steps."""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from edgeq import api, host
from edgeq.conversion.convert import float_tflite
from edgeq.converters.lowering.model_kinds import identify
from edgeq.files import scratch, storage
from edgeq.fit.fit import fit_model
from edgeq.gating.gate import gate
from edgeq.packaging.assembly.build import make_package
from edgeq.packaging.container.writing import write_package
from edgeq.packaging.contract.labels import read_labels
from edgeq.packaging.targets import NAMES as TARGETS
from edgeq.packaging.targets import find_target
from edgeq.pipeline.plan import Plan, PlannedDevice, PlannedPackage
from edgeq.pipeline.steps import Source, Step, Tools
from edgeq.progress import OnProgress
from edgeq.records.reading import read_record, record_file
from edgeq.render.report import write_report
from edgeq.reporting import make_report
from edgeq.values import ConvertOptions

_TENSORFLOW_KINDS = ("keras", "h5", "saved_model")
# Options for reading a model file: those of `ConvertOptions` that its float form depends on.
_READING = (
    "batch", "input_shapes", "fixed_inputs", "custom_objects", "trusted", "signature", "layout",
    "torch_python", "onnx_python", "seed",
)  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """A part of the run.

    Attributes:
        reads, writes: for people.
        plan: makes its steps, which can run in parallel; or a sentence why there are none, which
            a run prints.
        uses_tensorflow: whether it shares one TensorFlow process with its neighbours.
    """

    name: str
    reads: str
    writes: str
    plan: Callable[[Plan], tuple[Step, ...] | str]
    uses_tensorflow: bool = False


# ---------------------------------------------------------------- the FP32 model


def float_file(plan: Plan) -> Path:
    """The float `.tflite` that the result is compared with."""
    is_lowered = identify(plan.baseline) == "tflite"
    return plan.baseline if is_lowered else plan.beside("fp32.tflite")


def _plan_baseline(plan: Plan) -> tuple[Step, ...] | str:
    target = float_file(plan)
    if target == plan.baseline:
        return f"{target} is a .tflite already"
    if plan.test is None:
        return "[data] does not name test data to compare on"
    shown = {name: getattr(plan.convert, name) for name in _READING}
    options = ConvertOptions(**shown)

    def work(tools: Tools, on_progress: OnProgress) -> None:
        on_progress("lower", 0, None)
        process = tools.tensorflow() if identify(plan.baseline) in _TENSORFLOW_KINDS else None
        with scratch.folder() as folder:
            made = float_tflite(plan.baseline, folder, options, tools.verbose, process)
            storage.write_atomically(target, made.read_bytes())

    reads: dict[str, Source] = {"the model": plan.baseline}
    voids = verdict_files(plan)
    return (
        Step("baseline", reads, shown, (target,), work, plan.convert.custom_objects, voids=voids),
    )


# ---------------------------------------------------------------- the quantized model


def model_record(plan: Plan) -> Path:
    """The record of `convert` or `tune`."""
    return storage.record_beside(plan.output)


def _plan_convert(plan: Plan) -> tuple[Step, ...]:
    reads: dict[str, Source] = {"the model": plan.source}
    if plan.calibration is not None:
        reads["the calibration data"] = plan.calibration
    if plan.tune is not None:
        return (_plan_tune(plan, reads),)

    def work(tools: Tools, on_progress: OnProgress) -> None:
        api.convert(
            plan.source,
            plan.output,
            data=plan.calibration,
            **_conversion_arguments(plan, tools, on_progress),
            options=plan.convert,
        )

    options = {**_plain(plan.convert), "preprocess": plan.preprocess}
    outputs = (plan.output, model_record(plan))
    voids = verdict_files(plan)
    return (
        Step("convert", reads, options, outputs, work, plan.convert.custom_objects, voids=voids),
    )


def _plan_tune(plan: Plan, reads: dict[str, Source]) -> Step:
    tune, device = plan.tune, plan.tune_device
    assert tune is not None

    def work(tools: Tools, on_progress: OnProgress) -> None:
        api.tune(
            plan.source,
            plan.output,
            data=plan.calibration,
            test_data=plan.test,
            labels=plan.labels,
            **_conversion_arguments(plan, tools, on_progress),
            options=tune,
            device=device.open(),
        )

    if plan.test is not None:
        reads["the test data"] = plan.test
    if plan.labels is not None:
        reads["the labels"] = plan.labels
    options = {
        **_plain(tune.convert),
        "objective": tune.objective,
        "max_trials": tune.max_trials,
        "preprocess": plan.preprocess,
        "device": (device.address, device.python),
    }
    outputs, voids = (plan.output, model_record(plan)), verdict_files(plan)
    return Step("tune", reads, options, outputs, work, plan.convert.custom_objects, voids=voids)


def _conversion_arguments(plan: Plan, tools: Tools, on_progress: OnProgress) -> dict[str, Any]:
    needs = identify(plan.source) in _TENSORFLOW_KINDS
    return {
        "preprocess": plan.preprocess or (),
        "verbose": tools.verbose,
        "on_progress": on_progress,
        "tensorflow": tools.tensorflow() if needs else None,
    }


def _plain(options: Any) -> dict[str, Any]:
    return {field.name: getattr(options, field.name) for field in fields(options)}


# ---------------------------------------------------------------- each device


def comparison_record(plan: Plan, device: PlannedDevice) -> Path:
    """The record of `compare` on a device, or of its failure."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", device.name)
    if name != device.name:  # two names may have become one
        name += f"-{hashlib.sha256(device.name.encode()).hexdigest()[:6]}"
    return plan.beside(f"compare-{name}.json")


def _plan_compare(plan: Plan) -> tuple[Step, ...] | str:
    if plan.test is None:
        return "[data] does not name test data"
    return tuple(_plan_device(plan, device, plan.test) for device in plan.devices)


def _plan_device(plan: Plan, device: PlannedDevice, test: str) -> Step:
    target = comparison_record(plan, device)
    is_here = device.address.partition(":")[0] == "local"

    def work(tools: Tools, on_progress: OnProgress) -> None:
        result = api.compare(
            float_file(plan),
            plan.output,
            test,
            labels=plan.labels,
            metrics=plan.metrics,
            preprocess=plan.preprocess,
            decode=plan.decode,
            samples=plan.test_samples,
            seed=plan.convert.seed,
            device=device.open(),
            bench_options=plan.bench,
            latency=plan.latency,
            on_progress=on_progress,
            runtime=plan.bench.runtime,
            threads=plan.bench.threads,
            workers=plan.workers,
        )
        with storage.replacing(target) as temporary:
            storage.write_record(temporary, "compare", result)

    return Step(
        name=f"compare {device.name}",
        reads={
            "the FP32 model": float_file(plan),
            "the converted model": plan.output,
            "the test data": test,
            **({} if plan.labels is None else {"the labels": plan.labels}),
        },
        options={
            **_plain(plan.bench),
            "preprocess": plan.preprocess,
            "metrics": plan.metrics,
            "decode": plan.decode,
            "test_samples": plan.test_samples,
            "seed": plan.convert.seed,
            "latency": plan.latency,
            # A folder copied from another machine holds that machine's figures.
            "the device": (device.address, device.python, platform.node() if is_here else None),
        },
        outputs=(target,),
        work=work,
        device=device.name,
        is_alone=is_here,
        voids=verdict_files(plan),
    )


# ---------------------------------------------------------------- the verdict


def fit_record(plan: Plan) -> Path:
    """The record of `fit` for the policy's board."""
    return plan.beside("fit.json")


def _plan_fit(plan: Plan) -> tuple[Step, ...]:
    if plan.board is None:
        return ()  # most models are not for a microcontroller
    board, target = plan.board, fit_record(plan)

    def work(tools: Tools, on_progress: OnProgress) -> None:
        result = fit_model(plan.output, boards=[board.name], project=plan.file)
        with storage.replacing(target) as temporary:
            storage.write_record(temporary, "fit", result)

    reads: dict[str, Source] = {"the converted model": plan.output}
    options = {"the board": _plain(replace(board, sources=()))}
    return (Step("fit", reads, options, (target,), work, voids=verdict_files(plan)),)


def records_of(plan: Plan) -> tuple[Path, ...]:
    """The records of the stages before the gate."""
    compared = [comparison_record(plan, device) for device in plan.devices]
    fitted = () if plan.board is None else (fit_record(plan),)
    return (model_record(plan), *(compared if plan.test is not None else ()), *fitted)


def gate_record(plan: Plan) -> Path:
    """The gate's own record."""
    return plan.beside("gate.json")


def _all_records(plan: Plan) -> tuple[Path, ...]:
    return (*records_of(plan), *((gate_record(plan),) if plan.has_policy else ()))


def _plan_gate(plan: Plan) -> tuple[Step, ...] | str:
    if not plan.has_policy:
        return f"{plan.file} has no [policy]"
    records, target = records_of(plan), gate_record(plan)

    def work(tools: Tools, on_progress: OnProgress) -> None:
        result = gate(records, plan.file, baseline=plan.baseline_records)
        with storage.replacing(target) as temporary:
            storage.write_record(temporary, "gate", result)

    reads: dict[str, Source] = {path.name: path for path in records}
    baseline = {*plan.baseline_records, *map(record_file, plan.baseline_records)}
    reads |= {f"baseline {path}": path for path in sorted(baseline)}
    reads[plan.file.name] = plan.file
    return (Step("gate", reads, {}, (target,), work, voids=verdict_files(plan)[1:]),)


# ---------------------------------------------------------------- the page


def report_page(plan: Plan) -> Path:
    """The report."""
    return plan.beside("report.html")


def _plan_report(plan: Plan) -> tuple[Step, ...]:
    # After the gate, whose verdict is the first on the page.
    records, target = _all_records(plan), report_page(plan)

    def work(tools: Tools, on_progress: OnProgress) -> None:
        write_report(make_report(records), target)

    reads: dict[str, Source] = {path.name: path for path in records}
    return (Step("report", reads, {}, (target,), work),)


# ---------------------------------------------------------------- packages


def package_file(plan: Plan, target: str) -> Path:
    """The package for a target."""
    return plan.beside(f"{target}.zip")


def _plan_package(plan: Plan) -> tuple[Step, ...] | str:
    package = plan.package
    if package is None:
        return f"{plan.file} has no [package]"
    if plan.has_policy and (verdict := read_record(gate_record(plan)).value.verdict) != "pass":
        # Packages of earlier runs hold another model, and must not look like this one's.
        for target in package.targets:
            host.remove(package_file(plan, target))
        return f"the gate says {verdict.replace('-', ' ')}"
    return tuple(_plan_target(plan, package, target) for target in package.targets)


def _plan_target(plan: Plan, package: PlannedPackage, target: str) -> Step:
    records, output = _all_records(plan), package_file(plan, target)
    chosen = package.options
    if not find_target(target).forms:
        chosen = replace(chosen, form=None)

    def work(tools: Tools, on_progress: OnProgress) -> None:
        labels = {} if package.labels is None else {"": read_labels(package.labels)}
        made = make_package(
            plan.output,
            target,
            data=plan.test or plan.calibration,
            records=records,
            options=replace(chosen, labels=labels),
        )
        write_package(made.files, output)

    reads: dict[str, Source] = {"the converted model": plan.output}
    reads |= {path.name: path for path in records}
    for name, path in (("the labels", package.labels), ("the key", package.options.key)):
        if path is not None:
            reads[name] = path
    options = {**_plain(chosen), "labels": None, "key": None, "target": target}
    name = f"package {target}"
    return Step(name, reads, options, (output,), work, is_alone=True)


# ---------------------------------------------------------------- files that can be out of date


def verdict_files(plan: Plan) -> tuple[Path, ...]:
    """The files that call the result good: removed when one of their inputs is made again."""
    packages = [package_file(plan, target) for target in TARGETS]
    return (gate_record(plan), report_page(plan), *packages)


def judged_names(plan: Plan) -> set[str]:
    """Names of the steps of this plan that judge or package."""
    devices = plan.devices if plan.test is not None else ()
    targets = plan.package.targets if plan.package else ()
    return {
        *(f"compare {device.name}" for device in devices),
        *(() if plan.board is None else ("fit",)),
        *(("gate",) if plan.has_policy else ()),
        *(f"package {target}" for target in targets),
    }


# In this order; a new stage is a new entry here.
STAGES = (
    Stage("baseline", "the FP32 model", "STEM.fp32.tflite", _plan_baseline, uses_tensorflow=True),
    Stage("convert", "the model, calibration data", "OUTPUT and its record", _plan_convert,
          uses_tensorflow=True),
    Stage("compare", "both models, test data", "STEM.compare-DEVICE.json", _plan_compare),
    Stage("fit", "the result", "STEM.fit.json", _plan_fit),
    Stage("gate", "all records, edgeq.toml", "STEM.gate.json", _plan_gate),
    Stage("report", "all records", "STEM.report.html", _plan_report),
    Stage("package", "the result, all records", "STEM.TARGET.zip", _plan_package),
)  # fmt: skip
