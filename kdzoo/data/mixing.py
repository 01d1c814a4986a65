"""Unlabelled examples in training batches: their places, and which of them a batch has.

They are drawn in passes of their own, while an epoch is one pass over the labelled examples. All of it is a pure
function of the number of the step.
"""

import functools

import numpy as np

from kdzoo.data import augmentation, sampling


def places(batch_size: int, count: int) -> np.ndarray:
    """The places of unlabelled examples in each batch, spread evenly for the sake of replicas: bool [batch]."""
    return np.diff(np.arange(batch_size + 1) * count // batch_size).astype(bool)


def label_weights(batch_size: int, count: int) -> np.ndarray:
    """The weights of the examples' labels, float32 [batch]: 0 for unlabelled ones, and a mean of 1."""
    return np.where(places(batch_size, count), 0, batch_size / (batch_size - count)).astype(np.float32)


def draw(
    begin: int, end: int, *, seed: int, indices: np.ndarray, augment: str, crops: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Draws unlabelled examples from passes over all of them, each in an order and in views of its own.

    Args:
        begin, end: numbers of the draws, counted from the start of the run.
        seed: the run's seed.
        indices: int64 [n], of all unlabelled examples: consecutive numbers.
        augment: a key of `kdzoo.data.AUGMENTATIONS`.
        crops: see `kdzoo.data.count_views`.

    Returns:
        Positions in `indices`, and numbers of views: int64 [end - begin] each.
    """
    positions, views = [], []
    while begin < end:
        number, offset = divmod(begin, len(indices))
        order, of_all = _pass(number, int(indices[0]), len(indices), seed, augment, crops)
        part = order[offset : offset + end - begin]
        positions.append(part)
        views.append(of_all[part])
        begin += len(part)
    return np.concatenate(positions), np.concatenate(views)


@functools.lru_cache(maxsize=3)  # at the end of a pass, the next one begins; teachers may be ahead
def _pass(number: int, first: int, count: int, seed: int, augment: str, crops: int) -> tuple[np.ndarray, np.ndarray]:
    """The order of a pass, positions [count], and the views of all examples [count]."""
    indices = np.arange(first, first + count)
    views = augmentation.views(seed=seed, epoch=number, indices=indices, augment=augment, crops=crops)
    return sampling.order(seed=seed, epoch=number, indices=indices), views
