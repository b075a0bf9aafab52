"""A measurement on the samples that calibrated the model is reported as such."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeq import api, models
from edgeq.conversion.feeding import inherited_doubts, read_makers
from edgeq.files import storage
from edgeq.gating.gate import gate
from edgeq.render.comparison import show_comparison
from edgeq.reporting.report import make_report

CALIBRATION = models.path("fashion_mnist_calibration.npz")
SENTENCE = (
    f"{CALIBRATION} is the calibration data: what is measured on it is too optimistic; give "
    "held-out samples with --data."
)
CODE = "convert.not_held_out"


def found(result: Any) -> list[str]:
    return [issue.message for issue in result.issues if issue.code == CODE]


def compare(float_file: Path, candidate: Path, data: Path) -> Any:
    return api.compare(float_file, candidate, data, samples=16, latency=False)


@pytest.fixture(scope="module")
def compared(float_file: Path, int8_mobilenet: Path) -> Any:
    return compare(float_file, int8_mobilenet, CALIBRATION)


def test_compare_warns_and_does_not_ship(compared: Any) -> None:
    assert found(compared) == [SENTENCE]
    assert not compared.quality.is_held_out
    assert compared.verdict == "check"
    assert compared.reasons[-1] == f"measured on calibration samples [{CODE}]"
    assert " ".join(show_comparison(compared).split()).count("is the calibration data") == 1


def test_samples_that_were_held_out_are_not_doubted(float_file: Path, int8_mobilenet: Path) -> None:
    result = compare(float_file, int8_mobilenet, models.path("fashion_mnist_test.npz"))
    assert result.quality.is_held_out and not found(result)


def test_only_the_record_of_this_file_counts(
    float_file: Path, int8_mobilenet: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.tflite"
    shutil.copy(int8_mobilenet, other)
    other.write_bytes(other.read_bytes() + bytes(16))
    shutil.copy(f"{int8_mobilenet}.json", f"{other}.json")
    assert not found(compare(float_file, other, CALIBRATION))


def test_samples_that_only_measured_did_not_calibrate(int8_mobilenet: Path) -> None:
    (made,) = read_makers(int8_mobilenet)
    assert made.data is not None
    steps = ("scale=1/255",)
    assert [issue.code for issue in inherited_doubts(made.data, steps, [made])] == [CODE]
    dynamic = replace(made, model=replace(made.model, ranges=None))
    assert not [*inherited_doubts(made.data, steps, [dynamic])]


def test_eval_and_debug_warn(float_file: Path, int8_mobilenet: Path) -> None:
    models_ = [float_file, int8_mobilenet]
    plain, made = api.evaluate(models_, CALIBRATION, preprocess=["scale=1/255"], samples=16)
    assert (found(plain), found(made)) == ([], [SENTENCE])
    report = api.debug(float_file, int8_mobilenet, CALIBRATION, samples=4, try_remedies=False)
    assert found(report) == [SENTENCE] and not report.quality.is_held_out


def test_the_report_and_the_gate_say_it_once(
    compared: Any, int8_mobilenet: Path, tmp_path: Path
) -> None:
    record, made = tmp_path / "compare.json", Path(f"{int8_mobilenet}.json")
    storage.write_record(record, "compare", compared)
    report = make_report([record, made])
    assert [doubt.message for doubt in report.doubts if doubt.code == CODE] == [SENTENCE]
    assert report.verdict.word == "check"
    assert sum(CODE in reason for reason in report.verdict.reasons) == 1
    (tmp_path / "edgeq.toml").write_text("[policy]\nmax_drop_points = 50\n")
    judged = gate([record, made], tmp_path / "edgeq.toml")
    assert judged.verdict == "cannot-tell"
    assert SENTENCE.rstrip(".") in judged.rules[0].findings[0].reason
    # Measured where the model had no record: the conversion's own record tells it.
    plain = json.loads(record.read_text())
    plain.update(issues=[], verdict="ship", reasons=["fine"])
    record.write_text(json.dumps(plain))
    report = make_report([record, made])
    assert [doubt.message for doubt in report.doubts if doubt.code == CODE] == [SENTENCE]
    assert report.verdict.word == "check"
