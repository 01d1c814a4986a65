"""Specs of models to train: a zoo architecture, a network of Keras or KerasHub, a file, a function. No backend."""

import dataclasses
import functools
import hashlib
import json
import os
import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

from kdzoo import files
from kdzoo.models import names
from zoo import InputError

ZOO, KERAS, HUB, FILE, FUNCTION = "zoo", "keras", "kerashub", "file", "function"
_RULE = (
    f"{names.RULE}; or be keras:NAME, kerashub:PRESET, FILE.keras or package.module:function, for example"
    " keras:MobileNetV3Small?alpha=0.75"
)
_NOT_IN_NAMES = ("weights",)  # where training begins is no part of a network's name
_WORD = re.compile(r"[a-z][a-z0-9.-]{0,62}")


@dataclasses.dataclass(frozen=True)
class Spec:
    """What names a model to train.

    Attributes:
        kind: zoo, keras (`keras.applications`), kerashub, file or function.
        target: architecture, name of the Keras function, preset, path, or `package.module:function`.
        arguments: further arguments of the function that builds it.
    """

    kind: str
    target: str
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def own_standardisation(self) -> bool:
        """Whether the network takes pixels from 0 to 255: all but zoo networks do."""
        return self.kind != ZOO

    @property
    def slug(self) -> str:
        """A name for runs of this model, in the letters of model names: mobilenetv3small-alpha0.75."""
        if self.kind == ZOO:
            return self.target
        last = re.split(r"[/:\\]", self.target.rstrip("/\\"))[-1].removesuffix(".keras")
        arguments = [f"{key}{value}" for key, value in self.arguments.items() if key not in _NOT_IN_NAMES]
        slug = re.sub(r"[^a-z0-9.]+", "-", "-".join([last, *arguments]).lower()).strip("-.")
        slug = slug if slug[:1].isalpha() else f"model-{slug}"
        return slug[:63].rstrip("-.")

    @property
    def file(self) -> str | None:
        """Path of the file that the network's weights come from, None without."""
        if self.kind == FILE:
            return self.target
        weights = self.arguments.get("weights")
        return weights if self.kind == KERAS and isinstance(weights, str) and weights != "imagenet" else None


@functools.lru_cache(maxsize=64)
def parse(text: str, arguments: str = "") -> Spec:
    """Parses the spec of a model to train.

    Args:
        text: zoo architecture, `keras:NAME`, `kerashub:PRESET_OR_FOLDER`, `FILE.keras` or `package.module:function`;
            arguments may follow a question mark: `keras:MobileNetV3Small?alpha=0.75&weights=imagenet`.
        arguments: more of them, a JSON object.

    Raises:
        InputError: if it is none of these, or an argument is given twice.
    """
    path, mark, query = text.partition("?")
    kind, target = _split(path)
    found: dict[str, Any] = {}
    for key, value in (*urllib.parse.parse_qsl(query, keep_blank_values=True), *_read_arguments(arguments).items()):
        if key in found or not key.isidentifier():
            raise InputError(f"A model's arguments must be names, each once. Received: {key!r} for {text}")
        found[key] = _value(value) if isinstance(value, str) else value
    if (found or mark) and kind in (ZOO, FILE):
        raise InputError(f"A {'zoo model' if kind == ZOO else 'file'} takes no arguments. Received: {text} {arguments}")
    if kind == ZOO:
        names.parse(target)
    return Spec(kind, target, found)


def check_name(name: str, spec: Spec) -> None:
    """Raises InputError if runs of this model cannot have such a name.

    Args:
        name: the name, "" for the spec's own.
        spec: of the model.
    """
    if not name:
        return
    if spec.kind == ZOO:
        raise InputError(f"name must be empty for a zoo model, which has its own. Received: {name} for {spec.target}")
    if not _WORD.fullmatch(name) or _is_zoo_name(name):
        raise InputError(
            "name must be lower-case letters, digits, dots and hyphens, and no zoo model's, for example"
            f" mobilenetv3small-75. Received: {name}"
        )


def digest(spec: Spec) -> str:
    """SHA-256 of the file that the network's weights come from, "" without one.

    Raises:
        InputError: if it cannot be read.
    """
    if spec.file is None:
        return ""
    try:
        with open(spec.file, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(
            f"A model's file must be one that can be read. Received: {spec.file}: {error.strerror}"
        ) from None


def is_network(text: str) -> bool:
    """Whether a text is a spec of a network other than the zoo's."""
    try:
        return parse(text).kind != ZOO
    except InputError:
        return text.startswith((f"{KERAS}:", f"{HUB}:"))


def without_path(text: str) -> str:
    """A spec without the folders of its file, whose content has a digest."""
    if text.partition("?")[0].endswith(".keras"):
        return os.path.basename(text)
    return re.sub(r"(?<=[?&]weights=)[^&]*[/\\\\]", "", text)


def _split(path: str) -> tuple[str, str]:
    """Returns the kind and the target of a spec without its arguments."""
    prefix, colon, rest = path.partition(":")
    if colon and prefix in (KERAS, HUB):
        if not rest:
            raise InputError(f"{_RULE}. Received: {path}")
        return prefix, rest
    if path.endswith(".keras"):
        return FILE, path
    if re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", path):
        return FUNCTION, path
    if ":" in path or os.sep in path:
        raise InputError(f"{_RULE}. Received: {path}")
    return ZOO, path


def _read_arguments(text: str) -> dict[str, Any]:
    rule = 'model_args must be a JSON object, for example {"width": 2}'
    return files.parse_json(text.encode(), spec=text[:100], rule=rule) if text else {}


def _value(text: str) -> Any:
    """A number, true, false or null of JSON, else the text itself."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if isinstance(value, (dict, list)) else value


def _is_zoo_name(name: str) -> bool:
    try:
        names.parse(name)
    except InputError:
        return False
    return True
