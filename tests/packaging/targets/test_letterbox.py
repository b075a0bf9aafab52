"""From a letterboxed input back to the picture: generated code computes what the metric does."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeq.device_runners.devices.local import LocalDevice
from edgeq.packaging.assembly.tools import LOCAL_TOOLS
from edgeq.packaging.contract.contract import make_contract
from edgeq.packaging.evidence.inputs import PackageInputs
from edgeq.packaging.golden.sampling import make_golden
from edgeq.packaging.golden.vectors import find_faults, golden_files, read_golden
from edgeq.packaging.targets.android import make_files as make_android
from edgeq.packaging.targets.ios import make_files as make_swift
from edgeq.packaging.targets.python import make_files as make_python
from edgeq.tflite import flatbuffer
from edgeq.tflite.model_file import read_model
from tests.converters.rewrites.tiny_graphs import Builder
from tests.packaging.targets.c.test_c import needs_compiler
from tests.packaging.targets.swift_subset import Program
from tests.packaging.targets.test_android import Desktop, fakes
from tests.packaging.targets.test_boxes import c_program, smoke, write
from tests.packaging.targets.test_ios import Language, Parser, problems, tree_sitter_swift

__all__ = ["fakes"]

# Height and width of the pictures, and where each is in 8 rows of 12 pixels.
PLACES = {
    (20, 10): (0, 4, 8, 4),
    (31, 9): (0, 5, 8, 2),
    (7, 30): (2, 0, 3, 12),
    (6, 40): (3, 0, 2, 12),
    (16, 24): (0, 0, 8, 12),
}
SIDES = ("x1", "y1", "x2", "y2")
SHAPES = {"boxes": [1, 36, 8], "mask": [1, 8, 12, 3]}


@pytest.fixture(scope="module", params=list(SHAPES))
def inputs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> PackageInputs:
    return gather(request.param, tmp_path_factory.mktemp("letterbox"))


def gather(kind: str, folder: Path) -> PackageInputs:
    """A model that passes the pixels on, as boxes or as a mask."""
    net, shape = Builder(), SHAPES[kind]
    net.finish(net.add("RESHAPE", [net.input([1, 8, 12, 3]), net.constant(shape, "int32")], shape))
    path, pictures = folder / "m.tflite", folder / "pictures"
    path.write_bytes(flatbuffer.serialize(net.tree))
    pictures.mkdir()
    random = np.random.default_rng(0)
    for number, (height, width) in enumerate(PLACES):
        pixels = random.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(pictures / f"{number}.png")
    file = read_model(path)
    contract = make_contract(
        file,
        name=f"boxed_{kind}",
        preprocess=["letterbox=8x12,scale=1/255"],
        decode="boxes=cxcywh,min_score=0.3,at_most=9" if kind == "boxes" else None,
    )
    golden = make_golden(file, contract, pictures, LocalDevice(), count=len(PLACES))
    return PackageInputs(contract, file, golden, "Apache-2.0")


def spoil(inputs: PackageInputs) -> PackageInputs:
    """A golden picture that is a pixel further down, or a box that has another side."""
    first, *others = inputs.golden.vectors
    picture = {name: values.copy() for name, values in first.picture.items()}
    if "boxes" in picture:
        picture["boxes"][0, 0, 3] += 0.001
    else:
        picture["region"][0] += 1
    vectors = (replace(first, picture=picture), *others)
    return replace(inputs, golden=replace(inputs.golden, vectors=vectors))


def test_golden_values_are_those_of_the_picture(inputs: PackageInputs) -> None:
    sizes = set()
    for vector in inputs.golden.vectors:
        size = tuple(vector.picture["size"].tolist())
        sizes.add(size)
        top, left, height, width = PLACES[size]
        assert vector.picture["region"].tolist() == [top, left, height, width]
        if inputs.contract.decoding is None:
            # The pixels around the region are the grey.
            (image,) = vector.inputs.values()
            inside = np.zeros(image.shape, bool)
            inside[:, top : top + height, left : left + width] = True
            assert np.all(image[~inside] == np.float32(114) * np.float32(1 / 255))
            continue
        found, wanted = vector.picture["boxes"][0], vector.results["boxes"][0].copy()
        real = wanted[:, 0] >= 0
        wanted[:, [1, 3]] = np.clip((wanted[:, [1, 3]] * 12 - left) / width, 0, 1)
        wanted[:, [2, 4]] = np.clip((wanted[:, [2, 4]] * 8 - top) / height, 0, 1)
        np.testing.assert_allclose(found[real], wanted[real], atol=1e-12)
        assert real.any() and np.all(found[~real, 0] == -1)
    assert sizes == set(PLACES)


def test_other_golden_values_are_found(inputs: PackageInputs) -> None:
    stored = read_golden(golden_files(inputs.golden))
    assert find_faults(stored, inputs.contract) == []
    (fault,) = find_faults(spoil(inputs).golden, inputs.contract)
    name = "region" if inputs.contract.decoding is None else "boxes"
    assert f"'{name}' of the values of the picture differs" in fault
    first, *others = inputs.golden.vectors
    flat = replace(first, raw={name: raw[0, 0] for name, raw in first.raw.items()})
    faults = find_faults(replace(inputs.golden, vectors=(flat, *others)), inputs.contract)
    assert "is (3,), not a picture" in faults[0]


def test_python_finds_only_the_wrong_value(inputs: PackageInputs, tmp_path: Path) -> None:
    done = smoke(spoil(inputs), tmp_path)
    lines = done.stdout.splitlines()
    assert [line.endswith("PASS") for line in lines if line.startswith("sample")] == [
        False, True, True, True,
    ]  # fmt: skip
    name = "region of" if inputs.contract.decoding is None else "boxes in"
    assert any(line.startswith(f"  {name} the picture: 1 of") for line in lines), done.stdout


def test_python_has_the_way_back(tmp_path: Path) -> None:
    inputs = gather("boxes", tmp_path)
    folder = write(make_python(inputs, LOCAL_TOOLS), tmp_path)
    vector = inputs.golden.vectors[0]
    height, width = vector.picture["size"].tolist()
    np.save(folder / "x.npy", next(iter(vector.raw.values())))
    program = (
        "import numpy\nfrom boxed_boxes import BoxedBoxes\nmodel = BoxedBoxes()\n"
        "found = model.predict(numpy.load('x.npy')).boxes\n"
        f"print(*model.picture_region({height}, {width}))\n"
        f"for box in model.in_picture(found, {height}, {width}):\n"
        "    print(box.index, box.x1, box.y1, box.x2, box.y2, box.score)\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    region, *rows = ([float(text) for text in line.split()] for line in done.stdout.splitlines())
    assert region == vector.picture["region"].tolist()
    wanted = vector.picture["boxes"][0]
    np.testing.assert_allclose(rows, wanted[wanted[:, 0] >= 0], atol=1e-6)


@needs_compiler
def test_c_finds_only_the_wrong_value(
    inputs: PackageInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, told = c_program(spoil(inputs), tmp_path, monkeypatch)
    index = inputs.golden.vectors[0].index
    name = "region of the picture" if inputs.contract.decoding is None else "box 0"
    assert f"FAILED: sample {index}, {name}\n" in told
    assert status == 1 and told.endswith("5 samples, 1 checks failed\n")


def test_java(inputs: PackageInputs, fakes: Path, tmp_path: Path) -> None:
    test = f"edgeq.{inputs.contract.name}.GoldenTest"
    made = Desktop(make_android(inputs, LOCAL_TOOLS), tmp_path, fakes)
    assert made.java("RunTests", test).endswith("5 passed\n")
    if inputs.contract.decoding is not None:
        _, in_picture = sorted((tmp_path / "module/src/androidTest/assets").rglob("00-*-boxes.bin"))
        rows = np.fromfile(in_picture, "<f4")
        rows[3] += 0.001
        in_picture.write_bytes(rows.tobytes())
        with pytest.raises(AssertionError, match=r"boxes in the picture\[3\]"):
            made.java("RunTests", test)


def test_swift(inputs: PackageInputs) -> None:
    files = make_swift(inputs, LOCAL_TOOLS)
    of = {path.rpartition("/")[2]: content.decode() for path, content in files.items()
          if path.endswith(".swift")}  # fmt: skip
    parser = Parser(Language(tree_sitter_swift.language()))
    for text in of.values():
        assert problems(parser.parse(text.encode()).root_node) == []
    (predictor,) = (text for name, text in of.items() if name.endswith("Predictor.swift"))
    start = predictor.index("    public static func pictureRegion")
    text = predictor[start : predictor.index("    private let runtime")]
    program = Program(of["Numerics.swift"] + of.get("Boxes.swift", "") + text)
    for vector in inputs.golden.vectors:
        height, width = vector.picture["size"].tolist()
        region = program.call("pictureRegion", height=height, width=width)
        found = [region.top, region.left, region.height, region.width]
        assert found == vector.picture["region"].tolist()
        if inputs.contract.decoding is None:
            continue
        rows = vector.results["boxes"][0]
        own = [
            program.call(
                "Box",
                index=int(row[0]),
                label="",
                **dict(zip(SIDES, map(np.float32, row[1:5]), strict=True)),
                score=np.float32(row[5]),
            )
            for row in rows[rows[:, 0] >= 0]
        ]
        moved = program.call("inPicture", own, height=height, width=width)
        wanted = vector.picture["boxes"][0][: len(own)]
        given = [[box.index, box.x1, box.y1, box.x2, box.y2, box.score] for box in moved]
        np.testing.assert_allclose(np.array(given, np.float64), wanted, atol=1e-6)
