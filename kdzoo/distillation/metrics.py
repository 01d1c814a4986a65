"""What is measured of a classifier beside its error: pure functions on NumPy arrays."""

import numpy as np


def describe(logits: np.ndarray, labels: np.ndarray, *, teacher_logits: np.ndarray | None = None) -> dict[str, float]:
    """What logits [n, classes] are worth, given labels, integers [n], and what teachers say, logits [n, classes].

    Returns:
        error, in percent; ce, the mean cross-entropy in nats; ece, see `expected_calibration_error`; with teachers also
        agreement, the share of images for which both name the same class, in percent.
    """
    named = logits.argmax(-1)
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    normaliser = np.log(np.exp(shifted).sum(-1))
    described = {
        "error": 100 * float((named != labels).sum()) / len(labels),
        "ce": float((normaliser - shifted[np.arange(len(labels)), labels]).mean()),
        "ece": expected_calibration_error(np.exp(shifted - normaliser[:, None]), labels),
    }
    if teacher_logits is not None:
        described["agreement"] = 100 * float((named == teacher_logits.argmax(-1)).mean())
    return described


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
