"""The linter: every doubt with its numbers, and silence on good data."""

import numpy as np
import pytest

from edgeq.converters.samples.lint import InputHints, Linter, lint_half_ranges
from edgeq.converters.samples.open_samples import Sample
from edgeq.issues import make_issue
from edgeq.values import TensorSpec

X = TensorSpec("x", (-1, 16, 8), "float32")
NORMAL = np.random.default_rng(0).normal(size=(64, 128)).astype(np.float32)
PIXELS = np.random.default_rng(1).integers(0, 256, (64, 128)).astype(np.float32)


def lint(array, *hints, spec=X):
    linter = Linter([spec])
    for index, row in enumerate(array.reshape(-1, *spec.shape[1:])):
        assert linter.look(Sample(index, {spec.name: row}, None)) == bool(np.isfinite(row).all())
    return linter.issues(hints)


def changed(**rows):
    array = NORMAL.copy()
    for key, value in rows.items():
        array[int(key[1:])] = value
    return array


def test_good_samples_raise_no_doubt():
    assert lint(NORMAL, InputHints("x")) == ()


@pytest.mark.parametrize(
    ("array", "code", "message"),
    [
        (NORMAL[:0], "data.empty", "There are no calibration samples."),
        (
            NORMAL[:1],
            "data.one_sample",
            "Calibration rests on a single sample: every range is that sample's, and anything "
            "beyond it will be cut off.",
        ),
        (
            NORMAL[:31],
            "data.too_few",
            "Calibration rests on 31 samples; 32 or more are advised.",
        ),
        (
            changed(_5=np.nan, _9=[np.inf] + [0] * 127),
            "data.not_finite",
            "Input 'x' holds NaN or infinity in 2 of 64 samples, first in sample 5.",
        ),
        (
            changed(_7=0.5, _8=0.25),
            "data.constant_samples",
            "Input 'x' holds one repeated value in 2 of 64 samples, first in sample 7.",
        ),
        (
            changed(_7=NORMAL[2]),
            "data.few_duplicates",
            "1 of 64 samples repeat an earlier one exactly, e.g. sample 7 is sample 2.",
        ),
        (
            np.repeat(NORMAL[:32], 2, axis=0),
            "data.duplicates",
            "32 of 64 samples repeat an earlier one exactly, e.g. sample 1 is sample 0.",
        ),
        (
            changed(_7=NORMAL[2] * 1.01, _63=NORMAL[40] + 0.001),
            "data.near_duplicates",
            "2 of 64 samples nearly repeat an earlier one, e.g. sample 7 is close to sample 2.",
        ),
    ],
)
def test_broken_and_repeated_samples_are_counted(array, code, message):
    assert make_issue(code, message) in lint(array)


def test_near_duplicates_are_found_across_blocks():
    array = np.random.default_rng(2).normal(size=(600, 128)).astype(np.float32)
    array[599] = array[3] * 1.001
    assert [issue.message for issue in lint(array)] == [
        "1 of 600 samples nearly repeat an earlier one, e.g. sample 599 is close to sample 3."
    ]


def test_tokens_are_not_compared_for_closeness():
    tokens = np.tile(np.arange(128, dtype=np.int32), (40, 1))
    tokens[:, 0] = np.arange(40)
    assert lint(tokens, InputHints("x"), spec=TensorSpec("x", (1, 128), "int32")) == ()


def test_integers_that_are_no_pixels_need_no_rescaling():
    assert lint(PIXELS, InputHints("x"), spec=TensorSpec("x", (1, 128), "float32")) == ()


RESCALING = InputHints("x", rescaling=(1 / 255, 0.0), why="the model begins with Rescaling(1/255)")
SYMMETRIC = InputHints("x", rescaling=(1 / 127.5, -1.0))
IMAGENET = InputHints("x", rescaling=(0.0168, -2.022))  # of 0 to 255, a mean over the colours
CAFFE = InputHints("x", rescaling=(1.0, -114.8))
MNIST = InputHints("x", rescaling=(1 / 0.3081, -0.1307 / 0.3081))  # of 0 to 1
DECIBELS = InputHints("x", rescaling=(1 / 15, 40 / 15))


