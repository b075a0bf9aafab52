"""Preprocessing: text to value to text, and what it does to pixels."""

import re

import numpy as np
import pytest

from edgeq.converters.samples.preprocessing import apply, format_preprocessing, parse_preprocessing
from edgeq.converters.samples.presets import PRESETS
from edgeq.errors import DataError, UsageError
from edgeq.values import Preprocessing, TensorSpec

IMAGE = TensorSpec("image", (-1, 224, 224, 3), "float32")
GRAY = TensorSpec("image", (-1, 28, 28, 1), "float32")
VECTOR = TensorSpec("features", (1, 4), "float32")
TOKENS = TensorSpec("tokens", (1, 16), "int32")


def raises(error, message):
    return pytest.raises(error, match=f"^{re.escape(message)}$")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("scale=1/255", Preprocessing(scale=1 / 255)),
        ("scale=1/127.5,offset=-1", Preprocessing(scale=1 / 127.5, offset=-1.0)),
        (
            "mean=123.675:116.28:103.53,std=58.395:57.12:57.375",
            Preprocessing(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)),
        ),
        ("mean=127,std=128", Preprocessing(mean=(127.0,), std=(128.0,))),
        ("resize=224x224", Preprocessing(resize=(224, 224))),
        ("channels=bgr", Preprocessing(channels="bgr")),
        ("scale=1", Preprocessing()),
        ("mobilenet_v3", Preprocessing(preset="mobilenet_v3")),
        (
            "mobilenet_v2,resize=224x224",
            Preprocessing(preset="mobilenet_v2", resize=(224, 224), scale=1 / 127.5, offset=-1.0),
        ),
        (
            "resnet50",
            Preprocessing(preset="resnet50", channels="bgr", mean=(103.939, 116.779, 123.68)),
        ),
        ("image:scale=1/255", Preprocessing(input="image", scale=1 / 255)),
    ],
)
def test_text_is_read_and_written_back(text, expected):
    (parsed,) = parse_preprocessing([text], [IMAGE])
    assert parsed == expected
    assert format_preprocessing(parsed) == text


@pytest.mark.parametrize("value", [0.1, 1 / 3, 0.0078125, 1e-7, 123456.789, -2 / 255, 3.0000001])
def test_any_number_survives_the_text(value):
    declared = Preprocessing(scale=value, offset=value, mean=(value,), std=(abs(value),))
    assert parse_preprocessing([format_preprocessing(declared)], [IMAGE]) == (declared,)


def test_texts_for_one_input_are_taken_together():
    assert parse_preprocessing(["mobilenet_v2", "resize=224x224"], [IMAGE]) == parse_preprocessing(
        ["mobilenet_v2,resize=224x224"], [IMAGE]
    )


def test_entries_follow_the_order_of_the_inputs():
    texts = ["features:mean=1:2:3:4", "image:scale=1/255"]
    parsed = parse_preprocessing(texts, [IMAGE, VECTOR])
    assert [entry.input for entry in parsed] == ["image", "features"]


def test_input_names_may_hold_colons():
    spec = TensorSpec("serving_x:0", (1, 4), "float32")
    assert parse_preprocessing(["serving_x:0:scale=2"], [spec]) == (
        Preprocessing(input="serving_x:0", scale=2.0),
    )


# The modes of keras.applications' preprocess_input, on one pixel (R, G, B) = (10, 100, 200).
TF = (-0.92156863, -0.21568627, 0.56862745)
TORCH = (-1.9466565, -0.2850140, 1.6813946)
CAFFE = (96.061, -16.779, -113.68)
RAW = (10, 100, 200)


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("convnext", RAW),
        ("densenet", TORCH),
        ("efficientnet", RAW),
        ("efficientnet_lite", (-0.9140625, -0.2109375, 0.5703125)),
        ("efficientnet_v2", RAW),
        ("inception_resnet_v2", TF),
        ("inception_v3", TF),
        ("mobilenet", TF),
        ("mobilenet_v2", TF),
        ("mobilenet_v3", RAW),
        ("nasnet", TF),
        ("resnet", CAFFE),
        ("resnet50", CAFFE),
        ("resnet_v2", TF),
        ("vgg16", CAFFE),
        ("vgg19", CAFFE),
        ("xception", TF),
    ],
)
def test_presets_compute_what_the_family_was_trained_with(preset, expected):
    result = apply(PRESETS[preset], np.array([[RAW]], np.uint8))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result[0, 0], expected, rtol=1e-5)


