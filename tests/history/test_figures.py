"""What is taken out of a record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgeq.devices.fleet import Fleet, FleetEntry
from edgeq.files import storage
from edgeq.history.figures import figures_of, summarize
from edgeq.history.values import Figure
from edgeq.records import reading
from edgeq.records.reading import Record, read_record
from edgeq.values import Energy, FileRef, GateResult, Issue
from tests.history.conftest import COMPARE, EVAL, bench_result, write_bench


def named(figures: tuple[Figure, ...]) -> dict[tuple[str, str], float]:
    return {(item.metric, item.role): item.value for item in figures}


def test_a_comparison() -> None:
    summary = summarize(read_record(COMPARE))
    assert named(summary.figures) == {
        ("size", "baseline"): 152800,
        ("size", "model"): 83600,
        ("accuracy-drop", "model"): 0,
        ("accuracy", "baseline"): 94,
        ("accuracy", "model"): 94,
        ("sqnr", "model"): pytest.approx(37.902, abs=0.001),
    }
    drop = next(item for item in summary.figures if item.metric == "accuracy-drop")
    assert drop.low is not None and drop.low < 0 < (drop.high or 0)
    assert [(item.name, item.shown) for item in drop.conditions] == [
        ("data", "test.npz (51c34099)"),
        ("samples", "50"),
        ("preprocessing", "scale=0.00392157"),
    ]
    assert drop.device is None  # nothing tells where the samples ran
    assert summary.model is not None and summary.model[0] == "mobilenet.tflite"
    assert [path for path, _ in summary.models] == ["fp32.tflite", "mobilenet.tflite"]


def test_an_evaluation() -> None:
    summary = summarize(read_record(EVAL))
    accuracy = next(item for item in summary.figures if item.metric == "accuracy")
    assert (accuracy.value, round(accuracy.low or 0), round(accuracy.high or 0)) == (94, 84, 98)
    assert summary.devices == ()
    assert "device" not in {item.name for item in accuracy.conditions}


def test_an_accuracy_has_the_device_that_the_samples_ran_on() -> None:
    old = read_record(EVAL)
    (item,) = old.value.evaluations
    told = replace(item, device="pi4", processor="Cortex-A72")
    record = replace(old, value=replace(old.value, evaluations=(told,)))
    fleet = replace(old, kind="fleet-eval", value=Fleet("eval", (FleetEntry("pi4", (item,)),)))
    for summary in (summarize(record), summarize(fleet)):
        accuracy = next(item for item in summary.figures if item.metric == "accuracy")
        assert (accuracy.device, accuracy.conditions[-1].name) == ("pi4", "device")
        assert summary.devices == ("pi4",)


def test_a_comparison_tells_its_device_itself_or_with_its_latencies() -> None:
    old = read_record(COMPARE)
    bench = bench_result(2.0, fp32=4.0)
    for value in (replace(old.value, device="pi4"), replace(old.value, bench=bench)):
        figures = figures_of(replace(old, value=value))
        there = [item.device for item in figures if item.metric in ("accuracy-drop", "sqnr")]
        assert there == ["pi4", "pi4"]


def test_latencies_have_their_conditions(tmp_path: Path) -> None:
    path = write_bench(tmp_path / "r.json", bench_result(2.0, fp32=4.0))
    summary = summarize(read_record(path))
    found = named(summary.figures)
    assert (found["p50", "model"], found["p50", "baseline"]) == (2.0, 4.0)
    assert found["p90", "model"] == 3.0
    assert found["speed-up", "model"] == 2.0
    assert found["peak-memory", "model"] == 5_000_000
    p50 = next(item for item in summary.figures if (item.metric, item.role) == ("p50", "model"))
    assert (p50.low, p50.high, p50.device, p50.validity) == (1.9, 2.1, "pi4", "valid")
    assert {item.name: item.value for item in p50.conditions} == {
        "device": "pi4", "processor": "Cortex-A72", "runtime": "ai-edge-litert 2.3.0",
        "threads": "1", "cores": "as scheduled", "run": "in bursts",
    }  # fmt: skip
    assert summary.model is not None and summary.model[0] == "build/net.tflite"


def test_an_emulated_latency_is_marked(tmp_path: Path) -> None:
    doubt = Issue("bench.emulated", "error", "emulated")
    path = write_bench(tmp_path / "r.json", bench_result(2.0, issues=(doubt,)))
    figures = figures_of(read_record(path))
    assert {item.validity for item in figures if item.metric in ("p50", "p90")} == {"invalid"}
    assert {item.validity for item in figures if item.metric == "size"} == {"valid"}


def test_a_fleet_has_each_device_by_the_users_name(tmp_path: Path) -> None:
    entries = (
        FleetEntry("near", bench_result(2.0, device="local")),
        FleetEntry("far", None, "no answer"),
        FleetEntry("third", bench_result(5.0, device="third")),
    )
    path = tmp_path / "r.json"
    storage.write_record(path, "fleet-bench", Fleet("bench", entries))
    summary = summarize(read_record(path))
    assert [(item.device, item.value) for item in summary.figures if item.metric == "p50"] == [
        ("near", 2.0),
        ("third", 5.0),
    ]
    assert {"near", "far", "third"} <= set(summary.devices)


def test_figures_are_a_function_of_the_record(tmp_path: Path) -> None:
    result = bench_result(2.0)
    run = replace(result.runs[0], energy=Energy("RAPL", 1.0, 1.0))
    first = write_bench(tmp_path / "a.json", result)
    second = write_bench(tmp_path / "b.json", replace(result, runs=(run,)))
    assert figures_of(read_record(first)) == figures_of(read_record(second))


def test_kinds_without_figures_have_models_and_devices() -> None:
    assert set(reading.KINDS) - {"parity", "doctor", "inspect", "fit", "gate"} == {
        "convert", "tune", "bench", "eval", "compare", "debug", "profile",
    }  # fmt: skip


def test_a_gate_is_about_its_candidate() -> None:
    policy, model = FileRef("edgeq.toml", "a" * 64, 1), FileRef("m.tflite", "b" * 64, 2)
    gated = GateResult(policy, model, (), None, (), (), "pass", ())
    record = Record("r.json", "c" * 64, "gate", None, "valid", (), gated)
    summary = summarize(record)
    assert summary.model == ("m.tflite", "b" * 64)
    assert summary.models == (("m.tflite", "b" * 64),)
