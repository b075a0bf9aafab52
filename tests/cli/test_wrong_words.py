"""Commands typed by somebody who does not know edgeq yet: the answer names what was meant."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from edgeq import models
from edgeq.cli import WORDS, cli
from edgeq.cli.words import Choice
from tests.commands import read_only
from tests.commands import run_edgeq as edgeq

KERAS = models.path("fmnist_mobilenet.keras")
TEST = models.path("fashion_mnist_test.npz")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("convrt", "convert"), ("quantize", "convert"), ("Evaluate", "eval"), ("benchmark", "bench")],
)
def test_an_unknown_command_is_answered_with_a_known_one(typed: str, meant: str) -> None:
    done = edgeq(typed, "model.keras")
    assert done.returncode == 2
    assert done.stderr.endswith(f"Error: No such command {typed!r}. Did you mean {meant!r}?\n")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (("package", KERAS, "--target", "andriod"), "android"),
        (("package", KERAS, "--target", "Swift"), "ios"),
        (("package", KERAS, "--target", "raspberry-pi"), "python"),
        (("convert", KERAS, "--scheme", "int-8"), "int8"),
        (("convert", KERAS, "--scheme", "float16"), "fp16"),
        (("convert", KERAS, "--effort", "blanced"), "balanced"),
        (("convert", KERAS, "--calibrator", "edgq"), "edgeq"),
        (("convert", KERAS, "--layout", "nchw"), "source"),
        (("bench", KERAS, "--runtime", "litert"), "ai-edge-litert"),
        (("run", "--from", "compar"), "compare"),
    ],
)
def test_an_unknown_value_is_answered_with_a_known_one(
    typed: tuple[object, ...], meant: str
) -> None:
    done = edgeq(*typed)
    assert done.returncode == 2
    assert f": {typed[-1]!r} is not one of " in done.stderr
    assert done.stderr.endswith(f". Did you mean {meant!r}?\n")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (("--statistic", "min-max"), "minmax"),
        (("--statistic", "percntile:99"), "percentile:99.99"),
        (("--corrections", "bais"), "bias"),
        (("--granularity", "chanel"), "channel"),
        (("--decode", "boxs=cxcywh"), "boxes"),
        (("--decode", "boxes=cxcwyh"), "cxcywh"),
        (("--metric", "acuracy"), "accuracy"),
    ],
)
def test_an_unknown_part_of_a_value_is_answered_with_a_known_one(
    typed: tuple[str, str], meant: str, tmp_path: Path
) -> None:
    done = edgeq("convert", KERAS, "--data", TEST, "-o", tmp_path / "m.tflite", *typed)
    assert done.returncode == 2
    assert f"hint:  Did you mean {meant!r}?" in done.stderr


@pytest.mark.parametrize(
    ("typed", "missing"),
    [
        (("convert", KERAS), "Missing option '-o'"),
        (("compare", KERAS, KERAS), "Missing option '--data'"),
        (("show",), "Missing argument 'RECORD...'"),
    ],
)
def test_a_missing_parameter_is_answered_with_an_example(
    typed: tuple[object, ...], missing: str
) -> None:
    done = edgeq(*typed)
    assert done.returncode == 2 and missing in done.stderr
    assert f"\nExample:\n  edgeq {typed[0]} " in done.stderr


def test_every_option_with_fixed_values_suggests_one() -> None:
    for context in commands(cli, click.Context(cli, info_name="edgeq")):
        for option in context.command.params:
            if isinstance(option.type, click.Choice):
                assert isinstance(option.type, Choice), f"{context.command_path} {option.opts}"


@pytest.mark.parametrize(
    ("typed", "same"),
    [
        (("help",), ("--help",)),
        (("-help",), ("--help",)),
        (("help", "fit"), ("fit", "--help")),
        (("fit", "help"), ("fit", "--help")),
        (("fit", "-help"), ("fit", "--help")),
        (("history", "help"), ("history", "--help")),
        (("help", "history", "list"), ("history", "list", "--help")),
        (("history", "list", "help"), ("history", "list", "--help")),
        (("version",), ("--version",)),
        (("-V",), ("--version",)),
    ],
)
def test_ways_to_ask_for_help(typed: tuple[str, ...], same: tuple[str, ...]) -> None:
    done, wanted = edgeq(*typed), edgeq(*same)
    assert (done.returncode, done.stdout, done.stderr) == (0, wanted.stdout, "")


def test_a_file_named_help_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "help").write_text("{")
    assert "help is not an edgeq record" in edgeq("show", "help", cwd=tmp_path).stderr


def test_a_command_with_dashes_is_answered_with_the_command() -> None:
    assert edgeq("--convert", "m.keras").stderr.endswith(
        "Error: No such option '--convert'. Did you mean 'edgeq convert'?\n"
    )
    assert "Did you mean '--version'?" in edgeq("--verison").stderr


def test_a_word_that_is_near_to_none_is_only_refused() -> None:
    assert edgeq("xyzzy").stderr.endswith("Error: No such command 'xyzzy'.\n")


def policy_in(folder: Path) -> Path:
    policy = folder / "edgeq.toml"
    policy.write_text("[policy]\nmax_drop_points = 1\n")
    return policy


def test_the_file_of_a_project_is_not_a_record(tmp_path: Path) -> None:
    project = tmp_path / "edgeq.toml"
    project.write_text("[policy]\nmax_drop_points = 1\n")
    for command in ("show", "gate", "report"):
        done = edgeq(command, project, *(["-o", tmp_path / "r.html"] * (command == "report")))
        assert done.returncode == 4
        assert done.stderr == (
            f"error: {project} is not an edgeq record: it is the file of a project.\n"
            f"hint:  Run what it describes: edgeq run --file {project}\n"
        )


def test_a_model_without_a_record_is_told_how_to_get_one(float_file: Path) -> None:
    done = edgeq("show", float_file)
    assert done.returncode == 4
    assert done.stderr == (
        f"error: {float_file} has no record: there is no {float_file}.json.\n"
        "hint:  convert and tune write it. For a file of another tool: edgeq inspect "
        f"{float_file} -o {float_file}.json\n"
    )


def test_a_report_is_not_a_record(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text("<!doctype html><title>x</title>")
    done = edgeq("gate", page, "--policy", policy_in(tmp_path))
    assert done.returncode == 4
    assert done.stderr == (
        f"error: {page} is not an edgeq record: it is a web page.\n"
        "hint:  If it is a report, name the records that it was made from.\n"
    )


def test_a_model_by_another_name_is_not_a_record(float_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(float_file.read_bytes())
    done = edgeq("show", path)
    assert done.returncode == 4
    assert done.stderr == (
        f"error: {path} is not an edgeq record: it is a TensorFlow Lite model.\n"
        f"hint:  List what is in it: edgeq inspect {path}\n"
    )


# Every command that reads a .tflite or a file about one, and what it needs besides.
READERS = {
    "inspect": (), "fit": (), "bench": (), "profile": (), "package": ("--target", "c"),
    "parity": ("--data", TEST), "verify": (), "gate": (), "show": (), "doctor": (),
}  # fmt: skip


@pytest.mark.parametrize("command", READERS)
def test_every_command_says_what_another_file_is_and_what_to_type(
    command: str, tmp_path: Path
) -> None:
    policy_in(tmp_path)
    arguments = ("local", "--model", KERAS) if command == "doctor" else (KERAS, *READERS[command])
    done = edgeq(command, *arguments, cwd=tmp_path)
    assert done.returncode in (1, 3, 4)
    assert ": it is a Keras model.\n" in done.stderr
    assert f"hint:  Convert it: edgeq convert {KERAS} --data samples.npz " in done.stderr


def test_a_file_as_a_command_is_answered_with_the_command_for_it() -> None:
    done = edgeq(KERAS)
    assert done.returncode == 2
    assert f"It is a Keras model. Convert it: edgeq convert {KERAS} " in done.stderr


@pytest.mark.parametrize("command", [("convert",), ("tune", "--max-drop", "1")])
def test_another_ending_of_the_output_is_refused_before_any_work(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    done = edgeq(*command, KERAS, "--data", TEST, "-o", tmp_path / "y.tfl")
    assert done.returncode == 2
    assert done.stderr == (
        f"error: -o {tmp_path}/y.tfl must end in .tflite.\n"
        f"hint:  For example: -o {tmp_path}/y.tflite\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("typed", "output", "ending", "what"),
    [
        (("compare", KERAS, KERAS, "--data", TEST, "-o"), "c.tflite", ".json", "a record, "),
        (("inspect", KERAS, "-o"), "c.keras", ".json", "a record, which is JSON"),
        (("compare", KERAS, KERAS, "--data", TEST, "-o"), "c.txt", ".json", "a record, "),
        (("fit", KERAS, "-o"), "record", ".json", "a record, which is JSON"),
        (("bench", KERAS, "-o"), "report.html", ".json", "a record, which is JSON"),
        (("eval", KERAS, "--data", TEST, "-o"), "c.PNG", ".json", "a record, which is JSON"),
        (("gate", KERAS, "--junit"), "c.json", ".xml", "XML"),
        (("gate", KERAS, "--markdown"), "c.html", ".md", "Markdown"),
        (("debug", KERAS, KERAS, "--data", TEST, "--explorer"), "c.tflite", ".json", "node data"),
        (("init", KERAS, "-o"), "c.tflite", ".toml", "the file of a project"),
    ],
)
def test_an_output_with_the_ending_of_another_kind_is_refused(
    typed: tuple[object, ...], output: str, ending: str, what: str, tmp_path: Path
) -> None:
    path = tmp_path / output
    done = edgeq(*typed, path)
    assert done.returncode == 2
    found = f"{typed[-1]} {path} must end in {ending}: it will be {what}"
    assert found in done.stderr
    assert f"hint:  For example: {typed[-1]} {path.with_suffix(ending)}\n" in done.stderr
    assert not path.exists()


def test_a_report_has_the_ending_of_its_format(
    record_files: dict[str, Path], tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    done = edgeq("report", record_files["eval"], "-o", page, "--format", "md")
    assert done.returncode == 2
    assert f"-o {page} must end in .md: it will be a report" in done.stderr
    summary = tmp_path / "step_summary_1"  # of a CI job
    assert edgeq("report", record_files["eval"], "-o", summary, "--format", "md").returncode == 0


# Every command with -o for a file, and what it needs besides.
WRITERS = {
    "convert": (KERAS, "--scheme", "fp16"), "tune": (KERAS, "--data", TEST, "--max-drop", 1),
    "compare": (KERAS, KERAS, "--data", TEST), "eval": (KERAS, "--data", TEST),
    "debug": (KERAS, KERAS, "--data", TEST), "bench": (KERAS,), "profile": (KERAS,),
    "parity": (KERAS, "--data", TEST), "fit": (KERAS,), "inspect": (KERAS,), "doctor": (),
    "gate": (KERAS,), "package": (KERAS, "--target", "c"), "init": (KERAS,),
}  # fmt: skip


@pytest.mark.parametrize("command", WRITERS)
def test_a_missing_folder_is_answered_with_the_command_that_makes_it(
    command: str, tmp_path: Path
) -> None:
    ending = {"convert": ".tflite", "tune": ".tflite", "package": ".zip", "init": ".toml"}
    path = tmp_path / "my out" / f"x{ending.get(command, '.json')}"
    done = edgeq(command, *WRITERS[command], "-o", path)
    assert done.returncode == 1
    assert f"hint:  Make its folder: mkdir -p '{path.parent}'\n" in done.stderr


def test_accuracy_is_the_name_of_a_metric(int8_mobilenet: Path) -> None:
    done = edgeq("eval", int8_mobilenet, "--data", TEST, "--metric", "accuracy", "--samples", "50")
    assert done.returncode == 0, done.stderr
    assert "top1" in done.stdout


def test_a_policy_knows_metrics_by_their_usual_names(
    record_files: dict[str, Path], tmp_path: Path
) -> None:
    policy = tmp_path / "edgeq.toml"
    policy.write_text("[policy.metrics.accuracy]\nmin_value = 20\n")
    done = edgeq("gate", record_files["eval"], "--policy", policy)
    assert done.returncode in (0, 4), done.stdout  # it may be doubted, it is not unknown
    assert "no record has the metric" not in done.stdout


# ---------------------------------------------------------------- help


def commands(command: click.Command, context: click.Context) -> Iterator[click.Context]:
    yield context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from commands(inner, click.Context(inner, parent=context, info_name=name))


def test_every_option_has_a_help_text() -> None:
    for context in commands(cli, click.Context(cli, info_name="edgeq")):
        for option in context.command.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert option.help, f"{context.command_path} {option.opts}"
        assert context.command.help


def test_every_command_has_an_example_with_options_that_it_has() -> None:
    for context in commands(cli, click.Context(cli, info_name="edgeq")):
        path = context.command_path
        if context.command is cli or path.startswith(("edgeq history ", "edgeq devices ")):
            continue  # these two groups have examples of their commands
        *_, examples = context.command.get_help(context).partition("\n  Example:\n")
        assert examples, path
        for line in map(str.strip, examples.splitlines()):
            assert f"{line} ".startswith(f"{path} ")
            read_only(shlex.split(line))


def test_words_of_the_help_texts_are_explained() -> None:
    """Number types and units, which somebody who never quantized a model does not know."""
    explained = set(re.findall(r"\w+", " ".join(WORDS)))
    for context in commands(cli, click.Context(cli, info_name="edgeq")):
        text = context.command.get_help(context)
        assert set(re.findall(r"\b(?:INT\d+|FP\d+|SQNR)\b", text)) <= explained
    shown = edgeq("--help").stdout
    for word in WORDS:
        assert f"\n  {word} " in shown
