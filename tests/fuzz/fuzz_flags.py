"""The flags of each command and their ranges, from docs/reference/flags.md."""

import csv
import math
import os
import re
from collections.abc import Callable
from typing import Any

import fuzz_formats as formats

Check = Callable[[str], Any]  # the value of a text; raises ValueError


def _real(right: Callable[[float], bool]) -> Check:
    def check(text: str) -> float:
        value = float(text)
        if not math.isfinite(value) or not right(value):
            raise ValueError(text)
        return value

    return check


def _whole(right: Callable[[int], bool]) -> Check:
    def check(text: str) -> int:
        if not right(value := int(text)) or abs(value) > formats.LARGEST:
            raise ValueError(text)
        return value

    return check


def _count(right: Callable[[int], bool]) -> Check:
    """A whole number as absl reads it: 0x and 0o too."""

    def check(text: str) -> int:
        value = int(text, {"0x": 16, "0o": 8}.get(text[:2], 10))
        if not right(value):
            raise ValueError(text)
        return value

    return check


def _numbers(check: Check) -> Check:
    return lambda text: [check(word) for word in text.split(",")]


def _one_of(*names: str) -> Check:
    def check(text: str) -> str:
        if text not in names:
            raise ValueError(text)
        return text

    return check


def _directory(text: str) -> str:
    try:
        wrong = formats.wrong_directory(text)
    except UnicodeEncodeError:
        wrong = "no UTF-8"
    if wrong:
        raise ValueError(wrong)
    return text


def _existing(text: str) -> str:
    """A directory that exists: a folder of published models to read."""
    if not os.path.isdir(_directory(text)):
        raise ValueError(text)
    return text


def _csv(text: str) -> str:
    """A CSV file to write, in a directory that exists."""
    parent, name = os.path.split(text)
    try:
        right = 4 < len(name.encode()) <= 255 - len(".01234567.partial") and name.endswith(".csv") and "\0" not in text
    except UnicodeEncodeError:
        right = False
    if not right or not os.path.isdir(parent or ".") or os.path.isdir(text):
        raise ValueError(text)
    return text


def _table(text: str) -> list[int | str]:
    return [text] if text == "methods" else _numbers(_whole(lambda n: 1 <= n <= 10))(text)


def _name(text: str) -> str:
    """A text without spaces: a comment behind a flag in a file would be part of it."""
    if re.search(r"\s", text):
        raise ValueError(text)
    return text


def _none(text: str) -> str:
    """Nothing: a zoo model has its own name and takes no arguments, and no weights are there to begin with."""
    if text:
        raise ValueError(text)
    return text


def _list(text: str) -> list[str]:
    """Words separated by commas, as absl reads them; "" is none."""
    try:
        return [word.strip() for word in next(csv.reader([text], strict=True))] if text else []
    except csv.Error as error:
        raise ValueError(error) from None


def as_bool(text: str) -> bool:
    words = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
    if text.lower() not in words:
        raise ValueError(text)
    return words[text.lower()]


SETTINGS: dict[str, Check] = {name: _whole(right) for name, right in formats.WHOLE.items()}
SETTINGS |= {name: _real(right) for name, right in formats.REAL.items()}
SETTINGS |= {name: _one_of(*names) for name, names in formats.ONE_OF.items()}
SETTINGS |= dict.fromkeys(formats.ANY_TEXT, str) | dict.fromkeys(formats.BOOLEAN, as_bool)
SETTINGS["dataset_name"] = _name


def _settings(*names: str) -> dict[str, Check]:
    return {name: SETTINGS[name] for name in names}


