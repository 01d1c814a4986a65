"""Measures how fast this machine trains the networks of an experiment."""

import dataclasses
import math
from collections.abc import Iterable

import numpy as np

from kdzoo.data import sampling
from kdzoo.data.dataset import Dataset
from kdzoo.experiments import machine_share
from kdzoo.experiments.cost import MachineSpeed
from kdzoo.models import names
from kdzoo.runs.config import RunConfig
from kdzoo.training import precision

SECONDS = 3.0  # of each measurement, without compilation
SMALL_BATCH = 32  # of the biggest networks, which take seconds for a batch of 128
CPU_PIXELS = 2**18  # of a batch: more make a processor no faster, only slower to measure


def measure(architectures: Iterable[str], config: RunConfig, dataset: Dataset) -> MachineSpeed:
    """Measures training steps of the smallest and the biggest network of each family, and interpolates the others.

    Args:
        architectures: networks to train, and their teachers.
        config: configuration of any run: its precision, batch size and numbers of examples.
        dataset: the data set, of which only the sizes matter.
    """
    if config.augment == "auto":
        config = dataclasses.replace(config, augment=dataset.augment)
    work = {name: multiplications(name, dataset) for name in sorted(set(architectures))}
    height, width, _ = dataset.image_shape
    most = config.batch_size if machine_share.gpus() else min(config.batch_size, CPU_PIXELS // (height * width) or 1)
    seconds: dict[str, float] = {}
    for family in {names.parse(name).family for name in work}:
        of_family = sorted((name for name in work if names.parse(name).family == family), key=work.__getitem__)
        measured = {}
        for name in dict.fromkeys((of_family[0], of_family[-1])):
            batch = most if name == of_family[0] else min(most, SMALL_BATCH)
            one = dataclasses.replace(config, model=name, batch_size=batch)
            if one.dtype_policy == "auto":
                one = dataclasses.replace(one, dtype_policy=precision.choose(one, dataset))
            measured[name] = 1 / (3 * precision.images_per_second(one, dataset, seconds=SECONDS))
        known = [math.log(work[name]) for name in measured], [math.log(value) for value in measured.values()]
        seconds |= {name: math.exp(np.interp(math.log(work[name]), *known)) for name in of_family}
    train, _ = sampling.split_positions(
        dataset.train.labels, train_examples=config.train_examples, val_examples=config.val_examples
    )
    return MachineSpeed(seconds, len(train), len(dataset.test))


def multiplications(model: str, dataset: Dataset) -> int:
    """Number of multiplications in convolutions and dense layers of one image's forward pass."""
    network = names.build(model, num_classes=dataset.num_classes, input_shape=dataset.image_shape)
    kernels = ((layer.kernel.shape, layer.output.shape[1:-1]) for layer in network.layers if hasattr(layer, "kernel"))
    return sum(math.prod(kernel) * math.prod(positions) for kernel, positions in kernels)
