"""Published models: listed, verified and loaded, from this machine or a server.

In: a model's name, address or directory.
Out: its card, or the Keras model with its weights.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
