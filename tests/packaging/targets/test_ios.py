"""The Swift package: what can be proven of it without a Mac.

No Swift compiler can be installed where edgeq is tested, so the sources are parsed (tree-sitter),
and the part that computes is run by `swift_subset`, on the golden vectors and against Pillow.
"""

from __future__ import annotations

import json
import plistlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tree_sitter_swift
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from PIL import Image
from tree_sitter import Language, Node, Parser

from edgeq import models
from edgeq.converters.samples.preprocessing import apply
from edgeq.device_runners.devices.local import LocalDevice
from edgeq.errors import PackageError
from edgeq.packaging.assembly.tools import LOCAL_TOOLS
from edgeq.packaging.contract.contract import make_contract
from edgeq.packaging.contract.values import Vector
from edgeq.packaging.evidence.inputs import PackageInputs
from edgeq.packaging.golden import vectors as golden_vectors
from edgeq.packaging.golden.sampling import make_golden
from edgeq.packaging.targets import find_target
from edgeq.packaging.targets.ios import describing, literals
from edgeq.tflite import quantmath
from edgeq.tflite.model_file import parse_model, read_model
from edgeq.values import Preprocessing, TensorSpec
from tests.packaging.documents.test_metadata import UINT8, image_mean
from tests.packaging.targets.swift_subset import INTEGERS, Program, SwiftError, TrapError
from tests.tiny_models import BOOL, INT8, Operator, graph, model, operator, tensor

IOS = find_target("ios")
NUMERICS = (Path(describing.__file__).parent / "templates" / "Numerics.swift").read_text()
LABELS = [f"class {number}" for number in range(9)] + ['Ä "\\(bag)"']


def ingredients_of(path: Path, data: Any, *, count: int = 2, **settings: Any) -> PackageInputs:
    contract = make_contract(path, **settings)
    golden = make_golden(read_model(path), contract, data, LocalDevice(), count=count)
    return PackageInputs(
        contract, parse_model(path.read_bytes(), "model.tflite"), golden, "Apache-2.0"
    )


@pytest.fixture(scope="module")
def fmnist(int8_mobilenet: Path) -> PackageInputs:
    data = models.path("fashion_mnist_test.npz")
    return ingredients_of(int8_mobilenet, data, name="fmnist_mobilenet", labels={"": LABELS})


def mixed() -> bytes:
    """Four inputs and three outputs of five types, most with names that Swift keeps for itself."""
    kinds = schema.TensorType
    tensors = [tensor("class", [1, 3], INT8, scale=0.5), tensor("in", [1, 2]),
               tensor("func", [1, 2], kinds.INT32), tensor("self", [1, 2], BOOL),
               tensor("init:0", [1, 3], INT8, scale=1.0), tensor("return", [1, 2]),
               tensor("is", [1, 2], BOOL)]  # fmt: skip
    main = graph(
        tensors, [0, 1, 2, 3], [4, 5, 6],
        [operator(0, [0, 0], [4], schema.AddOptionsT()),
         operator(1, [1, 1], [5], schema.AddOptionsT()),
         operator(2, [3], [6], schema.LogicalNotOptionsT())],
    )  # fmt: skip
    codes = [(Operator.ADD, 2), (Operator.ADD, 1), (Operator.LOGICAL_NOT, 1)]
    return model([main], codes)


MIXED_DATA = {
    "class": np.array([[0.25, 70.0, -1.24], [-80.0, 0.0, 1.75]], np.float64),
    "in": np.array([[1, -2], [3, 4]], np.int64),
    "func": np.array([[2**30, -7], [0, 1]], np.int32),
    "self": np.array([[True, False], [False, True]]),
}


def color(tmp_path: Path, dtype: int = UINT8, *, scale: float | None = 1 / 255) -> Path:
    path = tmp_path / "color.tflite"
    path.write_bytes(image_mean(dtype, scale))
    return path


def swift_files(files: dict[str, bytes]) -> dict[str, str]:
    return {path: text.decode() for path, text in files.items() if path.endswith(".swift")}


# ---------------------------------------------------------------- the package


