"""The runs of a grid: each choice of its flags becomes a run with a name, a directory and a RunConfig."""

import dataclasses
import itertools
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from kdzoo import files
from kdzoo.distillation import registry
from kdzoo.models import specs
from kdzoo.runs import kept_epochs, settings
from kdzoo.runs.config import METHODS, RunConfig
from kdzoo.runs.recipes import RECIPES, default_recipe
from kdzoo.teachers import resolve
from kdzoo.teachers.onnx_files import ONNX
from zoo import InputError

_RULE = (
    'A grid must be {"workdir": DIRECTORY, "common": {FLAG: VALUE}, "runs": [{FLAG: VALUE or [VALUES]}]}, each with a'
    ' schedule and either model or student, for example {"student": "wrn16-1", "schedule": "60-200", "seed": [0, 1]}'
)
_FIELDS = {field.name for field in dataclasses.fields(RunConfig)} - {"teachers", "distillation_method"}
_NAMED_IF_SET = ("kd_until", "method_args")  # two runs that differ in it use different methods
_NAMED = ("model", "student", "schedule", "teacher", "method", "seed")


@dataclasses.dataclass
class Run:
    """One run of a sweep.

    Attributes:
        name: name of its directory within the sweep's.
        workdir: its directory.
        config: its configuration.
        needs: names of the runs that must finish first, its teachers.
        state: waiting, queued (on a cluster), running, finished, failed or stopped.
        detail: its progress, or the cause of a failure.
    """

    name: str
    workdir: pathlib.Path
    config: RunConfig
    needs: tuple[str, ...] = ()
    state: str = "waiting"
    detail: str = ""


def read_grid(path: str | os.PathLike[str]) -> list[Run]:
    """Returns the runs of a grid file (JSON), in its order: see `expand`.

    Raises:
        InputError: if the file cannot be read, or is no grid.
    """
    return expand(files.read_json(path, rule=_RULE))


def expand(grid: Mapping[str, Any]) -> list[Run]:
    """Returns every run of a grid.

    "common" and each entry of "runs" hold flags of `apps.train` (with "model") or `apps.distill` (with "student"). A
    list stands for a run with each of its values. A "teacher" is a run named earlier in the grid, or an epoch that it
    keeps, RUN@N, or any other teacher; commas separate the teachers of an ensemble. The name of a run consists of its
    model, schedule, method and teacher, kd_until if it is set, the other flags that its entry varies, and its seed.

    Raises:
        InputError: if it is no grid, or a run of it is impossible.
    """
    kinds = {"workdir": str, "common": dict, "runs": list}
    if not isinstance(grid, dict) or not grid.get("runs") or any(type(grid[key]) is not kinds.get(key) for key in grid):
        raise InputError(f"{_RULE}. Received: {str(grid)[:200]}")
    files.check_directory(grid.get("workdir", "runs"), name="workdir")
    root = pathlib.Path(grid.get("workdir", "runs"))
    runs: dict[str, Run] = {}
    for entry in grid["runs"]:
        if not isinstance(entry, dict):
            raise InputError(f"{_RULE}. Received: {repr(entry)[:200]}")
        flags = entry | {flag: value for flag, value in grid.get("common", {}).items() if flag not in entry}
        choices = [value if isinstance(value, list) else [value] for value in flags.values()]
        if empty := [flag for flag, values in zip(flags, choices, strict=True) if not values]:
            raise InputError(f"A list of a grid must hold at least one value. Received: {json.dumps({empty[0]: []})}")
        varied = [flag for flag, values in zip(flags, choices, strict=True) if len(values) > 1 and flag not in _NAMED]
        for values in itertools.product(*choices):
            run = make_run(dict(zip(flags, values, strict=True)), root, runs, varied)
            if run.name in runs:
                raise InputError(f"The runs of a grid must differ in what names them. Received: two {run.name}")
            runs[run.name] = run
    return list(runs.values())


