"""The report that compares runs: compare.md, compare.csv, plots, and a log directory for TensorBoard."""

import dataclasses
import fnmatch
import os
import pathlib
from collections.abc import Mapping, Sequence

from kdzoo.files import write_atomically
from kdzoo.reports import costs, tensorboard
from kdzoo.reports.comparison_table import EXPLAINED, SCALED, comparison_csv, comparison_markdown
from kdzoo.reports.groups import Group, Record, group_runs, repeats
from kdzoo.reports.methods import MethodComparison, compare_methods, methods_markdown
from kdzoo.reports.plots.catalogue import possible_plots
from kdzoo.reports.plots.figures import NothingToShow
from kdzoo.reports.plots.files import save
from kdzoo.reports.schedule_scale import scale
from zoo import InputError


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What `compare` wrote: the Markdown table, the files' paths, and notes on runs and plots that are left out.

    `methods` is the Markdown section of methods, empty where no student has two methods with one teacher.
    """

    table: str
    paths: list[pathlib.Path]
    notes: list[str]
    methods: str = ""


def compare(
    runs: Mapping[str, Record],
    out: str | os.PathLike[str],
    *,
    curves: Sequence[str] = (),
    logdir: str | os.PathLike[str] | None = None,
) -> Comparison:
    """Writes compare.md, compare.csv and every plot that has something to show, as PNG and SVG.

    Args:
        runs: label -> record, of finished runs.
        out: a directory, made if need be.
        curves: shell patterns of the labels of the runs whose learning curves to draw, as means over seeds; none: the
            student from scratch and with the biggest teacher, at most five curves.
        logdir: a directory for TensorBoard, built anew by `kdzoo.reports.tensorboard.rebuild`; None: none is built.

    Raises:
        InputError: if there are no runs, a pattern matches none, or a directory cannot be written.
    """
    if not runs:
        raise InputError("runs must be directories that hold finished runs, for example runs. Received: none")
    chosen = [record for label, record in runs.items() if any(fnmatch.fnmatch(label, pattern) for pattern in curves)]
    if curves and not chosen:
        raise InputError(f"curves must be patterns of runs' paths, for example '*seed0'. Received: {', '.join(curves)}")
    folder = _make_folder(out)
    groups = group_runs(runs.values())
    notes = _notes_on_runs(runs, groups)
    compared = compare_methods(groups)
    images = _save_plots(runs, chosen, compared, folder, notes)
    table, explained, methods = comparison_markdown(groups), _explain(groups), methods_markdown(compared)
    pictures = [f"![{name}]({name}.svg)" for name in images]
    sections = ["# Runs compared", table, explained, *(f"- {note}" for note in notes), methods, *pictures]
    text = "\n\n".join(filter(None, sections))
    paths = [folder / "compare.md", folder / "compare.csv", *(path for pair in images.values() for path in pair)]
    write_atomically(paths[0], f"{text}\n".encode())
    write_atomically(paths[1], comparison_csv(groups).encode())
    if logdir is not None:
        pngs = {name: png.read_bytes() for name, (png, _) in images.items()}
        texts = {"table": f"{table}\n\n{explained}"} | ({"methods": methods} if methods else {})
        tensorboard.rebuild(logdir, runs, images=pngs, texts=texts)
    return Comparison(table, paths, notes, methods)


def _make_folder(out: str | os.PathLike[str]) -> pathlib.Path:
    folder = pathlib.Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"out must be a directory that can be written. Received: {error}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"out must be a directory that can be written. Received: {folder}")
    return folder


def _notes_on_runs(runs: Mapping[str, Record], groups: Sequence[Group]) -> list[str]:
    """Returns notes on runs that are in no table, and on groups that are in no plot by teacher."""
    notes = []
    superseded = {id(record) for record in repeats(list(runs.values()))}
    if again := [label for label, record in runs.items() if id(record) in superseded]:
        notes.append(f"left out, since a later run differs in nothing from it: {', '.join(again)}")
    if others := sum(bool(group.teachers) and not group.teacher for group in groups):
        notes.append(f"in the table, not in plots by teacher: {others} of several, external or distilled teachers")
    return notes + costs.notes(runs, groups)


def _save_plots(
    runs: Mapping[str, Record],
    chosen: Sequence[Record],
    methods: Sequence[MethodComparison],
    folder: pathlib.Path,
    notes: list[str],
) -> dict[str, tuple[pathlib.Path, pathlib.Path]]:
    """Saves every plot that has something to show, and adds a note for each that has not. Returns name -> paths."""
    images = {}
    for name, draw in possible_plots(group_runs(runs.values(), merge_teachers=True), chosen, methods):
        try:
            images[name] = save(draw(), folder / name)
        except NothingToShow as nothing:
            notes.append(f"no {name}: {nothing}")
    return images


def _explain(groups: Sequence[Group]) -> str:
    schedules = [name.schedule for group in groups for name in (group, group.teacher) if name]
    scaled = f" {SCALED}" if any(scale(schedule) != 1 for schedule in schedules) else ""
    return EXPLAINED + (f" {costs.EXPLAINED}" if any(map(costs.of_group, groups)) else "") + scaled
