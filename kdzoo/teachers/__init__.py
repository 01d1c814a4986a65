"""Teachers: zoo models, SavedModels, ONNX models and models behind gRPC, and the cache of their outputs.

In: a teacher spec (a name, a directory, onnx:FILE, grpc[s]://HOST:PORT/NAME) and images.
Out: teacher logits and attention maps for every training step.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
