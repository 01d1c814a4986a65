"""Many runs: sweeps over a grid, the paper's tables, searches for the best teacher.

In: a grid, the number of a table, or a search space.
Out: finished runs, tables that set them beside the paper's, and a recommendation.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
