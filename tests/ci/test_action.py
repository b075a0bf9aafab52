"""`action.yml` and the workflow of docs/ci: every step of ours runs, as GitHub would run it."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.ci.conftest import CI, USES, lay_out, leave_code
from tests.ci.github import Api, Runner
from tests.conftest import make_once
from tests.house import ROOT

ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
WORKFLOW = yaml.safe_load((CI / "github-actions.yml").read_text())
STEPS = WORKFLOW["jobs"]["gate"]["steps"]
(BASELINE,) = (step for step in STEPS if "run" in step)
(GIVEN,) = (step["with"] for step in STEPS if "edgeq@" in step.get("uses", ""))
(UPLOAD,) = (step["with"] for step in STEPS if "upload-artifact" in step.get("uses", ""))
RECORDS = ("model.tflite.json", "compare.json")

# Stands for GitHub's `gh`: runs.txt holds the newest good run of the main branch, if there is one.
GH = """#!/bin/sh
case "$*" in
"run list --workflow model.yml --branch main --event push --status success --limit 1 --json"*)
    cat runs.txt ;;
"run download 7 --name model --dir baseline") cp -r artifact/. baseline ;;
*) echo "gh $*: no such call" >&2; exit 64 ;;
esac
"""

MakeRunner = Callable[..., Runner]


@pytest.fixture
def make_runner(action: Path, installed: Path, tmp_path: Path) -> MakeRunner:
    """A job on the pull request 7 of me/models.

    The step `install` is not run again: the fixture `installed` has run it.
    """

    def make(workspace: Path, api: Api, token: str = "writes") -> Runner:
        folder = tmp_path / "runner"
        shutil.rmtree(folder, ignore_errors=True)
        _make_tools(folder)
        (folder / "event.json").write_text('{"pull_request": {"number": 7}}')
        runner = _runner(workspace, action, folder, installed, "pull_request", token)
        runner.environment = {**runner.environment, "GITHUB_API_URL": api.url}
        return runner

    return make


def _make_tools(folder: Path) -> None:
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "gh").write_text(GH)
    (folder / "bin" / "gh").chmod(0o755)


def _runner(
    workspace: Path, action: Path, folder: Path, installed: Path, event: str, token: str
) -> Runner:
    environment = {
        "GITHUB_EVENT_PATH": str(folder / "event.json"), "GITHUB_EVENT_NAME": event,
        "GITHUB_REPOSITORY": "me/models", "GITHUB_WORKFLOW": "model", "GITHUB_JOB": "gate",
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
    }  # fmt: skip
    return Runner(
        workspace, action, folder, USES, github={"token": token}, environment=environment,
        given_steps={"install": {"python": str(installed)}},
    )  # fmt: skip


@pytest.fixture(scope="session")
def converted(action: Path, installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which the workflow has run once, on a push, without earlier runs."""

    def work(folder: Path) -> None:
        workspace = folder / "workspace"
        lay_out(workspace)
        _make_tools(folder)
        (workspace / "runs.txt").touch()
        (folder / "event.json").write_text('{"ref": "refs/heads/main"}')
        runner = _runner(workspace, action, folder, installed, "push", "writes")
        assert runner.run_step("baseline", BASELINE) == 0, runner.log
        outputs = runner.run_action({**GIVEN, "convert-options": "--effort fast"})
        assert outputs["status"] == "0", runner.log
        (folder / "outputs.json").write_text(json.dumps(outputs))
        (folder / "log").write_text(runner.log)

    return make_once(tmp_path_factory, "converted", work)


@pytest.fixture
def workspace(converted: Path, float_file: Path, tmp_path: Path) -> Path:
    """A copy of it; its FP32 model is a `.tflite`, which needs no TensorFlow."""
    copy = shutil.copytree(converted / "workspace", tmp_path / "workspace")
    shutil.copy(float_file, copy / "float.tflite")
    return copy


# The converted model again, judged on fewer samples.
TAKEN = {"model": "float.tflite", "tflite": "edgeq-out/model.tflite", "test-data": "test.npz",
         "compare-options": "--no-latency --samples 400", "baseline": "baseline"}  # fmt: skip


def leave_artifact(workspace: Path, *, better_by_db: float) -> None:
    """The artifact of a run of the main branch, of a model with better outputs."""
    (workspace / "runs.txt").write_text("7\n")
    shutil.copytree(workspace / UPLOAD["path"], workspace / "artifact")
    path = workspace / "artifact" / "compare.json"
    plain = json.loads(path.read_text())
    plain["quality"]["outputs"][0]["parts"][0]["sqnr_db"] += better_by_db
    path.write_text(json.dumps(plain))
    shutil.rmtree(workspace / "baseline")


