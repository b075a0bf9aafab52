"""How children start: not from the current folder, and not for longer than their parent."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest

from edgeq import models
from edgeq.children import child as children
from edgeq.children import sandbox
from edgeq.children.child import Child
from edgeq.cli import cli
from edgeq.device_runners.devices.local import LocalDevice
from edgeq.history import open_history
from edgeq.packaging.assembly.build import make_package
from edgeq.packaging.container import writing

EDGEQ = Path(sys.executable).with_name("edgeq")

# What a child may look for: the standard library, what edgeq uses, and what others look for.
_NAMES = {
    *sys.stdlib_module_names, "edgeq", "numpy", "tensorflow", "keras", "tf_keras", "ai_edge_litert",
    "tflite_runtime", "click", "rich", "PIL", "msgspec", "flatbuffers", "h5py", "pip", "setuptools",
    "asyncssh", "cryptography", "jinja2", "tomlkit", "packaging", "sitecustomize", "usercustomize",
    "sklearn", "pandas", "scipy", "jax", "torch", "google", "absl", "six", "ml_dtypes", "optree",
    "model_explorer", "litert_quantizer", "litert_torch", "onnx", "onnx2tf", "onnxsim", "readline",
    "onnxruntime", "distributed", "mlflow", "bsdiff4", "tflite_micro", "sandbox", "agent", "worker",
}  # fmt: skip


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, full of files that are called like modules and tell when they run."""
    folder, told = tmp_path / "trap", tmp_path / "told"
    folder.mkdir()
    for name in _NAMES:
        text = f"open({str(told)!r}, 'a').write({name!r} + ' ')\n"
        (folder / f"{name}.py").write_text(text)
    monkeypatch.chdir(folder)
    yield folder
    assert not told.exists(), f"executed from the current folder: {told.read_text()}"


def run(*arguments: object, **variables: str) -> str:
    done = subprocess.run(
        [EDGEQ, *map(str, arguments)],
        capture_output=True, text=True, check=False, env={**os.environ, **variables},
    )  # fmt: skip
    assert done.returncode in (0, 3, 4), done.stdout + done.stderr
    return done.stdout


def test_a_trap_is_one(trap: Path, tmp_path: Path) -> None:
    """`python -m` runs a file of the current folder; the fixture must notice."""
    subprocess.run([sys.executable, "-c", "import edgeq"], check=True)
    assert (tmp_path / "told").read_text().strip().endswith("edgeq")
    (tmp_path / "told").unlink()


_DATA = ("--data", models.path("fashion_mnist_test.npz"), "--samples", 8)
_SCALE = ("--preprocess", "scale=1/255")
_CALIBRATION = ("--data", models.path("fashion_mnist_calibration.npz"), *_SCALE)


def _policy(path: Path) -> Path:
    path.write_text("[policy]\nmax_size = '1 MB'\n")
    return path


def _package(model: Path) -> Path:
    made = make_package(model, "python", data=_DATA[1], vectors=1)
    writing.write_package(made.files, Path("package.zip"))
    return Path("package.zip")


def _history(record: str) -> tuple[object, ...]:
    """The options that name one, which has the record."""
    with open_history("h.sqlite") as history:
        history.add([record])
    return "--database", "h.sqlite"


def _archive(record: str) -> Path:
    with zipfile.ZipFile("records.zip", "w") as archive:
        archive.write(record, "record.json")
    return Path("records.zip")


def _project() -> Path:
    path = Path("edgeq.toml")
    path.write_text(
        f"[model]\nsource = '{models.path('fmnist_cnn.keras')}'\neffort = 'fast'\n"
        f"[data]\ncalibration = '{_CALIBRATION[1]}'\ntest = '{_DATA[1]}'\n"
        "[run]\ndevices = ['local']\nmin_time = 0.02\nmax_time = 0.02\n"
        "[policy]\nmin_sqnr_db = 10\n"
    )
    return path


