"""Elements of Python data sets: labels, names, and batches by the model's input shape."""

import re
from collections import namedtuple

import numpy as np
import pytest
from PIL import Image

from edgeq.converters.samples.elements import Reader
from edgeq.converters.samples.open_samples import open_samples
from edgeq.converters.samples.preprocessing import parse_preprocessing
from edgeq.errors import DataError
from edgeq.values import TensorSpec

IMAGE = TensorSpec("image", (1, 4, 5, 3), "float32")
GRAY = TensorSpec("image", (-1, 4, 5, 1), "float32")
EIGHT = TensorSpec("image", (8, 4, 5, 3), "float32")
MASK = TensorSpec("mask", (1, 6), "float32")
NUMBER = TensorSpec("number", (1,), "float32")
SERIES = TensorSpec("series", (1, -1, 2), "float32")
ONE = np.arange(60.0).reshape(4, 5, 3)
MANY = np.arange(180.0).reshape(3, 4, 5, 3)
Pair = namedtuple("Pair", "image y")


def read(element, *inputs, preprocess=()):
    """Shapes of the samples and their labels."""
    inputs = inputs or (IMAGE,)
    found = Reader(inputs, parse_preprocessing(preprocess, inputs)).read(element, "sample 0 of f")
    return [({name: x.shape for name, x in row.items()}, label) for row, label in found]


def raises(message):
    return pytest.raises(DataError, match=f"^{re.escape(message)}$")


# ---------------------------------------------------------------- parts


@pytest.mark.parametrize("element", [ONE, [ONE], (ONE,), {"image": ONE}, {"x": ONE}, [ONE[None]]])
def test_one_sample_in_every_form(element):
    assert read(element) == [({"image": (4, 5, 3)}, None)]


@pytest.mark.parametrize(
    "element",
    [(ONE, 7), [ONE, np.array(7)], [ONE[None], np.array([7])], ({"image": ONE}, 7), ([ONE], [7]),
     {"image": ONE, "y": 7}, {"x": ONE, "label": 7}, {"x": ONE[None], "labels": [7]}, Pair(ONE, 7),
     ("serving_default", {"image": ONE, "y": 7})],
)  # fmt: skip
def test_labels_are_never_inputs(element):
    assert read(element) == [({"image": (4, 5, 3)}, 7)]


def test_a_label_key_that_is_an_input_is_an_input():
    spec = TensorSpec("label", (1, 2), "float32")
    assert read({"label": np.zeros(2)}, spec) == [({"label": (2,)}, None)]


@pytest.mark.parametrize("element", [[ONE, np.zeros(6)], (ONE, np.zeros(6))])
def test_the_order_of_several_inputs_is_never_guessed(element):
    kind = type(element).__name__
    with raises(
        f"Sample 0 of f is a {kind} of 2, but the model's inputs are 'image', 'mask'. "
        "Yield a dict with one array per input, by name."
    ):
        read(element, IMAGE, MASK)


def test_several_inputs_go_by_name_with_a_label_in_the_pair():
    found = read(({"mask": np.zeros((3, 6)), "image": MANY}, [1, 2, 3]), IMAGE, MASK)
    assert [label for _, label in found] == [1, 2, 3]
    assert found[0][0] == {"image": (4, 5, 3), "mask": (6,)}


def test_a_key_that_is_no_input_is_named():
    with raises(
        "Sample 0 of f holds 'pixel_values', 'label', but the model's input is 'image'. Name the "
        "array of samples 'x' or 'image', labels 'y', and leave out others."
    ):
        read({"pixel_values": ONE, "label": 1})


def test_two_labels_are_refused():
    with raises("Sample 0 of f has two labels: one by name, one in the pair."):
        read(({"x": ONE, "y": 1}, 2))
    with raises("Sample 0 of f has several labels, 'y' and 'label'. Keep one."):
        read({"x": ONE, "y": 1, "label": 2})


# ---------------------------------------------------------------- batches