def test_the_package_holds_what_swift_wants_where(fmnist: PackageInputs) -> None:
    files = IOS.make_files(fmnist, LOCAL_TOOLS)
    source, tests = "Sources/FmnistMobilenetModel", "Tests/FmnistMobilenetModelTests"
    assert {path for path in files if not path.endswith(".bin")} == {
        "Package.swift", "README.md", f"{source}/FmnistMobilenetPredictor.swift",
        f"{source}/Numerics.swift", f"{source}/Runtime.swift",
        f"{source}/Resources/fmnist_mobilenet.tflite",
        f"{source}/Resources/PrivacyInfo.xcprivacy", f"{tests}/GoldenTests.swift",
        f"{tests}/golden/golden.json",
    }  # fmt: skip
    manifest = files["Package.swift"].decode()
    assert manifest.startswith("// swift-tools-version:5.9\n")
    # Everything that it copies is there, seen from the target's folder.
    copied = re.findall(r'\.copy\("([^"]+)"\)', manifest)
    assert len(copied) == 3
    for path in copied:
        assert any(name.startswith((f"{source}/{path}", f"{tests}/{path}")) for name in files)
    assert IOS.find_models(files) == {
        f"{source}/Resources/fmnist_mobilenet.tflite": fmnist.model.content
    }


def test_equal_ingredients_give_equal_bytes(fmnist: PackageInputs) -> None:
    assert IOS.make_files(fmnist, LOCAL_TOOLS) == IOS.make_files(fmnist, LOCAL_TOOLS)


def test_golden_vectors_are_read_back_from_the_tests_folder(fmnist: PackageInputs) -> None:
    prefix = "Tests/FmnistMobilenetModelTests/"
    files = {
        path.removeprefix(prefix): content
        for path, content in IOS.make_files(fmnist, LOCAL_TOOLS).items()
        if path.startswith(prefix)
    }
    found = golden_vectors.read_golden(files)
    np.testing.assert_array_equal(
        found.vectors[0].raw["image"], fmnist.golden.vectors[0].raw["image"]
    )


def test_a_missing_or_second_model_is_named(fmnist: PackageInputs) -> None:
    files = IOS.make_files(fmnist, LOCAL_TOOLS)
    (path,) = IOS.find_models(files)
    with pytest.raises(PackageError, match="there are 2"):
        IOS.find_models({**files, "Sources/X/Resources/other.tflite": b""})
    del files[path]
    with pytest.raises(PackageError, match="there are 0"):
        IOS.find_models(files)


def test_the_privacy_manifest_is_a_property_list(fmnist: PackageInputs) -> None:
    content = next(
        content
        for path, content in IOS.make_files(fmnist, LOCAL_TOOLS).items()
        if path.endswith(".xcprivacy")
    )
    assert plistlib.loads(content) == {
        "NSPrivacyTracking": False,
        "NSPrivacyTrackingDomains": [],
        "NSPrivacyCollectedDataTypes": [],
        "NSPrivacyAccessedAPITypes": [
            {
                "NSPrivacyAccessedAPIType": "NSPrivacyAccessedAPICategoryFileTimestamp",
                "NSPrivacyAccessedAPITypeReasons": ["C617.1"],
            }
        ],
    }


def problems(node: Node) -> list[str]:
    own = [f"{node.type} in line {node.start_point.row + 1}"] if (
        node.type == "ERROR" or node.is_missing) else []  # fmt: skip
    return own + [found for child in node.children for found in problems(child)]


def test_every_source_parses(fmnist: PackageInputs, tmp_path: Path) -> None:
    path = tmp_path / "mixed.tflite"
    path.write_bytes(mixed())
    parser = Parser(Language(tree_sitter_swift.language()))
    for ingredients in (fmnist, ingredients_of(path, MIXED_DATA)):
        sources = swift_files(IOS.make_files(ingredients, LOCAL_TOOLS))
        assert len(sources) == 5
        for name, text in sources.items():
            assert problems(parser.parse(text.encode()).root_node) == [], name
            assert "{{" not in text and "{%" not in text
            assert max(map(len, text.splitlines())) <= 110, name


def test_a_lock_is_held_from_the_first_input_to_the_last_output(fmnist: PackageInputs) -> None:
    text = swift_files(IOS.make_files(fmnist, LOCAL_TOOLS))[
        "Sources/FmnistMobilenetModel/FmnistMobilenetPredictor.swift"
    ]
    steps = "lock.lock()", "defer { runtime.lock.unlock() }", ".write(", ".invoke()", ".read("
    places = [text.index(step) for step in steps]
    assert places == sorted(places)
    assert text.count("lock.unlock") == 1


