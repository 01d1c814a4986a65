"""One run: a configuration in, a trained network and its record out."""

import concurrent.futures
import contextlib
import dataclasses
import datetime
import functools
import logging
import math
import os
import pathlib
import random
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from kdzoo import (
    checkpoints,
    data,
    distiller,
    files,
    hub,
    metrics,
    names,
    precision,
    records,
    schedules,
    teachers,
    tensorboard,
)
from kdzoo import steps as training_steps
from kdzoo import teacher_cache as caches
from kdzoo.answers import Answers
from kdzoo.config import RunConfig
from kdzoo.optimizers import CoupledSGD
from kdzoo.progress import Progress, silent
from kdzoo.tensorboard import EVENTS, NoSummaryWriter, summary_writer
from zoo import InputError

CHECKPOINT_MINUTES = 5.0

_log = logging.getLogger(__name__)


class Stopped(Exception):
    """A run was asked to stop, and saved where it was."""


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


@dataclasses.dataclass
class Place:
    """How far a run has come, and what it remembers beside the variables of a training step."""

    epoch: int = 0
    step: int = 0  # within the epoch
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    started: str = dataclasses.field(default_factory=_now)
    seconds: float = 0.0
    sessions: list[dict[str, Any]] = dataclasses.field(default_factory=list)


