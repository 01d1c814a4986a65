"""The second rule of JSON, names and settings: plain Python, from docs/reference and the docstrings.

It imports nothing of kdzoo, so that it does not share an error with kdzoo's own checks. Each function returns what is
wrong, or None.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

LARGEST = 1.7976931348623157e308  # of float64
DEPTHS = {"resnet": {18, 34, 50, 101, 152}}  # the others are 6N + 4
METHODS = ("none", "kd", "at", "at+kd")
WEIGHTS = {"none": (1, 0, 0), "kd": (0.1, 0.9, 0), "at": (1, 0, 1000), "at+kd": (0.1, 0.9, 1000)}
# Methods with a term of their own, from the table in the documentation: weights of cross-entropy and KD, weight of the
# term, and whether they have a teacher.
OWN: dict[str, tuple[float, float, float, bool]] = {
    "ab": (1, 0, 1, True),
    "cc": (1, 0, 0.02, True),
    "crd": (1, 0, 0.8, True),
    "dist": (1, 0, 2, True),
    "dkd": (1, 0, 1, True),
    "fitnets": (1, 0, 100, True),
    "fsp": (1, 0, 1, True),
    "ft": (1, 0, 500, True),
    "label_smoothing": (0, 0, 1, False),
    "lskd": (0.1, 0, 9, True),
    "mlkd": (0.1, 0, 0.9, True),
    "nkd": (1, 0, 1, True),
    "nst": (1, 0, 50, True),
    "pkt": (1, 0, 30000, True),
    "reviewkd": (1, 0, 5, True),
    "rkd": (1, 0, 1, True),
    "semckd": (1, 1, 400, True),
    "simkd": (0, 0, 1, True),
    "sp": (1, 0, 3000, True),
    "tfkd": (0.9, 0, 0.1, False),
    "tfkd_self": (0.05, 0, 0.475, True),
    "ttm": (1, 0, 45, True),
    "vid": (1, 0, 1, True),
    "wttm": (1, 0, 4, True),
}
# Recipe -> its schedule.
RECIPES = {"cifar": None, "imagenet": "30-90", "adamw": None}
# Field of RunConfig -> whether a number is in its range (docs/reference/flags.md), or its values.
WHOLE = {
    "seed": lambda n: 0 <= n < 2**32,
    "batch_size": lambda n: n >= 1,
    "train_examples": lambda n: n >= 0,
    "val_examples": lambda n: n >= 0,
    "fused_steps": lambda n: n >= 0,
    "image_size": lambda n: 0 <= n <= 4096,
    "teacher_image_size": lambda n: 0 <= n <= 4096,
    "views": lambda n: 0 <= n <= 2**20,
}
REAL = {
    "ce_weight": lambda x: 0 <= x <= 1e18,
    "kd_weight": lambda x: 0 <= x <= 1e18,
    "at_weight": lambda x: 0 <= x <= 1e18,
    "method_weight": lambda x: 0 <= x <= 1e18,
    "temperature": lambda x: 0.001 <= x <= 100,
    "kd_until": lambda x: 0 < x <= 1,
    "lr": lambda x: x > 0,
    "lr_decay": lambda x: 0 < x <= 1,
    "momentum": lambda x: 0 <= x < 1,
    "weight_decay": lambda x: x >= 0,
    "memory_gb": lambda x: x > 0,
    "test_share": lambda x: 0 <= x < 1,
    "unlabelled_share": lambda x: 0 < x < 1,
    "warmup_epochs": lambda x: x >= 0,
    "clip_norm": lambda x: x >= 0,
    "ema_momentum": lambda x: 0 <= x < 1,
    "label_smoothing": lambda x: 0 <= x < 1,
    "mixup_alpha": lambda x: 0 <= x <= 100,
    "cutmix_alpha": lambda x: 0 <= x <= 100,
    "backbone_lr": lambda x: x >= 0,
}
ONE_OF = {
    "at_mode": ("code", "paper"),
    "augment": ("auto", "none", "crop", "crop_flip", "resize", "inception"),
    "strategy": ("none", "mirrored", "data_parallel"),
    "dtype_policy": ("float32", "mixed_bfloat16", "mixed_float16", "auto"),
    "teacher_input": ("auto", "raw", "unit", "standardised", "imagenet"),
    "teacher_layout": ("auto", "nchw", "nhwc"),
    "teacher_dtype": ("auto", "float32", "bfloat16"),
    "teacher_store": ("float32", "float16"),
    "optimizer": ("sgd", "adamw", "lion"),
}
BOOLEAN = ("nesterov",)
ANY_TEXT = ("dataset", "dataset_name", "teacher_signature", "teacher_logits", "background")
ANY_TEXT += ("class_names", "train_split", "test_split", "unlabelled", "freeze", "teacher_mean", "teacher_std")
ANY_TEXT += ("student_stages", "teacher_stages", "method_args", "keep_epochs")
COLOURS = ("white", "black", "red", "#ff8000")  # of all that there are
# Setting -> the sources that have it.
OF_SOURCES = {"test_share": "folder:", "class_names": "folder:", "train_split": "tfds:", "test_split": "tfds:"}


class NoJson(Exception):
    """A text is no JSON by docs/reference/formats.md: an object, at most 100 levels deep, no key twice, no NaN."""


def read(content: bytes) -> dict[str, Any]:
    """Returns the object in a text. Raises NoJson."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) < len(pairs):
            raise NoJson("a key twice")
        return dict(pairs)

    def constant(name: str) -> Any:
        raise NoJson(name)

    try:
        value = json.loads(content.decode("utf-8"), object_pairs_hook=unique, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise NoJson(type(error).__name__) from None
    if not isinstance(value, dict):
        raise NoJson("no object")
    _check(value, 1)
    return value


def _check(value: Any, depth: int) -> None:
    if isinstance(value, (dict, list)):
        if depth > 100:
            raise NoJson("too deep")
        for item in value if isinstance(value, list) else [*value, *value.values()]:
            _check(item, depth + 1)
    elif isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise NoJson("no UTF-8")
    elif value is not None and not isinstance(value, str) and not -LARGEST <= value <= LARGEST:
        raise NoJson("beyond float64")


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number, and no boolean."""
    return type(value) is int


def is_real(value: Any) -> bool:
    """Whether a value is a finite number, and no boolean."""
    return type(value) in (int, float) and -LARGEST <= value <= LARGEST


def wrong_setting(name: str, value: Any) -> str | None:
    """A field of RunConfig, but for its model, schedule and teachers."""
    if name in WHOLE:
        right = is_whole(value) and WHOLE[name](value)
    elif name in REAL:
        right = is_real(value) and REAL[name](value)
    elif name in ONE_OF:
        right = isinstance(value, str) and value in ONE_OF[name]
    elif name in BOOLEAN:
        right = isinstance(value, bool)
    else:
        right = name in ANY_TEXT and isinstance(value, str) and not (name == "dataset_name" and re.search(r"\s", value))
    return None if right else f"{name} {value!r:.50}"


def wrong_architecture(name: Any) -> str | None:
    """<family><depth>[-<width>]: wrn and dn with a width, of depth 6N + 4; ResNets of table 1 of He et al."""
    match = re.fullmatch(r"(wrn|dn|resnet)([1-9][0-9]*)(-[1-9][0-9]*)?", name, re.A) if isinstance(name, str) else None
    if not match or (match[3] is None) != (match[1] == "resnet") or len(match[2]) > 4 or len(match[3] or "") > 5:
        return f"architecture {name!r:.50}"
    depth = int(match[2])
    right = depth in DEPTHS["resnet"] if match[1] == "resnet" else depth >= 10 and depth % 6 == 4
    return None if right else f"depth of {name}"


def wrong_schedule(name: Any) -> str | None:
    """k-N with 1 <= k <= N, cos-N or N, with xS for a share S of four digits, and @M for fewer epochs."""
    if isinstance(name, str) and "@" in name:
        full, _, last = name.rpartition("@")
        if wrong_schedule(full) or "@" in full or not re.fullmatch("[1-9][0-9]{0,5}", last, re.A):
            return f"schedule {name!r:.50}"
        return None if int(last) < epochs(full) else f"end of {name}"
    match = (
        re.fullmatch(r"(?:([0-9]+|cos)-)?([0-9]+)(?:x0(\.[0-9]{1,4}))?", name, re.A) if isinstance(name, str) else None
    )
    if not match or match[2].startswith("0") or len(match[2]) > 6 or (match[3] or "1").endswith("0"):
        return f"schedule {name!r:.50}"
    if match[1] in (None, "cos"):
        return None
    step = match[1]
    right = not step.startswith("0") and len(step) <= 6 and int(step) <= int(match[2])
    return None if right else f"step of {name}"


def epochs(schedule: str) -> int:
    """Epochs of a schedule: of a shrunk one its share, rounded half up, at least 1; of a cut one what is left."""
    if "@" in schedule:
        return int(schedule.rpartition("@")[2])
    whole, _, share = schedule.rpartition("-")[2].partition("x")
    return max(1, math.floor(int(whole) * float(share or 1) + 0.5 + 1e-9))


def wrong_dataset(settings: Mapping[str, Any]) -> str | None:
    """cifar10, cifar100, digits, npz:FILE, folder:DIR or tfds:NAME; only files and folders have another name."""
    source, name = settings.get("dataset", "cifar10"), settings.get("dataset_name", "")
    if not isinstance(source, str) or not isinstance(name, str):
        return f"dataset {source!r:.50}"
    for setting, kind in OF_SOURCES.items():
        if settings.get(setting) and not source.startswith(kind):
            return f"{setting} of {source:.50}"
    if settings.get("background", "white") not in COLOURS:
        return "background"
    if source.startswith(("npz:", "folder:", "tfds:")):
        return None
    if source not in ("cifar10", "cifar100", "digits"):
        return f"dataset {source!r:.50}"
    return None if name in ("", source) else f"dataset_name {name!r:.50}"


def weights_of(method: str, settings: Mapping[str, Any]) -> list[Any]:
    """Weights of cross-entropy, KD, AT and of the method's own term: those that are set, or else the method's."""
    ce, kd, own, _ = OWN.get(method, (0, 0, 0, False))
    usual = (ce, kd, 0, own) if method in OWN else (*WEIGHTS[method], 0)
    names = ("ce_weight", "kd_weight", "at_weight", "method_weight")
    return [settings.get(name, weight) for name, weight in zip(names, usual, strict=True)]


def wrong_weights(
    ce: float, kd: float, at: float, own: float = 0, *, method: str = "none", teachers: int
) -> str | None:
    """Weights of the loss's terms: one is above 0; KD, AT and most methods need a teacher."""
    if own and method not in OWN:
        return f"a term of {method}'s own"
    if not (ce or kd or at or own):
        return "no term"
    needed = kd or at or (own and OWN[method][3])
    return "no teacher for a term" if needed and not teachers else None


def wrong_statistics(settings: Mapping[str, Any]) -> str | None:
    """Mean and standard deviation of a teacher's images: both, as many numbers, for standardised images."""
    mean, std = (settings.get(f"teacher_{name}", "") for name in ("mean", "std"))
    if not mean and not std:
        return None
    if not mean or not std or settings.get("teacher_input", "auto") != "standardised":
        return "half of the statistics"
    try:
        means, stds = ([float(word) for word in text.split(",")] for text in (mean, std))
    except ValueError:
        return f"statistics {mean!r:.50} {std!r:.50}"
    right = len(means) == len(stds) and all(0 <= x <= 1 for x in means) and all(0 < x <= 1 for x in stds)
    return None if right else f"statistics {mean!r:.50} {std!r:.50}"


def wrong_unlabelled(settings: Mapping[str, Any], kd: float, at: float, own: float = 0, *, teachers: int) -> str | None:
    """npz:FILE, folder:DIR or tfds:NAME, to learn from by teachers to the end; a batch has images of both kinds."""
    source = settings.get("unlabelled", "")
    if not source:
        return None
    if not source.startswith(("npz:", "folder:", "tfds:")):
        return f"unlabelled {source!r:.50}"
    if not teachers or not (kd or at or own) or settings.get("kd_until", 1) != 1:
        return "unlabelled without a teacher"
    batch = settings.get("batch_size", 256 if settings.get("recipe") == "imagenet" else 128)
    unlabelled = round(settings.get("unlabelled_share", 0.5) * batch)
    return None if 0 < unlabelled < batch else f"{unlabelled} of {batch} unlabelled"


def wrong_training(settings: Mapping[str, Any], schedule: str) -> str | None:
    """Warm-up within the schedule, one gradient to clip, two images to mix, a regular expression to freeze by."""
    if settings.get("warmup_epochs", 0) > epochs(schedule):
        return "warmup_epochs"
    for word in settings["keep_epochs"].split(",") if settings.get("keep_epochs") else ():
        if not re.fullmatch("[0-9]{1,6}", word, re.A) or not 1 <= int(word) < epochs(schedule):
            return f"keep_epochs {word:.50}"
    if settings.get("clip_norm", 0) and settings.get("strategy") == "mirrored":
        return "clip_norm of replicas"
    batch = settings.get("batch_size", 256 if settings.get("recipe") == "imagenet" else 128)
    unlabelled = round(settings.get("unlabelled_share", 0.5) * batch) if settings.get("unlabelled") else 0
    if (settings.get("mixup_alpha", 0) or settings.get("cutmix_alpha", 0)) and 1 in (unlabelled, batch - unlabelled):
        return "one image to mix"
    try:
        re.compile(settings.get("freeze", ""))
    except (re.error, OverflowError, RecursionError):
        return "freeze"
    return None


def wrong_directory(path: Any) -> str | None:
    """A directory's path: parts of at most 255 bytes, no null byte."""
    if not isinstance(path, str) or not path or "\0" in path:
        return f"directory {path!r:.50}"
    if len(path.encode()) > 3500 or any(len(part.encode()) > 255 for part in path.split("/")):
        return "a long path"
    return None
