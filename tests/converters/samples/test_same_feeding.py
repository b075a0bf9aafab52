"""Whether two declarations feed a model the same numbers, and what to type if they do not."""

import pytest

from edgeq.comparison.pairing import _fed_otherwise, _Ways
from edgeq.converters.samples.preprocessing import format_preprocessing, parse_preprocessing
from edgeq.converters.samples.same_feeding import are_same, with_sizes
from edgeq.values import TensorSpec

IMAGE = TensorSpec("image", (1, 640, 640, 3), "float32")
ANY_SIZE = TensorSpec("image [1]", (1, -1, -1, 3), "float32")


def read(text):
    return parse_preprocessing([text] if text else [], [IMAGE])


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("scale=1/127.5,offset=-1", "mean=127.5,std=127.5", True),
        ("scale=0.0039216", "scale=1/255", True),
        ("scale=1/255", "scale=1/127.5,offset=-1", False),
        ("channels=bgr", "", False),
        ("", "scale=1", True),
        ("resize=640x640", "", True),
        ("letterbox=640x640", "", True),
        ("letterbox=640x640", "letterbox=640x640,pad=114", True),
        ("letterbox=640x640", "resize=640x640", False),
        ("letterbox=640x640", "letterbox=640x640,pad=0", False),
        ("resize=640x640,exif=apply", "resize=640x640", True),
    ],
)
def test_declarations_feed_the_same_numbers_or_not(one, other, expected):
    assert are_same(read(one), read(other), [IMAGE]) is expected
    assert are_same(read(other), read(one), [IMAGE]) is expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("resize=224x224", "resize=256x256"),
        ("letterbox=224x224", "letterbox=224x256"),
    ],
)
def test_a_model_of_any_size_is_fed_otherwise_in_another_size(one, other):
    declared = [parse_preprocessing([text], [ANY_SIZE]) for text in (one, other)]
    assert not are_same(*declared, [ANY_SIZE])
    assert are_same(declared[0], (), [ANY_SIZE])


@pytest.mark.parametrize(
    ("carried", "fed", "expected"),
    [
        ("scale=1/255", "letterbox=640x640,exif=apply", "letterbox=640x640,exif=apply,scale=1/255"),
        ("letterbox=640x640,scale=1/255", "resize=640x640", "letterbox=640x640,scale=1/255"),
        ("resize=640x640", "letterbox=640x640,pad=0", "resize=640x640"),
        ("letterbox=640x640,pad=0", "scale=1/255", "letterbox=640x640,pad=0"),
        ("exif=apply", "", "exif=apply"),
    ],
)
def test_what_to_type_keeps_the_way_in_which_the_file_resizes(carried, fed, expected):
    wanted = with_sizes(read(carried), read(fed), [IMAGE])
    assert list(map(format_preprocessing, wanted)) == [expected]
    if "resize" in expected or "letterbox" in expected:
        assert are_same(wanted, read(carried), [IMAGE])


@pytest.mark.parametrize(
    ("carried", "fed", "ways", "said"),
    [
        ("letterbox=640x640", "resize=640x640", _Ways(True, True), "remove --preprocess"),
        ("scale=1/255", "scale=1/127.5", _Ways(False, True), "remove --preprocess"),
        ("scale=1", "scale=1/255", _Ways(True, True), "remove --preprocess, or, if the model "
         "learned from such values, convert again with --preprocess scale=1/255"),
        ("scale=1", "scale=1/255", _Ways(False, True), "convert again with --preprocess "
         "scale=1/255"),
        ("scale=1", "scale=1/255", _Ways(True, False), "remove --preprocess"),
    ],
)  # fmt: skip
def test_compare_says_what_to_type(carried, fed, ways, said):
    found = _fed_otherwise(read(fed), read(carried), [IMAGE], ways)
    assert found.message == f"The candidate declares '{carried}' and was fed '{fed}'; {said}."


def test_what_to_type_is_quoted_for_a_shell():
    fed, carried = (
        parse_preprocessing([f"image [1]:{text}"], [ANY_SIZE])
        for text in ("scale=1/255", "scale=1")
    )
    found = _fed_otherwise(fed, carried, [ANY_SIZE], _Ways(False, True))
    assert found.message.endswith("convert again with --preprocess 'image [1]:scale=1/255'.")
