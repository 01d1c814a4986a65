"""The networks that runs train: what names them, how they are built, and what they cost.

In: a name or spec, a number of classes, an image shape.
Out: a Keras model from images to logits, or exact counts of it. Importing this package loads no backend.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
