"""What a report says: its verdict, its figures, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edgeq.cli import cli
from edgeq.errors import EdgeqError, HistoryError, RecordError, UsageError
from edgeq.history import open_history
from edgeq.render.report import render_report
from edgeq.reporting import make_report
from edgeq.reporting.sections.calibration import cut_share
from edgeq.reporting.values import BarPlot, DistributionPlot, Report, Table, XYPlot
from edgeq.values import Histogram

from .conftest import edited


def run(*arguments: object) -> Any:
    return CliRunner().invoke(cli, [*map(str, arguments)], standalone_mode=False)


def section(report: Report, name: str) -> list[Any]:
    (found,) = [item for item in report.sections if item.id == name]
    return list(found.blocks)


def rows(table: Table) -> dict[str, dict[str, Any]]:
    """Cells by the row's name and the column's title."""
    titles = [column.title for column in table.columns]
    return {row[0].text: dict(zip(titles, row, strict=True)) for row in table.rows}


# ---------------------------------------------------------------- figures


def test_its_figures_are_those_of_the_records(one_model: dict[str, Path]) -> None:
    report = make_report(list(one_model.values()))
    compare = json.loads(one_model["compare"].read_text())
    quality, (first, second) = compare["quality"], compare["bench"]["runs"]
    found = rows(report.comparison)
    name = "compare on local, 50 of fashion_mnist_test.npz"
    drop = found[f"accuracy, {name}"]
    assert drop["FP32"].value == quality["baseline_accuracy_percent"]
    assert drop["INT8"].value == quality["candidate_accuracy_percent"]
    assert drop["difference"].value == quality["drop_points"]["value"]
    (part,) = quality["outputs"][0]["parts"]
    assert found[f"SQNR, {name}"]["difference"].value == part["sqnr_db"]
    assert found["size of the .tflite"]["difference"].value == compare["size_ratio"]
    p50 = next(cells for label, cells in found.items() if label.startswith("latency p50 on local"))
    assert p50["FP32"].value == first["latency"]["p50_ms"]
    assert p50["INT8"].value == second["latency"]["p50_ms"]
    assert p50["difference"].value == compare["bench"]["speedups"][0]["value"]
    debug = json.loads(one_model["debug"].read_text())["layers"]
    (plot, table) = section(report, "layers")
    assert [row[4].value for row in table.rows] == [layer["own_sqnr_db"] for layer in debug]
    own = plot.panels[0].series[0].points
    ordered = sorted(debug, key=lambda layer: layer["position"])
    assert [point.y for point in own] == [min(layer["own_sqnr_db"], 100) for layer in ordered]
    profile = json.loads(one_model["profile"].read_text())["models"][0]
    bars = next(block for block in section(report, "operators") if isinstance(block, BarPlot))
    longest = max(op["time_ms"] or 0 for op in profile["operators"])
    assert bars.groups[0].bars[0].value == longest


def test_every_inference_is_in_the_distribution(one_model: dict[str, Path]) -> None:
    report = make_report([one_model["compare"]])
    runs = json.loads(one_model["compare"].read_text())["bench"]["runs"]
    (plot,) = [item for item in section(report, "latency") if isinstance(item, DistributionPlot)]
    assert [row.role for row in plot.rows] == ["baseline", "candidate"]
    assert [sum(row.counts) for row in plot.rows] == [run["latency"]["count"] for run in runs]


def test_the_chosen_clip_stands_beside_what_calibration_saw(one_model: dict[str, Path]) -> None:
    model = json.loads(one_model["convert"].read_text())["model"]
    report = make_report([one_model["convert"]])
    (table, *_) = section(report, "calibration")
    seen = {item["index"]: item for item in model["histograms"]}
    assert len(table.rows) == len(model["ranges"]["tensors"])
    for row, chosen in zip(table.rows, model["ranges"]["tensors"], strict=True):
        assert (row[1].value, row[2].value) == (chosen["minimum"], chosen["maximum"])
        spark, own = row[6].figure, seen[chosen["index"]]
        assert list(spark.counts) == own["counts"]
        assert (spark.low, spark.high) == (own["minimum"], own["maximum"])
        assert (spark.clip_low, spark.clip_high) == (chosen["minimum"], chosen["maximum"])
        assert 0 <= row[5].value < 1


def test_the_share_cut_off_counts_parts_of_bins() -> None:
    seen = Histogram(0, 0.0, 4.0, (10, 10, 10, 10))
    assert cut_share(seen, 0.0, 4.0) == 0
    assert cut_share(seen, 1.0, 3.5) == pytest.approx((10 + 5) / 40)
    assert cut_share(seen, -9.0, 9.0) == 0
    assert cut_share(Histogram(0, 1.0, 1.0, (7,)), 0.0, 1.0) == 0


def test_all_trials_of_tune_are_on_its_plot(record_files: dict[str, Path]) -> None:
    tuning = json.loads(record_files["tune"].read_text())
    report = make_report([record_files["tune"]])
    plot, table = section(report, "search")
    assert isinstance(plot, XYPlot)
    shown = [point for series in plot.panels[0].series for point in series.points]
    trials = [trial for trial in tuning["trials"] if trial["failure"] is None]
    assert len(shown) == len(trials)
    assert len(table.rows) == len(tuning["trials"])
    (chosen,) = plot.panels[0].series[-1].points
    assert chosen.x == tuning["trials"][0]["size_bytes"] / 1000
    assert plot.panels[0].limit == 5


def test_a_sustained_run_is_shown_over_time(one_model: dict[str, Path]) -> None:
    (run_,) = json.loads(one_model["sustained"].read_text())["runs"]
    report = make_report([one_model["sustained"]])
    plot, table = section(report, "sustained")
    windows = run_["sustained"]["windows"]
    assert [point.y for point in plot.panels[0].series[0].points] == [w["p50_ms"] for w in windows]
    assert len(table.rows) == len(windows) == 3


# ---------------------------------------------------------------- verdict


@pytest.mark.parametrize("verdict", ["ship", "check", "no"])
def test_the_verdict_is_the_comparisons(
    one_model: dict[str, Path], tmp_path: Path, verdict: str
) -> None:
    def judge(plain: dict[str, Any]) -> None:
        plain.update(verdict=verdict, reasons=["because"])

    path = edited(one_model["compare"], tmp_path / "r.json", judge)
    found = make_report([path]).verdict
    assert (found.word, found.reasons, found.source) == (verdict, ("because",), "edgeq compare")


def gated(tmp_path: Path, *paths: Path) -> Path:
    """The record of a gate that passes."""
    (tmp_path / "edgeq.toml").write_text("[policy]\nmax_size = '1 MB'\n")
    run("gate", *paths, "--policy", tmp_path / "edgeq.toml", "-o", tmp_path / "gate.json")
    return tmp_path / "gate.json"


def refused(plain: dict[str, Any]) -> None:
    plain.update(verdict="no", reasons=["accuracy is gone"])


def test_the_gate_decides_and_what_contradicts_it_is_said(
    one_model: dict[str, Path], tmp_path: Path
) -> None:
    path = edited(one_model["compare"], tmp_path / "r.json", refused)
    verdict = make_report([gated(tmp_path, path), path]).verdict
    assert verdict.word == "ship" and "1 of 1 rule kept" in verdict.reasons
    assert verdict.reasons[1:] == ("but edgeq compare alone says no", "accuracy is gone")


def test_what_no_gate_has_judged_lowers_its_verdict(
    one_model: dict[str, Path], tmp_path: Path
) -> None:
    path = edited(one_model["compare"], tmp_path / "r.json", refused)
    verdict = make_report([gated(tmp_path, one_model["convert"]), path]).verdict
    assert verdict.word == "no"
    assert "no gate has judged r.json, which says no" in verdict.reasons


def test_samples_that_convert_doubts_are_doubted_in_a_comparison(
    one_model: dict[str, Path], tmp_path: Path
) -> None:
    issue = {"code": "data.not_normalized", "severity": "warning", "message": "Values to 255."}

    def forget(plain: dict[str, Any]) -> None:
        plain["issues"].append(issue)

    def ship(plain: dict[str, Any]) -> None:
        plain.update(verdict="ship", reasons=["fine"])

    made = edited(one_model["convert"], tmp_path / "c.json", forget)
    path = edited(one_model["compare"], tmp_path / "r.json", ship)
    assert make_report([path]).verdict.word == "ship"
    verdict = make_report([path, made]).verdict
    assert verdict.word == "check"
    assert verdict.reasons == ("fine", "Values to 255 [data.not_normalized]")


def test_a_comparison_on_the_calibration_data_is_no_proof(
    one_model: dict[str, Path], tmp_path: Path
) -> None:
    data = json.loads(one_model["convert"].read_text())["data"]

    def same(plain: dict[str, Any]) -> None:
        plain.update(verdict="ship", reasons=["fine"])
        plain["data"] = data

    path = edited(one_model["compare"], tmp_path / "r.json", same)
    verdict = make_report([path, one_model["convert"]]).verdict
    assert verdict.word == "check" and "is the calibration data" in verdict.reasons[1]


def test_the_cards_show_the_worst_device(one_model: dict[str, Path], tmp_path: Path) -> None:
    def lose(plain: dict[str, Any]) -> None:
        plain["device"] = plain["bench"]["facts"]["device"] = "pi4"
        plain["quality"]["drop_points"] = {"value": 9.0, "low": 7.0, "high": 11.0}
        plain["quality"]["outputs"][0]["parts"][0]["sqnr_db"] = 3.0

    path = edited(one_model["compare"], tmp_path / "pi4.json", lose)
    for paths in ([one_model["compare"], path], [path, one_model["compare"]]):
        drop, sqnr, *_ = make_report(paths).cards
        assert (drop.figure, drop.tone, sqnr.figure) == ("+9.00 points", "bad", "3.0 dB")
        assert "on pi4" in drop.detail and drop.detail.endswith("the worst of 2")


def test_a_doubted_conversion_alone_does_not_ship(
    record_files: dict[str, Path], tmp_path: Path
) -> None:
    issue = {"code": "tune.same_samples", "severity": "warning", "message": "The same."}

    def doubt(plain: dict[str, Any]) -> None:
        plain["issues"] = [issue]
        plain["is_confirmed"] = False
        plain["quality"]["drop_points"] = {"value": 0.0, "low": -0.1, "high": 0.1}

    report = make_report([edited(record_files["tune"], tmp_path / "t.json", doubt)])
    assert report.verdict.word == "check"
    assert any("which the search looked at too" in row[0].text for row in report.comparison.rows)


def test_a_missed_rule_says_no_with_its_figure(one_model: dict[str, Path], tmp_path: Path) -> None:
    policy = tmp_path / "edgeq.toml"
    policy.write_text("[policy]\nmax_size = '1 kB'\nmax_drop_points = 1\n")
    record = tmp_path / "gate.json"
    run("gate", one_model["convert"], "--policy", policy, "-o", record)
    report = make_report([record, one_model["convert"]])
    assert report.verdict.word == "no"
    assert report.verdict.reasons[0].startswith("max_size (at most 1 kB): ")


def test_without_a_judged_accuracy_it_is_open(one_model: dict[str, Path]) -> None:
    report = make_report([one_model["bench"]])
    assert report.verdict.word == "open"
    assert "edgeq compare" in report.verdict.reasons[0]


def test_degraded_records_are_said_first_and_listed(
    one_model: dict[str, Path], tmp_path: Path
) -> None:
    doubt = {"code": "bench.noisy", "severity": "warning", "message": "It scatters."}

    def degrade(plain: dict[str, Any]) -> None:
        plain["issues"] = [doubt]
        plain["bench"]["runs"][0]["issues"] = plain["bench"]["runs"][1]["issues"] = []

    path = edited(one_model["compare"], tmp_path / "noisy.json", degrade)
    report = make_report([path])
    assert report.distrust.startswith("Of 1 record, 1 degraded")
    (found,) = [item for item in report.doubts if item.code == "bench.noisy"]
    assert (found.message, found.records) == ("It scatters.", ("noisy.json",))


def test_a_device_that_failed_is_a_doubt(record_files: dict[str, Path]) -> None:
    report = make_report([record_files["fleet-compare"]])
    assert any(
        "broken@127.0.0.1:1 gave no result" in item.message and item.severity == "error"
        for item in report.doubts
    )
    assert report.verdict.word != "ship" and "1 device gave no result" in report.distrust
    assert any("broken@127.0.0.1:1 gave no result" in item for item in report.verdict.reasons)
    assert section(report, "accuracy")


def test_an_invalid_latency_gives_no_speed_up(one_model: dict[str, Path], tmp_path: Path) -> None:
    issue = {"code": "bench.emulated", "severity": "error", "message": "It is emulated."}

    def emulate(plain: dict[str, Any]) -> None:
        for item in plain["bench"]["runs"]:
            item.update(validity="invalid", issues=[issue])
        plain["bench"]["speedups"] = []

    path = edited(one_model["compare"], tmp_path / "r.json", emulate)
    report = make_report([path])
    p50 = next(c for n, c in rows(report.comparison).items() if n.startswith("latency p50"))
    assert p50["difference"].text == "invalid: bench.emulated"
    (card,) = [card for card in report.cards if card.label == "Latency on local"]
    assert card.tone == "bad" and "compare it with nothing" in card.detail


# ---------------------------------------------------------------- which model


def test_records_of_different_models_are_refused(
    one_model: dict[str, Path], record_files: dict[str, Path]
) -> None:
    with pytest.raises(RecordError, match="records are about different models") as caught:
        make_report([one_model["compare"], record_files["convert"]])
    assert caught.value.exit_code == 4
    assert "compare.json is about" in caught.value.message


def test_the_float_conversion_of_the_model_joins(
    one_model: dict[str, Path], float_file: Path, tmp_path: Path
) -> None:
    target = tmp_path / "fp32.tflite"
    run("convert", float_file, "--scheme", "fp32", "-o", target)
    report = make_report([f"{target}.json", one_model["compare"], one_model["bench"]])
    assert report.title == "mobilenet.tflite"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": "edgeq.record/99"}'])
def test_what_is_no_record_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(content)
    with pytest.raises(RecordError) as caught:
        make_report([path])
    assert caught.value.exit_code == 4


def test_older_records_without_histograms_and_positions(
    one_model: dict[str, Path], tmp_path: Path
) -> None:
    def older(plain: dict[str, Any]) -> None:
        for layer in plain.get("layers", []):
            del layer["position"]
        plain.get("model", {}).pop("histograms", None)
        del plain["provenance"]

    paths = [edited(one_model[kind], tmp_path / f"{kind}.json", older)
             for kind in ("convert", "debug")]  # fmt: skip
    report = make_report(paths)
    assert "Calibration kept extremes only" in section(report, "calibration")[0].note
    assert section(report, "layers")[0].axis == "layers, the most costly first"


# ---------------------------------------------------------------- over time


def test_trends_come_from_the_history(one_model: dict[str, Path], tmp_path: Path) -> None:
    database = tmp_path / "history.sqlite"
    with open_history(database) as history:
        for number in (2, 0, 1):  # added later, measured earlier

            def shift(plain: dict[str, Any], number: int = number) -> None:
                plain["quality"]["outputs"][0]["parts"][0]["sqnr_db"] = 30.0 + number
                plain["provenance"]["created"] = f"2026-11-0{number + 1}T00:00:00Z"

            history.add([edited(one_model["compare"], tmp_path / f"{number}.json", shift)])
    report = make_report([one_model["compare"]], trends=True, history=database)
    plots = {plot.title: plot for plot in section(report, "history")}
    (series,) = plots["SQNR of the outputs' worst part"].panels[0].series
    assert [(point.x, point.y) for point in series.points] == [(1, 30.0), (2, 31.0), (3, 32.0)]
    assert "2026-11-03" in plots["SQNR of the outputs' worst part"].description
    assert "2026-11-03" in series.points[-1].tip


def test_a_history_without_the_model_says_so(one_model: dict[str, Path], tmp_path: Path) -> None:
    database = tmp_path / "history.sqlite"
    open_history(database).close()
    report = make_report([one_model["compare"]], trends=True, history=database)
    (prose,) = section(report, "history")
    assert "mobilenet.tflite" in prose.text
    with pytest.raises(HistoryError):
        make_report([one_model["compare"]], trends=True, history=tmp_path / "none.sqlite")


# ---------------------------------------------------------------- the command


def test_the_ending_decides_the_form(one_model: dict[str, Path], tmp_path: Path) -> None:
    page, text = "<!doctype html>", "### "
    starts = {"r.html": page, "r.htm": page, "r.md": text, "r.markdown": text, "r.json": "{"}
    for name, start in starts.items():
        done = run("report", one_model["compare"], "-o", tmp_path / name)
        assert done.exception is None
        assert done.stdout.splitlines()[-1] == f"Wrote {tmp_path / name}"
        assert (tmp_path / name).read_text().lstrip().startswith(start)
    printed = run("report", one_model["compare"], "--format", "json").stdout
    assert json.loads(printed) == json.loads((tmp_path / "r.json").read_text())
    assert json.loads(printed)["schema"] == "edgeq.report/1"


def test_a_page_needs_a_file_and_never_replaces_what_it_is_about(
    one_model: dict[str, Path], int8_mobilenet: Path, tmp_path: Path
) -> None:
    kept = one_model["compare"], int8_mobilenet
    before = [path.read_bytes() for path in kept]
    given = [(), ("-o", tmp_path / "r.pdf"), *(("-o", path, "--format", "md") for path in kept)]
    for arguments in given:
        done = run("report", one_model["compare"], *arguments)
        assert isinstance(done.exception, (UsageError, EdgeqError)), arguments
        assert done.exception.exit_code == 2
    assert [path.read_bytes() for path in kept] == before
    assert list(tmp_path.iterdir()) == []
    assert run("report", one_model["compare"], "-o", "-").stdout.lstrip().startswith("<!doctype")


def test_a_code_of_a_newer_edgeq_is_an_error(one_model: dict[str, Path], tmp_path: Path) -> None:
    def newer(plain: dict[str, Any]) -> None:
        plain["issues"] = [{"code": "data.new", "severity": "warning", "message": "New."}]

    path = edited(one_model["compare"], tmp_path / "r.json", newer)
    with pytest.raises(
        RecordError, match=r"an issue with the code 'data\.new', which this version of edgeq"
    ):
        make_report([path])


def test_markdown_has_the_gist_and_no_markup_of_others(
    one_model: dict[str, Path], tmp_path: Path
) -> None:
    def attack(plain: dict[str, Any]) -> None:
        plain["candidate"]["path"] = "a|b<img src=x>@all`x`\n# big.tflite"
        plain["layers"][0].update(name="[x](http://evil)", cause="c", remedy="r")

    path = edited(one_model["debug"], tmp_path / "r.json", attack)
    text = render_report(make_report([path, one_model["compare"]]), "md")
    assert "accuracy" in text and "SQNR" in text and "size of the .tflite" in text
    assert "<img" not in text and "[x](http" not in text and "@all" not in text
    assert not any(line.startswith("# ") for line in text.splitlines())
    assert len(text) < 65_536
