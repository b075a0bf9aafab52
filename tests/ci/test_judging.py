"""The main step of the action, in this process; `test_action.py` runs the whole action."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeq.ci import judging
from tests.tiny_models import add_one

INPUTS = (
    "model", "tflite", "data", "test-data", "preprocess", "convert-options", "compare-options",
    "baseline", "policy", "trust-project", "output",
)  # fmt: skip


def judge(folder: Path, monkeypatch: pytest.MonkeyPatch, **given: str) -> tuple[int, str, str]:
    """Exit status, outputs of the step and summary, for a model that is compared with itself."""
    monkeypatch.chdir(folder)
    Path("m.tflite").write_bytes(add_one())
    Path("edgeq.toml").write_text("[policy]\nmin_sqnr_db = 10\n")
    np.savez("test.npz", x=np.random.default_rng(0).uniform(-1, 1, (40, 3)).astype(np.float32))
    plain = {"model": "m.tflite", "tflite": "m.tflite", "test_data": "test.npz",
             "policy": "edgeq.toml", "output": "out"}  # fmt: skip
    for name in INPUTS:
        key = name.replace("-", "_")
        monkeypatch.setenv(f"INPUT_{key.upper()}", given.get(key, plain.get(key, "")))
    monkeypatch.setenv("GITHUB_OUTPUT", str(folder / "outputs.txt"))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(folder / "page.md"))
    status = judging.main()
    return status, Path("outputs.txt").read_text(), Path("page.md").read_text()


def test_a_verdict_of_an_earlier_run_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a runner that keeps the folder; the gate breaks off because of a damaged baseline."""
    latency = "--no-latency"
    status, outputs, _ = judge(tmp_path, monkeypatch, compare_options=latency)
    assert status == 0 and "\npass\n" in outputs
    (tmp_path / "outputs.txt").unlink()
    (tmp_path / "main").mkdir()
    (tmp_path / "main" / "compare.json").write_text("{}")
    status, outputs, page = judge(
        tmp_path, monkeypatch, compare_options=latency, baseline="main"
    )  # fmt: skip
    assert status == 4
    assert "\nnone\n" in outputs and "\npass\n" not in outputs
    assert "edgeq: no verdict, status 4" in page


@pytest.mark.parametrize("name", ["convert_options", "compare_options"])
def test_options_with_an_open_quote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    status, outputs, page = judge(tmp_path, monkeypatch, **{name: '--scheme "int8'})
    assert status == 2 and "\nnone\n" in outputs
    words = page.replace("\\", "")
    assert f"The input {name.replace('_', '-')} cannot be split into words" in words
