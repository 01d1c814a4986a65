"""One run on disk: its configuration, name, record, weights, checkpoints, event files and progress.

In: what a training run is given and measures.
Out: files that other rooms read; importing this room loads no backend.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
