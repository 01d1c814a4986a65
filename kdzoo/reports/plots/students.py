"""Test errors of a few students beside their teachers'."""

import os
from collections.abc import Sequence

from kdzoo.reports.groups import Record
from kdzoo.reports.labels import describe_teachers
from kdzoo.reports.plots.figures import new_figure
from kdzoo.reports.plots.files import PNG_DPI


def plot_students(records: Sequence[Record], path: str | os.PathLike[str]) -> None:
    """Saves a plot of each student's test error beside its teachers', one column a student, worst first.

    Args:
        records: of students; those without a teacher were trained from scratch.
        path: a .png or .svg file.
    """
    records = sorted(records, key=lambda record: -record["test_error_last"])
    figure = new_figure(1.5 + 2 * len(records), 4)
    axes = figure.add_subplot()
    students = [(i, record["test_error_last"]) for i, record in enumerate(records)]
    teachers = [(i, teacher["test_error_last"]) for i, record in enumerate(records) for teacher in record["teachers"]]
    for points, label, marker, colour, offset, align in (
        (students, "student", "o", "black", 10, "left"),
        (teachers, "its teacher", "^", "0.6", -10, "right"),
    ):
        x, errors = [column for column, _ in points], [error for _, error in points]
        axes.plot(x, errors, marker, color=colour, markersize=9, label=label)
        for point in points:
            axes.annotate(
                f"{point[1]:.2f}", point, xytext=(offset, 0), textcoords="offset points", ha=align, va="center"
            )
    axes.legend(frameon=False)
    labels = [
        f"taught by\n{describe_teachers(record)}" if record["teachers"] else "from\nscratch" for record in records
    ]
    axes.set_xticks(range(len(records)), labels)
    axes.set_xlim(-0.5, len(records) - 0.5)
    axes.set_ylabel(f"test error on {records[0]['dataset']['name']} (%)")
    axes.set_title(f"student {records[0]['config']['model']}")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=PNG_DPI)
