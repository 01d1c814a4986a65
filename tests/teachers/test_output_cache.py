"""The tables of teacher outputs by themselves: rows, damage, size limits, full disks, killed processes."""

import json
import os
import pathlib
import random
import signal
import subprocess

import numpy as np
import pytest

from conftest import start_python
from kdzoo.teachers import output_cache
from kdzoo.teachers.output_cache import Cache, RowType, Table
from zoo import InputError

ROWS = 1000
LOGITS = RowType((4,), "float32")
MAPS = RowType((5,), "float16", [[1, 5]])


def values_of(rows: np.ndarray, row: RowType = LOGITS) -> np.ndarray:
    """The values that a test writes to these rows."""
    return np.sin(np.add.outer(np.asarray(rows), np.arange(row.shape[0]))).astype(row.dtype)


def open_table(folder: pathlib.Path, name: str = "a", *, row: RowType = LOGITS, gigabytes: float = 1.0) -> Table | None:
    return Cache(folder, gigabytes).table({"name": name}, rows=ROWS, describe=lambda: row)


def check(table: Table, present) -> None:
    """Exactly these rows are present, with the values that were written."""
    rows = np.random.default_rng(0).permutation(ROWS)
    values, there = table.read(rows)
    assert sorted(rows[there]) == sorted(present)
    np.testing.assert_array_equal(values[there], values_of(rows[there], table.row))


@pytest.mark.parametrize("row", [LOGITS, MAPS])
def test_rows_are_present_once_written(tmp_path, row):
    table = open_table(tmp_path, row=row)
    check(table, [])
    written = np.array([999, 0, 500, 3])
    table.write(written, values_of(written, row))
    check(table, written)
    table.close()
    again = open_table(tmp_path, row=RowType((77,), "float64"))  # the type in the table's card counts
    assert again.row == row
    check(again, written)
    assert again.directory.stat().st_size < 10_000


def test_a_row_damaged_anywhere_is_missing_and_can_be_written_again(tmp_path):
    table = open_table(tmp_path)
    rows = np.arange(10)
    table.write(rows, values_of(rows))
    size = LOGITS.record.itemsize
    path = table.directory / output_cache.ROWS
    whole = path.read_bytes()
    for at in range(3 * size, 4 * size):
        for bit in (1, 128):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
            check(table, set(rows) - {3})
    both = bytearray(whole)  # the signs of two numbers at once
    both[3 * size + 3] ^= 128
    both[3 * size + 7] ^= 128
    path.write_bytes(bytes(both))
    check(table, set(rows) - {3})
    path.write_bytes(whole[: 5 * size] + whole[6 * size : 7 * size] + whole[6 * size :])  # another row's content
    check(table, set(rows) - {5})
    path.write_bytes(whole[: 7 * size + 3])  # cut short while the table is open
    check(table, range(7))
    table.write(rows, values_of(rows))
    check(table, rows)


@pytest.mark.parametrize("damage", ["empty card", "other format", "no card", "short", "long", "no rows"])
def test_a_damaged_table_is_rebuilt(tmp_path, caplog, damage):
    table = open_table(tmp_path)
    table.write(np.arange(5), values_of(np.arange(5)))
    table.close()
    card, rows = (table.directory / name for name in (output_cache.CARD, output_cache.ROWS))
    if damage == "empty card":
        card.write_text("")
    elif damage == "other format":
        card.write_text(json.dumps(json.loads(card.read_text()) | {"format": -1}))
    elif damage == "no card":
        card.unlink()
    elif damage == "no rows":
        rows.unlink()
    else:
        with open(rows, "ab") as file:
            file.truncate(rows.stat().st_size + (1 if damage == "long" else -1))
    check(open_table(tmp_path), [])
    assert "Damaged, so rebuilt" in caplog.text


def test_a_damaged_table_in_use_is_not_removed(tmp_path, caplog):
    table = open_table(tmp_path)
    (table.directory / output_cache.CARD).write_text("")
    assert open_table(tmp_path) is None
    assert "The teacher runs live" in caplog.text
    table.write(np.arange(5), values_of(np.arange(5)))
    check(table, range(5))


def test_the_least_recently_used_table_is_evicted(tmp_path, caplog):
    size = ROWS * LOGITS.record.itemsize
    room = 2.5 * size / 1e9
    names = {}
    for age, name in enumerate("abc"):
        table = open_table(tmp_path, name, gigabytes=room)
        table.write(np.arange(ROWS), values_of(np.arange(ROWS)))
        names[name] = table.directory
        table.close()
        os.utime(table.directory / output_cache.CARD, (age, age))
    assert [names[name].exists() for name in "abc"] == [False, True, True]
    used = open_table(tmp_path, "b", gigabytes=room)
    check(used, range(ROWS))
    other = open_table(tmp_path, "d", gigabytes=room)
    assert [names[name].exists() for name in "abc"] == [False, True, False]
    assert open_table(tmp_path, "e", gigabytes=room) is None  # b and d are in use
    assert open_table(tmp_path, "f", gigabytes=room / 3) is None
    used.close()
    assert open_table(tmp_path, "e", gigabytes=room) is not None
    assert not names["b"].exists()
    other.close()
    with pytest.raises(InputError, match=r"teacher_cache must have room .* Received: .*more than cache_gb 1e-09"):
        Cache(tmp_path, 1e-9, required=True).table({"name": "f"}, rows=ROWS, describe=lambda: LOGITS)
    messages = [record.message for record in caplog.records]
    assert len(messages) == 2
    assert "tables in use leave less than" in messages[0]
    assert "more than cache_gb" in messages[1]


