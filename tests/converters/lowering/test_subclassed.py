"""Subclassed Keras models declare no inputs: data, the file or an option gives the shapes."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import edgeq
from edgeq.converters.lowering import live, lower
from edgeq.converters.samples.open_samples import find_inputs
from edgeq.converters.tracing import wrapping
from edgeq.errors import LoweringError
from edgeq.values import ConvertOptions, TensorSpec
from tests.commands import run_edgeq

# Untyped, as users' modules are.
subclassed_models: Any = importlib.import_module("tests.converters.lowering.subclassed_models")
OBJECTS = "tests.converters.lowering.subclassed_models"


# Keras writes its weights in the old way of NumPy.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def pair() -> tuple[Any, dict[str, Any]]:
    """A model that was called, and data with its own number of steps."""
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    model = subclassed_models.Pair()
    model({"ids": np.zeros((2, 5), np.int32), "values": np.zeros((2, 4), np.float32)})
    ids = random.integers(0, 10, (60, 7))
    return model, {"ids": ids, "values": random.normal(size=(60, 4)).astype(np.float32)}


def test_shapes_and_dtypes_come_from_the_data(
    pair: tuple[Any, dict[str, Any]], tmp_path: Path
) -> None:
    model, data = pair
    model.save(tmp_path / "pair.keras")
    np.savez(tmp_path / "data.npz", **data)
    shutil.copy(subclassed_models.__file__, tmp_path / "my_models.py")
    done = run_edgeq(
        "convert", "pair.keras", "--data", "data.npz", "-o", "pair.tflite",
        "--custom-objects", "my_models:Pair", "--min-sqnr", 25, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "int32 1x7" in done.stdout
    file = edgeq.inspect_model(tmp_path / "pair.tflite").certificate
    assert {spec.name: (spec.dtype, spec.shape) for spec in file.inputs} == {
        "ids": ("int32", (1, 7)), "values": ("int8", (1, 4)),
    }  # fmt: skip
    assert {spec.name for spec in file.outputs} == {"scores", "side"}


def test_without_data_the_shapes_of_the_first_call_or_the_options_hold(
    pair: tuple[Any, dict[str, Any]], tmp_path: Path
) -> None:
    model, data = pair
    reader = live.LiveReader(model)
    made = reader.lower(ConvertOptions(), tmp_path)
    assert {spec.name: spec.shape for spec in made.inputs} == {"ids": (1, 5), "values": (1, 4)}
    expected = np.asarray(model({"ids": data["ids"][:3, :5], "values": data["values"][:3]})["side"])
    found = reader.predict({"ids": data["ids"][:3, :5], "values": data["values"][:3]})
    assert found["side"] == pytest.approx(expected, abs=1e-6)
    longer = ConvertOptions(input_shapes=(("ids", (1, 9)),))
    made = live.LiveReader(model).lower(longer, tmp_path)
    assert {spec.name: spec.shape for spec in made.inputs} == {"ids": (1, 9), "values": (1, 4)}


def test_dicts_in_dicts_give_names(tmp_path: Path) -> None:
    left, right = keras.Input((2,), name="l"), keras.Input((3,), name="r")
    inputs = {"b": {"left": left}, "a": [right]}
    outputs = {"sums": {"two": keras.ops.sum(left, -1), "three": keras.ops.sum(right, -1)}}
    made = live.LiveReader(keras.Model(inputs, outputs)).lower(ConvertOptions(), tmp_path)
    assert {spec.name: spec.shape[-1] for spec in made.inputs} == {"a_0": 3, "b_left": 2}
    assert [spec.name for spec in made.outputs] == ["sums_three", "sums_two"]


def test_a_model_that_was_never_called_names_both_ways() -> None:
    loaded = wrapping.wrap_keras(subclassed_models.Picture(), "keras")
    assert loaded.inputs == (TensorSpec("pixels", (), "float32"),)
    with pytest.raises(LoweringError) as caught:
        lower.declare(loaded.inputs, ConvertOptions(), None)
    assert str(caught.value) == (
        "The model declares no inputs, so the shape of 'pixels' is unknown. Pass samples with "
        "--data, or the shape with --input-shape pixels=1,..."
    )


def test_separate_tensors_are_refused_by_name() -> None:
    with pytest.raises(LoweringError, match="its call takes left, right; Keras stores"):
        wrapping.wrap_keras(subclassed_models.Siblings(), "keras")


def test_pixels_are_floats_and_preprocessing_gives_the_size() -> None:
    (unknown,) = wrapping.wrap_keras(subclassed_models.Picture(), "keras").inputs
    images = {"x": np.zeros((3, 8, 6, 3), np.uint8)}
    known = TensorSpec("pixels", (-1, 8, 6, 3), "float32")
    assert find_inputs(images, [], [unknown]) == (known,)
    resized = TensorSpec("pixels", (-1, 4, 5, 3), "float32")
    assert find_inputs(images, ["resize=4x5"], [unknown]) == (resized,)
    grey = TensorSpec("pixels", (-1, 28, 28, 1), "float32")  # a channel is added later
    assert find_inputs({"x": np.zeros((3, 28, 28))}, [], [grey]) == (grey,)