OUT = "; leave scale, offset, mean and std of --preprocess out, or give raw samples."


@pytest.mark.parametrize(
    ("array", "hint", "code", "message"),
    [
        (
            PIXELS / 255,
            RESCALING,
            "data.normalized_twice",
            "Input 'x' is fed 0 to 1, but the model expects 0 to 255 (the model begins with "
            "Rescaling(1/255)): it looks normalized before the model does it" + OUT,
        ),
        (
            PIXELS / 127.5 - 1,
            SYMMETRIC,
            "data.normalized_twice",
            "Input 'x' is fed -1 to 1, but the model expects 0 to 255: "
            "it looks normalized before the model does it" + OUT,
        ),
        (
            PIXELS - 128,
            RESCALING,
            "data.range_mismatch",
            "Input 'x' is fed -128 to 127, but the model expects 0 to 255 (the model begins with "
            "Rescaling(1/255)): check the preprocessing.",
        ),
        (
            PIXELS / 255,
            IMAGENET,
            "data.normalized_twice",
            "Input 'x' is fed 0 to 1, but the model expects -58.2143 to 298.929: "
            "it looks normalized before the model does it" + OUT,
        ),
        (
            PIXELS / 127.5 - 1,
            CAFFE,
            "data.normalized_twice",
            "Input 'x' is fed -1 to 1, but the model expects 0 to 229.6: "
            "it looks normalized before the model does it" + OUT,
        ),
        (
            PIXELS,
            MNIST,
            "data.not_normalized",
            "Input 'x' is fed 0 to 255, but the model expects -0.7936 to 1.055: "
            "it looks not normalized; declare its preprocessing, such as --preprocess scale=1/255.",
        ),
        (
            PIXELS * 1.4,
            InputHints("x", rescaling=(1 / 255, -0.5)),
            "data.range_mismatch",
            "Input 'x' is fed 0 to 357, but the model expects 0 to 255: check the preprocessing.",
        ),
        (
            PIXELS,
            InputHints("x", expects=(-1.0, 1.0)),
            "data.not_normalized",
            "Input 'x' is fed 0 to 255, but the model expects -1 to 1: it looks not normalized; "
            "declare its preprocessing, such as --preprocess scale=1/127.5,offset=-1.",
        ),
        (
            PIXELS,
            InputHints("x"),
            "data.not_normalized",
            "Input 'x' is fed raw integers from 0 to 255, and the model does not begin by "
            "rescaling them. If it was trained with others, declare its preprocessing, such as "
            "--preprocess scale=1/255.",
        ),
        (
            PIXELS + 0.5,
            InputHints("x", observed_over_expected_std=127.5, mean_shift_in_std=230.25),
            "data.statistics_shifted",
            "At the model's first batch normalization, the samples of input 'x' have 128 times the "
            "standard deviation and are shifted by 230 standard deviations, compared with the "
            "training data; check the preprocessing.",
        ),
        (
            PIXELS / 255,
            InputHints("x", observed_over_expected_std=0.5, mean_shift_in_std=0.9),
            "data.statistics_shifted",
            "At the model's first batch normalization, the samples of input 'x' have 0.5 times the "
            "standard deviation, compared with the training data; check the preprocessing.",
        ),
    ],
)
def test_wrong_scale_is_told_with_the_numbers(array, hint, code, message):
    assert lint(array.astype(np.float32), hint) == (make_issue(code, message),)


