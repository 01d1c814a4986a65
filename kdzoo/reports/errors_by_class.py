"""The test errors of one network by class: a table of classes, and the confusion matrix as a table and as a plot."""

import csv
import io
import os
import pathlib
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from kdzoo import files
from kdzoo.distillation import metrics
from kdzoo.reports.plots.confusion import plot_confusion
from kdzoo.reports.plots.files import save
from zoo import InputError

MOST_CLASSES = 5000  # of a confusion matrix: 25 million cells


def check_classes(num_classes: int) -> None:
    """Raises InputError if a confusion matrix would be too large."""
    if num_classes > MOST_CLASSES:
        raise InputError(f"confusion must be of at most {MOST_CLASSES} classes. Received: {num_classes}")


def write_per_class(
    path: str | os.PathLike[str], labels: np.ndarray, predicted: np.ndarray, names: Sequence[str]
) -> None:
    """Writes `per_class_rows` as CSV, whole or not at all. Raises InputError if it cannot be written."""
    files.write_output(path, _to_csv(per_class_rows(labels, predicted, names)))


def write_confusion(
    path: str | os.PathLike[str], labels: np.ndarray, predicted: np.ndarray, names: Sequence[str], *, title: str
) -> list[pathlib.Path]:
    """Writes a confusion matrix as CSV, and beside it as plots of the same name in PNG and SVG.

    The CSV has a row for each true class, a column for each predicted one, and the classes' names before both.

    Args:
        path: of the CSV.
        labels, predicted: integers [n].
        names: of the classes, in the order of the labels.
        title: of the plots.

    Returns:
        The paths of the files.

    Raises:
        InputError: if there are too many classes, or the files cannot be written.
    """
    check_classes(len(names))
    matrix = metrics.confusion(labels, predicted, len(names))
    rows = ([name, *row] for name, row in zip(names, matrix.tolist(), strict=True))
    path = pathlib.Path(path)
    files.write_output(path, _to_csv([["true class", *names], *rows]))
    try:
        with warnings.catch_warnings():
            # The CSV has every letter of the names; in the plot a letter that the font lacks is a box.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            return [path, *save(plot_confusion(matrix, names, title=title), path.with_suffix(""))]
    except OSError as error:
        raise InputError(f"The plots of confusion must be files that can be written. Received: {error}") from None


def per_class_rows(labels: np.ndarray, predicted: np.ndarray, names: Sequence[str]) -> list[list[Any]]:
    """Returns a heading, and a row for each class: its test images, its error, and what it is mistaken for.

    Args:
        labels, predicted: integers [n].
        names: of the classes, in the order of the labels.

    Returns:
        Rows of the label, the name, the number of test images, the error in percent (empty without images), and the
        name of the class that most of its wrong images are taken for, the first of several (empty without errors).
    """
    images = np.bincount(labels, minlength=len(names))
    wrong = labels != predicted
    errors = np.bincount(labels[wrong], minlength=len(names))
    pairs, counts = np.unique(np.stack([labels[wrong], predicted[wrong]]), axis=1, return_counts=True)
    mistaken_for: dict[int, int] = {}
    for i in np.argsort(-counts, kind="stable"):  # of equal counts the first class comes first
        mistaken_for.setdefault(int(pairs[0, i]), int(pairs[1, i]))
    rows: list[list[Any]] = [["class", "name", "test_images", "error_percent", "most_frequent_wrong_class"]]
    for label, name in enumerate(names):
        error = f"{100 * errors[label] / images[label]:.4f}" if images[label] else ""
        most = names[mistaken_for[label]] if label in mistaken_for else ""
        rows.append([label, name, int(images[label]), error, most])
    return rows


def _to_csv(rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
