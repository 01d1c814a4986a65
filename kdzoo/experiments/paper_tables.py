"""Ours beside the published: what an experiment will cost, and what it came to."""

import csv
import functools
import io
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kdzoo import files
from kdzoo.distillation import schedules
from kdzoo.experiments import sweep
from kdzoo.experiments.paper_runs import Experiment, epochs
from kdzoo.reports import statistics, tables
from kdzoo.runs import records

FULL = "60/200"
BOLD = "printed bold"  # a note that says nothing of the numbers
COLUMNS = (
    *("table", "line", "student", "teacher", "mode", "method", "schedule_type", "variant", "schedule_scale"),
    *("published_teacher_error", "teacher_error", "published_error", "published_std"),
    *("n", "error", "std", "error_best", "error_val_chosen", "agreement", "difference"),
    *("compared_with", "paired_n", "paired_difference", "paired_low", "paired_high", "runs"),
)


def folder(dataset: str, schedule_scale: str) -> str:
    """Name of the directory of runs on a data set; those on scaled schedules have another."""
    return f"{dataset}_x{schedule_scale}" if schedule_scale else dataset


def describe_plan(
    experiments: Sequence[Experiment], runs: Sequence[sweep.Run], estimate: Callable[[sweep.Run], float]
) -> str:
    """What is to run, in order, for which rows, and what it costs: Markdown.

    Args:
        experiments: of all rows.
        runs: all that they need, in order.
        estimate: seconds of a run.
    """
    missing = [run for run in runs if not _is_finished(run)]
    if not missing:
        return f"All {len(runs)} runs are finished."
    wanted: dict[str, dict[str, None]] = {run.name: {} for run in runs}
    for one in experiments:
        for run in (*one.teachers, *one.students.values()):
            wanted[run.name][f"{one.row.table}.{_line(one)}"] = None
    rows = [("run", "for table.line", "epochs", "minutes")]
    for run in missing:
        rows.append((run.name, ", ".join(wanted[run.name]), f"{epochs(run)}", f"{estimate(run) / 60:.1f}"))
    hours = sum(map(estimate, missing)) / 3600
    return (
        f"{tables.markdown(rows, words=2)}\n\n{len(missing)} of {len(runs)} runs are missing:"
        f" {sum(map(epochs, missing)):,} epochs, about {hours:.1f} hours on this machine, as just measured"
    )


def results(experiments: Sequence[Experiment]) -> list[dict[str, Any]]:
    """What each experiment has come to so far, a dict of `COLUMNS` each; errors and agreement in percent.

    `difference` is ours minus the published mean; None on scaled schedules, which the paper has not. The paired
    difference, with its 95 % interval, is over the seeds both have: of a variant's students to the plain one's, of an
    early-stopped teacher's to the fully trained one's, of a fully trained teacher's to students from scratch.
    """
    groups = {id(one): _group(one) for one in experiments}
    return [_result(one, groups[id(one)], _reference(one, experiments), groups) for one in experiments]


def _result(
    one: Experiment,
    group: statistics.Group | None,
    reference: Experiment | None,
    groups: Mapping[int, statistics.Group | None],
) -> dict[str, Any]:
    row = one.row
    result = dict.fromkeys(COLUMNS) | {
        name: getattr(row, name) for name in ("table", "student", "teacher", "mode", "method", "schedule_type")
    }
    result |= {"line": _line(one), "variant": str(one.variant), "schedule_scale": _scale(one), "n": 0}
    result |= {"published_teacher_error": row.teacher_error, "published_error": row.student_error}
    result |= {"published_std": row.student_std, "runs": " ".join(run.name for run in one.students.values())}
    if one.teachers and _is_finished(one.teachers[0]):
        result["teacher_error"] = records.read(one.teachers[0].workdir)["test_error_last"]
    if not group:
        return result
    result |= {"n": group.n, "error": group.error.mean, "std": group.error.std}
    for name in ("error_best", "error_val_chosen", "agreement"):
        key = "test_agreement_last" if name == "agreement" else f"test_{name}"
        result[name] = getattr(group.spread(key), "mean", None)
    if row.student_error is not None and not result["schedule_scale"]:
        result["difference"] = statistics.against(group, mean=row.student_error).difference
    other = groups[id(reference)] if reference else None
    paired = statistics.paired(group, other) if other else None
    if paired:
        low, high = paired.interval or (None, None)
        result |= {"compared_with": _name(reference), "paired_n": paired.n, "paired_difference": paired.mean}
        result |= {"paired_low": low, "paired_high": high}
    return result


