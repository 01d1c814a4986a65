"""Knowledge distillation in Keras 3: which teacher, trained for how long, gives a small student the lowest error?

Names are imported when first used: `import kdzoo` is fast and loads no backend.
"""

import os

import lazy_loader

# TensorFlow leaves oneDNN off on x86 processors without AVX512-VNNI. Without it training takes more than twice as long,
# and a network's output for an image depends in its last bits on the image's place in the batch (benchmarks/README.md).
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
