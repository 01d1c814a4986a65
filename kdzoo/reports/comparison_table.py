"""The table of a comparison: a row a group, as Markdown for people and as CSV in full precision."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from kdzoo.reports import costs
from kdzoo.reports.contexts import baseline
from kdzoo.reports.differences import Paired, paired
from kdzoo.reports.groups import METHOD_ARGS, Group, Record, varying
from kdzoo.reports.labels import describe_teachers, format_arguments, format_setting
from kdzoo.reports.spreads import Spread
from kdzoo.reports.tables import markdown

EXPLAINED = (
    "Errors are on the test set, in percent: error is the last epoch's, the headline; best the best epoch's; val-chosen"
    " that of the epoch which held-out images choose; mean ± sample standard deviation over n seeds. Agreement is the"
    " share of test images for which student and teachers name the same class. ECE, from 0 to 1, is the expected"
    " calibration error. The difference is the mean over the seeds that both have, with the 95 % interval of Student's"
    " t, from the same student with the fully trained teacher, or from scratch."
)
SCALED = "A schedule k-NxS is k-N run through in the share S of its epochs: no such number is one of the paper's."
# column -> key of the records
_OF_STUDENT = {
    "error": "test_error_last",
    "top5_error": "test_top5_error_last",
    "best": "test_error_best",
    "val_chosen": "test_error_val_chosen",
    "agreement": "test_agreement_last",
    "ece": "test_ece_last",
}
_OF_TEACHER = {"parameters": "parameters", "error": "test_error_last", "ece": "test_ece_last"}
# column -> heading and format
_SHOWN = {
    "error": ("error (%)", ".2f"),
    "top5_error": ("top-5 error (%)", ".2f"),
    "best": ("best (%)", ".2f"),
    "val_chosen": ("val-chosen (%)", ".2f"),
    "agreement": ("agreement (%)", ".1f"),
    "ece": ("ECE", ".3f"),
}


def comparison_rows(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Returns a row a group: settings, teacher, spreads and paired difference, in full precision; None if unknown."""
    rows = []
    for group in groups:
        row: dict[str, Any] = {"student": group.model, "dataset": group.dataset, "fingerprint": group.fingerprint}
        hidden = ("model", *costs.SHOWN)  # the latter could only be settings of another version
        row |= {key: value for key, value in group.settings.items() if key not in hidden} | {"method": group.method}
        row["teacher"] = ", ".join(_describe_teacher(teacher, groups) for teacher in group.teachers)
        row |= {f"teacher_{column}": group.of_teacher(key) for column, key in _OF_TEACHER.items()}
        row |= {"parameters": group.parameters, **costs.of_group(group)}
        row |= {"n": group.n, "seeds": " ".join(map(str, group.seeds))}
        for column, key in _OF_STUDENT.items():
            found = group.spread(key)
            if found or column != "top5_error":  # of few classes there is none
                row |= _spread_columns(column, found)
        rows.append(row | _difference_columns(group, baseline(group, groups)))
    return rows


def comparison_markdown(groups: Sequence[Group]) -> str:
    """Returns a Markdown table, a row a group, without columns that are empty. `EXPLAINED` describes it."""
    words = ["student", "schedule", "method", *varying(groups), "teacher"]
    if len({(group.dataset, group.fingerprint) for group in groups}) > 1:
        words.insert(0, "dataset")
    columns: dict[str, list[str]] = {}
    for row in comparison_rows(groups):
        for heading, cell in _cells(row, words).items():
            columns.setdefault(heading, []).append(cell)
    columns = {head: cells for head, cells in columns.items() if head in words[:3] or set(cells) != {"-"}}
    rows = [list(columns), *zip(*columns.values(), strict=True)]
    return markdown(rows, words=sum(head in words for head in columns))


def comparison_csv(groups: Sequence[Group]) -> str:
    """Returns `comparison_rows` as CSV."""
    rows = comparison_rows(groups)
    text = io.StringIO()
    # A record of another version may have more settings.
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _describe_teacher(teacher: Record, groups: Sequence[Group]) -> str:
    """Returns a teacher's name; of a distilled one its method and teachers; its seed if the groups have several."""
    method = teacher.get("method")
    teachers = ", ".join(_describe_teacher(one, groups) for one in teacher.get("teachers", ()))
    distilled = f" ({method}{f' by {teachers}' if teachers else ''})" if method not in (None, "none") else ""
    seeds = {one.get("seed") for group in groups for one in group.teachers if one["name"] == teacher["name"]}
    return f"{teacher['name']}{distilled}" + (f" seed {teacher.get('seed')}" if len(seeds) > 1 else "")


def _spread_columns(column: str, found: Spread | Paired | None) -> dict[str, Any]:
    n, mean, std = (found.n, found.mean, found.std) if found else (None, None, None)
    return {f"{column}_n": n, f"{column}_mean": mean, f"{column}_std": std}


def _difference_columns(group: Group, other: Group | None) -> dict[str, Any]:
    """Returns the paired difference from the other group, and the other group's name."""
    found = paired(group, other) if other else None
    compared_with = None
    if other and found:
        compared_with = describe_teachers(other.runs[0]) if other.teachers else "scratch"
    low, high = (found and found.interval) or (None, None)
    columns = {"compared_with": compared_with} | _spread_columns("difference", found)
    return columns | {"difference_low": low, "difference_high": high}


def _cells(row: Mapping[str, Any], words: Sequence[str]) -> dict[str, str]:
    """Returns heading -> cell of a row of the Markdown table; a dash if unknown."""
    cells = {key: format_setting(row.get(key)) for key in words}
    if METHOD_ARGS in words:
        cells[METHOD_ARGS] = format_arguments(row.get(METHOD_ARGS)) or "-"
    cells["teacher's parameters"] = _number(row["teacher_parameters"], ",.0f")
    cells["teacher's error (%)"] = _number(row["teacher_error"], ".2f")
    cells["teacher's ECE"] = _number(row["teacher_ece"], ".3f")
    cells["parameters"] = _number(row["parameters"], ",")
    for column, (heading, unit, digits) in costs.SHOWN.items():
        cells[heading] = _number(row[column] / unit if column in row else None, digits)
    cells["n"] = str(row["n"])
    for column, (heading, digits) in _SHOWN.items():
        std = row.get(f"{column}_std")
        cells[heading] = _number(row.get(f"{column}_mean"), digits) + ("" if std is None else f" ± {std:{digits}}")
    cells["difference (95 %)"] = _difference(row)
    cells["from"] = row["compared_with"] or "-"
    return cells


def _number(value: float | None, digits: str) -> str:
    return "-" if value is None else f"{value:{digits}}"


def _difference(row: Mapping[str, Any]) -> str:
    if row["difference_mean"] is None:
        return "-"
    text = f"{row['difference_mean']:+.2f}"
    if row["difference_low"] is not None:
        text += f" [{row['difference_low']:+.2f}, {row['difference_high']:+.2f}]"
    return text if row["difference_n"] == row["n"] else f"{text} (n = {row['difference_n']})"
