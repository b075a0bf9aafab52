"""Metrics of regression, multi-label classification, verification and keypoints, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edgeq.errors import DataError
from edgeq.metrics.classification import is_right
from tests.metrics.measuring import measure


def test_f1_of_two_classes_is_that_of_class_1() -> None:
    scores = np.array([[0.9], [0.8], [0.7], [0.1], [0.2], [0.3]])
    # 2 hits, 1 false alarm, 1 miss
    assert measure("f1", scores, [1, 1, 0, 1, 0, 0]) == pytest.approx(100 * 4 / 6)
    columns = np.hstack((1 - scores, scores))
    assert measure("f1", columns, [1, 1, 0, 1, 0, 0]) == pytest.approx(100 * 4 / 6)


def test_f1_of_several_classes_is_the_mean_over_those_that_occur() -> None:
    scores = np.eye(5)[[0, 0, 1, 2, 2, 2]]
    # class 0: 1 hit, 1 false alarm, 1 miss; class 1: 1 hit; class 2: 2 hits, 1 false alarm
    # class 3: 1 miss; class 4 occurs nowhere
    wanted = [0, 3, 1, 2, 2, 0]
    assert measure("f1", scores, wanted) == pytest.approx(100 * (1 / 2 + 1 + 4 / 5 + 0) / 4)


def test_f1_of_labels_with_several_ones() -> None:
    scores = np.array([[0.9, 0.1], [0.8, 0.7], [0.4, 0.6], [0.5, 0.2]])
    labels = np.array([[1, 0], [1, 1], [1, 0], [1, 1]])
    # first label: 2 hits, 2 misses (0.5 is not above the threshold); second: 1, 1 and 1
    assert measure("f1", scores, labels) == pytest.approx(100 * (4 / 6 + 2 / 4) / 2)
    with pytest.raises(DataError, match="this output leaves 0 to 1"):
        measure("f1", scores * 2, labels)
    with pytest.raises(DataError, match=r"its label is of shape \(3,\)"):
        measure("f1", scores, np.zeros((4, 3)))


def test_a_sample_of_nan_predicts_no_class() -> None:
    scores = np.eye(3)[[0, 1, 2, 0]]
    scores[3] = np.nan
    assert measure("f1", scores, [0, 1, 2, 0]) == pytest.approx(100 * (2 / 3 + 1 + 1) / 3)


def test_r2_is_the_share_of_the_variance_that_is_explained() -> None:
    labels = np.array([1.0, 2.0, 3.0, 4.0])
    assert measure("r2", labels, labels) == 1.0
    assert measure("r2", np.full(4, 2.5), labels) == pytest.approx(0.0)
    # errors 1, 0, 0, 1 of a variation of 5
    assert measure("r2", [2.0, 2.0, 3.0, 5.0], labels) == pytest.approx(1 - 2 / 5)
    assert measure("r2", labels[::-1], labels) == pytest.approx(1 - 20 / 5)


def test_r2_of_a_small_variation_around_a_large_offset() -> None:
    spread = np.array([-2.0, -1.0, 1.0, 2.0, 0.0])
    found = measure("r2", 1e6 + spread + [1, 0, 0, 0, 0], 1e6 + spread)
    assert found == pytest.approx(1 - 1 / 10, rel=1e-9)


def test_r2_is_the_mean_over_values_whose_labels_vary() -> None:
    labels = np.array([[1.0, 7.0, 0.0], [2.0, 7.0, 2.0], [3.0, 7.0, 4.0]])
    outputs = labels + np.array([[1, 5, 0], [0, 5, 0], [0, 5, 2]])
    assert measure("r2", outputs, labels) == pytest.approx(((1 - 1 / 2) + (1 - 4 / 8)) / 2)
    with pytest.raises(DataError, match="the labels do not vary"):
        measure("r2", outputs[:, 1], labels[:, 1])


def test_rmse_is_in_the_outputs_unit() -> None:
    assert measure("rmse", [[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.0], [3.0, 8.0]]) == 2.0


def test_the_equal_error_rate_is_where_both_rates_meet() -> None:
    # At a threshold between .4 and .6, 1 of 4 is rejected and 1 of 4 accepted.
    scores = [0.1, 0.2, 0.3, 0.6, 0.4, 0.7, 0.8, 0.9]
    assert measure("eer", scores, [0, 0, 0, 0, 1, 1, 1, 1]) == pytest.approx(25.0)
    assert measure("eer", [0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1]) == 0.0
    assert measure("eer", [0.9, 0.8, 0.2, 0.1], [0, 0, 1, 1]) == 100.0
    assert measure("eer", [0.5, 0.5, 0.5, 0.5], [0, 0, 1, 1]) == pytest.approx(50.0)
    # The rates cross between two scores: rejected goes from 0 to 1/2, accepted from 2/3 to 1/3.
    scores = [0.1, 0.3, 0.6, 0.3, 0.9]
    assert measure("eer", scores, [0, 0, 0, 1, 1]) == pytest.approx(100 * 0.4)


def test_scores_of_binary_metrics_belong_to_labels_of_0_and_1() -> None:
    with pytest.raises(DataError, match="one label of 0 or 1 per sample, and a label is 2"):
        measure("eer", [0.1, 0.2, 0.3], [0, 1, 2])
    with pytest.raises(DataError, match="not defined on these samples"):
        measure("eer", [0.1, 0.2, np.nan], [0, 1, 1])


BOX = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 20.0]])


def test_a_keypoint_is_right_within_a_share_of_the_objects_size() -> None:
    labels = np.stack((BOX, BOX))
    found = labels + np.array([[[2.0, 0.0], [0.0, 2.01], [0.0, 0.0]]] * 2)
    # the longer side is 20: 2.0 and 0 are within a tenth, 2.01 is not
    assert measure("pck@0.1", found, labels) == pytest.approx(100 * 2 / 3)
    assert measure("pck@0.2", found, labels) == 100.0
    with_scores = np.concatenate((found, np.full((2, 3, 1), 0.5)), axis=2)
    assert measure("pck@0.1", with_scores.reshape(2, 9), labels) == pytest.approx(100 * 2 / 3)


def test_keypoints_that_are_not_visible_do_not_count() -> None:
    visible = np.array([[[1], [1], [0]]] * 2)
    labels = np.concatenate((np.stack((BOX, BOX)), visible), axis=2)
    found = labels[..., :2] + np.array([[[0.9, 0.0], [1.1, 0.0], [99.0, 0.0]]] * 2)
    # without the third point, the size is 10
    assert measure("pck@0.1", found, labels) == 50.0
    found[0] = np.nan
    assert measure("pck@0.1", found, labels) == 25.0


def test_the_highest_cell_of_a_heatmap_is_its_keypoint() -> None:
    heatmaps = np.zeros((2, 4, 8, 2))
    heatmaps[:, 1, 6, 0] = heatmaps[:, 3, 0, 1] = 1
    labels = np.array([[[6.5 / 8, 1.5 / 4], [0.5 / 8, 3.5 / 4]]] * 2)
    assert measure("pck@0.05", heatmaps, labels) == 100.0
    labels[0, 0] = [5.5 / 8, 1.5 / 4]  # a cell beside it
    assert measure("pck@0.05", heatmaps, labels) == 75.0
    with pytest.raises(DataError, match="Divide labels by the image's width and height"):
        measure("pck@0.05", heatmaps, labels * 8)


def test_outputs_that_are_no_keypoints_are_refused() -> None:
    with pytest.raises(DataError, match="a label has 3 keypoints, and the output has the shape"):
        measure("pck@0.1", np.zeros((2, 5)), np.stack((BOX, BOX)))
    with pytest.raises(DataError, match=r"a label has the shape \(6,\)"):
        measure("pck@0.1", np.zeros((2, 6)), np.zeros((2, 6)))


def test_f1_of_one_score_is_that_of_class_1() -> None:
    scores = np.array([[0.9], [0.8], [0.7], [0.1], [0.2]])
    # one hit, three named, one wanted
    assert measure("f1", scores, [1, 0, 0, 0, 0]) == pytest.approx(100 * 2 / 4)


def test_f1_of_several_labels_takes_probabilities() -> None:
    labels = np.array([[1, 1], [0, 0]])
    assert measure("f1", np.array([[1.0, 0.9], [0.0, np.nan]]), labels) == 100
    for beyond in (-0.1, 1.1):
        with pytest.raises(DataError, match="this output leaves 0 to 1"):
            measure("f1", np.array([[1.0, 0.9], [0.0, beyond]]), labels)


def test_f1_names_the_shape_and_the_first_label_that_do_not_fit() -> None:
    with pytest.raises(DataError) as caught:
        measure("f1", np.full((4, 2), 0.5), np.array([0.25, 1.0, 0.5, 1.0]))
    assert caught.value.message == (
        "f1 needs a class, or a 0 or 1 for each output, per sample; output 'out' has the shape "
        "(2,) a sample, and its label is 0.25."
    )


def test_the_largest_score_alone_is_right_unless_more_may_be() -> None:
    assert not is_right(np.array([[0.1, 0.9, 0.0]]), np.array([0]))[0]