KEYS = "resize, letterbox, pad, channels, exif, scale, offset, mean, std, sound"
ALL_PRESETS = ", ".join(PRESETS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "scael=2",
            "--preprocess scael=2 has the unknown key 'scael'. "
            f"Did you mean 'scale'? Known: {KEYS}.",
        ),
        (
            "ResNet50V2",
            "--preprocess ResNet50V2 has the unknown preset 'ResNet50V2'. Did you mean "
            f"'resnet_v2'? Known: {ALL_PRESETS}. Or KEY=VALUE with {KEYS}.",
        ),
        (
            "EfficientNetV2B0",
            "--preprocess EfficientNetV2B0 has the unknown preset 'EfficientNetV2B0'. Did you mean "
            f"'efficientnet_v2'? Known: {ALL_PRESETS}. Or KEY=VALUE with {KEYS}.",
        ),
        (
            "scale=2,",
            f"--preprocess scale=2, has an empty part. Known: {ALL_PRESETS}. "
            f"Or KEY=VALUE with {KEYS}.",
        ),
        (
            "scale=1/255,std=0.9,1.1,1.3",
            "--preprocess scale=1/255,std=0.9,1.1,1.3 has the unknown preset '1.1'. Several "
            "numbers are separated by colons: scale=1/255,std=0.9:1.1:1.3",
        ),
        ("1/255", "--preprocess 1/255 has the unknown preset '1/255'. Did you mean scale=1/255?"),
        (
            "resize=64x64 scale=1/127.5 ,offset=-1",
            "--preprocess resize=64x64 scale=1/127.5 ,offset=-1 has parts without a comma between "
            "them. Separate parts by commas: resize=64x64,scale=1/127.5 ,offset=-1",
        ),
        ("scale=2,scale=3", "--preprocess scale=2,scale=3 sets scale a second time."),
        (
            "scale=1/0",
            "--preprocess scale=1/0: '1/0' is not a number or fraction such as 1/255.",
        ),
        ("scale=0", "--preprocess scale=0: a scale of 0 makes all samples equal."),
        ("std=1:0:1", "--preprocess std=1:0:1: a standard deviation must be above 0, not '1:0:1'."),
        ("resize=224", "--preprocess resize=224: '224' is not HEIGHTxWIDTH such as 224x224."),
        (
            "resize=200x224",
            "resize=200x224 contradicts input 'image', which is 224x224x3. Type resize=224x224.",
        ),
        (
            "channels=grey",
            "--preprocess channels=grey: 'grey' is not an order of channels. "
            "Did you mean 'gray'? Known: rgb, bgr, gray.",
        ),
        ("channels=gray", "channels=gray contradicts input 'image', which is 224x224x3."),
        ("mean=1:2", "mean has 2 values, but input 'image' is 224x224x3. Give 1 value or 3."),
        (
            "resnet50,scale=1/255",
            "Preset 'resnet50' and scale= cannot be combined for input 'image'. "
            "A preset sets everything but resize=.",
        ),
        (
            "imgae:scale=2",
            "--preprocess imgae:scale=2 names input 'imgae', which the model does not have. "
            "Did you mean 'image'? Known: image.",
        ),
    ],
)
def test_mistakes_are_named(text, message):
    with raises(UsageError, message):
        parse_preprocessing([text], [IMAGE])


@pytest.mark.parametrize(
    ("text", "inputs", "message"),
    [
        (
            "scale=2",
            [IMAGE, VECTOR],
            "--preprocess scale=2 does not say for which input. "
            "Write INPUT:scale=2, with INPUT one of image, features.",
        ),
        (
            "scale=2",
            [TOKENS],
            "Input 'tokens' takes int32: scaling would not leave integers. "
            "Declare resize= and channels= only.",
        ),
        (
            "resize=2x2",
            [VECTOR],
            "resize= is for images with channels last, but input 'features' is 4.",
        ),
        ("resnet50", [GRAY], "channels=bgr contradicts input 'image', which is 28x28x1."),
    ],
)
def test_contradictions_to_the_model_are_named(text, inputs, message):
    with raises(UsageError, message):
        parse_preprocessing([text], inputs)


def test_the_formula_is_applied_in_order():
    declared = Preprocessing(scale=0.5, offset=1.0, mean=(1.0, 2.0), std=(2.0, 4.0))
    result = apply(declared, np.array([[4, 10], [8, 22]]))
    np.testing.assert_array_equal(result, np.array([[1.0, 1.0], [2.0, 2.5]], np.float32))


def test_the_input_array_is_left_alone():
    pixels = np.array([[[1, 2, 3]]], np.uint8)
    apply(Preprocessing(channels="bgr", scale=2.0), pixels)
    np.testing.assert_array_equal(pixels, [[[1, 2, 3]]])


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        (Preprocessing(channels="bgr"), [[[3, 2, 1], [30, 20, 10]]]),
        # (299 R + 587 G + 114 B) / 1000, rounded
        (Preprocessing(channels="gray"), [[[2], [18]]]),
        (Preprocessing(resize=(1, 1)), [[[6, 11, 17]]]),
    ],
)
def test_pixels_are_converted(declared, expected):
    pixels = np.array([[[1, 2, 3], [10, 20, 30]]], np.uint8)
    np.testing.assert_array_equal(apply(declared, pixels), expected)


def test_making_an_image_smaller_averages():
    pixels = np.zeros((8, 8), np.uint8)
    pixels[::2] = 200
    np.testing.assert_array_equal(apply(Preprocessing(resize=(1, 8)), pixels), np.full((1, 8), 100))


