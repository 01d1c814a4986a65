"""The `digits` data set: scikit-learn's handwritten digits."""

import numpy as np

from kdzoo.data.dataset import Dataset, canonical, from_arrays
from kdzoo.data.sampling import split_train


def read_digits() -> Dataset:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images * 255 / 16).round().astype(np.uint8)
    images = images.repeat(4, axis=1).repeat(4, axis=2)[..., None].repeat(3, axis=3)
    every = canonical(images, digits.target)
    train, test = split_train(every, val_examples=360)
    return from_arrays("digits", train.images, train.labels, test.images, test.labels)
