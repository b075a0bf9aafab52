"""Every command that README and docs show is run, page by page, as a reader would type it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tomlkit

from edgeq import models
from tests.commands import read_only, run_edgeq
from tests.converters.conftest import make_models

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    "README.md",
    *(
        path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "docs").rglob("*.md"))
        if path.parent.name != "tutorials"  # test_tutorials.py runs these
    ),
)

# What cannot stand on a test machine, and what stands in its place.
REPLACED = {
    "sudo ": "",
    "edgeq init": "edgeq init --force",  # there is one already, for the pages about its policy
    "pi@raspberrypi.local": "local",
    "ssh://local": "ssh://nobody@127.0.0.1:9",
    "--device local,local": "--device local",
    "--devices local,local": "--devices local",
    "local,pi4": "local",
    "--sustained 10": "--sustained 0.05",
    "labelled.npz": "test.npz",
    "torch-env/bin/python": os.environ.get("EDGEQ_TORCH_PYTHON", ""),
    "onnx-env/bin/python": os.environ.get("EDGEQ_ONNX_PYTHON", ""),
    "old-env/bin/python": os.environ.get("EDGEQ_TFLITE_RUNTIME_PYTHON", ""),
}
# Commands whose parts are not on every machine: such text in them, and the variable or program
# without which they are only read.
NEEDS = {
    "net.pt2": "EDGEQ_TORCH_PYTHON",
    "net.onnx": "EDGEQ_ONNX_PYTHON",
    "--target c ": "EDGEQ_TFLITE_MICRO_PYTHON",
    "--ethos-u": "EDGEQ_VELA_PYTHON",
    "edgeq fit model.tflite": "EDGEQ_TFLITE_MICRO_PYTHON",
    "signed.zip": "EDGEQ_TFLITE_MICRO_PYTHON",
    "firmware": "EDGEQ_TFLITE_MICRO_PYTHON",
    "old-env": "EDGEQ_TFLITE_RUNTIME_PYTHON",
    # tests/device_runners/devices/test_emulated.py and test_android_shell.py run them
    "emulated:arm64": "EDGEQ_EXAMPLES_ON_BOARDS",
    "adb": "EDGEQ_EXAMPLES_ON_PHONES",
    "tcp://": "EDGEQ_EXAMPLES_ON_CLUSTERS",  # tests/tuning/test_cluster.py does
    # tests/inspection/test_explorer.py does
    "inspect model.tflite --explorer": "EDGEQ_EXAMPLES_IN_BROWSERS",
    "models.words:": "espeak-ng",
    # tests/converters/samples/test_sounds.py and tests/packaging/contract/test_sounds.py do
    "sound=log-mel": "EDGEQ_EXAMPLES_WITH_SPEECH",
    "--mlflow": "EDGEQ_EXAMPLES_ON_MLFLOW",  # tests/history/test_tracking.py does
    "android_aarch64_benchmark_model": "EDGEQ_EXAMPLES_ON_PHONES",
}
# The same with --torch-python and --onnx-python follow, and take as long.
TWICE = (
    "edgeq convert net.pt2 -o net.tflite --data images.npz",
    "edgeq convert net.onnx -o net.tflite --data images.npz",
)
# Nothing answers at the address that stands for a board, so these say so.
FAILING = {"edgeq devices check": 1}
LINE = re.compile(r"\\\n\s*")


def commands_of(page: str) -> Iterator[str]:
    """Commands in the page's `console` and `sh` blocks."""
    text = (ROOT / page).read_text()
    for kind, block in re.findall(r"^ *```(console|sh)\n(.*?)^ *```$", text, re.M | re.S):
        for line in LINE.sub(" ", block).splitlines():
            command = line.strip()
            if kind == "console" and not command.startswith("$ "):
                continue
            command = command.removeprefix("$ ").partition("  #")[0].strip()
            if command and not command.startswith("#"):
                yield command


