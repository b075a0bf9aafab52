from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

import edgeq
from edgeq import models
from edgeq.converters.lowering.framework_process import TensorFlowProcess
from edgeq.converters.proof.certificate import certify
from edgeq.device_runners.measuring import run_job
from edgeq.errors import ClusterError, DataError, DeviceError, GateError, UsageError
from edgeq.render.tuning import show_tuning
from edgeq.tuning.journal import Journal, journal_path
from edgeq.values import BenchOptions, FloatModel, Tuning
from tests.conftest import share
from tests.tuning.conftest import labelled

CALIBRATION = models.path("fashion_mnist_calibration.npz")
# Those before quantization, which take little time. The first test and the one of Ctrl-C have all.
CORRECTIONS = "equalize,saturate"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "samples.npz"
    np.savez(path, **labelled(700))
    return path


@pytest.fixture(autouse=True)
def short_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests look at what is measured, not at how well."""
    monkeypatch.setattr("edgeq.tuning.selection._BENCH", BenchOptions(runs=20, rounds=2))


@pytest.fixture
def tune(float_mobilenet: FloatModel, tensorflow: TensorFlowProcess, data: Path) -> Any:
    def run(output: Path, tried: Path | None = None, **settings: Any) -> Tuning:
        """Tune; tried: the journal of an earlier search, whose trials need not be made again."""
        if tried is not None:
            shutil.copy(tried, journal_path(output))
        given = {"data": data, "samples": 60, "model": float_mobilenet.file.path,
                 "corrections": CORRECTIONS, **settings}  # fmt: skip
        return edgeq.tune(given.pop("model"), output, tensorflow=tensorflow, **given)

    return run


# What others go on from is searched once a session.


@pytest.fixture
def tried(tune: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, GateError]:
    """The journal of a search for what no INT8 file keeps, so that all is tried; how it ended."""

    def search(folder: Path) -> tuple[Path, GateError]:
        out = folder / "tuned.tflite"
        with pytest.raises(GateError) as caught:
            tune(out, min_sqnr_db=90.0)
        assert list(folder.iterdir()) == [journal_path(out)]
        return journal_path(out), caught.value

    return share(tmp_path_factory, "tried", search)


@pytest.fixture
def mixed(tune: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tuning]:
    """The journal and the result of a search that ends with a mix.

    SQNR of 42 dB is more than any INT8 file of this model has, and less than float has.
    """

    def search(folder: Path) -> tuple[Path, Tuning]:
        kept = folder / "journal"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Journal, "remove", lambda own: own._path.rename(kept))
            out = folder / "tuned.tflite"
            result = tune(out, min_sqnr_db=42.0, io="float32", objective="size")
        return kept, result

    return share(tmp_path_factory, "mixed", search)


def test_the_result_is_the_fastest_inside_the_budget_and_proven(tune: Any, tmp_path: Path) -> None:
    out = tmp_path / "tuned.tflite"
    result = tune(out, max_drop_points=1.0, corrections="auto")
    chosen = result.trials[0]
    assert chosen.sha256 == result.model.file.sha256
    assert chosen.drop_points.value <= 1.0
    assert result.quality.drop_points.value <= 1.0
    assert result.is_confirmed
    assert (result.search_samples, result.quality.sample_count) == (320, 320)
    assert certify(out).operators == result.certificate.operators
    assert {op.precision for op in result.certificate.operators} == {"int8"}
    inside = [t for t in result.trials if t.sha256 and t.drop_points.value <= 1.0 and t.latency_ms]
    assert chosen.latency_ms <= 1.03 * min(trial.latency_ms for trial in inside)
    kinds = {(t.recipe.granularity, bool(t.recipe.corrections)) for t in result.trials}
    assert kinds == {(g, c) for g in ("channel", "tensor") for c in (False, True)}
    assert not any(t.recipe.int4 for t in result.trials)  # it makes no file faster
    record = json.loads((tmp_path / "tuned.tflite.json").read_text())
    assert record["kind"] == "tune"
    assert len(record["trials"]) == len(result.trials)
    assert sorted(path.name for path in tmp_path.iterdir()) == [out.name, f"{out.name}.json"]
    text = show_tuning(result)
    for expected in (
        "--max-drop 1",
        "kept apart from the search",
        "chosen",
        "pareto",
    ):
        assert expected in text
    why = "on the samples kept apart a drop of 1.50 points is above 1"
    worst = replace(result.trials[-1], is_refuted=True, is_pareto=False, rejected=why)
    refuted = show_tuning(replace(result, trials=(*result.trials[:-1], worst)))
    assert "refuted" in refuted  # however far down it would be


def test_no_trial_dominates_a_pareto_one(
    tune: Any, tried: tuple[Path, GateError], tmp_path: Path
) -> None:
    result = tune(tmp_path / "tuned.tflite", tried[0], max_drop_points=1.0, objective="size")
    assert [bool(trial.rejected) for trial in result.trials] == [False] + [True] * (
        len(result.trials) - 1
    )
    pareto = [trial for trial in result.trials if trial.is_pareto]
    assert pareto[0] is result.trials[0]
    for trial in pareto:
        for other in result.trials:
            if other.latency_ms is None or trial.latency_ms is None:
                continue
            merits = [
                (item.drop_points.value, -item.sqnr_db, item.size_bytes, item.latency_ms)
                for item in (other, trial)
            ]
            assert merits[0] == merits[1] or any(a > b for a, b in zip(*merits, strict=True))
    inside = [trial for trial in result.trials if trial.drop_points.value <= 1.0]
    assert result.trials[0].size_bytes <= sorted(trial.size_bytes for trial in inside)[2]


def test_the_smallest_file_has_int4_weights_where_the_budget_allows_it(
    tune: Any, tried: tuple[Path, GateError], tmp_path: Path
) -> None:
    result = tune(tmp_path / "tuned.tflite", tried[0], min_sqnr_db=20.0, objective="size")
    chosen = result.trials[0]
    narrow = {op.output for op in result.certificate.operators if op.weight_dtype == "int4"}
    layers = [op for op in result.certificate.operators if op.weight_dtype]
    assert narrow == set(chosen.recipe.int4)
    assert 0 < len(narrow) < len(layers)
    assert chosen.sqnr_db >= 20
    plain = [item for item in result.trials if not item.recipe.int4 and item.sqnr_db >= 20]
    assert chosen.size_bytes < min(item.size_bytes for item in plain)
    # Smaller ones were tried, and miss the budget in the search or on the samples kept apart.
    smaller = [item for item in result.trials if item.size_bytes < chosen.size_bytes]
    assert smaller
    assert all(item.sqnr_db < 20 or item.is_refuted for item in smaller)
    assert "convert.int4_convolutions" in {item.code for item in result.issues}
    shown = " ".join(click.unstyle(show_tuning(result)).split())
    assert f"{len(narrow)} with INT4 weights" in shown


def test_a_mix_is_found_when_int8_alone_is_not_enough(
    mixed: tuple[Path, Tuning],
) -> None:
    _, result = mixed
    chosen, plain = result.trials[0], [t for t in result.trials if not _is_mixed(t)]
    assert max(trial.sqnr_db for trial in plain) < 42 <= chosen.sqnr_db
    assert _is_mixed(chosen)
    names = {op.output: op.precision for op in result.certificate.operators}
    for name in chosen.recipe.keep_float:
        assert names[name] == "float32"
    for name in chosen.recipe.int16:
        assert names[name] == "int16x8"
    assert result.layers[0].sqnr_db == min(layer.sqnr_db for layer in result.layers)
    assert result.certificate.problems == ()
    assert min(output.sqnr_db for output in result.quality.outputs) >= 42
    assert _count(chosen) < len(names) - result.certificate.quantize_ops


def _is_mixed(trial: Any) -> bool:
    return _count(trial) > 0


def _count(trial: Any) -> int:
    return len(trial.recipe.keep_float) + len(trial.recipe.int16)


def test_a_budget_that_cannot_be_met_is_told_with_the_layer_in_the_way(
    tune: Any, tried: tuple[Path, GateError], tmp_path: Path
) -> None:
    journal, error = tried
    message = error.message
    outcomes = [json.loads(line)["outcome"] for line in journal.read_text().splitlines()[1:]]
    best = max(outcome.get("sqnr_db", 0.0) for outcome in outcomes)
    assert f" and an SQNR of {best:.1f} dB. Quantizing " in message
    assert "trials keeps --min-sqnr 90: the best has a drop of " in message
    assert "costs most: alone it leaves an SQNR of " in message
    assert message.endswith(" No model was written.")
    # The journal knows every trial, so another budget is decided without trying anything.
    out = tmp_path / "tuned.tflite"
    result = tune(out, journal, max_drop_points=5.0)
    assert result.resumed_trials == len(result.trials)
    assert sorted(path.name for path in tmp_path.iterdir()) == [out.name, f"{out.name}.json"]


def test_a_search_that_was_cut_short_says_so(tune: Any, tmp_path: Path) -> None:
    with pytest.raises(GateError) as caught:
        tune(tmp_path / "tuned.tflite", min_sqnr_db=90.0, max_trials=3)
    assert caught.value.message.startswith("None of 3 trials keeps --min-sqnr 90: the best has ")
    assert caught.value.message.endswith(
        " --max-trials 3 ended the search before all was tried. No model was written."
    )
    assert caught.value.hint == ("Give a higher --max-trials, or none: the same command continues.")


def test_a_file_that_gains_nothing_is_told(
    tune: Any, mixed: tuple[Path, Tuning], tmp_path: Path
) -> None:
    """Nearly everything in float is larger, and as slow, as the float model."""
    result = tune(tmp_path / "tuned.tflite", mixed[0], min_sqnr_db=55.0, io="float32")
    smaller = result.certificate.size_bytes < result.source.file.size_bytes
    faster = result.trials[0].speedup.low > 1
    codes = [issue.code for issue in result.issues]
    assert ("tune.no_gain" in codes) is not (smaller or faster)


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({}, UsageError, "tune needs a budget."),
        ({"max_drop_points": float("nan")}, UsageError, "--max-drop must be 0 or more, not nan"),
        ({"max_drop_points": -1}, UsageError, "--max-drop must be 0 or more, not -1"),
        ({"min_sqnr_db": 20, "python": "/nope"}, DeviceError, "Cannot start /nope"),
        ({"min_sqnr_db": 20, "objective": "beauty"}, UsageError, "Unknown objective 'beauty'"),
        ({"min_sqnr_db": 20, "device": "toaster"}, UsageError, "Unknown device 'toaster'"),
        (
            {"max_drop_points": 1, "cluster": "tcp://127.0.0.1:9"},
            ClusterError,
            "No Dask scheduler answers at tcp://127.0.0.1:9 within",
        ),
        ({"max_drop_points": 1, "samples": 700}, DataError, "No samples are left to judge on"),
    ],
)
def test_what_cannot_be_searched_is_refused(
    settings: dict[str, Any],
    kind: type[Exception],
    message: str,
    tune: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edgeq.tuning.cluster._ANSWER_S", 1)
    with pytest.raises(kind, match=message.split("(", maxsplit=1)[0]):
        tune(tmp_path / "tuned.tflite", **settings)
    assert not (tmp_path / "tuned.tflite").exists()


def test_a_drop_cannot_be_judged_without_labels(tune: Any, tmp_path: Path) -> None:
    images = {"image": labelled(300)["image"]}
    with pytest.raises(DataError, match="--max-drop needs labelled samples"):
        tune(tmp_path / "tuned.tflite", data=images, max_drop_points=1.0)


def test_few_samples_are_used_twice_and_that_is_said(tune: Any, tmp_path: Path) -> None:
    result = tune(tmp_path / "t.tflite", data=labelled(260), max_drop_points=3.0, max_trials=5)
    assert len(result.trials) == 5
    assert not result.is_confirmed
    assert "tune.same_samples" in [issue.code for issue in result.issues]


def test_without_labels_it_is_the_sqnr_that_is_flattered(tune: Any, tmp_path: Path) -> None:
    images = {"image": labelled(260)["image"]}
    steps: list[str] = []
    result = tune(
        tmp_path / "t.tflite", data=images, min_sqnr_db=20.0, max_trials=3,
        on_progress=lambda step, done, total: steps.append(step),
    )  # fmt: skip
    (doubt,) = [issue for issue in result.issues if issue.code == "tune.same_samples"]
    assert doubt.message == (
        "All 200 samples served to choose as well as to measure: the SQNR is too good."
    )
    assert steps.index("try") < steps.index("measure latency")
    assert "the same that the search looked at" in show_tuning(result)


def test_killed_in_the_middle_it_goes_on_from_its_journal(
    tune: Any,
    tried: tuple[Path, GateError],
    float_mobilenet: FloatModel,
    data: Path,
    tmp_path: Path,
) -> None:
    """What it finds is what a search finds that nobody killed."""
    out, whole = tmp_path / "tuned.tflite", tmp_path / "whole.tflite"
    journal = out.with_name(f"{out.name}.tuning")
    code = (
        f"import edgeq; edgeq.tune({float_mobilenet.file.path!r}, {str(out)!r}, samples=60, jobs=1,"
        f" data={str(data)!r}, max_drop_points=1, corrections={CORRECTIONS!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    deadline = time.monotonic() + 240
    while not (journal.exists() and journal.read_bytes().count(b"\n") > 4):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not out.exists()
    resumed = tune(out, max_drop_points=1.0)
    other = tune(whole, tried[0], max_drop_points=1.0)
    assert 4 <= resumed.resumed_trials < len(resumed.trials)
    assert other.resumed_trials >= len(other.trials)
    figures = [
        {trial.recipe: (trial.sha256, trial.paired, trial.sqnr_db) for trial in result.trials}
        for result in (resumed, other)
    ]
    assert figures[0] == figures[1]


def test_ctrl_c_says_where_the_trials_are(
    float_mobilenet: FloatModel, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "tuned.tflite"
    journal = tmp_path / "tuned.tflite.tuning"
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from edgeq.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "tune", float_mobilenet.file.path, "-o", str(out)]
    command += ["--data", str(data), "--samples", "60", "--max-drop", "1", "--jobs", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240
    while not (journal.exists() and journal.read_bytes().count(b"\n") > 2):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=240)
    assert process.returncode == 130
    assert stderr.endswith(
        f"Interrupted; no model was written. {journal} has the trials, and the same command "
        "continues.\n"
    )
    assert list(tmp_path.iterdir()) == [journal]


def test_latency_is_measured_once_for_files_that_are_equally_fast(
    tune: Any,
    tried: tuple[Path, GateError],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured: list[int] = []
    real = run_job.bench

    def count(models: Any, *arguments: Any, **options: Any) -> Any:
        measured.append(len(models))
        return real(models, *arguments, **options)

    monkeypatch.setattr(run_job, "bench", count)
    result = tune(tmp_path / "t.tflite", tried[0], max_drop_points=2.0)
    structures = {trial.structure for trial in result.trials}
    assert measured == [1 + len(structures)]
    assert len(result.trials) > 10 * len(structures)
