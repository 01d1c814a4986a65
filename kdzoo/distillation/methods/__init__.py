"""The distillation methods of the literature, one module each: the paper, the loss, and the authors' weights."""