def _reference(one: Experiment, experiments: Sequence[Experiment]) -> Experiment | None:
    """The experiment that this one is compared with."""

    def find(**wanted: Any) -> Experiment | None:
        wanted = {"student": one.row.student, "schedule_type": one.row.schedule_type} | wanted
        plain = (other for other in experiments if not str(other.variant) and other is not one)
        return next((o for o in plain if all(getattr(o.row, key) == value for key, value in wanted.items())), None)

    if not one.row.student or not one.row.teacher:
        return None
    if str(one.variant):
        return find(teacher=one.row.teacher, mode=one.row.mode, method=one.row.method)
    if one.row.mode != FULL:
        return find(teacher=one.row.teacher, mode=FULL, method=one.row.method)
    return find(teacher=None)


def markdown(experiments: Sequence[Experiment]) -> str:
    """The report: a table, a row a row of the paper and variant, with what is to be known of it."""
    of_rows = results(experiments)
    head = ("line", "student", "teacher", "mode", "method", "teacher: published", "ours")
    head += ("student: published", "ours", "n", "ours - published", "difference to", "paired, 95 %")
    table = [head]
    for result in of_rows:
        table.append(
            (
                result["line"],
                result["student"] or "-",
                result["teacher"] or "-",
                result["mode"],
                ", ".join(filter(None, (result["method"], result["variant"]))),
                _number(result["published_teacher_error"]),
                _number(result["teacher_error"]),
                _spread(result["published_error"], result["published_std"]),
                _spread(result["error"], result["std"]),
                f"{result['n']}",
                _signed(result["difference"]),
                result["compared_with"] or "-",
                _interval(result),
            )
        )
    scale = _scale(experiments[0])
    notes = ["Test errors in percent at the last epoch, mean ± sample standard deviation over n seeds."]
    if scale:
        notes.append(
            f"**Every schedule is scaled by {scale}**: the published errors, of full schedules, stand beside ours for"
            " the order of rows alone."
        )
    told = [one for one in experiments if one.row.notes not in ("", BOLD) and not str(one.variant)]
    notes += dict.fromkeys(f"Line {_line(one)}: {one.row.notes}." for one in told)
    return f"{tables.markdown(table, words=5)}\n\n" + "\n".join(f"- {note}" for note in notes)


def to_csv(experiments: Sequence[Experiment]) -> str:
    """`results` in full precision."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(results(experiments))
    return text.getvalue()


def write(experiments: Sequence[Experiment], directory: pathlib.Path, *, name: str) -> None:
    """Writes NAME.md and NAME.csv, each whole or not at all."""
    directory.mkdir(parents=True, exist_ok=True)
    files.write_atomically(directory / f"{name}.md", f"# {_title(experiments)}\n\n{markdown(experiments)}\n".encode())
    files.write_atomically(directory / f"{name}.csv", to_csv(experiments).encode())


def _title(experiments: Sequence[Experiment]) -> str:
    scale = _scale(experiments[0])
    return f"Table {experiments[0].row.table}" + (f", schedules scaled by {scale}" if scale else "")


def _group(one: Experiment) -> statistics.Group | None:
    finished = [records.read(run.workdir) for run in one.students.values() if _is_finished(run)]
    groups = statistics.group(finished)
    return groups[0] if groups else None


def _is_finished(run: sweep.Run) -> bool:
    return (run.workdir / records.RECORD).exists()


@functools.cache
def _scale_of(schedule: str) -> str:
    scale = statistics.scale(schedules.parse(schedule))
    return "" if scale == 1 else f"{float(scale)}"


def _scale(one: Experiment) -> str:
    run = next(iter((*one.students.values(), *one.teachers)))
    return _scale_of(run.config.schedule)


def _line(one: Experiment) -> str:
    return f"{one.row.line}" if one.row.line >= 0 else "+"


def _name(one: Experiment) -> str:
    return f"{one.row.teacher} {one.row.mode}" if one.row.teacher else "scratch"


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
