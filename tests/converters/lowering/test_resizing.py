"""A float `.tflite` with dynamic sizes: requested in one sentence, and set by --input-shape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeq.tflite import flatbuffer
from tests.commands import run_edgeq
from tests.converters.rewrites.tiny_graphs import Builder, run
from tests.converters.writer.bad_models import conv_options, dense, weights

SIZES = 8


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A dense layer behind a flattening that fits images of 8x8 alone."""
    made = Builder()
    x = made.input([-1, -1, -1, 3], name="image")
    filter_, bias = made.constant(weights(2, 3, 3, 3)), made.constant([1, 2])
    y = made.add("CONV_2D", [x, filter_, bias], [-1, -1, -1, 2], options=conv_options())
    flat = made.add("RESHAPE", [y, made.constant([-1, 2 * SIZES**2], "int32")], [-1, 2 * SIZES**2])
    path = tmp_path / "model.tflite"
    path.write_bytes(made.content(dense(made, flat, 4, 2 * SIZES**2, bias=np.zeros(4))))
    images = np.random.default_rng(1).uniform(-1, 1, (30, SIZES, SIZES, 3)).astype(np.float32)
    np.savez(tmp_path / "data.npz", image=images)
    return path


def convert(model: Path, *arguments: str) -> tuple[int, str]:
    out = model.with_name("out.tflite")
    ended = run_edgeq("convert", model, "-o", out, "--effort", "fast", *arguments)
    assert (ended.returncode == 0) == out.exists()
    return ended.returncode, " ".join(ended.stderr.split())


def test_sizes_that_do_not_run_are_asked_for(model: Path) -> None:
    status, told = convert(model, "--scheme", "fp16")
    assert status == 1
    assert "The input 'image' has dynamic sizes, [-1, -1, -1, 3], and the model cannot" in told
    assert "Set the sizes, e.g. --input-shape image=1,224,224,3" in told


def test_an_input_shape_is_written_into_the_model(model: Path) -> None:
    shape = ("--input-shape", f"image=1,{SIZES},{SIZES},3")
    assert convert(model, "--data", str(model.with_name("data.npz")), *shape)[0] == 0
    made = model.with_name("out.tflite").read_bytes()
    graph = flatbuffer.parse(made, "made").subgraphs[0]
    assert not any(flatbuffer.indices(item.shapeSignature) for item in graph.tensors)
    assert (1, SIZES, SIZES, 2) in {flatbuffer.indices(item.shape) for item in graph.tensors}
    (result,) = run(made, np.zeros((1, SIZES, SIZES, 3)))  # without a resize
    assert result.shape == (1, 4)


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["--input-shape", "image=1,9,9,3"], "cannot be run with inputs of the shapes [1, 9, 9, 3]: "),
    (["--input-shape", "imag=1,8,8,3"], "--input-shape names 'imag'; the model's inputs are image"),
    (["--input-shape", "image=1,8,8,4"], "--input-shape image=(1, 8, 8, 4) does not fit"),
    (["--batch", "2"], "The input 'image' has dynamic sizes: [-1, -1, -1, 3]."),
])  # fmt: skip
def test_wrong_sizes_are_refused(model: Path, arguments: list[str], sentence: str) -> None:
    status, told = convert(model, "--scheme", "fp16", *arguments)
    assert status != 0
    assert sentence in told