# What one page shows, another need not run again: verbs that leave nothing behind but what `-o`
# names, and those whose file and record are on the desk.
READING = ("compare", "debug", "profile", "bench", "doctor", "eval", "fit", "parity")
CONVERTING = "edgeq convert model.keras --data samples.npz --preprocess scale=1/255 -o model.tflite"
# Files of the same kind: what a command does with one of them, it does with the other.
ALIKE = {"model-fp32.tflite": "model.keras", "samples.npz": "test.npz"}


def translate(command: str) -> str:
    for shown, here in REPLACED.items():
        command = command.replace(shown, here)
    return command


def find_examples() -> dict[str, list[str]]:
    """Each page's commands, without those that only read and that an earlier page has."""
    found: dict[str, list[str]] = {}
    seen: set[tuple[str, ...]] = set()
    for page in PAGES:
        own = [*dict.fromkeys(commands_of(page))]
        found[page] = [
            command
            for place, command in enumerate(own)
            if is_needed(command, own[place + 1 :]) or what_it_shows(command) not in seen
        ]
        seen |= {what_it_shows(command) for command in own if is_reading(command)}
    return found


def is_reading(command: str) -> bool:
    words = command.split()
    if command == CONVERTING or words[:2] == ["edgeq", "tune"]:
        return True
    return words[0] == "edgeq" and words[1] in READING and "--explorer" not in words


def is_needed(command: str, later: list[str]) -> bool:
    """Whether a later command of the page reads what this one writes."""
    words = command.split()
    if "-o" not in words or command == CONVERTING or words[1] == "tune":
        return False
    output = words[words.index("-o") + 1]
    return any(output in other.split() and is_runnable(other) for other in later)


def what_it_shows(command: str) -> tuple[str, ...]:
    """A command without its output, with one name for files of the same kind."""
    words = translate(command).split()
    if not is_reading(command):
        return tuple(words)
    if words[1] in READING and "-o" in words:
        place = words.index("-o")
        del words[place : place + 2]
    return tuple(ALIKE.get(word, word) for word in words)


def is_run(command: str) -> bool:
    return translate(command).split()[0] in ("edgeq", "openssl")


def is_runnable(command: str) -> bool:
    needs = {name for text, name in NEEDS.items() if text in command}
    is_there = all(os.environ.get(name) or shutil.which(name) for name in needs)
    return is_there and "..." not in command and command not in TWICE


EXAMPLES = find_examples()
# A page of which README has every command is run with it.
IN_README = set(EXAMPLES["README.md"])
OTHERS = {page: set(filter(is_run, EXAMPLES[page])) - IN_README for page in PAGES}
RUN = ["README.md", *(page for page in PAGES if OTHERS[page])]


# Pages that show README's conversion and comparison again, and little that others do not.
SLOW = ("docs/report.md", "docs/project.md")


# Verbs that measure times: a short while is enough, but on a page that judges them.
TIMED = ("bench", "compare")
JUDGED = ("docs/gate.md",)
BRIEF = ("--min-time", "0.05", "--max-time", "0.05")
# README's conversion and those of PyTorch and ONNX have the default effort; and tests/tuning holds
# whole searches.
FAST = ("--effort", "fast")
FEW = ("--max-trials", "6")


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, and the PyTorch and ONNX models that one page names, where they can be made."""
    folder = tmp_path_factory.mktemp("stock")
    for name, source, count in (("samples", "calibration", 100), ("test", "test", 600)):
        with np.load(models.path(f"fashion_mnist_{source}.npz")) as stored:
            np.savez(folder / f"{name}.npz", x=stored["x"][:count], y=stored["y"][:count])
    images = np.random.default_rng(0).standard_normal((60, 3, 32, 32)).astype(np.float32)
    np.savez(folder / "images.npz", image=images)
    for kind, source, target in (("torch", "cnn.pt2", "net.pt2"), ("onnx", "cnn.onnx", "net.onnx")):
        if os.environ.get(f"EDGEQ_{kind.upper()}_PYTHON"):
            made = make_models(kind, tmp_path_factory)
            shutil.copy(made / source, folder / target)
    return folder


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The current folder of all pages: the child with TensorFlow, which belongs to one, stays."""
    return tmp_path_factory.mktemp("room")


