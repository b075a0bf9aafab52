"""`edgeq run` as users call it: what is done, what is kept, and how it ends."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

from edgeq.children.other_python import OtherPython
from edgeq.errors import DataError, GateError, OutputError, UsageError
from edgeq.packaging.verification.verify import verify_package
from edgeq.pipeline.state import locked
from edgeq.records import reading
from tests.pipeline.conftest import edgeq, edit, kept, run

ALL = ["baseline", "convert", "compare local", "gate", "report"]
UNREACHABLE = '[devices.pi4]\naddress = "ssh://nobody@127.0.0.1:9"\n\n[policy]'


def test_everything_is_done_and_said(finished: Path) -> None:
    lines = (finished / "first.txt").read_text().splitlines()
    path = finished / "edgeq.toml"
    assert lines[0] == f"{path}: {finished}/model.keras -> {finished}/build/model.tflite"
    assert [line.partition("  ")[0] for line in lines[2:7]] == ALL
    assert "INT8, 48.0 kB, SQNR " in lines[3]
    assert ", p50 " in lines[4]
    assert "PASS: Every rule is met." in lines
    assert lines[-1] == (
        f"In {finished}/build: model.fp32.tflite, model.tflite, model.tflite.json, "
        "model.compare-local.json, model.gate.json, model.report.html"
    )
    page = (finished / "build" / "model.report.html").read_text()
    assert "<title>SHIP: model.tflite</title>" in page and "Judged by edgeq gate" in page
    kinds = {
        path.name: reading.read_record(path).kind
        for path in (finished / "build").glob("*.json")
        if path.name != "model.run-state"
    }
    assert kinds == {
        "model.tflite.json": "convert",
        "model.compare-local.json": "compare",
        "model.gate.json": "gate",
    }


def test_what_is_unchanged_is_kept(project: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (project / "build").iterdir()}
    (project / "model.keras").touch()
    done = run(project)
    assert kept(done) == ALL
    assert done.return_value == 0
    assert "PASS: Every rule is met." in done.stdout
    unlocked = {path: moment for path, moment in before.items() if path.suffix != ".lock"}
    assert all(path.stat().st_mtime_ns == moment for path, moment in unlocked.items())


def test_a_program_is_told_in_json(project: Path) -> None:
    done = run(project, "--json")
    told = json.loads(done.stdout)
    assert told["verdict"] == "pass"
    *steps, package = [(step["name"], step["state"]) for step in told["steps"]]
    assert steps == [(name, "kept") for name in ALL]
    assert package == ("package", "left out")  # there is no [package]
    assert all(Path(path).is_file() for step in told["steps"] for path in step["outputs"])


def test_another_policy_is_only_a_gate_and_a_page(project: Path) -> None:
    edit(project, "min_sqnr_db = 10", "min_sqnr_db = 90")
    done = run(project)
    assert kept(done) == ALL[:3]
    assert re.search(r"gate +FAIL \(changed: edgeq\.toml; \d+\.\d s\)", done.stdout)
    assert done.return_value == 3
    assert "<title>NO: model.tflite" in (project / "build" / "model.report.html").read_text()
    assert run(project).return_value == 3  # also when the verdict is kept


def test_a_figure_that_no_record_has_is_status_4(project: Path) -> None:
    edit(project, "[policy]", "[policy.devices.pi4]\nmax_p50_ms = 1\n\n[policy]")
    done = run(project)
    assert kept(done) == ALL[:3]
    assert done.return_value == 4
    assert "no record has such a figure of pi4; there are records of local" in done.stdout


def test_another_option_is_another_model_and_other_figures(project: Path) -> None:
    edit(project, '"fast"', '"fast"\nio = "float32"')
    done = run(project)
    assert kept(done) == ["baseline"]
    assert "(changed: io; " in done.stdout
    assert "(changed: the converted model; " in done.stdout
    assert kept(run(project)) == ALL


def test_other_test_data_are_another_comparison(project: Path) -> None:
    with np.load(project / "test.npz") as stored:
        np.savez(project / "test.npz", x=stored["x"][:150])
        np.save(project / "labels.npy", stored["y"][:150])
    text = (project / "edgeq.toml").read_text()
    more = 'test = "test.npz"\nlabels = "labels.npy"\nmetrics = ["f1", "top3"]\n'
    (project / "edgeq.toml").write_text(text.replace('test = "test.npz"\n', more))
    done = run(project)
    assert kept(done) == ["baseline", "convert"]
    assert re.search(r"\(changed: [^;]*the labels", done.stdout), done.stdout
    found = reading.read_record(project / "build" / "model.compare-local.json").value
    assert [loss.name for loss in found.losses] == ["f1", "top3"]
    assert found.quality.baseline_accuracy_percent > 80


def test_a_damaged_output_is_made_again_and_what_is_behind_it_kept(project: Path) -> None:
    output = project / "build" / "model.tflite"
    content = output.read_bytes()
    output.write_bytes(content[:-1])
    (project / "build" / "model.gate.json").unlink()
    done = run(project)
    assert kept(done) == ["baseline", "compare local"]
    assert "(model.tflite was changed; " in done.stdout
    assert output.read_bytes() == content  # the same inputs give the same bytes


def test_stages_are_done_again_when_asked_for(project: Path) -> None:
    assert kept(run(project, "--from", "compare")) == ["baseline", "convert"]
    assert "(requested again; " in run(project, "--from", "gate").stdout


def test_options_go_before_the_file(project: Path) -> None:
    assert kept(run(project, "--effort", "fast", "--device", "local,local")) == ALL
    done = run(project, "--output", project / "other.tflite", "--scheme", "dynamic")
    assert done.return_value == 0, done.output
    assert "DYNAMIC, " in done.stdout
    assert kept(run(project)) == ALL  # another output has its own state


def test_a_run_that_is_killed_goes_on(project: Path) -> None:
    edit(project, '"fast"', '"fast"\nbatch = 2')
    command = [sys.executable, "-c", "import edgeq.cli; edgeq.cli.main()", "run"]
    with subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE) as child:
        # Its first line is printed before the work, those of the steps after it.
        assert child.stdout is not None
        while not child.stdout.readline().startswith(b"baseline"):
            assert child.poll() is None
        time.sleep(0.2)  # it converts by now, for seconds
        child.send_signal(signal.SIGKILL)
    left = project / "build" / ".model.tflite.abc.tmp"
    left.write_bytes(b"half")
    done = run(project)
    assert kept(done) == ["baseline"]
    assert "(changed: batch; " in done.stdout
    assert done.return_value == 0
    assert not list((project / "build").glob(".*.tmp"))


def test_ctrl_c_says_that_what_is_done_stays(project: Path) -> None:
    edit(project, '"fast"', '"fast"\nbatch = 2')
    # Where the tests run in the background, a shell has Ctrl-C ignored.
    code = "import edgeq.cli, signal as s; s.signal(s.SIGINT, s.default_int_handler)"
    command = [sys.executable, "-c", f"{code}; edgeq.cli.main()", "run"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=project, **pipes) as child:
        while not child.stdout.readline().startswith("baseline"):
            assert child.poll() is None
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate()
    assert child.returncode == 130
    assert errors == "Interrupted; finished steps are kept, and the same command continues.\n"
    assert kept(run(project))[0] == "baseline"


def test_of_two_runs_for_one_output_the_second_refuses(project: Path) -> None:
    with locked(project / "build" / "model.run.lock", "it"):
        done = run(project)
    assert isinstance(done.exception, OutputError)
    assert "is making " in done.exception.message
    assert done.exception.message.startswith("Another `edgeq run` (process ")
    assert run(project).return_value == 0  # the lock went with its owner


def test_a_device_that_fails_is_said_and_tried_alone_the_next_time(project: Path) -> None:
    edit(project, 'devices = ["local"]\n', "")
    edit(project, "[policy]", f'[devices.me]\naddress = "local"\n{UNREACHABLE}')
    done = run(project)
    assert kept(done) == ["baseline", "convert"]
    assert "compare pi4  FAILED: pi4 cannot be reached: connection refused." in done.stdout
    assert "Failed: compare pi4, so the status is 1; the next run tries again." in done.stderr
    assert done.return_value == 1
    edit(project, "[policy]\n", "[policy]\nmax_peak_memory = '900 MB'\naccept = ['bench.load']\n")
    done = run(project)
    assert kept(done) == ["baseline", "convert", "compare me"]
    assert "pi4 gave no result: pi4 cannot be reached: connection refused" in done.stdout
    assert done.return_value == 4


def test_samples_from_a_function_are_never_taken_for_unchanged(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(project))
    (project / "pipeline_samples.py").write_text(
        "import numpy as np\n"
        f"stored = np.load({str(project / 'samples.npz')!r})\n"
        "def images():\n    yield from stored['x'].astype('float32')[..., None]\n"
    )
    edit(project, '"samples.npz"', '"pipeline_samples:images"')
    assert run(project, "--trust-project").return_value == 0
    done = run(project, "--trust-project")
    assert kept(done) == ["baseline", "compare local"]
    assert "(pipeline_samples:images is code, which may have changed; " in done.stdout


def test_a_board_in_the_policy(tflite_micro: OtherPython, project: Path) -> None:
    """The stage `fit` measures before the gate; a board of another size is another result."""
    board = '\n[boards.own]\nflash = "1MB"\nram = "{}"\n'
    edit(project, "[policy]", '[policy]\nfit = "own"')
    with (project / "edgeq.toml").open("a") as stream:
        stream.write(board.format("1KB"))
    done = run(project)
    assert done.return_value == 3
    assert "fit            NO on own" in done.stdout
    assert "RAM is too small by " in done.stdout
    edit(project, board.format("1KB"), board.format("1MB"))
    done = run(project)
    assert done.return_value == 0 and "fit            FITS on own" in done.stdout
    assert kept(run(project)) == [*ALL[:3], "fit", *ALL[3:]]


def test_without_test_data_and_policy_that_is_said(project: Path) -> None:
    edit(project, 'test = "test.npz"\n', "")
    edit(project, '[policy]\nmin_sqnr_db = 10\nmax_size = "1 MB"\n', "")
    done = run(project)
    assert done.return_value == 0
    assert "compare local" not in done.stdout
    assert "compare        left out: [data] does not name test data" in done.stdout
    assert f"gate           left out: {project}/edgeq.toml has no [policy]" in done.stdout
    assert "Nothing was judged: add a [policy] for a verdict of pass or fail." in done.stdout


def test_a_search_instead_of_a_conversion(project: Path) -> None:
    edit(project, 'effort = "fast"\n', "")
    edit(project, "[run]", "[tune]\nmin_sqnr = 20\nmax_trials = 2\n\n[run]")
    done = run(project)
    assert done.return_value == 4  # it searched and is measured on the same few samples
    assert "[tune.same_samples]" in done.stdout
    edit(project, "[policy]", '[policy]\naccept = ["tune.same_samples"]')
    assert run(project).return_value == 0
    assert reading.read_record(project / "build" / "model.tflite.json").kind == "tune"
    assert kept(run(project)) == ["baseline", "tune", "compare local", "gate", "report"]
    done = run(project, "--min-sqnr", "90")
    assert isinstance(done.exception, GateError)


def test_what_means_nothing_costs_no_work(project: Path, tmp_path: Path) -> None:
    edit(project, "effort", "efort")
    done = run(project)
    assert isinstance(done.exception, UsageError)
    assert done.exception.message == f"{project}/edgeq.toml, line 3: unknown key 'efort'."
    assert done.stdout == ""
    done = edgeq("run", "--file", tmp_path / "none.toml")
    assert done.exception.message == f"There is no {tmp_path}/none.toml."


def test_data_that_are_not_there_are_named_with_their_line(project: Path) -> None:
    edit(project, '"test.npz"', '"tset.npz"')
    done = run(project)
    assert isinstance(done.exception, DataError)
    assert done.exception.message == (
        f"{project}/edgeq.toml, line 7: there is no file or folder {project}/tset.npz for test."
    )
    assert done.exception.hint.startswith(f"Did you mean '{project}/test.npz'? Name an .npz")


def test_a_size_that_is_missing_is_declared_in_the_file(project: Path) -> None:
    np.savez(project / "samples.npz", x=np.zeros((20, 56, 56, 1), np.uint8))
    edit(project, "[run]", 'preprocess = ["scale=1/255"]\n\n[run]')
    done = run(project)
    assert isinstance(done.exception, DataError)
    assert done.exception.hint == (
        f'Declare it in [data] of {project}/edgeq.toml: preprocess = ["scale=1/255,resize=28x28"]'
    )


def test_packages_are_made_of_what_passed_the_gate_only(project: Path) -> None:
    (project / "labels.txt").write_text("\n".join(f"class {number}" for number in range(10)))
    with (project / "edgeq.toml").open("a") as stream:
        stream.write('\n[package]\ntargets = ["python"]\nlabels = "labels.txt"\n')
    assert "left out" not in run(project).stdout
    path = project / "build" / "model.python.zip"
    result = verify_package(path)
    assert result.is_sound and result.manifest.gate.word == "pass"
    assert kept(run(project)) == [*ALL, "package python"]
    edit(project, "min_sqnr_db = 10", "min_sqnr_db = 90")
    done = run(project)
    assert done.return_value == 3
    assert "package left out: the gate says fail" in " ".join(done.stdout.split())
    assert not path.exists()  # what an earlier run packaged is not taken for this model


def test_a_form_is_that_of_the_target_that_has_forms(
    tflite_micro: OtherPython, project: Path
) -> None:
    with (project / "edgeq.toml").open("a") as stream:
        stream.write('\n[package]\ntargets = ["python", "c"]\nform = "arduino"\n')
    assert run(project).return_value == 0
    with ZipFile(project / "build" / "model.c.zip") as package:
        assert "library.properties" in package.namelist()


def test_nothing_stale_stays_beside_a_new_model(project: Path) -> None:
    """A run that breaks off after the conversion leaves no verdict of the model before."""
    build = project / "build"
    assert (build / "model.gate.json").exists() and (build / "model.report.html").exists()
    edit(project, '"fast"', '"fast"\nscheme = "dynamic"')
    np.savez(project / "test.npz", x=np.zeros((4, 5, 5), np.uint8), y=np.zeros(4, int))
    assert isinstance(run(project).exception, DataError)
    assert reading.read_record(build / "model.tflite.json").value.model.scheme == "dynamic"
    assert not (build / "model.gate.json").exists()
    assert not (build / "model.report.html").exists()


def test_what_is_no_longer_asked_for_is_removed(project: Path) -> None:
    text = (project / "edgeq.toml").read_text()
    (project / "edgeq.toml").write_text(text[: text.index("[policy]")])
    run(project)
    assert not (project / "build" / "model.gate.json").exists()
    (project / "edgeq.toml").write_text(text)
    assert run(project).return_value == 0


def test_a_mistake_costs_nothing_that_was_done(project: Path) -> None:
    assert isinstance(run(project, "--preprocess", "skale=1").exception, UsageError)
    assert kept(run(project))[:3] == ALL[:3]


def test_the_records_of_this_run_are_no_baseline(project: Path) -> None:
    edit(project, "[run]", '[run]\nbaseline_records = ["build/model.tflite.json"]')
    error = run(project).exception
    assert isinstance(error, UsageError) and "this run itself writes" in error.message
