"""The confusion matrix of one network: which classes are taken for which."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from kdzoo.reports.plots.figures import new_figure, set_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

COUNTED = 20  # most classes whose cells hold their counts
NAMED = 120  # most classes of which each has a label
LISTED = 30  # confusions that are listed beside a matrix without counts
LONGEST = 24  # characters of a name


def plot_confusion(matrix: np.ndarray, names: Sequence[str], *, title: str) -> "Figure":
    """Draws a row for each true class and a column for each predicted one, the darker the larger the row's share.

    Up to 20 classes the cells hold their counts. With more, the most frequent confusions are listed beside the matrix;
    beyond 120 only some classes are labelled on the axes.

    Args:
        matrix: counts, int [classes, classes].
        names: of the classes.
        title: of the figure.
    """
    count = len(names)
    labels = [shorten(name) for name in names]
    size = 8 if count <= COUNTED else 7 if count <= 60 else 6
    confusions = [] if count <= COUNTED else ["most frequent confusions:", *most_confused(matrix, labels)]
    # In inches. Of 1,000 classes each cell is more than a pixel wide in the PNG.
    side = max(2.4, 0.42 * count) if count <= COUNTED else min(max(0.15 * count, 5), 12)
    margin = 0.5 + _measure(labels, size)
    aside = 1.2 + _measure(confusions, 8) if confusions else 0.2
    width, height = max(margin + side + aside, 5.5), margin + side + 0.6
    figure = new_figure(width, height)
    figure.set_layout_engine("none")
    set_title(figure, title)
    axes = figure.add_axes((margin / width, margin / height, side / width, side / height))
    image = _draw(axes, matrix)
    _label(axes, labels, size)
    if confusions:
        right, top = margin + side, (margin + side) / height
        beside = figure.add_axes(((right + 0.15) / width, margin / height, 0.2 / width, 0.5 * side / height))
        bar = figure.colorbar(image, cax=beside, ticks=[0, 1, 5, 10, 25, 50, 75, 100])
        bar.set_label("share of the true class's images (%)")
        text = "\n".join(confusions)
        figure.text((right + 1.1) / width, top, text, va="top", fontsize=8, linespacing=1.3, parse_math=False)
    return figure


def most_confused(matrix: np.ndarray, labels: Sequence[str]) -> list[str]:
    """Describes the largest counts off the diagonal, largest first, those of equal size in the order of the classes."""
    wrong = matrix - np.diag(np.diag(matrix))
    largest = np.argsort(-wrong, axis=None, kind="stable")[:LISTED]
    pairs = [divmod(int(position), len(labels)) for position in largest]
    return [
        f"{wrong[true, predicted]} of {matrix[true].sum()}  {labels[true]} → {labels[predicted]}"
        for true, predicted in pairs
        if wrong[true, predicted]
    ]


def shorten(name: str) -> str:
    """Returns a name of at most 24 characters that can be shown in one line."""
    name = "".join(letter if letter.isprintable() else "?" for letter in name)
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _measure(texts: Sequence[str], size: int) -> float:
    """Returns the width in inches of the widest of these texts."""
    from matplotlib.textpath import TextPath

    longest = sorted(set(texts), key=len)[-50:]
    return max(TextPath((0, 0), text.replace("$", "S"), size=size).get_extents().width for text in longest) / 72


def _draw(axes: "Axes", matrix: np.ndarray) -> "AxesImage":
    from matplotlib.colors import PowerNorm

    shares = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    # A root of the share: a few wrong images must show beside the diagonal. Cells are not blended with each other.
    norm = PowerNorm(0.5 if len(matrix) <= COUNTED else 0.33, vmin=0, vmax=100)
    image = axes.imshow(shares, cmap="Greys", norm=norm, interpolation="none")
    if len(matrix) <= COUNTED:
        _write_counts(axes, image.to_rgba(shares)[..., 0], matrix)
    return image


def _write_counts(axes: "Axes", greys: np.ndarray, matrix: np.ndarray) -> None:
    for (row, column), value in np.ndenumerate(matrix):
        if value:
            colour = "white" if greys[row, column] < 0.46 else "black"  # at this grey both have the same contrast
            axes.text(column, row, str(value), ha="center", va="center", fontsize=7, color=colour)


def _label(axes: "Axes", labels: Sequence[str], size: int) -> None:
    count = len(labels)
    every = 1 if count <= NAMED else -(-count // 50)
    shown = range(0, count, every)
    texts = [labels[i] for i in shown]
    axes.set_xticks(shown, texts, rotation=90, fontsize=size, parse_math=False)
    axes.set_yticks(shown, texts, fontsize=size, parse_math=False)
    axes.tick_params(length=2)
    axes.set_xlabel("predicted class" + (f" (every {every}th is named)" if every > 1 else ""))
    axes.set_ylabel("true class")
