"""`edgeq run`."""

from __future__ import annotations

import json
import shlex
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from edgeq.cli.options import progress_display
from edgeq.cli.printing import say, show, show_above, show_json
from edgeq.cli.trust import require_trust, trust_option
from edgeq.cli.words import Choice, example
from edgeq.device_runners.devices.registry import PROJECT_FILE, project_file
from edgeq.errors import DataError, UsageError
from edgeq.escaping import printable, toml_string
from edgeq.files import storage
from edgeq.pipeline.plan import Plan, read_plan
from edgeq.pipeline.running import FAILED, LEFT_OUT, MADE, Outcome, run_plan
from edgeq.pipeline.settings import Name, Override
from edgeq.pipeline.stages import STAGES, gate_record, judged_names
from edgeq.records.reading import read_record
from edgeq.render.gate import show_gate
from edgeq.render.run import sum_up
from edgeq.values import EFFORTS, GateResult
from edgeq.values.schemes import IO_DTYPES, SCHEMES
from edgeq.wording import show_bytes

_STATUS = {"pass": 0, "fail": 3, "cannot-tell": 4}
# Keys of the file that a flag can override for one run.
_FLAGS: dict[str, tuple[Name, str]] = {
    "output": (("model", "output"), "--output"),
    "scheme": (("model", "scheme"), "--scheme"),
    "io": (("model", "io"), "--io"),
    "effort": (("model", "effort"), "--effort"),
    "data": (("data", "calibration"), "--data"),
    "test_data": (("data", "test"), "--test-data"),
    "preprocess": (("data", "preprocess"), "--preprocess"),
    "samples": (("data", "samples"), "--samples"),
    "max_drop": (("tune", "max_drop"), "--max-drop"),
    "min_sqnr": (("tune", "min_sqnr"), "--min-sqnr"),
    "devices": (("run", "devices"), "--device"),
    "threads": (("run", "threads"), "--threads"),
    "runtime": (("run", "runtime"), "--runtime"),
}


@click.command(epilog=example("edgeq run"))
@click.option(
    "--file", "path", type=click.Path(path_type=Path, dir_okay=False), default=Path(PROJECT_FILE),
    show_default=True, metavar="FILE", help="The description; paths in it start from its folder.",
)  # fmt: skip
@click.option(
    "--from", "first", type=Choice([stage.name for stage in STAGES]), metavar="STAGE",
    help="Do this stage and those after it again, changed or not: "
    f"{', '.join(stage.name for stage in STAGES)}.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Do everything again.")
@click.option("-o", "--output", metavar="OUT.tflite", help="Instead of [model] output.")
@click.option(
    "--scheme",
    type=Choice(list(SCHEMES), case_sensitive=False),
    help="Instead of [model] scheme.",
)
@click.option("--io", type=Choice(IO_DTYPES), help="Instead of [model] io.")
@click.option("--effort", type=Choice(EFFORTS), help="Instead of [model] effort.")
@click.option("--data", metavar="DATA", help="Instead of [data] calibration.")
@click.option("--test-data", metavar="DATA", help="Instead of [data] test.")
@click.option(
    "--preprocess", multiple=True, metavar="SPEC", help="Instead of all of [data] preprocess."
)
@click.option(
    "--samples", type=click.IntRange(min=1), metavar="N", help="Instead of [data] samples."
)
@click.option("--max-drop", type=float, metavar="POINTS", help="Instead of [tune] max_drop.")
@click.option("--min-sqnr", type=float, metavar="DB", help="Instead of [tune] min_sqnr.")
@click.option(
    "--device", "devices", multiple=True, metavar="DEVICE",
    help="Instead of all of [run] devices. Repeat, or separate with commas.",
)  # fmt: skip
@click.option(
    "--threads", type=click.IntRange(1, 256), metavar="N", help="Instead of [run] threads."
)
@click.option(
    "--runtime", type=Choice(["ai-edge-litert", "tflite-runtime", "tensorflow"]),
    help="Instead of [run] runtime.",
)  # fmt: skip
@click.option(
    "--json", "as_json", is_flag=True,
    help="Print the verdict, and each step with its files, as JSON.",
)  # fmt: skip
@trust_option
@click.option("-v", "--verbose", is_flag=True, help="Also show the output of the libraries.")
def command(path: Path, first: str | None, **given: Any) -> int:
    """Do what edgeq.toml describes: convert or tune, compare on each device, gate, report.

    Steps whose files have not changed since the last run are skipped; an interrupted step
    continues.

    Exit status: that of the gate, 0, 3 or 4; without a gate, 1 if a device failed.
    """
    if not path.exists():
        raise _no_file(path)
    plan = read_plan(path, _overrides(given))
    require_trust(plan.code)
    shows_steps = not given["as_json"]
    if shows_steps:
        say(f"{path}: {plan.source} -> {plan.output}", bold=True)
        say()
    names = [stage.name for stage in STAGES] + [f"compare {item.name}" for item in plan.devices]
    width = max(map(len, (*names, *judged_names(plan))))

    def tell(outcome: Outcome) -> None:
        if shows_steps:
            show_above(_line(outcome, width))

    try:
        with progress_display() as on_progress:
            outcomes = run_plan(
                plan,
                first_again=STAGES[0].name if given["force"] else first,
                verbose=given["verbose"],
                is_trusted=True,
                on_progress=on_progress,
                on_outcome=tell,
            )
    except KeyboardInterrupt:
        say("Interrupted; finished steps are kept, and the same command continues.", err=True)
        return 128 + signal.SIGINT
    except DataError as error:
        if not error.preprocess:
            raise
        texts = ", ".join(map(toml_string, error.preprocess))
        raise DataError(
            error.message, hint=f"Declare it in [data] of {path}: preprocess = [{texts}]"
        ) from error
    return _conclude(plan, outcomes, shows_steps)


