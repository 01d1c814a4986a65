"""The guide to a user's own pictures, carried out on a real set: Debian's openclipart-png, in the public domain."""

import csv
import pathlib
import re
import types

import pytest

from kdzoo.runs import records
from test_examples import PAGES, folder, reason, run_bash  # noqa: F401  folder is a fixture

CLIPART = pathlib.Path("/usr/share/openclipart/png")
PAGE = PAGES["docs/guides/pictures.md"]
SHORT, LONG = "cos-4", "cos-30"  # schedules of the page's own pictures, and of the real ones
SECONDS = 3600  # of a block; two cores take eight minutes for teacher and student
ROUNDING = 5.0  # percent of test pictures by which another processor's rounding may change an error


@pytest.mark.slow
@pytest.mark.skipif(not CLIPART.exists(), reason="needs Debian's package openclipart-png")
def test_the_guide_on_a_real_set_gives_the_errors_that_it_prints(folder):  # noqa: F811
    blocks = [block for block in PAGE.examples() if isinstance(block.parsed, str)]
    (prepare,) = (block for block in blocks if reason(block))
    run(prepare, prepare.parsed.replace("apt-get install openclipart-png\n", ""))
    assert len(list(pathlib.Path("photos").rglob("*.png"))) == 1375
    for block in blocks:
        if "runs/" in block.parsed or "models" in block.parsed:
            run(block, block.parsed.replace(SHORT, LONG))
    printed = re.findall(r"^\| (teacher|student).* \| ([\d.]+) % \|", PAGE.text, flags=re.MULTILINE)
    assert len(printed) == 2
    for name, error in printed:
        assert records.read(f"runs/{name}")["test_error_last"] == pytest.approx(float(error), abs=ROUNDING)
    with open("classes.csv", newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)] == sorted(
            path.name for path in pathlib.Path("photos").iterdir()
        )
    assert len(pathlib.Path("predicted.csv").read_text().splitlines()) == 1 + 1375


def run(block, script: str) -> None:
    run_bash(types.SimpleNamespace(parsed=script, path=block.path, line=block.line), SECONDS)
