"""The parent's end of a child process that holds a framework: TensorFlow, or another one."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from edgeq import errors
from edgeq.children.child import Child, time_limit_s
from edgeq.children.serving import NO_MESSAGE
from edgeq.errors import EdgeqError, MissingExtraError, QuantizationError
from edgeq.files import scratch

_LOG_TAIL_BYTES = 8192

# oneDNN prepares its kernels longer than the few samples of the check take without it.
_ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_ENABLE_ONEDNN_OPTS": "0",
}

_Self = TypeVar("_Self", bound="FrameworkProcess")


class FrameworkProcess:
    """A child that answers one JSON request a line; it starts at once, beside our own work.

    Args:
        name: of the framework in messages, e.g. "TensorFlow".
        target: see `Child`, which adds the descriptor for replies as the last argument.
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
        with contextlib.ExitStack() as ends:
            self._folder = ends.enter_context(scratch.folder())
            self._child = Child(
                target,
                folders=[self._folder],
                late=True,
                python=python,
                environment=environment,
                replies=True,
                feed=True,
                output="shown" if verbose else "log",
            )
            # Nothing that it still does is needed; a kill is faster than a framework's exit.
            ends.callback(self._child.close)
            self._ends = ends.pop_all()

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def call(self, name: str, out: Path | None = None, **arguments: Any) -> Any:
        """Run one call of the child's session and return its result.

        Args:
            name: of the call.
            out: the file that the call makes; the child makes it in its own folder.
            arguments: of the call, plain JSON.

        Raises:
            EdgeqError: what the call raised, of the same type.
            QuantizationError: the child died, or took longer than `time_limit_s`.
        """
        made = None if out is None else self._folder / out.name
        if made is not None:
            arguments["out"] = str(made)
        with self._child.limited(time_limit_s()):
            self._child.send(json.dumps({"call": name, "arguments": arguments}))
            line = next(self._child.lines(), "")
        if not line:
            self._child.wait()
            raise QuantizationError(
                f"{self._name} {self._child.ending} during {name!r}.",
                hint=self._child.hint("Run again with -v to see its own output."),
                details=self._child.log(_LOG_TAIL_BYTES),
            )
        reply = json.loads(line)
        if "error" in reply:
            raise _explain(reply["error"], self._child.log(_LOG_TAIL_BYTES))
        if made is not None and out is not None:
            shutil.move(made, out)
        return reply["ok"]


def _explain(plain: Mapping[str, Any], log: str) -> EdgeqError:
    """The error of a call, with the reason from the child's log if it states none."""
    message = str(plain["message"])
    if message.endswith(NO_MESSAGE):
        lines = [line.strip() for line in log.splitlines()]
        reasons = [line for line in lines if "error" in line.lower()] or lines or [NO_MESSAGE]
        message = message.removesuffix(NO_MESSAGE) + reasons[-1][:300]
    kind: type[EdgeqError] = getattr(errors, plain["type"])
    details = filter(None, [plain["details"], log])
    return kind(message, hint=plain["hint"], details="\n".join(details))


def has_tensorflow() -> bool:
    """Whether TensorFlow is installed in this environment; it is not imported."""
    return importlib.util.find_spec("tensorflow") is not None


class TensorFlowProcess(FrameworkProcess):
    """A child that has TensorFlow loaded and answers the calls of `tensorflow_worker.Session`.

    Args:
        verbose: pass the libraries' own output on to our stderr.

    Raises:
        MissingExtraError: TensorFlow is not installed in this environment.
    """

    def __init__(self, *, verbose: bool = False):
        if not has_tensorflow():
            raise MissingExtraError(
                "Converting needs TensorFlow, which is not installed here.",
                hint='Install it with: pip install "edgeq[convert]"',
            )
        target = ["edgeq.converters.lowering.tensorflow_child"]
        super().__init__("TensorFlow", target, _ENVIRONMENT, verbose=verbose)
