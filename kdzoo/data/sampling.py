"""Which examples a run sees, and in which order: pure functions of (seed, epoch, index)."""

import numpy as np

from kdzoo.data.dataset import Split
from zoo import InputError

# Which image, and how.


def order(*, seed: int, epoch: int, indices: np.ndarray) -> np.ndarray:
    """Positions in `indices` in the order in which an epoch (from 0) visits them."""
    return np.argsort(counter_hash(seed, epoch, indices, stream=0), kind="stable")


def counter_hash(seed: int, epoch: int, indices: np.ndarray, *, stream: int) -> np.ndarray:
    """uint64 [n], as good as random: SplitMix64 (Steele et al., OOPSLA 2014) over the four numbers in turn."""
    with np.errstate(over="ignore"):
        state = np.zeros(1, np.uint64)
        for number in (np.uint64(stream), np.uint64(seed), np.uint64(epoch), indices.astype(np.uint64)):
            state = (state ^ number) + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return state


# Which examples.


def balanced(labels: np.ndarray, count: int, *, last: bool = False) -> np.ndarray:
    """Positions, sorted, of the first (or last) `count` examples that hold every class alike, give or take one.

    Raises:
        InputError: if some class has too few.
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
    """Class-balanced training and held-out splits, apart from each other and the same for every seed.

    Args:
        train: the full training split.
        train_examples: size of the first; 0: all that are not held out.
        val_examples: size of the second.

    Raises:
        InputError: if there are not as many examples.
    """
    if min(train_examples, val_examples) < 0 or train_examples + val_examples > len(train):
        raise InputError(
            f"train_examples and val_examples must be at least 0 and together at most {len(train)}."
            f" Received: {train_examples} and {val_examples}"
        )
    held_out = balanced(train.labels, val_examples, last=True)
    rest = train.take(np.setdiff1d(np.arange(len(train)), held_out))
    if train_examples:
        rest = rest.take(balanced(rest.labels, train_examples))
    return rest, train.take(held_out)
