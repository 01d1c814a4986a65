"""The whole batch, for losses that compare its examples with each other, where replicas have a share of it each."""

import dataclasses
from typing import Any

import keras

from kdzoo.distillation.method import Outputs


def gather(values: Any) -> Any:
    """Returns tensors [n, ...] of this replica as those of all replicas, [batch, ...], with their gradients.

    On JAX a batch is one array, whatever the devices, so they are returned as they are.

    Args:
        values: tensors in tuples, lists and `Outputs`; None stays None.
    """
    context = _context()
    if context is None:
        return values
    import tensorflow as tf

    def gather_one(x: Any) -> Any:  # its static shape would be lost
        return tf.ensure_shape(context.all_gather(x, axis=0), (None, *x.shape[1:]))

    return _map(gather_one, values)


def own_share(values: Any, like: Any) -> Any:
    """Returns the part of a gathered tensor [batch, ...] that is this replica's own.

    Args:
        values: the tensor.
        like: a tensor of this replica [n, ...].
    """
    context = _context()
    if context is None:
        return values
    count = keras.ops.shape(like)[0]
    return values[context.replica_id_in_sync_group * count :][:count]


def _context() -> Any:
    """TensorFlow's replica context; None if there is one replica, or on JAX."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return context if context is not None and context.num_replicas_in_sync > 1 else None


def _map(change: Any, values: Any) -> Any:
    if values is None:
        return None
    if isinstance(values, Outputs):
        fields = {field.name: _map(change, getattr(values, field.name)) for field in dataclasses.fields(values)}
        return Outputs(**fields)
    if isinstance(values, list | tuple):
        return type(values)(_map(change, value) for value in values)
    return change(values)
