"""Logit losses within TensorFlow graphs that leave the size of the batch open, as those of `fit` do."""

import inspect

import keras
import numpy as np
import pytest

from golden_methods import CLASSES, LABELS, LOGITS
from kdzoo.distillation.methods import dist, dkd, kd, label_smoothing, lskd, mlkd, nkd, tfkd, tfkd_self, ttm, wttm

if keras.backend.backend() != "tensorflow":
    pytest.skip("of TensorFlow", allow_module_level=True)

METHODS = (dist, dkd, kd, label_smoothing, lskd, mlkd, nkd, tfkd, tfkd_self, ttm, wttm)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__.rpartition(".")[2])
def test_a_graph_computes_in_float32_what_is_computed_eagerly(method):
    import tensorflow as tf

    inputs = {"labels": LABELS.astype(np.int32), **{name: logits.astype(np.float32) for name, logits in LOGITS.items()}}
    inputs = {name: inputs[name] for name in inspect.signature(method.loss).parameters if name in inputs}
    specs = {
        name: tf.TensorSpec((None,) if name == "labels" else (None, CLASSES), array.dtype)
        for name, array in inputs.items()
    }
    compiled = tf.function(lambda given: method.loss(**given), input_signature=[specs])
    value = compiled({name: tf.constant(array) for name, array in inputs.items()})
    assert value.dtype == tf.float32
    np.testing.assert_allclose(value, method.loss(**inputs), rtol=1e-5)
