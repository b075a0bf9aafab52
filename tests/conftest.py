"""Fixtures that several test folders share; what is slow to make is made once a session."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest
from click.testing import CliRunner

from edgeq import api, models
from edgeq.children.other_python import OtherPython
from edgeq.cli import cli
from edgeq.converters.lowering.framework_process import TensorFlowProcess
from edgeq.converters.lowering.lower import FileReader
from edgeq.converters.lowering.model_kinds import identify
from edgeq.errors import MissingExtraError
from edgeq.fit import tflite_micro as micro
from edgeq.fit import vela
from edgeq.records import reading
from edgeq.values import ConvertOptions, FloatModel

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


# The longest tests, in groups of which each worker begins with one; at the end they would hold up
# all. The first group waits for the one virtual board.
_LONG = (
    ("test_emulated.py", "test_adb_arm64.py", "_on_the_board"),
    ("test_examples.py",),
    ("test_tuner.py", "test_torch.py"),
    ("test_fuzz.py", "test_example_models.py"),
)
# What a change breaks most often, told within seconds: the shape of the code, and its texts.
_EARLY = (
    "tests/test_package.py",
    "tests/test_english.py",
    "tests/test_docs.py",
    "tests/test_issues.py",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put early what fails most often and what takes longest; leave out the slow ones where nobody
    asks for them.

    Each worker of a parallel session begins with an equal part of the list, as `--dist worksteal`
    deals it.
    """
    early = _take(items, _EARLY)
    groups = [_take(items, parts) for parts in _LONG]
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    heads: list[list[pytest.Item]] = [[] for _ in range(workers)]
    for number, group in enumerate(groups):
        heads[number % workers] += group
    heads[-1] = [*early, *heads[-1]]
    rest, items[:] = items[:], []
    total = len(rest) + sum(map(len, heads))
    for number, head in enumerate(heads):
        share = (total - len(items)) // (workers - number)
        count = max(0, share - len(head))
        items += [*head, *rest[:count]]
        del rest[:count]
    if not os.environ.get("EDGEQ_TEST_SLOW"):
        for item in items:
            if item.get_closest_marker("slow") is not None:
                item.add_marker(pytest.mark.skip(reason="slow; EDGEQ_TEST_SLOW=1 runs it"))


def _take(items: list[pytest.Item], parts: tuple[str, ...]) -> list[pytest.Item]:
    """Remove the tests whose names hold one of the parts, and return them in the parts' order."""
    found = [item for part in parts for item in items if part in item.nodeid]
    taken = list(dict.fromkeys(found))
    items[:] = [item for item in items if item not in set(taken)]
    return taken


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real models and labelled data beside the project."""
    if not SHARED.is_dir():
        pytest.skip("../shared/data is not there")
    return SHARED


def make_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that one worker of a parallel session fills; the others wait for it."""
    base = factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = root / f"once-{name}"
    with (root / f"once-{name}.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        if not lock.read():
            folder.mkdir(exist_ok=True)
            make(folder)
            lock.write("made")
    return folder


_Value = TypeVar("_Value")


def share(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], _Value]) -> _Value:
    """What `make` returns, made by one worker of a parallel session and read by the others.

    Args:
        make: gets a folder that stays; its files may be named in the value.
    """

    def keep(folder: Path) -> None:
        made = make(folder)
        (folder / ".value").write_bytes(pickle.dumps(made))

    folder = make_once(factory, name, keep)
    value: _Value = pickle.loads((folder / ".value").read_bytes())
    return value


@pytest.fixture(scope="session", autouse=True)
def _shared_tensorflow() -> Iterator[None]:
    """Conversions in this process share a child with TensorFlow: most of their time is its start.

    A child knows files by our paths, so that another current folder has another child, of which
    one is kept. Commands in separate processes start another one.
    """
    home = Path.cwd()
    running: dict[Path, TensorFlowProcess] = {}
    start, end = TensorFlowProcess.__init__, TensorFlowProcess.__exit__

    def lend(kind: type[TensorFlowProcess], **settings: Any) -> TensorFlowProcess:
        here = Path.cwd()
        for folder in running.keys() - {home, here}:
            end(running.pop(folder), None, None, None)
        if here in running and running[here]._child._process.poll() is not None:
            end(running.pop(here), None, None, None)
        if here not in running:
            running[here] = object.__new__(kind)
            start(running[here])
        return running[here]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TensorFlowProcess, "__new__", lend)
        patch.setattr(TensorFlowProcess, "__init__", lambda process, **settings: None)
        patch.setattr(TensorFlowProcess, "__exit__", lambda process, *error: None)
        yield
    for process in running.values():
        end(process, None, None, None)


class _Current:
    """The shared child as it is now: a test may have ended the one that ran before."""

    def __getattr__(self, name: str) -> Any:
        return getattr(TensorFlowProcess(), name)


@pytest.fixture(scope="session")
def tensorflow() -> TensorFlowProcess:
    """The child with TensorFlow of this process."""
    return cast(TensorFlowProcess, _Current())


Lower = Callable[..., FloatModel]


