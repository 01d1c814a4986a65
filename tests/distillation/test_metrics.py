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
