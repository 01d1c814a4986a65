"""What every command shares: flags of a run, and errors that end in one line and exit code 2."""

import contextlib
import dataclasses
import importlib
import logging as standard_logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported: having no GPU is no error

from absl import app, flags, logging

from kdzoo.distillation.checks import AT_MODES
from kdzoo.runs import progress
from kdzoo.runs.config import (
    AUGMENTATIONS,
    DTYPE_POLICIES,
    METHODS,
    STRATEGIES,
    TEACHER_DTYPES,
    TEACHER_INPUTS,
    RunConfig,
)
from kdzoo.teachers import output_cache, resolve
from zoo import InputError

FLAGS = flags.FLAGS
OPTIONS = ("restart", "checkpoint_minutes", "teacher_deadline", "teacher_cache", "cache_gb")  # of a run, not its result


def define_run_flags() -> None:
    """Flags of any training run, with the defaults of `kdzoo.RunConfig`."""
    flags.DEFINE_string(
        "schedule", None, "k-N (LR step every k of N epochs) or cos-N, for example 20-65.", required=True
    )
    define_data_flags()
    flags.DEFINE_string("workdir", None, "Directory for weights, record and event files.", required=True)
    flags.DEFINE_integer("seed", RunConfig.seed, "Of initial weights, order and augmentation.")
    define_optimiser_flags()
    flags.DEFINE_enum("strategy", RunConfig.strategy, STRATEGIES, "mirrored: all GPUs, or all logical CPUs.")
    flags.DEFINE_integer(
        "fused_steps", RunConfig.fused_steps, "Most steps a call of JAX's program; 0: 1 on a CPU, 64 elsewhere."
    )
    flags.DEFINE_float("checkpoint_minutes", 5.0, "Longest time between checkpoints; each epoch ends with one anyway.")
    flags.DEFINE_enum(
        "progress", "auto", ["auto", "bar", "lines", "json"], "auto: a bar on a terminal, lines elsewhere."
    )
    flags.DEFINE_bool("restart", False, "Train anew where a finished or unfinished run is.")


def define_optimiser_flags() -> None:
    """Flags of SGD."""
    flags.DEFINE_integer("batch_size", RunConfig.batch_size, "Images a step, over all replicas.")
    flags.DEFINE_float("lr", RunConfig.lr, "Learning rate to start from.")
    flags.DEFINE_float("lr_decay", RunConfig.lr_decay, "Factor on the learning rate at each step of a k-N schedule.")
    flags.DEFINE_float("momentum", RunConfig.momentum, "Of SGD, Nesterov's.")
    flags.DEFINE_float(
        "weight_decay", RunConfig.weight_decay, "Coupled, as in PyTorch's SGD: gradient + decay * weight."
    )


def define_data_flags() -> None:
    """Flags of what is learnt from, and in which precision."""
    flags.DEFINE_string("dataset", RunConfig.dataset, "cifar10, cifar100, digits or npz:FILE.")
    flags.DEFINE_string("dataset_name", RunConfig.dataset_name, "What the npz:FILE holds, for example cifar10.")
    flags.DEFINE_enum("augment", RunConfig.augment, AUGMENTATIONS, "Pad 4 and crop, flip; auto: the data set's usual.")
    flags.DEFINE_integer("train_examples", RunConfig.train_examples, "Class-balanced subset to train on; 0: all.")
    flags.DEFINE_integer("val_examples", RunConfig.val_examples, "Class-balanced subset held out of training.")
    flags.DEFINE_enum(
        "dtype_policy",
        RunConfig.dtype_policy,
        DTYPE_POLICIES,
        "Keras's, for student and teacher; auto: float32 or mixed_bfloat16, as measured to be faster.",
    )


def define_cache_flags() -> None:
    """Flags of where what teachers say is kept."""
    flags.DEFINE_string(
        "teacher_cache",
        "auto",
        "Where to keep what teachers say, for every run to read: auto ($KDZOO_CACHE or ~/.cache/kdzoo), off, a folder.",
    )
    flags.DEFINE_float("cache_gb", output_cache.CACHE_GB, "What the cache may take of the disk, in 10^9 bytes.")


def define_distillation_flags() -> None:
    """Flags of what a teacher says and how much it counts."""
    define_teacher_flags()
    flags.DEFINE_enum("method", "kd", list(METHODS), "Sets the three weights: ce,kd,at = " + _describe_methods())
    flags.DEFINE_float("ce_weight", None, "Of the cross-entropy with the labels, instead of the method's.")
    flags.DEFINE_float("kd_weight", None, "Of T^2 * KL(teacher || student), instead of the method's.")
    flags.DEFINE_float("at_weight", None, "Of attention transfer, instead of the method's.")
    flags.DEFINE_float(
        "kd_until", RunConfig.kd_until, "Share of the epochs with teachers; then cross-entropy alone (ESKD). 1: all."
    )
    define_term_flags()


def define_term_flags() -> None:
    """Flags of how the terms of the loss are made."""
    flags.DEFINE_float("temperature", RunConfig.temperature, "T of the KD term, above 0.")
    flags.DEFINE_enum("at_mode", RunConfig.at_mode, AT_MODES, "Attention distance: of the authors' code or equation.")


