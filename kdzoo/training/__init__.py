"""One training run, from its configuration to its record.

In: a `RunConfig` and a directory.
Out: weights, record, checkpoints and event files in that directory; `evaluate_run` measures a trained network.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
