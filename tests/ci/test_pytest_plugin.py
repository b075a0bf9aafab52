"""The pytest plugin, in runs of pytest that find it as an installed one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tomlkit

from edgeq import models
from tests.house import ROOT

TESTS = """
import sys


def test_nothing_of_edgeq_is_loaded():
    assert not {"numpy", "click", "tensorflow", "edgeq.api"} & set(sys.modules)


def test_int8(edgeq_model):
    model = edgeq_model("model.tflite", data="samples.npz", preprocess=["scale=1/255"],
                        effort="fast")
    result = model.assert_no_worse("test.npz", compare={"samples": 600}, max_drop_points=3,
                                   max_size="1 MB")
    assert [rule.rule for rule in result.rules] == ["max_drop_points", "max_size"]
    assert edgeq_model("model.tflite", data="samples.npz", preprocess=["scale=1/255"],
                       effort="fast") is model


def test_a_converted_file(edgeq_model):
    edgeq_model("model.tflite", tflite="model.tflite").assert_no_worse(
        "test.npz", policy="edgeq.toml", compare={"samples": 50, "preprocess": ["scale=1/255"]})


def test_other_samples_are_another_model(edgeq_model):
    import numpy as np

    with np.load("samples.npz") as file:
        (images,) = (file[name] for name in file.files if file[name].ndim > 1)
    first = images[:32]
    second = first.copy()
    second[8:24] = second[8:24].max()  # numpy shows the corners only
    assert repr(first) == repr(second)
    settings = {"preprocess": ["scale=1/255"], "effort": "fast"}
    found = [edgeq_model("model.tflite", data=data, **settings) for data in (first, second, first)]
    assert found[0] is found[2] is not found[1]
    assert found[0].path.read_bytes() != found[1].path.read_bytes()


def test_worse(edgeq_model):
    model = edgeq_model("model.tflite", data="samples.npz", preprocess=["scale=1/255"],
                        effort="fast")
    model.assert_no_worse("test.npz", compare={"samples": 50}, min_sqnr_db=90)


def test_unproven(edgeq_model):
    model = edgeq_model("model.tflite", data="samples.npz", preprocess=["scale=1/255"],
                        effort="fast")
    model.assert_no_worse("test.npz", compare={"samples": 50}, max_drop_points=0.1)


def test_no_rule(edgeq_model):
    edgeq_model("model.tflite", tflite="model.tflite").assert_no_worse("test.npz")


def test_unknown_rule(edgeq_model):
    edgeq_model("model.tflite", tflite="model.tflite").assert_no_worse(
        "test.npz", compare={"samples": 20, "preprocess": ["scale=1/255"]}, max_drop=1)
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path, float_file: Path) -> Run:
    """Run pytest in a user's project, where edgeq's entry point is installed."""
    about = tmp_path / "site" / "edgeq-0.dist-info"
    about.mkdir(parents=True)
    project = tomlkit.parse((ROOT / "pyproject.toml").read_text()).unwrap()["project"]
    points = project["entry-points"]["pytest11"]
    lines = [f"{name} = {module}" for name, module in points.items()]
    (about / "entry_points.txt").write_text("\n".join(["[pytest11]", *lines]) + "\n")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: edgeq\nVersion: 0\n")
    (about / "RECORD").write_text("edgeq/ci/pytest_plugin.py,,\n")
    folder = tmp_path / "project"
    folder.mkdir()
    for target, source in (
        ("model.tflite", float_file),
        ("samples.npz", models.path("fashion_mnist_calibration.npz")),
        ("test.npz", models.path("fashion_mnist_test.npz")),
    ):
        (folder / target).symlink_to(source)
    (folder / "edgeq.toml").write_text("[policy]\nmin_sqnr_db = 30\n")
    (folder / "test_model.py").write_text(TESTS)

    def start(*words: str) -> subprocess.CompletedProcess[str]:
        path = f"{tmp_path / 'site'}:{ROOT}"
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-W", "error", "-p", "no:cacheprovider", *words],
            cwd=folder, env={**os.environ, "PYTHONPATH": path}, check=False,
            capture_output=True, text=True, timeout=280,
        )  # fmt: skip

    return start


def test_a_users_tests_of_a_model(run: Run) -> None:
    done = run("-q", "-rA")
    for name in (
        "nothing_of_edgeq_is_loaded", "int8", "a_converted_file", "other_samples_are_another_model"
    ):  # fmt: skip
        assert f"PASSED test_model.py::test_{name}\n" in done.stdout, done.stdout + done.stderr
    assert "4 failed, 4 passed" in done.stdout
    assert "FAIL: A rule is missed: this model does not ship." in done.stdout
    assert "CANNOT TELL  max_drop_points" in done.stdout
    assert "UsageError: assert_no_worse needs either rules or a policy." in done.stdout
    assert "unknown rule 'max_drop'. Did you mean 'max_drop_points'?" in done.stdout
    assert "\x1b" not in done.stdout
