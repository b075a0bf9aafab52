from __future__ import annotations

import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from edgeq.errors import DataError, UsageError
from edgeq.metrics.catalogue import (
    _OTHER_NAMES,
    METRICS,
    default_metrics,
    edgeq_name,
    make_metric,
)
from edgeq.metrics.classification import class_labels, is_right, pick_output
from edgeq.metrics.intervals import count_pairs, drop_interval, wilson_interval
from edgeq.values import MetricValue, PairedCounts

SCORES = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])


def measure(name: str, scores: np.ndarray, labels: np.ndarray) -> float:
    metric = make_metric(name)
    half = len(labels) // 2  # in two batches: the sum must not depend on how it was cut
    for part in (slice(None, half), slice(half, None)):
        metric.add({"out": scores[part]}, labels[part])
    return metric.value().value


@pytest.mark.parametrize(("labels", "expected"), [([1, 0, 2, 0], 100.0), ([1, 1, 2, 2], 50.0)])
def test_top1(labels: list[int], expected: float) -> None:
    assert measure("top1", SCORES, np.array(labels)) == expected


def test_top5_counts_the_five_largest() -> None:
    scores = np.arange(20.0).reshape(2, 10)
    assert measure("top5", scores, np.array([5, 4])) == 50.0


def test_a_single_column_is_a_binary_probability() -> None:
    scores = np.array([[0.9], [0.2], [0.6], [0.5]])
    assert measure("top1", scores, np.array([1, 0, 1, 1])) == 75.0
    assert measure("top1", scores, np.array([1, 0, 0, 1])) == 50.0


def test_two_columns_are_two_classes() -> None:
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])
    assert measure("top1", scores, np.array([0, 1, 0, 0])) == 75.0
    assert measure("top1", scores, np.eye(2)[[0, 1, 0, 1]]) == 100.0


def test_auc_with_ties_counts_them_half() -> None:
    scores = np.array([0.1, 0.4, 0.4, 0.8])
    # pairs (positive, negative): (.4, .1) right, (.4, .4) tie, (.8, .1) and (.8, .4) right
    assert measure("auc", scores, np.array([0, 0, 1, 1])) == pytest.approx(3.5 / 4)


def test_miou_is_the_mean_over_classes_that_occur() -> None:
    scores = np.eye(3)[np.array([[[0, 0], [1, 1]], [[0, 0], [1, 1]]])]
    masks = np.array([[[0, 1], [1, 1]], [[0, 0], [1, 255]]])
    # class 0: 3 hits of union 4; class 1: 3 of 4; class 2 never occurs; 255 is left out
    assert measure("miou", scores, masks) == pytest.approx(75.0)
    masks[1, 1, 1] = 2
    # class 2 occurs once, and is not hit: its share is 0 of 1; class 1 is 3 of 5 now
    assert measure("miou", scores, masks) == pytest.approx(100 * (3 / 4 + 3 / 5 + 0) / 3)


def test_mse_and_mae() -> None:
    scores, labels = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 0.0], [3.0, 7.0]])
    assert measure("mse", scores, labels) == pytest.approx((4 + 9) / 4)
    assert measure("mae", scores, labels) == pytest.approx((2 + 3) / 4)


def test_errors_have_the_outputs_form() -> None:
    scores = np.zeros((2, 2, 2))
    assert measure("mae", scores, np.full((2, 4), -3.0)) == 3.0
    with pytest.raises(DataError) as caught:
        measure("mse", scores, np.zeros((2, 3)))
    assert caught.value.message == (
        "mse needs labels like the output: a sample has 4 values, its label 3."
    )
    assert caught.value.hint == "Store 4 values for each sample, or class indices as whole numbers."


@pytest.mark.parametrize("wrong", [3, 7, -1])
def test_a_label_beyond_the_classes_is_an_error(wrong: int) -> None:
    with pytest.raises(DataError) as caught:
        measure("top1", SCORES, np.array([0, 1, 2, wrong]))
    assert str(caught.value) == (
        f"A label is {wrong}, but the model's classes are 0 to 2. "
        "Labels are class indices that start at 0."
    )