_COMMANDS = {
    "inspect": lambda int8, real: [int8],
    "fit": lambda int8, real: [int8, "--coral"],
    "bench": lambda int8, real: [int8, "--runs", 3],
    "eval": lambda int8, real: [int8, *_DATA],
    "compare": lambda int8, real: [real, int8, *_DATA, "--no-latency"],
    "debug": lambda int8, real: [real, int8, *_DATA, *_SCALE],
    "profile": lambda int8, real: [int8, "--runs", 3],
    "parity": lambda int8, real: [int8, *_DATA],
    "doctor": lambda int8, real: [],
    "gate": lambda int8, real: [f"{int8}.json", "--policy", _policy(Path("policy.toml"))],
    "show": lambda int8, real: [f"{int8}.json"],
    "report": lambda int8, real: [f"{int8}.json", "-o", "report.html"],
    "devices": lambda int8, real: ["list"],
    "convert": lambda int8, real: [
        models.path("fmnist_cnn.keras"), "-o", "made.tflite", *_CALIBRATION, "--statistic",
        "minmax", "--corrections", "bias",
    ],
    "tune": lambda int8, real: [
        real, *_CALIBRATION, "--test-data", _DATA[1], "--max-trials", 1, "--min-sqnr", 1,
        "-o", "made.tflite",
    ],
    "init": lambda int8, real: [real],
    "run": lambda int8, real: ["--file", _project()],
    "verify": lambda int8, real: [_package(int8)],
    "history add": lambda int8, real: [f"{int8}.json", "--database", "h.sqlite"],
    "history import": lambda int8, real: [
        _archive(f"{int8}.json"), "--database", "h.sqlite",
    ],
    "history list": lambda int8, real: _history(f"{int8}.json"),
    "package": lambda int8, real: [
        int8, "--target", "python", *_DATA[:2], "--release", "1.0.0", "-o", "package",
    ],
}  # fmt: skip


def test_every_command_is_tried() -> None:
    tried = {command.split()[0] for command in _COMMANDS}
    assert set(cli.list_commands(click.Context(cli))) - tried == {"demo"}  # convert and compare


# The children that open a model for a command; each has to confine itself before.
_CONFINED_IN = {
    "convert": {
        "edgeq.converters.lowering.tensorflow_child", "edgeq.converters.calibration.worker",
        "edgeq.converters.corrections.worker", "agent.pyz worker",
    },
    "bench": {"agent.pyz worker"},
    "profile": {"agent.pyz profile"},
    "debug": {"edgeq.debugging.worker"},
    "tune": {"edgeq.tuning.trial_worker", "edgeq.converters.calibration.worker"},
}  # fmt: skip


@pytest.mark.parametrize("command", _COMMANDS)
def test_nothing_runs_from_the_current_folder_and_who_opens_a_model_is_confined_before(
    trap: Path, tmp_path: Path, command: str, int8_mobilenet: Path, float_file: Path
) -> None:
    arguments = (*command.split(), *_COMMANDS[command](int8_mobilenet, float_file))
    # As left by scripts that add to a variable which may be unset.
    path = os.environ.get("PYTHONPATH", "")
    if command not in _CONFINED_IN or sandbox.missing():
        run(*arguments, PYTHONPATH=path)
        return
    found, early = watch(tmp_path, *arguments, PYTHONPATH=path)
    assert _CONFINED_IN[command] <= found
    assert early == {}


def test_a_childs_path_has_no_current_folder_and_keeps_the_users(
    trap: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = tmp_path / "users"
    users.mkdir()
    (users / "of_the_user.py").write_text("")
    own = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", str(users), own, ""]))
    script = tmp_path / "paths.py"
    script.write_text("import of_the_user, json, sys; print(json.dumps(sys.path))")
    with Child([str(script)], folders=None, output="pipe") as child:
        found = {os.path.realpath(entry) for entry in json.load(child.stdout)}
    assert str(users) in found
    assert not found & {str(trap), str(tmp_path), str(Path(children.__file__).parent)}


def test_the_child_has_the_parents_edgeq(tmp_path: Path) -> None:
    other = tmp_path / "edgeq"
    other.mkdir()
    (other / "__init__.py").write_text("raise SystemExit('the other edgeq')")
    target, variables = ["edgeq.models.scripts_are_none"], {"PYTHONPATH": str(tmp_path)}
    with Child(target, folders=None, environment=variables) as child:
        child.wait()
        errors = child.log()
    assert "the other edgeq" not in errors
    assert "No module named 'edgeq.models.scripts_are_none'" in errors


# ---------------------------------------------------------------- ending


_PARENT = """
import sys, time
from edgeq.children.child import Child
child = Child([sys.argv[1]], folders=None, output="pipe")
print(child.pid, child.stdout.readline().decode(), flush=True)
time.sleep(600)
"""


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], list[str]]:
    """A target from its code."""

    def write(code: str) -> list[str]:
        path = tmp_path / "script.py"
        path.write_text("import os, signal, subprocess, sys, time\n" + code)
        return [str(path)]

    return write


