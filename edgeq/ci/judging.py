"""The main step of `action.yml`: convert or take a model, compare, gate, and write the summary.

`python -m edgeq.ci.judging` reads the action's inputs from variables `INPUT_...`, and GitHub's own
variables.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeq import cli, host
from edgeq.ci.workflow import set_outputs, tell
from edgeq.errors import UsageError
from edgeq.escaping import markdown, no_command, printable
from edgeq.files import storage
from edgeq.records.reading import read_record


class CommandError(Exception):
    """Raised when a command of edgeq ends without a result.

    Args:
        verb: of the command.
        status: its exit status.
        message: what it printed to stderr.
    """

    def __init__(self, verb: str, status: int, message: str):
        super().__init__(verb, status, message)
        self.verb, self.status, self.message = verb, status, message


@dataclass(frozen=True)
class Judged:
    """The result of the action.

    Attributes:
        status: exit status of `edgeq gate` or `edgeq run`.
        model: the `.tflite`.
        records: of the model, the gate's last.
        verdict: of the gate; "none" without a policy.
    """

    status: int
    model: Path
    records: tuple[Path, ...]
    verdict: str


def judge(inputs: Mapping[str, str], folder: Path) -> Judged:
    """Convert and judge a model as the action's inputs say.

    Args:
        inputs: the action's inputs by name; those without a value are "".
        folder: for the results.

    Raises:
        CommandError: a command ended without a result.
        UsageError: inputs contradict each other.
    """
    if inputs["model"]:
        return _judge_model(inputs, folder)
    unused = [name for name in _OF_MODEL if inputs[name]]
    if unused:
        raise UsageError(
            f"The input {unused[0]} needs the input model.",
            hint=f"Add model, or write it into {inputs['policy']}, which edgeq run reads.",
        )
    trust = ["--trust-project"] if inputs["trust-project"] == "true" else []
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        status = run("run", "--file", inputs["policy"], "--json", *trust, accepted=(0, 1, 3, 4))
    if not printed.getvalue():
        raise CommandError("run", status, "It has printed no result.")
    done = json.loads(printed.getvalue())
    records = [Path(name) for step in done["steps"] for name in step["outputs"]]
    records = [path for path in records if path.suffix == ".json"]
    return Judged(status, Path(done["output"]), tuple(records), done["verdict"] or "none")


_OF_MODEL = ("tflite", "data", "test-data", "preprocess", "convert-options", "baseline")


def _judge_model(inputs: Mapping[str, str], folder: Path) -> Judged:
    model, tflite = inputs["model"], Path(inputs["tflite"])
    convert_options = _words(inputs, "convert-options")
    compare_options = _words(inputs, "compare-options")
    preprocess = [word for line in _lines(inputs["preprocess"]) for word in ("--preprocess", line)]
    if not inputs["test-data"]:
        raise UsageError("The input test-data is missing.", hint="Name labelled samples.")
    if inputs["tflite"]:
        record = folder / f"{tflite.name}.json"
        beside = storage.record_beside(tflite)
        if beside.exists():
            record = beside
        else:  # a file of another tool: what can be read from it
            run("inspect", tflite, "-o", record)
    else:
        tflite = folder / f"{Path(model).stem}.tflite"
        record = Path(f"{tflite}.json")
        data = ["--data", inputs["data"]] if inputs["data"] else []
        run("convert", model, *data, *preprocess, *convert_options, "-o", tflite)
    compared, gated = folder / "compare.json", folder / "gate.json"
    run("compare", model, tflite, "--data", inputs["test-data"], *preprocess, *compare_options,
        "-o", compared)  # fmt: skip
    host.remove(gated)  # an earlier run's, on a runner that keeps the folder
    baseline = _baseline(inputs["baseline"], (record, compared))
    status = run(
        "gate", record, compared, "--policy", inputs["policy"], *baseline,
        "--junit", folder / "gate.xml", "-o", gated, accepted=(0, 3, 4),
    )  # fmt: skip
    if not gated.exists():
        raise CommandError("gate", status, "It has written no record.")
    verdict = read_record(gated).value.verdict
    return Judged(status, tflite, (record, compared, gated), verdict)


def _baseline(text: str, records: Sequence[Path]) -> list[str]:
    """The options that name the baseline's records.

    Raises:
        UsageError: the folder does not exist.
    """
    if not text:
        return []
    folder = Path(text)
    if not folder.is_dir():
        raise UsageError(
            f"The baseline {text} is not a folder.",
            hint="Name the folder with the records of the main branch; for the first run, an "
            "empty one.",
        )
    found = [folder / path.name for path in records if (folder / path.name).exists()]
    if not found:
        names = " or ".join(path.name for path in records)
        tell("notice", f"{text} has no {names}: this run is its own baseline.")
    return [word for path in found or records for word in ("--baseline", str(path))]


def _words(inputs: Mapping[str, str], name: str) -> list[str]:
    """The words of an input, as a shell splits them.

    Raises:
        UsageError: a quote is open.
    """
    try:
        return shlex.split(inputs[name])
    except ValueError as error:
        raise UsageError(
            f"The input {name} cannot be split into words: {inputs[name]!r}.",
            hint='Close each quote, and write a quote inside a word as \\".',
        ) from error


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


class _Tee(io.StringIO):
    """Keeps what is written to stderr, and passes it on."""

    def write(self, text: str) -> int:
        sys.__stderr__.write(text)  # type: ignore[union-attr]
        return super().write(text)


def run(verb: str, *words: object, accepted: Sequence[int] = (0,)) -> int:
    """Run a command of edgeq in this process.

    Raises:
        CommandError: it ended with a status that is not accepted.
    """
    command = [verb, *map(str, words)]
    shown = no_command(printable(f"$ edgeq {shlex.join(command)}"))
    print(shown, file=sys.__stdout__, flush=True)
    with contextlib.redirect_stderr(_Tee()) as told:
        try:
            cli.main(command)
        except SystemExit as ended:
            status = int(ended.code or 0)
    if status not in accepted:
        raise CommandError(verb, status, told.getvalue())
    return status


def main() -> int:
    """Judge, and write the summary and the outputs; the exit status is the gate's."""
    inputs = {
        name.removeprefix("INPUT_").lower().replace("_", "-"): value.strip()
        for name, value in os.environ.items()
        if name.startswith("INPUT_")
    }
    folder = Path(inputs["output"])
    folder.mkdir(parents=True, exist_ok=True)
    summary = folder / "summary.md"
    try:
        judged = judge(inputs, folder)
        run("report", *judged.records, "-o", summary)
        run("report", *judged.records, "-o", folder / "report.html")
    except CommandError as error:
        reason = " ".join(_lines(error.message)[-4:])
        return _give_up(summary, error.status, f"edgeq {error.verb}: {reason}")
    except UsageError as error:
        tell("error", str(error))
        return _give_up(summary, error.exit_code, str(error))
    set_outputs(
        verdict=judged.verdict,
        model=str(judged.model),
        records="\n".join(map(str, judged.records)),
        report=str(folder / "report.html"),
        summary=str(summary),
    )
    _add_to_summary(summary)
    return judged.status


def _give_up(summary: Path, status: int, reason: str) -> int:
    text = f"### :x: edgeq: no verdict, status {status}\n\n{markdown(reason)}\n"
    summary.write_bytes(text.encode("utf-8"))
    set_outputs(verdict="none", summary=str(summary))
    _add_to_summary(summary)
    return status


def _add_to_summary(summary: Path) -> None:
    with Path(os.environ["GITHUB_STEP_SUMMARY"]).open("a", encoding="utf-8") as page:
        page.write(summary.read_text(encoding="utf-8") + "\n")


if __name__ == "__main__":
    sys.exit(main())
