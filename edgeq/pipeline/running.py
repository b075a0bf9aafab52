"""Run a plan: one stage after the other, its steps in parallel; unchanged results are kept."""

from __future__ import annotations

import glob
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeq import host
from edgeq.converters.samples.references import is_function_reference
from edgeq.device_runners.devices.registry import PROJECT_FILE
from edgeq.devices.fleet import Fleet, FleetEntry, run_fleet
from edgeq.errors import DeviceError, EdgeqError, OutputError, UsageError
from edgeq.files import storage
from edgeq.pipeline.plan import Plan, read_plan
from edgeq.pipeline.stages import STAGES, Stage, judged_names
from edgeq.pipeline.state import State, locked
from edgeq.pipeline.steps import Digests, Step, Tools, code_of
from edgeq.progress import OnProgress, quiet
from edgeq.values.showing import bounded

MADE = "made"
KEPT = "kept"
LEFT_OUT = "left out"
FAILED = "failed"


@bounded
@dataclass(frozen=True)
class Outcome:
    """The outcome of a step.

    Attributes:
        name: of the step; of the stage where it has none.
        state: MADE, KEPT, LEFT_OUT or FAILED.
        why: the reason for the state; "" for KEPT, and when a step is done for the first time.
        outputs: files that exist now.
    """

    name: str
    state: str
    why: str
    seconds: float
    outputs: tuple[Path, ...]


OnOutcome = Callable[[Outcome], None]


def run(
    file: str | Path = PROJECT_FILE,
    *,
    first_again: str | None = None,
    trust: bool = False,
    verbose: bool = False,
    on_progress: OnProgress = quiet,
) -> tuple[Outcome, ...]:
    """Do what an `edgeq.toml` describes, as `edgeq run` does.

    Args:
        file: path of the description; paths in it start from its folder.
        first_again: name of the stage from which everything is done again, even if unchanged.
        trust: whether to execute what the file names: functions, custom objects, programs.
        verbose: also show the output of the libraries.

    Raises:
        UsageError: the file has a mistake, or names code and `trust` is False.
        EdgeqError: a step failed; the results of finished steps stay.
    """
    plan = read_plan(Path(file))
    if plan.code and not trust:
        raise UsageError(
            f"{plan.code[0].where} names {plan.code[0].written}, which edgeq executes.",
            hint="If you trust who wrote the file, pass trust=True.",
        )
    return run_plan(
        plan,
        first_again=first_again,
        verbose=verbose,
        is_trusted=trust,
        on_progress=on_progress,
        on_outcome=lambda outcome: None,
    )


def run_plan(
    plan: Plan,
    *,
    first_again: str | None = None,
    verbose: bool = False,
    is_trusted: bool = False,
    on_progress: OnProgress,
    on_outcome: OnOutcome,
) -> tuple[Outcome, ...]:
    """Do the steps that are not done yet.

    A device that fails leaves a record of its failure, and the others continue; any other error
    ends the run, and the next run continues there. Devices run in parallel, this machine before
    them.

    Args:
        first_again: name of the stage from which everything is done again, even if unchanged.
        is_trusted: whether the user allowed `plan.code` to run.
        on_outcome: called after each step, from several threads.

    Raises:
        UsageError: there is such code, and the user did not allow it.
        EdgeqError: a step failed; the results of finished steps stay.
    """
    if plan.code and not is_trusted:
        raise UsageError(f"{plan.code[0].where} names code, and nobody said to trust it.")
    try:
        plan.output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"Cannot make the folder {plan.output.parent}: {error.strerror}.",
            hint="Choose another output.",
        ) from error
    if any(source and is_function_reference(source) for source in (plan.calibration, plan.test)):
        place = str(plan.file.parent.resolve())  # functions of [data] are imported from there, too
        if place not in sys.path:
            sys.path.append(place)
    outcomes: list[Outcome] = []
    with locked(plan.beside("run.lock"), str(plan.output)):
        state = State(plan.beside("run-state"))
        again = False
        # Results of a device or policy that was removed must not look like new ones.
        state.withdraw(judged_names(plan), plan.output.parent)
        with Tools(verbose=verbose) as tools:
            for stage in STAGES:
                if not stage.uses_tensorflow:
                    tools.close()
                again = again or stage.name == first_again
                runner = _StageRunner(state, tools, on_progress, on_outcome, again)
                outcomes += runner.run(stage, plan)
    return tuple(outcomes)


class _StageRunner:
    """Runs the steps of one stage; `again` makes unchanged ones, too."""

    def __init__(
        self,
        state: State,
        tools: Tools,
        on_progress: OnProgress,
        on_outcome: OnOutcome,
        again: bool,
    ):
        self._state = state
        self._tools = tools
        self._on_progress = on_progress
        self._on_outcome = on_outcome
        self._again = again
        self._digests = Digests()

    def run(self, stage: Stage, plan: Plan) -> Sequence[Outcome]:
        steps = stage.plan(plan)
        if isinstance(steps, str):
            outcome = Outcome(stage.name, LEFT_OUT, steps, 0.0, ())
            self._on_outcome(outcome)
            return [outcome]
        if len(steps) == 1:
            return [self._do(steps[0], self._on_progress)]
        alone = [step for step in steps if step.is_alone]
        others = [step for step in steps if not step.is_alone]
        results = [self._try(step, self._on_progress) for step in alone]
        if others:
            by_name = {step.name: step for step in others}

            def work(name: str, on_progress: OnProgress) -> Outcome | EdgeqError:
                return self._try(by_name[name], on_progress)

            fleet = run_fleet(stage.name, list(by_name), work, self._on_progress)
            results += [entry.result for entry in fleet.entries]
        for result in results:
            if isinstance(result, EdgeqError):
                raise result
        return [result for result in results if isinstance(result, Outcome)]

    def _try(self, step: Step, on_progress: OnProgress) -> Outcome | EdgeqError:
        """Do a step; an error that does not belong to a device is raised after all other steps."""
        try:
            return self._do(step, on_progress)
        except EdgeqError as error:
            return error

    def _do(self, step: Step, on_progress: OnProgress) -> Outcome:
        origin = self._digests.origin(step)
        why = self._state.why(step.name, origin, step.outputs)
        if why is None and (code := code_of(step)):
            why = f"{', '.join(code)} is code, which may have changed"
        if why is None and self._again:
            why = "requested again"
        if why is None:
            return self._report(Outcome(step.name, KEPT, "", 0.0, step.outputs))
        # Unfinished files of a run that was killed; the lock shows that no other process has them.
        for output in step.outputs:
            for left in output.parent.glob(f".{glob.escape(output.name)}.*.tmp"):
                host.remove(left)
        # The old outputs stay until new ones replace them.
        for path in step.voids:
            host.remove(path)
        begun = time.monotonic()
        try:
            step.work(self._tools, on_progress)
        except DeviceError as error:
            if step.device is None:
                raise
            # A record that a gate cannot overlook, in place of the comparison's.
            entry = FleetEntry(step.device, None, error.message, error.hint)
            with storage.replacing(step.outputs[-1]) as temporary:
                storage.write_record(temporary, "fleet-compare", Fleet("compare", (entry,)))
            seconds = time.monotonic() - begun
            return self._report(Outcome(step.name, FAILED, str(error), seconds, step.outputs))
        self._state.finish(step.name, origin, step.outputs)
        seconds = time.monotonic() - begun
        return self._report(Outcome(step.name, MADE, why, seconds, step.outputs))

    def _report(self, outcome: Outcome) -> Outcome:
        self._on_outcome(outcome)
        return outcome
