"""One run: a configuration in, a trained network and its record out."""

import contextlib
import dataclasses
import datetime
import functools
import logging
import math
import os
import pathlib
import statistics
import time
from typing import Any

import keras
import numpy as np

from kdzoo import data, distiller, names, records, schedules
from kdzoo.batches import Batches
from kdzoo.config import RunConfig
from kdzoo.optimizers import CoupledSGD
from kdzoo.tensorboard import summary_writer
from zoo import InputError

EVALUATION_BATCH = 500

_log = logging.getLogger(__name__)


def run(config: RunConfig, workdir: str | os.PathLike, *, restart: bool = False, verbose: int = 0) -> dict[str, Any]:
    """Trains a network as configured; writes its weights, event files and record into `workdir`.

    The same configuration gives the same weights to the bit on the same CPU.

    Args:
        config: what to train, and how.
        workdir: a directory, made if need be.
        restart: whether to throw away a finished run that is there.
        verbose: as in `keras.Model.fit`: 0 silent, 1 progress bar, 2 a line an epoch.

    Returns:
        The record, as in `workdir/record.json`. Errors and agreement are in percent.

    Raises:
        InputError: if the configuration is impossible or the workdir cannot take the run. Nothing is written then.
    """
    config.check()
    workdir = pathlib.Path(workdir)
    _check_workdir(workdir, restart=restart)
    teacher_records = [records.read(teacher) for teacher in config.teachers]
    dataset = data.load(config.dataset)
    if config.augment == "auto":
        config = dataclasses.replace(config, augment=dataset.augment)
    train, val = data.split_train(dataset.train, train_examples=config.train_examples, val_examples=config.val_examples)
    if len(train) < config.batch_size:
        raise InputError(
            f"batch_size must be at most the {len(train)} training examples. Received: {config.batch_size}"
        )
    for path, record in zip(config.teachers, teacher_records, strict=True):
        _check_fits(path, record, dataset)
        needed = [list(dataset.mean), list(dataset.std)]
        received = [record["dataset"]["mean"], record["dataset"]["std"]]
        if received != needed:
            raise InputError(
                f"A teacher must have learnt from images standardised as the student's: mean, std {needed}."
                f" Received: {received} from {path}"
            )
        if workdir.resolve() == pathlib.Path(path).resolve():
            raise InputError(f"workdir must not be the teacher's own directory. Received: {workdir}")

    model = _build(config, dataset)
    _make_workdir(workdir)
    record = {
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
            "train_examples": len(train),
            "val_examples": len(val),
            "test_examples": len(dataset.test),
        },
        "parameters": records.count_parameters(model.student),
        "teachers": [
            {key: teacher[key] for key in ("name", "method", "seed", "parameters", "test_error_last")}
            for teacher in teacher_records
        ],
        "seed": config.seed,
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    writer = summary_writer(str(workdir))
    finished = False
    try:
        writer.hparams(_hparams(config, record), metrics={"error/test": "test error (%)"})
        record |= _train(model, config, dataset, train, val, writer=writer, verbose=verbose)
        if model.teachers:
            record["test_agreement_last"] = _agreement(model, dataset)
        record |= {"versions": records.versions(), "hardware": records.hardware()}
        model.save_weights(workdir / records.WEIGHTS)
        records.write(workdir, record)
        finished = True
    finally:
        writer.close(finished=finished)
    return record


def _build(config: RunConfig, dataset: data.Dataset) -> distiller.Distiller:
    """The student, freshly initialised from the seed, and its teachers, ready to train."""
    keras.utils.set_random_seed(config.seed)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    with _scope(config), _dtype_policy(config.dtype_policy):
        student = names.build(config.model, num_classes=dataset.num_classes, input_shape=dataset.image_shape)
        model = distiller.Distiller(
            student,
            [records.load_model(teacher) for teacher in config.teachers],
            ce_weight=config.ce_weight,
            kd_weight=config.kd_weight,
            at_weight=config.at_weight,
            temperature=config.temperature,
            at_mode=config.at_mode,
        )
        model.compile(CoupledSGD(config.lr, momentum=config.momentum, coupled_weight_decay=config.weight_decay))
    return model