def test_a_label_beyond_two_is_an_error_of_a_binary_output() -> None:
    with pytest.raises(DataError, match="A label is 2, but the model's classes are 0 to 1"):
        is_right(np.zeros((2, 1)), np.array([0, 2]))
    with pytest.raises(DataError, match="A label is 2, but the model's classes are 0 to 1"):
        is_right(np.zeros((2, 2)), np.array([0, 2]))


def test_an_unknown_metric_lists_the_known_ones() -> None:
    with pytest.raises(UsageError) as caught:
        make_metric("acuracy")
    assert str(caught.value) == (
        "Unknown metric 'acuracy'; known: top1, top5, f1, auc, eer, miou, map, map@0.5, pck@0.2, "
        "mae, mse, rmse, r2 and module:function. Did you mean 'accuracy'? topN, map@IOU and "
        "pck@SHARE take other numbers, such as top3, map@0.75 and pck@0.1."
    )


@pytest.mark.parametrize(
    ("usual", "name"),
    [
        ("accuracy", "top1"),
        ("Top-5 accuracy", "top5"),
        ("F1-score", "f1"),
        ("ROC AUC", "auc"),
        ("IoU", "miou"),
        ("mAP", "map"),
        ("mAP50", "map@0.5"),
        ("root_mean_squared_error", "rmse"),
        ("R2", "r2"),
    ],
)
def test_metrics_are_known_by_their_usual_names(usual: str, name: str) -> None:
    assert edgeq_name(usual) == name
    assert make_metric(usual).name == name


def test_every_other_name_leads_to_a_metric() -> None:
    assert set(_OTHER_NAMES.values()) <= set(METRICS)
    assert not set(_OTHER_NAMES) & set(METRICS)


@pytest.mark.parametrize("label", [0, 1])
def test_auc_needs_both_classes(label: int) -> None:
    with pytest.raises(DataError) as caught:
        measure("auc", np.array([0.1, 0.2]), np.array([label, label]))
    assert str(caught.value) == (
        "auc is not defined on these samples: it needs both classes, and scores that are numbers."
    )


def test_auc_of_two_columns_is_that_of_the_second() -> None:
    scores = np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8], [0.5, 0.5]])
    # the positive .3 beats .1 of the two negatives, .8 and .5 beat both: 5 of 6 pairs
    assert measure("auc", scores, np.array([0, 0, 1, 1, 1])) == pytest.approx(5 / 6)
    with pytest.raises(DataError) as caught:
        measure("auc", SCORES, np.array([0, 1, 0, 1]))
    assert caught.value.message == "auc needs one score per sample, the output has 3."


@pytest.mark.parametrize(
    ("shape", "labels", "expected"),
    [
        ((2, 10), np.array([3, 4]), ("top1",)),
        ((2, 10), np.array([3.0, 4.0]), ("top1",)),
        ((2, 11), np.array([3, 4]), ("top1", "top5")),
        ((2, 3), np.eye(3)[[0, 2]], ("top1",)),
        ((2, 1), np.array([0, 1]), ("top1",)),
        ((2, 1), np.array([17, 3]), ("r2", "mae", "rmse")),
        ((2, 1), np.array([0.0, 1.0]), ("r2", "mae", "rmse")),
        ((2, 4, 4, 3), np.zeros((2, 4, 4), np.uint8), ("miou",)),
        ((2, 4, 4, 3), np.zeros((2, 4, 4), np.float32), ("r2", "mae", "rmse")),
        ((2, 4, 3), np.zeros((2, 4), np.uint8), ("r2", "mae", "rmse")),
        ((2, 640), np.zeros((2, 640), np.float32), ("r2", "mae", "rmse")),
    ],
)
def test_default_metrics_follow_the_labels(
    shape: tuple[int, ...], labels: np.ndarray, expected: object
) -> None:
    assert default_metrics({"out": np.zeros(shape)}, labels) == expected


def test_one_hot_labels_and_whole_floats_are_classes() -> None:
    assert measure("top1", SCORES, np.eye(3)[[1, 0, 2, 1]]) == 75.0
    assert measure("top1", SCORES, np.array([1.0, 0.0, 2.0, 1.0])) == 75.0


