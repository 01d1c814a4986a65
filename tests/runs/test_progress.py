"""Progress as lines for another program."""

import pytest

from kdzoo.runs import progress
from kdzoo.runs.progress import Progress


@pytest.mark.parametrize(
    "reported",
    [Progress(1, 3, 0, 4), Progress(0, 3, 2, 4, {"loss": 0.5}), Progress(3, 3, 0, 4, row={"test_error": 1.0})],
)
def test_progress_is_parsed_as_it_was_printed(reported, capsys):
    progress.json_lines()(reported)
    assert progress.parse(capsys.readouterr().out) == reported


@pytest.mark.parametrize("line", ["", "epoch 1/3: loss 0.5", "1", "[1, 2]", '{"epoch": 1}', '{"epoch": 1, "other": 2}'])
def test_other_lines_are_no_progress(line):
    assert progress.parse(line) is None
