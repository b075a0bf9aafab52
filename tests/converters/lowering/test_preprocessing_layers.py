"""Layers that look texts and categories up are named, and cut off by the code of the hint."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import edgeq
from edgeq.converters.lowering.live import LiveReader
from edgeq.errors import LoweringError
from edgeq.values import ConvertOptions

# Keras writes its weights in the old way of NumPy.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def model() -> Any:
    """A word, a code and a number."""
    keras.utils.set_random_seed(0)
    word = keras.Input((1,), dtype="string", name="word")
    code = keras.Input((1,), dtype="int32", name="code")
    number = keras.Input((2,), name="number")
    looked_up = layers.StringLookup(vocabulary=["a", "b", "c"], name="lookup")(word)
    known = layers.Flatten()(layers.Embedding(5, 4)(looked_up))
    hashed = layers.Hashing(6, name="hashed")(code)
    bits = layers.CategoryEncoding(6, output_mode="multi_hot", name="bits")(hashed)
    joined = layers.Concatenate()([known, bits, layers.Dense(4, activation="relu")(number)])
    return keras.Model([word, code, number], layers.Dense(2)(joined))


def test_the_code_of_the_hint_cuts_them_off(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LoweringError) as caught:
        LiveReader(model).lower(ConvertOptions(), tmp_path)
    assert caught.value.message == (
        "Input 'word' is text, which TensorFlow Lite cannot process; it has the preprocessing "
        "layers 'lookup' (StringLookup), 'hashed' (Hashing), 'bits' (CategoryEncoding)."
    )
    code = re.search(r": (keras\.Model\(.*\)), where m is this model\.", caught.value.hint or "")
    assert code is not None
    monkeypatch.chdir(tmp_path)
    exec(code[1], {"keras": keras, "m": model})
    cut = keras.saving.load_model("cut.keras")
    words, codes = np.array([["a"], ["z"]]), np.array([[3], [70]], np.int32)
    numbers = np.array([[0.5, -1.0], [2.0, 0.25]], np.float32)
    before = [model.get_layer("lookup")(words), model.get_layer("bits")(
        model.get_layer("hashed")(codes)), keras.ops.convert_to_tensor(numbers)]  # fmt: skip
    assert np.asarray(cut(before)) == pytest.approx(np.asarray(model([words, codes, numbers])))
    random = np.random.default_rng(0)
    arrays = (random.integers(0, 5, (60, 1)), random.integers(0, 2, (60, 6)).astype(np.float32),
              random.normal(size=(60, 2)).astype(np.float32))  # fmt: skip
    data = {tensor.name: array for tensor, array in zip(cut.inputs, arrays, strict=True)}
    edgeq.convert(cut, "cut.tflite", data=data, effort="fast", min_sqnr_db=25)


def test_a_saved_model_is_told_by_its_operators(tmp_path: Path) -> None:
    code = keras.Input((1,), dtype="int64", name="code")
    known = layers.IntegerLookup(vocabulary=[12, 36])(code)
    keras.Model(code, layers.Embedding(4, 2)(known)).export(tmp_path / "saved", verbose=False)
    restored = tf.saved_model.load(str(tmp_path / "saved"))
    with pytest.raises(LoweringError) as caught:
        LiveReader(restored.signatures["serving_default"]).lower(ConvertOptions(), tmp_path)
    assert "no operator for: LookupTableFindV2" in caught.value.message
    assert "run the lookup before the model" in (caught.value.hint or "")


def test_augmentation_leaves_nothing(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 3), name="image")
    changed = layers.RandomZoom(0.2)(layers.RandomRotation(0.1)(layers.RandomFlip()(image)))
    made = LiveReader(keras.Model(image, layers.Conv2D(2, 3)(changed))).lower(
        ConvertOptions(), tmp_path
    )
    operators = edgeq.inspect_model(Path(made.file.path)).certificate.operators
    assert [operator.name for operator in operators] == ["CONV_2D"]
