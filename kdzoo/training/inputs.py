"""The inputs of a run: its configuration with every "auto" resolved, its data and its teachers."""

import contextlib
import dataclasses
import logging
import pathlib
from collections.abc import Mapping
from typing import Any

import keras

from kdzoo.data import augmentation, sampling, sources
from kdzoo.data.dataset import Dataset, Split
from kdzoo.distillation.stages import stage_names
from kdzoo.hub import models
from kdzoo.hub.models import Trained
from kdzoo.models import networks, specs
from kdzoo.runs import checkpoints, identity, records
from kdzoo.runs.config import RunConfig
from kdzoo.teachers.resolve import Ensemble
from kdzoo.teachers.zoo_teacher import ZooTeacher
from kdzoo.training import precision
from kdzoo.training.processes import ALONE, Processes
from zoo import InputError

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class RunInputs:
    """What a run learns from.

    Attributes:
        config: the configuration; no field of it is "auto" where the result depends on the choice.
        dataset: the whole data set.
        splits: "train", the examples that the student learns from; "val", held out of training; "test"; perhaps
            "unlabelled", more training examples.
        ensemble: the teachers, checked against the data set.
        init: the trained model whose weights the run's model begins with, None without.
        network: what the record keeps of a model that is no zoo model, and of `init`.
        processes: of the run.
    """

    config: RunConfig
    dataset: Dataset
    splits: dict[str, Split]
    ensemble: Ensemble
    init: Trained | None = None
    network: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    processes: Processes = ALONE

    @property
    def identity(self) -> dict[str, Any]:
        """All that the result depends on: see `kdzoo.runs.identity`."""
        return identity.identify(
            dataclasses.asdict(self.config),
            dataset=self.dataset.name,
            fingerprint=self.dataset.fingerprint,
            teachers=[teacher.record for teacher in self.ensemble.teachers],
            backend=keras.backend.backend(),
            unlabelled=self.dataset.unlabelled_fingerprint,
            network=self.network,
        )


def prepare_inputs(
    config: RunConfig,
    workdir: pathlib.Path,
    processes: Processes = ALONE,
    *,
    restart: bool,
    deadline: float,
    workers: int,
) -> RunInputs:
    """Loads the data, resolves the configuration and finds the teachers. Writes nothing. Close the data set afterwards.

    Args:
        config: of the run.
        workdir: its directory.
        processes: of the run.
        restart: whether to ignore an unfinished run there.
        deadline: seconds within which a teacher behind a server must respond.
        workers: see `kdzoo.data.load`.

    Raises:
        InputError: if the data or a teacher is missing, or they do not fit together.
    """
    with contextlib.ExitStack() as on_failure:
        dataset = on_failure.enter_context(contextlib.closing(sources.load(config.data, workers=workers)))
        inputs = _find_inputs(config, dataset, workdir, processes, restart=restart, deadline=deadline)
        on_failure.pop_all()  # the run closes the data set
    return inputs


def _find_inputs(
    config: RunConfig, dataset: Dataset, workdir: pathlib.Path, processes: Processes, *, restart: bool, deadline: float
) -> RunInputs:
    train, val = sampling.split_train(
        dataset.train, train_examples=config.train_examples, val_examples=config.val_examples
    )
    if len(train) < config.labelled_per_batch:
        raise InputError(
            f"batch_size must be at most the {len(train)} training examples. Received: {config.labelled_per_batch}"
        )
    of_network = dataset  # teachers have the standardisation that they were trained with
    if config.spec.own_standardisation:
        mean, std = augmentation.of_pixels(dataset.image_shape[2])
        of_network = dataclasses.replace(dataset, mean=mean, std=std)
    config = _resolve(config, of_network, None if restart else workdir, processes)
    init = models.resolve(config.init) if config.init else None
    ensemble = Ensemble(config, dataset, deadline=deadline)
    for teacher in ensemble.teachers:
        if isinstance(teacher, ZooTeacher) and workdir.resolve() == teacher.directory.resolve():
            raise InputError(f"workdir must not be the teacher's own directory. Received: {workdir}")
    if config.at_weight:
        _check_stages(config, dataset, ensemble)
    ensemble.check(dataset)
    if config.teacher_dtype == "bfloat16":
        for teacher in ensemble.teachers:
            teacher.compare_with_float32(dataset)
    splits = {"train": train, "val": val, "test": dataset.test}
    splits |= {"unlabelled": dataset.unlabelled} if dataset.unlabelled else {}
    return RunInputs(config, of_network, splits, ensemble, init, _describe_network(config, init), processes)


def _check_stages(config: RunConfig, dataset: Dataset, ensemble: Ensemble) -> None:
    """Raises InputError unless attention transfer between the student and its teachers is possible."""
    names = config.loss_options["student_stages"]
    shapes: dict[str, Any] = {"num_classes": dataset.num_classes, "input_shape": dataset.image_shape}
    student = networks.build(config.spec, pretrained=False, **shapes).model
    stage_names(student, names)
    for teacher in ensemble.teachers:
        if isinstance(teacher, ZooTeacher):
            teacher.check_pair(student, names)


def _describe_network(config: RunConfig, init: Trained | None) -> dict[str, Any]:
    """What the record keeps of where a network comes from: digests of the file and the weights that it begins with."""
    described: dict[str, Any] = {"kind": config.spec.kind} if config.spec.own_standardisation else {}
    if digest := specs.digest(config.spec):
        described["sha256"] = digest
    if init is not None:
        described["init"] = {"name": init.record["name"], "sha256": init.digest()}
    return described


def _resolve(config: RunConfig, dataset: Dataset, workdir: pathlib.Path | None, processes: Processes) -> RunConfig:
    """Replaces "auto" by the data set's augmentation and by the precision that is faster on this machine.

    A finished or unfinished run in `workdir` keeps its precision.
    """
    if config.augment == "auto":
        config = dataclasses.replace(config, augment=dataset.augment)
    if config.dtype_policy == "auto":
        chosen = processes.from_first(
            lambda: (_earlier_precision(workdir) if workdir else None) or precision.choose(config, dataset)
        )
        _log.info("dtype_policy auto: %s", chosen)
        config = dataclasses.replace(config, dtype_policy=chosen)
    return config


def _earlier_precision(workdir: pathlib.Path) -> str | None:
    if (workdir / records.RECORD).exists():
        return records.read(workdir)["config"]["dtype_policy"]
    found = checkpoints.load(workdir)
    return found[1]["identity"]["dtype_policy"] if found else None
