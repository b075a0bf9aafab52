"""Standard metadata, read by readers that are not ours: tflite-support's and MediaPipe's."""

from __future__ import annotations

import io
import json
import os
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from click.testing import CliRunner

from edgeq import models
from edgeq.cli import cli
from edgeq.conversion import file_metadata
from edgeq.converters.samples.preprocessing import apply, parse_preprocessing
from edgeq.errors import PackageError
from edgeq.packaging.contract.contract import make_contract
from edgeq.packaging.contract.image_inputs import confirm_images
from edgeq.packaging.contract.values import Golden, Vector
from edgeq.packaging.documents.metadata import KEY, add_metadata, metadata_limits
from edgeq.tflite import flatbuffer
from tests.tiny_models import (
    FLOAT,
    INT8,
    Operator,
    add_one,
    graph,
    model,
    operator,
    subtract,
    tensor,
)

PYTHON = os.environ.get("EDGEQ_METADATA_PYTHON")
needs_reader = pytest.mark.skipif(
    PYTHON is None, reason="EDGEQ_METADATA_PYTHON is not set: EDGEQ_TEST_EXTRAS=metadata"
)
READER = Path(__file__).with_name("metadata_reader.py")
UINT8 = schema.TensorType.UINT8
CLASSES = [f"class {number}" for number in range(9)] + ["Handtasche ä"]


