"""Pseudo-random numbers as a pure function of what they are for."""

import numpy as np


def counter_hash(seed: int | np.ndarray, epoch: int | np.ndarray, indices: np.ndarray, *, stream: int) -> np.ndarray:
    """Hashes (stream, seed, epoch, index), whole numbers or arrays of them, to pseudo-random uint64.

    SplitMix64 (Steele et al., OOPSLA 2014).
    """
    with np.errstate(over="ignore"):
        state = np.zeros(1, np.uint64)
        for number in (stream, seed, epoch, indices):
            state = (state ^ np.asarray(number).astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return state
