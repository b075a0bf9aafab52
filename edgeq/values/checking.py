"""Whether a machine can run models: `edgeq doctor`."""

from __future__ import annotations

from dataclasses import dataclass

from edgeq.values.bounds import Severity
from edgeq.values.files import FileRef
from edgeq.values.running import DeviceFacts, RuntimeInfo
from edgeq.values.showing import Shown, bounded


@bounded
@dataclass(frozen=True)
class Problem:
    """A problem of a machine with its code and remedy.

    Attributes:
        code: a key of `edgeq.issues.ISSUE_KINDS`, e.g. "doctor.governor".
        severity: "error" (no run is possible), "warning" (the figures suffer) or "note".
        message: one sentence with the values in it.
        remedy: a command for that machine, or what to do; None when nothing helps.
    """

    code: str
    severity: Severity
    message: str
    remedy: str | None


@bounded
@dataclass(frozen=True)
class RuntimeCheck:
    """A runtime that is installed on a device.

    Attributes:
        failure: why it does not work there, None when it was imported and is compatible with the
            numpy there.
        runs_model: whether it is new enough for the model; None without a model.
    """

    runtime: RuntimeInfo
    failure: str | None
    runs_model: bool | None


@bounded
@dataclass(frozen=True)
class Part:
    """An optional part of edgeq on the machine that edgeq runs on.

    Attributes:
        version: None when it is not installed here.
        purpose: what needs it.
        remedy: the command that installs it.
    """

    name: str
    version: str | None
    purpose: str
    remedy: str


@bounded
@dataclass(frozen=True)
class Checkup(Shown):
    """Whether a device can run models, and what would improve its figures.

    Attributes:
        runtimes: those installed there, the one that edgeq uses first.
        parts: optional parts of edgeq; empty for a machine other than this one.
        model: the model that was checked.
        min_runtime_version: TensorFlow release that the model needs; None when it does not state
            one, or without a model.
        problems: the worst first.
        can_run: whether a run is possible there.
        sandbox_gaps: parts that the sandbox for models lacks there, a phrase each; None when no
            runtime could be asked.
    """

    facts: DeviceFacts
    runtimes: tuple[RuntimeCheck, ...]
    parts: tuple[Part, ...]
    model: FileRef | None
    min_runtime_version: str | None
    problems: tuple[Problem, ...]
    can_run: bool
    sandbox_gaps: tuple[str, ...] | None = None
