"""Models in TensorFlow Lite for Microcontrollers, in a child process."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeq.children.other_python import OtherPython
from edgeq.errors import MissingExtraError, PackageError, RefusedModelError
from edgeq.fit import tflite_micro as micro
from edgeq.tflite import flatbuffer
from tests.fit.installations import install
from tests.tiny_models import (
    Operator,
    add_one,
    double_int8,
    graph,
    model,
    mystery,
    operator,
    subtract,
    tensor,
)

ONE = np.ones((1, 3), np.float32)


def test_outputs_of_each_sample_and_the_arena(tflite_micro: OtherPython) -> None:
    found = micro.run(add_one(), [[ONE], [5 * ONE]], 1, shown_as="add.tflite")
    assert [outputs[0].tolist() for outputs in found.outputs] == [[[2, 2, 2]], [[6, 6, 6]]]
    assert found.version == tflite_micro.version
    assert found.arena_bytes % 16 == 0
    assert 0 < found.recorded_bytes <= found.arena_bytes + 15 < 10_000


def test_int8(tflite_micro: OtherPython) -> None:
    values = np.array([[-128, -1, 0, 127]], np.int8)
    found = micro.run(double_int8(), [[values]], 1, shown_as="double.tflite")
    assert found.outputs[0][0].dtype == np.int8
    assert found.outputs[0][0].tolist() == values.tolist()


def test_inputs_are_in_the_order_of_the_interface(tflite_micro: OtherPython) -> None:
    inputs, _ = flatbuffer.interface(flatbuffer.parse(subtract(), "subtract.tflite"))
    given = {"minuend": [[7, 8]], "subtrahend": [[1, 5]]}
    sample = [np.array(given[spec.name], np.float32) for spec in inputs]
    found = micro.run(subtract(), [sample], 1, shown_as="subtract.tflite")
    assert found.outputs[0][0].tolist() == [[6, 3]]


def test_the_arena_is_the_least_that_works(tflite_micro: OtherPython, shared: Path) -> None:
    """For this model, what the interpreter records is too little: it would fail on a board."""
    path = shared / "mlperf_tiny" / "ad01_int8.tflite"
    sample = [np.zeros((1, 640), np.int8)]
    found = micro.run(path.read_bytes(), [sample], 1, shown_as=path.name)
    assert found.arena_bytes > found.recorded_bytes > 3000


def test_state_does_not_leak_into_the_next_sample(tflite_micro: OtherPython, shared: Path) -> None:
    path = shared / "mnist_lstm" / "trained_lstm_int8.tflite"
    drawn = np.random.default_rng(0).integers(-128, 128, (1, 28, 28)).astype(np.int8)
    found = micro.run(path.read_bytes(), [[drawn]] * 3, 1, shown_as=path.name)
    first, *others = [outputs[0].tolist() for outputs in found.outputs]
    assert others == [first, first]


# ---------------------------------------------------------------- what it refuses


def test_an_unknown_operator_in_its_own_words(tflite_micro: OtherPython) -> None:
    with pytest.raises(
        RefusedModelError, match=r"does not run odd\.tflite: Failed to get registration"
    ):
        micro.run(mystery(), [[np.ones(1, np.float32)]], 1, shown_as="odd.tflite")


def test_a_model_that_kills_the_process(tflite_micro: OtherPython) -> None:
    """MEAN without axes: the kernel reads a null pointer."""
    main = graph([tensor("x", [1, 2]), tensor("y", [1])], [0], [1], [operator(0, [0], [1])])
    content = model([main], [(Operator.MEAN, 1)])
    with pytest.raises(RefusedModelError, match=r"was killed by SIGSEGV on bad\.tflite\.$"):
        micro.run(content, [[np.ones((1, 2), np.float32)]], 1, shown_as="bad.tflite")


def test_a_uint8_model_is_told_the_remedy(tflite_micro: OtherPython, shared: Path) -> None:
    path = shared / "mobilenet_v1_025" / "mobilenet_v1_0.25_224_quant.tflite"
    sample = [np.zeros((1, 224, 224, 3), np.uint8)]
    with pytest.raises(RefusedModelError, match="Hybrid models are not supported") as caught:
        micro.run(path.read_bytes(), [sample], 1, shown_as=path.name)
    assert "--scheme int8" in str(caught.value.hint)


def test_half_floats_are_told_the_remedy(tflite_micro: OtherPython) -> None:
    tensors = [tensor("x", [1, 2], schema.TensorType.FLOAT16), tensor("y", [1, 2])]
    content = model([graph(tensors, [0], [1], [operator(0, [0], [1])])], [(Operator.DEQUANTIZE, 3)])
    with pytest.raises(RefusedModelError, match="input->type ==") as caught:
        micro.run(content, [[np.ones((1, 2), np.float16)]], 1, shown_as="half.tflite")
    assert "--scheme int8" in str(caught.value.hint)


def test_an_input_of_another_shape(tflite_micro: OtherPython) -> None:
    with pytest.raises(RefusedModelError, match="Dimension mismatch"):
        micro.run(add_one(), [[np.ones((2, 3), np.float32)]], 1, shown_as="add.tflite")


# ---------------------------------------------------------------- finding it


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No environment that has it is named."""
    if importlib.util.find_spec("tflite_micro") is not None:
        pytest.skip("this Python has tflite-micro itself")
    monkeypatch.delenv(micro.VARIABLE, raising=False)
    return monkeypatch


def test_without_it_the_hint_is_how_to_install_it(without: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingExtraError) as caught:
        micro.run(add_one(), [[ONE]], 1, shown_as="add.tflite")
    assert 'pip install "edgeq[micro]"' in str(caught.value)
    assert micro.VARIABLE in str(caught.value)


def test_the_variable_names_no_program(without: pytest.MonkeyPatch) -> None:
    without.setenv(micro.VARIABLE, "no-such-python")
    with pytest.raises(MissingExtraError, match="=no-such-python is not a program"):
        micro.find()


def test_the_variable_names_a_python_without_it(
    without: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    bare.chmod(0o755)
    without.setenv(micro.VARIABLE, str(bare))
    with pytest.raises(MissingExtraError, match="has no tflite-micro"):
        micro.find()


def test_an_installation_that_cannot_be_imported_refuses_no_model(
    without: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`fit` takes a refusal for the answer "no"."""
    without.setenv(micro.VARIABLE, str(install(tmp_path, "tflite-micro")))
    with pytest.raises(PackageError) as caught:
        micro.run(add_one(), [[ONE]], 1, shown_as="m.tflite")
    assert not isinstance(caught.value, RefusedModelError)
    assert caught.value.message == (
        "tflite-micro 99 ended with status 1 on m.tflite: "
        "ModuleNotFoundError: No module named 'tflite_micro'."
    )