def test_batches_are_told_by_the_shape_of_the_input():
    assert read(MANY) == [({"image": (4, 5, 3)}, None)] * 3
    assert [label for _, label in read((MANY, np.array([4, 5, 6])))] == [4, 5, 6]


def test_values_and_labels_of_a_batch_stay_together():
    labels = [[0, 1], [1, 0], [1, 1]]
    ((first, _), (second, label), _) = Reader([IMAGE], []).read((MANY, labels), "x")
    np.testing.assert_array_equal(second["image"], MANY[1])
    np.testing.assert_array_equal(first["image"], MANY[0])
    np.testing.assert_array_equal(label, [1, 0])


@pytest.mark.parametrize("count", [1, 8, 20])
def test_a_fixed_batch_of_the_model_takes_batches_of_any_size(count):
    assert read(np.zeros((count, 4, 5, 3)), EIGHT) == [({"image": (4, 5, 3)}, None)] * count


@pytest.mark.parametrize(
    ("shape", "spec", "count"),
    [
        ((), NUMBER, 1),
        ((7,), NUMBER, 7),
        ((9, 2), SERIES, 1),
        ((3, 9, 2), SERIES, 3),
        ((4, 5), GRAY, 1),  # without the channel
        ((2, 4, 5), GRAY, 2),
        ((1, 4, 5), GRAY, 1),
        ((5, 3), TensorSpec("x", (), "float32"), 1),  # a model that states no shape
    ],
)
def test_samples_and_batches_of_unusual_shapes(shape, spec, count):
    assert len(read(np.zeros(shape), spec)) == count


def test_raw_images_of_any_size_are_told_from_batches():
    declared = ["resize=4x5"]
    assert len(read(np.zeros((40, 50, 3), np.uint8), preprocess=declared)) == 1
    assert len(read(np.zeros((6, 40, 50, 3), np.uint8), preprocess=declared)) == 6
    gray = ["resize=4x5,channels=gray"]
    assert len(read(np.zeros((40, 50, 3), np.uint8), GRAY, preprocess=gray)) == 1
    assert len(read(np.zeros((40, 50), np.uint8), GRAY, preprocess=gray)) == 1


def test_images_of_different_sizes_are_a_batch():
    images = [np.zeros((40, 50, 3), np.uint8), np.zeros((7, 8, 3), np.uint8)]
    found = read({"image": images, "y": [0, 1]}, preprocess=["resize=4x5"])
    assert found == [({"image": (40, 50, 3)}, 0), ({"image": (7, 8, 3)}, 1)]


def test_channels_first_are_named_with_the_way():
    with raises(
        "Input 'image' takes 4x5x3 (channels last), but sample 0 of <list> is 3x4x5 (channels "
        "first). Store the samples as x.transpose(0, 2, 3, 1), or one PyTorch sample as "
        "x.permute(1, 2, 0)."
    ):
        open_samples([np.zeros((8, 3, 4, 5))], [IMAGE])


def test_labels_that_do_not_fit_a_batch_are_named():
    with raises("Sample 0 of f has 3 samples, but its labels are 2. Yield one label per sample."):
        read((MANY, [1, 2]))


def test_inputs_of_different_lengths_are_named():
    with raises(
        "The inputs of sample 0 of f differ in number of samples: 'image' has 3, 'mask' has 2."
    ):
        read({"image": MANY, "mask": np.zeros((2, 6))}, IMAGE, MASK)
    with raises("The inputs of sample 0 of f disagree: 'image' is a batch, 'mask' is one sample."):
        read({"image": MANY, "mask": np.zeros(6)}, IMAGE, MASK)


# ---------------------------------------------------------------- images of Pillow


def test_pillow_images_become_pixels():
    palette = Image.new("P", (5, 4), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    reader = Reader([IMAGE], [])
    ((row, _),) = reader.read(palette, "sample 0 of f")
    np.testing.assert_array_equal(row["image"][0, 0], (10, 20, 30))
    assert len(read({"image": [palette] * 3, "y": [1, 2, 3]})) == 3
