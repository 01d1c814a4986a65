"""Teachers that are trained zoo models."""

import functools
import logging
import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from kdzoo.data import augmentation
from kdzoo.data.dataset import Dataset
from kdzoo.hub import models
from kdzoo.runs import machine, weights
from kdzoo.teachers.base import Teacher, check_fits
from zoo import InputError, list_stages

_log = logging.getLogger(__name__)

COMPARED = 1000  # test images, of a network in another precision


class ZooTeacher(Teacher):
    """A trained network of ours.

    Args:
        trained: the network.
        policy: Keras's, in whose precision it computes.
        attention: whether it is asked for maps.
    """

    def __init__(self, trained: models.Trained, policy: str, *, attention: bool):
        self.spec, self.digest = trained.spec, trained.digest()
        self._trained, self._policy, self._attention = trained, policy, attention
        told = ("name", "method", "seed", "parameters", "test_error_last", "test_ece_last", "teachers")
        self.record = {key: trained.record[key] for key in told if key in trained.record}
        if "expected_calibration_error" in trained.record:  # a card
            self.record["test_ece_last"] = trained.record["expected_calibration_error"]
        self.directory = trained.directory
        self._program, self._lock = None, threading.Lock()
        self.max_calls_ahead = int(bool(machine.hardware()["accelerators"]))

    def check(self, dataset: Dataset) -> None:
        check_fits(self.spec, self._trained.record, dataset)
        needed = [list(dataset.mean), list(dataset.std)]
        received = [self._trained.record["dataset"][key] for key in ("mean", "std")]
        if received != needed:
            raise InputError(
                f"A teacher must have learnt from images standardised as the student's: mean, std {needed}."
                f" Received: {received} from {self.spec}"
            )
        self._statistics = {"mean": dataset.mean, "std": dataset.std}

    def build(self):
        """The Keras model."""
        return self._build(self._policy)

    def _build(self, policy: str):
        from kdzoo.distillation.dtype import dtype_policy

        with dtype_policy(policy):
            return self._trained.build()

    def key(self, dataset):
        return super().key(dataset) | {"dtype": self._policy}

    def check_pair(self, student) -> None:
        """Raises InputError unless student and teacher have as many stages, for attention transfer."""
        from kdzoo.distillation import distiller

        distiller.check_pair(student, weights.build(self._trained.record), attention=True)

    def compare_with_float32(self, dataset):
        images = augmentation.standardise(dataset.test.images[:COMPARED], **self._statistics)
        logits = []
        for policy in ("float32", self._policy):
            program = compiled(self._build(policy), attention=False)
            logits.append(np.concatenate([program(images[i : i + 100])[0] for i in range(0, len(images), 100)]))
        agreement = 100 * float(np.mean(logits[0].argmax(-1) == logits[1].argmax(-1)))
        apart = float(np.abs(logits[0] - logits[1]).max())
        self.record |= {"bfloat16_agreement": agreement, "bfloat16_logits_apart": apart}
        _log.warning(
            "%s in bfloat16 names the class that it does in float32 for %.2f %% of %d test images, logits %.3f apart",
            self.spec,
            agreement,
            len(images),
            apart,
        )

    @property
    def activations(self) -> int:
        """How many numbers its layers give of one image, all together."""
        return sum(math.prod(layer.output.shape[1:]) for layer in weights.build(self._trained.record).layers)

    @property
    def program(self) -> Callable[[Any], tuple[Any, list[Any]]]:
        """See `compiled`."""
        with self._lock:
            if self._program is None:  # a run whose tables are full never builds it
                self._program = compiled(self.build(), attention=self._attention)
        return self._program

    def compute(self, images):
        logits, maps = self.program(augmentation.standardise(images, **self._statistics))
        return {"logits": np.asarray(logits), "maps": [np.asarray(one) for one in maps]}


def compiled(model, *, attention: bool) -> Callable[[Any], tuple[Any, list[Any]]]:
    """From standardised images to a teacher's logits and, with `attention`, its maps: a program of its own.

    On TensorFlow it stays one, of the same last bits, where a training step calls it.
    """
    import keras

    from kdzoo.distillation import losses

    stages = [model.get_layer(name).output for name in list_stages(model)] if attention else []
    pool, head = model.get_layer("pool"), model.get_layer("logits")
    tap = keras.Model(model.inputs, {"features": pool.input, "stages": stages})

    def say(outputs):
        logits = head(average(outputs["features"]))
        return keras.ops.cast(logits, "float32"), [losses.compact_map(stage) for stage in outputs["stages"]]

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        def average(features):
            # As the pool layer, whose mean goes by an image's place in the batch where channels are no multiple of 8.
            return tf.squeeze(tf.nn.avg_pool2d(features, features.shape[1:3], 1, "VALID"), (1, 2))

        images = tf.TensorSpec([None, *model.input_shape[1:]], tf.float32)
        return tf.function(
            lambda images: say(tap(images, training=False)),
            input_signature=[images],
            autograph=False,
            experimental_attributes={"_noinline": True},
        )
    import jax

    average = pool
    variables = model.variables

    @jax.jit
    def call(values, images):
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return say(tap(images, training=False))

    return functools.partial(call, [variable.value for variable in variables])