def test_names_that_swift_keeps_are_no_names(tmp_path: Path) -> None:
    path = tmp_path / "array.tflite"
    path.write_bytes(mixed())
    files = swift_files(IOS.make_files(ingredients_of(path, MIXED_DATA), LOCAL_TOOLS))
    # Not `Array`, which Swift has, and not a module of that name.
    text = files["Sources/ArrayModel/ArrayPredictor.swift"]
    assert re.findall(r"public var (\w+): (?!Int = |Bool = )(\S+)", text) == [
        ("class_", "[Float]"), ("in_", "[Float]"), ("func_", "[Int32]"), ("self_", "[Bool]"),
    ]  # fmt: skip
    assert re.findall(r"public let (\w+): (\S+)", text) == [
        ("init0", "Output<Int8>"), ("return_", "Output<Float>"), ("is_", "Output<Bool>"),
    ]  # fmt: skip


def test_labels_are_literals_that_swift_does_not_interpret(fmnist: PackageInputs) -> None:
    files = swift_files(IOS.make_files(fmnist, LOCAL_TOOLS))
    text = files["Sources/FmnistMobilenetModel/FmnistMobilenetPredictor.swift"]
    assert '        "Ä \\"\\\\(bag)\\"",\n' in text
    assert literals.string("a\nb\u202e\\") == '"a\\u{a}b\\u{202e}\\\\"'


@pytest.mark.parametrize("value", [1 / 255, 0.0, -1.5, 1e-38, 3.4e38, 0.1, 127.5])
def test_numbers_are_exact_literals(value: float) -> None:
    literal = literals.number(value)
    assert re.fullmatch(r"-?0x[01]\.[0-9a-f]+p[+-]\d+", literal)
    assert np.float32(float.fromhex(literal)) == float.fromhex(literal) == np.float32(value)


def test_what_cannot_be_packaged_is_named(fmnist: PackageInputs) -> None:
    (item,) = fmnist.contract.inputs
    for spec, said in (
        (replace(item.spec, shape=(4, 28, 28, 1)), "takes 4 samples at a time"),
        (replace(item.spec, dtype="int32"), "is quantized in int32; Swift packages support int8"),
    ):
        contract = replace(fmnist.contract, inputs=(replace(item, spec=spec),))
        with pytest.raises(PackageError, match=said):
            IOS.make_files(replace(fmnist, contract=contract), LOCAL_TOOLS)


# ---------------------------------------------------------------- the numbers, run


def to_pixels(program: Program, array: NDArray[Any]) -> Any:
    height, width, *channels = array.shape
    return program.call(
        "Pixels", list(array.ravel()), height=height, width=width, channels=(channels or [1])[0]
    )


def to_sample(program: Program, kind: str, array: NDArray[Any]) -> Any:
    """A stored sample as the golden test of the package reads it."""
    if kind == "Pixels":
        return to_pixels(program, array)
    element = {"[Float]": np.float32, "[Bool]": bool, "[Int32]": np.int32}[kind]
    return [element(value) for value in array.ravel()]


def preparing(files: dict[str, bytes]) -> tuple[Program, dict[str, tuple[str, str]]]:
    """The numeric core with the functions that make tensors; property to function and raw type."""
    sources = swift_files(files)
    predictor = next(text for path, text in sources.items() if path.endswith("Predictor.swift"))
    functions = re.findall(r"^    static func .*?^    }\n", predictor, re.MULTILINE | re.DOTALL)
    core = next(text for path, text in sources.items() if path.endswith("/Numerics.swift"))
    program = Program(core + "".join(functions))
    found = re.findall(
        r"PREDICTOR\.(prepare\w+)\(sample\.(\w+)\)".replace("PREDICTOR", r"\w+Predictor"), predictor
    )
    kinds = dict(re.findall(r"public var (\w+): (?!Int = |Bool = )(\S+)", predictor))
    return program, {name: (function, kinds[name]) for function, name in found}


def require_same_inputs(ingredients: PackageInputs, vectors: tuple[Vector, ...]) -> None:
    program, functions = preparing(IOS.make_files(ingredients, LOCAL_TOOLS))
    items = ingredients.contract.inputs
    assert len(functions) == len(items)
    for vector in vectors:
        for item, (function, kind) in zip(items, functions.values(), strict=True):
            raw, wanted = vector.raw[item.spec.name], vector.inputs[item.spec.name]
            own = program.call(function, to_sample(program, kind, raw))
            np.testing.assert_array_equal(np.array(own, wanted.dtype), wanted.ravel())