def define_teacher_flags() -> None:
    """Flags of who teaches, and how they are asked."""
    flags.DEFINE_list(
        "teacher",
        [],
        "A published name (see apps.list), https://HOST/FOLDER/NAME, hf://OWNER/REPO/NAME, the directory of a finished"
        " run or of any SavedModel, or grpc://HOST:PORT/NAME; several, comma-separated, teach together.",
    )
    flags.DEFINE_string(
        "teacher_signature",
        RunConfig.teacher_signature,
        "Of a SavedModel or server; default serving_default, AT: features.",
    )
    flags.DEFINE_string(
        "teacher_logits", RunConfig.teacher_logits, "Its output of logits; default: the only one, or logits."
    )
    flags.DEFINE_enum(
        "teacher_input",
        RunConfig.teacher_input,
        TEACHER_INPUTS,
        "The images it wants: 0 to 255, 0 to 1, or standardised as the student's; auto: raw if integers.",
    )
    flags.DEFINE_float("teacher_deadline", 60.0, "Seconds in which a server must answer; then the run saves and ends.")
    flags.DEFINE_enum(
        "teacher_dtype",
        RunConfig.teacher_dtype,
        TEACHER_DTYPES,
        "In which it computes; auto: as dtype_policy says. bfloat16 is compared with float32 first.",
    )
    define_cache_flags()


def train(model: str, **distillation) -> None:
    """Runs what the flags say and prints how it went."""
    config = configuration(model=model, **distillation)
    options = {name: FLAGS[name].value for name in OPTIONS if name in FLAGS}
    record = run_training(config, FLAGS.workdir, kind=FLAGS.progress, **options)
    print(
        f"{record['name']} on {record['dataset']['name']}: test error {record['test_error_last']:.2f} %"
        f" (best {record['test_error_best']:.2f} % in epoch {record['test_error_best_epoch']}),"
        f" {record['parameters']:,} parameters, {record['wall_seconds'] / 60:.1f} minutes: {FLAGS.workdir}"
    )


def configuration(**given: Any) -> RunConfig:
    """What the flags say, and what is given instead; checked as far as can be without importing TensorFlow."""
    names = RunConfig.__dataclass_fields__.keys() & FLAGS.__flags.keys()
    config = RunConfig(**{name: getattr(FLAGS, name) for name in names} | given)
    config.check()
    for teacher in config.teachers:
        resolve.check_exists(teacher)
    return config


def command_line(config: RunConfig, workdir: str | os.PathLike) -> list[str]:
    """The words after `python -m` that make this run: flags that differ from their defaults."""
    app, model = ("distill", "student") if config.teachers else ("train", "model")
    command = [f"apps.{app}", f"--{model}={config.model}"]
    for field in dataclasses.fields(RunConfig):
        value = getattr(config, field.name)
        if field.name == "teachers" and value:
            command.append(f"--teacher={','.join(value)}")
        elif field.name != "model" and (value != field.default or (app == "distill" and field.name in METHODS["none"])):
            command.append(f"--{field.name}={value}")
    return [*command, f"--workdir={workdir}"]


def run_training(config: RunConfig, workdir: str | os.PathLike, *, kind: str = "auto", **options) -> dict[str, Any]:
    """`kdzoo.training.run` with its progress shown; SIGTERM and Ctrl-C end the process once the run has been saved."""
    with stop_signals() as received:
        training = import_training()
        if kind == "auto":
            kind = "bar" if sys.stdout.isatty() else "lines"
        show = {"bar": progress.bar, "lines": progress.lines, "json": progress.json_lines}[kind]()
        try:
            return training.run(config, workdir, progress=show, stopping=lambda: bool(received), **options)
        except training.Stopped as stopped:
            print(f"\nstopped {stopped}; saved, so that the same command goes on from there: {workdir}", flush=True)
            sys.exit(128 + received[0])


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collects SIGTERM and SIGINT (Ctrl-C), for the work to end in good order; a second one ends it at once."""
    received = []

    def stop(number, frame):
        if received:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def import_training():
    """`kdzoo.training`, and with it Keras and TensorFlow."""
    import_quietly("kdzoo.training.train")
    from kdzoo import training

    return training


def import_quietly(module: str):
    """A module that imports TensorFlow, without what that has to say about the machine."""
    with _quiet_stderr():
        return importlib.import_module(module)


def run(main: Callable[[], int | None]) -> None:
    """Parses the flags and calls `main`, which may return the exit code."""
    app.run(lambda _: _guarded(main), flags_parser=_parse)


def _guarded(main: Callable[[], int | None]) -> int | None:
    if not FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
    standard_logging.getLogger("urllib3").setLevel(standard_logging.ERROR)  # what it tries again is no news yet
    try:
        return main()
    except InputError as error:
        _fail(error)
    except KeyboardInterrupt:
        sys.exit(130)


@contextlib.contextmanager
def _quiet_stderr():
    """Keeps what native code prints while TensorFlow is imported, where no log level reaches it, unless it fails."""
    with tempfile.TemporaryFile() as kept:
        stderr = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(stderr, kept.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def _parse(argv: Sequence[str]) -> list[str]:
    try:
        rest = FLAGS(argv)
    except flags.Error as error:
        _fail(error)
    if len(rest) > 1:
        _fail(f"Arguments must be flags, for example --seed=1. Received: {' '.join(rest[1:])}")
    return rest


def _fail(error: object) -> None:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(2)


def _describe_methods() -> str:
    return (
        "; ".join(f"{name}: " + ",".join(f"{weight:g}" for weight in METHODS[name].values()) for name in METHODS) + "."
    )