CHECKPOINT = {"checkpoint_minutes": _real(lambda x: x > 0)}
DATA = _settings("dataset", "dataset_name", "augment", "train_examples", "val_examples", "dtype_policy")
DATA |= _settings("image_size", "views", "memory_gb", "test_share", "background", *formats.OF_SOURCES)
DATA |= {"data_workers": _count(lambda n: -1 <= n <= 256)}
OPTIMISER = _settings("batch_size", "lr", "lr_decay", "momentum", "nesterov", "weight_decay")
OPTIMISER |= _settings("optimizer", "warmup_epochs", "clip_norm", "ema_momentum", "backbone_lr", "freeze")
OPTIMISER |= _settings("label_smoothing", "mixup_alpha", "cutmix_alpha")
RECIPE = {"recipe": _one_of(*formats.RECIPES)}
CACHE: dict[str, Check] = {"teacher_cache": str, "cache_gb": _real(lambda x: x > 0)}
TERMS = _settings("temperature", "at_mode", "student_stages", "teacher_stages")
MODEL: dict[str, Check] = dict.fromkeys(("model_args", "name", "init"), _none)
TEACHERS = _settings("teacher_signature", "teacher_logits", "teacher_input", "teacher_dtype", "teacher_store") | CACHE
TEACHERS |= _settings("teacher_layout", "teacher_mean", "teacher_std", "teacher_image_size")
TEACHERS |= {"teacher_deadline": _real(lambda x: x > 0)}
UNLABELLED = _settings("unlabelled", "unlabelled_share")
WEIGHTS = ("ce_weight", "kd_weight", "at_weight", "method_weight")
RUN = DATA | MODEL | OPTIMISER | RECIPE | CHECKPOINT | _settings("seed", "strategy", "fused_steps", "keep_epochs")
RUN |= {"schedule": str, "workdir": _directory, "restart": as_bool, "progress": _one_of("auto", "bar", "lines", "json")}
PROCESSES = {"coordinator": str, "num_processes": _whole(lambda n: 0 <= n <= 4096)}
PROCESSES |= {"process_id": _whole(lambda n: -1 <= n <= 4095)}
MANY = CHECKPOINT | CACHE | {"jobs": _count(lambda n: n >= 1), "budget_minutes": _real(lambda x: x >= 0)}
RAY = {"ray": str, "ray_cpus": _whole(lambda n: n >= 1), "ray_gpus": _real(lambda x: x >= 0)}
MANY |= RAY | {"dry_run": as_bool, "store": str}
FLAGS: dict[str, dict[str, Check]] = {
    "train": RUN | PROCESSES | {"model": str},
    "distill": RUN
    | PROCESSES
    | TEACHERS
    | TERMS
    | UNLABELLED
    | _settings(*WEIGHTS, "kd_until")
    | {"teacher": _list, "method": _one_of(*formats.METHODS, *formats.OWN), "method_args": _list, "student": str},
    "evaluate": {
        "model": str,
        "dataset": str,
        "examples": _count(lambda n: True),
        "per_class": _csv,
        "confusion": _csv,
    },
    "predict": {"model": str, "images": str, "output": _csv},
    "demo": {"workdir": _directory, "restart": as_bool},
    "precompute": DATA
    | RAY
    | RECIPE
    | TEACHERS
    | UNLABELLED
    | _settings("batch_size")
    | {"teacher": _list, "schedule": str, "seeds": _numbers(SETTINGS["seed"])}
    | dict.fromkeys(("attention", "features"), as_bool),
    "sweep": MANY | {"grid": str},
    "reproduce": DATA
    | OPTIMISER
    | RECIPE
    | TERMS
    | MANY
    | {
        "table": _table,
        "figure": _numbers(_whole(lambda n: n == 1)),
        "rows": str,
        "seeds": _count(lambda n: 1 <= n <= 1000),
        "schedule_scale": str,
        "kd_until": _numbers(SETTINGS["kd_until"]),
        "via": _list,
        "teachers": _list,
        "workdir": _directory,
    },
    "tune": DATA
    | RAY
    | MODEL
    | OPTIMISER
    | RECIPE
    | CHECKPOINT
    | TEACHERS
    | {
        "student": str,
        "students": _list,
        "teacher_init": _none,
        **dict.fromkeys(("max_mflops", "max_mb", "max_latency_ms"), _real(lambda x: x > 0)),
        "schedule": str,
        "teachers": _list,
        "teacher_schedules": _list,
        "methods": _list,
        "temperatures": _numbers(SETTINGS["temperature"]),
        "kd_weights": _numbers(_real(lambda x: 0 < x <= 1)),
        "kd_until": _numbers(SETTINGS["kd_until"]),
        "search": _one_of("hyperband", "bayesian", "random"),
        "max_trials": _count(lambda n: n >= 1),
        "budget_minutes": _real(lambda x: x >= 0),
        "workers": _count(lambda n: n >= 1),
        "workdir": _directory,
        "seed": SETTINGS["seed"],
    },
    "list": {"models": str, "path": _existing},
    "publish": {
        "run": _list,
        "models": _directory,
        "name": str,
        "dataset": str,
        "licence": str,
        "store": _one_of("float32", "float16"),
        "replace": as_bool,
    },
    "serve": {
        "models": str,
        "path": _existing,
        "host": str,
        "port": _count(lambda n: 0 <= n <= 65535),
        "request_mb": _real(lambda x: 0.01 <= x <= 2047),
        "max_batch_size": _whole(lambda n: 1 <= n <= 4096),
        "batch_timeout_ms": _real(lambda x: 0 <= x <= 10_000),
        "max_queue": _whole(lambda n: 1 <= n <= 10**6),
        "drain_seconds": _real(lambda x: 0 <= x <= 86_400),
        "reload_seconds": _real(lambda x: 0 <= x <= 86_400),
        "tls_cert": str,
        "tls_key": str,
        "token_file": str,
        "metrics_port": _count(lambda n: 0 <= n <= 65535),
    },
    "compare": {"runs": _list, "out": _directory, "curves": _list, "tensorboard": _directory},
}
REQUIRED = {
    "train": {"model", "workdir"},
    "distill": {"student", "workdir"},
    "evaluate": {"model"},
    "predict": {"model", "images"},
    "precompute": {"teacher"},
    "sweep": {"grid"},
    "tune": {"teachers", "workdir"},
    "publish": {"run"},
    "compare": {"runs", "out"},
}
HELP = ("help", "helpfull", "helpshort", "helpxml")
OF_ABSL: dict[str, Check] = {
    "verbosity": lambda text: text if text in ("debug", "info", "warning", "error", "fatal") else int(text),
    "stderrthreshold": lambda text: text if text in ("debug", "info", "warning", "error", "fatal") else int(text),
    "log_dir": str,
    "alsologtostderr": as_bool,
    "undefok": str,
    **dict.fromkeys(HELP, as_bool),
}