def test_the_width_is_resized_before_the_height():
    """Whatever Pillow does first: a sample must not depend on its version."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 13), np.uint8)
    narrow = apply(Preprocessing(resize=(20, 8)), pixels).astype(np.uint8)
    expected = apply(Preprocessing(resize=(8, 8)), narrow)
    np.testing.assert_array_equal(apply(Preprocessing(resize=(8, 8)), pixels), expected)


def triangles(size: int, output: int) -> np.ndarray:
    """The weights that docs/data.md describes: [output, size], a row for each output pixel."""
    ratio = size / output
    centre, reach = (np.arange(output)[:, np.newaxis] + 0.5) * ratio, max(1, ratio)
    weights = np.maximum(0, 1 - np.abs(np.arange(size) + 0.5 - centre) / reach)
    return weights / weights.sum(1, keepdims=True)


@pytest.mark.parametrize("size", [(9, 12), (31, 17), (64, 70), (11, 80)])
def test_pixels_are_those_of_the_documented_formula(size):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 53, 3), np.uint8)
    wide = np.floor(np.einsum("ow,hwc->hoc", triangles(53, size[1]), pixels) + 0.5)
    expected = np.einsum("oh,hwc->owc", triangles(40, size[0]), wide)
    # Rounded to whole levels; one of Pillow's fixed-point numbers may be rounded the other way.
    apart = np.abs(apply(Preprocessing(resize=size), pixels) - expected)
    assert apart.max() < 1.5 and apart.mean() < 0.3


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 1), (6, 4, 3)])
def test_resizing_keeps_the_dimensions(shape):
    resized = apply(Preprocessing(resize=(3, 2)), np.ones(shape, np.uint8))
    assert resized.shape == (3, 2, *shape[2:])


@pytest.mark.parametrize(
    ("declared", "array", "message"),
    [
        (
            Preprocessing(resize=(2, 2)),
            np.zeros((4, 4, 3), np.float32),
            "The array is 4x4x3 of float32: resize= needs uint8 pixels, height x width x 1 or 3 "
            "channels. Store raw pixels as uint8, or prepare the samples beforehand.",
        ),
        (
            Preprocessing(channels="bgr"),
            np.zeros((4, 4), np.uint8),
            "The array is 4x4: channels=bgr needs an image with 3 channels last.",
        ),
        (
            Preprocessing(mean=(1.0, 2.0)),
            np.zeros(3),
            "The array is 3, but mean has 2 values.",
        ),
        (Preprocessing(scale=2.0), np.array(["a"]), "The array holds <U1 values, not numbers."),
    ],
)
def test_arrays_that_cannot_be_prepared_are_named(declared, array, message):
    with raises(DataError, message):
        apply(declared, array)


@pytest.mark.parametrize(
    ("shape", "size", "place"),
    [
        ((20, 10, 3), (8, 8), (0, 2, 8, 4)),
        ((10, 20, 3), (8, 8), (2, 0, 4, 8)),
        ((8, 8, 1), (8, 8), (0, 0, 8, 8)),
        ((3, 8), (6, 9), (1, 0, 3, 9)),  # 3.375 rows
        ((1, 1000, 3), (8, 8), (3, 0, 1, 8)),  # a row stays
    ],
)
def test_a_letterboxed_image_keeps_its_proportions(shape, size, place):
    array = np.random.default_rng(0).integers(0, 100, shape, np.uint8)
    spec = TensorSpec("x", (1, *size, 3 if shape[2:] == (3,) else 1), "float32")
    text = f"letterbox={size[0]}x{size[1]}"
    (declared,) = parse_preprocessing([text], [spec])
    assert format_preprocessing(declared) == text
    made = apply(declared, array)
    top, left, height, width = place
    inside = made[top : top + height, left : left + width]
    stretched = apply(Preprocessing(resize=(height, width)), array)
    assert np.array_equal(inside, stretched)
    assert made.shape == (*size, *shape[2:])
    assert (made == 114).sum() == made.size - inside.size


def test_a_grey_of_your_own_around_a_letterboxed_image():
    spec = TensorSpec("x", (1, 4, 4, 3), "float32")
    (declared,) = parse_preprocessing(["letterbox=4x4,pad=0,scale=1/255"], [spec])
    assert format_preprocessing(declared) == "letterbox=4x4,pad=0,scale=1/255"
    made = apply(declared, np.full((4, 2, 3), 255, np.uint8))
    assert made[0, :, 0].tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("letterbox=4x4,resize=4x4", "cannot be combined"),
        ("pad=3", "the grey around a letterboxed image"),
        ("letterbox=4x4,pad=256", "pad must be a grey value from 0 to 255"),
        ("letterbox=4", "not HEIGHTxWIDTH"),
    ],
)
def test_what_is_wrong_about_a_letterbox(text, message):
    with pytest.raises(UsageError, match=message):
        parse_preprocessing([text], [TensorSpec("x", (1, 4, 4, 3), "float32")])
