"""The networks of a run, built from its seed and compiled with its optimizer."""

import logging
import random

import keras

from kdzoo.distillation.distiller import Distiller
from kdzoo.distillation.dtype import dtype_policy
from kdzoo.distillation.optimizers import make_optimizer
from kdzoo.models import networks
from kdzoo.runs.config import RunConfig
from kdzoo.training import strategy
from kdzoo.training.delivery import Delivery
from kdzoo.training.inputs import RunInputs

_log = logging.getLogger(__name__)


def build_distiller(inputs: RunInputs, delivery: Delivery) -> Distiller:
    """The student, freshly initialised from the seed, and the teachers inside its training step.

    Raises:
        InputError: if student and teachers do not fit together.
    """
    config = inputs.config
    random.seed(config.seed)  # Keras seeds every layer from here
    with strategy.scope(config), dtype_policy(config.dtype_policy):
        student = build_student(inputs)
        model = Distiller(
            student,
            [teacher.build() for teacher in delivery.models],
            outputs_given=delivery.outputs_given,
            **config.loss_options,
        )
        model.compile(make_optimizer(**config.optimizer_options))
        model.optimizer.build(model.trainable_variables)
    return model


def build_student(inputs: RunInputs) -> keras.Model:
    """The student with its first weights: new ones, those that its spec names, or those of `init`.

    Raises:
        InputError: see `kdzoo.models.networks.build`, and if `init` is of another architecture.
    """
    config, dataset = inputs.config, inputs.dataset
    network = networks.build(config.spec, num_classes=dataset.num_classes, input_shape=dataset.image_shape)
    if network.replaced_head is not None:
        _log.warning(
            "%s: a new head of %d classes replaces its own, of %d",
            config.model,
            dataset.num_classes,
            network.replaced_head,
        )
    if inputs.init is not None:
        networks.copy_weights(inputs.init.build(), network.model, spec=inputs.init.spec)
    return network.model


def build_label_model(distiller: Distiller, config: RunConfig) -> Distiller:
    """The same student under the same optimizer, to be trained on labels alone."""
    with strategy.scope(config), dtype_policy(config.dtype_policy):
        model = Distiller(distiller.student, ce_weight=1.0, kd_weight=0.0)
        model.compile(distiller.optimizer)
    return model
