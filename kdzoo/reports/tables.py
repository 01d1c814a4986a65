"""Tables from run records, and the report that compares runs."""

import csv
import dataclasses
import fnmatch
import glob
import io
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from kdzoo.distillation import schedules
from kdzoo.files import write_atomically
from kdzoo.hub.cards import count_bytes
from kdzoo.reports import plots, statistics, tensorboard
from kdzoo.runs import records
from zoo import InputError

Record = Mapping[str, Any]


def table(records: Sequence[Record], *, labels: Sequence[str] | None = None) -> str:
    """Markdown table, a row a run: errors and agreement on the test set in percent.

    Args:
        records: of the runs.
        labels: of the rows, where the models' names would not tell them apart.
    """
    kind = "run" if labels else "model"
    rows = [(kind, "method", "teacher", "parameters", "test error (%)", "agreement (%)", "images/s", "minutes")]
    for label, record in zip(labels or [record["name"] for record in records], records, strict=True):
        agreement = record.get("test_agreement_last")
        rows.append(
            (
                label,
                record["method"],
                plots.describe_teachers(record),
                f"{record['parameters']:,}",
                f"{record['test_error_last']:.2f}",
                "-" if agreement is None else f"{agreement:.1f}",
                f"{record['images_per_second']:.0f}",
                f"{record['wall_seconds'] / 60:.1f}",
            )
        )
    return markdown(rows, words=3)


def cards(cards: Sequence[Record]) -> str:
    """Markdown table of published models, a row a card; errors on the test set in percent, ECE from 0 to 1.

    The error in training is the run's last epoch's, in the precision it was trained in; the model's own is in float32.
    """
    rows = [("name", "data set", "parameters", "run's error (%)", "error (%)", "ECE", "runs", "epochs", "hours", "MiB")]
    for card in cards:
        rows.append(
            (
                card["name"],
                card["dataset"]["name"],
                f"{card['parameters']:,}",
                f"{card['test_error_last']:.2f}",
                f"{card['test_error']:.2f}",
                f"{card['expected_calibration_error']:.3f}",
                f"{card['runs']}",
                f"{schedules.parse(card['schedule']).epochs}",
                f"{card['trained']['wall_seconds'] / 3600:.1f}",
                f"{count_bytes(card) / 2**20:.1f}",
            )
        )
    return markdown(rows, words=2)


