"""Boxes in packages are those of `edgeq eval`: generated code runs on the golden vectors."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq.device_runners.devices.local import LocalDevice
from edgeq.errors import DataError, UsageError
from edgeq.fit.arena import ArenaMeasurement
from edgeq.metrics.decoding import find_decoder
from edgeq.packaging.assembly.tools import LOCAL_TOOLS
from edgeq.packaging.contract import naming
from edgeq.packaging.contract.contract import make_contract
from edgeq.packaging.contract.values import Vector
from edgeq.packaging.evidence.inputs import PackageInputs
from edgeq.packaging.golden.sampling import make_golden
from edgeq.packaging.golden.vectors import find_faults
from edgeq.packaging.targets.android import make_files as make_android
from edgeq.packaging.targets.c import writing
from edgeq.packaging.targets.ios import make_files as make_swift
from edgeq.packaging.targets.python import make_files as make_python
from edgeq.tflite import flatbuffer
from edgeq.tflite.joined_outputs import set_joins
from edgeq.tflite.model_file import read_model
from edgeq.values import JoinBlock, JoinedOutput
from tests.converters.rewrites.tiny_graphs import Builder
from tests.packaging.targets.c.test_c import build, needs_compiler, unpack
from tests.packaging.targets.c.test_c import run as run_program
from tests.packaging.targets.swift_subset import Program
from tests.packaging.targets.test_android import Desktop, fakes, needs, run
from tests.packaging.targets.test_ios import Language, Parser, problems, tree_sitter_swift

__all__ = ["fakes"]

ROWS, CLASSES = 24, 3
# A list of a model that lists classes itself may end before its highest class.
LABELS = {"joined": ("Ankle boot", "T-shirt", "Bag"), "listed": ("One", "Two")}


@dataclass(frozen=True)
class Head:
    """A model that passes its inputs on, each an output of another shape.

    Attributes:
        shapes: of the outputs, without batch.
        joins: as the file states them.
    """

    decode: str
    shapes: tuple[tuple[int, ...], ...]
    joins: tuple[JoinedOutput, ...] = ()


HEADS = {
    "joined": Head("boxes=cxcywh,unit=pixels,min_score=0.2,iou=0.4", ((ROWS, 4 + CLASSES),)),
    "turned": Head("boxes=xywh,scores=sigmoid,objectness=yes,at_most=7", ((5 + CLASSES, ROWS),)),
    "apart": Head(
        "boxes=xyxy,scores=softmax,background=first,objectness=yes",
        ((ROWS, CLASSES + 2), (ROWS, 4)),
    ),
    "last": Head("boxes=cxcywh,scores=softmax,background=last", ((1, ROWS, 5 + CLASSES),)),
    "listed": Head("boxes=yxyx,unit=pixels,scores=listed,min_score=0.3", ((ROWS, 6),)),
    "parts": Head(
        "boxes=cxcywh,min_score=0.2",
        ((ROWS // 2, 4), (ROWS // 2, CLASSES), (ROWS // 2, 4), (ROWS // 2, CLASSES)),
        (
            JoinedOutput(
                "whole",
                (1, ROWS, 4 + CLASSES),
                (
                    JoinBlock(ROWS // 2, (("y0", 4), ("y1", CLASSES))),
                    JoinBlock(ROWS // 2, (("y2", 4), ("y3", CLASSES))),
                ),
            ),
        ),
    ),
}


def passing(head: Head) -> bytes:
    """Inputs x0, x1..., the first an image of 8 rows and 4 columns, become outputs y0, y1...."""
    net = Builder()
    sizes = [int(np.prod(shape)) for shape in head.shapes]
    inputs = [
        net.input([1, 8, 4, sizes[0] // 32] if sizes[0] % 32 == 0 else [1, 8, 3, sizes[0] // 24])
        if place == 0
        else net.input([1, size])
        for place, size in enumerate(sizes)
    ]
    outputs = []
    for source, shape in zip(inputs, head.shapes, strict=True):
        stored = net.constant([1, *shape], "int32")
        outputs.append(net.add("RESHAPE", [source, stored], [1, *shape]))
    net.finish(*outputs)
    names = [[f"{side}{place}" for place in range(len(sizes))] for side in "xy"]
    flatbuffer.set_interface(net.tree, *names)
    set_joins(net.tree, head.joins)
    return flatbuffer.serialize(net.tree)


def values_of(head: Head, count: int) -> list[np.ndarray]:
    """Boxes that overlap in groups, and scores with ties."""
    random = np.random.default_rng(0)
    pixels = 8.0 if "pixels" in head.decode else 1.0
    centres = random.choice([0.3, 0.5, 0.7], (count, ROWS, 2)) + random.normal(
        0, 0.03, (count, ROWS, 2)
    )
    sides = random.uniform(0.2, 0.3, (count, ROWS, 2))
    corners = np.concatenate((centres - sides / 2, centres + sides / 2), axis=2)
    form = head.decode.split("boxes=")[1].split(",")[0]
    low = corners[..., :2]
    boxes = pixels * {
        "cxcywh": np.concatenate((centres, sides), axis=2),
        "xywh": np.concatenate((low, sides), axis=2),
        "xyxy": corners,
        "yxyx": corners[..., [1, 0, 3, 2]],
    }[form]  # fmt: skip
    extra = ("objectness" in head.decode) + ("background" in head.decode)
    scores = np.round(random.uniform(0, 1, (count, ROWS, CLASSES + extra)), 1)
    if "sigmoid" in head.decode or "softmax" in head.decode:
        scores = 6 * scores - 3
    if "listed" in head.decode:
        scores = np.stack((scores[..., 0], random.integers(0, 3, (count, ROWS))), axis=2)
    if len(head.shapes) == 1:
        whole = np.concatenate((boxes, scores), axis=2)
        return [whole.swapaxes(1, 2) if head.shapes[0][-1] == ROWS else whole]
    if len(head.shapes) == 2:
        return [scores, boxes]
    half = ROWS // 2
    return [boxes[:, :half], scores[:, :half], boxes[:, half:], scores[:, half:]]


def gather(name: str, folder: Path) -> PackageInputs:
    head, path = HEADS[name], folder / "m.tflite"
    path.write_bytes(passing(head))
    file = read_model(path)
    labels = {"": LABELS[name]} if name in LABELS else None
    contract = make_contract(file, name=f"tiny_{name}", decode=head.decode, labels=labels)
    values = values_of(head, 6)
    shapes = [item.spec.shape[1:] for item in contract.inputs]
    data = {
        f"x{place}": own.reshape(len(own), *shape).astype(np.float32)
        for place, (own, shape) in enumerate(zip(values, shapes, strict=True))
    }
    golden = make_golden(file, contract, data, LocalDevice(), count=3)
    return PackageInputs(contract, file, golden, "Apache-2.0")


@pytest.fixture(params=list(HEADS))
def inputs(request: pytest.FixtureRequest, tmp_path: Path) -> PackageInputs:
    return gather(request.param, tmp_path)


def boxes_of(vector: Vector) -> np.ndarray:
    rows = vector.results["boxes"][0]
    return np.asarray(rows[rows[:, 0] >= 0])


def labelled(inputs: PackageInputs, rows: np.ndarray) -> list[tuple[int, str]]:
    """Class and name of each box."""
    names = dict(enumerate(inputs.contract.box_labels))
    return [(int(kind), names.get(int(kind), "")) for kind in rows[:, 0]]


def test_golden_boxes_are_those_of_eval(inputs: PackageInputs) -> None:
    contract = inputs.contract
    decoder = find_decoder(contract.decoding, [item.spec for item in contract.inputs])
    assert decoder is not None
    for vector in inputs.golden.vectors:
        whole = vector.real if not contract.joins else {"whole": vector.results["whole"]}
        assert np.array_equal(decoder(whole)["detections"], vector.results["boxes"])
        assert 2 <= len(boxes_of(vector)) < ROWS * CLASSES
    assert find_faults(inputs.golden, contract) == []
    wrong = inputs.golden.vectors[0].results["boxes"].copy()
    wrong[0, 0, 5] += 0.01
    (first, *others) = inputs.golden.vectors
    changed = replace(first, results={**first.results, "boxes": wrong})
    (fault,) = find_faults(replace(inputs.golden, vectors=(changed, *others)), contract)
    assert "'boxes' of the results differs from what the outputs give" in fault


def spoil(inputs: PackageInputs) -> PackageInputs:
    """Golden boxes of which one has another side."""
    first, *others = inputs.golden.vectors
    boxes = first.results["boxes"].copy()
    boxes[0, 0, 3] += 0.001
    wrong = replace(first, results={**first.results, "boxes": boxes})
    return replace(inputs, golden=replace(inputs.golden, vectors=(wrong, *others)))


def write(files: Mapping[str, bytes], folder: Path) -> Path:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def smoke(inputs: PackageInputs, folder: Path) -> subprocess.CompletedProcess[str]:
    write(make_python(inputs, LOCAL_TOOLS), folder)
    command = [sys.executable, "-m", inputs.contract.name]
    own = {**os.environ, "PYTHONPATH": ""}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=own)


def test_python(inputs: PackageInputs, tmp_path: Path) -> None:
    done = smoke(inputs, tmp_path)
    assert done.returncode == 0, done.stdout
    assert "boxes: 0 of" in done.stdout


@pytest.mark.parametrize("name", ["joined", "listed", "turned"])
def test_a_box_has_the_name_of_its_class_in_python(name: str, tmp_path: Path) -> None:
    inputs = gather(name, tmp_path)
    vector = inputs.golden.vectors[0]
    folder = write(make_python(inputs, LOCAL_TOOLS), tmp_path)
    np.save(folder / "x.npy", vector.raw["x0"])
    program = (
        f"import numpy, tiny_{name} as made\n"
        f"model = made.{naming.pascal(inputs.contract.name)}()\n"
        "for box in model.predict(numpy.load('x.npy')).boxes: print(box.index, box.label, sep=';')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    wanted = labelled(inputs, boxes_of(vector))
    assert done.stdout.splitlines() == [f"{kind};{label}" for kind, label in wanted]
    assert len({label for _, label in wanted}) == (1 if name == "turned" else 3)
    done = subprocess.run(
        [sys.executable, "-m", f"tiny_{name}", "x.npy"], cwd=folder, capture_output=True, text=True,
        check=True, env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    shown = json.loads(done.stdout)["boxes"]
    assert [(box["index"], box["label"]) for box in shown] == wanted
    sides = [[box[key] for key in ("x1", "y1", "x2", "y2", "score")] for box in shown]
    np.testing.assert_allclose(sides, boxes_of(vector)[:, 1:], atol=1e-6)


def c_program(
    inputs: PackageInputs, folder: Path, patch: pytest.MonkeyPatch, main: str = ""
) -> tuple[int, str]:
    """Build and run the golden test, or another program."""
    measured = ArenaMeasurement("0.dev1", (), 4640, 3984, 1440)
    patch.setattr(writing, "measure", lambda inputs, tools: measured)
    source = unpack(writing.make_files(inputs, LOCAL_TOOLS), folder)
    if main:
        (source / "main.cc").write_text(main)
    return run_program(build(source, *(["-DEDGEQ_NO_MAIN"] if main else [])))


@needs_compiler
def test_c(inputs: PackageInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, told = c_program(inputs, tmp_path, monkeypatch)
    assert status == 0, told


@needs_compiler
@pytest.mark.parametrize("name", ["joined", "listed"])
def test_a_box_has_the_name_of_its_class_in_c(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, stem = gather(name, tmp_path), f"edgeq_tiny_{name}"
    main = f"""
