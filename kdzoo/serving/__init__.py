"""The gRPC server of published models (TensorFlow Serving's PredictionService).

In: cards of published models.
Out: a running server that responds to prediction requests.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