Script = Callable[[str], list[str]]


def test_what_is_sent_printed_and_logged(script: Script) -> None:
    target = script(
        "for line in sys.stdin: print(line.upper(), end='', flush=True)\nsys.exit('no')"
    )
    with Child(target, folders=None, feed=True, output="pipe") as child:
        child.send("one")
        assert child.stdout.readline() == b"ONE\n"
        with child.feeding() as stream:
            stream.write(b"two\nthree")
        assert list(child.lines()) == ["TWO\n", "THREE"]
        assert (child.wait(), child.wait()) == (1, 1)
        assert (child.ending, child.log(), child.log(1)) == ("ended with status 1", "no", "")
        assert child.last_line() == "no"


@pytest.mark.parametrize(
    ("code", "status", "ending", "last"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", -signal.SIGSEGV, "was killed by SIGSEGV", ""),
        ("os.kill(os.getpid(), 40)", -40, "was killed by signal 40", ""),
        (
            "print('one', flush=True); print('two', file=sys.stderr)",
            0,
            "ended with status 0",
            "two",
        ),
    ],
)
def test_how_it_ended(script: Script, code: str, status: int, ending: str, last: str) -> None:
    with Child(script(code), folders=None) as child:
        assert (child.wait(), child.ending) == (status, ending)
        assert child.last_line("") == last


def test_a_child_that_reads_nothing_does_not_stop_its_parent(script: Script) -> None:
    with Child(script("os.close(0); sys.exit(3)"), folders=None, feed=True) as child:
        child.send("1" * (1 << 20))
        with child.feeding() as stream:
            stream.write(bytes(1 << 20))
        assert child.wait() == 3


def test_a_deadline_ends_it_and_all_that_it_started(script: Script) -> None:
    code = "subprocess.Popen(['sleep', '600'])\nprint('up', flush=True)\ntime.sleep(600)"
    with Child(script(code), folders=None, output="pipe", deadline_s=2) as child:
        assert list(child.lines()) == ["up\n"]  # both have closed it
        assert (child.wait(), child.is_late) == (-signal.SIGKILL, True)


def test_what_it_started_ends_with_it(script: Script) -> None:
    code = "child = subprocess.Popen(['sleep', '600'])\nprint(child.pid, flush=True)"
    with Child(script(code), folders=None, output="pipe", deadline_s=600) as child:
        handle = os.pidfd_open(int(child.stdout.readline()))
        assert (child.wait(), child.is_late) == (0, False)
        assert select.select([handle], [], [], 60)[0], "it still runs"
        os.close(handle)


def test_some_time_to_end_by_itself(script: Script) -> None:
    code = (
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\nprint(flush=True)\ntime.sleep(600)"
    )
    with Child(script(code), folders=None, output="pipe") as child:
        child.stdout.readline()
        assert child.end(60, terminate=True) == 7
    with Child(script("print(flush=True); time.sleep(600)"), folders=None, output="pipe") as child:
        child.stdout.readline()
        assert child.end(0.1) == -signal.SIGKILL


