"""Tables and plots from run records."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from kdzoo import hub, schedules

Record = Mapping[str, Any]


def describe_teachers(record: Record) -> str:
    """Names of the models that taught the run, or a dash."""
    return ", ".join(teacher["name"] for teacher in record["teachers"]) or "-"


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
                describe_teachers(record),
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
                f"{hub.count_bytes(card) / 2**20:.1f}",
            )
        )
    return markdown(rows, words=2)


def markdown(rows: Sequence[Sequence[str]], *, words: int) -> str:
    """Markdown table, its head first; the first columns, so many, hold words, the others numbers."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = [
        [
            cell.ljust(width) if i < words else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in rows
    ]
    rule = ["-" * width if i < words else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (aligned[0], rule, *aligned[1:]))


def plot_students(records: Sequence[Record], path: str | os.PathLike) -> None:
    """Saves a plot of each student's test error beside its teacher's, one column a student, worst first.

    Args:
        records: of students; those without a teacher were trained from scratch.
        path: a .png or .svg file.
    """
    from matplotlib.figure import Figure

    records = sorted(records, key=lambda record: -record["test_error_last"])
    figure = Figure(figsize=(1.5 + 2 * len(records), 4), layout="constrained")
    axes = figure.add_subplot()
    for whose, marker, colour, side in (("student", "o", "black", 1), ("its teacher", "^", "0.6", -1)):
        points = [
            (i, net["test_error_last"])
            for i, record in enumerate(records)
            for net in ([record] if whose == "student" else record["teachers"])
        ]
        axes.plot(
            [x for x, _ in points], [error for _, error in points], marker, color=colour, markersize=9, label=whose
        )
        for point in points:
            aside = {"xytext": (10 * side, 0), "textcoords": "offset points", "ha": "left" if side > 0 else "right"}
            axes.annotate(f"{point[1]:.2f}", point, va="center", **aside)
    axes.legend(frameon=False)
    labels = [
        f"taught by\n{describe_teachers(record)}" if record["teachers"] else "from\nscratch" for record in records
    ]
    axes.set_xticks(range(len(records)), labels)
    axes.set_xlim(-0.5, len(records) - 0.5)
    axes.set_ylabel(f"test error on {records[0]['dataset']['name']} (%)")
    axes.set_title(f"student {records[0]['config']['model']}")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