@pytest.mark.parametrize(
    ("array", "hints"),
    [
        (PIXELS, [RESCALING]),
        (PIXELS, [SYMMETRIC]),
        (PIXELS * 0.2, [RESCALING]),
        (PIXELS, [InputHints("x", rescaling=(1 / 255, -0.5))]),
        (PIXELS, [IMAGENET]),
        (PIXELS, [CAFFE]),
        (PIXELS / 255, [MNIST]),
        (NORMAL * 15 - 40, [DECIBELS]),
        (PIXELS / 127.5 - 1, [InputHints("x", expects=(-1.0, 1.0))]),
        (PIXELS / 255, [InputHints("x")]),
        (PIXELS, []),
        (PIXELS, [InputHints("x", observed_over_expected_std=1.1, mean_shift_in_std=-0.2)]),
    ],
)
def test_plausible_scale_raises_no_doubt(array, hints):
    assert lint(array.astype(np.float32), *hints) == ()


SOUND = NORMAL * 6_000


@pytest.mark.parametrize("shape", [(1, 128), (1, 128, 1), (-1, 1, 128)])
def test_the_range_of_other_inputs_than_images_is_on_both_sides_of_zero(shape):
    spec, sound = TensorSpec("x", shape, "float32"), InputHints("x", rescaling=(1 / 32768, 0.0))
    assert lint(SOUND, sound, spec=spec) == ()
    message = (
        f"Input 'x' is fed {NORMAL.min():g} to {NORMAL.max():g}, but the model expects -32768 to "
        "32768: it looks normalized before the model does it" + OUT
    )
    assert lint(NORMAL, sound, spec=spec) == (make_issue("data.normalized_twice", message),)
    assert lint(NORMAL, InputHints("x", rescaling=(16.0, 0.0)), spec=spec) == ()  # by sqrt(256)


def test_wrong_statistics_come_with_what_the_range_tells():
    hint = InputHints("x", (1 / 255, 0.0), observed_over_expected_std=0.004)
    codes = [issue.code for issue in lint((PIXELS / 255).astype(np.float32), hint)]
    assert codes == ["data.statistics_shifted", "data.normalized_twice"]


def ranges(*ends):
    return np.array(ends, np.float32).reshape(-1, 2).T


def test_halves_that_disagree_name_the_worst_tensor():
    issue = lint_half_ranges(
        ranges((0.0, 6.0), (0.0, 1.0), (-1.0, 1.0), (0.0, 0.0)),
        ranges((0.0, 5.5), (0.0, 2.5), (-1.0, 0.3), (0.0, 0.0)),
        ["conv", "relu", "add", "dead"],
    )
    assert issue == make_issue(
        "data.halves_disagree",
        "Two halves of the calibration samples disagree on the ranges of 2 of 4 tensors (50 %), "
        "most on 'relu': 0 to 1 against 0 to 2.5; take more samples.",
    )


def test_halves_that_agree_raise_no_doubt():
    few, names = [(0.0, 1.0)] * 19, [str(number) for number in range(20)]
    assert lint_half_ranges(ranges(*few, (0.0, 9.0)), ranges(*few, (0.0, 1.0)), names) is None
    assert lint_half_ranges(ranges(), ranges(), []) is None


def halves(total, disagreeing):
    """Ranges of all tensors; the two ranges of some share only half of their union."""
    names = [str(number) for number in range(total)]
    one = [(0.0, 1.0)] * total
    other = [(0.0, 0.5)] * disagreeing + one[disagreeing:]
    return lint_half_ranges(ranges(*one), ranges(*other), names)


@pytest.mark.parametrize(
    ("total", "disagreeing", "is_doubted"),
    [
        (10, 0, False), (10, 1, True), (11, 1, False), (9, 1, True), (1, 1, True), (20, 1, False),
        (20, 2, True), (21, 2, False), (30, 2, False), (30, 3, True), (1, 0, False),
    ],
)  # fmt: skip
def test_one_tensor_in_ten_raises_the_doubt(total, disagreeing, is_doubted):
    issue = halves(total, disagreeing)
    assert (issue is not None) == is_doubted
    if issue is not None:
        assert f"the ranges of {disagreeing} of {total} tensors " in issue.message


