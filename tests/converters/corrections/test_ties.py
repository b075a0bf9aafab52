"""Classes of dense predictions are spread over one INT8 step, where that chooses better."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq import api
from edgeq.converters.corrections.ties import spread_ties
from edgeq.tflite import flatbuffer
from edgeq.tflite.flatbuffer import indices
from edgeq.values import Conversion
from tests.converters.rewrites.tiny_graphs import Builder, run, schema

SIDE, CLASSES = 12, 6
RANDOM = np.random.default_rng(3)
SAMPLES = RANDOM.normal(0, 1, (40, SIDE, SIDE, 4)).astype(np.float32)
WEIGHTS = RANDOM.normal(0, 2, (CLASSES, 1, 1, 4))


def logits(net: Builder, shape: tuple[int, ...] = (1, SIDE, SIDE, 4)) -> int:
    """A convolution of one pixel to the classes."""
    stored = [net.constant(WEIGHTS), net.constant(np.linspace(1, -1, CLASSES))]
    options = schema.Conv2DOptionsT()
    options.strideH = options.strideW = 1
    return net.add("CONV_2D", [net.input(shape), *stored], [*shape[:3], CLASSES], options=options)


def segmenter(end: str = "softmax") -> bytes:
    net = Builder()
    last, shape = logits(net), [1, SIDE, SIDE, CLASSES]
    if end == "numbers":
        options = schema.ArgMaxOptionsT()
        options.outputType = flatbuffer.dtype_code("int32")
        inputs = [last, net.constant(-1, "int32")]
        return net.content(net.add("ARG_MAX", inputs, shape[:3], "int32", options=options))
    if end in ("flat", "unflattened"):
        flat = [1, SIDE * SIDE, CLASSES]
        last, shape = net.add("RESHAPE", [last, net.constant(flat, "int32")], flat), flat
    scores = net.add("SOFTMAX", [last], shape)
    if end == "unflattened":
        image = [1, SIDE, SIDE, CLASSES]
        scores = net.add("RESHAPE", [scores, net.constant(image, "int32")], image)
    if end == "channels first":
        order = net.constant([0, 3, 1, 2], "int32")
        scores = net.add("TRANSPOSE", [scores, order], [1, CLASSES, SIDE, SIDE])
    return net.content(*([last, scores] if end == "logits, too" else [scores]))


def convert(content: bytes, folder: Path, name: str, **more: Any) -> Conversion:
    source = folder / "net.tflite"
    source.write_bytes(content)
    common = {"statistic": "minmax", "io": "float32", "data": SAMPLES}
    return api.convert(source, folder / f"{name}.tflite", **{**common, **more})


def biases(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Biases of the last layer in their steps, and how many of these are one step of its result."""
    tree = flatbuffer.read(path)
    graph = tree.subgraphs[0]
    (layer,) = (one for one in graph.operators if flatbuffer.operator_name(tree, one) == "CONV_2D")
    ends = [graph.tensors[i] for i in (*indices(layer.inputs), *indices(layer.outputs))]
    given, weights, _, made = (np.array(flatbuffer.tensor_spec(t, "").scales) for t in ends)
    return flatbuffer.constant(tree, ends[2]), made / (given * weights)


def wrong(path: Path, content: bytes, axis: int | None) -> float:
    """The share of pixels whose class differs from the float model's."""
    made, found = path.read_bytes(), []
    for sample in SAMPLES:
        ours, theirs = (run(item, sample[np.newaxis])[-1] for item in (content, made))
        chosen = [ours, theirs] if axis is None else [ours.argmax(axis), theirs.argmax(axis)]
        found.append(np.mean(chosen[0] != chosen[1]))
    return float(np.mean(found))


@pytest.mark.parametrize(
    ("end", "axis"),
    [("softmax", 3), ("numbers", None), ("flat", 2), ("channels first", 1), ("unflattened", 3)],
)
def test_classes_are_spread_over_one_step(tmp_path: Path, end: str, axis: int | None) -> None:
    content = segmenter(end)
    plain = convert(content, tmp_path, "plain", corrections="none")
    made = convert(content, tmp_path, "made", corrections="ties")
    files = tmp_path / "plain.tflite", tmp_path / "made.tflite"
    (before, steps), (after, _) = map(biases, files)
    wanted = (np.arange(CLASSES) / (CLASSES - 1) - 0.5) * steps
    np.testing.assert_allclose(after - before, wanted, atol=0.5001)
    assert list(spread_ties(files[0].read_bytes())[1].values()) == [axis]
    (note,) = (item.message for item in made.issues if item.code == "convert.ties")
    rates = [wrong(file, content, axis) for file in files]
    assert rates[1] < 0.85 * rates[0]
    assert not [item for item in plain.issues if item.code == "convert.ties"]
    assert note.startswith(f"the classes of output {made.certificate.outputs[0].name!r} are spread")
    assert made.certificate.problems == () and made.certificate.float_islands == 0


def test_the_axis_is_that_of_the_output_behind_a_squeeze(tmp_path: Path) -> None:
    net = Builder()
    scores = net.add("SOFTMAX", [logits(net, (1, 1, 1, 4))], [1, 1, 1, CLASSES])
    options = schema.SqueezeOptionsT()
    options.squeezeDims = [1, 2]
    content = net.content(net.add("SQUEEZE", [scores], [1, CLASSES], options=options))
    convert(content, tmp_path, "made", data=SAMPLES[:, :1, :1], corrections="none")
    assert list(spread_ties((tmp_path / "made.tflite").read_bytes())[1].values()) == [1]


def test_a_layer_that_something_else_reads_is_left_alone(tmp_path: Path) -> None:
    convert(segmenter("logits, too"), tmp_path, "made", corrections="none")
    made = (tmp_path / "made.tflite").read_bytes()
    assert spread_ties(made) == (made, {})


def test_wide_logits_are_left_alone(tmp_path: Path) -> None:
    convert(segmenter(), tmp_path, "made", scheme="int16x8", corrections="none")
    made = (tmp_path / "made.tflite").read_bytes()
    assert spread_ties(made) == (made, {})


def test_a_single_choice_in_each_sample_proves_nothing(tmp_path: Path) -> None:
    net = Builder()
    content = net.content(net.add("SOFTMAX", [logits(net, (1, 1, 1, 4))], [1, 1, 1, CLASSES]))
    data = SAMPLES[:, :1, :1]
    convert(content, tmp_path, "plain", data=data, corrections="none")
    made = convert(content, tmp_path, "made", data=data, corrections="ties")
    assert (
        biases(tmp_path / "made.tflite")[0].tolist()
        == biases(tmp_path / "plain.tflite")[0].tolist()
    )
    assert not [item for item in made.issues if item.code == "convert.ties"]