@pytest.mark.parametrize(
    ("labels", "shown"),
    [
        (np.array([0.25, 1.0, 2.0, 0.0]), "0.25"),
        (np.array([0.75, 1.0, 2.0, 0.0]), "0.75"),
        (np.array([np.inf, 1.0, 2.0, 0.0]), "inf"),
        (np.array(["cat", "dog", "cat", "cat"]), "cat"),
        (np.zeros((4, 2), int), "of shape (2,)"),
        (np.array([[1, 1, 0]] * 4), "of shape (3,)"),
        (np.array([[2, -1, 0]] * 4), "of shape (3,)"),
        (np.array([[1, 1, -1]] * 4), "of shape (3,)"),
        (np.eye(4), "of shape (4,)"),
    ],
)
def test_top1_refuses_labels_that_are_no_classes(labels: np.ndarray, shown: str) -> None:
    with pytest.raises(DataError) as caught:
        measure("top1", SCORES, labels)
    assert str(caught.value) == (
        "top1 needs one class per sample; output 'out' has the shape (3,) a sample, and its label "
        f"is {shown}. Store class indices, or name another --metric."
    )


@pytest.mark.parametrize(
    ("scores", "labels"),
    [
        (np.zeros((2, 4, 4, 3)), np.array([1, 2])),  # a score for each pixel, one label
        (np.array([[0.2], [1.2]]), np.array([0, 1])),  # one score that is no probability
        (np.array([[-0.2], [0.2]]), np.array([0, 1])),
        (np.array([[0.2], [0.8]]), np.array([0, 2])),
        (np.array([[0.2], [0.8]]), np.array([-1, 1])),
    ],
)
def test_what_a_label_beside_an_output_is_not(scores: np.ndarray, labels: np.ndarray) -> None:
    assert class_labels(scores, labels) is None


def test_one_value_per_sample_may_have_no_axis() -> None:
    found = class_labels(np.array([0.0, 1.0, 0.5]), np.array([[0], [1], [1]], np.uint8))
    assert found is not None
    assert (found.tolist(), found.dtype) == ([0, 1, 1], np.dtype(np.int64))


def test_a_sample_with_nan_among_its_scores_is_never_right() -> None:
    scores = np.array([[np.nan, 0.7, 0.2], [0.5, np.nan, 0.2], [np.nan] * 3, [0.6, 0.3, 0.1]])
    for k in (1, 2, 3):
        found = is_right(scores, np.array([0, 0, 0, 0]), k)
        assert found.tolist() == [False, False, False, True]
        assert is_right(scores, np.array([1, 1, 1, 0]), k).tolist() == found.tolist()
    single = np.array([[np.nan], [0.4], [0.6]])
    assert is_right(single, np.array([0, 0, 1])).tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("scores", "label", "expected"),
    [
        ([0.5, 0.5, 0.1], 0, [True, True, True]),  # a tie counts for the lower class
        ([0.5, 0.5, 0.1], 1, [False, True, True]),
        ([0.9, 0.5, 0.5], 1, [False, True, True]),
        ([0.9, 0.5, 0.5], 2, [False, False, True]),
        ([0.1, 0.3, 0.2], 0, [False, False, True]),
        ([0.1, 0.3, 0.2], 2, [False, True, True]),
    ],
)
def test_the_label_is_among_the_k_largest(
    scores: list[float], label: int, expected: list[bool]
) -> None:
    found = [is_right(np.array([scores]), np.array([label]), k)[0] for k in (1, 2, 3)]
    assert found == expected


@pytest.mark.parametrize(("score", "label"), [(0.5, 0), (0.51, 1), (0.49, 0), (0.0, 0), (1.0, 1)])
def test_half_is_not_above_half(score: float, label: int) -> None:
    scores = np.array([[score]])
    assert is_right(scores, np.array([label]))[0]
    assert not is_right(scores, np.array([1 - label]))[0]


