"""Artefacts where all machines see them: immutable objects named by their content, and manifests that list them.

In: a folder that all machines share, or s3://BUCKET/PREFIX; bytes, directories.
Out: the same bytes on any other machine, whole or not at all.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
