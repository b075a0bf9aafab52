"""The parent's end of the TensorFlow child process."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from edgeq import errors
from edgeq.errors import EdgeqError, MissingExtraError, QuantizationError

_LOG_TAIL_BYTES = 8192

# oneDNN prepares its kernels longer than the few samples of the check take without it.
_ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_ENABLE_ONEDNN_OPTS": "0",
}


class TensorFlowProcess:
    """A child that has TensorFlow loaded; starts at once, so that its import overlaps our work.

    Args:
        verbose: pass the libraries' own output on to our stderr.

    Raises:
        MissingExtraError: TensorFlow is not installed in this environment.
    """

    def __init__(self, *, verbose: bool = False):
        if importlib.util.find_spec("tensorflow") is None:
            raise MissingExtraError(
                "Converting needs TensorFlow, which is not installed here.",
                hint="Install it with: pip install 'edgeq[convert]'",
            )
        self._folder = tempfile.TemporaryDirectory(prefix="edgeq-")
        self._log = Path(self._folder.name) / "tensorflow.log"
        replies, child_end = os.pipe()
        with self._log.open("wb") as log:
            # A group of its own: Ctrl-C reaches us alone, and we end the child.
            self._child = subprocess.Popen(
                [sys.executable, "-m", "edgeq.converters.lean_start", str(child_end)],
                stdin=subprocess.PIPE,
                stdout=sys.stderr if verbose else log,
                stderr=sys.stderr if verbose else log,
                pass_fds=(child_end,),
                start_new_session=True,
                env={**os.environ, **_ENVIRONMENT, "TMPDIR": self._folder.name},
                text=True,
            )
        os.close(child_end)
        self._replies = os.fdopen(replies, encoding="utf-8")

    def __enter__(self) -> TensorFlowProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Nothing it still does is wanted; a kill is faster than TensorFlow's own exit.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
        self._replies.close()
        if self._child.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._child.stdin.close()
        self._folder.cleanup()

    def call(self, name: str, **arguments: Any) -> Any:
        """Run one call of `worker.Session` and return its result.

        Raises:
            EdgeqError: what the call raised, of the same type.
            QuantizationError: the child died.
        """
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps({"call": name, "arguments": arguments}) + "\n")
            self._child.stdin.flush()
            line = self._replies.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise self._death(name)
        reply = json.loads(line)
        if "error" in reply:
            raise self._error(reply["error"])
        return reply["ok"]

    def _error(self, plain: dict[str, Any]) -> EdgeqError:
        kind: type[EdgeqError] = getattr(errors, plain["type"])
        details = "\n".join(filter(None, [plain["details"], self._tail()]))
        return kind(plain["message"], hint=plain["hint"], details=details)

    def _death(self, name: str) -> QuantizationError:
        code = self._child.wait()
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        return QuantizationError(
            f"TensorFlow was {how} during {name!r}.",
            hint="Run again with -v to see its own output.",
            details=self._tail(),
        )

    def _tail(self) -> str:
        content = self._log.read_bytes()[-_LOG_TAIL_BYTES:]
        return content.decode("utf-8", "replace").strip()
