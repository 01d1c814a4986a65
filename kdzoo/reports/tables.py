"""Markdown tables: of runs and of published models."""

from collections.abc import Sequence
from typing import Any

from kdzoo.distillation import schedules
from kdzoo.hub.cards import count_bytes
from kdzoo.reports.groups import Record
from kdzoo.reports.labels import describe_teachers

TOP5 = "top-5 error (%)"  # a column that only tables of more than ten classes have


def run_table(records: Sequence[Record], *, labels: Sequence[str] | None = None) -> str:
    """Returns a Markdown table, a row a run: errors and agreement on the test set in percent.

    Args:
        records: of the runs.
        labels: of the rows; None: the models' names.
    """
    kind = "run" if labels else "model"
    rows = [(kind, "method", "teacher", "parameters", "test error (%)", TOP5, "agreement (%)", "images/s", "minutes")]
    for label, record in zip(labels or [record["name"] for record in records], records, strict=True):
        rows.append(
            (
                label,
                record["method"],
                describe_teachers(record),
                f"{record['parameters']:,}",
                f"{record['test_error_last']:.2f}",
                _number(record.get("test_top5_error_last"), ".2f"),
                _number(record.get("test_agreement_last"), ".1f"),
                f"{record['images_per_second']:.0f}",
                f"{record['wall_seconds'] / 60:.1f}",
            )
        )
    return markdown(_without_empty(rows, TOP5), words=3)


def card_table(cards: Sequence[dict[str, Any]]) -> str:
    """Returns a Markdown table of published models, a row a card.

    Errors are on the test set in percent; ECE is from 0 to 1. The run's error is that of its last epoch, in the
    precision of the training; the model's own error is in float32.
    """
    head = ("name", "data set", "parameters", "run's error (%)", "error (%)")
    rows = [(*head, TOP5, "ECE", "runs", "epochs", "hours", "MiB")]
    for card in cards:
        rows.append(
            (
                card["name"],
                card["dataset"]["name"],
                f"{card['parameters']:,}",
                f"{card['test_error_last']:.2f}",
                f"{card['test_error']:.2f}",
                _number(card.get("test_top5_error"), ".2f"),
                f"{card['expected_calibration_error']:.3f}",
                f"{card['runs']}",
                f"{schedules.parse(card['schedule']).epochs}",
                f"{card['trained']['wall_seconds'] / 3600:.1f}",
                f"{count_bytes(card) / 2**20:.1f}",
            )
        )
    return markdown(_without_empty(rows, TOP5), words=2)


def _without_empty(rows: Sequence[Sequence[str]], heading: str) -> list[list[str]]:
    """Returns the rows, without the column of this heading if no row has a value in it."""
    columns = [column for column in zip(*rows, strict=True) if column[0] != heading or set(column[1:]) != {"-"}]
    return [list(row) for row in zip(*columns, strict=True)]


def _number(value: float | None, digits: str) -> str:
    return "-" if value is None else f"{value:{digits}}"


def markdown(rows: Sequence[Sequence[str]], *, words: int) -> str:
    """Returns a Markdown table.

    Args:
        rows: of cells, the head first.
        words: how many of the first columns hold words, aligned left; the others hold numbers, aligned right.
    """
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
