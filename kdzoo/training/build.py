"""The networks of a run, built from its seed and compiled with its optimizer."""

import random

from kdzoo.distillation.distiller import Distiller
from kdzoo.distillation.dtype import dtype_policy
from kdzoo.distillation.optimizers import CoupledSGD
from kdzoo.runs import names
from kdzoo.runs.config import RunConfig
from kdzoo.teachers.zoo_teacher import ZooTeacher
from kdzoo.training import strategy
from kdzoo.training.delivery import Delivery
from kdzoo.training.inputs import RunInputs


def build_distiller(inputs: RunInputs, delivery: Delivery) -> Distiller:
    """The student, freshly initialised from the seed, and the teachers inside its training step.

    Raises:
        InputError: if student and teachers do not fit together.
    """
    config, dataset = inputs.config, inputs.dataset
    random.seed(config.seed)  # Keras seeds every layer from here
    with strategy.scope(config), dtype_policy(config.dtype_policy):
        student = names.build(config.model, num_classes=dataset.num_classes, input_shape=dataset.image_shape)
        model = Distiller(
            student,
            [teacher.build() for teacher in delivery.models],
            ce_weight=config.ce_weight,
            kd_weight=config.kd_weight,
            at_weight=config.at_weight,
            temperature=config.temperature,
            at_mode=config.at_mode,
            outputs_given=delivery.outputs_given,
        )
        model.compile(CoupledSGD(config.lr, momentum=config.momentum, coupled_weight_decay=config.weight_decay))
        model.optimizer.build(model.trainable_variables)
    if config.at_weight and delivery.outputs_given:  # such a `Distiller` has not seen the teachers
        for teacher in inputs.ensemble.teachers:
            if isinstance(teacher, ZooTeacher):
                teacher.check_pair(student)
    return model


def build_label_model(distiller: Distiller, config: RunConfig) -> Distiller:
    """The same student under the same optimizer, to be trained on labels alone."""
    with strategy.scope(config), dtype_policy(config.dtype_policy):
        model = Distiller(distiller.student, ce_weight=1.0, kd_weight=0.0)
        model.compile(distiller.optimizer)
    return model