@pytest.fixture
def desk(room: Path, stock: Path, int8_mobilenet: Path, float_file: Path) -> Path:
    """A folder with the files that the examples name; each page begins with them as they are."""
    for path in room.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    for path in stock.iterdir():
        shutil.copy(path, room)
    shutil.copy(models.path("fmnist_mobilenet.keras"), room / "model.keras")
    shutil.copy(int8_mobilenet, room / "model.tflite")
    shutil.copy(f"{int8_mobilenet}.json", room / "model.tflite.json")
    shutil.copy(int8_mobilenet, room / "release.tflite")
    shutil.copy(float_file, room / "model-fp32.tflite")
    (room / "models").symlink_to(models.path("fmnist_cnn.keras").parent)
    (room / "edgeq.toml").write_text("[policy]\nmin_sqnr_db = 10\n")
    (room / "speed.toml").write_text(
        '[policy]\naccept = ["bench.load", "bench.noisy", "bench.drift"]\n'
        "[policy.regression]\nmax_p50_percent = 50\n"
    )
    (room / "edgeq-demo").mkdir()
    (room / "home").mkdir()
    return room


def find_shortcut(command: str, words: list[str]) -> tuple[str, ...]:
    """Options with which a command does the same in less time."""
    if words[1] in TIMED and not {"--sustained", "--no-latency"} & set(words):
        return BRIEF
    if words[1] == "tune":
        return FEW
    is_model = any(word == "run" or word.endswith(".keras") for word in words)
    is_default = is_model and not {"--scheme", "--effort"} & set(words)
    return FAST if words[1] in ("convert", "run") and is_default and command != CONVERTING else ()


def run(command: str, folder: Path, *, alone: bool, brief: bool) -> None:
    """Run a command as it is shown.

    Args:
        alone: in a separate process.
        brief: measure times for a short while only, and convert and search with less effort.
    """
    words = shlex.split(translate(command))
    if not is_run(command):
        return
    if not is_runnable(command):
        read_only(shlex.split(command.replace("sudo ", "").replace("...", "")))
        return
    if brief:
        words[2:2] = find_shortcut(command, words)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    changed = {"PATH": path, "HOME": str(folder / "home")}
    if alone or words[0] != "edgeq":
        environment = {**os.environ, **changed}
        done = subprocess.run(
            words, cwd=folder, env=environment, check=False, capture_output=True, text=True,
            timeout=280,
        )  # fmt: skip
    else:
        done = run_edgeq(*words[1:], cwd=folder, **changed)
    shown = f"{command}\n{done.stdout}\n{done.stderr}"
    assert done.returncode == FAILING.get(command, 0), shown


@pytest.mark.timeout(1200)  # a page is many commands, each with a limit of its own
@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=[pytest.mark.slow] * (page in SLOW)) for page in RUN]
)
def test_examples_run(page: str, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """README's first command runs in a separate process, and others in this one, which is faster.

    tests/children runs each verb in a separate process.
    """
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    for command in EXAMPLES[page]:
        run(command, desk, alone=command == CONVERTING, brief=page not in JUDGED)


def test_extras_in_pip_commands_exist() -> None:
    known = tomlkit.parse((ROOT / "pyproject.toml").read_text()).unwrap()["project"]
    named = {
        extra
        for page in PAGES
        for extras in re.findall(r"edgeq\[([a-z,-]+)\]", (ROOT / page).read_text())
        for extra in extras.split(",")
    }
    assert {"convert", "torch"} <= named <= set(known["optional-dependencies"])


def test_scripts_that_are_shown_exist() -> None:
    shown = [command for page in PAGES for command in EXAMPLES[page] if "scripts/" in command]
    assert shown == ["scripts/demo", "scripts/test"]
    assert all(os.access(ROOT / command, os.X_OK) for command in shown)