def test_labels_are_scored_on_the_first_output_that_has_their_classes() -> None:
    outputs = {"age": np.zeros((4, 1)), "class": SCORES}
    assert pick_output(outputs, np.array([1, 0, 2, 0])) == "class"
    assert pick_output(outputs, None) == "age"
    several = {"three": np.zeros((4, 3)), "two": np.zeros((4, 2)), "four": np.zeros((4, 4))}
    assert pick_output(several, np.array([0, 1, 2, 3])) == "four"
    fewer = {"two": np.zeros((4, 2)), "three": np.zeros((4, 3))}
    assert pick_output(fewer, np.array([0, 1, 2, 2])) == "three"
    assert pick_output(fewer, np.array([0, 1, 1, 1])) == "two"


def test_miou_of_one_channel_is_thresholded() -> None:
    scores = np.array([[[[0.9], [0.2]], [[0.8], [0.1]]]] * 2)
    masks = np.array([[[1, 0], [0, 0]]] * 2)
    # per picture: foreground 1 hit of union 2, background 2 of 3
    assert measure("miou", scores, masks) == pytest.approx(100 * (1 / 2 + 2 / 3) / 2)
    assert measure("miou", scores, 255 * masks) == pytest.approx(100 * (1 / 2 + 2 / 3) / 2)


@pytest.mark.parametrize(("channels", "value"), [(1, 2), (3, 7), (3, -1)])
def test_miou_refuses_a_mask_value_that_is_no_class(channels: int, value: int) -> None:
    masks = np.full((2, 2, 2), value)
    with pytest.raises(DataError) as caught:
        measure("miou", np.zeros((2, 2, 2, channels)), masks)
    assert caught.value.message == (
        f"A mask holds the value {value}, but the model's classes are 0 to {max(channels, 2) - 1}."
    )


def test_miou_refuses_what_is_no_mask_of_the_output() -> None:
    for width in (1, 3):
        with pytest.raises(DataError) as caught:
            measure("miou", np.zeros((2, 2, 2, 3)), np.zeros((2, 2, width)))
        assert caught.value.message == (
            f"miou needs a mask of the output's size: 4 pixels predicted, {2 * width} labelled."
        )
    for beyond in (1.25, -0.25):
        with pytest.raises(DataError, match="leaves 0 to 1"):
            measure("miou", np.full((2, 2, 2, 1), beyond), np.zeros((2, 2, 2)))
    # Scores of several channels may be anything.
    assert measure("miou", np.array([[[[3.0, -1.0]]]] * 2), np.zeros((2, 1, 1))) == 100.0


