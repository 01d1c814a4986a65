"""Distillation in pure Keras: the model that trains a student, with its losses, schedules, optimizer and metrics.

In: a student and teachers as Keras models, loss weights and a temperature.
Out: `Distiller`, a `keras.Model`, and pure functions of logits, stages and epochs.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
