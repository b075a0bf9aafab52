"""The commands as a user types them, the wrong ways included; some in separate processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeq import models
from edgeq.cli import options
from edgeq.errors import DataError
from edgeq.issues import make_issue
from edgeq.values import FloatModel
from tests.commands import run_edgeq as edgeq

CALIBRATION = models.path("fashion_mnist_calibration.npz")
TEST = models.path("fashion_mnist_test.npz")
MOBILENET = models.path("fmnist_mobilenet.keras")


# Where a test is not about how good the file is: no corrections.
FAST = ("--effort", "fast")


def edgeq_alone(*arguments: object) -> subprocess.CompletedProcess[str]:
    """In a separate process."""
    command = [sys.executable, "-c", "from edgeq.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def complaint(done: subprocess.CompletedProcess[str], status: int = 1) -> str:
    """The error sentence of a command that failed as it should."""
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


# ---------------------------------------------------------------- the good ways


def test_convert_writes_the_model_and_its_record(int8_mobilenet: Path) -> None:
    record = json.loads(int8_mobilenet.with_name("mobilenet.tflite.json").read_text())
    assert record["schema"] == "edgeq.record/1"
    assert record["kind"] == "convert"
    assert record["certificate"]["problems"] == []
    assert {op["precision"] for op in record["certificate"]["operators"]} == {"int8"}
    assert record["certificate"]["float_islands"] == 0
    assert record["quality"]["is_held_out"] is True
    assert record["quality"]["outputs"][0]["sqnr_db"] > 15
    assert record["data"]["preprocessing"][0]["scale"] == pytest.approx(1 / 255)
    assert record["model"]["file"]["size_bytes"] == int8_mobilenet.stat().st_size
    assert dict(record["versions"])["tensorflow"].startswith("2.21")


def test_the_same_inputs_give_the_same_bytes(int8_mobilenet: Path, tmp_path: Path) -> None:
    out = tmp_path / "again.tflite"
    arguments = ["--data", CALIBRATION, "--preprocess", "scale=1/255", "-o", out]
    done = edgeq_alone("convert", MOBILENET, *arguments)
    assert done.returncode == 0, done.stderr
    assert out.read_bytes() == int8_mobilenet.read_bytes()
    # Nothing of the libraries'; on a busy machine there may be a line of progress.
    form = r"[a-z ,]+(: \d+ (of \d+|done)| \.\.\.)"
    assert all(re.fullmatch(form, line) for line in done.stderr.splitlines()), done.stderr
    for expected in (
        "Read back from the file: full integer, INT8 weights and activations",
        "0 float islands",
        "weights      INT8 symmetric per channel",
        "activations  INT8 asymmetric per tensor",
        "Against the float model on 60 held-out samples",
        f"Wrote {out} and {out}.json",
    ):
        assert expected in done.stdout
    assert "Saved artifact" not in done.stdout


def test_json_prints_the_record_alone(float_cnn: FloatModel, tmp_path: Path) -> None:
    out = tmp_path / "m.tflite"
    done = edgeq_alone("convert", float_cnn.file.path, "--scheme", "fp16", "-o", out, "--json")
    assert done.returncode == 0, done.stderr
    told, kept = json.loads(done.stdout), json.loads((tmp_path / "m.tflite.json").read_text())
    for record in (told, kept):
        del record["provenance"]["created"]  # to the second, and they are made one after the other
    assert told == kept


def test_operators_kept_in_float_are_those_that_were_named(float_file: str, tmp_path: Path) -> None:
    arguments = ["--data", CALIBRATION, "--preprocess", "scale=1/255", "-o", tmp_path / "o.tflite"]
    selectors = ["--keep-float", "type:softmax", "--keep-float", "type:MEAN"]
    done = edgeq("convert", float_file, *arguments, *selectors, *FAST)
    assert done.returncode == 0, done.stderr
    assert "file: mixed: 22 operators in INT8, 2 operators kept in float\n" in done.stdout
    record = json.loads((tmp_path / "o.tflite.json").read_text())
    found = {op["name"]: op["precision"] for op in record["certificate"]["operators"]}
    floats = {name for name, precision in found.items() if precision == "float32"}
    assert floats == {"SOFTMAX", "MEAN"}
    assert record["certificate"]["inputs"][0]["dtype"] == "int8"
    assert record["certificate"]["outputs"][0]["dtype"] == "int8"


def test_operators_get_int16_activations_by_name(float_file: str, tmp_path: Path) -> None:
    arguments = ["--data", CALIBRATION, "--preprocess", "scale=1/255", "-o", tmp_path / "o.tflite"]
    selectors = ["--keep-float", "type:MEAN", "--int16", "type:SOFTMAX"]
    done = edgeq("convert", float_file, *arguments, *selectors, *FAST)
    assert done.returncode == 0, done.stderr
    exceptions = "1 operator with INT16 activations, 1 operator kept in float"
    assert f"mixed: 22 operators in INT8, {exceptions}\n" in done.stdout
    assert "activations  INT16 symmetric, INT8 asymmetric per tensor" in done.stdout
    record = json.loads((tmp_path / "o.tflite.json").read_text())
    found = {op["name"]: op["precision"] for op in record["certificate"]["operators"]}
    assert (found["MEAN"], found["SOFTMAX"]) == ("float32", "int16x8")


def test_a_file_that_is_all_float_is_told(float_file: str, tmp_path: Path) -> None:
    arguments = ["--data", CALIBRATION, "--preprocess", "scale=1/255", "-o", tmp_path / "o.tflite"]
    done = edgeq("convert", float_file, *arguments, "--keep-float", ".*", "--effort", "fast")
    assert done.returncode == 0, done.stderr
    assert "Read back from the file: 24 operators kept in float\n" in done.stdout
    assert "--keep-float selects all 24 operators: nothing is quantized." in " ".join(
        done.stdout.split()
    )
    assert "float island" not in done.stdout


def test_eval_refuses_sizes_that_no_model_takes(int8_mobilenet: Path) -> None:
    for option, value in (("--input-shape", "image=1,28,28,1"), ("--fix-input", "rate=7.5")):
        done = edgeq("eval", int8_mobilenet, "--data", TEST, option, value)
        assert done.returncode == 2
        assert f"No model takes {option} {value}: all are .tflite files" in done.stderr


def test_test_data_that_calibrated_is_not_held_out(float_file: str, tmp_path: Path) -> None:
    with np.load(TEST) as stored:
        np.savez(tmp_path / "d.npz", x=stored["x"][:100], y=stored["y"][:100])
    data = ["--data", tmp_path / "d.npz", "--test-data", tmp_path / "d.npz", "--samples", 50]
    given = ["--preprocess", "scale=1/255", "--effort", "fast", "--max-drop", 1.5]
    done = edgeq("convert", float_file, *data, *given, "-o", tmp_path / "o.tflite")
    assert done.returncode == 0, done.stderr
    assert "float model on 100 samples, those that calibrated among them" in done.stdout
    assert "[convert.not_held_out]" in done.stdout
    assert "to prove 1.5. [convert.few_samples]" in " ".join(done.stdout.split())
    record = json.loads((tmp_path / "o.tflite.json").read_text())
    assert record["quality"]["is_held_out"] is False
    assert record["validity"] == "degraded"


@pytest.mark.parametrize("selector", ["--keep-float", "--int16"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scheme", "fp16"], "{} requires --scheme int8 and edgeq's own calibrator."),
        (["--calibrator", "tflite"], "{} requires --scheme int8 and edgeq's own"),
        ([], "{} 'nothing' matches none of the model's 24 operators."),
        (
            ["--keep-float", "type:MEAN", "--int16", "type:MEAN"],
            "{} 'nothing' matches none of the model's 24 operators.",
        ),
    ],
)
def test_a_mix_that_cannot_be_followed(
    options: list[str], message: str, selector: str, float_file: str, tmp_path: Path
) -> None:
    message = message.format(selector)
    arguments = ["--data", CALIBRATION, "-o", tmp_path / "o.tflite", selector, "nothing"]
    done = edgeq("convert", float_file, *arguments, *options)
    assert f"error: {message}" in complaint(done, 2)
    assert list(tmp_path.iterdir()) == []


def test_eval_uses_the_preprocessing_that_the_file_carries(int8_mobilenet: Path) -> None:
    done = edgeq_alone("eval", int8_mobilenet, "--data", TEST, "--samples", 500, "--json")
    assert done.returncode == 0, done.stderr
    (evaluation,) = json.loads(done.stdout)["evaluations"]
    assert evaluation["metrics"][0]["name"] == "top1"
    assert evaluation["metrics"][0]["value"] > 88
    assert evaluation["interval"]["low"] < evaluation["metrics"][0]["value"]


def test_wrong_preprocessing_costs_more_than_int8_does(int8_mobilenet: Path) -> None:
    arguments = ["--data", TEST, "--samples", 500, "--preprocess", "scale=1", "--json"]
    done = edgeq("eval", int8_mobilenet, *arguments)
    assert json.loads(done.stdout)["evaluations"][0]["metrics"][0]["value"] < 70


def test_compare_counts_in_pairs_and_gives_a_verdict(int8_mobilenet: Path, tmp_path: Path) -> None:
    record_path = tmp_path / "r.json"
    arguments = ["--data", TEST, "--samples", 1000, "--runs", 50, "-o", record_path]
    done = edgeq_alone("compare", MOBILENET, int8_mobilenet, *arguments)
    assert done.returncode == 0, done.stderr
    assert "Verdict: " in done.stdout
    record = json.loads(record_path.read_text())
    pairs = record["quality"]["paired"]
    assert sum(pairs.values()) == 1000
    assert record["quality"]["baseline_accuracy_percent"] == pytest.approx(
        (pairs["both_right"] + pairs["only_baseline"]) / 10
    )
    assert record["size_ratio"] > 1.5
    assert [run["latency"]["count"] for run in record["bench"]["runs"]] == [50, 50]


def test_compare_tells_what_is_fed_otherwise_or_of_other_layers(
    int8_mobilenet: Path, tmp_path: Path
) -> None:
    import edgeq as package

    given = {"samples": 20, "latency": False}
    source = models.path("fmnist_uneven.keras")
    same = package.compare(MOBILENET, int8_mobilenet, TEST, preprocess="scale=1/255", **given)
    assert same.issues == ()
    assert same.baseline.path == f"{MOBILENET} (lowered to .tflite)"
    other = package.compare(source, int8_mobilenet, TEST, preprocess="scale=1/200", **given)
    raw = package.compare(MOBILENET, int8_mobilenet, TEST, preprocess=(), **given)
    beyond, _ = raw.issues
    assert beyond.code == "data.range_mismatch"
    assert beyond.message == (
        "Most values for input 'image' are 0 to 231, but the candidate's range is 0 to 1."
    )
    fed, layers = other.issues
    assert fed.code == "compare.fed_otherwise"
    assert fed.message == (
        "The candidate declares 'scale=1/255' and was fed 'scale=0.005'; remove --preprocess."
    )
    assert layers.code == "compare.other_layers"
    assert layers.message.startswith("These are two different models: layer ")
    assert other.verdict != "ship"


def test_a_folder_needs_its_size_beside_the_preprocessing_of_the_file(
    int8_mobilenet: Path, float_file: Path, tmp_path: Path
) -> None:
    """The hint is the whole declaration, because what is typed replaces what the file declares."""
    import edgeq as package

    folder = tmp_path / "photos"
    folder.mkdir()
    images = np.load(TEST)["x"][:3].reshape(-1, 28, 28)
    for number, image in enumerate(images):
        large = np.repeat(np.repeat(image, 2, 0), 2, 1)
        Image.fromarray(large).convert("RGB").save(folder / f"{number}.png")
    whole = "scale=1/255,resize=28x28,channels=gray"
    quick: dict[str, Any] = {"rounds": 3, "runs": 5}
    for call in (
        lambda: package.compare(float_file, int8_mobilenet, folder),
        lambda: package.evaluate(int8_mobilenet, folder),
        lambda: package.bench(int8_mobilenet, data=folder, **quick),
    ):
        with pytest.raises(DataError) as caught:
            call()
        assert caught.value.hint == f"Declare it: --preprocess {whole}"
    package.bench(int8_mobilenet, data=folder, preprocess=whole, **quick)
    given = {"samples": 3, "latency": False}
    found = package.compare(float_file, int8_mobilenet, folder, preprocess=whole, **given)
    assert found.issues == ()
    part = "resize=28x28,channels=gray"
    found = package.compare(float_file, int8_mobilenet, folder, preprocess=part, **given)
    assert [issue.message for issue in found.issues if issue.code == "compare.fed_otherwise"] == [
        f"The candidate declares 'scale=1/255' and was fed '{part}'; write --preprocess "
        f"{part},scale=1/255."
    ]


def test_a_scheme_may_be_typed_in_capitals(float_file: Path, tmp_path: Path) -> None:
    done = edgeq("convert", float_file, "--scheme", "FP16", "-o", tmp_path / "half.tflite")
    assert done.returncode == 0, done.stderr


def test_a_sample_with_nan_is_not_a_wrong_answer(float_file: Path, int8_mobilenet: Path) -> None:
    import edgeq as package

    samples = np.zeros((6, 28, 28, 1), np.float32)
    samples[4, 3, 3] = np.nan
    data = {"x": samples, "y": np.zeros(6, np.int64)}
    for call in (
        lambda: package.evaluate(float_file, data),
        lambda: package.compare(float_file, int8_mobilenet, data, latency=False),
    ):
        with pytest.raises(DataError, match=r"^Sample 4 of <arrays> has NaN for input 'image'\. "):
            call()


def test_samples_on_another_scale_than_the_candidate_takes_are_told(
    float_file: Path, int8_mobilenet: Path
) -> None:
    import edgeq as package

    with np.load(TEST) as data:
        small = data["x"][:20].astype(np.float32) / 255
    found = package.compare(float_file, int8_mobilenet, small, latency=False)
    assert [(issue.code, issue.message) for issue in found.issues] == [
        ("data.normalized_twice", "Values for input 'image' are only 0 to 0.00392, but the "
         "candidate's range is 0 to 1: the samples seem to be normalized before 'scale=1/255' "
         "does it; give raw samples."),
    ]  # fmt: skip
    blank = np.zeros((20, 28, 28, 1), np.uint8)
    assert package.compare(float_file, int8_mobilenet, blank, latency=False).issues == ()


def test_a_file_that_was_calibrated_without_preprocessing_is_told(
    float_file: Path, tmp_path: Path
) -> None:
    import edgeq as package

    raw = tmp_path / "raw.tflite"
    package.convert(float_file, raw, data=CALIBRATION, effort="fast")
    given = {"samples": 20, "latency": False}
    found = package.compare(float_file, raw, TEST, preprocess="scale=1/255", **given)
    assert [issue.code for issue in found.issues] == ["compare.fed_otherwise"]
    beginning = (
        "The candidate seems to be calibrated without preprocessing: its range for input 'image' "
        "is 0 to 255. It was fed with 'scale=1/255', which gives 0 to 1: "
    )
    again = "convert again with --preprocess scale=1/255."
    assert found.issues[0].message == (
        f"{beginning}remove --preprocess, or, if the model learned from such values, {again}"
    )
    record = raw.with_name("raw.tflite.json")
    made = json.loads(record.read_text())
    doubt = make_issue("data.not_normalized", "It looks raw.")
    record.write_text(json.dumps({**made, "issues": [asdict(doubt)]}))
    found = package.compare(float_file, raw, TEST, preprocess="scale=1/255", **given)
    assert found.issues[0].message == beginning + again
    record.unlink()
    with np.load(TEST) as data:
        small = data["x"][:20].astype(np.float32) / 255
    found = package.compare(float_file, raw, small, latency=False)
    assert [(issue.code, issue.message) for issue in found.issues] == [
        ("data.range_mismatch", "Values for input 'image' are only 0 to 1, but the candidate's "
         "range is 0 to 255: the samples seem to be on another scale than those that calibrated "
         "it."),
    ]  # fmt: skip
    assert package.compare(float_file, raw, TEST, **given).issues == ()


def test_two_inputs_are_matched_by_name(tmp_path: Path) -> None:
    """Both inputs have the same shape: matched by position, accuracy would fall to chance."""
    model, out = models.path("fmnist_two_input.keras"), tmp_path / "two.tflite"
    done = edgeq_alone(
        "convert", model, "--data", "edgeq.models.data:two_input_calibration", "-o", out, *FAST
    )
    assert done.returncode == 0, done.stderr
    done = edgeq_alone(
        "compare", model, out, "--data", "edgeq.models.data:two_input_test", "--no-latency",
        "--samples", 500, "--json",
    )  # fmt: skip
    quality = json.loads(done.stdout)["quality"]
    assert quality["baseline_accuracy_percent"] > 85
    assert quality["candidate_accuracy_percent"] > 85


def test_a_gru_is_unrolled_and_says_so(tmp_path: Path) -> None:
    out = tmp_path / "gru.tflite"
    done = edgeq(
        "convert", models.path("fmnist_gru.keras"), "-o", out,
        "--data", "edgeq.models.data:gru_calibration", *FAST,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "recurrent layers unrolled into single steps" in done.stdout
    assert "0 float islands" in done.stdout


def test_bench_prints_a_ratio_with_its_interval(
    float_mobilenet: FloatModel, int8_mobilenet: Path
) -> None:
    done = edgeq_alone("bench", float_mobilenet.file.path, int8_mobilenet, "--runs", 40)
    assert done.returncode == 0, done.stderr
    assert "95 % interval" in done.stdout
    assert "mobilenet.tflite" in done.stdout


# ---------------------------------------------------------------- the wrong ways


@pytest.fixture(scope="module")
def float_file(float_mobilenet: FloatModel) -> str:
    return float_mobilenet.file.path


def test_a_missing_model(tmp_path: Path) -> None:
    out = tmp_path / "o.tflite"
    done = edgeq_alone("convert", tmp_path / "no.keras", "--data", CALIBRATION, "-o", out)
    assert f"error: {tmp_path}/no.keras does not exist." in complaint(done)
    assert list(tmp_path.iterdir()) == []


def test_an_already_quantized_model(int8_mobilenet: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.tflite"
    done = edgeq_alone("convert", int8_mobilenet, "--data", CALIBRATION, "-o", out)
    assert "is already quantized: " in complaint(done)
    assert list(tmp_path.iterdir()) == []


def test_no_data(float_file: str, tmp_path: Path) -> None:
    done = edgeq_alone("convert", float_file, "-o", tmp_path / "o.tflite")
    assert "needs a representative dataset; none was given." in complaint(done, 2)


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"x": np.zeros((40, 14, 14, 1), np.float32)}, "takes 28x28x1, but sample 0 of"),
        ({"picture": np.zeros((40, 28, 28, 1), np.float32)}, "holds 'picture', but the model's"),
        ({"x": np.zeros((0, 28, 28, 1), np.float32)}, "holds no samples."),
        ({"x": np.full((40, 28, 28, 1), np.nan, np.float32)}, "holds NaN or infinity in 32 of 32"),
    ],
)
def test_data_that_does_not_fit(
    float_file: str, tmp_path: Path, arrays: dict[str, np.ndarray], expected: str
) -> None:
    np.savez(tmp_path / "d.npz", **arrays)
    done = edgeq("convert", float_file, "--data", tmp_path / "d.npz", "-o", tmp_path / "o.tflite")
    assert expected in complaint(done)
    assert [path.name for path in tmp_path.iterdir()] == ["d.npz"]


def test_an_empty_folder(float_file: str, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    done = edgeq("convert", float_file, "--data", tmp_path / "images", "-o", tmp_path / "o.tflite")
    assert "images holds no images, .npy or .wav files." in complaint(done)


def test_an_unreadable_image_among_good_ones(float_file: str, tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(40):
        Image.new("L", (28, 28), number).save(folder / f"{number:02}.png")
    (folder / "17.png").write_bytes(b"not an image")
    done = edgeq("convert", float_file, "--data", folder, "-o", tmp_path / "o.tflite")
    assert "17.png" in complaint(done)
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_an_output_that_cannot_be_written(float_file: str, tmp_path: Path) -> None:
    out = tmp_path / "none" / "o.tflite"
    done = edgeq_alone("convert", float_file, "--data", CALIBRATION, "-o", out)
    assert f"error: Cannot write {out}: No such file or directory." in complaint(done)


def test_a_full_disk(float_file: str, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(disk)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system needs root")
    try:
        arguments = ["--preprocess", "scale=1/255", "-o", disk / "o.tflite"]
        done = edgeq("convert", float_file, "--data", CALIBRATION, *arguments, *FAST)
        assert f"Cannot write {disk}/o.tflite" in complaint(done)
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_the_model_itself_is_no_output(float_file: str) -> None:
    done = edgeq("convert", float_file, "--data", CALIBRATION, "-o", float_file)
    assert f"error: -o {float_file} is the input" in complaint(done, 2)


def test_no_verb_overwrites_what_it_reads(int8_mobilenet: Path, tmp_path: Path) -> None:
    data, model = tmp_path / "data.npz", tmp_path / "m.tflite"
    data.write_bytes(TEST.read_bytes())
    model.write_bytes(int8_mobilenet.read_bytes())
    for arguments in (
        ("convert", MOBILENET, "--data", data, "-o", data),
        ("eval", model, "--data", data, "-o", data),
        ("bench", model, "-o", model),
        ("compare", MOBILENET, model, "--data", data, "-o", model),
    ):
        assert "is the input" in complaint(edgeq(*arguments), 2)
    for arguments in (
        ("compare", model, model, "--data", data, "-o", tmp_path / "no" / "r.json"),
        ("debug", model, model, "--data", data, "-o", tmp_path / "no" / "r.json"),
        ("debug", model, model, "--data", data, "--explorer", tmp_path / "no" / "r.json"),
    ):
        assert f"error: Cannot write {tmp_path}/no/r.json: No such" in complaint(edgeq(*arguments))
    assert data.read_bytes() == TEST.read_bytes()
    assert model.read_bytes() == int8_mobilenet.read_bytes()


def test_a_record_that_cannot_be_written_leaves_no_model(float_file: str, tmp_path: Path) -> None:
    (tmp_path / "o.tflite.json").mkdir()
    done = edgeq("convert", float_file, "--data", CALIBRATION, "-o", tmp_path / "o.tflite")
    assert "o.tflite.json: it is not a regular file" in complaint(done)
    assert not (tmp_path / "o.tflite").exists()


def test_label_names_of_too_few_classes_are_not_guessed(
    int8_mobilenet: Path, float_file: str, tmp_path: Path
) -> None:
    with np.load(TEST) as stored:
        names = np.array(["boot", "dress", "coat"])[stored["y"][:40] % 3]
        np.savez(tmp_path / "named.npz", x=stored["x"][:40], y=names)
    reason = (
        "The labels are 3 names (boot, coat, dress), but the model has 10 classes, so the names "
        "cannot be matched to classes."
    )
    done = edgeq("eval", int8_mobilenet, "--data", tmp_path / "named.npz")
    assert reason in complaint(done)
    wanted = ["--preprocess", "scale=1/255", "-o", tmp_path / "o.tflite"]
    done = edgeq("convert", float_file, "--data", tmp_path / "named.npz", *wanted, *FAST)
    assert done.returncode == 0, done.stderr
    assert "[data.labels_unclear]" in done.stdout
    assert "accuracy" not in done.stdout


def test_models_fed_differently_in_one_table_are_told(
    int8_mobilenet: Path, float_file: str
) -> None:
    done = edgeq("eval", float_file, int8_mobilenet, "--data", TEST, "--samples", 50)
    assert done.returncode == 0, done.stderr
    assert "[eval.fed_differently]" in done.stdout


@pytest.mark.parametrize("gate", ["--max-drop", "--min-sqnr"])
@pytest.mark.parametrize("value", ["nan", "-5"])
def test_a_gate_that_is_no_number_is_refused(
    value: str, gate: str, float_file: str, tmp_path: Path
) -> None:
    arguments = ["--data", CALIBRATION, "-o", tmp_path / "o.tflite", gate, value]
    assert f"error: {gate} must be 0 or more, not {value}." in complaint(
        edgeq("convert", float_file, *arguments), 2
    )


def test_a_full_standard_output_is_one_sentence(int8_mobilenet: Path) -> None:
    command = [sys.executable, "-c", "from edgeq.cli import main; main()"]
    command += ["bench", str(int8_mobilenet), "--runs", "5"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: The output cannot be printed: No space left on device.\n"


def test_python_callers_may_use_every_verb_twice_and_name_a_single_model(
    int8_mobilenet: Path, float_file: str
) -> None:
    import edgeq as package

    for _ in range(2):
        compared = package.compare(float_file, int8_mobilenet, TEST, samples=20, latency=False)
        assert compared.quality.sample_count == 20
    (one,) = package.evaluate(str(int8_mobilenet), TEST, metrics="top1", samples=20)
    assert one.preprocessing == ("scale=1/255",)


def test_a_gate_that_says_no_has_status_3_and_writes_nothing(
    float_file: str, tmp_path: Path
) -> None:
    out = tmp_path / "o.tflite"
    out.write_bytes(b"the old one")
    arguments = ["--preprocess", "scale=1/255", "--min-sqnr", 90, "-o", out]
    done = edgeq_alone("convert", float_file, "--data", CALIBRATION, *arguments, *FAST)
    assert "below the required 90 dB; nothing was written." in complaint(done, 3)
    assert out.read_bytes() == b"the old one"
    assert list(tmp_path.iterdir()) == [out]


def test_a_drop_over_the_budget_writes_nothing_though_its_interval_reaches_inside(
    float_cnn: FloatModel, tmp_path: Path
) -> None:
    out, few = tmp_path / "o.tflite", tmp_path / "few.npz"
    with np.load(TEST) as stored:
        np.savez(few, x=stored["x"][:60], y=stored["y"][:60])
    rough = ["--data", CALIBRATION, "--samples", 1, "--granularity", "tensor", *FAST]
    arguments = [*rough, "--test-data", few, "--max-drop", 1, "-o", out]
    said = complaint(edgeq("convert", float_cnn.file.path, *arguments), 3)
    figures = re.search(r"drops by (\S+) points \(95 % interval (\S+) to (\S+)\), more than the "
                        r"allowed 1; nothing was written\.", said)  # fmt: skip
    assert figures is not None, said
    value, low, high = map(float, figures.groups())
    assert low < 1 < value < high  # the drop of these 60 samples decides, not what is proven
    assert list(tmp_path.iterdir()) == [few]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--io", "int16"], "--io int16 cannot be combined with --scheme int8."),
        (["--batch", "many"], "--batch 'many' is neither a positive number nor 'dynamic'."),
        (["--batch", "4"], "--batch 4 has no effect: no input of "),
        (
            ["--corrections", "none,bias"],
            "--corrections none,bias combines 'none' with other corrections.",
        ),
        (
            ["--statistic", "mse", "--calibrator", "tflite"],
            "which cannot be used: --calibrator tflite was given.\n",
        ),
        (["--preprocess", "scal=1/255"], "has the unknown key 'scal'."),
        (["--scheme", "fp16", "--min-sqnr", "9"], ""),
    ],
)
def test_options_that_cannot_be_followed(
    float_file: str, tmp_path: Path, arguments: list[str], expected: str
) -> None:
    out = tmp_path / "o.tflite"
    if not expected:
        done = edgeq("convert", float_file, "-o", out, *arguments)
        assert "--min-sqnr needs samples to measure on." in complaint(done, 2)
        return
    done = edgeq("convert", float_file, "--data", CALIBRATION, "-o", out, *arguments)
    assert expected in complaint(done, 2)


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    out = tmp_path / "o.tflite"
    # A shell starts background jobs, which this test may be part of, with SIGINT ignored.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from edgeq.cli import main; main()"
    )
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    child = subprocess.Popen(
        [sys.executable, "-c", code, "convert", str(MOBILENET), "--data", str(CALIBRATION),
         "-o", str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(scratch)},
    )  # fmt: skip
    started = Path(f"/proc/{child.pid}/task/{child.pid}/children")
    while not started.read_text():  # until its first child process has started
        assert child.poll() is None, child.communicate()
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    _, stderr = child.communicate(timeout=240)
    assert child.returncode == 130
    assert stderr.endswith("Interrupted; nothing was written.\n")
    assert list(tmp_path.iterdir()) == [scratch]
    assert list(scratch.iterdir()) == []


def test_a_different_model_cannot_be_compared(int8_mobilenet: Path) -> None:
    other = models.path("fmnist_gru.keras")
    done = edgeq("compare", other, int8_mobilenet, "--data", TEST)
    assert "mobilenet.tflite is another model: its input 'image' has the shape" in complaint(done)


def test_bench_of_a_keras_file(tmp_path: Path) -> None:
    assert "is not a TensorFlow Lite model" in complaint(edgeq("bench", MOBILENET))


def test_a_missing_extra_names_the_command(tmp_path: Path) -> None:
    """Without TensorFlow: the finder that would locate it is told to find nothing."""
    code = (
        "import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'tensorflow' else find(name, *rest)\n"
        "from edgeq.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "convert", str(models.path("fmnist_cnn.keras")),
         "--data", str(CALIBRATION), "-o", str(tmp_path / "o.tflite")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert complaint(done) == (
        "error: Converting needs TensorFlow, which is not installed here.\n"
        'hint:  Install it with: pip install "edgeq[convert]"\n'
    )


# ---------------------------------------------------------------- progress


def test_a_log_gets_a_line_of_progress_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 5.0
    monkeypatch.setattr("edgeq.progress.monotonic", lambda: now)
    with options.progress_display() as show:
        show("upload, kB", 1000, 9000)
        now = 14.0
        show("upload, kB", 3000, 9000)
        assert capsys.readouterr().err == ""
        now = 15.0
        show("upload, kB", 4000, 9000)
        show("upload, kB", 5000, 9000)
        now = 26.0
        show("fetch ai-edge-litert", 0, None)
        now = 40.0
        show("measure", 8905, None)
    assert capsys.readouterr().err.splitlines() == [
        "upload, kB: 4000 of 9000",
        "fetch ai-edge-litert ...",
        "measure: 8905 done",
    ]
