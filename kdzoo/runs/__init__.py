"""One run on disk: its configuration, name, record, weights, checkpoints, event files and progress.

In: the configuration of a training run and its measurements.
Out: files in the run's directory, and what other packages read from them. Importing this package loads no backend.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
