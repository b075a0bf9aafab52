"""The package for microcontrollers: what is written, compiled by g++ and run here."""

from __future__ import annotations

import importlib.util
import re
import shutil
import struct
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq import models
from edgeq.children.other_python import OtherPython
from edgeq.converters.samples.preprocessing import parse_preprocessing
from edgeq.device_runners.devices.addresses import resolve_device
from edgeq.errors import MissingExtraError, PackageError, SourceError
from edgeq.fit import operators
from edgeq.fit import tflite_micro as micro
from edgeq.fit.arena import ArenaMeasurement, arena_with_margin
from edgeq.packaging.assembly.tools import LOCAL_TOOLS
from edgeq.packaging.contract import naming
from edgeq.packaging.contract.contract import make_contract
from edgeq.packaging.contract.values import (
    Contract,
    Golden,
    InputContract,
    OutputContract,
    Vector,
)
from edgeq.packaging.evidence.inputs import PackageInputs
from edgeq.packaging.golden.sampling import make_golden
from edgeq.packaging.golden.vectors import prepare
from edgeq.packaging.targets import find_target
from edgeq.packaging.targets.c import literals, writing
from edgeq.tflite import flatbuffer, quantmath
from edgeq.tflite.model_file import ModelFile, parse_model, read_model
from edgeq.values import FileRef, TensorSpec
from tests.conftest import share
from tests.tiny_models import (
    FLOAT,
    INT8,
    INT16,
    Operator,
    add_one,
    graph,
    model,
    mystery,
    operator,
    subtract,
    tensor,
)

HEADERS = Path(__file__).with_name("tflm")
LINKED = Path(__file__).with_name("tflm_linked")
# Of which the table of operators and the declarations in `tflm_linked` are.
RELEASE = "0.dev20261023182759"
STRICT = ("-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic", "-ffp-contract=off")
NAMES = tuple(f"class {number}" for number in range(10))

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")


@pytest.fixture(scope="session")
def ingredients(int8_mobilenet: Path, tmp_path_factory: pytest.TempPathFactory) -> PackageInputs:
    """The MobileNet-like model with four real samples."""
    return share(tmp_path_factory, "c-ingredients", lambda folder: gather(int8_mobilenet))


def gather(int8_mobilenet: Path) -> PackageInputs:
    contract = make_contract(int8_mobilenet, name="fmnist", labels={"": NAMES})
    data = models.path("fashion_mnist_test.npz")
    golden = make_golden(read_model(int8_mobilenet), contract, data, resolve_device("local"))
    return PackageInputs(
        contract, parse_model(int8_mobilenet.read_bytes(), "model.tflite"), golden, "Apache-2.0"
    )


@pytest.fixture(scope="session")
def files(
    tflite_micro: OtherPython, ingredients: PackageInputs, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, bytes]:
    """Its package."""
    return share(
        tmp_path_factory,
        "c-package",
        lambda folder: find_target("c").make_files(ingredients, LOCAL_TOOLS),
    )


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> ArenaMeasurement:
    """Tests of what is written around a model need no run of it."""
    measured = ArenaMeasurement("0.dev1", (), 4640, 3984, 1440)
    monkeypatch.setattr(writing, "measure", lambda inputs, tools: measured)
    return measured


def unpack(files: Mapping[str, bytes], folder: Path) -> Path:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder / "src"