@pytest.fixture(scope="session")
def lower(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Lower:
    """Lower a model file in the shared child process; equal calls share the result."""

    def make(path: Path, **settings: Any) -> FloatModel:
        options = ConvertOptions(**settings)

        def lower(folder: Path) -> FloatModel:
            # Here, because a worker that only reads what another one made needs no TensorFlow.
            process = request.getfixturevalue("tensorflow")
            return FileReader(path, identify(path), process).lower(options, folder)

        digest = hashlib.sha256(f"{path} {options}".encode()).hexdigest()[:16]
        return share(tmp_path_factory, f"lowered-{path.stem}-{digest}", lower)

    return make


@pytest.fixture(scope="session")
def float_cnn(lower: Lower) -> FloatModel:
    """The plain CNN that ships with edgeq, as a float `.tflite`: raw 28x28x1 input, 10 classes."""
    return lower(models.path("fmnist_cnn.keras"))


@pytest.fixture(scope="session")
def float_mobilenet(lower: Lower) -> FloatModel:
    """The MobileNet-like model that ships with edgeq: inputs in 0..1, residual ADDs."""
    return lower(models.path("fmnist_mobilenet.keras"))


@pytest.fixture(scope="session", autouse=True)
def _folders_of_tests_are_no_classes(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The folder of a test is not one class beside those of others (`data.one_class`)."""
    (tmp_path_factory.getbasetemp() / "not-a-class").touch()


@pytest.fixture(scope="session")
def float_file(float_mobilenet: FloatModel) -> Path:
    """The float `.tflite` of the MobileNet-like model."""
    return Path(float_mobilenet.file.path)


@pytest.fixture(scope="session")
def int8_mobilenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The MobileNet-like model as edgeq's default conversion leaves it, with its record."""
    name = "mobilenet.tflite"
    folder = make_once(
        tmp_path_factory,
        "int8",
        lambda folder: api.convert(
            models.path("fmnist_mobilenet.keras"),
            folder / name,
            data=models.path("fashion_mnist_calibration.npz"),
            preprocess=["scale=1/255"],
        ),
    )
    return folder / name


def _run(*arguments: object) -> None:
    done = CliRunner().invoke(cli, [*map(str, arguments)], standalone_mode=False)
    written = Path(str(arguments[arguments.index("-o") + 1]))
    assert written.exists(), f"{arguments}: {done.exception!r}\n{done.output}"


@pytest.fixture(scope="session")
def record_files(
    tmp_path_factory: pytest.TempPathFactory, int8_mobilenet: Path, float_file: Path
) -> dict[str, Path]:
    """A record of each kind, written by the commands themselves; of one model where they can be."""
    folder = make_once(
        tmp_path_factory, "records", lambda made: _write_records(made, int8_mobilenet, float_file)
    )
    return {kind: folder / f"{kind}.json" for kind in (*reading.KINDS, *reading.FLEET_KINDS)}


def _write_records(folder: Path, int8_mobilenet: Path, float_file: Path) -> None:
    test = models.path("fashion_mnist_test.npz")
    calibration = models.path("fashion_mnist_calibration.npz")
    scale = "--preprocess", "scale=1/255"
    both = "--device", "local,broken@127.0.0.1:1"
    quick = "--runs", 30, "--rounds", 3
    commands = {
        "bench": ("bench", int8_mobilenet, *quick),
        "eval": ("eval", int8_mobilenet, "--data", test, "--samples", 50, *scale),
        "compare": ("compare", float_file, int8_mobilenet, "--data", test, "--samples", 50,
                    *scale, *quick),
        "debug": ("debug", float_file, int8_mobilenet, "--data", test, "--samples", 8, *scale),
        "profile": ("profile", int8_mobilenet, float_file, "--runs", 20),
        "parity": ("parity", int8_mobilenet, "--data", test, "--samples", 8, *scale),
        "inspect": ("inspect", int8_mobilenet),
        "fit": ("fit", int8_mobilenet, "--coral"),
        "doctor": ("doctor", "--model", int8_mobilenet),
        "fleet-bench": ("bench", int8_mobilenet, *quick, *both),
        "fleet-eval": ("eval", int8_mobilenet, "--data", test, "--samples", 20, *scale, *both),
        "fleet-compare": ("compare", float_file, int8_mobilenet, "--data", test, "--samples", 20,
                          *scale, "--no-latency", *both),
    }  # fmt: skip
    for kind, command in commands.items():
        _run(*command, "-o", folder / f"{kind}.json")
    common = (float_file, "--data", calibration, *scale)
    _run("convert", *common, "--effort", "fast", "-o", folder / "a.tflite")
    _run("tune", *common, "--test-data", test, "--max-drop", 5, "--objective", "size",
        "--max-trials", 2, "-o", folder / "b.tflite")  # fmt: skip
    (folder / "edgeq.toml").write_text("[policy]\nmax_size = '1 MB'\n")
    _run("gate", f"{int8_mobilenet}.json", "--policy", folder / "edgeq.toml",
         "-o", folder / "gate.json")  # fmt: skip
    (folder / "a.tflite.json").rename(folder / "convert.json")
    (folder / "b.tflite.json").rename(folder / "tune.json")


def _find_or_skip(find: Callable[[], OtherPython], extra: str) -> OtherPython:
    try:
        return find()
    except MissingExtraError as error:
        pytest.skip(f"{error.message} EDGEQ_TEST_EXTRAS={extra} scripts/test")


@pytest.fixture(scope="session")
def tflite_micro() -> OtherPython:
    """The Python that has tflite-micro, the runtime of microcontrollers."""
    return _find_or_skip(micro.find, "micro")


@pytest.fixture(scope="session")
def vela_python() -> OtherPython:
    """The Python that has Vela, the compiler for Arm Ethos-U."""
    return _find_or_skip(vela.find, "vela")
