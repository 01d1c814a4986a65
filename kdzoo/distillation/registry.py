"""Distillation methods by name: the files of `kdzoo.distillation.methods`, and what other packages add.

A package adds a method by an entry point of the group "kdzoo.methods": NAME = "package.module:Class". Imports no
backend until a method is loaded.
"""

import ast
import dataclasses
import functools
import importlib
import importlib.metadata
import json
import pathlib
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from kdzoo.distillation.method import Method
from zoo import InputError

# Methods that are made of the terms KD and AT alone -> their weights. AT's weight is the 10^3 in Zagoruyko &
# Komodakis' code.
TERMS = {
    "none": {"ce_weight": 1.0, "kd_weight": 0.0, "at_weight": 0.0},
    "kd": {"ce_weight": 0.1, "kd_weight": 0.9, "at_weight": 0.0},
    "at": {"ce_weight": 1.0, "kd_weight": 0.0, "at_weight": 1000.0},
    "at+kd": {"ce_weight": 0.1, "kd_weight": 0.9, "at_weight": 1000.0},
}
GROUP = "kdzoo.methods"
_PACKAGE = "kdzoo.distillation.methods"
_FOLDER = pathlib.Path(__file__).with_name("methods")


def names() -> list[str]:
    """Names of all methods: first those of KD and AT, then the others in order."""
    return [*TERMS, *sorted({*_files(), *_entry_points()} - TERMS.keys())]


def summaries() -> dict[str, str]:
    """Returns a line about each method beside KD and AT, by name, without loading it."""
    lines = {name: f"{entry.value}." for name, entry in _entry_points().items()}
    lines |= {
        name: (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0] for name, path in _files().items()
    }
    return {name: lines[name] for name in names() if name in lines and name not in TERMS}


def load(name: str) -> type[Method]:
    """Imports a method, and the backend with it.

    Raises:
        InputError: if there is no such method, or what an entry point names is none.
    """
    if name in _files():
        module = importlib.import_module(f"{_PACKAGE}.{name}")
        return next(
            value for value in vars(module).values() if _is_method(value) and value.__module__ == module.__name__
        )
    entry = _entry_points().get(name)
    if entry is None:
        raise InputError(f"method must be one of {', '.join(names())}. Received: {name}")
    try:
        found = entry.load()
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"An entry point of {GROUP} must name a class. Received: {name} = {entry.value}: {error}"
        ) from error
    if not _is_method(found):
        raise InputError(f"A method must be a subclass of kdzoo.Method. Received: {name} = {entry.value}")
    return typing.cast(type[Method], found)


def make(name: str, arguments: Mapping[str, Any] | str = "") -> Method:
    """Makes a method.

    Args:
        name: of the method.
        arguments: those that differ from their defaults; or as JSON, see `parse_arguments`.

    Raises:
        InputError: if there is no such method, or an argument is wrong.
    """
    kind = load(name)
    given = json.loads(arguments or "{}") if isinstance(arguments, str) else arguments
    return kind(**_check(kind, name, given))


def weights(name: str) -> dict[str, float]:
    """Returns the default weights of a method: fields of `kdzoo.RunConfig`."""
    if name in TERMS:
        return dict(TERMS[name])
    return _weights_of(load(name))


def resolve(
    method: Method | str | None, given: Mapping[str, float | None] | None = None
) -> tuple[Method | None, dict[str, float]]:
    """Returns a method, None if it is made of KD and AT alone, and the weights of all terms.

    Args:
        method: itself, its name, or None for kd.
        given: weights that replace the method's; None stays the method's.
    """
    method = method or "kd"
    if isinstance(method, str):
        found, terms = (None if method in TERMS else make(method)), {"method_weight": 0.0, **weights(method)}
    else:
        found, terms = method, _weights_of(method)
    return found, terms | {name: value for name, value in (given or {}).items() if value is not None}


def _weights_of(method: Method | type[Method]) -> dict[str, float]:
    terms = {"ce_weight": method.ce_weight, "kd_weight": method.kd_weight, "at_weight": 0.0}
    return terms | {"method_weight": method.weight}


def fields(name: str, arguments: Sequence[str] = ()) -> dict[str, Any]:
    """Returns the fields of `kdzoo.RunConfig` that a method sets.

    Args:
        name: of the method.
        arguments: each as NAME=VALUE.

    Raises:
        InputError: if there is no such method, or it has no such argument.
    """
    if name in TERMS:
        if arguments:
            received = ",".join(arguments)
            raise InputError(f"method_args must be empty with {name}, whose arguments are flags. Received: {received}")
        return weights(name)
    words = {}
    for argument in arguments:
        key, equals, word = argument.partition("=")
        if not equals or key in words:
            raise InputError(f"method_args must be NAME=VALUE, each once, for example beta=2. Received: {argument}")
        words[key.strip()] = word.strip()
    return {"distillation_method": name, "method_args": parse_arguments(name, words), **weights(name)}


def candidate_fields(candidate: str) -> dict[str, Any]:
    """Returns the fields that a candidate of a search sets: NAME, or NAME:ARGUMENT=VALUE:..., such as dkd:beta=2."""
    name, *arguments = candidate.split(":")
    return fields(name, arguments)


def words(arguments: str) -> list[str]:
    """Returns a method's arguments, as JSON, each as NAME=VALUE."""
    return [f"{name}={json.dumps(value).strip(chr(34))}" for name, value in json.loads(arguments or "{}").items()]


def parse_arguments(name: str, words: Mapping[str, str]) -> str:
    """Returns a method's arguments as JSON: those that differ from their defaults, in order of their names.

    Args:
        name: of the method.
        words: a text for each argument, such as {"beta": "2"}.

    Raises:
        InputError: if an argument is unknown, or its text is no value of its type.
    """
    kind = load(name)
    options = {field.name: field for field in dataclasses.fields(kind)}
    given = {}
    for key, word in words.items():
        field = options.get(key)
        given[key] = _parse(name, field, word) if field else word
    checked = _check(kind, name, given)
    changed = {key: checked[key] for key in sorted(checked) if checked[key] != options[key].default}
    return json.dumps(changed) if changed else ""


def _parse(name: str, field: "dataclasses.Field[Any]", word: str) -> Any:
    """Returns the value that a word has as an argument."""
    kind: Any = type(field.default)
    try:
        return {"true": True, "false": False}[word.lower()] if kind is bool else kind(word)
    except (ValueError, KeyError):
        example, received = (f"{field.name}={value}" for value in (field.default, word))
        rule = f"An argument of {name} must be of its type, for example {example}"
        raise InputError(f"{rule}. Received: {received}") from None


def _check(kind: type[Method], name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Returns arguments with integers where a fraction is expected as such. Raises InputError if one is wrong."""
    options = {field.name: type(field.default) for field in dataclasses.fields(kind)}
    checked = {}
    for key, value in arguments.items():
        if key not in options:
            known = ", ".join(options) or "none"
            raise InputError(f"The arguments of {name} are: {known}. Received: {key}")
        if options[key] is float and type(value) is int:
            value = float(value)
        if type(value) is not options[key]:
            raise InputError(f"{key} of {name} must be of type {options[key].__name__}. Received: {value}")
        checked[key] = value
    return checked


def _is_method(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Method) and value is not Method


@functools.cache
def _files() -> dict[str, pathlib.Path]:
    """The files of methods, by name."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.py")) if path.stem != "__init__"}


@functools.cache
def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    return {entry.name: entry for entry in importlib.metadata.entry_points(group=GROUP)}