def test_the_golden_inputs_are_made_bit_for_bit(fmnist: PackageInputs) -> None:
    require_same_inputs(fmnist, fmnist.golden.vectors)


PREPROCESSINGS = [
    ("resize=8x8,scale=1/255", UINT8, 1 / 255, (20, 13, 3)),
    ("resize=8x8,channels=bgr,scale=1/255", UINT8, 1 / 255, (20, 13, 3)),
    ("letterbox=8x8,pad=7,scale=1/255", UINT8, 1 / 255, (20, 13, 3)),
    ("letterbox=8x8,scale=1/255", UINT8, 1 / 255, (5, 9, 3)),
    ("resnet,resize=8x8", INT8, 1.5, (5, 9, 3)),
    ("densenet,resize=8x8", INT8, 0.03, (8, 30, 3)),
    ("scale=1/127.5,offset=-1", 0, None, (8, 8, 3)),
    ("mean=1:2:3,std=0.3", 0, None, (8, 8, 3)),
]


@pytest.mark.parametrize(("text", "dtype", "scale", "shape"), PREPROCESSINGS)
def test_preprocessing_is_ours_bit_for_bit(
    tmp_path: Path, text: str, dtype: int, scale: float | None, shape: tuple[int, ...]
) -> None:
    path = color(tmp_path, dtype, scale=scale)
    raw = np.random.default_rng(2).integers(0, 256, (2, *shape), np.uint8)
    made = ingredients_of(path, {"image": raw}, preprocess=[text])
    require_same_inputs(made, made.golden.vectors)


def test_several_inputs_of_several_types_are_made(tmp_path: Path) -> None:
    path = tmp_path / "mixed.tflite"
    path.write_bytes(mixed())
    made = ingredients_of(path, MIXED_DATA)
    require_same_inputs(made, made.golden.vectors)


SIZES = [
    (20, 13, 8, 8),
    (5, 7, 11, 16),
    (9, 9, 9, 4),
    (30, 2, 3, 2),
    (1, 1, 4, 4),
    (33, 47, 10, 31),
]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_resizing_is_pillows(size: tuple[int, ...], channels: int) -> None:
    height, width, new_height, new_width = size
    pixels = np.random.default_rng(3).integers(0, 256, (height, width, channels), np.uint8)
    program = Program(NUMERICS)
    own = program.call("resize", to_pixels(program, pixels), height=new_height, width=new_width)
    wanted = apply(Preprocessing(resize=(new_height, new_width)), pixels)
    np.testing.assert_array_equal(np.array(own.values), wanted.astype(np.uint8).ravel())


def test_grey_is_pillows() -> None:
    pixels = np.random.default_rng(4).integers(0, 256, (16, 16, 3), np.uint8)
    program = Program(NUMERICS)
    own = program.call("gray", to_pixels(program, pixels))
    wanted = np.asarray(Image.fromarray(pixels).convert("L"))
    np.testing.assert_array_equal(np.array(own.values), wanted.ravel())


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_quantizing_is_ours(dtype: str) -> None:
    program = Program(NUMERICS)
    spec = TensorSpec("x", (1,), dtype, (0.05,), (3,))
    below = np.nextafter(np.float32(0.025), np.float32(0))
    real = np.array(
        [0, 0.025, below, -0.025, -below, 0.075, 1e9, -1e9, np.inf, -np.inf, 6.1, -6.65], np.float32
    )
    real = np.concatenate([real, np.linspace(-8, 8, 400, dtype=np.float32)])
    swift = {"int8": "Int8", "uint8": "UInt8", "int16": "Int16"}[dtype]
    scale = np.float32(0.05)
    own = program.call("quantize", list(real), scale=scale, zeroPoint=3, **{"as": swift})
    np.testing.assert_array_equal(np.array(own), quantmath.quantize(real, spec))
    back = program.call("dequantize", own, scale=scale, zeroPoint=3)
    np.testing.assert_array_equal(np.array(back), quantmath.dequantize(np.array(own), spec))