def _train(model, config, dataset, train, val, *, writer, verbose) -> dict[str, Any]:
    """Runs the epochs. Returns what they add to the record."""
    started = time.monotonic()
    schedule = schedules.parse(config.schedule)
    callbacks = [
        schedules.callback(schedule, lr=config.lr, decay=config.lr_decay),
        _Progress(epochs=schedule.epochs),
    ]
    held_out = {"test": dataset.test} | ({"val": val} if len(val) else {})
    held_out = {name: (standardised(split.images, dataset), split.labels) for name, split in held_out.items()}
    history = []
    for epoch in range(schedule.epochs):
        batches = Batches(
            train, dataset, seed=config.seed, epoch=epoch, batch_size=config.batch_size, augment=config.augment
        )
        epoch_started = time.monotonic()
        # One `fit` an epoch: nothing but weights, optimizer slots and this number carries over.
        logs = model.fit(
            batches,
            initial_epoch=epoch,
            epochs=epoch + 1,
            shuffle=False,
            callbacks=callbacks,
            verbose=verbose,
        ).history
        seconds = time.monotonic() - epoch_started
        row = {"epoch": epoch + 1, "lr": schedule.learning_rate(epoch, lr=config.lr, decay=config.lr_decay)}
        row |= _describe(logs)
        if not math.isfinite(row["loss"]):
            raise InputError(f"Training diverged in epoch {epoch + 1}; a smaller lr may pass. Received: lr {config.lr}")
        for name, (images, labels) in held_out.items():
            row[f"{name}_error"], row[f"{name}_ce"] = evaluate(model, images, labels)
        row["images_per_second"] = len(batches) * config.batch_size / seconds
        history.append(row)
        writer.scalars(_scalars(row), step=epoch + 1)
        if verbose:
            print(f"test error {row['test_error']:.2f} %, {row['images_per_second']:.0f} images/s", flush=True)
    errors = [row["test_error"] for row in history]
    result = {
        "history": history,
        "test_error_last": errors[-1],
        "test_error_best": min(errors),
        "test_error_best_epoch": 1 + errors.index(min(errors)),
        # The first epoch compiles.
        "images_per_second": statistics.median(row["images_per_second"] for row in history[1:] or history),
        "wall_seconds": time.monotonic() - started,
    }
    if len(val):
        chosen = min(history, key=lambda row: row["val_error"])
        result |= {"test_error_val_chosen": chosen["test_error"], "val_chosen_epoch": chosen["epoch"]}
    return result


