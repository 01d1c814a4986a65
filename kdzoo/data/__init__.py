"""Data sets, the order and the views in which training sees their images, and training batches.

In: the name of a data source (cifar10, cifar100, digits, npz:FILE), a seed and an epoch.
Out: splits of uint8 images with labels, and batches of standardised float32 images.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