#include <cstdio>
#include "{stem}_boxes.h"
#include "{stem}_golden.h"
namespace package = edgeq::tiny_{name};
int main() {{
  static package::BoxScratch scratch;
  static package::Box found[package::kMostBoxes];
  const package::BoxTensors tensors = {{package::golden::kY0Output[0]}};
  const std::size_t count = package::FindBoxes(tensors, &scratch, found);
  for (std::size_t i = 0; i < count; ++i) std::printf("%d;%s\\n", found[i].index, found[i].label);
}}
"""
    status, told = c_program(inputs, tmp_path, monkeypatch, main)
    wanted = labelled(inputs, boxes_of(inputs.golden.vectors[0]))
    assert (status, told.splitlines()) == (0, [f"{kind};{label}" for kind, label in wanted])


def test_java(inputs: PackageInputs, fakes: Path, tmp_path: Path) -> None:
    desktop = Desktop(make_android(inputs, LOCAL_TOOLS), tmp_path / "package", fakes)
    shown = desktop.java("RunTests", f"edgeq.{inputs.contract.name}.GoldenTest")
    assert shown.endswith("3 passed\n")


def swift_boxes(inputs: PackageInputs, vector: Vector) -> list[Any]:
    """Run the Swift code, with the calls and the labels that its predictor has."""
    files = make_swift(inputs, LOCAL_TOOLS)
    sources = {path: text.decode() for path, text in files.items() if path.endswith(".swift")}
    parser = Parser(Language(tree_sitter_swift.language()))
    for path, text in sources.items():
        assert problems(parser.parse(text.encode()).root_node) == [], path
    of = {name: text for path, text in sources.items() for name in [path.rpartition("/")[2]]}
    (predictor,) = (text for name, text in of.items() if name.endswith("Predictor.swift"))
    calls = re.findall(r"let joined\d+ = join\(.*?\)\n", predictor)
    (found,) = re.findall(
        r"boxes: (findBoxes\(.*?labels: )\w+Predictor\.boxesLabels\)", predictor, re.DOTALL
    )
    (labels,) = re.findall(r"boxesLabels: \[String\] = (\[.*?\])", predictor, re.DOTALL)
    reals = ", ".join(f"_ real{place}: [Float]" for place in range(len(inputs.contract.outputs)))
    body = "".join(calls) + f"return {found}{labels})\n"
    program = Program(
        of["Numerics.swift"] + of["Boxes.swift"] + f"func all({reals}) -> [Box] {{\n{body}}}\n"
    )
    values = [list(map(np.float32, own.ravel())) for own in vector.real.values()]
    return list(program.call("all", *values))


def test_swift(inputs: PackageInputs) -> None:
    for vector in inputs.golden.vectors:
        found = swift_boxes(inputs, vector)
        rows = [[box.index, box.x1, box.y1, box.x2, box.y2, box.score] for box in found]
        np.testing.assert_allclose(np.array(rows, np.float64), boxes_of(vector), atol=1e-6)
        own = [(box.index, box.label) for box in found]
        assert own == labelled(inputs, boxes_of(vector))


@needs_compiler
def test_a_box_that_lies_elsewhere_is_found(
    fakes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrong = spoil(gather("joined", tmp_path))
    assert smoke(wrong, tmp_path / "python").returncode == 1
    assert c_program(wrong, tmp_path / "c", monkeypatch)[0] == 1
    desktop = Desktop(make_android(wrong, LOCAL_TOOLS), tmp_path / "android", fakes)
    with pytest.raises(AssertionError, match="boxes"):
        desktop.java("RunTests", "edgeq.tiny_joined.GoldenTest")


def test_kotlin_has_the_boxes(fakes: Path, tmp_path: Path) -> None:
    needs("kotlinc")
    inputs = gather("joined", tmp_path)
    desktop = Desktop(make_android(inputs, LOCAL_TOOLS), tmp_path / "package", fakes)
    (source,) = (desktop.folder / "module/src/main/kotlin").rglob("*.kt")
    vector = inputs.golden.vectors[0]
    numbers = ", ".join(f"{value!r}f" for value in vector.raw["x0"].ravel().tolist())
    main = tmp_path / "Main.kt"
    main.write_text(
        "package edgeq.tiny_joined\n"
        "fun main() = TinyJoinedKotlinModel(android.content.Context()).use {\n"
        f"    for (box in it.run(floatArrayOf({numbers})).boxes) "
        'println("${box.index};${box.label}")\n}\n'
    )
    made = tmp_path / "main.jar"
    run("kotlinc", source, main, "-cp", desktop.path, "-include-runtime", "-d", made)
    found = desktop.java("edgeq.tiny_joined.MainKt", path=f"{desktop.path}{os.pathsep}{made}")
    wanted = [f"{kind};{label}" for kind, label in labelled(inputs, boxes_of(vector))]
    assert [line for line in found.splitlines() if ";" in line] == wanted


@pytest.mark.parametrize(
    ("decode", "kind", "message"),
    [
        ("boxes=xywh,scores=listed", DataError, "does not fit: the outputs"),
        ("boxes=cxcywh,iou=0.1", UsageError, "contradicts boxes=cxcywh"),
    ],
)
def test_what_does_not_fit_is_refused(decode: str, kind: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    tree = flatbuffer.parse(passing(HEADS["joined"]), "m")
    if kind is UsageError:
        flatbuffer.set_metadata(tree, "edgeq.decoding", b"boxes=cxcywh")
    path.write_bytes(flatbuffer.serialize(tree))
    with pytest.raises(kind, match=message):
        make_contract(read_model(path), decode=decode)
