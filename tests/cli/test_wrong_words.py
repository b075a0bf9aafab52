"""Commands typed by somebody who does not know edgeq yet: the answer names what was meant."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from edgeq import models
from edgeq.cli import WORDS, cli
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


def test_a_word_that_is_near_to_none_is_only_refused() -> None:
    assert edgeq("xyzzy").stderr.endswith("Error: No such command 'xyzzy'.\n")


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


def test_a_model_is_not_a_record(float_file: Path) -> None:
    done = edgeq("show", float_file)
    assert done.returncode == 4
    assert done.stderr.startswith(f"error: {float_file} is not an edgeq record: it is a model.\n")
    assert f"beside it; edgeq inspect {float_file} lists it.\n" in done.stderr


def test_a_model_of_keras_is_not_yet_a_tflite() -> None:
    assert f"hint:  Convert it first: edgeq convert {KERAS} " in edgeq("inspect", KERAS).stderr


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


def test_words_of_the_help_texts_are_explained() -> None:
    """Number types and units, which somebody who never quantized a model does not know."""
    explained = set(re.findall(r"\w+", " ".join(WORDS)))
    for context in commands(cli, click.Context(cli, info_name="edgeq")):
        text = context.command.get_help(context)
        assert set(re.findall(r"\b(?:INT\d+|FP\d+|SQNR)\b", text)) <= explained
    shown = edgeq("--help").stdout
    for word in WORDS:
        assert f"\n  {word} " in shown
