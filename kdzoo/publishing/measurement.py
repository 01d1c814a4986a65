"""What an exported file does: its error, how far it is from its network, and its latency."""

import dataclasses
import os
import pathlib
import statistics
from typing import TYPE_CHECKING, Any

import numpy as np

from kdzoo.data.dataset import Dataset, Split
from kdzoo.distillation import metrics
from kdzoo.hub import models
from kdzoo.publishing import file_runner
from kdzoo.publishing.formats import base
from zoo import InputError

if TYPE_CHECKING:
    import keras

BATCH = 50
BATCH_PIXELS = 2**21  # most pixels of a batch
WARM = 10  # calls before those that count
RUNS, FEWEST, SECONDS = 200, 20, 20.0  # calls that count: at most, at least, and about how long they may take


def logits_of(trained: models.Trained, test: Split, dataset: Dataset) -> np.ndarray:
    """The logits [n, classes] of a network in float32, as Keras computes them here."""
    from kdzoo.distillation.dtype import dtype_policy
    from kdzoo.training.steps import predict

    own = trained.record["dataset"]
    with dtype_policy("float32"):
        network: keras.Model = trained.build()
    return predict(network, test, dataclasses.replace(dataset, mean=tuple(own["mean"]), std=tuple(own["std"])))


def measure(kind: base.Format, path: pathlib.Path, test: Split, exact: np.ndarray) -> dict[str, Any]:
    """Runs a file over test images, and once more over some of them, one by one, for its latency.

    Args:
        kind: the file's format.
        path: of the file.
        test: the images.
        exact: logits [n, classes] of the network for them.

    Returns:
        test_examples; test_error and test_error_network, in percent; agreement, the share of images that both take for
        the same class, in percent; largest_logit_difference; latency: see `_latency`.

    Raises:
        InputError: if the runtime cannot run the file, or its logits are not finite.
    """
    height, width = test.images.shape[1:3]
    batch = max(1, min(BATCH, BATCH_PIXELS // (height * width)))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    logits, milliseconds = file_runner.run(kind, path, test, batch=batch, threads=cores)
    counts = test.counts
    logits, exact, labels = logits[counts], exact[counts], test.labels[counts]
    if logits.shape != exact.shape or not np.isfinite(logits).all():
        raise InputError(
            f"A file must return finite logits of {exact.shape[1]} classes. Received: format={kind.name}:"
            f" shape {list(logits.shape)}, {100 * float((~np.isfinite(logits)).mean()):.1f} % of them not finite"
        )
    described = metrics.describe(logits, labels, teacher_logits=exact)
    runs = int(np.clip(1000 * SECONDS * batch / (cores * max(1e-3, float(np.median(milliseconds)))), FEWEST, RUNS))
    few = test.take(np.arange(WARM + runs) % len(test))
    return {
        "test_examples": len(labels),
        "test_error": described["error"],
        "test_error_network": metrics.describe(exact, labels)["error"],
        "agreement": described["agreement"],
        "largest_logit_difference": float(np.abs(logits.astype(np.float64) - exact).max()),
        "latency": _latency(file_runner.run(kind, path, few, batch=1, threads=1)[1][WARM:]),
    }


def _latency(milliseconds: np.ndarray) -> dict[str, Any]:
    """Median and 95th percentile of calls with one picture each, on one thread, after those that warm it up."""
    return {
        "median_ms": statistics.median(milliseconds.tolist()),
        "p95_ms": float(np.percentile(milliseconds, 95)),
        "runs": len(milliseconds),
        "batch": 1,
        "threads": 1,
    }
