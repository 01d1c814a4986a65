"""One run: a configuration in, a trained network and its record out."""

import contextlib
import dataclasses
import functools
import logging
import os
import pathlib
import random
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from kdzoo import files
from kdzoo.data import sampling, sources
from kdzoo.data.dataset import Dataset, Split
from kdzoo.distillation import distiller, schedules
from kdzoo.distillation.dtype import dtype_policy
from kdzoo.distillation.optimizers import CoupledSGD
from kdzoo.runs import checkpoints, events, machine, names, records, weights
from kdzoo.runs.config import RunConfig
from kdzoo.runs.events import EVENTS, summary_writer
from kdzoo.runs.progress import Progress, silent
from kdzoo.teachers import base, resolve, zoo_teacher
from kdzoo.teachers import output_cache as caches
from kdzoo.teachers.outputs import TeacherOutputs
from kdzoo.training import backends, precision
from kdzoo.training.loop import Saver, Stopped, TrainingState, run_epochs, summary, timestamp, write_row
from kdzoo.training.steps import Steps, predict
from zoo import InputError

_log = logging.getLogger(__name__)

CHECKPOINT_MINUTES = 5.0


def run(
    config: RunConfig,
    workdir: str | os.PathLike,
    *,
    restart: bool = False,
    checkpoint_minutes: float = CHECKPOINT_MINUTES,
    teacher_deadline: float = base.DEADLINE,
    teacher_cache: str = "auto",
    cache_gb: float = caches.CACHE_GB,
    progress: Callable[[Progress], None] = silent,
    stopping: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Trains a network as configured; writes its weights, event files and record into `workdir`.

    The same configuration gives the same weights to the bit on the same CPU with as many cores, also where the run was
    killed, at any moment and as often as you like, and the same call made again: it goes on from the last checkpoint.

    Args:
        config: what to train, and how.
        workdir: a directory, made if need be.
        restart: whether to throw away what is there of a finished or unfinished run.
        checkpoint_minutes: longest time between checkpoints, above 0; there is one at each epoch's end in any case.
        teacher_deadline: seconds in which a teacher behind a server must answer, or else the run saves and ends.
        teacher_cache: where to keep what teachers say, for this run and others: auto ($KDZOO_CACHE, or kdzoo in the
            user's cache folder), off, or a folder. On a CPU the result is the same to the bit.
        cache_gb: what the cache may take of the disk, in 10^9 bytes, above 0.
        progress: called after steps, at most about once a second, and at each epoch's end: see `kdzoo.progress`.
        stopping: asked after steps; once it says so, the run saves where it is and raises Stopped.

    Returns:
        The record, as in `workdir/record.json`. Errors and agreement are in percent.

    Raises:
        InputError: if the configuration is impossible or the workdir cannot take the run. Nothing is written then.
        Stopped: see `stopping`.
    """
    config.check()
    if not checkpoint_minutes > 0:
        raise InputError(f"checkpoint_minutes must be above 0, for example 5. Received: {checkpoint_minutes}")
    cache = caches.find(teacher_cache, cache_gb)
    make_deterministic()
    workdir = pathlib.Path(workdir)
    _check_workdir(workdir, restart=restart)
    dataset = sources.load(config.dataset, config.dataset_name)
    train, val = sampling.split_train(
        dataset.train, train_examples=config.train_examples, val_examples=config.val_examples
    )
    if len(train) < config.batch_size:
        raise InputError(
            f"batch_size must be at most the {len(train)} training examples. Received: {config.batch_size}"
        )
    config = _resolve(config, dataset, None if restart else workdir)
    ensemble = resolve.Ensemble(config, deadline=teacher_deadline)
    for teacher in ensemble.teachers:
        if isinstance(teacher, zoo_teacher.ZooTeacher) and workdir.resolve() == teacher.directory.resolve():
            raise InputError(f"workdir must not be the teacher's own directory. Received: {workdir}")
    ensemble.check(dataset)
    if config.teacher_dtype == "bfloat16":
        for teacher in ensemble.teachers:
            teacher.compare_with_float32(dataset)

    asked = bool(ensemble.teachers) and bool(cache or ensemble.has_external or not _accelerated(config))
    with (
        contextlib.closing(TeacherOutputs(ensemble, dataset, train, config, cache))
        if asked
        else contextlib.nullcontext()
    ) as answers:
        say = answers.in_step() if answers and not _accelerated(config) else None
        model = _build(config, dataset, [] if asked else ensemble.teachers, outputs_given=say or asked)
        for teacher in ensemble.teachers if config.at_weight and asked else ():
            if isinstance(teacher, zoo_teacher.ZooTeacher):
                teacher.check_pair(model.student)

        @functools.lru_cache(maxsize=1)
        def phase(taught: bool) -> Steps:
            if taught:
                return backends.make(model, dataset, train, config, None if say else answers)
            return backends.make(_untaught(model, config), dataset, train, config)

        def steps_of(epoch: int) -> Steps:
            return phase(epoch < config.kd_epochs or config.kd_epochs == schedules.parse(config.schedule).epochs)

        @functools.cache
        def taught_logits() -> np.ndarray | None:
            if answers:
                return answers.test_logits()
            said = [predict(teacher, dataset.test, dataset) for teacher in model.teachers]
            return np.mean(said, axis=0) if said else None

        with _working(workdir):
            _check_workdir(workdir, restart=restart)  # again: another process may just have finished
            if restart:
                _clear(workdir)
            identity = _identity(config, dataset, ensemble)
            place = _resume(workdir, steps_of, identity) or TrainingState()
            place.sessions.append(
                {
                    "started": timestamp(),
                    "epoch": place.epoch,
                    "step": place.step,
                    "versions": machine.versions(),
                    "hardware": machine.hardware(),
                    "teacher_cache": str(cache.folder) if asked and cache else "off",
                }
            )
            splits = {"train": train, "val": val, "test": dataset.test}
            record = _describe_run(config, dataset, splits, model, ensemble) | {"started": place.started}
            with _writer(workdir, record, place) as writer, Saver(workdir, steps_of, place, identity) as save:
                run_epochs(
                    steps_of,
                    config,
                    {name: splits[name] for name in ("test", "val") if len(splits[name])},
                    place,
                    taught_logits=taught_logits,
                    save=save,
                    checkpoint_seconds=60 * checkpoint_minutes,
                    writer=writer,
                    progress=progress,
                    stopping=stopping,
                )
                record |= summary(place)
                if answers and not say:
                    place.sessions[-1]["teacher_rows"] = answers.rows
                record |= {key: place.sessions[-1][key] for key in ("versions", "hardware")} | {
                    "sessions": place.sessions
                }
                weights.save_weights(workdir, model)
                records.write(workdir, record)
            shutil.rmtree(workdir / checkpoints.DIRECTORY, ignore_errors=True)
    return record


def _describe_run(
    config: RunConfig,
    dataset: Dataset,
    splits: dict[str, Split],
    model: distiller.Distiller,
    ensemble: resolve.Ensemble,
) -> dict[str, Any]:
    """What the record says before the first step."""
    return {
        "name": f"{config.model}_{config.schedule}",
        "method": config.method,
        "config": dataclasses.asdict(config),
        "dataset": {
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "num_classes": dataset.num_classes,
            "image_shape": list(dataset.image_shape),
            "mean": list(dataset.mean),
            "std": list(dataset.std),
            **{f"{name}_examples": len(split) for name, split in splits.items()},
        },
        "parameters": weights.count_parameters(model.student),
        "teachers": [teacher.record for teacher in ensemble.teachers],
        "seed": config.seed,
    }


def make_deterministic() -> None:
    """Has TensorFlow give the same numbers each time; to be called before it computes."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.random.set_seed(0)  # determinism will not have random operations without; weights are drawn by NumPy
        tf.config.experimental.enable_op_determinism()


def _resolve(config: RunConfig, dataset: Dataset, workdir: pathlib.Path | None) -> RunConfig:
    """With what was left open told by the data set, by measuring or, of an interrupted run, by its checkpoint."""
    if config.augment == "auto":
        config = dataclasses.replace(config, augment=dataset.augment)
    if config.dtype_policy == "auto":
        found = checkpoints.load(workdir) if workdir else None
        chosen = found[1]["identity"]["dtype_policy"] if found else precision.choose(config, dataset)
        _log.info("dtype_policy auto: %s", chosen)
        config = dataclasses.replace(config, dtype_policy=chosen)
    return config


def _accelerated(config: RunConfig) -> bool:
    """Whether steps run on accelerators or replicas: live teachers are then Keras models in the step like any other."""
    return config.strategy != "none" or bool(machine.hardware()["accelerators"])


def _build(
    config: RunConfig, dataset: Dataset, in_step: Sequence[zoo_teacher.ZooTeacher], *, outputs_given: bool | Callable
) -> distiller.Distiller:
    """The student, freshly initialised from the seed, and teachers that run inside its step, ready to train."""
    random.seed(config.seed)  # from here Keras seeds every layer
    with _scope(config), dtype_policy(config.dtype_policy):
        student = names.build(config.model, num_classes=dataset.num_classes, input_shape=dataset.image_shape)
        model = distiller.Distiller(
            student,
            [teacher.build() for teacher in in_step],
            ce_weight=config.ce_weight,
            kd_weight=config.kd_weight,
            at_weight=config.at_weight,
            temperature=config.temperature,
            at_mode=config.at_mode,
            outputs_given=outputs_given,
        )
        model.compile(CoupledSGD(config.lr, momentum=config.momentum, coupled_weight_decay=config.weight_decay))
        model.optimizer.build(model.trainable_variables)
    return model


def _untaught(model: distiller.Distiller, config: RunConfig) -> distiller.Distiller:
    """The same student under the same optimiser, to go on learning from labels alone."""
    with _scope(config), dtype_policy(config.dtype_policy):
        untaught = distiller.Distiller(model.student, ce_weight=1.0, kd_weight=0.0)
        untaught.compile(model.optimizer)
    return untaught


def _identity(config: RunConfig, dataset: Dataset, ensemble: resolve.Ensemble) -> dict[str, Any]:
    """All that the result depends on, by content: where files lie does not matter, what is in them does."""
    identity = dataclasses.asdict(config) | {
        "dataset": dataset.fingerprint,
        "dataset_name": dataset.name,
        "backend": keras.backend.backend(),
    }
    return identity | {"teachers": [teacher.digest for teacher in ensemble.teachers]}


def _resume(workdir: pathlib.Path, steps_of: Callable[[int], Steps], identity: dict[str, Any]) -> TrainingState | None:
    """Puts the run where its newest checkpoint left it; None where there is none.

    Raises:
        InputError: if that is another run's, or damaged.
    """
    found = checkpoints.load(workdir)
    if found is None:
        return None
    arrays, meta = found
    theirs = meta["identity"]
    changed = [f"{key} {theirs.get(key)}, now {value}" for key, value in identity.items() if theirs.get(key) != value]
    if changed:
        raise InputError(
            "workdir must not hold an unfinished run of another configuration, unless restart is set."
            f" Received: {workdir}: {'; '.join(changed)}"
        )
    place = TrainingState(**meta["place"])
    steps_of(place.epoch).restore(arrays)
    last = place.sessions[-1]
    for what, now in (("versions", machine.versions()), ("hardware", machine.hardware())):
        if last[what] != now:
            _log.warning("Going on with other %s, so maybe not to the bit: %s, now %s", what, last[what], now)
    return place


@contextlib.contextmanager
def _writer(workdir: pathlib.Path, record: dict[str, Any], place: TrainingState):
    """An event file of the whole run, in place of what an interrupted session left of one."""
    for path in workdir.glob(EVENTS):
        path.unlink()
    writer = summary_writer(str(workdir))
    finished = False
    try:
        writer.hparams(events.hparams_of(record), metrics=events.metrics_of(record))
        for row in place.history:
            write_row(writer, row)
        yield writer
        finished = True
    except Stopped:
        finished = None
        raise
    finally:
        writer.close(finished=finished)


def _scope(config: RunConfig):
    """The context in which a run's networks are built."""
    if config.strategy == "none":
        return contextlib.nullcontext()
    strategy = mirrored_strategy()
    if config.batch_size % strategy.num_replicas_in_sync:
        raise InputError(
            f"batch_size must be a multiple of the {strategy.num_replicas_in_sync} replicas."
            f" Received: {config.batch_size}"
        )
    return strategy.scope()


@functools.cache
def mirrored_strategy():
    """`tf.distribute.MirroredStrategy` over all GPUs or, without one, all logical CPUs.

    One a process: two of them number their collective operations alike, and run into each other.

    Raises:
        InputError: if TensorFlow is not the backend.
    """
    if keras.backend.backend() != "tensorflow":
        raise InputError(f"strategy=mirrored needs the TensorFlow backend. Received: {keras.backend.backend()}")
    import tensorflow as tf

    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def _check_workdir(workdir: pathlib.Path, *, restart: bool) -> None:
    if (workdir / records.RECORD).exists() and not restart:
        raise InputError(f"workdir must not hold a finished run, unless restart is set. Received: {workdir}")
    parent = next((path for path in (workdir, *workdir.absolute().parents) if path.exists()), workdir)
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"workdir must be a directory that can be written. Received: {workdir}")


@contextlib.contextmanager
def _working(workdir: pathlib.Path):
    """Makes the directory, and keeps other processes out of it."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"workdir must be a directory that can be written. Received: {error}") from None
    with files.locked(workdir):
        yield


def _clear(workdir: pathlib.Path) -> None:
    """Removes what an earlier run left, its record first: without that it is no finished run."""
    for pattern in (records.RECORD, weights.WEIGHTS, EVENTS):
        for path in workdir.glob(pattern):
            path.unlink()
    shutil.rmtree(workdir / checkpoints.DIRECTORY, ignore_errors=True)