def markdown(rows: Sequence[Sequence[str]], *, words: int) -> str:
    """Markdown table, its head first; the first columns, so many, hold words, the others numbers."""
    widths = [max(2, *map(len, column)) for column in zip(*rows, strict=True)]  # a rule must have a dash
    aligned = [
        [
            cell.ljust(width) if i < words else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in rows
    ]
    rule = ["-" * width if i < words else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (aligned[0], rule, *aligned[1:]))


# Runs compared: groups over seeds.

# column -> what the records call it
MEASURES = {
    "error": "test_error_last",
    "best": "test_error_best",
    "val_chosen": "test_error_val_chosen",
    "agreement": "test_agreement_last",
    "ece": "test_ece_last",
}
EXPLAINED = (
    "Errors are on the test set, in percent: error is the last epoch's, the headline; best the best epoch's; val-chosen"
    " that of the epoch which held-out images choose; mean ± sample standard deviation over n seeds. Agreement is the"
    " share of test images for which student and teachers name the same class. ECE, from 0 to 1, is the expected"
    " calibration error. The difference is the mean over the seeds that both have, with the 95 % interval of Student's"
    " t, from the same student with the fully trained teacher, or from scratch."
)
SCALED = "A schedule k-NxS is k-N run through in the share S of its epochs: no such number is one of the paper's."


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What `compare` made: the Markdown table, the files' paths, and what there was nothing to show for."""

    table: str
    paths: list[pathlib.Path]
    notes: list[str]


def find(where: Sequence[str | os.PathLike]) -> dict[str, dict[str, Any]]:
    """Finished runs below directories or what matches shell patterns: path below their common root -> record.

    Raises:
        InputError: if one of them holds no finished run.
    """
    found: dict[pathlib.Path, dict[str, Any]] = {}
    for part in map(os.fspath, where):
        matches = [part] if os.path.exists(part) else glob.glob(os.path.expanduser(part))
        paths = [folder for match in matches for folder, *_ in os.walk(match)]
        workdirs = [path for path in map(pathlib.Path, paths) if (path / records.RECORD).is_file()]
        if not workdirs:
            raise InputError(f"runs must be directories that hold finished runs, for example runs. Received: {part}")
        for workdir in workdirs:
            record = records.read(workdir)
            if missing := {"method", "teachers", "parameters", "history"} - record.keys():
                raise InputError(f"A run's record must have {', '.join(sorted(missing))}. Received: {workdir}")
            found[workdir.resolve()] = record
    if not found:
        raise InputError("runs must be directories that hold finished runs, for example runs. Received: none")
    root = os.path.commonpath([path.parent for path in found])
    labels = {path.relative_to(root).as_posix(): record for path, record in found.items()}
    return {label: labels[label] for label in sorted(labels, key=statistics.natural)}


def compare(
    runs: Mapping[str, Record],
    out: str | os.PathLike,
    *,
    curves: Sequence[str] = (),
    logdir: str | os.PathLike | None = None,
) -> Comparison:
    """Writes compare.md, compare.csv and every plot there is something to show for, as PNG and SVG.

    Args:
        runs: label -> record, of finished runs.
        out: a directory, made if need be.
        curves: shell patterns of the labels of the runs whose learning curves to draw, as means over seeds; none: the
            student from scratch and as taught by the biggest teacher, at most five curves.
        logdir: where to build TensorBoard's event files anew; see `kdzoo.tensorboard.rebuild`.

    Raises:
        InputError: if there are no runs, a pattern matches none, or a directory cannot be written.
    """
    if not runs:
        raise InputError("runs must be directories that hold finished runs, for example runs. Received: none")
    chosen = [record for label, record in runs.items() if any(fnmatch.fnmatch(label, pattern) for pattern in curves)]
    if curves and not chosen:
        raise InputError(f"curves must be patterns of runs' paths, for example '*seed0'. Received: {', '.join(curves)}")
    out = pathlib.Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"out must be a directory that can be written. Received: {error}") from None
    if not os.access(out, os.W_OK | os.X_OK):
        raise InputError(f"out must be a directory that can be written. Received: {out}")
    notes = []
    superseded = {id(record) for record in statistics.repeats(list(runs.values()))}
    if again := [label for label, record in runs.items() if id(record) in superseded]:
        notes.append(f"left out, since a later run differs in nothing from it: {', '.join(again)}")
    groups = statistics.group(runs.values())
    if aside := sum(bool(group.teachers) and not group.teacher for group in groups):
        notes.append(f"in the table, not in plots by teacher: {aside} of several teachers, foreign or taught ones")
    images = {}
    for name, draw in plots.every_plot(statistics.group(runs.values(), merge_teachers=True), chosen):
        try:
            images[name] = plots.save(draw(), out / name)
        except plots.NothingToShow as nothing:
            notes.append(f"no {name}: {nothing}")
    table = comparison(groups)
    schedules_used = [name.schedule for group in groups for name in (group, group.teacher) if name]
    explained = EXPLAINED + (f" {SCALED}" if any(statistics.scale(each) != 1 for each in schedules_used) else "")
    pictures = [f"![{name}]({name}.svg)" for name in images]
    text = "\n\n".join(["# Runs compared", table, explained, *(f"- {note}" for note in notes), *pictures])
    paths = [out / "compare.md", out / "compare.csv", *(path for pair in images.values() for path in pair)]
    write_atomically(paths[0], f"{text}\n".encode())
    write_atomically(paths[1], comparison_csv(groups).encode())
    if logdir is not None:
        tensorboard.rebuild(
            logdir,
            runs,
            images={name: png.read_bytes() for name, (png, _) in images.items()},
            texts={"table": f"{table}\n\n{explained}"},
        )
    return Comparison(table, paths, notes)


