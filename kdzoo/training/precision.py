"""The choice of precision by measurement, and the speed of training steps on this machine."""

import dataclasses
import statistics
import time
from collections.abc import Callable

import numpy as np

from kdzoo.data.dataset import Dataset
from kdzoo.distillation.distiller import Distiller
from kdzoo.distillation.dtype import dtype_policy
from kdzoo.runs.config import RunConfig
from kdzoo.training import backends, strategy
from kdzoo.training.student import build_student, make_optimizer

SECONDS = 5.0  # of measuring, without compilation
CANDIDATES = ("float32", "mixed_bfloat16")


def choose(config: RunConfig, dataset: Dataset, *, seconds: float = SECONDS) -> str:
    """The faster of float32 and mixed_bfloat16 on this machine: training steps of the student, timed in turn.

    A processor without bfloat16 instructions may take a hundred times as long with it: a few images show that first.
    """
    images = config.batch_size
    if config.strategy == "data_parallel":
        images = max(1, images // strategy.count_replicas(config))
    few = min(8, images)
    steps = {name: _stepper(config, dataset, few, name) for name in CANDIDATES}
    once = {name: min(_timed(step) for _ in range(3)) for name, step in steps.items()}
    if once["mixed_bfloat16"] > 3 * once["float32"]:
        return "float32"
    steps = {name: _stepper(config, dataset, images, name) for name in CANDIDATES}
    taken: dict[str, list[float]] = {name: [] for name in CANDIDATES}
    began = time.monotonic()
    while time.monotonic() - began < seconds or len(taken["float32"]) < 3:
        for name, step in steps.items():
            taken[name].append(_timed(step))
    return min(CANDIDATES, key=lambda name: statistics.median(taken[name]))


def images_per_second(config: RunConfig, dataset: Dataset, *, seconds: float = SECONDS) -> float:
    """Speed of training the configuration's network alone on this machine: a median over steps."""
    step = _stepper(config, dataset, config.batch_size, config.dtype_policy)
    taken: list[float] = []
    began = time.monotonic()
    while time.monotonic() - began < seconds or len(taken) < 3:
        taken.append(_timed(step))
    return config.batch_size / statistics.median(taken)


def _timed(step: Callable[[], None]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def _stepper(config: RunConfig, dataset: Dataset, images: int, policy: str) -> Callable[[], None]:
    """A function that trains the configuration's network for one step on so many images; compiled already."""
    train = dataset.train.take(np.arange(images) % len(dataset.train))
    config = dataclasses.replace(
        config, batch_size=images, fused_steps=1, augment="none", unlabelled="", strategy="none"
    )
    with dtype_policy(policy):
        student = build_student(config, dataset, pretrained=False)
        model = Distiller(student, ce_weight=1.0, kd_weight=0.0)
        model.compile(make_optimizer(config, student), jit_compile=False)
        model.optimizer.build(model.trainable_variables)
    steps = backends.make(model, dataset, train, config)

    def step() -> None:
        steps.run(epoch=0, begin=0, end=1)
        steps.metrics()  # waits until the step is done

    step()
    return step
