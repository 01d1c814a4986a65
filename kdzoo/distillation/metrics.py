"""Metrics of a classifier's logits: pure functions on NumPy arrays."""

import numpy as np


def describe(logits: np.ndarray, labels: np.ndarray, *, teacher_logits: np.ndarray | None = None) -> dict[str, float]:
    """Computes all metrics of a classifier.

    Args:
        logits: [n, classes].
        labels: integers [n].
        teacher_logits: [n, classes] for the same images.

    Returns:
        error, in percent; ce, the mean cross-entropy in nats; ece, see `expected_calibration_error`; with teachers also
        agreement, the share of images for which student and teachers predict the same class, in percent.
    """
    predicted = logits.argmax(-1)
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    normaliser = np.log(np.exp(shifted).sum(-1))
    described = {
        "error": 100 * float((predicted != labels).sum()) / len(labels),
        "ce": float((normaliser - shifted[np.arange(len(labels)), labels]).mean()),
        "ece": expected_calibration_error(np.exp(shifted - normaliser[:, None]), labels),
    }
    if teacher_logits is not None:
        described["agreement"] = 100 * float((predicted == teacher_logits.argmax(-1)).mean())
    return described


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, *, bins: int = 15) -> float:
    """Computes the mean absolute difference of confidence and accuracy over bins, weighted by examples.

    The bins split the confidence, the probability of the predicted class, evenly: Guo et al., "On Calibration of Modern
    Neural Networks", ICML 2017 (arXiv:1706.04599), who use 15.

    Args:
        probabilities: [n, classes], each row summing to 1.
        labels: integers [n].
        bins: number of bins, at least 1.

    Returns:
        From 0 (perfectly calibrated) to 1.
    """
    confidence = probabilities.max(-1).astype(np.float64)
    correct = probabilities.argmax(-1) == labels
    # A confidence on the border of two bins belongs to the lower one: bins are (low, high].
    of_bin = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(of_bin, weights=confidence - correct, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))