@pytest.mark.parametrize("kind", ["no card", "another card", "other format", "list", "deep", "other name", "link"])
def test_only_tables_are_evicted(tmp_path, kind):
    """A folder given as --teacher_cache may hold other folders that look like tables."""
    first = open_table(tmp_path / "cache", "a")
    first.write(np.arange(ROWS), values_of(np.arange(ROWS)))
    first.close()
    whole = json.loads((first.directory / output_cache.CARD).read_text())
    precious = tmp_path / "cache" / "precious"
    if kind == "link":
        precious = first.directory.rename(tmp_path / "moved")
        first.directory.symlink_to(precious)
    elif kind == "other name":
        first.directory.rename(precious)
    else:
        if kind == "other format":
            precious = first.directory
        precious.mkdir(exist_ok=True)
        (precious / output_cache.ROWS).write_bytes(bytes(10**6))
        cards = {"another card": '{"name": "wrn10-1"}', "other format": json.dumps(whole | {"format": 99})}
        cards |= {"list": "[1]", "deep": "[" * 10**5}
        if kind in cards:
            (precious / output_cache.CARD).write_text(cards[kind])
    before = {path.name: path.read_bytes() for path in precious.iterdir()}
    room = 1.5 * ROWS * LOGITS.record.itemsize / 1e9
    for name in "bc":  # room for one of them
        table = open_table(tmp_path / "cache", name, gigabytes=room)
        table.write(np.arange(ROWS), values_of(np.arange(ROWS)))
        table.close()
    assert {path.name: path.read_bytes() for path in precious.iterdir()} == before
    cards = [json.loads(path.read_text()) for path in (tmp_path / "cache").glob(f"{'?' * 32}/card.json")]
    assert sum(card["key"]["name"] in "bc" for card in cards) == 1


def test_a_folder_that_cannot_be_written_is_reported(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    assert open_table(tmp_path / "file" / "below") is None
    assert "The teacher runs live, since its outputs cannot be cached" in caplog.text
    for source, gigabytes in ((str(tmp_path / "file"), 1), ("", 1), ("auto", 0), ("auto", float("nan"))):
        with pytest.raises(InputError, match=r"teacher_cache must be auto, off, a folder or|cache_gb must be above 0"):
            output_cache.find(source, gigabytes)
    with pytest.raises(InputError, match=r"A store must be a folder or s3://BUCKET/PREFIX, .* Received: gs://bucket"):
        output_cache.find("gs://bucket")
    assert output_cache.find("off") is None


def test_a_full_disk_ends_writing_but_not_reading(tmp_path, caplog, monkeypatch):
    table = open_table(tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    table.write(np.arange(5), values_of(np.arange(5)))
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        table.write(np.arange(5, 9), values_of(np.arange(5, 9)))
    table.write(np.arange(5, 9), values_of(np.arange(5, 9)))
    check(table, range(5))
    (record,) = caplog.records
    assert record.message.startswith("Teacher outputs are no longer cached:")


def test_killed_processes_leave_no_wrong_row_in_their_table(tmp_path):
    code = """
import pathlib, sys
import numpy as np
sys.path[:0] = ["tests", "tests/teachers"]
from test_output_cache import ROWS, check, open_table, values_of
table = open_table(pathlib.Path(sys.argv[1]))
rng = np.random.default_rng(int(sys.argv[2]))
print("ready", flush=True)
while True:
    rows = rng.integers(0, ROWS, 50)
    values, there = table.read(rows)
    assert (values[there] == values_of(rows[there])).all()
    table.write(rows, values_of(rows))
"""
    moments = random.Random(0)
    present = []
    for turn in range(4):
        processes = [start_python("-c", code, str(tmp_path), f"{turn}{i}") for i in range(2)]
        for process in processes:
            assert process.stdout.readline() == "ready\n", process.communicate()
        for process in processes:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=moments.uniform(0, 0.1))
            process.send_signal(signal.SIGKILL)
            process.communicate()
        table = open_table(tmp_path)
        rows = np.arange(ROWS)
        values, there = table.read(rows)
        np.testing.assert_array_equal(values[there], values_of(rows[there]))
        present.append(int(there.sum()))
        table.close()
    assert present == sorted(present)
    assert present[-1] > 0