@pytest.mark.parametrize(
    ("one", "other", "is_doubted"),
    [
        ((0.0, 3.0), (0.0, 2.0), False),  # two thirds of the union are shared, exactly
        ((0.0, 3.0), (0.0, 1.99), True),
        ((0.0, 3.0), (0.0, 2.01), False),
        ((0.0, 2.0), (0.0, 3.0), False),
        ((-3.0, 0.0), (-2.0, 0.0), False),
        ((-3.0, 0.0), (-1.99, 0.0), True),
        ((0.0, 1.0), (2.0, 3.0), True),  # nothing is shared
        ((-1.0, 1.0), (-1.0, 1.0), False),
        ((0.0, 0.0), (0.0, 0.0), False),
        ((0.0, 0.0), (0.0, 1.0), True),
    ],
)
def test_two_ranges_disagree_below_two_thirds_of_their_union(one, other, is_doubted):
    assert (lint_half_ranges(ranges(one), ranges(other), ["t"]) is not None) == is_doubted


@pytest.mark.parametrize(
    ("count", "codes"),
    [(1, ["data.one_sample"]), (2, ["data.too_few"]), (31, ["data.too_few"]), (32, [])],
)
def test_32_samples_are_enough(count, codes):
    assert [issue.code for issue in lint(NORMAL[:count])] == codes


@pytest.mark.parametrize(("repeats", "code"), [(1, "data.few_duplicates"),
    (2, "data.few_duplicates"), (3, "data.duplicates")])  # fmt: skip
def test_one_repeat_in_twenty_is_many(repeats, code):
    """3 of 60 are 5 %, exactly."""
    array = NORMAL[:60].copy()
    array[60 - repeats :] = array[0]
    (issue,) = lint(array)
    assert issue.code == code
    assert issue.message.startswith(f"{repeats} of 60 samples repeat")


@pytest.mark.parametrize(
    ("low", "high", "code"),
    [
        (0, 255, None),
        (0, 16, None),  # 255 / 16 < 16
        (0, 15.9, "data.normalized_twice"),  # more than 16 times narrower
        (-63, 255, None),
        (-64, 255, "data.range_mismatch"),  # a quarter of 255 is 63.75
        (0, 318, None),
        (0, 319, "data.range_mismatch"),
        (0, 4080, "data.range_mismatch"),
        (0, 4081, "data.not_normalized"),  # 16 times wider is 4080
        (-4081, 0, "data.not_normalized"),
    ],
)
def test_a_range_is_wrong_beyond_a_quarter_of_what_is_expected(low, high, code):
    array = np.random.default_rng(4).uniform(low, high, (64, 128)).astype(np.float32)
    array[:, 0], array[:, 1] = low, high
    issues = lint(array, InputHints("x", expects=(0.0, 255.0)))
    assert [issue.code for issue in issues] == ([] if code is None else [code])


@pytest.mark.parametrize(
    ("ratio", "shift", "is_doubted"),
    [
        (1.8, 0.0, False), (1.81, 0.0, True), (1 / 1.8, 0.0, False), (1 / 1.81, 0.0, True),
        (1.0, 1.0, False), (1.0, 1.01, True), (1.0, -1.0, False), (1.0, -1.01, True),
        (None, 1.01, True), (1.81, None, True), (None, 0.5, False), (None, None, False),
    ],
)  # fmt: skip
def test_statistics_are_shifted_beyond_a_factor_of_1_8_or_one_deviation(ratio, shift, is_doubted):
    hint = InputHints("x", observed_over_expected_std=ratio, mean_shift_in_std=shift)
    codes = [issue.code for issue in lint(NORMAL, hint)]
    assert codes == (["data.statistics_shifted"] if is_doubted else [])


def test_samples_of_nothing_but_one_value_are_an_error():
    (issue,) = lint(np.zeros((20, 128), np.float32))
    assert issue == make_issue(
        "data.one_value", "All 20 calibration samples hold only the value 0."
    )
    assert issue.severity == "error"
