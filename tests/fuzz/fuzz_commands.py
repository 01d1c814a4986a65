"""The second rule of command lines: what their flags mean together, from docs/reference/flags.md and the docstrings."""

import csv
import dataclasses
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

import fuzz_formats as formats
from fuzz_flags import FLAGS, HELP, OF_ABSL, REQUIRED, as_bool

LATER = "shows only with the data, the network or the model"
REMOTE = ("grpc://", "https://", "http://", "hf://")


class Wrong(Exception):
    """What is wrong with a command line."""


@dataclasses.dataclass
class World:
    """What there is in the current directory of the command lines."""

    runs: set[str]
    published: set[str]
    grids: set[str]
    files: set[str]

    def is_model(self, spec: str) -> bool:
        return spec in self.runs | self.published


def expect(right: Any, what: str) -> None:
    """Raises Wrong unless this is right."""
    if not right:
        raise Wrong(what)


def find_wrong(command: str, words: list[str], world: World) -> str | None:
    """Returns what is wrong with a command line; LATER if that shows only later."""
    try:
        given = parse(command, words)
        if any(given.get(name) for name in HELP):
            return None
        expect(given.keys() >= REQUIRED.get(command, set()), "a required flag")
        return _CROSS[command](given, world)
    except Wrong as error:
        return str(error)


def parse(command: str, words: list[str]) -> dict[str, Any]:
    """Returns the values of the flags; help ends the parsing. Raises Wrong."""
    flags = FLAGS[command] | OF_ABSL
    given: dict[str, Any] = {}
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        expect(re.match("--?[^-=]", word), f"the word {word!r:.50}")
        name, equals, text = re.sub("^--?", "", word).partition("=")
        if name.startswith("no") and name not in flags and flags.get(name[2:]) is as_bool:
            expect(not equals, "a value of --no")
            name, equals, text = name[2:], "=", "false"
        expect(name in flags, f"the flag {name:.50}")
        if flags[name] is as_bool and not equals:
            text = "true"
        elif not equals:
            expect(waiting, "no value")
            text = waiting.pop(0)
        try:
            given[name] = flags[name](text)
        except ValueError:
            raise Wrong(f"{name} {text!r:.50}") from None
        if name in HELP and given[name]:
            return given
    return given


# What flags mean together. Each returns None, or LATER, or raises Wrong.


def _run(given: Mapping[str, Any], model: str = "model", teachers: int = 0, method: str = "none") -> None:
    expect(*_right(formats.wrong_architecture(given[model])))
    schedule = given.get("schedule", formats.RECIPES[given.get("recipe", "cifar")])
    expect(*_right(formats.wrong_schedule(schedule)))
    expect(*_right(formats.wrong_training(given, schedule)))
    _data(given)
    weights = formats.weights_of(method, given)
    expect(*_right(formats.wrong_weights(*weights, method=method, teachers=teachers)))
    expect(*_right(formats.wrong_unlabelled(given, *weights[1:], teachers=teachers)))


def _right(wrong: str | None) -> tuple[bool, str]:
    return not wrong, wrong or ""


def _data(given: Mapping[str, Any]) -> None:
    expect(*_right(formats.wrong_dataset(given)))
    expect(*_right(formats.wrong_statistics(given)))


def _teachers(given: Mapping[str, Any], world: World) -> str | None:
    teachers = given.get("teacher", [])
    remote = [teacher for teacher in teachers if teacher.startswith(REMOTE)]
    expect(all(map(world.is_model, set(teachers) - set(remote))), "a teacher")
    expect(len(set(teachers)) == len(teachers), "a teacher twice")
    return LATER if remote else None


def _train(given: Mapping[str, Any], world: World) -> str | None:
    _run(given)
    return None


def _distill(given: Mapping[str, Any], world: World) -> str | None:
    method = given.get("method", "kd")
    if method in formats.OWN:
        return LATER  # it needs a backend, and has arguments of its own
    found = _teachers(given, world)
    teachers = len(given.get("teacher", []))
    _run(given, "student", teachers, method)
    expect(teachers or given.get("kd_until", 1) == 1, "kd_until without a teacher")
    expect(not given.get("method_args"), f"arguments of {method}")
    return found


def _evaluate(given: Mapping[str, Any], world: World) -> str | None:
    if given["model"].startswith(REMOTE[1:]):
        return LATER
    expect(world.is_model(given["model"]), "model")
    written = [os.path.realpath(given[name]) for name in ("per_class", "confusion") if name in given]
    expect(len(set(written)) == len(written), "one file for two")
    return LATER if given.keys() & {"dataset", "examples"} else None


def _predict(given: Mapping[str, Any], world: World) -> str | None:
    if given["model"].startswith(REMOTE[1:]):
        return LATER
    expect(world.is_model(given["model"]), "model")
    expect(os.path.exists(given["images"]), "images")
    return LATER


def _precompute(given: Mapping[str, Any], world: World) -> str | None:
    expect(given["teacher"], "no teacher")
    if given.get("features"):
        return LATER  # as in `_distill`
    found = _teachers(given, world)
    expect(*_right(formats.wrong_schedule(given.get("schedule") or "1-1")))
    _data(given)
    expect(*_right(formats.wrong_unlabelled(given, 1, 0, teachers=len(given["teacher"]))))
    cache = given.get("teacher_cache", "auto")
    expect(cache not in ("off", "") and cache not in world.files and "://" not in cache, "teacher_cache")
    expect(given.get("dtype_policy") != "auto", "dtype_policy")
    expect(not given.get("ray") or cache != "auto", "a table of one machine")
    return found or (LATER if cache != "auto" or given.get("ray") else None)


