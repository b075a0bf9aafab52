"""The model is parsed once, when a package is made and when it is checked."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq.packaging import targets
from edgeq.packaging.assembly.build import make_package
from edgeq.packaging.assembly.tools import LOCAL_TOOLS
from edgeq.packaging.container import writing
from edgeq.packaging.verification import all_checks
from edgeq.packaging.verification.requests import Asker, Job
from edgeq.tflite import flatbuffer, model_file
from tests.tiny_models import double_int8

ROWS = np.array([[0.5, 1, 1.5, 2], [-4, 4.5, 50, -64], [0, 0, 2.5, 3]], np.float32)


class Here(Asker):
    """A parent that runs tools in this process and doubles integers as the model does."""

    def __init__(self) -> None:
        self.compile_java = LOCAL_TOOLS.compile_java  # type: ignore[method-assign]
        self.measure_arena = LOCAL_TOOLS.measure_arena  # type: ignore[method-assign]

    def infer(self, model: bytes, inputs: Any, device: int) -> dict[str, Any]:
        return {"y": inputs["x"]}


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The size of each file that was parsed in this process."""
    sizes: list[int] = []
    kind = flatbuffer.schema().ModelT
    unpack = kind.InitFromPackedBuf

    def count(content: bytes, place: int = 0) -> Any:
        sizes.append(len(content))
        return unpack(content, place)

    monkeypatch.setattr(kind, "InitFromPackedBuf", count)
    monkeypatch.setattr(model_file, "_kept", [])
    return sizes


@pytest.mark.parametrize("target", targets.NAMES)
def test_each_process_parses_the_model_once(
    target: str, parsed: list[int], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if target == "c":
        request.getfixturevalue("tflite_micro")
    if target == "android" and not shutil.which("javac"):
        pytest.skip("there is no javac")
    model = tmp_path / "double.tflite"
    model.write_bytes(double_int8())
    made = make_package(model, target, data={"x": ROWS}, vectors=3)
    assert parsed == [len(double_int8())]

    path = tmp_path / "package"
    writing.write_package(made.files, path)
    parsed.clear()
    model_file._kept.clear()  # as in the process that checks it
    judged = all_checks.prove(Job(str(path), None, ("local",)), Here())
    assert parsed == [made.manifest.contract.model.size_bytes]
    assert {check.verdict for check in judged.checks} == {"pass", "skipped"}
    assert {check.name: check.verdict for check in judged.checks}["code"] == "pass"