def build(folder: Path, *options: str, compiler: str = "g++") -> Path:
    program = folder / "golden"
    sources = sorted(map(str, folder.glob("*.cc")))
    done = subprocess.run(
        [compiler, *STRICT, *options, *sources, "-o", str(program)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return program


def run(program: Path, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [str(program)], capture_output=True, text=True, check=False, env=environment
    )
    return done.returncode, done.stdout


# ---------------------------------------------------------------- a real model


def test_what_is_in_it(files: Mapping[str, bytes]) -> None:
    named = [f"edgeq_fmnist_{end}" for end in ("package.cc", "package.h", "golden.h",
             "golden_test.cc", "model.cc", "model.h")]  # fmt: skip
    assert sorted(files) == sorted(
        f"src/{name}" for name in [*named, "CMakeLists.txt", "README.md"]
    )
    assert all(content.isascii() and b"\r" not in content for content in files.values())


def test_header_says_what_was_measured(
    files: Mapping[str, bytes], ingredients: PackageInputs, tflite_micro: OtherPython
) -> None:
    header = files["src/edgeq_fmnist_package.h"].decode()
    sizes = dict(re.findall(r"(kArenaBytes\w*) = (\d+);", header))
    measured, with_margin = int(sizes["kArenaBytesMeasured"]), int(sizes["kArenaBytes"])
    assert 10_000 < measured < with_margin < 1.2 * measured
    assert with_margin % 1024 == 0
    assert tflite_micro.version in header
    assert f"kOperatorCount = {len(ingredients.contract.operators)};" in header
    assert "SPDX-License-Identifier: Apache-2.0" in header
    for method in ("AddConv2D", "AddDepthwiseConv2D", "AddFullyConnected", "AddSoftmax"):
        assert f"resolver.{method}()" in header


def test_the_model_is_found_again(files: Mapping[str, bytes], ingredients: PackageInputs) -> None:
    assert find_target("c").find_models(files) == {
        "src/edgeq_fmnist_model.cc": ingredients.model.content
    }


def test_the_model_is_found_in_a_package_that_is_called_a_model(
    files: Mapping[str, bytes], ingredients: PackageInputs
) -> None:
    renamed = {path.replace("fmnist", "ref_model"): content for path, content in files.items()}
    model = "src/edgeq_ref_model_model.cc"
    assert find_target("c").find_models(renamed) == {model: ingredients.model.content}
    # As edgeq 0.1 called them.
    older = {
        path.replace("edgeq_", "").replace("_package", ""): one for path, one in renamed.items()
    }
    assert "src/ref_model.cc" in older
    assert find_target("c").find_models(older) == {
        "src/ref_model_model.cc": ingredients.model.content
    }


def test_same_ingredients_same_bytes(
    files: Mapping[str, bytes], ingredients: PackageInputs
) -> None:
    assert find_target("c").make_files(ingredients, LOCAL_TOOLS) == files


@needs_compiler
def test_numbers_are_the_same_bit_for_bit(files: Mapping[str, bytes], tmp_path: Path) -> None:
    program = build(unpack(files, tmp_path))
    assert run(program) == (0, "fmnist 1.0.0: 4 samples, 0 checks failed\n")


ARM = "arm-linux-gnueabihf-g++", "qemu-arm-static"


@pytest.mark.skipif(not all(map(shutil.which, ARM)), reason=f"{ARM} are not installed")
def test_numbers_are_the_same_on_32_bit_arm(files: Mapping[str, bytes], tmp_path: Path) -> None:
    """With fused multiply-add, as a Cortex-M4F has it, which CMakeLists.txt forbids."""
    options = "-static", "-mcpu=cortex-a7", "-mfpu=neon-vfpv4"
    program = build(unpack(files, tmp_path), *options, compiler=ARM[0])
    done = subprocess.run([ARM[1], str(program)], capture_output=True, text=True, check=False)
    assert done.stdout == "fmnist 1.0.0: 4 samples, 0 checks failed\n"


@needs_compiler
def test_one_wrong_golden_byte_is_noticed(files: Mapping[str, bytes], tmp_path: Path) -> None:
    name = "src/edgeq_fmnist_golden.h"
    text = files[name].decode()
    _, numbers = text.split("kRawImageInput[kCount][784] = {")
    (first,) = re.findall(r"\n( ?0, 0,)", numbers)[:1]
    changed = {**files, name: text.replace(first, first.replace("0", "9", 1), 1).encode()}
    code, said = run(build(unpack(changed, tmp_path)))
    assert code == 1
    assert said.startswith("FAILED: sample ")


def answers(outputs: Sequence[Sequence[np.ndarray]]) -> bytes:
    """As the stand-in for the interpreter reads them."""
    content = b""
    for sample in outputs:
        content += struct.pack("<I", len(sample))
        content += b"".join(struct.pack("<I", one.nbytes) + one.tobytes() for one in sample)
    return content


NUMBERS = {"float32": 1, "int32": 2, "uint8": 3, "int64": 4, "bool": 6, "int16": 7, "int8": 9}


def tensors(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> str:
    """As the stand-in for the interpreter reads them."""
    lines = []
    for side in (inputs, outputs):
        lines.append(str(len(side)))
        for one in side:
            scale, zero = (one.scales[0], one.zero_points[0]) if one.scales else (0.0, 0)
            numbers = NUMBERS[one.dtype], np.float32(scale), zero, len(one.shape), *one.shape
            lines.append(" ".join(map(str, numbers)))
    return "\n".join(lines)


@needs_compiler
@pytest.mark.parametrize("layout", ["-DSTUB_NAMESPACE_TFLITE", "-DSTUB_NAMESPACE_MICRO"])
def test_the_model_runs_in_the_runtimes_interface(
    files: Mapping[str, bytes], ingredients: PackageInputs, tmp_path: Path, layout: str
) -> None:
    """Compiled against stand-ins of its headers, which answer what tflite-micro answered."""
    program = build(unpack(files, tmp_path), "-DEDGEQ_RUN_MODEL", f"-I{HEADERS}", layout)
    outputs = writing.measure(ingredients, LOCAL_TOOLS).outputs
    (given,), (found,) = (
        [item.spec for item in side]
        for side in (ingredients.contract.inputs, ingredients.contract.outputs)
    )

    def answer(outputs: Any, given: Any = (given,), found: Any = (found,)) -> tuple[int, str]:
        (tmp_path / "outputs").write_bytes(answers(outputs))
        (tmp_path / "tensors").write_text(tensors(given, found))
        names = ("outputs", "tensors")
        return run(program, **{f"STUB_{name.upper()}": str(tmp_path / name) for name in names})

    code, said = answer(outputs)
    assert code == 0, said
    assert "The arena is used up to" in said
    code, said = answer([[255 - one.view(np.uint8) for one in sample] for sample in outputs])
    assert code == 1
    assert "away" in said
    for side, one in (("given", given), ("found", found)):
        for change in ({"scales": (0.25,)}, {"zero_points": (7,)}, {"dtype": "uint8"},
                       {"shape": (*one.shape[:-1], 2)}, {"shape": (*one.shape, 1)}):  # fmt: skip
            code, said = answer(outputs, **{side: [replace(one, **change)]})
            assert code == 1, change
            assert "the inputs and outputs are not those of this package" in said
        assert answer(outputs, **{side: [one, one]})[0] == 1


NAN, INF = float("nan"), float("inf")


@needs_compiler
@pytest.mark.usefixtures("unmeasured")
def test_outputs_are_held_to_the_tolerance_wherever_they_differ(tmp_path: Path) -> None:
    outputs = [spec("real", "float32", (1, 3)), spec("steps", "int8", (1, 2), 0.5, 0)]
    made = made_of([spec("x", "float32", (1, 1))], outputs, {"x": np.ones((1, 1), np.float32)})
    values = {"real": np.array([[1, 2, 3]], np.float32), "steps": np.array([[-128, 5]], np.int8)}
    real = {one.name: quantmath.dequantize(values[one.name], one) for one in outputs}
    vectors = tuple(replace(own, outputs=values, real=real) for own in made.golden.vectors)
    golden = replace(made.golden, vectors=vectors, tolerances={"real": 0.25, "steps": 2.0})
    files = find_target("c").make_files(replace(made, golden=golden), LOCAL_TOOLS)
    layout = ("-DEDGEQ_RUN_MODEL", f"-I{HEADERS}", "-DSTUB_NAMESPACE_MICRO")
    program = build(unpack(files, tmp_path), *layout)
    (tmp_path / "tensors").write_text(
        tensors([item.spec for item in made.contract.inputs], outputs)
    )

    def passes(real: Sequence[float] = (1, 2, 3), steps: Sequence[int] = (-128, 5)) -> bool:
        given = [np.array(real, np.float32), np.array(steps, np.int8)]
        (tmp_path / "outputs").write_bytes(answers([given]))
        names = ("outputs", "tensors")
        code, said = run(
            program, **{f"STUB_{name.upper()}": str(tmp_path / name) for name in names}
        )
        assert (code == 0) == ("1 samples, 0 checks failed" in said), said
        return code == 0

    assert passes()
    assert passes(real=(1.25, 1.75, 3.25)) and passes(steps=(-126, 7)) and passes(steps=(-128, 3))
    for place in range(3):
        for wrong in (NAN, INF, -INF, 9.0, place + 1.2501, place + 0.7499):
            real = [1.0, 2.0, 3.0]
            real[place] = wrong
            assert not passes(real=real), real
    assert not passes(real=(NAN, NAN, NAN))
    for steps in ((-125, 5), (-128, 8), (-128, 2), (127, 5), (-125, 8)):
        assert not passes(steps=steps), steps


def write_codes(folder: Path) -> None:
    """What the resolver of `tflm_linked` includes."""
    codes = {name: code for code, name in flatbuffer.operator_names().items()}
    lines = (
        f"METHOD({method}, {codes[name]})\n"
        for name, method in operators.METHODS.items()
        if name in codes
    )
    (folder / "codes.inc").write_text("".join(lines))


INSIDE = """
import ctypes, os, sys
sys.setdlopenflags(os.RTLD_NOW | os.RTLD_GLOBAL)
import tflite_micro
sys.exit(ctypes.CDLL(sys.argv[1])._ZN5edgeq6fmnist10GoldenTestEv())
"""


@needs_compiler
@pytest.mark.parametrize(
    ("arena", "wanted"),
    [
        ("kArenaBytes", "4 samples, 0 checks failed"),
        ("kArenaBytesMeasured", "4 samples, 0 checks failed"),
        ("kArenaBytesMeasured - 512", "FAILED: the model could not be allocated"),
    ],
)
def test_it_runs_in_the_real_runtime(
    files: Mapping[str, bytes],
    tflite_micro: OtherPython,
    tmp_path: Path,
    arena: str,
    wanted: str,
) -> None:
    """Linked with the runtime inside the Python package, which it is loaded into."""
    if tflite_micro.version != RELEASE:
        pytest.skip(f"The declarations in {LINKED.name} are those of tflite-micro {RELEASE}")
    write_codes(tmp_path)
    folder = unpack(files, tmp_path)
    test = folder / "edgeq_fmnist_golden_test.cc"
    text = test.read_text()
    test.write_text(text.replace("arena[package::kArenaBytes]", f"arena[package::{arena}]"))
    options = "-DEDGEQ_RUN_MODEL", "-DEDGEQ_NO_MAIN", "-shared", "-fPIC"
    library = build(folder, *options, f"-I{LINKED}", f"-I{tmp_path}")
    done = subprocess.run(
        [tflite_micro.python, "-c", INSIDE, str(library)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert wanted in done.stdout, done.stdout + done.stderr
    assert done.returncode == ("FAILED" in wanted)


@needs_compiler
@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
def test_cmake_builds_and_tests_it(files: Mapping[str, bytes], tmp_path: Path) -> None:
    source, built = unpack(files, tmp_path), str(tmp_path / "build")
    for command in (
        ["cmake", "-S", str(source), "-B", built],
        ["cmake", "--build", built],
        ["ctest", "--test-dir", built],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "100% tests passed, 0 tests failed out of 1" in done.stdout


def test_outputs_that_are_not_the_desktops_are_refused(
    tflite_micro: OtherPython, ingredients: PackageInputs
) -> None:
    vectors = [
        replace(vector, outputs={name: ~array for name, array in vector.outputs.items()})
        for vector in ingredients.golden.vectors
    ]
    golden = replace(ingredients.golden, vectors=tuple(vectors), tolerances={"class": 1.0})
    with pytest.raises(PackageError, match=r"computes other outputs .*sample \d+, output 'class'"):
        find_target("c").make_files(replace(ingredients, golden=golden), LOCAL_TOOLS)


def test_a_kernel_that_computes_something_else_is_found(
    tflite_micro: OtherPython, ingredients: PackageInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runtime gets another model: the same with some weights of its last layer changed."""
    tree = flatbuffer.parse(ingredients.model.content, "m")
    graph = tree.subgraphs[0]
    last = next(
        item for item in reversed(graph.operators)
        if flatbuffer.operator_name(tree, item) == "FULLY_CONNECTED"
    )  # fmt: skip
    buffer = tree.buffers[graph.tensors[last.inputs[1]].buffer]
    weights = np.array(buffer.data, np.uint8)
    weights[: len(weights) // 4] = 0
    buffer.data = weights
    other, run_right = flatbuffer.serialize(tree), micro.run

    def run_wrong(content: bytes, *arguments: Any, **named: Any) -> ArenaMeasurement:
        return run_right(other, *arguments, **named)

    monkeypatch.setattr(micro, "run", run_wrong)
    with pytest.raises(
        PackageError, match=r"computes other outputs .*sample \d+, output 'class'"
    ) as caught:
        writing.measure(ingredients, LOCAL_TOOLS)
    assert "--scheme fp32" in str(caught.value.hint)


@pytest.mark.usefixtures("unmeasured")
def test_the_readme_tells_what_is_true_of_this_model(ingredients: PackageInputs) -> None:
    def readme(text: str, *operators: str) -> str:
        declared = parse_preprocessing([text], [item.spec])[0] if text else None
        contract = replace(
            ingredients.contract,
            inputs=(replace(item, preprocessing=declared),),
            operators=(*ingredients.contract.operators, *((name, 1) for name in operators)),
        )
        files = find_target("c").make_files(replace(ingredients, contract=contract), LOCAL_TOOLS)
        return files["src/README.md"].decode()

    (item,) = ingredients.contract.inputs
    plain, camera = readme(""), readme("resize=28x28,channels=gray,scale=1/255", "SVDF")
    assert "- `ImageInput::Fill` quantizes.\n" in plain
    assert "values as a sample has them\n" in plain
    assert "its camera" not in plain and "Reset" not in plain
    assert "turn the frames of a camera" in plain
    assert "Fill` applies the numeric part of the preprocessing and quantizes.\n" in camera
    assert "values as a sample has them once it is resized and grey\n" in camera
    assert "camera" in camera and "`interpreter.Reset()` begins again" in camera


# ---------------------------------------------------------------- models it refuses


def with_model(content: bytes, tmp_path: Path) -> PackageInputs:
    path = tmp_path / "odd.tflite"
    path.write_bytes(content)
    return PackageInputs(
        make_contract(path), parse_model(content, "model.tflite"), Golden("", "", (), {}), None
    )


def test_missing_operators_are_named(tmp_path: Path) -> None:
    odd = with_model(mystery(), tmp_path)
    with pytest.raises(PackageError, match="no kernel for Mystery, which the model uses"):
        find_target("c").make_files(odd, LOCAL_TOOLS)
    with pytest.raises(PackageError, match="no kernel for GELU and RELU_0_TO_1") as caught:
        find_target("c").check_model(
            in_a_row(FLOAT, Operator.GELU, Operator.ABS, Operator.RELU_0_TO_1)
        )
    assert str(caught.value.hint).startswith("For GELU, use ReLU6")


def in_a_row(dtype: int, *kinds: int) -> ModelFile:
    tensors = [tensor(f"t{i}", [1, 4], dtype, scale=0.5) for i in range(len(kinds) + 1)]
    operators = [operator(i, [i], [i + 1]) for i in range(len(kinds))]
    main = graph(tensors, [0], [len(kinds)], operators)
    return parse_model(model([main], [(kind, 1) for kind in kinds]), "m.tflite")


@pytest.mark.parametrize(
    ("dtype", "refused", "what", "remedy"),
    [
        (
            INT8,
            (Operator.SQRT, Operator.EXP),
            "INT8 kernel for EXP and SQRT",
            "--keep-float type:EXP --keep-float type:SQRT.",
        ),
        (INT16, (Operator.ELU,), "INT16 kernel for ELU", "--scheme int8"),
    ],
)
def test_forms_without_a_right_kernel_are_named(
    dtype: int, refused: tuple[int, ...], what: str, remedy: str
) -> None:
    """They run there in float, and ABS in all forms."""
    check = find_target("c").check_model
    with pytest.raises(PackageError, match=f"has no {what}, which the model uses") as caught:
        check(in_a_row(dtype, Operator.ABS, *refused))
    assert f"again with {remedy}" in str(caught.value.hint)
    check(in_a_row(dtype, Operator.ABS, Operator.RELU6))
    check(in_a_row(FLOAT, *refused))


def test_an_empty_model(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is empty"):
        with_model(b"", tmp_path)


def test_a_model_that_no_flash_holds(ingredients: PackageInputs) -> None:
    model = replace(ingredients.model, content=ingredients.model.content + bytes(17 << 20))
    large = replace(ingredients, model=model)
    with pytest.raises(PackageError, match=r"has 17\.9 MB; a microcontroller's flash"):
        find_target("c").make_files(large, LOCAL_TOOLS)


def test_without_tflite_micro_nothing_is_guessed(
    ingredients: PackageInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.util.find_spec("tflite_micro") is not None:
        pytest.skip("this Python has tflite-micro itself")
    monkeypatch.delenv(micro.VARIABLE, raising=False)
    with pytest.raises(MissingExtraError, match="measures the arena"):
        find_target("c").make_files(ingredients, LOCAL_TOOLS)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("0x54, 0x46", "0x54 0x46", 1),
        lambda text: text.replace("0x54", "0x5g", 1),
        lambda text: text.replace("};\n", "", 1),
        lambda text: text + text,
        lambda text: "",
    ],
)
def test_a_damaged_array_is_refused(
    unmeasured: ArenaMeasurement, ingredients: PackageInputs, change: Any
) -> None:
    files = find_target("c").make_files(ingredients, LOCAL_TOOLS)
    name = "src/edgeq_fmnist_model.cc"
    with pytest.raises(PackageError, match="has no model in the form that edgeq writes"):
        find_target("c").find_models({**files, name: change(files[name].decode()).encode()})


def test_a_missing_array_is_refused() -> None:
    with pytest.raises(PackageError, match=r"are 0 files src/\*_model\.cc with the model"):
        find_target("c").find_models({"src/fmnist.cc": b""})


# ---------------------------------------------------------------- all kinds of tensors


def spec(name: str, dtype: str, shape: tuple[int, ...], *affine: Any) -> TensorSpec:
    return TensorSpec(name, shape, dtype, *([value] for value in affine))


def made_of(
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    raws: Mapping[str, np.ndarray],
    *,
    name: str = "tiny",
    preprocess: Sequence[str] = (),
    labels: Mapping[str, Sequence[str]] | None = None,
) -> PackageInputs:
    """PackageInputs around a model that is not looked at; the samples are in `raws`."""
    declared = parse_preprocessing(preprocess, inputs)
    found = {entry.input or inputs[0].name: entry for entry in declared}
    taken = naming.unique([one.name for one in (*inputs, *outputs)], "tensor")
    contract = Contract(
        name,
        "1.0.0",
        FileRef("tiny.tflite", "0" * 64, 1),
        tuple(
            InputContract(known, one, found.get(one.name), None)
            for known, one in zip(taken, inputs, strict=False)
        ),
        tuple(
            OutputContract(known, one, tuple((labels or {}).get(one.name, ())))
            for known, one in zip(taken[len(inputs) :], outputs, strict=True)
        ),
        None,
        (("ADD", 1),),
    )
    drawn = np.random.default_rng(1)
    vectors = []
    for index in range(len(next(iter(raws.values())))):
        raw = {key: array[index] for key, array in raws.items()}
        out = {one.name: draw(drawn, one.dtype, one.shape) for one in outputs}
        real = {one.name: quantmath.dequantize(out[one.name], one) for one in outputs}
        bare = Vector(index, None, raw, {}, out, real)
        vectors.append(replace(bare, inputs=prepare(contract, bare)))
    tolerances = {one.name: 1.0 for one in outputs}
    return PackageInputs(
        contract,
        parse_model(add_one(), "model.tflite"),
        Golden("", "", tuple(vectors), tolerances),
        None,
    )


def draw(drawn: Any, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    if dtype == "bool":
        return np.asarray(drawn.integers(0, 2, shape), bool)
    if dtype.startswith("float"):
        return np.asarray(drawn.normal(0, 100, shape), dtype)
    limits = np.iinfo(dtype)
    return np.asarray(drawn.integers(limits.min, limits.max, shape, dtype, endpoint=True))


@needs_compiler
@pytest.mark.usefixtures("unmeasured")
def test_several_tensors_of_all_kinds_with_odd_names(tmp_path: Path) -> None:
    inputs = [
        spec("class", "int8", (1, 2, 3), 0.1, 3),
        spec("int", "uint8", (1, 4), 0.02, 128),
        spec("int:0", "int16", (1, 4), 0.001, 0),
        spec('\\\n??/ "Zoë" */', "float32", (1, 5)),
        spec("tokens", "int32", (1, 7)),
        spec("flags", "bool", (1, 2)),
        spec("", "int64", (1, 1)),
    ]
    outputs = [
        spec("class", "float32", (1, 2)),
        spec("template", "int8", (1, 3), 0.5, -7),
        spec("namespace", "uint8", (1, 2), 0.25, 9),
        spec("wide", "int64", (1, 3)),
        spec("yes", "bool", (1, 1)),
        spec("number", "float32", ()),
    ]
    drawn = np.random.default_rng(2)
    raws = {
        one.name: draw(drawn, "float32" if one.scales else one.dtype, (3, *one.shape[1:]))
        for one in inputs
    }
    raws["tokens"][0, :2] = [2**31 - 1, -(2**31)]
    raws[""][:2, 0] = [2**63 - 1, -(2**63)]
    odd = made_of(
        inputs,
        outputs,
        raws,
        name="std",
        labels={"template": ['"quoted" \\', "Größe?", "??/"]},
    )
    files = find_target("c").make_files(odd, LOCAL_TOOLS)
    assert b"namespace std_model {" in files["src/edgeq_std_package.h"]
    assert b"struct ClassInput {" in files["src/edgeq_std_package.h"]
    assert b"struct Class2Output {" in files["src/edgeq_std_package.h"]
    assert b'"Gr\\303\\266\\303\\237e\\077"' in files["src/edgeq_std_package.cc"]
    assert run(build(unpack(files, tmp_path)))[0] == 0


IMAGES = np.random.default_rng(3).integers(0, 256, (3, 6, 5, 3)).astype(np.uint8)


@needs_compiler
@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(
    ("shape", "preprocess"),
    [
        ((6, 5, 3), []),
        ((6, 5, 3), ["scale=1/127.5,offset=-1"]),
        ((6, 5, 3), ["scale=1/255,mean=0.485:0.456:0.406,std=0.229:0.224:0.225"]),
        ((6, 5, 3), ["channels=bgr,mean=103.939:116.779:123.68"]),
        ((6, 5, 3), ["mean=127,std=128"]),
        ((3, 4, 3), ["resize=3x4,scale=1/255"]),
        ((6, 5, 1), ["channels=gray,scale=1/255"]),
        ((3, 4, 1), ["resize=3x4,channels=gray"]),
    ],
)
@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_preprocessing_is_that_of_the_training(
    tmp_path: Path, shape: tuple[int, ...], preprocess: list[str], dtype: str
) -> None:
    affine = (1.7 if not preprocess or "mean=1" in preprocess[0] else 0.0037, -5)
    image = spec("image", dtype, (1, *shape), *(affine if dtype == "int8" else ()))
    made = made_of(
        [image], [spec("y", "float32", (1, 1))], {"image": IMAGES}, preprocess=preprocess
    )
    assert run(build(unpack(find_target("c").make_files(made, LOCAL_TOOLS), tmp_path)))[0] == 0


FIRMWARE = """
#include <cmath>
#include <cstdio>
#include <ctime>
#include <initializer_list>
#include <limits>
#define min(a, b) ((a) < (b) ? (a) : (b))
#define max(a, b) ((a) > (b) ? (a) : (b))
#include "edgeq_time_package.h"
#include "edgeq_time_model_package.h"

template <typename Input>
void Show(double value) {
  const double raw[] = {1.0, value};
  typename Input::Value tensor[2];
  std::printf(" %d", static_cast<int>(Input::Fill(raw, tensor)));
}

int main() {
  using Int8 = edgeq::time::XInput;
  using Float = edgeq::time_model::XInput;
  const char* const* addresses[] = {edgeq::time::YOutput::kLabels};
  const std::size_t& size = Int8::kSize;
  const float& scale = Int8::kScale;
  std::printf("%s %d %zu %g %s %d:", Int8::kName, Int8::kShape[1], size, scale, addresses[0][1],
              std::time(nullptr) > 0);
  for (double value : {1e30, 1e39, std::nan(""), -std::numeric_limits<double>::infinity()}) {
    Show<Int8>(value);
    Show<Float>(value);
  }
  for (double value : {3.0, 2.5, 1e30, std::nan(""), -2147483648.0, 2147483648.0}) {
    Show<edgeq::time_model::TokensInput>(value);
  }
  std::printf("\\n");
  return edgeq::time::GoldenTest() + edgeq::time_model::GoldenTest();
}
"""


@needs_compiler
@pytest.mark.usefixtures("unmeasured")
def test_two_models_are_in_one_firmware_of_any_standard(tmp_path: Path) -> None:
    """With macros and names of the system in the way, and values that no integer stands for."""
    out, x = spec("y", "int8", (1, 2), 0.5, 3), {"x": np.ones((1, 2), np.float32)}
    quantized, real = spec("x", "int8", (1, 2), 0.5, 3), spec("x", "float32", (1, 2))
    tokens = {"tokens": np.ones((1, 2), np.int32)}
    for made in (
        made_of([quantized], [out], x, name="time", labels={"y": ["cat", "dog"]}),
        made_of([real, spec("tokens", "int32", (1, 2))], [out], x | tokens, name="time_model"),
    ):
        source = unpack(find_target("c").make_files(made, LOCAL_TOOLS), tmp_path)
    (source / "main.cc").write_text(FIRMWARE)
    for standard in ("c++11", "gnu++14", "c++20"):
        program = build(source, "-DEDGEQ_NO_MAIN", "-O0", "-ffast-math", f"-std={standard}")
        code, said = run(program)
        assert code == 0, said
        assert said.splitlines()[0] == "x 2 2 0.5 dog 1: 1 1 0 0 0 0 0 0 1 0 0 0 1 0"
    model = source / "edgeq_time_model.cc"
    model.write_text(model.read_text().replace("0x54", "0x55", 1))
    code, said = run(build(source, "-DEDGEQ_NO_MAIN", "-O0"))
    assert code == 1
    assert "FAILED: kModel is not the model that the samples are of" in said


PROGRAM = """
#include <cstdio>
#include "edgeq_tiny_package.h"
int main() {
  float real;
  using In = edgeq::tiny::XInput;
  while (std::fread(&real, 4, 1, stdin) == 1) {
    const In::Value value = In::Quantize(real);
    std::fwrite(&value, sizeof value, 1, stdout);
  }
}
"""


@needs_compiler
@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(
    ("dtype", "scale", "zero"),
    [("int8", 0.5, 0), ("int8", 0.0039215689, -128), ("uint8", 1.0, 128), ("int16", 3e-5, 0)],
)
def test_quantizing_rounds_and_saturates_as_edgeq_does(
    tmp_path: Path, dtype: str, scale: float, zero: int
) -> None:
    one = spec("x", dtype, (1, 1), scale, zero)
    made = made_of([one], [spec("y", "float32", (1, 1))], {"x": np.zeros((1, 1), np.float32)})
    folder = unpack(find_target("c").make_files(made, LOCAL_TOOLS), tmp_path)
    (folder / "edgeq_tiny_golden_test.cc").write_text(PROGRAM)
    program = build(folder)
    halves = np.arange(-600, 600, dtype=np.float32) / 2 * np.float32(scale)
    odd = np.array([0.49999997, -0.49999997, 0.5, 8388609.0, 3e38, np.inf, -0.0], np.float32)
    random = np.random.default_rng(0).normal(0, 200, 100_000).astype(np.float32)
    reals = np.concatenate([halves, np.nextafter(halves, np.float32(0)), odd, -odd, random * scale])
    reals = reals.astype(np.float32)
    with np.errstate(over="ignore"):
        wanted = quantmath.quantize(reals, one)
    done = subprocess.run([str(program)], input=reals.tobytes(), capture_output=True, check=True)
    np.testing.assert_array_equal(np.frombuffer(done.stdout, dtype), wanted)


def test_several_inputs_and_outputs_are_measured(tflite_micro: OtherPython, tmp_path: Path) -> None:
    """The subgraph lists the inputs in another order than the signature."""
    path = tmp_path / "subtract.tflite"
    path.write_bytes(subtract())
    contract = make_contract(path)
    data = {"minuend": np.array([[7, 8], [1, 2]], np.float32),
            "subtrahend": np.array([[1, 1], [5, 5]], np.float32)}  # fmt: skip
    golden = make_golden(read_model(path), contract, data, resolve_device("local"))
    files = find_target("c").make_files(
        PackageInputs(contract, parse_model(subtract(), "model.tflite"), golden, None), LOCAL_TOOLS
    )
    assert b"resolver.AddSub()" in files["src/edgeq_subtract_package.h"]


# ---------------------------------------------------------------- the table of operators


def test_the_table_is_what_tflite_micro_knows(tflite_micro: OtherPython) -> None:
    child = Path(__file__).with_name("micro_operators_child.py")
    done = subprocess.run(
        [tflite_micro.python, str(child)], capture_output=True, text=True, check=True
    )
    known = set(done.stdout.split())
    assert set(operators.METHODS) <= known
    # A newer release may have more, which the table does not know yet.
    assert set(operators.METHODS) == known or tflite_micro.version > RELEASE


def test_the_methods_are_the_resolvers() -> None:
    header = HEADERS / "tensorflow" / "lite" / "micro" / "micro_mutable_op_resolver.h"
    declared = re.findall(r"M\((Add\w+)\)", header.read_text())
    assert sorted(declared) == sorted(operators.METHODS.values())


# ---------------------------------------------------------------- small things


def test_margin_is_an_eighth_and_at_least_1_kib() -> None:
    assert arena_with_margin(4640) == 6 * 1024
    assert arena_with_margin(103_680) == 114 * 1024


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.float32(0.1), "0.1f"),
        (np.float32(1e-30), "1e-30f"),
        (np.float32(-0.0), "-0.0f"),
        (np.float32(np.inf), "std::numeric_limits<float>::infinity()"),
        (np.float64(-np.inf), "-std::numeric_limits<double>::infinity()"),
        (np.uint64(2**64 - 1), "18446744073709551615ULL"),
        (np.bool_(True), "true"),
        (np.int8(-128), "-128"),
    ],
)
def test_numbers_as_cpp_spells_them(value: Any, text: str) -> None:
    assert literals.number(value) == text
