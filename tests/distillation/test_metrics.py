"""Metrics of logits, compared with values computed by hand."""

import numpy as np
import pytest

from kdzoo.distillation import metrics


def test_calibration_against_a_count_by_hand():
    # Bins of (0.6, 0.667] and (0.867, 0.933]: 0.65 is right 1 of 2 times, 0.9 is right 3 of 3 times.
    confidence = np.array([0.65, 0.65, 0.9, 0.9, 0.9])
    probabilities = np.stack([confidence, 1 - confidence], axis=-1)
    labels = np.array([0, 1, 0, 0, 0])
    expected = 2 / 5 * (0.65 - 0.5) + 3 / 5 * (1 - 0.9)
    assert metrics.expected_calibration_error(probabilities, labels) == pytest.approx(expected)
    perfect = np.eye(3)[[0, 1, 2]]
    assert metrics.expected_calibration_error(perfect, np.array([0, 1, 2])) == 0
    assert metrics.expected_calibration_error(perfect, np.array([1, 2, 0])) == 1


def test_the_top5_error_against_a_count_by_hand():
    logits = np.tile(np.arange(12.0), (6, 1))  # the five highest are of classes 7 to 11
    logits[3] = 0.0  # of equal logits the first ones are the highest
    logits[4, 0], logits[5, 8] = np.inf, np.nan
    labels = np.array([7, 6, 11, 4, 0, 8])
    assert metrics.top5_error(logits, labels) == pytest.approx(100 * 2 / 6)  # the second, and the one of NaN
    assert metrics.top5_error(logits[3:4], np.array([5])) == 100


def test_the_top5_error_is_that_of_the_sorted_logits():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(500, 40)).astype("f4").round(1), rng.integers(0, 40, 500)
    first = np.argsort(-logits, axis=-1, kind="stable")
    described = metrics.describe(logits, labels)
    assert described["top5_error"] == pytest.approx(100 * (first[:, :5] != labels[:, None]).all(-1).mean())
    assert described["error"] == pytest.approx(100 * (first[:, 0] != labels).mean())


def test_ten_classes_have_no_top5_error():
    logits, labels = np.random.default_rng(0).normal(size=(20, 11)), np.zeros(20, int)
    assert "top5_error" not in metrics.describe(logits[:, :10], labels)
    assert list(metrics.describe(logits, labels)) == ["error", "ce", "ece", "top5_error"]


def test_confusion_counts_each_pair_of_true_and_predicted_class():
    labels, predicted = np.array([0, 0, 2, 2, 2], np.int32), np.array([0, 1, 2, 0, 0])
    assert metrics.confusion(labels, predicted, 3).tolist() == [[1, 1, 0], [0, 0, 0], [2, 0, 1]]
