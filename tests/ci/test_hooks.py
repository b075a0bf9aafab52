"""The pre-commit hook, run by pre-commit from a repository of edgeq; and the job of GitLab."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgeq.ci import pre_commit as pre_commit_hook
from tests.ci.conftest import CI, lend_packages
from tests.conftest import make_once

# As `edgeq run` names records.
RECORDS = ("model.tflite.json", "model.compare-local.json")

Hook = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def home(action: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PRE_COMMIT_HOME with an environment that pre-commit has made of edgeq, without its
    dependencies, which come from this environment."""

    def make(folder: Path) -> None:
        project = folder / "project"
        project.mkdir()
        configure(project, action)
        done = pre_commit(project, folder / "home", "install-hooks", PIP_NO_DEPS="1")
        assert done.returncode == 0, done.stdout + done.stderr
        (python,) = (folder / "home").glob("repo*/py_env-*/bin/python")
        lend_packages(python)

    return make_once(tmp_path_factory, "pre-commit", make) / "home"


def configure(project: Path, action: Path) -> None:
    """A git repository with the configuration of docs/ci; its placeholders are filled in."""
    config: Any = yaml.safe_load((CI / "pre-commit-config.yaml").read_text())
    (repo,) = config["repos"]
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=action, check=True, capture_output=True, text=True
    )
    assert (repo["repo"], repo["rev"]) == ("https://github.com/OWNER/edgeq", "REF")
    repo.update(repo=str(action), rev=head.stdout.strip())
    (project / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
    for command in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *command], cwd=project, check=True, capture_output=True)


def pre_commit(
    folder: Path, home: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pre_commit", *arguments], cwd=folder, check=False,
        capture_output=True, text=True, timeout=120,
        env={**os.environ, "PRE_COMMIT_HOME": str(home), **environment},
    )  # fmt: skip


POLICY = """[policy]
max_drop_points = 20
min_sqnr_db = 20
[policy.regression]
max_size_percent = 5
"""


@pytest.fixture
def project(tmp_path: Path, int8_mobilenet: Path, record_files: dict[str, Path]) -> Path:
    """A folder with a model, its records, and those of the previous model."""
    folder = tmp_path / "project"
    (folder / "baseline").mkdir(parents=True)
    (folder / "edgeq.toml").write_text(POLICY)
    shutil.copy(int8_mobilenet, folder / "model.tflite")
    for name, source in zip(
        RECORDS, (Path(f"{int8_mobilenet}.json"), record_files["compare"]), strict=True
    ):
        shutil.copy(source, folder / name)
        shutil.copy(source, folder / "baseline" / name)
    return folder


@pytest.fixture
def hook(project: Path, action: Path, home: Path) -> Hook:
    configure(project, action)

    def run(*files: str) -> subprocess.CompletedProcess[str]:
        which = ["--files", *files] if files else ["--all-files"]
        return pre_commit(project, home, "run", *which)

    return run


def test_the_hook_gates_a_model_with_the_records_beside_it(hook: Hook, project: Path) -> None:
    done = hook()
    assert done.returncode == 0 and "Passed" in done.stdout, done.stdout + done.stderr
    (project / "edgeq.toml").write_text(POLICY.replace("min_sqnr_db = 20", "min_sqnr_db = 90"))
    done = hook("edgeq.toml")
    assert done.returncode == 1 and "exit code: 3" in done.stdout, done.stdout + done.stderr
    assert "min_sqnr_db" in done.stdout and "model.compare-local.json" in done.stdout
    baseline = project / "baseline" / RECORDS[0]
    (project / "edgeq.toml").write_text(POLICY)
    baseline.unlink()
    assert "baseline/model.tflite.json cannot be read" in hook("model.tflite").stdout


def test_a_model_without_its_own_record_is_stopped(hook: Hook, project: Path) -> None:
    """The file was converted again, and its record was not committed; or there is none."""
    with (project / "model.tflite").open("ab") as stream:
        stream.write(b"\0")
    done = hook("model.tflite")
    assert "exit code: 4" in done.stdout, done.stdout + done.stderr
    assert "model.tflite is not the file that model.tflite.json is about" in done.stdout
    (project / RECORDS[0]).unlink()
    told = "model.tflite has no record: there is no model.tflite.json"
    assert told in hook("model.tflite").stdout


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("model.tflite.json", "Passed"),
        ("model.compare-local.json", "Passed"),
        ("baseline/model.tflite.json", "Skipped"),
        (".pre-commit-config.yaml", "Skipped"),
    ],
)
def test_the_hook_runs_when_something_that_it_reads_changes(
    hook: Hook, path: str, word: str
) -> None:
    assert word in hook(path).stdout


@pytest.mark.parametrize("stem", ["m_0.25", "m[1]", "m.bench"])
def test_records_belong_to_the_model_of_their_name(stem: str, tmp_path: Path) -> None:
    """Whatever is in the name; and `m_0.25` is another model than `m_0`."""
    model = tmp_path / f"{stem}.tflite"
    records = [tmp_path / f"{stem}.{verb}.json" for verb in ("bench-pi4", "compare-local")]
    for path in (model, *records, tmp_path / "m_0.compare.json", tmp_path / "m1.compare.json"):
        path.touch()
    assert [*pre_commit_hook.find_records(model)] == records
    policy = Path("edgeq.toml")
    assert pre_commit_hook.find_models(records, policy) == [model]
    assert pre_commit_hook.find_models([Path(f"{model}.json")], policy) == [model]


# ---------------------------------------------------------------- GitLab

GITLAB = yaml.safe_load((CI / "gitlab-ci.yml").read_text())["model"]


def test_the_job_of_gitlab(project: Path) -> None:
    """Its first commands are those of README, which tests/test_examples.py runs."""
    install, convert, compare, gate = GITLAB["script"]
    readme = (CI.parents[1] / "README.md").read_text()
    assert install in readme and f"$ {convert}\n" in readme
    assert f"$ {compare.replace(' --no-latency', '')}\n" in readme
    for folder in (project, project / "baseline"):
        (folder / RECORDS[1]).rename(folder / "compare.json")
    (report,) = GITLAB["after_script"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for policy, status in ((POLICY, 0), (POLICY.replace("db = 20", "db = 90"), 3)):
        (project / "edgeq.toml").write_text(policy)
        for command, expected in ((gate, status), (report, 0)):
            done = subprocess.run(
                ["sh", "-ec", command], cwd=project, env={**os.environ, "PATH": path}, check=False,
                capture_output=True, text=True,
            )  # fmt: skip
            assert done.returncode == expected, done.stdout + done.stderr
    artifacts = [*GITLAB["artifacts"]["paths"], GITLAB["artifacts"]["reports"]["junit"]]
    assert all((project / name).is_file() for name in artifacts)