def run(
    config: RunConfig,
    workdir: str | os.PathLike,
    *,
    restart: bool = False,
    checkpoint_minutes: float = CHECKPOINT_MINUTES,
    teacher_deadline: float = teachers.DEADLINE,
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
    dataset = data.load(config.dataset, config.dataset_name)
    train, val = data.split_train(dataset.train, train_examples=config.train_examples, val_examples=config.val_examples)
    if len(train) < config.batch_size:
        raise InputError(
            f"batch_size must be at most the {len(train)} training examples. Received: {config.batch_size}"
        )
    config = _resolve(config, dataset, None if restart else workdir)
    ensemble = teachers.Ensemble(config, deadline=teacher_deadline)
    for teacher in ensemble.teachers:
        if isinstance(teacher, teachers.Network) and workdir.resolve() == teacher.directory.resolve():
            raise InputError(f"workdir must not be the teacher's own directory. Received: {workdir}")
    ensemble.check(dataset)
    if config.teacher_dtype == "bfloat16":
        for teacher in ensemble.teachers:
            teacher.compare_with_float32(dataset)

    asked = bool(ensemble.teachers) and bool(cache or ensemble.foreign or not _accelerated(config))
    with (
        contextlib.closing(Answers(ensemble, dataset, train, config, cache)) if asked else contextlib.nullcontext()
    ) as answers:
        say = answers.in_step() if answers and not _accelerated(config) else None
        model = _build(config, dataset, [] if asked else ensemble.teachers, outputs_given=say or asked)
        for teacher in ensemble.teachers if config.at_weight and asked else ():
            if isinstance(teacher, teachers.Network):
                teacher.check_pair(model.student)

        @functools.lru_cache(maxsize=1)
        def phase(taught: bool) -> training_steps.Steps:
            if taught:
                return training_steps.make(model, dataset, train, config, None if say else answers)
            return training_steps.make(_untaught(model, config), dataset, train, config)

        def steps_of(epoch: int) -> training_steps.Steps:
            return phase(epoch < config.kd_epochs or config.kd_epochs == schedules.parse(config.schedule).epochs)

        @functools.cache
        def taught_logits() -> np.ndarray | None:
            if answers:
                return answers.test_logits()
            said = [training_steps.predict(teacher, dataset.test, dataset) for teacher in model.teachers]
            return np.mean(said, axis=0) if said else None

        with _working(workdir):
            _check_workdir(workdir, restart=restart)  # again: another process may just have finished
            if restart:
                _clear(workdir)
            identity = _identity(config, dataset, ensemble)
            place = _resume(workdir, steps_of, identity) or Place()
            place.sessions.append(
                {
                    "started": _now(),
                    "epoch": place.epoch,
                    "step": place.step,
                    "versions": records.versions(),
                    "hardware": records.hardware(),
                    "teacher_cache": str(cache.folder) if asked and cache else "off",
                }
            )
            splits = {"train": train, "val": val, "test": dataset.test}
            record = _describe_run(config, dataset, splits, model, ensemble) | {"started": place.started}
            with _writer(workdir, record, place) as writer, _Saver(workdir, steps_of, place, identity) as save:
                _train(
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
                record |= _summary(place)
                if answers and not say:
                    place.sessions[-1]["teacher_rows"] = answers.rows
                record |= {key: place.sessions[-1][key] for key in ("versions", "hardware")} | {
                    "sessions": place.sessions
                }
                records.save_weights(workdir, model)
                records.write(workdir, record)
            shutil.rmtree(workdir / checkpoints.DIRECTORY, ignore_errors=True)
    return record


def _describe_run(
    config: RunConfig,
    dataset: data.Dataset,
    splits: dict[str, data.Split],
    model: distiller.Distiller,
    ensemble: teachers.Ensemble,
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
        "parameters": records.count_parameters(model.student),
        "teachers": [teacher.record for teacher in ensemble.teachers],
        "seed": config.seed,
    }


def make_deterministic() -> None:
    """Has TensorFlow give the same numbers each time; to be called before it computes."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.random.set_seed(0)  # determinism will not have random operations without; weights are drawn by NumPy
        tf.config.experimental.enable_op_determinism()


def _resolve(config: RunConfig, dataset: data.Dataset, workdir: pathlib.Path | None) -> RunConfig:
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
    return config.strategy != "none" or bool(records.hardware()["accelerators"])


def _build(
    config: RunConfig, dataset: data.Dataset, in_step: Sequence[teachers.Network], *, outputs_given: bool | Callable
) -> distiller.Distiller:
    """The student, freshly initialised from the seed, and teachers that run inside its step, ready to train."""
    random.seed(config.seed)  # from here Keras seeds every layer
    with _scope(config), precision.policy(config.dtype_policy):
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
    with _scope(config), precision.policy(config.dtype_policy):
        untaught = distiller.Distiller(model.student, ce_weight=1.0, kd_weight=0.0)
        untaught.compile(model.optimizer)
    return untaught


def _train(
    steps_of: Callable[[int], training_steps.Steps],
    config: RunConfig,
    held_out: dict[str, data.Split],
    place: Place,
    *,
    taught_logits: Callable[[], np.ndarray | None],
    save: "_Saver",
    checkpoint_seconds: float,
    writer: NoSummaryWriter,
    progress: Callable[[Progress], None],
    stopping: Callable[[], bool],
) -> None:
    """Runs what is left of the epochs, moving `place` along."""
    schedule = schedules.parse(config.schedule)
    rate = schedules.callback(schedule, lr=config.lr, decay=config.lr_decay)
    began, before = time.monotonic(), place.seconds
    saved = reported = began

    def report(**what) -> None:
        nonlocal reported
        reported = time.monotonic()
        progress(Progress(place.epoch, schedule.epochs, place.step, steps_of(place.epoch).per_epoch, **what))

    report()
    while place.epoch < schedule.epochs:
        steps = steps_of(place.epoch)
        rate.set_model(steps.model)
        rate.on_epoch_begin(place.epoch)
        if not place.step:
            steps.model.reset_metrics()
        epoch_began, epoch_first = time.monotonic(), place.step
        for end in training_steps.call_ends(steps.per_epoch, fused=steps.fused):
            if end <= place.step:
                continue
            try:
                steps.run(epoch=place.epoch, begin=place.step, end=end)
            except InputError:  # a teacher did not answer: no step was taken without it
                place.seconds = before + time.monotonic() - began
                save()
                raise
            place.step = end
            if end == steps.per_epoch:
                break
            place.seconds = before + time.monotonic() - began
            if stopping():
                save()
                raise Stopped(f"in epoch {place.epoch + 1} of {schedule.epochs}, step {end} of {steps.per_epoch}")
            if time.monotonic() - saved > checkpoint_seconds:
                save()
                saved = time.monotonic()
            if time.monotonic() - reported > 1:
                report(logs=_describe(steps.metrics()))
        row = {"epoch": place.epoch + 1, "lr": schedule.learning_rate(place.epoch, lr=config.lr, decay=config.lr_decay)}
        row |= _describe(steps.metrics())
        images = (place.step - epoch_first) * config.batch_size
        row["images_per_second"] = images / (time.monotonic() - epoch_began)
        if not math.isfinite(row["loss"]):
            raise InputError(
                f"Training diverged in epoch {place.epoch + 1}; a smaller lr may pass. Received: lr {config.lr}"
            )
        for name, split in held_out.items():
            said = taught_logits() if name == "test" else None
            described = metrics.describe(steps.predict(split), split.labels, teacher_logits=said)
            row |= {f"{name}_{what}": value for what, value in described.items()}
        row["time"] = time.time()
        place.history.append(row)
        place.epoch, place.step = place.epoch + 1, 0
        place.seconds = before + time.monotonic() - began
        save()
        saved = time.monotonic()
        _write_row(writer, row)
        report(row=row)
        if stopping() and place.epoch < schedule.epochs:
            raise Stopped(f"after epoch {place.epoch} of {schedule.epochs}")


def _summary(place: Place) -> dict[str, Any]:
    """What the epochs add to the record."""
    history = place.history
    errors = [row["test_error"] for row in history]
    result = {
        "history": history,
        "test_error_last": errors[-1],
        "test_error_best": min(errors),
        "test_error_best_epoch": 1 + errors.index(min(errors)),
        **{f"{what}_last": history[-1][what] for what in ("test_ece", "test_agreement") if what in history[-1]},
        # The first epoch compiles.
        "images_per_second": statistics.median(row["images_per_second"] for row in history[1:] or history),
        "wall_seconds": place.seconds,
    }
    if "val_error" in history[0]:
        chosen = min(history, key=lambda row: row["val_error"])
        result |= {"test_error_val_chosen": chosen["test_error"], "val_chosen_epoch": chosen["epoch"]}
    return result


class _Saver:
    """Saves a run's place; the writing to disk goes on beside the steps that follow."""

    def __init__(
        self,
        workdir: pathlib.Path,
        steps_of: Callable[[int], training_steps.Steps],
        place: Place,
        identity: dict[str, Any],
    ):
        self._workdir, self._steps_of, self._place, self._identity = workdir, steps_of, place, identity
        self._pool = concurrent.futures.ThreadPoolExecutor(1)
        self._pending = concurrent.futures.Future()
        self._pending.set_result(None)

    def __call__(self) -> None:
        self._pending.result()
        steps = self._steps_of(self._place.epoch)
        self._pending = self._pool.submit(
            checkpoints.save,
            self._workdir,
            step=self._place.epoch * steps.per_epoch + self._place.step,
            arrays=steps.state(),
            meta={"place": dataclasses.asdict(self._place), "identity": self._identity},
        )

    def __enter__(self) -> "_Saver":
        return self

    def __exit__(self, *_) -> None:
        self._pool.shutdown()
        self._pending.result()


def _identity(config: RunConfig, dataset: data.Dataset, ensemble: teachers.Ensemble) -> dict[str, Any]:
    """All that the result depends on, by content: where files lie does not matter, what is in them does."""
    identity = dataclasses.asdict(config) | {
        "dataset": dataset.fingerprint,
        "dataset_name": dataset.name,
        "backend": keras.backend.backend(),
    }
    return identity | {"teachers": [teacher.digest for teacher in ensemble.teachers]}


def _resume(
    workdir: pathlib.Path, steps_of: Callable[[int], training_steps.Steps], identity: dict[str, Any]
) -> Place | None:
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
    place = Place(**meta["place"])
    steps_of(place.epoch).restore(arrays)
    last = place.sessions[-1]
    for what, now in (("versions", records.versions()), ("hardware", records.hardware())):
        if last[what] != now:
            _log.warning("Going on with other %s, so maybe not to the bit: %s, now %s", what, last[what], now)
    return place


@contextlib.contextmanager
def _writer(workdir: pathlib.Path, record: dict[str, Any], place: Place):
    """An event file of the whole run, in place of what an interrupted session left of one."""
    for path in workdir.glob(EVENTS):
        path.unlink()
    writer = summary_writer(str(workdir))
    finished = False
    try:
        writer.hparams(tensorboard.hparams_of(record), metrics=tensorboard.metrics_of(record))
        for row in place.history:
            _write_row(writer, row)
        yield writer
        finished = True
    except Stopped:
        finished = None
        raise
    finally:
        writer.close(finished=finished)


def _write_row(writer: NoSummaryWriter, row: dict[str, float]) -> None:
    writer.scalars(tensorboard.scalars_of(row), step=row["epoch"], time=row["time"])


def _describe(logs: dict[str, float]) -> dict[str, float]:
    """What the record keeps of an epoch's metrics."""
    row = {"train_error": 100 * (1 - logs["accuracy"])}
    row |= {name: logs[name] for name in ("loss", "ce", "kd", "at", "teacher_kl") if name in logs}
    if "agreement" in logs:
        row["agreement"] = 100 * logs["agreement"]
    return row


def evaluate_run(
    where: str | os.PathLike, dataset_name: str | None = None, *, examples: int | None = None
) -> dict[str, Any]:
    """Evaluates a trained network on a test set: a run's in the precision it was trained in, a published in float32.

    Args:
        where: a run's directory, a published model's name, address or directory.
        dataset_name: see `kdzoo.data.load`; None: the run's own, by its name where the file it came from is gone.
        examples: only the first so many test images.

    Returns:
        name, dataset, test_examples, test_error in percent, test_ce in nats, test_ece from 0 to 1, and
        test_error_recorded, the error that record or card tell: of all test images, or of a published model's first
        1,000 where only those are evaluated.

    Raises:
        InputError: if the network or the data set is not there, or they do not fit together.
    """
    trained = hub.resolve(where)
    dataset = own_dataset(trained.record) if dataset_name is None else data.load(dataset_name)
    return evaluate(trained, dataset, examples=examples)


def evaluate(trained: hub.Trained, dataset: data.Dataset, *, examples: int | None = None) -> dict[str, Any]:
    """`evaluate_run` of a network that has been found, on a data set that has been loaded."""
    record = trained.record
    published = "test_error" in record
    teachers.check_fits(trained.where, record, dataset)
    # The network's own standardisation, whatever this data set's is.
    dataset = dataclasses.replace(dataset, mean=tuple(record["dataset"]["mean"]), std=tuple(record["dataset"]["std"]))
    test = dataset.test
    if examples is not None:
        if not 1 <= examples <= len(test):
            raise InputError(f"examples must be from 1 to {len(test)}. Received: {examples}")
        test = test.take(np.arange(examples))
    with precision.policy("float32" if published else record["config"]["dtype_policy"]):
        model = trained.build()
    recorded = "test_error_last"
    if published:
        recorded = "test_error_sample" if examples == hub.SAMPLE else "test_error"
    described = metrics.describe(training_steps.predict(model, test, dataset), test.labels)
    return {
        "name": record["name"],
        "dataset": dataset.name,
        "test_examples": len(test),
        "test_error": described["error"],
        "test_ce": described["ce"],
        "test_ece": described["ece"],
        "test_error_recorded": record[recorded],
    }


def own_dataset(record: dict[str, Any], source: str | None = None) -> data.Dataset:
    """The data set of a run, from `source` (see `kdzoo.data.load`) or else from where the run had it.

    Raises:
        InputError: if it cannot be had, or `source` is another data set.
    """
    if source is not None:
        dataset = data.load(source, record["dataset"]["name"] if source.startswith("npz:") else "")
        if dataset.fingerprint != record["dataset"]["fingerprint"]:
            raise InputError(f"dataset must be the run's own, {record['dataset']['name']}. Received: {source}")
        return dataset
    source, name = record["config"]["dataset"], record["dataset"]["name"]
    if source != name and name in data.NAMES and not pathlib.Path(source.removeprefix("npz:")).exists():
        source = name
    return data.load(source, name)


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
    for pattern in (records.RECORD, records.WEIGHTS, EVENTS):
        for path in workdir.glob(pattern):
            path.unlink()
    shutil.rmtree(workdir / checkpoints.DIRECTORY, ignore_errors=True)
