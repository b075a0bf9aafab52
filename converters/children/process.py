"""The parent's end of a child process that holds a framework: TensorFlow, or another one."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TypeVar

from edgeq import errors
from edgeq.children import launch
from edgeq.errors import EdgeqError, MissingExtraError, QuantizationError
from edgeq.escaping import no_command, printable
from edgeq.files import scratch

_LOG_TAIL_BYTES = 8192

# oneDNN prepares its kernels longer than the few samples of the check take without it.
_ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_ENABLE_ONEDNN_OPTS": "0",
}

_Child = TypeVar("_Child", bound="ChildProcess")


class ChildProcess:
    """A child that answers one JSON request a line; it starts at once, beside our own work.

    Args:
        name: who it is in messages, e.g. "TensorFlow".
        target: see `children.start`; the descriptor for replies is added as the last argument.
        environment: variables added to ours.
        verbose: pass the libraries' own output on to our stderr.
        python: interpreter, this one by default.

    Raises:
        OSError: the command cannot be started.
    """

    def __init__(
        self,
        name: str,
        target: Sequence[str],
        environment: Mapping[str, str],
        *,
        verbose: bool,
        python: str | None = None,
    ):
        self._name = name
        self._ends = contextlib.ExitStack()
        self._folder = self._ends.enter_context(scratch.folder())
        self._log = self._folder / "child.log"
        replies, child_end = os.pipe()
        self._replies = os.fdopen(replies, encoding="utf-8")
        try:
            with self._log.open("wb") as log:
                self._child = launch.start(
                    [*target, str(child_end)],
                    folders=[self._folder],
                    late=True,
                    python=python,
                    environment=environment,
                    pass_fds=(child_end,),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE if verbose else log,
                    stderr=subprocess.STDOUT,
                    encoding="utf-8",
                    errors="backslashreplace",
                )
        except OSError:
            self._replies.close()
            self._ends.close()
            raise
        finally:
            os.close(child_end)
        if self._child.stdout is not None:
            self._ends.callback(self._child.stdout.close)
            passing = threading.Thread(target=_pass_on, args=[self._child.stdout], daemon=True)
            passing.start()
            self._ends.callback(passing.join)

    def __enter__(self: _Child) -> _Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Nothing it still does is wanted; a kill is faster than a framework's own exit.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
        self._replies.close()
        if self._child.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._child.stdin.close()
        self._ends.close()

    def call(self, name: str, out: Path | None = None, **arguments: Any) -> Any:
        """Run one call of the child's session and return its result.

        Args:
            out: the file that the call makes; the child makes it in its own folder.

        Raises:
            EdgeqError: what the call raised, of the same type.
            QuantizationError: the child died.
        """
        assert self._child.stdin is not None
        made = None if out is None else self._folder / out.name
        if made is not None:
            arguments["out"] = str(made)
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
        if made is not None and out is not None:
            shutil.move(made, out)
        return reply["ok"]

    def _error(self, plain: dict[str, Any]) -> EdgeqError:
        kind: type[EdgeqError] = getattr(errors, plain["type"])
        details = "\n".join(filter(None, [plain["details"], self._tail()]))
        return kind(plain["message"], hint=plain["hint"], details=details)

    def _death(self, name: str) -> QuantizationError:
        code = self._child.wait()
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        return QuantizationError(
            f"{self._name} was {how} during {name!r}.",
            hint="Run again with -v to see its own output.",
            details=self._tail(),
        )

    def _tail(self) -> str:
        content = self._log.read_bytes()[-_LOG_TAIL_BYTES:]
        return content.decode("utf-8", "replace").strip()


def _pass_on(output: IO[str]) -> None:
    """Show a library's own lines, in which there are names from the file."""
    for line in output:
        with contextlib.suppress(BrokenPipeError):  # whoever reads them may go before the end
            print(no_command(printable(line.rstrip("\n"))), file=sys.stderr, flush=True)


class TensorFlowProcess(ChildProcess):
    """A child that has TensorFlow loaded and answers the calls of `worker.Session`.

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
        target = ["edgeq.converters.lowering.lean_start"]
        super().__init__("TensorFlow", target, _ENVIRONMENT, verbose=verbose)
