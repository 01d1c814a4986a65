"""Sampling: the order of an epoch, and class-balanced subsets of a split."""

import numpy as np

from kdzoo.data.dataset import Split
from kdzoo.data.hashing import counter_hash
from zoo import InputError


def order(*, seed: int, epoch: int, indices: np.ndarray) -> np.ndarray:
    """Returns the order in which an epoch (from 0) visits examples: int64 [n], positions in `indices` [n]."""
    return np.argsort(counter_hash(seed, epoch, indices, stream=0), kind="stable")


def balanced(labels: np.ndarray, count: int, *, last: bool = False) -> np.ndarray:
    """Selects the first (or last) `count` examples with equally many of every class, give or take one.

    Args:
        labels: integers [n].
        count: from 0 to n.
        last: whether to take the last examples of each class instead of the first.

    Returns:
        Sorted positions, int64 [count].

    Raises:
        InputError: if some class has too few examples.
    """
    classes = np.unique(labels)
    chosen = []
    for i, label in enumerate(classes):
        share = count // len(classes) + (i < count % len(classes))
        members = np.flatnonzero(labels == label)
        if share > len(members):
            raise InputError(
                f"A class-balanced subset must fit every class, at most {len(members)} examples of class {label}."
                f" Received: {count} examples of {len(classes)} classes"
            )
        chosen.append(members[len(members) - share :] if last else members[:share])
    return np.sort(np.concatenate(chosen))


def split_train(train: Split, *, train_examples: int = 0, val_examples: int = 0) -> tuple[Split, Split]:
    """Splits into class-balanced, disjoint training and validation examples: see `split_positions`."""
    learned, held_out = split_positions(train.labels, train_examples=train_examples, val_examples=val_examples)
    return train.take(learned), train.take(held_out)


def split_positions(
    labels: np.ndarray, *, train_examples: int = 0, val_examples: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Chooses class-balanced, disjoint training and validation examples, the same for every seed.

    Args:
        labels: integers [n], of the full training split.
        train_examples: size of the training subset; 0: all examples that are not held out.
        val_examples: size of the validation subset.

    Returns:
        Sorted positions of the training and of the validation subset.

    Raises:
        InputError: if the split has too few examples.
    """
    if min(train_examples, val_examples) < 0 or train_examples + val_examples > len(labels):
        raise InputError(
            f"train_examples and val_examples must be at least 0 and together at most {len(labels)}."
            f" Received: {train_examples} and {val_examples}"
        )
    held_out = balanced(labels, val_examples, last=True)
    learned = np.setdiff1d(np.arange(len(labels)), held_out)
    if train_examples:
        learned = learned[balanced(labels[learned], train_examples)]
    return learned, held_out
