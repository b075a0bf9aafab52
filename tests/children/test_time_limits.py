"""How long edgeq's children may take: each one has a limit, and its error names it."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq.children import foreign
from edgeq.children.child import time_limit_s
from edgeq.conversion.file_metadata import Carried
from edgeq.converters.calibration.calibrate import run_float_model
from edgeq.converters.corrections.correct import Corrector
from edgeq.converters.lowering.lower import adopt
from edgeq.debugging import debugger
from edgeq.errors import DataError, EdgeqError, QuantizationError, RecordError, UsageError
from edgeq.tuning.pool import Worker
from edgeq.tuning.trial import Task
from edgeq.values import ConvertOptions, Recipe
from tests.tiny_models import passing

# Servers: they live as long as their work, and its steps are limited elsewhere.
_ENDLESS = {"edgeq/inspection/explorer.py"}


def _float_model(folder: Path) -> Any:
    path = folder / "float.tflite"
    path.write_bytes(passing((1, 4), (1, 4), None))
    return adopt(path, ConvertOptions())


def calibrate(folder: Path) -> None:
    model = _float_model(folder)
    samples = ({spec.name: np.zeros(4, np.float32) for spec in model.inputs} for _ in range(2))
    run_float_model(model, samples, folder, 1)


def correct(folder: Path) -> None:
    model = _float_model(folder)
    with Corrector(folder) as corrector:
        corrector.correct(model, b"", [], ["bias"])


def debug(folder: Path) -> None:
    debugger._run({"result": str(folder / "debug.json")}, folder)


def read(folder: Path) -> None:
    with foreign.Reader("edgeq.history.importing", folder / "x.sqlite", RecordError) as child:
        child.receive(int)


@pytest.mark.parametrize(
    ("work", "error", "message"),
    [
        (
            calibrate,
            QuantizationError,
            "The interpreter took more than 0.01 s and was stopped while it ran the float model. "
            "Set EDGEQ_TIME_LIMIT_S to allow more.",
        ),
        (
            correct,
            QuantizationError,
            "The quantized model cannot be corrected: it took more than 0.01 s and was stopped. "
            "Set EDGEQ_TIME_LIMIT_S to allow more, or pass --corrections none to leave it as the "
            "quantizer made it.",
        ),
        (
            debug,
            DataError,
            "The runtime took more than 0.01 s and was stopped in one of the layers. "
            "Set EDGEQ_TIME_LIMIT_S to allow more.",
        ),
        (
            read,
            RecordError,
            "The process that reads x.sqlite took more than 0.01 s and was stopped. "
            "Set EDGEQ_TIME_LIMIT_S to allow more.",
        ),
    ],
)
def test_a_child_that_takes_too_long_is_stopped_and_its_error_names_the_limit(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    work: Any,
    error: type[EdgeqError],
    message: str,
) -> None:
    """None of them has imported its libraries after 10 ms."""
    monkeypatch.setenv("EDGEQ_TIME_LIMIT_S", "0.01")
    with pytest.raises(error) as caught:
        work(tmp_path)
    assert str(caught.value).replace(f"{tmp_path}/", "") == message


def test_a_trial_that_takes_too_long_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEQ_TIME_LIMIT_S", "0.01")
    recipe = Recipe("minmax", False, "channel")
    task = Task(recipe, "", "", "int8", {}, {}, {}, "", Carried())
    worker = Worker(tmp_path)
    try:
        assert worker.ask(task) == {
            "failure": "the worker took more than 0.01 s and was stopped; "
            "set EDGEQ_TIME_LIMIT_S to allow more"
        }
    finally:
        worker.close()


def test_every_start_of_a_child_has_a_limit() -> None:
    root = Path(__file__).parents[2]
    without = []
    for top in ("edgeq", "converters", "device_runners"):
        for path in sorted((root / top).rglob("*.py")):
            name = str(path.relative_to(root))
            if "on_board" in name:  # the agent's children have its job's deadline
                continue
            text = path.read_text()
            starts = any(
                isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Child"
                for node in ast.walk(ast.parse(text))
            )
            limits = any(word in text for word in ("time_limit_s()", "deadline_s=", ".limited("))
            if starts and not limits and name not in _ENDLESS:
                without.append(name)
    assert without == []


@pytest.mark.parametrize("text", ["0", "-3", "nan", "inf", "soon", ""])
def test_a_limit_that_is_not_a_time(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert time_limit_s() == 1800
    monkeypatch.setenv("EDGEQ_TIME_LIMIT_S", text)
    with pytest.raises(UsageError) as caught:
        time_limit_s()
    assert str(caught.value) == (
        f"EDGEQ_TIME_LIMIT_S is {text!r}, not a number of seconds above 0. "
        "Set it like EDGEQ_TIME_LIMIT_S=3600."
    )
