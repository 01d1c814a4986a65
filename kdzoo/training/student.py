"""The student of a run with its first weights, and its optimizer."""

import logging

import keras

from kdzoo.data.dataset import Dataset
from kdzoo.distillation import fine_tuning, optimizers
from kdzoo.hub.models import Trained
from kdzoo.models import networks
from kdzoo.runs.config import RunConfig

_log = logging.getLogger(__name__)


def build_student(
    config: RunConfig, dataset: Dataset, *, pretrained: bool = True, init: Trained | None = None
) -> keras.Model:
    """The network that a configuration names, for a data set; layers that it freezes are frozen.

    Args:
        config: of the run.
        dataset: the data set, for its classes and the shape of its images.
        pretrained: whether the network begins with the weights that its spec names.
        init: a trained model whose weights it begins with, None without.

    Raises:
        InputError: see `kdzoo.models.networks.build`; if `init` is of another architecture, or no layer or every layer
            is frozen.
    """
    shape, classes = dataset.image_shape, dataset.num_classes
    network = networks.build(config.spec, num_classes=classes, input_shape=shape, pretrained=pretrained)
    if pretrained and network.replaced_head is not None:
        _log.warning(
            "%s: a new head of %d classes replaces its own, of %d", config.model, classes, network.replaced_head
        )
    if init is not None:
        networks.copy_weights(init.build(), network.model, spec=init.spec)
    if config.freeze:
        fine_tuning.freeze(network.model, config.freeze)
    return network.model


def make_optimizer(config: RunConfig, student: keras.Model) -> keras.optimizers.Optimizer:
    """The optimizer of a run, for its student. Build it on the student's trainable variables."""
    backbone = fine_tuning.backbone_variables(student) if config.backbone_lr else []
    return optimizers.make_optimizer(**config.optimizer_options, backbone=backbone)