def test_a_first_run_converts_and_is_its_own_baseline(converted: Path) -> None:
    outputs = json.loads((converted / "outputs.json").read_text())
    assert outputs["verdict"] == "pass"
    assert outputs["records"].splitlines() == [
        f"edgeq-out/{name}" for name in (*RECORDS, "gate.json")
    ]
    workspace = converted / "workspace"
    for name in (*outputs["records"].splitlines(), outputs["model"], outputs["report"]):
        assert (workspace / name).is_file()
    assert {"gate.xml", *RECORDS} <= {path.name for path in (workspace / UPLOAD["path"]).iterdir()}
    summary = (converted / "github_step_summary").read_text()
    assert summary == (workspace / outputs["summary"]).read_text() + "\n"
    assert summary.splitlines()[0] == "### :white_check_mark: model.tflite: ship"
    log = (converted / "log").read_text()
    assert "::notice::baseline has no model.tflite.json or compare.json: this run is its own" in log
    assert "There is no pull request in this event (push)." in log and outputs["comment"] == ""


@pytest.mark.parametrize(
    ("better_by_db", "status", "verdict"), [(1, "0", "pass"), (10, "3", "fail")]
)
def test_later_runs_are_held_against_the_main_branch(
    workspace: Path, make_runner: MakeRunner, api: Api, better_by_db: float, status: str,
    verdict: str,
) -> None:  # fmt: skip
    leave_artifact(workspace, better_by_db=better_by_db)
    given = {**TAKEN, "compare-options": ACTION["inputs"]["compare-options"]["default"]}
    runner = make_runner(workspace, api)
    assert runner.run_step("baseline", BASELINE) == 0, runner.log
    outputs = runner.run_action(given)
    assert (outputs["status"], outputs["verdict"]) == (status, verdict), runner.log
    assert f"+{better_by_db:.2f} dB" in runner.log  # the loss since the baseline
    (comment,) = api.comments
    assert outputs["comment"] == comment["html_url"]
    assert comment["body"].partition("\n")[2] + "\n" == runner.summary
    if verdict == "fail":
        lines = runner.summary.splitlines()
        assert lines[0] == "### :x: model.tflite: no"
        assert lines[4].startswith("- regression.max\\_sqnr\\_loss\\_db (at most 3 dB): +10.00 dB")
    assert runner.ran == ["python", "key", "step 2", "install", "judge", "comment"]
    assert "requests" not in runner.log and Counter(api.requests) == {
        "GET /repos/me/models/issues/7/comments?per_page=100&page=1": 1,
        "POST /repos/me/models/issues/7/comments": 1,
    }


def test_a_failed_download_stops_the_job(
    workspace: Path, make_runner: MakeRunner, api: Api
) -> None:
    (workspace / "runs.txt").write_text("8\n")
    shutil.rmtree(workspace / "baseline")
    assert make_runner(workspace, api).run_step("baseline", BASELINE) == 64


def test_a_second_run_changes_the_comment_and_a_fork_cannot(
    workspace: Path, make_runner: MakeRunner, api: Api
) -> None:
    """The model of another tool: without a record, the gate knows what is in the file."""
    shutil.copy(workspace / "edgeq-out/model.tflite", workspace / "other.tflite")
    policy = workspace / "edgeq.toml"
    policy.write_text("[policy]\nmax_drop_points = 3\nmax_size = '1 MB'\n")
    given = {**TAKEN, "tflite": "other.tflite", "output": "out", "baseline": ""}
    runner = make_runner(workspace, api)
    assert runner.run_action(given)["status"] == "0", runner.log
    assert (workspace / "out/other.tflite.json").is_file()
    policy.write_text("[policy]\nmax_drop_points = 3\nmax_size = '1 kB'\n")
    outputs = make_runner(workspace, api).run_action(given)
    assert (outputs["status"], outputs["verdict"]) == ("3", "fail")
    (comment,) = api.comments
    assert ":x: other.tflite: no" in comment["body"] and "1 kB" in comment["body"]
    assert api.requests[-1] == "PATCH /repos/me/models/issues/comments/1"
    policy.write_text("[policy]\nmax_size = '2 MB'\n")
    runner = make_runner(workspace, api, token="reads")
    outputs = runner.run_action(given)
    assert (outputs["status"], outputs["comment"]) == ("0", "")
    assert "::notice::The token cannot write to the pull request, as for pull" in runner.log
    assert "Resource not accessible by integration" in runner.log
    assert ":white_check_mark:" in runner.summary and "1 kB" in api.comments[0]["body"]


