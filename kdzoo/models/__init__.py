"""The networks that runs train: what names them, and how they are built. Importing this package loads no backend.

In: a name or spec, a number of classes, an image shape.
Out: a Keras model from images to logits.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
