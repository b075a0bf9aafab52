"""edgeq installed from a checkout by the action's own step, once for all tests."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeq import models
from tests.ci.github import Api, Runner
from tests.conftest import make_once
from tests.house import FOLDERS, ROOT

CI = ROOT / "docs" / "ci"
# Outputs of actions from other repositories; what they install is here already.
USES = {
    "actions/setup-python": {"python-path": sys.executable, "python-version": "3.11.2"},
    "actions/cache": {"cache-hit": ""},
}


@pytest.fixture(scope="session")
def action(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository with what the action, the hook and a build of edgeq need."""
    return make_once(tmp_path_factory, "action", _check_out) / "edgeq"


def _check_out(folder: Path) -> None:
    clone = folder / "edgeq"
    for name in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__", *FOLDERS)
        shutil.copytree(ROOT / name, clone / name, ignore=ignored)
    shutil.copytree(ROOT / "scripts" / "action", clone / "scripts" / "action")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "action.yml",
                 ".pre-commit-hooks.yaml"):  # fmt: skip
        shutil.copy(ROOT / name, clone)
    # The part of the lock that a build needs; this environment has the others, with TensorFlow.
    lock = (ROOT / "scripts" / "convert.lock").read_text()
    (setuptools,) = re.findall(r"^setuptools==.*\n(?: .*\n)+", lock, re.M)
    (clone / "scripts" / "convert.lock").write_text(setuptools)
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "-m", "edgeq"]):
        who = ("-c", "user.name=tests", "-c", "user.email=tests@example.org")
        subprocess.run(["git", *who, *command], cwd=clone, check=True, capture_output=True)


def lend_packages(python: Path) -> None:
    """Let an environment that has edgeq only use the packages of this one."""
    done = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    (Path(done.stdout.strip()) / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")


@pytest.fixture(scope="session")
def installed(action: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of the environment that the action's step `install` makes."""

    def install(folder: Path) -> None:
        workspace = folder / "workspace"
        workspace.mkdir()
        leave_code(workspace)  # which replaces nothing
        environment = {"PIP_NO_DEPS": "1"}
        runner = Runner(workspace, action, folder, USES, environment=environment)
        step = {"run": str(action / "scripts/action/install"), "env": {
            "PYTHON": sys.executable, "DOWNLOADS": str(folder / "downloads"),
            "EXTRAS": "convert", "REQUIREMENTS": ""}}  # fmt: skip
        assert runner.run_step("install", step) == 0, runner.log
        assert runner.steps["install"] == {"python": str(folder / "edgeq/bin/python")}
        lend_packages(folder / "edgeq/bin/python")

    return make_once(tmp_path_factory, "installed", install) / "edgeq/bin/python"


def leave_code(workspace: Path) -> None:
    """Modules in a checked-out repository, with names of those that the action's steps import."""
    for name in ("json", "edgeq", "urllib", "hashlib", "logging", "subprocess", "pip", "venv"):
        (workspace / f"{name}.py").write_text("raise SystemExit('code of the repository')\n")


@pytest.fixture
def api() -> Iterator[Api]:
    with Api() as server:
        yield server
        server.shutdown()


def lay_out(folder: Path) -> None:
    """A user's repository."""
    folder.mkdir(exist_ok=True)
    for target, source in (
        ("model.keras", models.path("fmnist_mobilenet.keras")),
        ("samples.npz", models.path("fashion_mnist_calibration.npz")),
        ("test.npz", models.path("fashion_mnist_test.npz")),
        ("edgeq.toml", CI / "edgeq.toml"),
    ):
        shutil.copy(source, folder / target)
