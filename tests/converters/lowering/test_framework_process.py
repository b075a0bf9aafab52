"""The parent's end of a framework's child: its time limit, and errors without a text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from tensorflow.lite.python import convert

from edgeq.converters.lowering import tflite_quantizer
from edgeq.converters.lowering.framework_process import FrameworkProcess
from edgeq.errors import QuantizationError, UsageError


@pytest.fixture
def process() -> Iterator[FrameworkProcess]:
    target = [str(Path(__file__).with_name("odd_session.py"))]
    with FrameworkProcess("Odd", target, {}, verbose=False) as process:
        yield process


def test_an_error_names_the_time_limit(
    process: FrameworkProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEQ_CALL_LIMIT_S", "0.5")
    message = (
        "Odd took longer than 0.5 s for 'wait' and was stopped. Set EDGEQ_CALL_LIMIT_S to more "
        "seconds, or convert a smaller model."
    )
    with pytest.raises(QuantizationError, match=f"^{re.escape(message)}$"):
        process.call("wait")


@pytest.mark.parametrize("text", ["", "-1", "soon", "inf"])
def test_a_wrong_limit_is_refused(
    process: FrameworkProcess, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("EDGEQ_CALL_LIMIT_S", text)
    with pytest.raises(UsageError, match=f"EDGEQ_CALL_LIMIT_S is {text!r}, not a number of sec"):
        process.call("wait")


@pytest.mark.parametrize(
    ("details", "message"),
    [
        ("", "It gave no reason. It printed: error: 'tfl.conv_2d' op has no scale"),
        ("a reason", "It gave no reason."),
    ],
)
def test_an_error_without_a_text_has_what_the_child_printed(
    process: FrameworkProcess, details: str, message: str
) -> None:
    with pytest.raises(QuantizationError, match=f"^{re.escape(message)}$"):
        process.call("refuse", details=details)


def test_a_silent_quantizer_leaves_its_details_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise RuntimeError("\n")

    monkeypatch.setattr(convert, "mlir_quantize", refuse)
    with pytest.raises(QuantizationError, match=r"refused the model: it gave no reason\.$") as told:
        tflite_quantizer.quantize_int8(b"", "int8", per_channel=True)
    assert told.value.details == ""
