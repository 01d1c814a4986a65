"""The networks of a run, built from its seed and compiled with its optimizer."""

import dataclasses
import random

import keras
import numpy as np

from kdzoo.distillation.distiller import Distiller
from kdzoo.distillation.dtype import dtype_policy
from kdzoo.distillation.method import Training
from kdzoo.distillation.pretraining import Pretraining
from kdzoo.runs.config import RunConfig
from kdzoo.training import strategy
from kdzoo.training.delivery import Delivery
from kdzoo.training.inputs import RunInputs
from kdzoo.training.student import build_student, make_optimizer


def build_distiller(inputs: RunInputs, delivery: Delivery) -> Distiller:
    """The student, freshly initialised from the seed, and the teachers inside its training step.

    Raises:
        InputError: if student and teachers do not fit together.
    """
    config = inputs.config
    random.seed(config.seed)  # Keras seeds every layer from here
    with strategy.scope(config), dtype_policy(config.dtype_policy):
        student = build_student(config, inputs.dataset, init=inputs.init)
        model = Distiller(
            student,
            [teacher.build() for teacher in delivery.models],
            outputs_given=delivery.outputs_given,
            teacher_shapes=delivery.teacher_shapes,
            training=describe_training(inputs),
            **config.loss_options,
        )
        model.compile(make_optimizer(config, model.student))
        model.optimizer.build(model.trainable_variables)
    return model


def describe_training(inputs: RunInputs) -> Training:
    """What some methods' adapters depend on."""
    labels = [inputs.splits[name].labels for name in ("train", "unlabelled") if name in inputs.splits]
    of_dataset = {"mean": inputs.dataset.mean, "std": inputs.dataset.std}
    return Training(inputs.config.batch_size, np.concatenate(labels), seed=inputs.config.seed, **of_dataset)


def build_pretraining(distiller: Distiller, config: RunConfig) -> Pretraining:
    """What the method trains before the student, under an optimizer of its own."""
    with strategy.scope(config), dtype_policy(config.dtype_policy):
        model = Pretraining(distiller)
        model.compile(make_optimizer(dataclasses.replace(config, backbone_lr=0.0), distiller.student))
        model.optimizer.build(model.trainable_variables)
    return model


def build_label_model(distiller: Distiller, config: RunConfig) -> Distiller:
    """The same student under the same optimizer, to be trained on labels alone."""
    with strategy.scope(config), dtype_policy(config.dtype_policy):
        model = Distiller(distiller.student, ce_weight=1.0, kd_weight=0.0)
        if distiller.term:  # part of the state, and on JAX of what the optimizer changes
            model.kept_term = distiller.term
            if keras.backend.backend() == "tensorflow":
                distiller.term.trainable = False  # else Keras warns that it has no gradients
        model.compile(distiller.optimizer)
    return model
