"""How long a framework's child may take."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from edgeq.converters.lowering.framework_process import FrameworkProcess
from edgeq.errors import QuantizationError

# Refuses as TensorFlow's native code may: the exception is empty, and its log has the reason.
REFUSING = """
import os, sys
from edgeq.children.serving import NO_MESSAGE, CallError, serve

class Session:
    def quantize(self):
        os.write(2, b"W0000 no GPU\\nloc(fused): error: 'tfl.add' op has no scale\\nat the end\\n")
        raise CallError("QuantizationError", f"The quantizer refused the model: {NO_MESSAGE}")

serve(Session(), int(sys.argv[1]))
"""

# Answers "quick" at once, and nothing else ever.
CHILD = """
import os, sys, time
for line in sys.stdin:
    if "quick" not in line:
        print("at step 3 of 4", flush=True)
        time.sleep(100)
    os.write(int(sys.argv[1]), b'{"ok": 5}\\n')
"""


def test_a_call_that_takes_too_long_is_stopped_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    monkeypatch.setenv("EDGEQ_TIME_LIMIT_S", "3")
    with FrameworkProcess("PyTorch", [str(script)], {}, verbose=False) as process:
        time.sleep(3.2)  # the limit is for a call, not for the child
        assert process.call("quick") == 5
        with pytest.raises(QuantizationError) as caught:
            process.call("lower")
    assert str(caught.value) == (
        "PyTorch took more than 3 s and was stopped during 'lower'. "
        "Set EDGEQ_TIME_LIMIT_S to allow more, or run again with -v to see its own output."
    )
    assert caught.value.details == "at step 3 of 4"


def test_an_error_without_a_message_has_the_reason_from_the_log(tmp_path: Path) -> None:
    script = tmp_path / "child.py"
    script.write_text(REFUSING)
    with (
        FrameworkProcess("TensorFlow", [str(script)], {}, verbose=False) as process,
        pytest.raises(QuantizationError) as caught,
    ):
        process.call("quantize")
    assert str(caught.value) == (
        "The quantizer refused the model: loc(fused): error: 'tfl.add' op has no scale"
    )
