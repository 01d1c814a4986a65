"""What is measured of a classifier beside its error: pure functions on NumPy arrays."""

import numpy as np


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, *, bins: int = 15) -> float:
    """How far confidence is from accuracy: their mean absolute difference over bins, weighted by examples.

    The bins split the confidence, the probability of the named class, evenly: Guo et al., "On Calibration of Modern
    Neural Networks", ICML 2017 (arXiv:1706.04599), who use 15.

    Args:
        probabilities: [n, classes], each row summing to 1.
        labels: integers [n].
        bins: at least 1.

    Returns:
        From 0 (confident just as often as right) to 1.
    """
    confidence = probabilities.max(-1).astype(np.float64)
    correct = probabilities.argmax(-1) == labels
    # A confidence on the border of two bins belongs to the lower one: bins are (low, high].
    of_bin = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(of_bin, weights=confidence - correct, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))