def read_back(*arguments: object) -> list[dict[str, Any]]:
    """What the foreign readers say, an entry for each file."""
    done = subprocess.run(
        [str(PYTHON), str(READER), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def uint8_to_int8() -> bytes:
    """[1, 8, 8, 3] in uint8 to the mean of each channel in int8."""
    image = tensor("image", [1, 8, 8, 3], UINT8, scale=1 / 255)
    means = tensor("means", [1, 3], UINT8, scale=1 / 255)
    axes = tensor("axes", [2], schema.TensorType.INT32, buffer=1)
    scores = tensor("scores", [1, 3], INT8, scale=1 / 255)
    scores.quantization.zeroPoint = [-128]
    steps = [operator(0, [0, 1], [2], schema.ReducerOptionsT()), operator(1, [2], [3])]
    main = graph([image, axes, means, scores], [0], [3], steps)
    codes = [(Operator.MEAN, 2), (Operator.QUANTIZE, 2)]
    return model([main], codes, [np.array([1, 2], np.int32)])


def image_mean(dtype: int = FLOAT, scale: float | None = None, zero_point: int = 0) -> bytes:
    """[1, 8, 8, 3] to the mean of each channel: it "classifies" the colour of an image."""
    image = tensor("image", [1, 8, 8, 3], dtype, scale=scale)
    scores = tensor("scores", [1, 3], dtype, scale=scale)
    for quantized in (image, scores):
        if scale is not None:
            quantized.quantization.zeroPoint = [zero_point]
    axes = tensor("axes", [2], schema.TensorType.INT32, buffer=1)
    main = graph([image, axes, scores], [0], [2], [operator(0, [0, 1], [2],
                 schema.ReducerOptionsT())])  # fmt: skip
    return model([main], [(Operator.MEAN, 2)], [np.array([1, 2], np.int32)])


def described(content: bytes, path: Path, **settings: Any) -> Path:
    """The model with metadata, as a file."""
    path.write_bytes(content)
    path.write_bytes(add_metadata(content, make_contract(path, **settings)))
    return path


# ---------------------------------------------------------------- the file


def test_the_file_computes_the_same_and_keeps_what_it_carried(int8_mobilenet: Path) -> None:
    before = int8_mobilenet.read_bytes()
    contract = make_contract(int8_mobilenet, labels={"": CLASSES})
    after = add_metadata(before, contract)
    image = np.random.default_rng(0).integers(-128, 128, (1, 28, 28, 1), np.int8)
    outputs = []
    for content in (before, after):
        interpreter = Interpreter(model_content=content)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    np.testing.assert_array_equal(*outputs)
    trees = [flatbuffer.parse(content, "model") for content in (before, after)]
    names = [[flatbuffer.text(entry.name) for entry in tree.metadata] for tree in trees]
    assert names[1] == [*names[0], KEY]
    for name in names[0]:
        assert flatbuffer.metadata(trees[0], name) == flatbuffer.metadata(trees[1], name)
    assert flatbuffer.interface(trees[0]) == flatbuffer.interface(trees[1])


def test_metadata_is_replaced_and_equal_builds_are_equal(int8_mobilenet: Path) -> None:
    before = int8_mobilenet.read_bytes()
    contract = make_contract(int8_mobilenet, labels={"": CLASSES})
    once = add_metadata(before, contract, author="A")
    assert once == add_metadata(before, contract, author="A")
    assert once == add_metadata(once, contract, author="A")
    other = add_metadata(add_metadata(before, contract, author="B"), contract, author="A")
    assert other == once
    bare = add_metadata(once, replace(contract, outputs=(replace(contract.outputs[0], labels=()),)))
    assert not zipfile.is_zipfile(io.BytesIO(bare))


def test_labels_lie_behind_the_model_as_stored_entries(int8_mobilenet: Path) -> None:
    content = add_metadata(
        int8_mobilenet.read_bytes(), make_contract(int8_mobilenet, labels={"": CLASSES})
    )
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        (info,) = archive.infolist()
        assert archive.read(info).decode().splitlines() == CLASSES
    assert (info.filename, info.compress_type) == ("labels.txt", zipfile.ZIP_STORED)
    assert info.date_time == (1980, 1, 1, 0, 0, 0)
    # Offsets count from the beginning of the model, for readers that do not look for it.
    assert content[info.header_offset :][:4] == b"PK\3\4"


def test_our_own_commands_read_such_a_file(int8_mobilenet: Path, tmp_path: Path) -> None:
    path = described(int8_mobilenet.read_bytes(), tmp_path / "m.tflite", labels={"": CLASSES})
    assert file_metadata.read_preprocessing(path) == file_metadata.read_preprocessing(
        int8_mobilenet
    )
    shown = CliRunner().invoke(cli, ["inspect", str(path)], standalone_mode=False)
    assert shown.exit_code == 0, shown.output
    measured = CliRunner().invoke(cli, ["bench", str(path), "--runs", "5"], standalone_mode=False)
    assert measured.exit_code == 0, measured.output
    data = str(models.path("fashion_mnist_test.npz"))
    judged = CliRunner().invoke(
        cli, ["eval", str(path), "--data", data, "--samples", "20"], standalone_mode=False
    )
    assert judged.exit_code == 0, judged.output


@pytest.mark.parametrize("label", ["", "  ", "two\nlines", "two\u2028lines"])
def test_a_label_that_is_no_line_is_refused(tmp_path: Path, label: str) -> None:
    path = tmp_path / "x.tflite"
    path.write_bytes(image_mean())
    contract = make_contract(path, labels={"": ["a", "b", "c"]})
    (output,) = contract.outputs
    contract = replace(contract, outputs=(replace(output, labels=("a", label, "c")),))
    with pytest.raises(PackageError, match="of output 'scores' cannot be a line"):
        add_metadata(path.read_bytes(), contract)


def test_a_contract_of_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tflite"
    path.write_bytes(image_mean())
    with pytest.raises(PackageError, match=r"The contract names image, but x\.tflite has x"):
        add_metadata(add_one(), make_contract(path))


# ---------------------------------------------------------------- what readers find


@needs_reader
def test_a_reader_finds_what_the_contract_says(int8_mobilenet: Path, tmp_path: Path) -> None:
    path = tmp_path / "fmnist.tflite"
    contract = make_contract(int8_mobilenet, name="fmnist", version="1.4.0", labels={"": CLASSES})
    path.write_bytes(
        add_metadata(int8_mobilenet.read_bytes(), contract, description="Clothes.",
                     author="Somebody", license="Apache-2.0")
    )  # fmt: skip
    (found,) = read_back(path)
    whole = found["metadata"]
    told = [whole[key] for key in ("name", "description", "version", "author", "license")]
    assert told == ["fmnist", "Clothes.", "1.4.0", "Somebody", "Apache-2.0"]
    assert whole["min_parser_version"] == "1.0.0"
    (part,) = whole["subgraph_metadata"]
    (image,), (scores,) = part["input_tensor_metadata"], part["output_tensor_metadata"]
    assert image["name"] == contract.inputs[0].identifier
    assert image["content"] == {
        "content_properties_type": "ImageProperties",
        "content_properties": {
            "color_space": "GRAYSCALE", "default_size": {"width": 28, "height": 28}
        },
    }  # fmt: skip
    (unit,) = image["process_units"]
    assert unit == {
        "options_type": "NormalizationOptions",
        "options": {"mean": [0.0], "std": [255.0]},
    }
    assert image["stats"] == {"max": [127.0], "min": [-128.0]}
    spec = contract.outputs[0].spec
    assert spec.zero_points == (-128,)
    quantization = f"real = {np.float32(spec.scales[0])!s} * (value + 128)."
    assert quantization in scores["description"]
    assert scores["content"]["content_properties_type"] == "FeatureProperties"
    assert [(file["name"], file["type"]) for file in scores["associated_files"]] == [
        ("labels.txt", "TENSOR_AXIS_LABELS")
    ]
    assert found["files"]["labels.txt"].splitlines() == CLASSES


TEXTS = [
    "scale=1/255",
    "scale=1/127.5,offset=-1",
    "mean=123.68:116.779:103.939,std=58.4",
    "densenet",
    "resnet",
    "channels=bgr,scale=1/255,mean=0.485:0.456:0.406,std=0.229:0.224:0.225",
]


@needs_reader
def test_the_normalization_is_our_preprocessing(tmp_path: Path) -> None:
    paths = [
        described(image_mean(), tmp_path / f"m{number}.tflite", preprocess=[text])
        for number, text in enumerate(TEXTS)
    ]
    pixels = np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8)
    for path, text, found in zip(paths, TEXTS, read_back(*paths), strict=True):
        (image,) = found["metadata"]["subgraph_metadata"][0]["input_tensor_metadata"]
        options = image["process_units"][0]["options"]
        (how,) = parse_preprocessing([text], flatbuffer.interface(flatbuffer.read(path))[0])
        ordered = pixels[:, :, ::-1] if how.channels == "bgr" else pixels
        own = (ordered - np.array(options["mean"])) / np.array(options["std"])
        np.testing.assert_allclose(own, apply(how, pixels), rtol=1e-5, atol=1e-5)
        # The schema has no BGR: nothing is better than RGB, which would be wrong.
        space = image["content"]["content_properties"].get("color_space", "UNKNOWN")
        assert space == ("UNKNOWN" if how.channels == "bgr" else "RGB")
        assert (np.array(image["stats"]["min"]) <= own.min(axis=(0, 1)) + 1e-5).all()
        assert (np.array(image["stats"]["max"]) >= own.max(axis=(0, 1)) - 1e-5).all()


@needs_reader
def test_an_image_that_goes_in_as_it_is_has_the_identity(tmp_path: Path) -> None:
    (found,) = read_back(described(image_mean(), tmp_path / "m.tflite"))
    (image,) = found["metadata"]["subgraph_metadata"][0]["input_tensor_metadata"]
    assert image["process_units"][0]["options"] == {"mean": [0.0], "std": [1.0]}
    assert "stats" not in image


@needs_reader
def test_tensors_are_in_the_order_of_the_subgraph(tmp_path: Path) -> None:
    """Also when a contract lists them in another one."""
    path = tmp_path / "subtract.tflite"
    content = subtract()
    path.write_bytes(content)
    contract = make_contract(path)
    turned = replace(contract, inputs=contract.inputs[::-1])
    path.write_bytes(add_metadata(content, turned))
    (found,) = read_back(path)
    inputs = found["metadata"]["subgraph_metadata"][0]["input_tensor_metadata"]
    assert [item["name"] for item in inputs] == ["subtrahend", "minuend"]
    assert {item["content"]["content_properties_type"] for item in inputs} == {"FeatureProperties"}


@needs_reader
def test_several_labelled_outputs_have_a_file_each(tmp_path: Path) -> None:
    """One of them is named as a keyword is, and one is a yes or no."""
    tensors = [tensor("in", [1, 3], INT8, scale=0.5), tensor("class", [1, 3], INT8, scale=1.0),
               tensor("yes", [1, 1]), tensor("no", [1, 1])]  # fmt: skip
    main = graph(
        tensors, [0, 2], [1, 3],
        [operator(0, [0, 0], [1], schema.AddOptionsT()),
         operator(0, [2, 2], [3], schema.AddOptionsT())],
    )  # fmt: skip
    content = model([main], [(Operator.ADD, 2)])
    labels = {"class": ["a", "b", "c"], "no": ["off", "on"]}
    (found,) = read_back(described(content, tmp_path / "two.tflite", labels=labels))
    part = found["metadata"]["subgraph_metadata"][0]
    assert [item["name"] for item in part["input_tensor_metadata"]] == ["in_", "yes"]
    first, second = part["output_tensor_metadata"]
    assert first["name"] == "class_"
    assert "Tensor 'class', int8 1x3" in first["description"]
    assert [item["type"] for item in first["associated_files"]] == ["TENSOR_AXIS_LABELS"]
    # Two names for one value are no labels of an axis: readers would count them and refuse.
    assert [item["type"] for item in second["associated_files"]] == ["DESCRIPTIONS"]
    assert found["files"] == {"class_labels.txt": "a\nb\nc\n", "no_labels.txt": "off\non\n"}


# ---------------------------------------------------------------- readers that run it


@needs_reader
def test_mediapipe_classifies_with_the_file_as_it_is(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"labels": {"": ["red", "green", "blue"]}}
    paths = [
        described(image_mean(), tmp_path / "float.tflite", preprocess=["scale=1/255"], **settings),
        described(image_mean(UINT8, 1 / 255), tmp_path / "uint8.tflite",
                  preprocess=["scale=1/255"], **settings),
        described(image_mean(), tmp_path / "signed.tflite",
                  preprocess=["scale=1/127.5,offset=-1"], **settings),
    ]  # fmt: skip
    wanted = np.array([150, 200, 140]) / 255  # above 0 in any scale: others are left out
    for found, real in zip(
        read_back(*paths, "--color", "150,200,140"), (wanted, wanted, wanted * 2 - 1), strict=True
    ):
        for reader in ("mediapipe", "support"):
            scores = found[reader]
            assert isinstance(scores, dict), scores
            assert next(iter(scores)) == "green"
            own = [scores[name] for name in ("red", "green", "blue")]
            np.testing.assert_allclose(own, real, atol=1e-3)


REFUSED = {
    "int8": (image_mean(INT8, 1 / 255, -128), "scale=1/255", ["is int8", "is int8"]),
    "int8-scores": (uint8_to_int8(), "scale=1/255", ["Output 'scores' is int8"]),
    "bgr": (image_mean(), "resnet", ["is not RGB"]),
}


@needs_reader
def test_what_the_readers_refuse_is_what_limits_says(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"labels": {"": ["red", "green", "blue"]}}
    paths = [
        described(content, tmp_path / f"{name}.tflite", preprocess=[text], **settings)
        for name, (content, text, _) in REFUSED.items()
    ]
    found = read_back(*paths, "--color", "50,200,0")
    for path, entry, (_, text, said) in zip(paths, found, REFUSED.values(), strict=True):
        told = metadata_limits(make_contract(path, preprocess=[text], **settings))
        assert [want in own for want, own in zip(said, told, strict=True)] == [True] * len(said)
        assert isinstance(entry["mediapipe"], str), entry
        assert isinstance(entry["support"], str), entry


@pytest.mark.parametrize(
    ("content", "text", "said"),
    [
        (image_mean(), "scale=1/255", None),
        (image_mean(UINT8, 1 / 255), "scale=1/255", None),
        (image_mean(UINT8, 2 / 255, 128), "scale=1/127.5,offset=-1", None),
        (image_mean(UINT8, 1.0), "scale=1/255", "copy them"),
        (image_mean(INT8, 1 / 255, -128), "scale=1/255", "is int8"),
        (image_mean(), "resnet", "is not RGB"),
    ],
)
def test_limits(tmp_path: Path, content: bytes, text: str, said: str | None) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(content)
    found = metadata_limits(make_contract(path, preprocess=[text]))
    assert [said in sentence for sentence in found] == ([] if said is None else [True])
    assert metadata_limits(make_contract(described(add_one(), tmp_path / "x.tflite"))) == ()


# ---------------------------------------------------------------- what is an image at all


def series(shape: list[int]) -> bytes:
    """A model that takes floats of any shape and gives them back doubled."""
    tensors = [tensor("x", shape), tensor("y", shape)]
    add = operator(0, [0, 0], [1], schema.AddOptionsT())
    return model([graph(tensors, [0], [1], [add])], [(Operator.ADD, 1)])


def vector(raw: Any) -> Vector:
    return Vector(0, None, {"x": np.asarray(raw)}, {}, {}, {})


@pytest.mark.parametrize(
    ("shape", "sample", "text", "size"),
    [
        ([1, 6, 4, 1], np.full((6, 4, 1), -3.5), None, None),  # a spectrogram
        ([1, 6, 4, 1], np.full((6, 4, 1), 200, np.uint8), None, (6, 4, 1)),
        ([1, 6, 4, 3], np.full((6, 4, 3), 200.0), None, (6, 4, 3)),  # pixels, stored as floats
        ([1, 6, 4, 3], np.full((6, 4, 3), 0.5), None, None),  # scaled before
        ([1, 6, 4, 3], np.ones((6, 4, 3), np.float32), None, None),
        ([1, 6, 4, 5], np.full((6, 4, 5), 7, np.uint8), None, None),
        ([1, 6, 4], np.full((6, 4), 200, np.uint8), None, None),  # rows for an LSTM
        ([1, 6, 4], np.full((9, 9), 200, np.uint8), "resize=6x4", (6, 4, 1)),
        ([1, 24], np.full(24, 200, np.uint8), None, None),
    ],
)
def test_an_image_is_one_by_its_samples(
    tmp_path: Path, shape: list[int], sample: Any, text: str | None, size: Any
) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(series(shape))
    made = make_contract(path, preprocess=[] if text is None else [text])
    seen = confirm_images(made, Golden("", "", (vector(sample),), {}))
    assert seen.inputs[0].image == size
    if size is None:
        assert metadata_limits(seen) == ()
