"""`eval` and `compare` of detectors, segmentation and regression, on models that pass pixels on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeq.conversion.file_metadata import read_decoding
from edgeq.records.reading import read_record
from edgeq.values import Comparison, Evaluation
from tests import tiny_detectors
from tests.commands import run_edgeq
from tests.tiny_models import passing


def evaluated(record: Path) -> Evaluation:
    (found,) = read_record(record).value.evaluations
    assert isinstance(found, Evaluation)
    return found


def compared(record: Path) -> Comparison:
    found = read_record(record).value
    assert isinstance(found, Comparison)
    return found


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    """Twelve pictures of 4 by 6 pixels whose 72 values are 12 boxes of 4 values and 2 scores."""
    random = np.random.default_rng(0)
    folder = tmp_path / "images"
    folder.mkdir()
    rows, images = [], []
    for number in range(12):
        values = np.zeros((12, 6), np.uint8)
        for place in range(2):
            low, kind = random.integers(20, 120, 2), random.integers(2)
            values[place] = [*low, *(low + 100), 0, 0]
            values[place, 4 + kind] = random.integers(150, 255)
            box = values[place, :4] / 255 * [60, 40, 60, 40]
            rows.append({"image_id": number, "category_id": int(kind) + 1,
                         "bbox": [*box[:2], *(box[2:] - box[:2])]})  # fmt: skip
        images.append({"id": number, "file_name": f"{number}.png", "width": 60, "height": 40})
        Image.fromarray(values.reshape(4, 6, 3)).save(folder / f"{number}.png")
    document = {"images": images, "annotations": rows,
                "categories": [{"id": 1, "name": "cup"}, {"id": 2, "name": "key"}]}  # fmt: skip
    (tmp_path / "coco.json").write_text(json.dumps(document, default=float))
    (tmp_path / "float.tflite").write_bytes(passing((1, 4, 6, 3), (1, 12, 6), None))
    # 41 steps from 0 to 1
    (tmp_path / "int8.tflite").write_bytes(passing((1, 4, 6, 3), (1, 12, 6), 1 / 41))
    return tmp_path


ALL = ("--data", "images", "--labels", "coco.json", "--preprocess", "scale=1/255",
       "--decode", "boxes=xyxy,min_score=0.1")  # fmt: skip


def test_a_detector_is_scored_by_average_precision(detector: Path) -> None:
    done = run_edgeq("eval", "float.tflite", *ALL, "-o", "eval.json", cwd=detector)
    assert done.returncode == 0, done.stderr
    found = evaluated(detector / "eval.json")
    assert [(metric.name, metric.value) for metric in found.metrics] == [
        ("map", pytest.approx(100)), ("map@0.5", pytest.approx(100))
    ]  # fmt: skip
    assert found.decoding == "boxes=xyxy,min_score=0.1"
    assert found.data.class_names == ("cup", "key")
    assert "100.00..100.00" in done.stdout


def test_a_coarse_detector_loses_average_precision_in_pairs(detector: Path) -> None:
    done = run_edgeq("compare", "float.tflite", "int8.tflite", *ALL, "--no-latency",
                     "-o", "compare.json", cwd=detector)  # fmt: skip
    found = compared(detector / "compare.json")
    (strict, loose) = found.losses
    assert (strict.name, strict.unit, loose.name) == ("map", "percent", "map@0.5")
    assert strict.loss.value > 5 and strict.loss.low > 1
    assert loose.loss.value == pytest.approx(0)
    assert found.verdict == "no"
    assert any(text.startswith("map loss +") and "proven above 1" in text for text in found.reasons)
    assert f"lost {strict.loss.value:+.2f} points" in " ".join(done.stdout.split())


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """A detector whose output joins boxes in pixels and scores, and 80 pictures."""
    (tmp_path / "float.tflite").write_bytes(tiny_detectors.detector())
    tiny_detectors.write_pictures(tmp_path, 80)
    return tmp_path


# INT8 rounds scores to steps of 0.22 there, and some of the objects have a score near 0.45.
GRID = ("--data", "images", "--labels", "coco.json", "--preprocess", "scale=1/255",
        "--decode", f"{tiny_detectors.DECODE},min_score=0.45")  # fmt: skip
QUICK = ("--samples", "40", "--effort", "fast", "-o", "int8.tflite")


def test_convert_measures_the_metric_and_stops_at_its_budget(grid: Path) -> None:
    done = run_edgeq("convert", "float.tflite", *GRID, *QUICK, cwd=grid)
    assert done.returncode == 0, done.stderr
    made = read_record(grid / "int8.tflite.json").value
    assert [pair.baseline.name for pair in made.quality.metrics] == ["map", "map@0.5"]
    strict = made.quality.metrics[0]
    assert strict.baseline.value == pytest.approx(strict.candidate.value)
    assert 70 < strict.baseline.value < 95  # faint objects are below the least score
    assert f"{strict.baseline.value:.2f} % -> {strict.candidate.value:.2f} %" in done.stdout
    assert read_decoding(grid / "int8.tflite") == f"{tiny_detectors.DECODE},min_score=0.45"

    coarse = (*GRID, *QUICK, "--io", "int8")
    done = run_edgeq("convert", "float.tflite", *coarse, "--max-drop", "1", cwd=grid)
    assert done.returncode == 3
    assert "Map gets worse by" in " ".join(done.stderr.split())
    done = run_edgeq("convert", "float.tflite", *coarse, cwd=grid)
    lost = read_record(grid / "int8.tflite.json").value.quality.metrics[0].loss
    assert lost.loss.value > 1
    # The gate judges convert's record where there is none of compare.
    (grid / "edgeq.toml").write_text("[policy.metrics.map]\nmax_loss = 1\nmin_value = 5\n")
    assert run_edgeq("gate", "int8.tflite.json", "-o", "gate.json", cwd=grid).returncode != 0
    loss, value = read_record(grid / "gate.json").value.rules
    assert loss.findings[0].origins[0].json_path == "$.quality.metrics[0].loss.loss"
    (origin,) = value.findings[0].origins
    assert origin.json_path == "$.quality.metrics[0].candidate.value"

    # compare decodes as the file says.
    compare = (*GRID[:4], "--no-latency", "-o", "compare.json")
    run_edgeq("compare", "float.tflite", "int8.tflite", *compare, cwd=grid)
    assert compared(grid / "compare.json").decoding == f"{tiny_detectors.DECODE},min_score=0.45"

    debug = (*GRID[:4], "--no-try", "-o", "debug.json")
    done = run_edgeq("debug", "float.tflite", "int8.tflite", *debug, cwd=grid)
    report = read_record(grid / "debug.json").value
    assert report.metric == "map"
    costs = {layer.operator: layer.lost_points for layer in report.layers}
    assert costs["CONCATENATION"] > 3
    assert abs(costs["MUL"]) < 0.5  # boxes lose nothing
    assert "costs most map" in " ".join(done.stdout.split())

    records = ("int8.tflite.json", "debug.json")
    assert run_edgeq("report", *records, "-o", "report.html", cwd=grid).returncode == 0
    page = (grid / "report.html").read_text()
    assert "map, lost" in page
    assert "lost map" in page


def test_parts_of_an_output_keep_their_own_steps(grid: Path) -> None:
    words = ("convert", "float.tflite", *GRID, *QUICK, "--io", "int8")
    warned = run_edgeq(*words, cwd=grid)
    assert "with --split-outputs, its parts are outputs" in " ".join(warned.stdout.split())
    done = run_edgeq(*words, "--split-outputs", cwd=grid)
    assert done.returncode == 0, done.stderr
    made = read_record(grid / "int8.tflite.json").value
    outputs = [(spec.name, spec.dtype) for spec in made.certificate.outputs]
    assert outputs == [("found_part0", "int8"), ("found_part1", "int8")]
    assert [join.name for join in made.source.joins] == ["found"]
    assert made.quality.metrics[0].loss.loss.value == pytest.approx(0, abs=1)
    (output,) = made.quality.outputs
    assert [part.where for part in output.parts] == ["found[:, :, 0:4]", "found[:, :, 4:6]"]
    assert min(part.sqnr_db for part in output.parts) > 40

    # The file alone suffices.
    (grid / "int8.tflite.json").unlink()
    compare = (*GRID[:4], "--no-latency", "-o", "compare.json")
    assert run_edgeq("compare", "float.tflite", "int8.tflite", *compare, cwd=grid).returncode == 0
    (whole,) = compared(grid / "compare.json").quality.outputs
    assert whole.name == "found"
    assert min(part.sqnr_db for part in whole.parts) > 40
    run_edgeq("eval", "float.tflite", "int8.tflite", *GRID, "-o", "eval.json", cwd=grid)
    first, second = read_record(grid / "eval.json").value.evaluations
    assert second.metrics[0].value == pytest.approx(first.metrics[0].value, abs=1)


def test_nothing_to_split_is_refused(tmp_path: Path) -> None:
    (tmp_path / "float.tflite").write_bytes(passing((1, 4), (1, 4), None))
    np.save(tmp_path / "x.npy", np.zeros((4, 4), np.float32))
    words = ("--data", "x.npy", "--split-outputs", "-o", "int8.tflite")
    done = run_edgeq("convert", "float.tflite", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert "--split-outputs has no effect: no CONCATENATION" in " ".join(done.stderr.split())


def test_tune_keeps_a_budget_of_the_metric(grid: Path) -> None:
    quick = ("--samples", "40", "--objective", "size", "--max-trials", "3", "--jobs", "1")
    words = ("tune", "float.tflite", *GRID, *quick, "--max-drop", "1", "-o", "tuned.tflite")
    done = run_edgeq(*words, "--io", "int8", cwd=grid)
    assert done.returncode == 3
    told = " ".join(done.stderr.split())
    assert "None of 3 trials keeps --max-drop 1: the best has a drop of" in told
    (grid / "tuned.tflite.tuning").unlink()
    done = run_edgeq(*words, cwd=grid)
    assert done.returncode == 0, done.stderr
    made = read_record(grid / "tuned.tflite.json").value
    assert made.metric == "map"
    assert [trial.drop_points.value for trial in made.trials] == pytest.approx([0.0] * 3, abs=1)
    assert made.quality.metrics[0].loss.loss.value <= 1
    assert "--max-drop 1 of map" in done.stdout
    assert "map loss" in done.stdout


def test_a_budget_needs_a_metric_with_an_interval(grid: Path) -> None:
    for command in ("convert", "tune"):
        done = run_edgeq(
            command, "float.tflite", *GRID, "--metric", "mine:score", "--max-drop", "1",
            "-o", "int8.tflite", cwd=grid,
        )  # fmt: skip
        assert done.returncode == 2
        assert "mine:score has no interval" in " ".join(done.stderr.split())


def test_a_gate_limits_the_loss_of_a_metric(detector: Path) -> None:
    run_edgeq("compare", "float.tflite", "int8.tflite", *ALL, "--no-latency",
              "-o", "compare.json", cwd=detector)  # fmt: skip
    (detector / "edgeq.toml").write_text(
        "[policy.metrics.map]\nmax_loss = 1\nmin_value = 50\n"
        '[policy.metrics."map@0.75"]\nmin_value = 50\n'
        '[policy.metrics."map@0.5"]\nmax_loss = 50\nmax_value = 20\n'
    )
    done = run_edgeq("gate", "compare.json", "-o", "gate.json", cwd=detector)
    assert done.returncode == 3
    rules = read_record(detector / "gate.json").value.rules
    assert [(rule.rule, rule.verdict) for rule in rules] == [
        ("metrics.map.max_loss", "fail"),
        ("metrics.map.min_value", "pass"),
        ("metrics.map@0.75.min_value", "cannot-tell"),
        ("metrics.map@0.5.max_loss", "pass"),
        ("metrics.map@0.5.max_value", "fail"),
    ]
    (finding,) = rules[0].findings
    (origin,) = finding.origins
    assert (finding.unit, origin.json_path) == ("points", "$.losses[0].loss")
    assert rules[2].findings[0].reason == "no record has the metric map@0.75"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"--decode": "boxes=xxyy"}, "boxes is 'xxyy'"),
        ({"--labels": "none.json"}, "There is no file or folder none.json"),
        ({"--labels": "float.tflite"}, "is not a kind of labels that edgeq reads"),
        ({"--decode": None}, "nothing says how to read them from outputs of the shape (12, 6)"),
        ({"--metric": "f2"}, "Unknown metric 'f2'"),
    ],
)
def test_what_is_typed_wrong(detector: Path, changed: dict[str, Any], message: str) -> None:
    options = dict(zip(ALL[::2], ALL[1::2], strict=True)) | {"--metric": "map"} | changed
    words = [word for pair in options.items() if pair[1] is not None for word in pair]
    done = run_edgeq("eval", "float.tflite", *words, cwd=detector)
    assert done.returncode != 0
    assert message in " ".join(done.stderr.split())


def test_masks_are_scored_by_intersection_over_union(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for number in range(6):
        classes = random.integers(0, 3, (4, 4)).astype(np.uint8)
        Image.fromarray(np.eye(3, dtype=np.uint8)[classes] * 200).save(
            tmp_path / "images" / f"{number}.png"
        )
        if number == 0:
            classes = (classes + 1) % 3
        Image.fromarray(classes).save(tmp_path / "masks" / f"{number}.png")
    (tmp_path / "float.tflite").write_bytes(passing((1, 4, 4, 3), (1, 4, 4, 3), None))
    done = run_edgeq("eval", "float.tflite", "--data", "images", "--labels", "masks", "-o",
                     "eval.json", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    (metric,) = evaluated(tmp_path / "eval.json").metrics
    assert metric.name == "miou"
    # one picture of six is wholly wrong: 80 hits of 112 pixels in the unions of all classes
    assert 65 < metric.value < 77
    assert metric.interval is not None
    assert metric.interval.low < 55
    assert metric.interval.high > 90


def test_a_regressor_is_judged_by_the_variance_it_explains(tmp_path: Path) -> None:
    values = np.random.default_rng(2).uniform(0, 100, (400, 1)).astype(np.float32)
    np.save(tmp_path / "x.npy", values)
    np.save(tmp_path / "y.npy", values[:, 0])
    (tmp_path / "float.tflite").write_bytes(passing((1, 1), (1, 1), None))
    (tmp_path / "fine.tflite").write_bytes(passing((1, 1), (1, 1), 100 / 127))
    (tmp_path / "coarse.tflite").write_bytes(passing((1, 1), (1, 1), 25.0))
    words = ("--data", "x.npy", "--labels", "y.npy", "--no-latency", "-o", "compare.json")
    run_edgeq("compare", "float.tflite", "fine.tflite", *words, cwd=tmp_path)
    fine = compared(tmp_path / "compare.json")
    assert [loss.name for loss in fine.losses] == ["r2", "mae", "rmse"]
    assert any("r2 loss" in text and "proven within 0.01" in text for text in fine.reasons)
    assert fine.verdict == "ship"
    run_edgeq("compare", "float.tflite", "coarse.tflite", *words, cwd=tmp_path)
    coarse = compared(tmp_path / "compare.json")
    assert any("r2 loss" in text and "proven above 0.01" in text for text in coarse.reasons)
    # uniform errors of a step of 25: the step over the root of 12
    assert coarse.losses[2].loss.value == pytest.approx(25 / np.sqrt(12), rel=0.1)
    assert coarse.verdict == "no"
