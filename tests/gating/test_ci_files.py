"""The files of docs/ci, run: every step of the workflow as GitHub does, the hook by pre-commit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgeq import models
from tests.conftest import make_once

CI = Path(__file__).resolve().parents[2] / "docs" / "ci"
WORKFLOW = yaml.safe_load((CI / "github-actions.yml").read_text())
STEPS = WORKFLOW["jobs"]["gate"]["steps"]
INSTALL, CONVERT, COMPARE, BASELINE, GATE, SUMMARY = (
    step["run"] for step in STEPS if "run" in step
)
(UPLOAD,) = (step["with"] for step in STEPS if "upload-artifact" in step.get("uses", ""))
RECORDS = ("model.tflite.json", "compare.json")

# Stands for GitHub's `gh`: runs.txt holds the newest good run of the main branch, if there is one.
GH = """#!/bin/sh
case "$*" in
"run list --workflow model.yml --branch main --event push --status success --limit 1 --json"*)
    cat runs.txt ;;
"run download 7 --name model --dir baseline") cp -r artifact baseline ;;
*) echo "gh $*: no such call" >&2; exit 64 ;;
esac
"""


def run(step: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A step in GitHub's default shell."""
    path = f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "GITHUB_STEP_SUMMARY": "summary.md"}
    return subprocess.run(
        ["bash", "-e", "-c", step], cwd=folder, env=environment, check=False, capture_output=True,
        text=True, timeout=280,
    )  # fmt: skip


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout after the steps that make the records, on GitHub's machine."""
    return make_once(tmp_path_factory, "checkout", _check_out)


def _check_out(folder: Path) -> None:
    (folder / "bin").mkdir()
    (folder / "bin" / "gh").write_text(GH)
    (folder / "bin" / "gh").chmod(0o755)
    (folder / "runs.txt").touch()
    for target, source in (
        ("model.keras", models.path("fmnist_mobilenet.keras")),
        ("samples.npz", models.path("fashion_mnist_calibration.npz")),
        ("test.npz", models.path("fashion_mnist_test.npz")),
        ("edgeq.toml", CI / "edgeq.toml"),
    ):
        shutil.copy(source, folder / target)
    for step in (CONVERT, COMPARE):
        done = run(step, folder)
        assert done.returncode == 0, done.stderr


@pytest.fixture
def checkout(first: Path, tmp_path: Path) -> Path:
    return shutil.copytree(first, tmp_path / "checkout")


def leave_artifact(checkout: Path, *, better_by_db: float) -> None:
    """What a run of the main branch has uploaded, of a model with better outputs."""
    (checkout / "runs.txt").write_text("7\n")
    (checkout / "artifact").mkdir()
    for name in RECORDS:
        shutil.copy(checkout / name, checkout / "artifact")
    path = checkout / "artifact" / "compare.json"
    plain = json.loads(path.read_text())
    plain["quality"]["outputs"][0]["parts"][0]["sqnr_db"] += better_by_db
    path.write_text(json.dumps(plain))


def test_the_first_run_is_its_own_baseline(checkout: Path) -> None:
    for step in (BASELINE, GATE, SUMMARY):
        done = run(step, checkout)
        assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(path.name for path in (checkout / "baseline").iterdir()) == sorted(RECORDS)
    assert "edgeq gate: pass" in (checkout / "summary.md").read_text()
    uploaded = UPLOAD["path"].split()
    assert set(RECORDS) < set(uploaded)  # which the next run finds
    assert all((checkout / name).is_file() for name in uploaded)


@pytest.mark.parametrize(("better_by_db", "status"), [(1, 0), (10, 3)])
def test_later_runs_are_held_against_the_main_branch(
    checkout: Path, better_by_db: float, status: int
) -> None:
    leave_artifact(checkout, better_by_db=better_by_db)
    done = run(BASELINE, checkout)
    assert done.returncode == 0, done.stderr
    done = run(GATE, checkout)
    assert done.returncode == status, done.stdout + done.stderr
    assert f"+{better_by_db:.2f} dB" in done.stdout  # the loss since the baseline
    assert run(SUMMARY, checkout).returncode == 0


def test_a_download_that_fails_stops_the_run(checkout: Path) -> None:
    (checkout / "runs.txt").write_text("8\n")
    assert run(BASELINE, checkout).returncode == 64


def test_the_workflow_may_read_what_it_fetches() -> None:
    assert WORKFLOW["permissions"] == {"actions": "read", "contents": "read"}
    # YAML 1.1 takes the key `on` for true.
    assert WORKFLOW[True] == {"pull_request": None, "push": {"branches": ["main"]}}
    assert INSTALL == 'pip install "edgeq[convert]"'  # not run: it is this project


# ---------------------------------------------------------------- pre-commit


def pre_commit(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PRE_COMMIT_HOME": str(folder.parent / "pre-commit"),
    }
    command = [sys.executable, "-m", "pre_commit", "run", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, check=False, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip


@pytest.fixture
def committed(checkout: Path) -> Path:
    """A project with its records and their baseline, and the hook of docs/ci.

    pre-commit would install edgeq into an environment of its own; here it takes this one.
    """
    (checkout / "baseline").mkdir()
    for name in RECORDS:
        shutil.copy(checkout / name, checkout / "baseline")
    config: Any = yaml.safe_load((CI / "pre-commit-config.yaml").read_text())
    ((hook,),) = (repo["hooks"] for repo in config["repos"])
    assert (hook.pop("language"), hook.pop("additional_dependencies")) == ("python", ["edgeq"])
    hook["language"] = "system"
    (checkout / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
    for command in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *command], cwd=checkout, check=True, capture_output=True)
    return checkout


def test_the_hook_holds_committed_records_against_the_policy(committed: Path) -> None:
    done = pre_commit(committed, "--all-files")
    assert done.returncode == 0 and "Passed" in done.stdout, done.stdout + done.stderr
    policy = committed / "edgeq.toml"
    policy.write_text(policy.read_text().replace("min_sqnr_db = 20", "min_sqnr_db = 90"))
    done = pre_commit(committed, "--files", "edgeq.toml")
    assert done.returncode == 1 and "exit code: 3" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("path", "word"),
    [("model.tflite", "Passed"), ("baseline/compare.json", "Passed"), ("test.npz", "Skipped")],
)
def test_the_hook_runs_when_something_that_it_reads_changes(
    committed: Path, path: str, word: str
) -> None:
    assert word in pre_commit(committed, "--files", path).stdout