def test_the_best_classes_come_first_and_ties_in_their_order() -> None:
    program = Program(NUMERICS)
    scores = [np.float32(value) for value in (0.1, 0.4, 0.1, 0.4)]
    output = program.call("Output", values=scores, real=scores, shape=[1, 4], labels=list("abcd"))
    top = program._method(output, "top", [3])
    assert [name for name, _ in top] == ["b", "d", "a"]
    bare = program.call("Output", values=scores, real=scores, shape=[1, 4], labels=[])
    assert program._method(bare, "top", [1]) == [("1", scores[1])]


def test_the_readme_tells_of_pixels_where_there_are_any(
    fmnist: PackageInputs, tmp_path: Path
) -> None:
    path = tmp_path / "mixed.tflite"
    path.write_bytes(mixed())
    assert b"`Pixels` takes bytes" in IOS.make_files(fmnist, LOCAL_TOOLS)["README.md"]
    told = IOS.make_files(ingredients_of(path, MIXED_DATA), LOCAL_TOOLS)["README.md"]
    assert b"Pixels" not in told and b"upright" not in told
    assert b"image.draw(in: CGRect(" in IOS.make_files(fmnist, LOCAL_TOOLS)["README.md"]
    assert b"- `class_` is `[Float]`. Real numbers, prepared to 3 and quantized.\n" in told
    assert b"- `func_` is `[Int32]`. It goes in unchanged: 2.\n" in told


@pytest.mark.parametrize("shape", [(8, 9, 3), (8, 8, 1), (8, 8, 4)])
def test_a_sample_that_does_not_fit_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    raw = np.arange(2 * 8 * 8 * 3).reshape(2, 8, 8, 3) % 256
    made = ingredients_of(
        color(tmp_path), {"image": raw.astype(np.uint8)}, preprocess=["scale=1/255"]
    )
    program, functions = preparing(IOS.make_files(made, LOCAL_TOOLS))
    ((function, _),) = functions.values()
    with pytest.raises(SwiftError):
        program.call(function, to_pixels(program, np.zeros(shape, np.uint8)))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_sample_that_is_not_finite_is_refused(tmp_path: Path, wrong: float) -> None:
    path = tmp_path / "mixed.tflite"
    path.write_bytes(mixed())
    program, functions = preparing(IOS.make_files(ingredients_of(path, MIXED_DATA), LOCAL_TOOLS))
    for name, (count, largest) in {"class_": (3, [127] * 3), "in_": (2, [1e30] * 2)}.items():
        function, _ = functions[name]
        sample = [np.float32(1e30)] * count
        np.testing.assert_array_equal(program.call(function, sample), np.float32(largest))
        sample[1] = np.float32(wrong)
        with pytest.raises(SwiftError, match="NaN or infinity"):
            program.call(function, sample)


def test_the_subset_is_as_strict_as_swift() -> None:
    """Else what runs here might not compile there."""
    program = Program(
        "func mix(_ a: Int, _ b: Float) -> Float { return b * a }\n"
        "func over(_ a: Int) -> UInt8 { return UInt8(a) }\n"
        "func far(_ a: [Int]) -> Int { return a[a.count] }\n"
        "func copy(_ a: [Int]) -> [Int] { var b = a\n b[0] = 7\n return a }"
    )
    with pytest.raises(TypeError, match="different types"):
        program.call("mix", 1, np.float32(2))
    with pytest.raises(TrapError):
        program.call("over", 256)
    with pytest.raises(TrapError):
        program.call("far", [1, 2])
    assert program.call("copy", [1, 2]) == [1, 2]
    with pytest.raises(TypeError, match="no Int"):
        program.call("over", np.float32(1))
    assert set(INTEGERS) >= {"Int8", "UInt8", "Int16"}


def test_the_index_of_the_vectors_has_what_the_swift_test_decodes(fmnist: PackageInputs) -> None:
    files = IOS.make_files(fmnist, LOCAL_TOOLS)
    test = files["Tests/FmnistMobilenetModelTests/GoldenTests.swift"].decode()
    index = json.loads(files["Tests/FmnistMobilenetModelTests/golden/golden.json"])
    decoded = {
        name: re.findall(r"let (\w+): ", body)
        for name, body in re.findall(r"struct (\w+): Decodable \{(.*?)\n    \}", test, re.DOTALL)
    }
    assert set(decoded["Golden"]) <= set(index)
    (vector, *_) = index["vectors"]
    assert set(decoded["Vector"]) <= set(vector)
    assert "let file, dtype" not in test and set(decoded["Stored"]) == set(vector["raw"]["image"])