def make_run(
    flags: Mapping[str, Any], root: pathlib.Path, earlier: Mapping[str, Run], varied: Sequence[str] = ()
) -> Run:
    """Returns the run of one choice of flags: see `expand`.

    Args:
        flags: flags of `apps.train` or `apps.distill`.
        root: directory of the sweep.
        earlier: the runs that can teach it, by name.
        varied: further flags for its name.

    Raises:
        InputError: if the flags are not those of a run, or the run is impossible.
    """
    flags = dict(flags)
    if unknown := sorted(flags.keys() - _FIELDS - {"student", "teacher", "method", "recipe"}):
        raise InputError(f"A run's flags must be those of apps.train or apps.distill. Received: {', '.join(unknown)}")
    for flag in ("teacher", "method", "method_args", "recipe", "model", "student"):
        if not isinstance(flags.get(flag, ""), str):
            raise InputError(f"{flag} must be a text, or a list of texts. Received: {repr(flags[flag])[:100]}")
    named = [*varied, *(flag for flag in _NAMED_IF_SET if flag in flags and flag not in varied)]
    extra = [f"{flag}{settings.to_text(flags[flag]).replace('/', '-')}" for flag in named]
    received = json.dumps(flags)[:200]
    recipe = flags.pop("recipe", None)
    if recipe not in (None, *RECIPES):
        raise InputError(f"recipe must be one of {', '.join(RECIPES)}. Received: {recipe}")
    if ("model" in flags) == ("student" in flags):
        raise InputError(f"{_RULE}. Received: {received}")
    model = flags.pop("student") if "student" in flags else flags.pop("model")
    flags = RECIPES[recipe or default_recipe(model)] | flags
    if "schedule" not in flags:
        raise InputError(f"{_RULE}. Received: {received}")
    teachers = [teacher for teacher in flags.pop("teacher", "").split(",") if teacher]
    method = flags.pop("method", "kd" if teachers else "none")
    if method in METHODS and (method != "none") != bool(teachers):
        raise InputError(f"method must be one of {', '.join(METHODS)}, none without a teacher. Received: {method}")
    arguments = flags.pop("method_args", "")
    fields = registry.fields(method, arguments.split(",") if arguments else ())
    config = RunConfig(model=model, teachers=_teacher_specs(teachers, root, earlier), **{**fields, **flags})
    config.check()
    parts = [
        f"{config.architecture}_{config.schedule}",
        *([method] if teachers or method not in METHODS else []),
        *(_name_teacher(t) for t in teachers),
    ]
    name = "_".join([*parts, *extra, f"seed{config.seed}"])
    files.check_name(f"{name}.txt", what="The name of a run, and of its log,")
    return Run(name, root / name, config, tuple(filter(None, (_find_run(teacher, earlier) for teacher in teachers))))


def relocate(run: Run, root: pathlib.Path) -> Run:
    """Returns a run and its teachers of the same sweep as they are in another directory of the sweep."""

    def moved(teacher: str) -> str:
        path = pathlib.Path(teacher)
        needed, _ = kept_epochs.run_of(path.name) or (path.name, 0)
        own = path.parent == run.workdir.parent and {needed, path.name} & {*run.needs}
        return str(root / path.name) if own else teacher

    teachers = tuple(map(moved, run.config.teachers))
    return dataclasses.replace(run, workdir=root / run.name, config=dataclasses.replace(run.config, teachers=teachers))


def _name_teacher(spec: str) -> str:
    """Returns what a teacher's spec adds to the name of a run: the last part of its path."""
    if specs.is_network(spec) and not spec.startswith(ONNX):
        return specs.parse(spec).slug
    return pathlib.Path(spec.removeprefix(ONNX)).name


def _teacher_specs(teachers: Sequence[str], root: pathlib.Path, earlier: Mapping[str, Run]) -> tuple[str, ...]:
    """Returns the directories of teachers that are earlier runs, and the specs of the others if they exist."""
    specs = tuple(str(root / teacher) if _find_run(teacher, earlier) else teacher for teacher in teachers)
    for spec, teacher in zip(specs, teachers, strict=True):
        if not _find_run(teacher, earlier):
            try:
                resolve.check_exists(spec)
            except InputError as error:
                raise InputError(f"A teacher must be an earlier run of the grid, or else exist. {error}") from None
    return specs


def _find_run(teacher: str, earlier: Mapping[str, Run]) -> str | None:
    """Returns the name of the earlier run that a teacher is, or is a kept epoch of; None if it is no earlier run.

    Raises:
        InputError: if the run does not keep that epoch.
    """
    if teacher in earlier:
        return teacher
    run, epoch = kept_epochs.run_of(teacher) or ("", 0)
    if run not in earlier:
        return None
    if epoch not in (kept := earlier[run].config.kept_epochs):
        received = f"{teacher}, whose run keeps {', '.join(map(str, kept)) or 'none'}"
        raise InputError(
            f"A teacher that is an epoch of an earlier run must be one of its keep_epochs. Received: {received}"
        )
    return run
