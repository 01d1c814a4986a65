"""Reports: statistics over seeds, tables, plots and TensorBoard pages, as pure functions of run records.

In: records of finished runs.
Out: Markdown, CSV, figures and event files.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