def test_a_metric_of_the_user_sees_all_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "of_the_user.py").write_text(
        "def seen(outputs, labels):\n    return outputs['out'][:, 0].sum() + 10 * labels.sum()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    metric = make_metric("of_the_user:seen")
    metric.add({"out": SCORES[:3]}, np.array([1, 2, 3]))
    metric.add({"out": SCORES[3:]}, np.array([4]))
    # 0.1 + 0.5 + 0.2 + 0.6, and ten times 10
    assert metric.value() == MetricValue("of_the_user:seen", pytest.approx(101.4), "", True)


@pytest.mark.parametrize("name", ["no_such_module:f", "math:no_such_function"])
def test_a_metric_of_the_user_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(UsageError, match=f"^--metric '{name}' cannot be imported: "):
        make_metric(name)


def test_a_metric_of_the_user_that_raises_is_named() -> None:
    with pytest.raises(UsageError) as caught:
        measure("math:sqrt", SCORES, np.array([0, 1, 2, 0]))
    assert caught.value.message.startswith("--metric math:sqrt failed: TypeError: ")


def test_wilson_interval_of_a_known_case() -> None:
    # 90 of 100: the textbook interval is 82.56 % to 94.48 %
    assert wilson_interval(90, 100) == pytest.approx((82.56, 94.48), abs=0.01)
    # 1 of 3: z2 = 3.84146; centre (1/3 + z2/6) / (1 + z2/3) = 0.42692, half 0.36542
    assert wilson_interval(1, 3) == pytest.approx((6.149, 79.234), abs=0.001)


@pytest.mark.parametrize(("count", "share"), [(50, 0.9), (200, 0.75), (1000, 0.97)])
def test_wilson_interval_holds_the_true_share_as_often_as_it_says(count: int, share: float) -> None:
    """Against the exact binomial sum: near 95 % for each, within what its steps allow."""
    covered = 0.0
    for right in range(count + 1):
        low, high = wilson_interval(right, count)
        if low <= 100 * share <= high:
            covered += math.comb(count, right) * share**right * (1 - share) ** (count - right)
    assert 0.935 <= covered <= 0.975


def test_wilson_interval_never_leaves_the_scale() -> None:
    for count in range(1, 200):
        assert wilson_interval(count, count)[1] == pytest.approx(100.0)
        assert wilson_interval(count, count)[1] <= 100
        assert wilson_interval(0, count)[0] == pytest.approx(0.0, abs=1e-12)
        assert wilson_interval(0, count)[0] >= 0


def test_count_pairs() -> None:
    baseline = np.array([True] * 4 + [True] * 3 + [False] * 2 + [False])
    candidate = np.array([True] * 4 + [False] * 3 + [True] * 2 + [False])
    assert count_pairs(baseline, candidate) == PairedCounts(4, 3, 2, 1)


def test_drop_interval_after_agresti_and_min() -> None:
    # n = 100, b = 8, c = 2: shift 6/102, spread sqrt(11 - 36/102)/102
    found = drop_interval(PairedCounts(70, 8, 2, 20))
    assert found.value == pytest.approx(6.0)
    assert (found.low, found.high) == pytest.approx((-0.388, 12.153), abs=0.01)


def test_drop_interval_never_leaves_the_scale() -> None:
    # n = 3, all lost: shift 3/5, spread sqrt(4 - 9/5) / 5 = 0.29665
    lost = drop_interval(PairedCounts(0, 3, 0, 0))
    assert (lost.value, lost.high) == (100.0, 100.0)
    assert lost.low == pytest.approx(1.858, abs=0.001)
    won = drop_interval(PairedCounts(0, 0, 3, 0))
    assert (won.value, won.low) == (-100.0, -100.0)
    assert won.high == pytest.approx(-1.858, abs=0.001)


@pytest.mark.parametrize("cells", [(0.86, 0.05, 0.02, 0.07), (0.7, 0.1, 0.1, 0.1)])
def test_drop_interval_holds_the_true_drop_as_often_as_it_says(cells: tuple[float, ...]) -> None:
    drop = 100 * (cells[1] - cells[2])
    drawn = np.random.default_rng(0).multinomial(300, cells, size=4000)
    held = 0
    for counts in drawn.tolist():
        found = drop_interval(PairedCounts(*counts))
        held += found.low <= drop <= found.high
    # 4000 draws of a share of 0.95 have a standard deviation of 0.0035.
    assert 0.94 <= held / 4000 <= 0.965


def test_a_drop_is_what_the_float_model_alone_got_right() -> None:
    assert drop_interval(PairedCounts(70, 8, 2, 20)).value == 6.0
    assert drop_interval(PairedCounts(70, 2, 8, 20)).value == -6.0
    ours = drop_interval(PairedCounts(70, 8, 2, 20))
    theirs = drop_interval(PairedCounts(70, 2, 8, 20))
    assert (theirs.low, theirs.high) == pytest.approx((-ours.high, -ours.low))


def test_drop_interval_of_identical_models_still_has_a_width() -> None:
    found = drop_interval(PairedCounts(95, 0, 0, 5))
    assert found.value == 0.0
    assert found.low < 0 < found.high


@pytest.mark.parametrize("name", ["mse", "mae", "miou", "top1"])
def test_labels_of_another_size_are_refused_before_anything_is_made_of_them(name: str) -> None:
    scores = np.zeros((1, 2, 2, 3), np.float32) if name == "miou" else np.zeros((1, 4), np.float32)
    labels = np.zeros((1, 20_000_000), np.uint8)
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            make_metric(name).add({"out": scores}, labels)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
