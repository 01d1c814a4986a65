"""The printed tables of "On the Efficacy of Knowledge Distillation" (Cho & Hariharan, ICCV 2019), as data.

In: the number of a table of the supplement (arXiv:1910.01348), 1 to 10, or its Figure 1.
Out: its rows as printed, and the flags of the runs that repeat them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
