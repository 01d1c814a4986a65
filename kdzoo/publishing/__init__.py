"""Publishing: a finished run becomes a SavedModel with a card.

In: directories of finished runs.
Out: a folder that `kdzoo.load` finds and TensorFlow Serving serves.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