@contextmanager
def parent_and_child(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    script = tmp_path / "sleeper.py"
    script.write_text("import time; print('up', flush=True); time.sleep(600)")
    command = [sys.executable, "-c", _PARENT, str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline().split()[0])
        try:
            yield parent, child
        finally:
            parent.kill()


def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    with parent_and_child(tmp_path) as (parent, child):
        os.kill(child, 0)
        handle = os.pidfd_open(child)
        parent.send_signal(signal.SIGKILL)
        assert select.select([handle], [], [], 60)[0], "the child still runs"
        os.close(handle)


def test_where_the_system_does_not_help_the_end_of_a_pipe_does(tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    code = (
        "import sys, time; from edgeq.children import sandbox; sandbox.sys.platform = 'other'\n"
        f"sandbox.end_with_parent({os.getpid()}, {ours}); print('up', flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], pass_fds=(ours,), stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        os.close(ours)
        os.close(theirs)
        assert child.wait(60) == -signal.SIGKILL


def test_a_child_whose_parent_is_gone_does_not_start(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    code = (
        "from edgeq.children import sandbox\n"
        f"sandbox.end_with_parent({ended.pid})\n"
        "print('still runs')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")


# ---------------------------------------------------------------- who is confined


confined = pytest.mark.skipif(bool(sandbox.missing()), reason="; ".join(sandbox.missing()))

_STARTED = re.compile(r'^execve\("[^"]+", \[(.*)\], .* = 0$')
_NAME = re.compile(r"edgeq\.[a-z_.]+|\b(?!start_)[a-z_]+_child\.py|agent\.pyz\", \"\w+")
_OPENED = re.compile(r'^openat\(\S+ "([^"]+)".* = \d+$')
_CONFINED = re.compile(r"^landlock_restrict_self\(.* = 0$")


def watch(
    tmp_path: Path, *arguments: object, foreign: Path | None = None, **variables: str
) -> tuple[set[str], dict[str, set[str]]]:
    """Run a command, watched from outside.

    Args:
        foreign: a file or folder that edgeq itself must not open either.

    Returns:
        What confined itself, by name; and who opened a `.tflite` or a Keras file, or what is
        foreign, before it did.
    """
    calls = "trace=execve,openat,landlock_restrict_self"
    logs = tmp_path / "strace"
    logs.mkdir()
    done = subprocess.run(
        ["strace", "-ff", "--seccomp-bpf", "-qq", "-s", "300", "-e", "signal=none", "-e", calls,
         "-o", logs / "process", EDGEQ, *map(str, arguments)],
        capture_output=True, text=True, check=False, env={**os.environ, **variables},
    )  # fmt: skip
    assert done.returncode in (0, 3, 4), done.stdout + done.stderr
    safe: set[str] = set()
    early: dict[str, set[str]] = {}
    for log in logs.iterdir():  # one for each process
        name, is_safe = "", False
        for line in log.read_text(errors="replace").splitlines():
            if match := _STARTED.match(line):
                found = _NAME.search(match[1])
                name = found[0].replace('", "', " ") if found else ""
            elif _CONFINED.match(line):
                is_safe = True
                safe |= {name} - {""}
            elif not is_safe and (match := _OPENED.match(line)):
                is_model = match[1].endswith((".tflite", ".keras")) and name
                if is_model or (foreign is not None and match[1].startswith(str(foreign))):
                    early.setdefault(name, set()).add(match[1])
    return safe, early


@confined
@pytest.mark.parametrize("name", ["package", "package.zip"])
def test_who_opens_a_package_is_confined_before(
    tmp_path: Path, int8_mobilenet: Path, name: str
) -> None:
    path = tmp_path / name
    made = make_package(int8_mobilenet, "python", data=_DATA[1], vectors=1)
    writing.write_package(made.files, path)
    found, early = watch(tmp_path, "verify", path, foreign=path)
    assert found == {"edgeq.packaging.verification.all_checks", "agent.pyz worker"}
    assert early == {}


@confined
@pytest.mark.parametrize("name", ["records", "records.zip", "records.tar.gz"])
def test_who_opens_imported_records_is_confined_before(tmp_path: Path, name: str) -> None:
    folder, path = tmp_path / "of" / "records", tmp_path / name
    folder.mkdir(parents=True)
    shutil.copy(Path(__file__).parents[1] / "history/compare.json", folder)
    if name == "records":
        path = folder
    else:
        shutil.make_archive(str(tmp_path / "records"), "zip" if ".zip" in name else "gztar", folder)
    database = tmp_path / "h.sqlite"
    found, early = watch(tmp_path, "history", "import", path, "--database", database, foreign=path)
    assert found == {"edgeq.history.importing"}
    assert early == {}
    with open_history(database) as history:
        assert history.list().total == 1


@confined
def test_doctor_of_the_agent_tells_that_the_sandbox_is_whole(tmp_path: Path) -> None:
    job = {"protocol": 1, "task": "check", "runtime": "ai-edge-litert"}
    assert LocalDevice().run(job, {}, tmp_path) | {"facts": None} == {
        "protocol": 1, "facts": None, "error": None, "sandbox": [],
    }  # fmt: skip


def test_the_allocator_of_pyarrow_starts_no_thread() -> None:
    """TensorFlow imports pandas, and pandas pyarrow; Landlock does not confine older threads."""
    python = os.environ.get("EDGEQ_TORCH_PYTHON", sys.executable)
    code = "import os, pyarrow; print(len(os.listdir('/proc/self/task')))"
    env = {**os.environ, **children._SINGLE_THREADED}
    done = subprocess.run([python, "-c", code], env=env, capture_output=True, check=False)
    if b"No module named 'pyarrow'" in done.stderr:
        pytest.skip(f"{python} has no pyarrow")
    assert done.stdout == b"1\n"