def evaluate(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Top-1 error in percent, mean cross-entropy in nats, of a compiled `Distiller` on standardised images."""
    logs = model.evaluate(images, labels, batch_size=EVALUATION_BATCH, verbose=0, return_dict=True)
    correct = round(float(logs["accuracy"]) * len(labels))
    return 100 * (len(labels) - correct) / len(labels), float(logs["ce"])


def _describe(logs: dict[str, list[float]]) -> dict[str, float]:
    """What the record keeps of one epoch's logs of `fit`."""
    logs = {name: float(values[-1]) for name, values in logs.items()}
    row = {"train_error": 100 * (1 - logs["accuracy"])}
    row |= {name: logs[name] for name in ("loss", "ce", "kd", "at", "teacher_kl") if name in logs}
    if "agreement" in logs:
        row["agreement"] = 100 * logs["agreement"]
    return row


def evaluate_run(workdir: str | os.PathLike, dataset_name: str | None = None) -> dict[str, Any]:
    """Evaluates the network of a finished run on a test set, in the precision it was trained in.

    Args:
        workdir: the run's directory.
        dataset_name: see `kdzoo.data.load`; None: the run's own.

    Returns:
        name, dataset, test_examples, test_error in percent, test_ce in nats, and the record's test_error_last.

    Raises:
        InputError: if the run or the data set is not there, or they do not fit together.
    """
    record = records.read(workdir)
    dataset = data.load(dataset_name or record["config"]["dataset"])
    _check_fits(f"{workdir}", record, dataset)
    # The network's own standardisation, whatever this data set's is.
    dataset = dataclasses.replace(dataset, mean=tuple(record["dataset"]["mean"]), std=tuple(record["dataset"]["std"]))
    with _dtype_policy(record["config"]["dtype_policy"]):
        model = distiller.Distiller(records.load_model(workdir), ce_weight=1.0, kd_weight=0.0)
    model.compile("sgd")
    error, ce = evaluate(model, standardised(dataset.test.images, dataset), dataset.test.labels)
    return {
        "name": record["name"],
        "dataset": dataset.name,
        "test_examples": len(dataset.test),
        "test_error": error,
        "test_ce": ce,
        "test_error_last": record["test_error_last"],
    }


def standardised(images: np.ndarray, dataset: data.Dataset) -> np.ndarray:
    """A data set's uint8 images as its networks take them."""
    return data.standardise(images, mean=dataset.mean, std=dataset.std)


def _hparams(config: RunConfig, record: dict[str, Any]) -> dict[str, Any]:
    keys = ("model", "schedule", "dataset", "seed", "ce_weight", "kd_weight", "at_weight", "temperature", "batch_size")
    keys += ("lr", "weight_decay", "augment", "dtype_policy")
    teacher = ",".join(teacher["name"] for teacher in record["teachers"]) or "none"
    return {key: getattr(config, key) for key in keys} | {"method": config.method, "teacher": teacher}


def _scalars(row: dict[str, float]) -> dict[str, float]:
    """A row of the history under TensorBoard's tags, grouped by what is compared."""
    tags = {f"{split}_error": f"error/{split}" for split in ("train", "val", "test")}
    tags |= {f"{split}_ce": f"cross_entropy/{split}" for split in ("val", "test")} | {"ce": "cross_entropy/train"}
    tags |= {name: f"loss/{name}" for name in ("loss", "kd", "at")}
    tags |= {"agreement": "teacher/agreement", "teacher_kl": "teacher/kl"}
    tags |= {name: f"run/{name}" for name in ("lr", "images_per_second")}
    return {tag: row[name] for name, tag in tags.items() if name in row}


def _agreement(model: distiller.Distiller, dataset: data.Dataset) -> float:
    """Share in percent of the test images for which student and teachers name the same class."""
    images = standardised(dataset.test.images, dataset)
    student, *teachers = (
        network.predict(images, batch_size=EVALUATION_BATCH, verbose=0) for network in (model.student, *model.teachers)
    )
    return 100 * float(np.mean(student.argmax(-1) == np.mean(teachers, axis=0).argmax(-1)))


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


@contextlib.contextmanager
def _dtype_policy(policy: str):
    """Builds in this precision what is built inside."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _check_fits(workdir: str, record: dict[str, Any], dataset: data.Dataset) -> None:
    """Raises InputError unless the run's network takes the data set's images and knows its classes."""
    theirs = record["dataset"]
    for what, received, needed in (
        ("number of classes", theirs["num_classes"], dataset.num_classes),
        ("image shape", tuple(theirs["image_shape"]), dataset.image_shape),
    ):
        if received != needed:
            raise InputError(f"A model must have the data set's {what}: {needed}. Received: {received} from {workdir}")
    if theirs["fingerprint"] != dataset.fingerprint:
        _log.warning("%s was trained on other data (%s) than %s", workdir, theirs["name"], dataset.name)


def _check_workdir(workdir: pathlib.Path, *, restart: bool) -> None:
    if (workdir / records.RECORD).exists() and not restart:
        raise InputError(f"workdir must not hold a finished run, unless restart is set. Received: {workdir}")
    parent = next((path for path in (workdir, *workdir.absolute().parents) if path.exists()), workdir)
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"workdir must be a directory that can be written. Received: {workdir}")


def _make_workdir(workdir: pathlib.Path) -> None:
    """Makes the directory, without what an earlier run left in it."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        for pattern in (records.RECORD, records.WEIGHTS, "events.out.tfevents.*"):
            for path in workdir.glob(pattern):
                path.unlink()
    except OSError as error:
        raise InputError(f"workdir must be a directory that can be written. Received: {error}") from None


class _Progress(keras.callbacks.ProgbarLogger):
    """Keras's progress bar, counting to the run's last epoch and not to that of one `fit`."""

    def __init__(self, *, epochs: int):
        super().__init__()
        self.total_epochs = epochs

    def set_params(self, params: dict) -> None:
        super().set_params({**params, "epochs": self.total_epochs})
