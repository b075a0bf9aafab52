"""A step of a run: its inputs, its outputs, and the work itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeq.converters.lowering.framework_process import TensorFlowProcess
from edgeq.errors import DataError
from edgeq.files import storage
from edgeq.pipeline.state import Origin
from edgeq.progress import OnProgress
from edgeq.provenance import describe_here

Source = str | Path  # a file, a folder, or "module:function"


class Tools:
    """The tools of steps; as a context manager it ends the processes that were started.

    Args:
        verbose: show what the libraries print.
    """

    def __init__(self, *, verbose: bool):
        self.verbose = verbose
        self._stack = ExitStack()
        self._process: TensorFlowProcess | None = None

    def __enter__(self) -> Tools:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def tensorflow(self) -> TensorFlowProcess:
        """One process for all steps that convert, started by the first."""
        if self._process is None:
            self._process = self._stack.enter_context(TensorFlowProcess(verbose=self.verbose))
        return self._process

    def close(self) -> None:
        """End the process, so that nothing else runs while latency is measured."""
        self._stack.close()
        self._process = None


@dataclass(frozen=True)
class Step:
    """A stage, or one device's part of it.

    Attributes:
        name: unique in the run, e.g. "compare pi4".
        reads: its inputs, by the names in messages.
        options: other values that its outputs depend on, by the names in messages.
        outputs: files; the last one is the record, if there is one.
        work: makes the outputs.
        code: names of functions and classes that take part and are not among `reads`.
        device: that it measures on, None if it does not measure.
        is_alone: whether it must run alone, since it measures on this machine.
        voids: files of later steps that are removed before the work: they judge the old outputs.
    """

    name: str
    reads: Mapping[str, Source]
    options: Mapping[str, Any]
    outputs: tuple[Path, ...]
    work: Callable[[Tools, OnProgress], None]
    code: tuple[str, ...] = ()
    device: str | None = None
    is_alone: bool = False
    voids: tuple[Path, ...] = ()


def code_of(step: Step) -> tuple[str, ...]:
    """The code that takes part; only running it shows whether it still does the same."""
    functions = [str(source) for source in step.reads.values() if not Path(source).exists()]
    return (*functions, *step.code)


class Digests:
    """Digests of the inputs of steps, each computed once per stage."""

    def __init__(self) -> None:
        self._known: dict[Path, str] = {}

    def origin(self, step: Step) -> Origin:
        """Everything that a step's outputs depend on.

        Raises:
            DataError: a file cannot be read.
        """
        made = describe_here()
        files = {name: self._digest(source) for name, source in step.reads.items()}
        return {"edgeq": made.edgeq, "tools": dict(made.tools), **step.options, **files}

    def _digest(self, source: Source) -> str:
        path = Path(source)
        if not path.exists():
            return str(source)  # a function, see `code_of`
        if path not in self._known:
            try:
                self._known[path] = storage.refer(path).sha256
            except OSError as error:
                raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
        return self._known[path]