def test_without_a_model_the_project_file_is_run(
    workspace: Path, make_runner: MakeRunner, api: Api
) -> None:
    (workspace / "edgeq.toml").write_text(
        '[model]\nsource = "float.tflite"\neffort = "fast"\n'
        '[data]\ncalibration = "samples.npz"\ntest = "test.npz"\npreprocess = ["scale=1/255"]\n'
        "test_samples = 300\n[run]\nlatency = false\n[policy]\nmax_size = '1 MB'\n"
    )
    runner = make_runner(workspace, api)
    outputs = runner.run_action({"comment": "false"})
    assert (outputs["status"], outputs["verdict"]) == ("0", "pass"), runner.log
    assert outputs["model"] == "build/float.tflite" and "comment" not in runner.ran
    assert outputs["records"].splitlines() == [
        f"build/float.{part}.json" for part in ("tflite", "compare-local", "gate")
    ]
    assert runner.summary.startswith("### :white_check_mark: float.tflite: ship\n")
    outputs = make_runner(workspace, api).run_action({"data": "samples.npz", "comment": "false"})
    assert (outputs["status"], outputs["verdict"]) == ("2", "none")


def test_inputs_are_never_code(workspace: Path, make_runner: MakeRunner, api: Api) -> None:
    """Neither in a shell nor as Markdown; and a failed command gives its reason."""
    hostile = "x.keras; touch pwned $(touch pwned) `touch pwned`\n::error::no @everyone <img src=x>"
    tame = {"output": "out", "comment": "true", "token": "writes"}
    given = {**dict.fromkeys(ACTION["inputs"], hostile), **tame}
    runner = make_runner(workspace, api)
    outputs = runner.run_action(given)
    assert (outputs["status"], outputs["verdict"]) == ("1", "none"), runner.log
    assert not [*workspace.rglob("pwned")]
    assert api.comments[0]["body"].splitlines()[1] == "### :x: edgeq: no verdict, status 1"
    assert "@everyone" not in runner.summary and "<img" not in runner.summary
    assert "x.keras; touch pwned" in runner.summary
    assert not [line for line in runner.log.splitlines() if line.startswith("::")]


def test_code_of_the_repository_replaces_nothing(
    workspace: Path, make_runner: MakeRunner, api: Api
) -> None:
    """Every step runs in the checked-out repository, that with the token, too.

    The fixture `installed` has run the step `install` among such files.
    """
    leave_code(workspace)
    policy = workspace / "edgeq.toml"
    policy.write_text("[policy]\nmax_size = '1 MB'\n")
    runner = make_runner(workspace, api)
    outputs = runner.run_action({**TAKEN, "baseline": ""})
    assert outputs["status"] == "0" and len(api.comments) == 1, runner.log
    assert "code of the repository" not in runner.log


def test_the_workflow_has_the_permissions_that_it_needs() -> None:
    assert WORKFLOW["permissions"] == {
        "actions": "read", "contents": "read", "pull-requests": "write"}  # fmt: skip
    # YAML 1.1 takes the key `on` for true.
    assert WORKFLOW[True] == {"pull_request": None, "push": {"branches": ["main"]}}


def test_only_the_step_that_comments_gets_the_token() -> None:
    with_token = [
        step["id"] for step in ACTION["runs"]["steps"] if "token" in json.dumps(step).lower()
    ]
    assert with_token == ["comment"]


def test_the_lock_is_that_of_the_tests() -> None:
    """The versions that the action and the image install are those that the tests run with."""
    versions = [
        {line.split()[0] for line in path.read_text().splitlines() if "==" in line}
        for path in (ROOT / "scripts/convert.lock", ROOT / "scripts/dev.lock")
    ]
    assert "tensorflow==" in "".join(sorted(versions[0])) and versions[0] <= versions[1]


def test_the_page_has_each_input_and_output() -> None:
    page = (CI / "index.md").read_text()
    inputs, outputs = re.findall(r"^\| (?:in|out)put \|.*\n\|[-|]+\n((?:\|.*\n)+)", page, re.M)
    rows = dict(re.findall(r"^\| `([\w-]+)` \| ?(.*?) ?\|", inputs, re.M))
    assert rows.keys() == ACTION["inputs"].keys()
    for name, about in ACTION["inputs"].items():
        assert rows[name].strip("`") == about.get("default", "") or name == "token"
        assert about["description"] and "required" not in about  # which GitHub does not check
    named = re.findall(r"`([\w-]+)`", "".join(line.split("|")[1] for line in outputs.splitlines()))
    assert named == [*ACTION["outputs"]]
