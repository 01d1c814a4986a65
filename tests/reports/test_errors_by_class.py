"""Errors by class: the table of classes, and the confusion matrix as CSV and as plots."""

import csv

import numpy as np
import pytest
from PIL import Image

from kdzoo.reports import errors_by_class
from kdzoo.reports.plots.confusion import most_confused, plot_confusion, shorten
from zoo import InputError

NAMES = ["cat", "dog, small", 'a "bus"', "三\n$\\frac{"]
LABELS = np.array([0, 0, 0, 0, 1, 1, 2, 2])
PREDICTED = np.array([0, 2, 1, 2, 0, 3, 2, 2])


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_the_table_of_classes_has_their_images_errors_and_what_they_are_taken_for(tmp_path):
    errors_by_class.write_per_class(tmp_path / "classes.csv", LABELS, PREDICTED, NAMES)
    assert read(tmp_path / "classes.csv") == [
        ["class", "name", "test_images", "error_percent", "most_frequent_wrong_class"],
        ["0", "cat", "4", "75.0000", 'a "bus"'],
        ["1", "dog, small", "2", "100.0000", "cat"],  # as often as the last class: the first one counts
        ["2", 'a "bus"', "2", "0.0000", ""],
        ["3", "三\n$\\frac{", "0", "", ""],
    ]


def test_the_confusion_matrix_is_a_csv_with_plots_beside_it(tmp_path):
    paths = errors_by_class.write_confusion(tmp_path / "x.y.csv", LABELS, PREDICTED, NAMES, title="a $ title")
    assert [path.name for path in paths] == ["x.y.csv", "x.y.png", "x.y.svg"]
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    rows = read(paths[0])
    assert rows[0] == ["true class", *NAMES]
    assert [row[0] for row in rows[1:]] == NAMES
    assert [row[1:] for row in rows[1:]] == [list(row) for row in ("1120", "1001", "0020", "0000")]
    contents = [path.read_bytes() for path in paths]
    errors_by_class.write_confusion(tmp_path / "x.y.csv", LABELS, PREDICTED, NAMES, title="a $ title")
    assert [path.read_bytes() for path in paths] == contents
    assert b"<!-- cat -->" in contents[2]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("count", [2, 20, 21, 120, 121, 1000])
def test_a_plot_shows_each_class_and_names_what_is_confused(tmp_path, count):
    labels = np.arange(count)
    names = [f"class {label}" for label in labels]
    predicted = labels.copy()
    predicted[1] = 0
    png = errors_by_class.write_confusion(tmp_path / "x.csv", labels, predicted, names, title="title")[1]
    with Image.open(png) as image:
        assert max(image.size) < 2400
        assert image.size[1] > count  # each class has a row of pixels
    svg = (tmp_path / "x.svg").read_text()
    assert ("<!-- 1 of 1  class 1 → class 0 -->" in svg) == (count > 20)
    assert svg.count("<!-- class ") >= min(2 * count, 80)


def test_nothing_of_a_plot_lies_outside_it():
    names = [f"{'W' * 30}{label}" for label in range(60)]
    figure = plot_confusion(np.ones((60, 60), int), names, title="title")
    figure.canvas.draw()
    box, width, height = figure.get_tightbbox(), *figure.get_size_inches()
    assert min(box.x0, box.y0) >= 0
    assert (box.x1 <= width, box.y1 <= height) == (True, True)


def test_the_most_frequent_confusions_come_first():
    matrix = np.array([[5, 1, 0], [3, 0, 1], [0, 0, 2]])
    assert most_confused(matrix, "abc") == ["3 of 4  b → a", "1 of 6  a → b", "1 of 4  b → c"]
    assert most_confused(np.eye(3, dtype=int), "abc") == []


def test_a_name_is_shown_in_one_line():
    assert shorten("a\tb\n") == "a?b?"
    assert shorten("x" * 25) == "x" * 23 + "…"


def test_a_matrix_of_too_many_classes_and_a_folder_that_is_gone_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"confusion must be of at most 5000 classes\. Received: 5001"):
        errors_by_class.check_classes(5001)
    with pytest.raises(InputError, match=r"A file to write must be one that can be written\. Received: .*No such file"):
        errors_by_class.write_per_class(tmp_path / "none" / "x.csv", LABELS, PREDICTED, NAMES)
