"""What an edgeq.toml names and edgeq would execute: found, shown, and executed by consent alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from edgeq import models
from edgeq.cli import cli
from edgeq.device_runners.devices import registry
from edgeq.device_runners.devices.addresses import resolve_device
from edgeq.errors import UsageError
from edgeq.pipeline.keys import KEYS
from edgeq.pipeline.plan import read_plan
from edgeq.pipeline.running import run_plan
from edgeq.pipeline.settings import Override
from tests import tiny_models
from tests.pipeline.conftest import edgeq
from tests.terminals import EDGEQ, at_a_terminal

HEAD = '[model]\nsource = "model.keras"\n'
DATA = '[data]\ncalibration = "samples.npz"\n'
TEST = 'test = "samples.npz"\n'
TUNE = "[tune]\nmax_drop = 1\n"

# Text, and what of it is executed.
NAMED = {
    "a function": (HEAD + '[data]\ncalibration = "evil:samples"\n',
                   ['line 4: [data] calibration = "evil:samples": imports evil and calls samples']),
    "one to test with": (HEAD + DATA + 'test = "evil.deep:samples"\n',
                         ['line 5: [data] test = "evil.deep:samples": imports evil.deep and calls '
                          "samples"]),
    "metrics": (HEAD + DATA + 'metrics = ["f1", "evil:score", "evil:other"]\n' + TEST,
                ['line 5: [data] metrics = ["f1", "evil:score", "evil:other"]: imports evil']),
    "custom objects": (HEAD + 'custom_objects = ["evil:A", "evil:B", "more:C"]\n' + DATA,
                       ['line 3: [model] custom_objects = ["evil:A", "evil:B", "more:C"]: imports '
                        "evil, more"]),
    "trust in the model file": (HEAD + "unsafe_deserialization = true\n" + DATA,
                                ["line 3: [model] unsafe_deserialization = true: runs code that is "
                                 "stored in the model file"]),
    "interpreters": (HEAD + 'torch_python = "./a"\nonnx_python = "./b"\n' + DATA,
                     ['line 3: [model] torch_python = "./a": starts this program on this machine',
                      'line 4: [model] onnx_python = "./b": starts this program on this machine']),
    "a scheduler": (HEAD + DATA + TUNE + 'cluster = "tcp://evil:8786"\n',
                    ['line 7: [tune] cluster = "tcp://evil:8786": executes what this scheduler '
                     "sends, as Dask does"]),
    "a device's python": (HEAD + DATA + TEST + '[devices.pi4]\naddress = "pi@a"\npython = "./p"\n',
                          ['line 8: [devices.pi4] python = "./p": starts this program on the '
                           "device"]),
    "a local one's": (HEAD + DATA + TEST + '[devices.x]\naddress = "local"\npython = "./p"\n',
                      ['line 8: [devices.x] python = "./p": starts this program on this machine']),
    "a local address": (HEAD + DATA + TEST + '[devices.x]\naddress = "local:./p"\n',
                        ['line 7: [devices.x] address = "local:./p": starts this program on this '
                         "machine"]),
    "an address in a list": (HEAD + DATA + TEST + '[run]\ndevices = ["local", "local:./p"]\n',
                             ['line 7: "local:./p": starts this program on this machine']),
    "the search's device": (HEAD + DATA + TUNE + 'device = "local:./p"\n',
                            ['line 7: "local:./p": starts this program on this machine']),
}  # fmt: skip
HARMLESS = {
    "files": HEAD + DATA + TEST,
    "boards": HEAD + DATA + TEST + '[devices.pi4]\naddress = "pi@a"\n[run]\ndevices = ["pi4"]\n',
    "no trust": HEAD + "unsafe_deserialization = false\ncustom_objects = []\n" + DATA,
    "a device that is not used": HEAD + DATA + '[devices.x]\naddress = "local:./p"\n',
    "a search elsewhere": HEAD + DATA + '[devices.x]\naddress = "local:./p"\n' + TUNE,
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Somebody's folder, which is the current one."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(registry, "_trusted", set())
    shutil.copy(models.path("fmnist_cnn.keras"), "model.keras")
    Path("samples.npz").touch()
    Path("model.tflite").write_bytes(tiny_models.add_one())
    return tmp_path / "project"


def found_in(text: str, **overrides: str) -> list[str]:
    Path("edgeq.toml").write_text(text)
    given = {tuple(key.split("_", 1)): Override(value, "--x") for key, value in overrides.items()}
    plan = read_plan(Path("edgeq.toml"), given)
    return [f"{item.where}: {item.written}: {item.effect}".removeprefix("edgeq.toml, ")
            for item in plan.code]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), NAMED.values(), ids=NAMED)
def test_all_that_is_executed_is_found_with_its_line(text: str, expected: list[str]) -> None:
    assert found_in(text) == expected


@pytest.mark.parametrize("text", HARMLESS.values(), ids=HARMLESS)
def test_a_project_that_names_no_code_is_asked_nothing(text: str) -> None:
    assert found_in(text) == []


def test_what_the_user_types_is_theirs() -> None:
    text = HEAD + '[data]\ncalibration = "evil:samples"\n' + TEST
    assert found_in(text, data_calibration="mine:samples") == []
    assert found_in(HEAD + DATA + TEST, run_devices=["local:./mine"]) == []
    registry.user_file().parent.mkdir(parents=True)
    registry.user_file().write_text('[devices.mine]\naddress = "local:./p"\n')
    assert found_in(HEAD + DATA + TEST + '[run]\ndevices = ["mine"]\n') == []


def test_every_key_is_decided_on() -> None:
    """A new key fails here: add it to edgeq.pipeline.trust if edgeq executes what it names."""
    plain = {
        "model": "source output baseline scheme io split_outputs engine granularity effort "
        "calibrator statistic corrections keep_float int16 weights int4 lstm recurrent "
        "allow_float batch input_shape fix_input outputs signature layout",
        "data": "preprocess labels decode samples test_samples seed",
        "tune": "max_drop min_sqnr objective jobs max_trials",
        "run": "latency threads runtime rounds runs min_time max_time cores workers "
        "baseline_records",
        "package": "targets name release form labels license description vectors sign_with",
    }
    code = {
        "model": "custom_objects unsafe_deserialization torch_python onnx_python",
        "data": "calibration test metrics",
        "tune": "device cluster",
        "run": "devices",
    }
    for section, keys in KEYS.items():
        known = {*plain[section].split(), *code.get(section, "").split()}
        assert set(keys) == known, section


def test_a_link_is_a_file_like_others(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.toml").write_text(NAMED["a function"][0])
    Path("edgeq.toml").symlink_to(tmp_path / "elsewhere.toml")
    assert [item.where for item in read_plan(Path("edgeq.toml")).code] == ["edgeq.toml, line 4"]


# ---------------------------------------------------------------- run


def poison(name: str) -> Path:
    """A module that leaves a mark when it is imported."""
    mark = Path.cwd() / f"{name}.executed"
    Path(f"{name}.py").write_text(
        f"open({str(mark)!r}, 'w')\ndef samples():\n    return iter(())\n"
    )
    return mark


def test_without_a_terminal_it_is_refused() -> None:
    mark = poison("evil")
    Path("edgeq.toml").write_text(NAMED["a function"][0])
    done = edgeq("run")
    assert isinstance(done.exception, UsageError)
    assert done.exception.message == (
        'edgeq.toml, line 4 names [data] calibration = "evil:samples", which edgeq executes only '
        "for those who trust it."
    )
    assert done.exception.hint is not None and "--trust-project" in done.exception.hint
    assert done.stderr.splitlines() == [
        "edgeq.toml names what edgeq executes:",
        '  edgeq.toml, line 4: [data] calibration = "evil:samples"',
        "      imports evil and calls samples",
    ]
    assert not mark.exists() and not Path("build").exists()


def test_a_plan_runs_nothing_that_nobody_trusted() -> None:
    Path("edgeq.toml").write_text(NAMED["a function"][0])
    plan = read_plan(Path("edgeq.toml"))
    with pytest.raises(UsageError, match="nobody said to trust it"):
        run_plan(plan, on_progress=lambda *step: None, on_outcome=lambda outcome: None)


@pytest.mark.parametrize("answer", ["\n", "n\n", "\x04"], ids=["nothing", "no", "end of file"])
def test_at_a_terminal_the_default_is_no(answer: str) -> None:
    mark = poison("evil")
    Path("edgeq.toml").write_text(NAMED["a function"][0])
    status, seen = at_a_terminal("run", answer=answer)
    assert status != 0
    assert "Do you trust who wrote it? [y/N]: " in seen
    assert not mark.exists() and not Path("build").exists()


@pytest.mark.parametrize("is_asked", [True, False])
def test_consent_lets_it_run(is_asked: bool) -> None:
    mark = poison("evil")
    Path("edgeq.toml").write_text(HEAD + '[data]\ncalibration = "evil:samples"\n')
    arguments, answer = (["run"], "y\n") if is_asked else (["run", "--trust-project"], "")
    _, seen = at_a_terminal(*arguments, answer=answer)
    assert "imports evil and calls samples" in seen
    assert mark.exists()
    assert "evil:samples yields no samples." in " ".join(seen.split())


def test_it_is_asked_each_time() -> None:
    Path("edgeq.toml").write_text(NAMED["a function"][0])
    assert edgeq("run", "--trust-project").exception is not None  # there is no such module
    assert "for those who trust it" in str(edgeq("run").exception)


def test_a_folder_without_named_code_is_not_imported_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even what edgeq looks for and does not find elsewhere."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("edgeq.toml").write_text(HEAD + DATA)  # whose samples are an empty file
    assert edgeq("run").exception is not None
    assert str(Path.cwd()) not in sys.path


# ---------------------------------------------------------------- devices of other commands


PROGRAM = '[devices.pi4]\naddress = "local:{}/program"\n'


def make_program() -> Path:
    mark = Path.cwd() / "program.executed"
    Path("program").write_text(f"#!/bin/sh\ntouch '{mark}'\n")
    Path("program").chmod(0o755)
    return mark


COMMANDS = {
    "bench": ["model.tflite", "--device", "local,pi4"],
    "eval": ["model.tflite", "--data", "samples.npz", "--device", "pi4"],
    "compare": ["model.tflite", "model.tflite", "--data", "samples.npz", "--device", "pi4"],
    "profile": ["model.tflite", "--device", "pi4"],
    "parity": ["model.tflite", "--data", "samples.npz", "--devices", "pi4"],
    "tune": ["model.tflite", "-o", "o.tflite", "--data", "samples.npz", "--max-drop", "1",
             "--device", "pi4"],
    "verify": ["package", "--device", "pi4"],
    "doctor": ["pi4"],
    "devices check": [],
    "devices setup": ["pi4"],
    "devices clean": ["pi4"],
}  # fmt: skip


@pytest.mark.parametrize("above", [False, True], ids=["here", "above"])
@pytest.mark.parametrize("verb", COMMANDS)
def test_no_command_starts_a_projects_program_unasked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, verb: str, above: bool
) -> None:
    mark = make_program()
    Path("edgeq.toml").write_text(PROGRAM.format(folder))
    if above:
        shutil.copytree(folder, folder / "below")
        (folder / "below" / "edgeq.toml").unlink()
        monkeypatch.chdir(folder / "below")
    done = edgeq(*verb.split(), *COMMANDS[verb])
    assert isinstance(done.exception, UsageError)
    assert "names [devices.pi4] address = " in done.exception.message
    assert f"{folder}/edgeq.toml, line 2" in done.exception.message
    assert not mark.exists()


def test_every_command_with_a_device_is_among_them() -> None:
    """A new one fails here: give its option the callback `trusting`."""
    context = click.Context(cli)
    found = set()
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        inner = command.commands if isinstance(command, click.Group) else {"": command}
        for own, item in inner.items():
            if any(option.name in ("device", "devices") for option in item.params):
                found.add(f"{name} {own}".strip())
    # These take names of devices and reach none.
    assert found - {"run", *(f"history {verb}" for verb in ("list", "trend", "export"))} == {
        verb for verb in COMMANDS if not verb.startswith("devices")
    }


def test_consent_starts_it(folder: Path) -> None:
    mark = make_program()
    Path("edgeq.toml").write_text(PROGRAM.format(folder))
    done = edgeq("bench", "model.tflite", "--trust-project", "--device", "pi4")
    assert mark.exists() and "starts this program on this machine" in done.stderr


def test_a_library_starts_none(folder: Path) -> None:
    Path("edgeq.toml").write_text(PROGRAM.format(folder))
    with pytest.raises(UsageError) as caught:
        resolve_device("pi4")
    assert caught.value.message == (
        f"{folder}/edgeq.toml, line 2 names a program for device 'pi4': [devices.pi4] address = "
        f'"local:{folder}/program".'
    )
    registry.trust(registry.read_devices()["pi4"])
    resolve_device("pi4")
    # Trust is in what was shown: another program is asked for again.
    Path("edgeq.toml").write_text(PROGRAM.format("/elsewhere"))
    with pytest.raises(UsageError):
        resolve_device("pi4")


# ---------------------------------------------------------------- commands that execute nothing


POISONED = (
    NAMED["custom objects"][0]
    + 'unsafe = 1\n[devices.pi4]\naddress = "local:./program"\n[policy]\nmax_size = "1 MB"\n'
).replace("unsafe = 1\n", "")
# Modules that edgeq itself imports, or looks for, and those that the file names.
MODULES = ("evil", "more", "edgeq", "numpy", "click", "rich", "tomlkit", "msgspec", "jinja2",
           "markupsafe", "flatbuffers", "ai_edge_litert", "tensorflow", "mlflow", "site",
           "sitecustomize", "usercustomize", "bsdiff4", "PIL")  # fmt: skip


def test_reading_commands_execute_none_of_it(folder: Path) -> None:
    marks = [poison(name) for name in MODULES] + [make_program()]
    Path("edgeq.toml").write_text(POISONED)
    record = folder / "record.json"
    steps: list[tuple[list[str], Callable[[int], bool]]] = [
        (["inspect", "model.tflite", "-o", str(record)], lambda status: status == 0),
        (["show", str(record)], lambda status: status == 0),
        (["gate", str(record)], lambda status: status in (0, 3, 4)),
        (["report", str(record), "-o", "report.html"], lambda status: status == 0),
        (["history", "add", str(record), "--commit", "0123456"], lambda status: status == 0),
        (["history", "list"], lambda status: status == 0),
        (["history", "show", "1"], lambda status: status == 0),
        (["devices", "list"], lambda status: status == 0),
    ]
    environment = {key: value for key, value in os.environ.items() if key != "EDGEQ_HISTORY"}
    for arguments, is_right in steps:
        done = subprocess.run([EDGEQ, *arguments], capture_output=True, text=True, check=False,
                              env=environment)  # fmt: skip
        assert is_right(done.returncode), (arguments, done.stderr)
        assert "Do you trust" not in done.stderr
    assert (folder / ".edgeq" / "history.sqlite").exists()  # the poisoned folder's own
    assert [mark.name for mark in marks if mark.exists()] == []
