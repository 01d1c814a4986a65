"""The `digits` data set: scikit-learn's handwritten digits."""

import numpy as np

from kdzoo.data.dataset import Dataset, canonical, from_arrays
from kdzoo.data.sampling import split_train


def read_digits() -> Dataset:
    """Reads the 1,797 digits, enlarged from 8x8 to 32x32x3; 360 of them, balanced by class, are the test split."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images * 255 / 16).round().astype(np.uint8)
    images = images.repeat(4, axis=1).repeat(4, axis=2)[..., None].repeat(3, axis=3)
    examples = canonical(images, digits.target)
    train, test = split_train(examples, val_examples=360)
    return from_arrays("digits", train.array, train.labels, test.array, test.labels)