def comparison_rows(groups: Sequence[statistics.Group]) -> list[dict[str, Any]]:
    """Everything there is to say of groups, in full precision, a row a group: None where there is nothing."""
    rows = []
    for group in groups:
        row = {"student": group.model, "dataset": group.dataset, "fingerprint": group.fingerprint}
        row |= {key: value for key, value in group.settings.items() if key != "model"} | {"method": group.method}
        row["teacher"] = ", ".join(_describe_teacher(teacher, groups) for teacher in group.teachers)
        row |= {f"teacher_{what}": group.of_teacher(key) for what, key in _OF_TEACHER.items()}
        row |= {"parameters": group.parameters, "n": group.n, "seeds": " ".join(map(str, group.seeds))}
        for what, key in MEASURES.items():
            row |= dict(zip((f"{what}_n", f"{what}_mean", f"{what}_std"), _parts(group.spread(key)), strict=True))
        other = statistics.baseline(group, groups)
        paired = statistics.paired(group, other) if other else None
        row["compared_with"] = None
        if paired:
            row["compared_with"] = plots.describe_teachers(other.runs[0]) if other.teachers else "scratch"
        row |= dict(zip(("difference_n", "difference_mean", "difference_std"), _parts(paired), strict=True))
        low, high = (paired and paired.interval) or (None, None)
        rows.append(row | {"difference_low": low, "difference_high": high})
    return rows


_OF_TEACHER = {"parameters": "parameters", "error": "test_error_last", "ece": "test_ece_last"}


def _parts(found: statistics.Spread | statistics.Paired | None) -> tuple:
    return (found.n, found.mean, found.std) if found else (None, None, None)


def _describe_teacher(teacher: Record, groups: Sequence[statistics.Group]) -> str:
    """Its name; how it was taught, if it was; and its seed where others of this name have another."""
    method = teacher.get("method")
    its = ", ".join(_describe_teacher(one, groups) for one in teacher.get("teachers", ()))
    taught = f" ({method}{f' by {its}' if its else ''})" if method not in (None, "none") else ""
    others = {one.get("seed") for group in groups for one in group.teachers if one["name"] == teacher["name"]}
    return f"{teacher['name']}{taught}" + (f" seed {teacher.get('seed')}" if len(others) > 1 else "")


def comparison(groups: Sequence[statistics.Group]) -> str:
    """Markdown table, a row a group; a column where there is something to say. See `EXPLAINED`."""
    varying = statistics.varying(groups)
    words = ["student", "schedule", "method", *varying, "teacher"]
    if len({(group.dataset, group.fingerprint) for group in groups}) > 1:
        words.insert(0, "dataset")
    columns: dict[str, list[str]] = {}
    for row in comparison_rows(groups):
        cells = {key: plots.setting(row.get(key)) for key in words}
        cells["teacher's parameters"] = _number(row["teacher_parameters"], ",.0f")
        cells["teacher's error (%)"] = _number(row["teacher_error"], ".2f")
        cells["teacher's ECE"] = _number(row["teacher_ece"], ".3f")
        cells["parameters"] = _number(row["parameters"], ",")
        cells["n"] = str(row["n"])
        for what, heading, digits in (
            ("error", "error (%)", ".2f"),
            ("best", "best (%)", ".2f"),
            ("val_chosen", "val-chosen (%)", ".2f"),
            ("agreement", "agreement (%)", ".1f"),
            ("ece", "ECE", ".3f"),
        ):
            std = row[f"{what}_std"]
            cells[heading] = _number(row[f"{what}_mean"], digits) + ("" if std is None else f" ± {std:{digits}}")
        cells["difference (95 %)"] = _difference(row)
        cells["from"] = row["compared_with"] or "-"
        for heading, cell in cells.items():
            columns.setdefault(heading, []).append(cell)
    columns = {head: cells for head, cells in columns.items() if head in words[:3] or set(cells) != {"-"}}
    rows = [list(columns), *zip(*columns.values(), strict=True)]
    return markdown(rows, words=sum(head in words for head in columns))


def _number(value: float | None, digits: str) -> str:
    return "-" if value is None else f"{value:{digits}}"


def _difference(row: Mapping[str, Any]) -> str:
    if row["difference_mean"] is None:
        return "-"
    text = f"{row['difference_mean']:+.2f}"
    if row["difference_low"] is not None:
        text += f" [{row['difference_low']:+.2f}, {row['difference_high']:+.2f}]"
    return text if row["difference_n"] == row["n"] else f"{text} (n = {row['difference_n']})"


def comparison_csv(groups: Sequence[statistics.Group]) -> str:
    """`comparison_rows` as CSV: every setting, every number in full precision."""
    rows = comparison_rows(groups)
    text = io.StringIO()
    # A record of another version may have settings more.
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
