"""The guides to a user's own pictures, carried out on a real set: Debian's openclipart-png, in the public domain."""

import csv
import json
import pathlib
import re
import types

import pytest

from kdzoo.runs import records
from test_examples import EXTRAS, PAGES, folder, reason, run_bash  # noqa: F401  folder is a fixture

CLIPART = pathlib.Path("/usr/share/openclipart/png")
PICTURES = "docs/guides/pictures.md"
PHONE = "docs/guides/phone.md"
# What the real set changes in the commands of each page, in this order.
CHANGES = {
    PICTURES: [("_cos-4", "_cos-30")],
    PHONE: [
        ("batch_size=32", "batch_size=64"),
        ("cos-1,cos-2", "cos-3,cos-12"),
        ("cos-2", "cos-12"),
        ("cos-4", "cos-30"),
        ("tolerance=10", "tolerance=3"),
    ],
}
SECONDS = 3600  # of a block; two cores take eight minutes for teacher and student
ROUNDING = 5.0  # percent of test pictures by which another processor's rounding may change an error

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CLIPART.exists(), reason="needs Debian's package openclipart-png"),
]


def carry_out(page: str) -> None:
    """Makes the folder of the guide to pictures, and runs a page's commands on it."""
    (prepare,) = (block for block in PAGES[PICTURES].examples() if reason(block))
    run(prepare, prepare.parsed.replace("apt-get install openclipart-png\n", ""))
    assert len(list(pathlib.Path("photos").rglob("*.png"))) == 1375
    for block in PAGES[page].examples():
        script = block.parsed
        if isinstance(script, str) and not reason(block):
            for before, after in CHANGES[page]:
                script = script.replace(before, after)
            if script != block.parsed or "runs/" in script or "models" in script:
                run(block, script)


def run(block, script: str) -> None:
    run_bash(types.SimpleNamespace(parsed=script, path=block.path, line=block.line), SECONDS)


def check_printed(page: str) -> None:
    """The errors in the page's table are those of the records, about."""
    printed = re.findall(r"^\| (teacher|student).* \| ([\d.]+) % \|", PAGES[page].text, flags=re.MULTILINE)
    assert len(printed) == 2
    for name, error in printed:
        assert records.read(f"runs/{name}")["test_error_last"] == pytest.approx(float(error), abs=ROUNDING)


def test_the_guide_to_pictures_gives_the_errors_that_it_prints(folder):  # noqa: F811
    carry_out(PICTURES)
    check_printed(PICTURES)
    with open("classes.csv", newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)] == sorted(
            path.name for path in pathlib.Path("photos").iterdir()
        )
    assert len(pathlib.Path("predicted.csv").read_text().splitlines()) == 1 + 1375


def test_the_journey_to_a_phone_gives_the_errors_that_it_prints(folder):  # noqa: F811
    for module, extra in EXTRAS[PHONE].items():
        pytest.importorskip(module, reason=f"needs the extra {extra}")
    carry_out(PHONE)
    check_printed(PHONE)
    record = json.loads(pathlib.Path("phone.tflite.json").read_text())
    assert record["test_error"] == pytest.approx(record["test_error_network"], abs=3)