def _no_file(path: Path) -> UsageError:
    above = project_file() if path == Path(PROJECT_FILE) else None
    hint = (
        f"Use the one above: edgeq run --file {shlex.quote(str(above))}"
        if above
        else "Write one: edgeq init MODEL"
    )
    return UsageError(f"There is no {path}.", hint=hint)


def _overrides(given: dict[str, Any]) -> dict[Name, Override]:
    """The flags that were used, as values of the file."""
    found = {}
    for flag, (name, shown) in _FLAGS.items():
        value = given[flag]
        if value is None or value == ():
            continue
        if flag == "devices":
            value = [part for text in value for part in text.split(",") if part]
        found[name] = Override(list(value) if isinstance(value, tuple) else value, shown)
    return found


def _line(outcome: Outcome, width: int) -> str:
    """Return the result of a step, then how it was made."""
    head, why = f"{printable(outcome.name):{width}}  ", printable(outcome.why)
    if outcome.state == FAILED:
        return f"{head}{click.style('FAILED', fg='red')}: {why}"
    if outcome.state == LEFT_OUT:
        return f"{head}left out: {why}"
    how = "unchanged, kept"
    if outcome.state == MADE:
        how = f"{why or 'done'}; {outcome.seconds:.1f} s"
    result = printable(_result(outcome.outputs))
    return f"{head}{result} {click.style(f'({how})', dim=True)}"


def _result(outputs: Sequence[Path]) -> str:
    if outputs[-1].suffix != ".json":
        return show_bytes(outputs[-1].stat().st_size)
    return sum_up(read_record(outputs[-1]))


def _conclude(plan: Plan, outcomes: Sequence[Outcome], is_text: bool) -> int:
    """Print the verdict and where everything is; the exit status."""
    failed = [outcome.name for outcome in outcomes if outcome.state == FAILED]
    judged: GateResult | None = None
    if any(outcome.name == "gate" and outcome.outputs for outcome in outcomes):
        judged = read_record(gate_record(plan)).value
    status = 0 if judged is None else _STATUS[judged.verdict]
    there = [path for outcome in outcomes for path in outcome.outputs]
    if not is_text:
        verdict = None if judged is None else judged.verdict
        steps = [storage.to_plain(outcome) for outcome in outcomes]
        plain = {"output": plan.output, "verdict": verdict, "steps": steps}
        show_json(json.dumps(plain, indent=2, default=str) + "\n")
    else:
        nothing = "Nothing was judged: add a [policy] for a verdict of pass or fail."
        say()
        show(nothing if judged is None else show_gate(judged))
        say()
        say(f"In {plan.output.parent}: {', '.join(path.name for path in there)}")
    if failed:
        end = "" if status else ", so the status is 1"
        say(f"Failed: {', '.join(failed)}{end}; the next run tries again.", err=True)
    return status or (1 if failed else 0)
