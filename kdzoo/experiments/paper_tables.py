"""Tables of reproduced rows beside the paper's, as Markdown and CSV."""

import csv
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from kdzoo import files
from kdzoo.experiments.paper_results import columns, results
from kdzoo.experiments.paper_runs import Experiment
from kdzoo.paper import printed
from kdzoo.reports import tables

BOLD = "printed bold"  # a note on the print, not on the numbers
_WORDS = ("line", "student", "teacher", "mode", "method")
_DIFFERENCES = ("n", "ours - published", "difference to", "paired, 95 %")
_HEAD = (*_WORDS, "teacher: published", "ours", "student: published", "ours", *_DIFFERENCES)
_IMAGENET_HEAD = (
    *(*_WORDS, "parameters (M)", "teacher: published", "ours", "top-5: published", "ours"),
    *("student: published", "ours", "top-5: ours", *_DIFFERENCES),
)


def write(experiments: Sequence[Experiment], directory: pathlib.Path, *, name: str) -> None:
    """Writes NAME.md and NAME.csv, each whole or not at all."""
    directory.mkdir(parents=True, exist_ok=True)
    files.write_atomically(directory / f"{name}.md", f"# {_title(experiments)}\n\n{markdown(experiments)}\n".encode())
    files.write_atomically(directory / f"{name}.csv", to_csv(experiments).encode())


def _title(experiments: Sequence[Experiment]) -> str:
    scale = experiments[0].schedule_scale
    return experiments[0].row.title + (f", schedules scaled by {scale}" if scale else "")


def to_csv(experiments: Sequence[Experiment]) -> str:
    """Returns `results` as CSV in full precision; seeds are separated by spaces, faults by " | "."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns(experiments[0].row), lineterminator="\n")
    writer.writeheader()
    for result in results(experiments):
        seeds, faults = " ".join(map(str, result["seeds"])), " | ".join(result["faults"])
        writer.writerow(result | {"seeds": seeds, "complete": "yes" if result["complete"] else "no", "faults": faults})
    return text.getvalue()


def markdown(experiments: Sequence[Experiment]) -> str:
    """Returns a table with a row for each experiment, and notes on the rows."""
    found = results(experiments)
    on_imagenet = experiments[0].row.dataset == printed.IMAGENET
    table = [_IMAGENET_HEAD if on_imagenet else _HEAD, *(_cells(result, on_imagenet) for result in found)]
    notes = ["Test errors in percent at the last epoch, mean ± sample standard deviation over n seeds."]
    if scale := experiments[0].schedule_scale:
        notes.append(
            f"**Every schedule is scaled by {scale}**: the published errors, of full schedules, stand beside ours for"
            " the order of rows alone."
        )
    with_notes = [one for one in experiments if one.row.notes not in ("", BOLD) and not str(one.variant)]
    notes += dict.fromkeys(f"{_name(one, experiments)}: {one.row.notes}." for one in with_notes)
    for one, result in zip(experiments, found, strict=True):
        notes += _describe_missing(one, result, ", ".join(filter(None, (_name(one, experiments), f"{one.variant}"))))
    return f"{tables.markdown(table, words=len(_WORDS))}\n\n" + "\n".join(f"- {note}" for note in notes)


def _name(one: Experiment, experiments: Sequence[Experiment]) -> str:
    """Names a row by its line, and by its student if several students have the line."""
    students = {other.row.student for other in experiments if other.line == one.line}
    return f"Line {one.line}, {one.row.student}" if len(students) > 1 else f"Line {one.line}"


def _describe_missing(one: Experiment, result: Mapping[str, Any], name: str) -> list[str]:
    """Describes what a row with some results lacks."""
    notes = []
    if result["faults"] or 0 < result["n"] < len(one.students):
        missing = ", ".join(f"{seed}" for seed in one.students if seed not in result["seeds"])
        notes.append(f"{name}: not complete" + (f", without seeds {missing}." if missing else "."))
    return notes + [f"{name}: does not count: {fault}" for fault in result["faults"]]


def _cells(result: Mapping[str, Any], on_imagenet: bool) -> tuple[str, ...]:
    """Returns the cells below `_HEAD`, or below `_IMAGENET_HEAD`."""
    top5 = (result["published_teacher_top5_error"], result["teacher_top5_error"]) if on_imagenet else ()
    return (
        result["line"],
        result["student"] or "-",
        result["teacher"] or "-",
        result["mode"],
        ", ".join(filter(None, (result["method"], result["variant"]))),
        *([result["parameters"] or "-"] if on_imagenet else []),
        _number(result["published_teacher_error"]),
        _number(result["teacher_error"]),
        *map(_number, top5),
        _spread(result["published_error"], result["published_std"]),
        _spread(result["error"], result["std"]),
        *([_spread(result["top5_error"], result["top5_std"])] if on_imagenet else []),
        f"{result['n']}",
        _signed(result["difference"]),
        result["compared_with"] or "-",
        _interval(result),
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f}"


def _spread(mean: float | None, std: float | None) -> str:
    return _number(mean) + (f" ± {std:.2f}" if std is not None else "")


def _interval(result: Mapping[str, Any]) -> str:
    if result["paired_low"] is None:
        return _signed(result["paired_difference"])
    return f"{result['paired_difference']:+.2f} ({result['paired_low']:+.2f} to {result['paired_high']:+.2f})"
