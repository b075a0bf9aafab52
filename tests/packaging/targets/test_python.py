"""The Python package: the wheel is one, it computes what edgeq computes, here and on arm64."""

from __future__ import annotations

import base64
import contextlib
import csv
import fcntl
import hashlib
import importlib.util
import io
import itertools
import json
import os
import pickle
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import time
import wave
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from edgeq import api, models
from edgeq.converters.lowering.framework_process import TensorFlowProcess
from edgeq.converters.samples.open_samples import open_samples
from edgeq.device_runners.devices import environment
from edgeq.device_runners.devices.addresses import resolve_device
from edgeq.device_runners.devices.board import BoardDevice
from edgeq.device_runners.devices.emulated import VirtualBoard, build, start
from edgeq.device_runners.devices.local import LocalDevice
from edgeq.errors import PackageError
from edgeq.models import data
from edgeq.packaging.assembly.tools import LOCAL_TOOLS
from edgeq.packaging.contract.contract import make_contract
from edgeq.packaging.evidence.inputs import PackageInputs
from edgeq.packaging.golden.sampling import make_golden
from edgeq.packaging.golden.vectors import golden_files
from edgeq.packaging.targets import find_target, python
from edgeq.packaging.targets.python import command as own_command
from edgeq.packaging.targets.python.wheel import pep440
from edgeq.tflite import quantmath
from edgeq.tflite.model_file import parse_model, read_model
from tests.conftest import share

ROOT = Path(__file__).resolve().parents[3]
OLD_PYTHON = os.environ.get("EDGEQ_TFLITE_RUNTIME_PYTHON")


def load(name: str, path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


tiny = load("tiny_models", ROOT / "tests" / "tiny_models.py")
Kind = tiny.schema.TensorType
RANDOM = np.random.default_rng(7)


def quantized(name: str, shape: Sequence[int], kind: int, scale: float, zero: int) -> Any:
    made = tiny.tensor(name, shape, kind, scale=scale)
    made.quantization.zeroPoint = [zero]
    return made


def doubled(shape: Sequence[int], kind: int, zero: int, names: tuple[str, str]) -> bytes:
    """`y = x + x` on 8 bits."""
    tensors = [quantized("x", shape, kind, 0.02, zero), quantized("y", shape, kind, 0.05, zero)]
    add = tiny.operator(0, [0, 0], [1], tiny.schema.AddOptionsT())
    names_of = {names[0]: 0}, {names[1]: 1}
    return tiny.model(
        [tiny.graph(tensors, [0], [1], [add])], [(tiny.Operator.ADD, 2)], signature=names_of
    )


def float_image() -> bytes:
    """`y = x + x` on a float image of 6 x 4."""
    tensors = [tiny.tensor("x", [1, 6, 4, 3]), tiny.tensor("y", [1, 6, 4, 3])]
    add = tiny.operator(0, [0, 0], [1], tiny.schema.AddOptionsT())
    return tiny.model([tiny.graph(tensors, [0], [1], [add])], [(tiny.Operator.ADD, 1)])


PIXELS = RANDOM.integers(0, 256, (6, 9, 7, 3), dtype=np.uint8)
IMAGE = "resize=6x4,channels=bgr,mean=103.9:116.8:123.7,std=57.4:57.1:58.4,scale=1.1,offset=-0.5"


@dataclass(frozen=True)
class Case:
    content: bytes
    data: Mapping[str, Any]
    preprocess: Sequence[str] = ()
    labels: Mapping[str, Sequence[str]] | None = None


CASES = {
    "float_io": Case(tiny.add_one(), {"x": RANDOM.normal(size=(6, 3))}),
    "signed_io": Case(
        doubled([1, 4], Kind.INT8, -3, ("class", "def")),
        {"class": RANDOM.normal(size=(6, 4))},
        labels={"": ["Привет", 'a "quoted" one', "c\\d", "日本"]},
    ),
    "unsigned_io": Case(
        doubled([1, 6, 4, 1], Kind.UINT8, 100, ("0 image/ü:0", "0 image/ü:1")),
        {"0 image/ü:0": PIXELS},
        ["letterbox=6x4,pad=30,channels=gray,scale=1/255"],
    ),
    "two_inputs": Case(
        tiny.subtract(),
        {"minuend": RANDOM.normal(size=(6, 2)), "subtrahend": RANDOM.normal(size=(6, 2))},
        ["minuend:scale=1/3,mean=0.1:0.2", "subtrahend:offset=1"],
    ),
    "image": Case(float_image(), {"x": PIXELS}, [IMAGE]),
    "bgr": Case(
        doubled([1, 9, 7, 3], Kind.INT8, -128, ("np", "tensors")),
        {"np": PIXELS},
        ["channels=bgr,scale=1/255"],
    ),
    "word": Case(
        doubled([1, 6, 8], Kind.INT8, -3, ("clip", "said")),
        {
            "clip": RANDOM.integers(-9000, 9000, (6, 600), np.int16)
            // np.int16([[30], [9], [3]] * 2)
        },
        ["sound=mfcc,rate=8000,window=200,hop=80,fft=200,bands=12,coefficients=8,mean=-1,std=7"],
    ),
}


def make_ingredients(folder: Path, stem: str, case: Case, **changes: Any) -> PackageInputs:
    path = folder / f"{stem}.tflite"
    path.write_bytes(case.content)
    contract = make_contract(path, labels=case.labels, preprocess=case.preprocess, **changes)
    golden = make_golden(read_model(path), contract, dict(case.data), LocalDevice(), count=3)
    return PackageInputs(contract, parse_model(case.content, "model.tflite"), golden, "Apache-2.0")


@pytest.fixture(scope="module")
def ingredients(tmp_path_factory: pytest.TempPathFactory) -> dict[str, PackageInputs]:
    return share(
        tmp_path_factory,
        "python-ingredients",
        lambda folder: {name: make_ingredients(folder, name, case) for name, case in CASES.items()},
    )


@pytest.fixture(scope="module")
def packages(
    ingredients: dict[str, PackageInputs], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, bytes]]:
    def make(folder: Path) -> dict[str, dict[str, bytes]]:
        return {name: python.make_files(item, LOCAL_TOOLS) for name, item in ingredients.items()}

    return share(tmp_path_factory, "python-packages", make)