def _sweep(given: Mapping[str, Any], world: World) -> str | None:
    expect(given["grid"] in world.grids, "grid")
    return None


def _reproduce(given: Mapping[str, Any], world: World) -> str | None:
    expect(("table" in given) != ("figure" in given), "table or figure")
    if given.get("table") == ["methods"]:
        return _compare_methods(given)
    expect(not given.get("teachers"), "teachers of a table")
    tables = {f"table{number}" for number in given.get("table", ())} or {"figure1"}
    source, name = given.get("dataset", "cifar10"), given.get("dataset_name", "")
    _data(given)
    known = name or (source.removeprefix("npz:") if source.startswith("npz:") else source)
    on_imagenet = tables & {"table4", "figure1"}
    expect(not on_imagenet or known not in ("cifar10", "cifar100", "digits"), "table 4 is of ImageNet")
    scale = given.get("schedule_scale", "")
    expect(re.fullmatch(r"(0\.[0-9]{0,3}[1-9])?", scale, re.A), "schedule_scale")
    for chain in given.get("via", []):
        for architecture in chain.split("+"):
            expect(*_right(formats.wrong_architecture(architecture)))
    rows = given.get("rows", "")
    if rows:
        expect(len(tables) == 1, "rows of several tables")
        _rows(rows, *tables)
    expect(*_right(formats.wrong_training({**given, "warmup_epochs": 0}, "1-1")))
    # An npz file that does not exist has no sizes, one that does may be none; runs of one name may meet.
    later = source.startswith("npz:") or len(given.get("via", [])) > 1 or given.get("warmup_epochs", 0) > 0
    return LATER if later else None


def _compare_methods(given: Mapping[str, Any]) -> str | None:
    expect(not given.keys() & {"rows", "kd_until", "via"}, "rows, kd_until or via of methods")
    return LATER  # as in `_distill`


def _rows(text: str, table: str) -> None:
    with open(os.path.join(os.environ["PAPER"], f"{table}.csv")) as file:
        printed = list(csv.DictReader(file))
    students = [(row["student"], row["schedule_type"]) for row in printed if row["student"]]
    alone = [(row["student"], row["schedule_type"]) for row in printed if not row["teacher"]]
    least = 0 if set(students) - set(alone) else 1  # line 0: students that have no row from scratch
    for part in text.split(","):
        if bounds := re.fullmatch(r"(\d{1,3})(?:-(\d{1,3}))?", part):
            first, last = int(bounds[1]), int(bounds[2] or bounds[1])
            expect(least <= first <= last <= len(printed), "rows")
        else:
            teacher, _, mode = part.partition(":")
            form = r"(\d+/)?\d+" if table == "figure1" else r"\d+/\d+"
            expect(re.fullmatch(form, mode, re.A) and students, "rows")
            expect(*_right(formats.wrong_architecture(teacher)))
            expect(*_right(formats.wrong_schedule(mode.replace("/", "-"))))


def _tune(given: Mapping[str, Any], world: World) -> str | None:
    if {name.partition(":")[0] for name in given.get("methods", ())} & formats.OWN.keys():
        return LATER  # as in `_distill`
    students = ([given["student"]] if given.get("student") else []) + given.get("students", [])
    expect(students and len(set(students)) == len(students), "students")
    for student in students:
        _run(given | {"student": student}, "student")
    teachers, schedules = given["teachers"], given.get("teacher_schedules", [])
    of_architectures = [teacher for teacher in teachers if not formats.wrong_architecture(teacher)]
    others = set(teachers) - {*of_architectures, "none"}
    remote = {teacher for teacher in others if teacher.startswith(REMOTE)}
    expect(all(map(world.is_model, others - remote)), "a teacher")
    for name in ("teachers", "methods", "temperatures", "kd_weights", "kd_until", "teacher_schedules"):
        values = given.get(name, ["x"])
        expect((values or name == "teacher_schedules") and len(set(values)) == len(values), name)
    expect(bool(of_architectures) == bool(schedules), "teacher_schedules")
    for schedule in schedules:
        expect(*_right(formats.wrong_schedule(schedule)))
    expect(set(given.get("methods", ["kd"])) <= {"kd", "at", "at+kd"}, "methods")
    search = given.get("search", "hyperband")
    expect("max_trials" not in given or search != "hyperband", "max_trials of hyperband")
    expect(given.get("dtype_policy") != "auto", "dtype_policy")
    return LATER if remote or given.get("ray") or (search == "bayesian" and given.get("seed", 0) > 2**31) else None


def _list_models(given: Mapping[str, Any], world: World) -> str | None:
    return None


def _publish(given: Mapping[str, Any], world: World) -> str | None:
    expect(set(given["run"]) <= world.runs and given["run"], "run")
    return LATER


def _serve(given: Mapping[str, Any], world: World) -> str | None:
    return LATER if given.keys() & {"models", "path"} else None


def _compare(given: Mapping[str, Any], world: World) -> str | None:
    runs = set(given["runs"])
    expect(runs, "runs")
    if runs - world.runs:
        return LATER  # a pattern may match
    expect(given["out"] not in world.files, "out")
    return LATER if given.get("curves") or "out" in given else None


_CROSS: dict[str, Callable[[Mapping[str, Any], World], str | None]] = {
    "train": _train,
    "distill": _distill,
    "evaluate": _evaluate,
    "predict": _predict,
    "demo": _list_models,
    "precompute": _precompute,
    "sweep": _sweep,
    "reproduce": _reproduce,
    "tune": _tune,
    "list": _list_models,
    "publish": _publish,
    "serve": _serve,
    "compare": _compare,
}
