"""Metrics of a classifier's logits: pure functions on NumPy arrays."""

import numpy as np

TOP = 5
FEW_CLASSES = 10  # up to so many classes, no top-5 error


def describe(logits: np.ndarray, labels: np.ndarray, *, teacher_logits: np.ndarray | None = None) -> dict[str, float]:
    """Computes all metrics of a classifier.

    Args:
        logits: [n, classes].
        labels: integers [n].
        teacher_logits: [n, classes] for the same images.

    Returns:
        error, in percent; ce, the mean cross-entropy in nats; ece, see `expected_calibration_error`; of more than ten
        classes also top5_error, see there; with teachers also agreement, the share of images for which student and
        teachers predict the same class, in percent.
    """
    predicted = logits.argmax(-1)
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    normaliser = np.log(np.exp(shifted).sum(-1))
    described = {
        "error": 100 * float((predicted != labels).sum()) / len(labels),
        "ce": float((normaliser - shifted[np.arange(len(labels)), labels]).mean()),
        "ece": expected_calibration_error(np.exp(shifted - normaliser[:, None]), labels),
    }
    if logits.shape[-1] > FEW_CLASSES:
        described["top5_error"] = top5_error(logits, labels)
    if teacher_logits is not None:
        described["agreement"] = 100 * float((predicted == teacher_logits.argmax(-1)).mean())
    return described


def top5_error(logits: np.ndarray, labels: np.ndarray) -> float:
    """Computes the share of images whose class is not among the five with the highest logits, in percent.

    Of equal logits the first counts as the highest, as for the error. An image whose own logit is NaN is an error.

    Args:
        logits: [n, classes].
        labels: integers [n].
    """
    own = logits[np.arange(len(labels)), labels][:, None]
    before = np.arange(logits.shape[-1]) < labels[:, None]
    ahead = ((logits > own) | ((logits == own) & before)).sum(-1)
    return 100 * float(((ahead >= TOP) | np.isnan(own[:, 0])).sum()) / len(labels)


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


def confusion(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts how often images of each class are predicted to be of each.

    Args:
        labels, predicted: integers [n], from 0 to `num_classes` - 1.
        num_classes: number of classes.

    Returns:
        int64 [num_classes, num_classes]: a row for each true class, a column for each predicted one.
    """
    pairs = labels.astype(np.int64) * num_classes + predicted
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