def write(files: Mapping[str, bytes], folder: Path) -> Path:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def wheel_of(files: Mapping[str, bytes]) -> str:
    (name,) = (name for name in files if name.endswith(".whl"))
    return name


def run(folder: Path, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """The package's own command, without anything of edgeq's in its path."""
    return subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        cwd=folder, capture_output=True, text=True, check=False, **options,
    )  # fmt: skip


def run_without(modules: Sequence[str], interpreter: str, folder: Path, name: str) -> Any:
    """The package's own command where modules are not installed."""
    code = (
        f"import sys, runpy; sys.modules.update(dict.fromkeys({modules!r}))\n"
        f"runpy.run_module({name!r}, run_name='__main__')"
    )
    return subprocess.run(
        [interpreter, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )


# ---------------------------------------------------------------- what it computes


@pytest.mark.parametrize("name", CASES)
def test_the_smoke_test_passes_in_the_folder(
    name: str, packages: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    """Preprocessing and real values without any difference, in each kind of model."""
    done = run(write(packages[name], tmp_path), name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"{name} 1.0.0 on ")
    assert done.stdout.endswith("\nPASS\n")
    assert done.stdout.count(": PASS") == 3
    lines = [line for line in done.stdout.splitlines() if "  input " in line or "  real" in line]
    assert len(lines) == 3 * (3 if name == "two_inputs" else 2)
    assert all(": 0 of " in line for line in lines)


@pytest.mark.skipif(OLD_PYTHON is None, reason="EDGEQ_TFLITE_RUNTIME_PYTHON names no Python")
def test_it_runs_with_the_older_runtime(
    packages: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    folder = write(packages["two_inputs"], tmp_path)
    done = run_without(["ai_edge_litert"], str(OLD_PYTHON), folder, "two_inputs")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tflite-runtime" in done.stdout.splitlines()[0]


@pytest.mark.parametrize(
    ("path", "change", "said"),
    [
        ("signed_io/golden/00-outputs-0.bin", lambda old: bytes(len(old)), "FAIL: sample"),
        ("signed_io/golden/00-raw-0.bin", lambda old: bytes(len(old)), "FAIL: sample"),
        ("signed_io/signed_io.tflite", lambda old: old + b"\0", "FAIL: the model is not the one"),
    ],
)
def test_the_smoke_test_fails_where_something_differs(
    packages: dict[str, dict[str, bytes]], tmp_path: Path, path: str, change: Any, said: str
) -> None:
    files = packages["signed_io"]
    done = run(write({**files, path: change(files[path])}, tmp_path), "signed_io")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith(said)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("wanted", "given", "tolerance", "is_good"),
    [
        ([1.0, 2.0], [1.0, 2.25], 0.25, True),
        ([1.0, 2.0], [1.0, 1.75], 0.25, True),
        ([1.0, 2.0], [1.0, 2.2500002], 0.25, False),
        ([1.0, 2.0], [NAN, 2.0], 0.25, False),
        ([1.0, 2.0], [1.0, NAN], 0.25, False),
        ([1.0, 2.0], [INF, 2.0], 0.25, False),
        ([NAN, 2.0], [NAN, 2.0], 0.0, True),
        ([NAN, 2.0], [1.0, 2.0], 9.0, False),
        ([INF, 2.0], [-INF, 2.0], 9.0, False),
        ([1.0, 2.0], [1.0, 2.0], 0.0, True),
        ([1.0, 2.0], [1.0, 2.0000002], 0.0, False),
    ],
)
def test_the_smoke_test_holds_each_value_to_the_tolerance(
    wanted: list[float], given: list[float], tolerance: float, is_good: bool
) -> None:
    ours, theirs = (np.array([values], np.float32) for values in (wanted, given))
    line, found = own_command._compare("output y", ours, theirs, tolerance)
    assert found == is_good
    assert line.startswith("output y: ") and line.endswith(f" ({tolerance:g} accepted)")


@pytest.mark.parametrize(
    ("given", "tolerance", "is_good"),
    [([-126, 5], 2, True), ([-125, 5], 2, False), ([127, 5], 254, False), ([127, 5], 255, True)],
)
def test_the_smoke_test_counts_steps_without_wrapping(
    given: list[int], tolerance: float, is_good: bool
) -> None:
    ours, theirs = np.array([[-128, 5]], np.int8), np.array([given], np.int8)
    assert own_command._compare("output y", ours, theirs, tolerance)[1] == is_good
    for other in (theirs.astype(np.int16), theirs[0], theirs[:, :1]):
        assert not own_command._compare("output y", ours, other, 1e9)[1]


def test_without_a_runtime_it_says_what_to_install(
    packages: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    folder = write(packages["float_io"], tmp_path)
    done = run_without(["ai_edge_litert", "tflite_runtime"], sys.executable, folder, "float_io")
    assert done.returncode == 1
    assert done.stderr == (
        "float_io: No runtime is installed: pip install ai-edge-litert (or tflite-runtime).\n"
    )


@pytest.fixture
def imported(
    packages: dict[str, dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """Import a package as a program does."""
    made: list[str] = []
    monkeypatch.syspath_prepend(str(tmp_path))

    def load_package(name: str) -> Any:
        write(packages[name], tmp_path)
        made.append(name)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    yield load_package
    for module in [item for item in sys.modules if item.split(".")[0] in made]:
        del sys.modules[module]


def test_labels_are_ranked(imported: Any, ingredients: dict[str, PackageInputs]) -> None:
    """Input "class" and output "def" are keywords."""
    package = imported("signed_io")
    vector = ingredients["signed_io"].golden.vectors[0]
    result = package.SignedIo(threads=2).predict(vector.raw["class"])
    wanted = vector.real["def"][0]
    assert result.def_.values.tolist() == wanted.tolist()
    order = np.argsort(-wanted, kind="stable")
    labels = CASES["signed_io"].labels[""]
    assert result.def_.top(2) == [(labels[place], float(wanted[place])) for place in order[:2]]
    scores = sys.modules["signed_io.tensors"].Scores
    assert scores(np.array([0.75], np.float32), ("no", "yes")).top() == [
        ("yes", 0.75),
        ("no", 0.25),
    ]
    with pytest.raises(ValueError, match="no single ranking"):
        scores(np.zeros((2, 4)), ("a", "b", "c", "d")).top()


def test_several_inputs_are_given_by_name_and_not_in_the_files_order(imported: Any) -> None:
    package = imported("two_inputs")
    model = package.TwoInputs()
    assert [item.name for item in model.INPUTS] == ["subtrahend", "minuend"]
    result = model.predict(minuend=[3, 6], subtrahend=[1, 2])
    np.testing.assert_allclose(result.difference, [-1.1, -1.2], rtol=1e-6)
    with pytest.raises(TypeError):
        model.predict([3, 6], [1, 2])


def test_threads_that_share_a_model_get_their_own_answers(imported: Any) -> None:
    model = imported("signed_io").SignedIo()
    outputs = {
        number: model.run({"class": np.full((1, 4), number, np.int8)})["def"].tolist()
        for number in range(4)
    }
    assert len(set(map(str, outputs.values()))) == 4

    def call(number: int) -> bool:
        own = {"class": np.full((1, 4), number, np.int8)}
        return all(model.run(own)["def"].tolist() == outputs[number] for _ in range(300))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(call, outputs))


def test_a_tensor_of_another_byte_order_means_the_same(imported: Any) -> None:
    model = imported("float_io").FloatIo()
    found = [model.run({"x": np.array([[1, 2, 3]], dtype)})["y"] for dtype in ("<f4", ">f4")]
    assert found[0].tolist() == found[1].tolist()


SIGNED = {"shape": [1, 4], "kind": Kind.INT8, "zero": -3, "names": ("class", "def")}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (doubled(**SIGNED | {"zero": -2}), r"'class' is int8 \(1, 4\) .* and zero point -2, not"),
        (doubled(**SIGNED | {"kind": Kind.UINT8}), r"'class' is uint8 \(1, 4\) .*, not int8"),
        (doubled(**SIGNED | {"shape": [1, 4, 1]}), r"'class' is int8 \(1, 4, 1\) "),
        (doubled(**SIGNED | {"names": ("class", "out")}), "it has no 'def'"),
        (doubled(**SIGNED).replace(*map(np.float32.tobytes, np.float32([0.05, 0.04]))),
         "'def' is int8 .* with scale 0.04 and zero point -3, not int8 .* with scale 0.05 and"),
        (tiny.subtract(), "it has another number of inputs or outputs"),
    ],
)  # fmt: skip
def test_another_model_is_refused(imported: Any, tmp_path: Path, content: bytes, said: str) -> None:
    package = imported("signed_io")
    other, own = tmp_path / "other.tflite", package.SignedIo.file()
    other.write_bytes(own.read_bytes())
    package.SignedIo(model=other)
    other.write_bytes(content)
    with pytest.raises(ValueError, match=f"other.tflite is not the model that .* for: {said}"):
        package.SignedIo(2, other)
    own.write_bytes(content)
    with pytest.raises(ValueError, match=f"signed_io.tflite is not the model that .*: {said}"):
        package.SignedIo()
    done = run(tmp_path, "signed_io")
    assert done.returncode == 1
    assert "signed_io.tflite is not the model that this code was made for" in done.stderr


@pytest.mark.parametrize(
    ("name", "raw", "said"),
    [
        ("float_io", [1, 2], r"Input 'x' takes samples of shape \(3,\), not \(2,\)\."),
        ("float_io", ["a", "b", "c"], "takes numbers"),
        *(
            (name, [*raw, wrong], f"Input '{own}' contains NaN or infinity")
            for wrong in (NAN, INF, -INF, 1e39)
            for name, own, raw in (("signed_io", "class", [0, 1, 2]), ("float_io", "x", [0, 1]))
        ),
        ("image", np.zeros((9, 7, 3)), "An image is uint8, height x width x 1 or 3, not float64"),
        ("bgr", np.zeros((9, 7, 1)), "does not have 3 channels last"),
    ],
)
def test_a_sample_that_does_not_fit_is_told(imported: Any, name: str, raw: Any, said: str) -> None:
    package = imported(name)
    with pytest.raises(ValueError, match=said):
        getattr(package, package.__all__[0])().predict(raw)


# Steps, and the integer they are rounded to before the dtype's limits: ties away from zero.
BELOW, ABOVE = (float(np.nextafter(np.float32(0.5), np.float32(end))) for end in (0, 1))
FAR = 10**6
NUMBERS = [
    (0.0, 0), (0.25, 0), (BELOW, 0), (0.5, 1), (ABOVE, 1), (-BELOW, 0), (-0.5, -1), (-ABOVE, -1),
    (1.4999999, 1), (1.5, 2), (-1.5, -2), (2.5, 3), (-2.5, -3), (126.5, 127), (127.4, 127),
    (127.5, 128), (-127.4, -127), (-127.5, -128), (-128.4, -128), (-128.5, -129), (255.5, 256),
    (1e30, FAR), (-1e30, -FAR),
]  # fmt: skip


@pytest.mark.parametrize(("steps", "number"), NUMBERS)
@pytest.mark.parametrize(("dtype", "zero"), [("int8", 0), ("int8", 7), ("int8", -128),
    ("uint8", 0), ("uint8", 128)])  # fmt: skip
def test_half_a_step_is_rounded_away_from_zero(
    steps: float, number: int, dtype: str, zero: int
) -> None:
    from edgeq.packaging.targets.python.tensors import Input

    limits = np.iinfo(dtype)
    wanted = min(max(number + zero, limits.min), limits.max)
    for scale in (1.0, 0.0625, 4.0):
        own = Input("x", (1, 1), dtype, scale, zero)
        assert own.prepare(np.array([steps * scale], np.float32)).tolist() == [[wanted]]


@pytest.mark.parametrize(
    ("tensor", "real"), [(-128, -64.0), (127, 63.5), (4, 2.0), (0, 0.0), (-4, -2.0)]
)
def test_real_values_are_steps_from_the_zero_point(tensor: int, real: float) -> None:
    from edgeq.packaging.targets.python.tensors import Output

    assert Output("y", (1, 1), "int8", 0.5, 0).real(np.array([[tensor]], np.int8)).tolist() == [
        real
    ]
    # Beyond what INT8 itself can hold: 127 - (-128) is 255.
    far = Output("y", (1, 1), "int8", 0.5, -128)
    assert far.real(np.array([[tensor]], np.int8)).tolist() == [real + 64]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64", "bool", "float32"])
@pytest.mark.parametrize("is_quantized", [True, False])
def test_numbers_are_edgeqs_own(dtype: str, is_quantized: bool) -> None:
    """Ties, values beyond every range and values next to them, against edgeq itself."""
    from edgeq.converters.samples.input_shapes import fit
    from edgeq.errors import DataError
    from edgeq.packaging.targets.python.tensors import Input, Output
    from edgeq.tflite import quantmath
    from edgeq.values import TensorSpec

    if is_quantized and dtype not in ("int8", "uint8", "int16"):
        return
    zero = 7 if is_quantized else 0
    spec = TensorSpec("x", (1, 1), dtype, (0.0625,) * is_quantized, (zero,) * is_quantized)
    scale = 0.0625 if is_quantized else None
    own, output = Input("x", (1, 1), dtype, scale, zero), Output("x", (1, 1), dtype, scale, zero)
    values = [np.float32(k) / 32 for k in range(-40, 40)]
    values += [np.float64(v) for v in (3e38, -3e38, 1e39, np.inf, -np.inf, 255, 256, 2.0**63, 1, 0)]
    values += [np.uint8(255), np.int64(2**62 + 1), np.int64(-(2**63)), np.float32(0.49999997)]
    for value in values:
        with np.errstate(over="ignore"):
            is_finite = bool(np.isfinite(np.float32(value)))
        try:
            if not is_finite:
                raise DataError("edgeq's own data set is linted, and a caller's sample is not")
            with np.errstate(over="ignore"):
                wanted = quantmath.quantize(fit(np.array([value]), spec, "it")[np.newaxis], spec)
        except DataError:
            with pytest.raises(ValueError):
                own.prepare([value])
            continue
        given = own.prepare(np.array([value]))
        assert (given.dtype, given.tolist()) == (wanted.dtype, wanted.tolist()), value
        real = quantmath.dequantize(wanted, spec)
        assert output.real(given).tolist() == real[0].tolist()


def test_a_real_model_with_two_uint8_inputs_keeps_its_accuracy(
    tmp_path: Path, tensorflow: TensorFlowProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Raw pixels in, labels out; with the halves swapped it would be right in a quarter."""
    path = tmp_path / "halves.tflite"
    api.convert(
        models.path("fmnist_two_input.keras"), path, tensorflow=tensorflow, io="uint8",
        data="edgeq.models.data:two_input_calibration",
    )  # fmt: skip
    contract = make_contract(path, labels={"": [str(place) for place in range(10)]})
    assert {item.spec.dtype for item in (*contract.inputs, *contract.outputs)} == {"uint8"}
    golden = make_golden(
        read_model(path), contract, "edgeq.models.data:two_input_test", LocalDevice()
    )
    files = python.make_files(
        PackageInputs(contract, parse_model(path.read_bytes(), "model.tflite"), golden, None),
        LOCAL_TOOLS,
    )
    done = run(write(files, tmp_path), "halves")
    assert done.returncode == 0, done.stdout + done.stderr
    monkeypatch.syspath_prepend(str(tmp_path))
    model = importlib.import_module("halves").Halves()
    right = sum(
        model.predict(upper=halves["upper"], lower=halves["lower"]).class_.top(1)[0][0]
        == str(label)
        for halves, label in itertools.islice(data.two_input_test(), 200)
    )
    assert right >= 170


# ---------------------------------------------------------------- on the command line


def test_a_file_is_predicted(
    packages: dict[str, dict[str, bytes]], ingredients: dict[str, PackageInputs], tmp_path: Path
) -> None:
    folder = write({**packages["signed_io"], **packages["two_inputs"]}, tmp_path)
    vector = ingredients["signed_io"].golden.vectors[0]
    np.save(folder / "a.npy", vector.raw["class"])
    done = run(folder, "signed_io", "a.npy", "--top", 1, env={**os.environ, "LC_ALL": "C"})
    best = int(vector.real["def"][0].argmax())
    label = CASES["signed_io"].labels[""][best]
    assert json.loads(done.stdout) == {"def": [[label, float(vector.real["def"][0][best])]]}

    np.savez(folder / "b.npz", minuend=[3, 6], subtrahend=[1, 2], y=[0])
    done = run(folder, "two_inputs", "b.npz")
    np.testing.assert_allclose(json.loads(done.stdout)["difference"], [-1.1, -1.2], rtol=1e-6)
    done = run(folder, "two_inputs", "a.npy")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "two_inputs: a.npy is one array; save an .npz with subtrahend, minuend."
    )
    np.savez(folder / "c.npz", minuend=[3, 6])
    assert "There is no subtrahend in the sample" in run(folder, "two_inputs", "c.npz").stderr


def broken_zip(path: Path) -> None:
    """An .npz whose one array has other bytes than its checksum says."""
    np.savez(path, x=np.arange(3.0))
    content = path.read_bytes()
    place = content.index(np.arange(3.0).tobytes())
    path.write_bytes(content[:place] + b"\1" + content[place + 1 :])


@contextlib.contextmanager
def watching(folder: Path, name: str, inbox: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", name, "--watch", str(inbox)]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def wait_for(*paths: Path) -> None:
    end = time.monotonic() + 240
    while not all(path.exists() for path in paths):
        assert time.monotonic() < end
        time.sleep(0.05)


def bomb(path: Path) -> None:
    """A small file that unpacks to a large one."""
    archive = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    with archive, archive.open("x.npy", "w") as stream:
        for _ in range(300):
            stream.write(bytes(1_000_000))
        stream.write(b"1")


def test_a_folder_is_watched_and_no_file_stops_that(
    packages: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    folder, inbox = write(packages["float_io"], tmp_path), tmp_path / "in"
    inbox.mkdir()
    np.save(inbox / "c.npy", [1, 2, 3])
    np.savez(inbox / "c.npz", x=[4, 5, 6])
    bad = {
        "empty.npy": ("is not a complete .npy or .npz file", (inbox / "empty.npy").touch),
        "long.npy": ("takes samples of shape", lambda: np.save(inbox / "long.npy", [1, 2])),
        "text.npz": (
            "is not a complete .npy or .npz file",
            lambda: (inbox / "text.npz").write_text("PK\3\4..."),
        ),
        "torn.npz": ("is not a complete .npy or .npz file", lambda: broken_zip(inbox / "torn.npz")),
        "pipe.npy": ("is not a file", lambda: os.mkfifo(inbox / "pipe.npy")),
        "bomb.npz": (
            "it takes 300,000,001 bytes, and a sample at most 300,000,000",
            lambda: bomb(inbox / "bomb.npz"),
        ),
    }  # fmt: skip
    for _, make in bad.values():
        make()
    with watching(folder, "float_io", inbox) as process:
        wait_for(*(inbox / f"{name}.json" for name in ("c.npy", "c.npz", *bad)))
        with (inbox / "later.npy.part").open("wb") as stream:
            np.save(stream, [7, 8, 9])
        (inbox / "later.npy.part").replace(inbox / "later.npy")
        wait_for(inbox / "later.npy.json")
        assert process.poll() is None
        process.terminate()
        log = process.stderr.read() if process.stderr else ""
    answers = {path.name: json.loads(path.read_text()) for path in inbox.glob("*.json")}
    assert answers["c.npy.json"] == {"y": [2, 3, 4]}
    assert answers["c.npz.json"] == {"y": [5, 6, 7]}
    assert answers["later.npy.json"] == {"y": [8, 9, 10]}
    for name, (said, _) in bad.items():
        assert said in answers[f"{name}.json"]["error"]
        assert f"float_io: {name} was passed by: " in log


def test_a_file_that_is_no_sample_is_refused_in_a_sentence(
    packages: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    folder = write(packages["float_io"], tmp_path)
    (folder / "empty.npz").touch()
    broken_zip(folder / "torn.npz")
    for name in ("empty.npz", "torn.npz"):
        done = run(folder, "float_io", name)
        assert (done.returncode, done.stdout) == (1, "")
        (line,) = (line for line in done.stderr.splitlines() if "float_io" in line)
        assert line.startswith(f"float_io: {name} is not a complete .npy or .npz file: ")


def test_what_is_no_number_of_json_is_null(
    packages: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    """A difference that is too large for a float; a sample that is none is refused."""
    folder = write(packages["two_inputs"], tmp_path)
    np.savez(folder / "a.npz", minuend=[3e38, 3.0], subtrahend=[-3e38, -1.0])
    found = json.loads(run(folder, "two_inputs", "a.npz").stdout)["difference"]
    assert found == [None, pytest.approx(0.8)]
    np.savez(folder / "a.npz", minuend=[np.inf, 3.0], subtrahend=[0.0, -1.0])
    done = run(folder, "two_inputs", "a.npz")
    assert done.returncode == 1
    assert done.stderr.endswith("two_inputs: Input 'minuend' contains NaN or infinity.\n")


def write_wav(path: Path, sound: np.ndarray, rate: int = 8000) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((sound * 32768).astype("<i2").tobytes())
    return path


def test_sounds_become_the_measured_features(
    imported: Any, ingredients: dict[str, PackageInputs], tmp_path: Path
) -> None:
    """From files, with a rate and without, cut or followed by zeros as in a data set."""
    model = imported("word").Word()
    contract = ingredients["word"].contract
    for vector in ingredients["word"].golden.vectors:
        sound, wanted = vector.sounds["clip"], vector.inputs["clip"]
        path = write_wav(tmp_path / f"{vector.index}.wav", np.append(sound, [0.5] * 100))
        whole = (sound * 32768).astype(np.int16)
        for given in (
            path,
            str(path),
            sound,
            (sound, 8000),
            whole,
            np.append(whole, np.int16([9, 9])),
        ):
            np.testing.assert_array_equal(model.preprocess(given)["clip"], wanted)
        real = model.predict(path).said
        np.testing.assert_allclose(real, vector.real["said"][0], atol=0.051)
    (tmp_path / "data").mkdir()
    short = write_wav(tmp_path / "data" / "a.wav", sound[:300])
    spec = contract.inputs[0].spec
    (sample,) = open_samples(short.parent, [spec], contract.declared).iterate()
    wanted = quantmath.quantize(sample.inputs["clip"][np.newaxis], spec)
    np.testing.assert_array_equal(model.preprocess(short)["clip"], wanted)


@pytest.mark.parametrize(
    ("sound", "said"),
    [
        ((np.zeros(600), 16000), "The sound has 16000 samples per second, not 8000."),
        (np.zeros((600, 2)), "The sound is 600x2: a sound has one channel"),
        (np.zeros(600, np.int64), "The sound holds int64 values"),
        (np.full(600, np.nan), "Input 'clip' contains NaN or infinity"),
    ],
)
def test_a_sound_that_does_not_fit_is_told(imported: Any, sound: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        imported("word").Word().predict(sound)


def test_a_wav_file_is_predicted(
    packages: dict[str, dict[str, bytes]], ingredients: dict[str, PackageInputs], tmp_path: Path
) -> None:
    vector = ingredients["word"].golden.vectors[0]
    folder = write({**packages["word"], **packages["float_io"]}, tmp_path)
    write_wav(folder / "a.wav", vector.sounds["clip"])
    found = json.loads(run(folder, "word", "a.wav").stdout)["said"]
    np.testing.assert_allclose(found, vector.real["said"][0], atol=0.051)
    write_wav(folder / "b.wav", vector.sounds["clip"], 16000)
    assert run(folder, "word", "b.wav").stderr.endswith(
        "word: Sound b.wav has 16000 samples per second, not 8000. Convert it: ffmpeg -i IN.wav "
        "-ar 8000 OUT.wav\n"
    )
    assert "is not a complete .npy or .npz file" in run(folder, "float_io", "a.wav").stderr


@pytest.mark.parametrize(
    ("constant", "changed"),
    [("hop=80", "hop=79"), ("window=200", "window=199"), ("bands=12", "bands=13")],
)
def test_the_smoke_test_fails_with_another_front_end(
    packages: dict[str, dict[str, bytes]], tmp_path: Path, constant: str, changed: str
) -> None:
    folder = write(packages["word"], tmp_path)
    path = folder / "word" / "runner.py"
    path.write_text(path.read_text().replace(constant, changed))
    done = run(folder, "word")
    assert done.returncode == 1
    assert re.search(r"features of clip: .*\n  input clip: 0 of", done.stdout)


@pytest.mark.parametrize("name", ["image", "two_inputs", "signed_io", "word"])
def test_the_readmes_example_runs(
    name: str,
    packages: dict[str, dict[str, bytes]],
    ingredients: dict[str, PackageInputs],
    tmp_path: Path,
) -> None:
    folder, item = write(packages[name], tmp_path), ingredients[name]
    for given in item.contract.inputs:
        raw = item.golden.vectors[0].raw[given.spec.name]
        np.save(folder / f"{given.identifier}.npy", raw)
        if name == "image":
            PIL.Image.fromarray(raw).save(folder / f"{given.identifier}.png")
        if name == "word":
            write_wav(folder / "clip.wav", item.golden.vectors[0].sounds["clip"])
    example = packages[name]["README.md"].decode().split("```python\n")[1].split("```")[0]
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[")
    told = packages[name]["README.md"].decode()
    assert ("ImageOps.exif_transpose(image)" in told) == (name in ("unsigned_io", "image", "bgr"))


# ---------------------------------------------------------------- the wheel


@pytest.mark.parametrize("name", ["signed_io", "image"])
def test_pip_installs_the_wheel_and_it_runs(
    name: str, packages: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    folder, wheel = write(packages[name], tmp_path / "package"), wheel_of(packages[name])
    site = tmp_path / "site"
    command = ["pip", "install", "--quiet", "--no-index", "--no-deps", "--target", site]
    done = run(tmp_path, *command, folder / wheel)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in site.iterdir()} == {name, f"{name}-1.0.0.dist-info"}
    done = run(site, name)
    assert done.returncode == 0, done.stdout + done.stderr
    listed = run(tmp_path, "pip", "inspect", "--path", site)
    (entry,) = json.loads(listed.stdout)["installed"]
    assert entry["metadata"]["name"] == name.replace("_", "-")
    assert entry["metadata"]["version"] == "1.0.0"


def test_record_has_the_digest_of_every_file(packages: dict[str, dict[str, bytes]]) -> None:
    for files in packages.values():
        with zipfile.ZipFile(io.BytesIO(files[wheel_of(files)])) as wheel:
            names = wheel.namelist()
            (record,) = (name for name in names if name.endswith(".dist-info/RECORD"))
            rows = list(csv.reader(io.StringIO(wheel.read(record).decode())))
            assert sorted(row[0] for row in rows) == sorted(names)
            for path, digest, size in rows:
                content = wheel.read(path)
                found = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode()
                wanted = ("", "") if path == record else (
                    f"sha256={found.rstrip('=')}", str(len(content)))  # fmt: skip
                assert (digest, size) == wanted


def test_metadata(packages: dict[str, dict[str, bytes]]) -> None:
    def read(name: str) -> Any:
        files = packages[name]
        with zipfile.ZipFile(io.BytesIO(files[wheel_of(files)])) as wheel:
            assert f"{name}/py.typed" in wheel.namelist()
            return BytesParser().parsebytes(wheel.read(f"{name}-1.0.0.dist-info/METADATA"))

    plain, image = read("signed_io"), read("image")
    assert plain["Name"] == "signed-io"
    assert plain["License-Expression"] == "Apache-2.0"
    assert plain["Requires-Python"] == ">=3.8"
    assert plain.get_all("Requires-Dist") == [
        'ai-edge-litert>=2.1; python_version >= "3.10"',
        'tflite-runtime>=2.13; python_version < "3.10"',
        'numpy>=1.21; python_version >= "3.10"',
        'numpy>=1.21,<2; python_version < "3.10"',
    ]
    assert image.get_all("Requires-Dist")[-1] == "pillow>=9.1"
    assert "image/images.py" in packages["image"]
    assert "bgr/images.py" not in packages["bgr"]  # turning channels needs no Pillow
    assert plain.get_payload() == packages["signed_io"]["README.md"].decode()


def test_a_model_that_the_older_runtime_cannot_run_does_not_ask_for_it(
    ingredients: dict[str, PackageInputs],
) -> None:
    item = ingredients["float_io"]
    newer = replace(item, contract=replace(item.contract, min_runtime_version="2.17.0"))
    files = python.make_files(newer, LOCAL_TOOLS)
    assert files["requirements.txt"] == b"ai-edge-litert>=2.1\nnumpy>=1.21\n"
    assert b"asks for TensorFlow\nLite 2.17.0" in files["README.md"]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("1.4.0", "1.4.0"), ("1", "1"), ("01.002", "1.2"), ("1.4.0-rc1", "1.4.0rc1"),
        ("1.4.0-alpha", "1.4.0a0"), ("1.4.0-BETA.2", "1.4.0b2"), ("2.0-dev", "2.0.dev0"),
        ("1.4.0+build.007", "1.4.0+build.7"), ("1.4.0-nightly.7", "1.4.0.dev0+nightly.7"),
        ("1.4.0-3", "1.4.0.dev0+3"), ("1.4.0-.", "1.4.0.dev0"), ("1.0+A-b", "1.0+a.b"),
    ],
)  # fmt: skip
def test_versions_are_pythons(given: str, wanted: str) -> None:
    assert pep440(given) == wanted
    packaging = pytest.importorskip("packaging.version")
    assert str(packaging.Version(wanted)) == wanted


# ---------------------------------------------------------------- the code


@pytest.mark.parametrize("name", CASES)
def test_the_code_is_strictly_typed_and_tidy(
    name: str, packages: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    folder = write(packages[name], tmp_path)
    tidy = ["--config", ROOT / "pyproject.toml", "--target-version", "py38", "--no-cache", name]
    for command in (["check"], ["format", "--diff"]):
        done = run(folder, "ruff", *command, *tidy)
        assert done.returncode == 0, done.stdout + done.stderr
    if name in ("two_inputs", "image"):  # they have all files between them; mypy is slow
        cache = ROOT / ".mypy_cache" / "packages"
        done = run(folder, "mypy", "--strict", "--config-file", os.devnull, "--cache-dir", cache,
                   "-p", name)  # fmt: skip
        assert done.returncode == 0, done.stdout


def test_a_caller_is_typed(packages: dict[str, dict[str, bytes]], tmp_path: Path) -> None:
    folder = write(packages["signed_io"], tmp_path)
    (folder / "caller.py").write_text(
        "from signed_io import SignedIo\n"
        "model = SignedIo()\n"
        "result = model.predict([1, 2, 3, 4])\n"
        "label: str = result.def_.top(1)[0][0]\n"
        "wrong: int = result.def_\n"
        "model.predict(image=1)\n"
    )
    cache = ROOT / ".mypy_cache" / "packages"
    done = run(folder, "mypy", "--strict", "--config-file", os.devnull, "--cache-dir", cache,
               "caller.py")  # fmt: skip
    lines = [line.split(":")[1] for line in done.stdout.splitlines() if " error: " in line]
    assert lines == ["5", "6"], done.stdout


@pytest.mark.parametrize("name", ["runner", "scores", "none", "x", "v2", "a" * 36])
def test_names_of_packages(name: str, tmp_path: Path) -> None:
    """Those that its own code uses, that are reserved, and a long one."""
    item = make_ingredients(tmp_path, "m", CASES["two_inputs"], name=name)
    files = python.make_files(item, LOCAL_TOOLS)
    done = run(write(files, tmp_path), item.contract.name)
    assert done.returncode == 0, done.stdout + done.stderr
    done = run(tmp_path, "ruff", "format", "--diff", "--no-cache", "--config",
               ROOT / "pyproject.toml", item.contract.name)  # fmt: skip
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["numpy", "json", "test", "tflite_runtime"])
def test_a_name_that_would_hide_another_module_is_refused(name: str, tmp_path: Path) -> None:
    item = make_ingredients(tmp_path, "m", CASES["float_io"], name=name)
    with pytest.raises(PackageError, match=f"The name '{name}' is that of another Python module"):
        python.make_files(item, LOCAL_TOOLS)


def test_a_batch_is_refused(ingredients: dict[str, PackageInputs]) -> None:
    item = ingredients["float_io"]
    (one,) = item.contract.inputs
    batch = replace(one, spec=replace(one.spec, shape=(8, 3)))
    with pytest.raises(PackageError, match=r"Input 'x' is \(8, 3\): a runner takes one sample"):
        python.make_files(
            replace(item, contract=replace(item.contract, inputs=(batch,))), LOCAL_TOOLS
        )


def test_a_few_vectors_travel(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(CASES["float_io"].content)
    contract = make_contract(path)
    samples = {"x": np.arange(60, dtype=np.float32).reshape(20, 3)}
    golden = make_golden(read_model(path), contract, samples, LocalDevice(), count=10)
    files = python.make_files(
        PackageInputs(contract, parse_model(path.read_bytes(), "model.tflite"), golden, None),
        LOCAL_TOOLS,
    )
    assert len(json.loads(files["m/golden/golden.json"])["vectors"]) == 4
    assert len(golden_files(golden)) > sum(1 for path in files if "/golden/" in path)


# ---------------------------------------------------------------- the same bytes, the model in them


def test_two_builds_give_the_same_bytes(tmp_path: Path) -> None:
    """In other folders, an hour apart, in another zone, locale and umask, with other hashes."""
    code = (
        "import hashlib, json, os, pickle, sys, time; os.umask(int(sys.argv[2], 8))\n"
        "time.time = lambda now=time.time(): now + float(sys.argv[3])\n"
        "from edgeq.packaging.targets import find_target\n"
        "files = find_target('python').make_files(pickle.load(open(sys.argv[1], 'rb')), None)\n"
        "print(json.dumps({name: hashlib.sha256(files[name]).hexdigest() for name in files}))\n"
    )
    found = []
    for number, (zone, language, umask) in enumerate(
        [("UTC", "C", "022"), ("Asia/Kathmandu", "tr_TR.UTF-8", "077")]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        item = make_ingredients(folder, "signed_io", CASES["signed_io"])
        (folder / "ingredients").write_bytes(pickle.dumps(item))
        done = subprocess.run(
            [sys.executable, "-c", code, str(folder / "ingredients"), umask, str(3600 * number)],
            cwd=folder, capture_output=True, text=True, check=True,
            env={**os.environ, "TZ": zone, "LANG": language, "LC_ALL": language,
                 "PYTHONHASHSEED": str(number), "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        found.append(dict(json.loads(done.stdout)))
    assert found[0] == found[1]


def test_every_copy_of_the_model_is_found(
    packages: dict[str, dict[str, bytes]], ingredients: dict[str, PackageInputs]
) -> None:
    files = packages["image"]
    made = find_target("python")
    assert made.find_models(files) == dict.fromkeys(
        ("image/image.tflite", "image-1.0.0-py3-none-any.whl!image/image.tflite"),
        ingredients["image"].model.content,
    )
    for path in ("image/image.tflite", wheel_of(files)):
        with pytest.raises(PackageError):
            made.find_models({name: files[name] for name in files if name != path})
    with pytest.raises(PackageError, match="damaged"):
        made.find_models({**files, wheel_of(files): files[wheel_of(files)][:-100]})


def test_the_service_is_one(packages: dict[str, dict[str, bytes]], tmp_path: Path) -> None:
    text = packages["signed_io"]["signed_io.service"].decode()
    lines = [line for line in text.splitlines() if line and line[0] not in "#["]
    keys = dict(line.split("=", 1) for line in lines)
    assert keys["ExecStartPre"] == "/opt/signed_io/bin/python -m signed_io"
    assert keys["ExecStart"].endswith("-m signed_io --threads 2 --watch /var/lib/signed_io")
    assert keys["StateDirectory"] == "signed_io"
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "signed_io.service"
    unit.write_text(text.replace("/opt/signed_io/bin/python", sys.executable))
    done = subprocess.run(
        [analyze, "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


# ---------------------------------------------------------------- on the virtual arm64 board


def why_not() -> str | None:
    """Why no virtual board can run here; as the board's own tests ask."""
    path = ROOT / "tests" / "device_runners" / "devices" / "test_emulated.py"
    reason: str | None = load("emulated_tests", path).why_not()
    return reason


@dataclass
class Shell:
    """Commands on the board over SSH, as its user."""

    board: VirtualBoard
    port: int

    def run(self, command: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["ssh", "-i", str(self.board.key), "-p", str(self.port), "-o", "BatchMode=yes",
             "-o", f"UserKnownHostsFile={self.board.known_hosts}", "pi@127.0.0.1", command],
            input=given, capture_output=True, check=False, timeout=240,
        )  # fmt: skip


@pytest.fixture
def shell() -> Iterator[Shell]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    board = VirtualBoard.of("arm64")
    build("arm64")
    with (board.folder / "test-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one test at a time, of all test processes
        yield Shell(board, start(board))


def pip_itself() -> bytes:
    """pip as a tar file: pure Python, and the board has none."""
    import pip

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        tar.add(Path(pip.__file__).parent, "pip",
                filter=lambda entry: None if "__pycache__" in entry.name else entry)  # fmt: skip
    return buffer.getvalue()


def install_on(shell: Shell, files: Mapping[str, bytes]) -> list[str]:
    """The wheel into package/site there, by pip; what lies in it then."""
    wheel = wheel_of(files)
    done = shell.run("rm -rf package && mkdir package && tar xz -C package", pip_itself())
    assert done.returncode == 0, done.stderr
    assert shell.run(f"cat >package/{wheel}", files[wheel]).returncode == 0
    done = shell.run(
        "cd package && python3 -m pip install --quiet --no-index --no-deps --no-compile "
        f"--target site {wheel} && ls site"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().split()


def set_up(*runtimes: str) -> tuple[list[str], dict[str, Any]]:
    """The board's interpreters with these runtimes, as edgeq brings them, and what it is."""
    device = resolve_device("emulated:arm64")
    assert isinstance(device, BoardDevice)
    names = [device.set_up(name) for name in runtimes]
    hello = device.session.hello
    device.close()
    return [
        shlex.quote(f"{hello['root']}/environments/{name}/bin/python3") for name in names
    ], hello


def test_installed_and_run_on_the_board(shell: Shell, int8_mobilenet: Path) -> None:
    """pip installs the wheel on arm64, and the smoke test passes with each runtime."""
    labels = {"": [f"c{place}" for place in range(10)]}
    contract = make_contract(int8_mobilenet, name="fmnist", version="1.2.0-rc1", labels=labels)
    test = models.path("fashion_mnist_test.npz")
    golden = make_golden(read_model(int8_mobilenet), contract, test, LocalDevice())
    files = python.make_files(
        PackageInputs(
            contract, parse_model(int8_mobilenet.read_bytes(), "model.tflite"), golden, None
        ),
        LOCAL_TOOLS,
    )
    assert wheel_of(files) == "fmnist-1.2.0rc1-py3-none-any.whl"
    assert install_on(shell, files) == ["fmnist", "fmnist-1.2.0rc1.dist-info"]

    runtimes = ("ai-edge-litert", "tflite-runtime")
    interpreters, _ = set_up(*runtimes)
    for runtime, interpreter in zip(runtimes, interpreters, strict=True):
        done = shell.run(f"cd package/site && {interpreter} -m fmnist")
        text = done.stdout.decode()
        assert done.returncode == 0, text + done.stderr.decode()
        assert text.startswith(f"fmnist 1.2.0-rc1 on aarch64: {runtime}, ")
        assert text.endswith("\nPASS\n")
    sample = io.BytesIO()
    np.save(sample, golden.vectors[0].raw["image"])
    assert shell.run("cat >package/sample.npy", sample.getvalue()).returncode == 0
    done = shell.run(f"cd package/site && {interpreters[0]} -m fmnist ../sample.npy")
    best = json.loads(done.stdout)["class"][0][0]
    assert best == f"c{golden.vectors[0].real['class'][0].argmax()}"
    shell.run("rm -rf package")


@pytest.mark.slow
def test_images_are_prepared_alike_on_the_board(
    shell: Shell, packages: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    """Pillow's own arm64 wheel resizes and makes grey bit for bit as here."""
    (interpreter,), hello = set_up("ai-edge-litert")
    tags = [word for tag in environment.platforms(hello) for word in ("--platform", tag)]
    fetched = run(
        tmp_path, "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", *tags,
        "--python-version", f"3.{hello['version'][1]}", "--target", tmp_path / "site",
        f"pillow=={PIL.__version__}",
    )  # fmt: skip
    assert fetched.returncode == 0, fetched.stderr
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        for path in (tmp_path / "site").iterdir():
            tar.add(path, path.name)
        for name in ("image", "unsigned_io"):
            write(packages[name], tmp_path / "packages")
            tar.add(tmp_path / "packages" / name, name)  # the folder, without an installation
    sent = shell.run("rm -rf package && mkdir package && tar xz -C package", buffer.getvalue())
    assert sent.returncode == 0, sent.stderr
    for name in ("image", "unsigned_io"):
        done = shell.run(f"cd package && {interpreter} -m {name}")
        text = done.stdout.decode()
        assert done.returncode == 0, text + done.stderr.decode()
        assert text.endswith("\nPASS\n")
    shell.run("rm -rf package")
