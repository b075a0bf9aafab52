"""A recurrent layer with any number of steps: the error has the option that helps."""

from __future__ import annotations

import re
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

import edgeq
from edgeq.cli.options import parse_shape
from edgeq.errors import QuantizationError


def test_the_shape_of_the_samples_is_the_way_out(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    steps = keras.Input((None, 4), name="steps")
    model = keras.Model(steps, layers.Dense(2)(layers.GRU(4)(steps)))
    data = {"steps": np.random.default_rng(0).normal(size=(60, 3, 4)).astype(np.float32)}
    out = tmp_path / "gru.tflite"
    with pytest.raises(QuantizationError, match="control flow") as caught:
        edgeq.convert(model, out, data=data, effort="fast")
    typed = re.search(r"--input-shape (\S+)$", caught.value.hint or "")
    assert typed is not None
    shape = parse_shape(typed[1])
    assert shape == ("steps", (1, 3, 4))
    edgeq.convert(model, out, data=data, effort="fast", input_shapes=(shape,), min_sqnr_db=20)
