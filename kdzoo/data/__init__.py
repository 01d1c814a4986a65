"""Data sets, and which image a training step sees, and how.

In: the name of a data source (cifar10, cifar100, digits, npz:FILE), a seed, an epoch.
Out: splits of uint8 images with labels, and batches of standardised float32 images.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
