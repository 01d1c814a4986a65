"""Tables of teacher outputs that many machines fill: shards, each row once, damage, what a machine keeps of them."""

import concurrent.futures
import contextlib
import pathlib
import random
import signal
import subprocess

import numpy as np
import pytest

from conftest import start_python
from kdzoo import stores
from kdzoo.teachers import shards
from kdzoo.teachers.layered_table import LayeredTable
from kdzoo.teachers.output_cache import Cache
from kdzoo.teachers.row_format import RowType
from kdzoo.teachers.shard_filling import ShardFiller
from kdzoo.teachers.shards import ShardedTable, create_table, open_table
from zoo import InputError

ROWS = 2500  # shards of 1024, 1024 and 452
KEY = {"name": "a", "mean": (0.5, 0.25)}
LOGITS = RowType((4,), "float32")
MAPS = RowType((5,), "float16", [[1, 5]])


def values_of(rows: np.ndarray, row: RowType = LOGITS) -> np.ndarray:
    """The values that a test writes to these rows."""
    return np.sin(np.add.outer(np.asarray(rows), np.arange(row.shape[0]))).astype(row.dtype)


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path) -> stores.Store:
    return stores.open_store(tmp_path / "store" if request.param == "folder" else request.getfixturevalue("bucket"))


@pytest.fixture
def folder(tmp_path) -> stores.Store:
    return stores.open_store(tmp_path / "store")


def table_in(store: stores.Store, row: RowType = LOGITS) -> ShardedTable:
    return create_table(store, KEY, ROWS, lambda: row)


def fill(table: ShardedTable, rows) -> None:
    for shard, own in by_shard(rows):
        table.add(shard, own, values_of(own, table.row))


def by_shard(rows):
    rows = np.asarray(rows)
    return [(shard, rows[rows // 1024 == shard]) for shard in sorted(set((rows // 1024).tolist()))]


def check(table: ShardedTable | LayeredTable, present, rows=None) -> None:
    """Exactly these rows are present, with the values that were written."""
    rows = np.random.default_rng(0).permutation(ROWS) if rows is None else rows
    layered = table if isinstance(table, LayeredTable) else LayeredTable(table, None, keep=False)
    values, there = layered.read(rows)
    assert sorted(rows[there]) == sorted(present)
    np.testing.assert_array_equal(values[there], values_of(rows[there], table.row))


def object_of(tmp_path: pathlib.Path, store: stores.Store, shard: int) -> pathlib.Path:
    (part,) = store.read_manifest(f"shards/{shard:06d}")[0]["parts"]
    return tmp_path / "store" / "objects" / part["sha256"]


@pytest.mark.parametrize(
    ("rows", "each", "count"),
    [(1, 1024, 1), (2500, 1024, 3), (8_110_000, 4096, 1980), (10**9, 65536, 15259), (2**31, 65536, 32768)],
)
def test_the_number_of_shards(rows, each, count):
    assert (shards.rows_per_shard(rows), shards.count_shards(rows)) == (each, count)


@pytest.mark.parametrize("row", [LOGITS, MAPS])
def test_rows_are_present_once_added_on_every_machine(store, row):
    table = table_in(store, row)
    check(table, [])
    written = np.array([2499, 0, 63, 64, 1023, 1024, 5, 4, 3])
    fill(table, written)
    other = open_table(stores.open_store(store.uri), {"mean": [0.5, 0.25], "name": "a"}, ROWS)
    assert (other.row, other.rows, other.per_shard) == (row, ROWS, 1024)
    check(other, written)
    fill(other, np.arange(ROWS))
    again = table_in(store, RowType((77,), "float64"))  # the type in the manifest counts
    check(again, np.arange(ROWS))
    for shard in range(3):
        rows, values = again.read_whole(shard)
        assert sorted(rows) == again.rows_of(shard).tolist()
        np.testing.assert_array_equal(values, values_of(rows, row))
    parts = [part for shard in range(3) for part in store.read_manifest(f"shards/{shard:06d}")[0]["parts"]]
    assert sum(part["rows"] for part in parts) == ROWS  # each once
    assert len(parts) == 6


def test_machines_that_fill_one_shard_write_each_row_once(store):
    table_in(store)

    def work(machine: int) -> set[int]:
        own = open_table(stores.open_store(store.uri), KEY, ROWS)
        rows = np.random.default_rng(machine).permutation(1024)[:600]
        for part in np.split(rows, 3):
            own.add(0, part, values_of(part))
        return set(rows.tolist())

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        wanted = set.union(*pool.map(work, range(4)))
    parts = store.read_manifest("shards/000000")[0]["parts"]
    assert sum(part["rows"] for part in parts) == len(wanted)
    rows, values = open_table(store, KEY, ROWS).read_whole(0)
    assert sorted(rows) == sorted(wanted)
    np.testing.assert_array_equal(values, values_of(rows))


def test_a_row_damaged_anywhere_is_missing_until_it_is_computed_again(folder, tmp_path, caplog):
    fill(table_in(folder), np.arange(10))
    path = object_of(tmp_path, folder, 0)
    whole = path.read_bytes()
    size, header = LOGITS.record.itemsize, 1024 // 8
    for at in range(header + 3 * size, header + 4 * size):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        check(table_in(folder), set(range(10)) - {3})
    for cut in (header + 7 * size + 3, header, header - 5, 3, 0):
        path.write_bytes(whole[:cut])
        check(table_in(folder), range(max(0, (cut - header) // size)))
    for bit in range(16):  # of the bitmap: no row has another's values
        path.write_bytes(bytes([whole[0] ^ 1 << bit & 255, whole[1] ^ 1 << bit >> 8]) + whole[2:])
        rows = np.arange(20)
        values, there = table_in(folder).read(0, rows)
        np.testing.assert_array_equal(values[there], values_of(rows[there]))
    table = table_in(folder)
    assert not table.find_present(0, np.arange(10)).any()
    assert "Damaged, so its rows are computed anew" in caplog.text
    fill(table, np.arange(10))
    check(table_in(folder), range(10))
    assert object_of(tmp_path, folder, 0).read_bytes() == whole
    path.unlink()
    check(table_in(folder), [])
    fill(table_in(folder), np.arange(10))
    check(table_in(folder), range(10))


@pytest.mark.parametrize("which", ["table.manifest", "shards/000000.manifest"])
def test_a_damaged_manifest_is_replaced(folder, tmp_path, caplog, which):
    fill(table_in(folder), np.arange(10))
    (version,) = (tmp_path / "store" / which).iterdir()
    version.write_text("{}")
    if which == "table.manifest":
        assert open_table(folder, KEY, ROWS) is None
    table = table_in(folder)
    fill(table, np.arange(10))
    check(table, range(10))
    assert "Damaged" in caplog.text


def test_another_table_is_refused(folder):
    table_in(folder)
    for key, rows in (({"name": "b"}, ROWS), (KEY, ROWS + 1)):
        for use in (open_table, lambda *args: create_table(*args, lambda: LOGITS)):
            with pytest.raises(InputError, match=r"must be that of its key. Received: .*store: another (key|rows)"):
                use(folder, key, rows)


def test_shards_that_others_add_are_found_after_a_while(folder, monkeypatch):
    fill(table_in(folder), np.arange(10))
    reader = table_in(folder)
    check(reader, range(10))
    fill(table_in(folder), [11, 12, 2000])
    check(reader, range(10))
    monkeypatch.setattr(shards, "_REFRESH_SECONDS", 0.0)
    check(reader, range(10), np.arange(1024))  # its bitmap is read again for the rows after these
    check(reader, [*range(10), 11, 12, 2000])


def test_a_machine_keeps_whole_shards_of_a_bucket(bucket, tmp_path):
    cache = Cache(tmp_path / "own", store=stores.open_store(bucket))
    assert cache.name == bucket
    alone = cache.open(KEY, rows=ROWS, describe=lambda: LOGITS)  # nobody has filled a table yet
    alone.close()
    fill(create_table(cache.shared_store(KEY), KEY, ROWS, lambda: LOGITS), np.arange(1500))
    table = cache.open(KEY, rows=ROWS, describe=lambda: None)
    check(table, [3, 1030], np.array([3, 1030, 2000]))
    table.write(np.array([2000]), values_of(np.array([2000])))
    table.close()
    own = Cache(tmp_path / "own").table(KEY, rows=ROWS, describe=lambda: None)
    values, present = own.read(np.arange(ROWS))
    assert np.flatnonzero(present).tolist() == [*range(1500), 2000]
    np.testing.assert_array_equal(values[present], values_of(np.flatnonzero(present)))


def test_shards_in_a_shared_folder_are_read_in_place(tmp_path):
    cache = Cache(tmp_path)
    fill(create_table(cache.shared_store(KEY), KEY, ROWS, lambda: LOGITS), np.arange(1500))
    table = cache.open(KEY, rows=ROWS, describe=lambda: None)
    check(table, range(1500))
    table.write(np.array([2000]), values_of(np.array([2000])))
    check(table, [*range(1500), 2000])
    table.close()
    _, present = cache.table(KEY, rows=ROWS, describe=lambda: None).read(np.arange(ROWS))
    assert np.flatnonzero(present).tolist() == [2000]


def test_shards_are_read_where_a_machine_has_no_room(tmp_path, caplog):
    cache = Cache(tmp_path, gigabytes=1e-9)
    fill(create_table(cache.shared_store(KEY), KEY, ROWS, lambda: LOGITS), np.arange(1500))
    table = cache.open(KEY, rows=ROWS, describe=lambda: None)
    assert "Teacher outputs that the shards lack are not kept" in caplog.text
    table.write(np.array([2000]), values_of(np.array([2000])))
    check(table, range(1500))
    table.close()


def test_a_store_that_cannot_be_read_is_reported_once_and_its_rows_are_missing(tmp_path, caplog):
    cache = Cache(tmp_path)
    fill(create_table(cache.shared_store(KEY), KEY, ROWS, lambda: LOGITS), np.arange(ROWS))
    table = cache.open(KEY, rows=ROWS, describe=lambda: None)
    check(table, range(5), np.arange(5))
    (objects,) = (tmp_path / "shards").glob("*/objects")
    objects.rename(objects.with_name("moved"))
    objects.write_text("")
    check(table, [])
    check(table, [])
    (record,) = caplog.records
    assert record.message.startswith("Teacher outputs are no longer read from the store: A store must be a folder")
    table.close()


class SineTeacher:
    """Computes the values of the tests, and counts how often it computes each row."""

    def __init__(self):
        self.calls: list[int] = []

    def compute(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        assert 0 < len(rows) <= 128
        self.calls += rows.tolist()
        return {"logits": values_of(rows), "maps": values_of(rows, MAPS)}


def filler_of(folder, teacher: SineTeacher, stopping=lambda: False) -> tuple[ShardFiller, dict[str, ShardedTable]]:
    tables = {
        kind: create_table(folder.below(kind), {"kind": kind}, ROWS, lambda row=row: row)
        for kind, row in (("logits", LOGITS), ("maps", MAPS))
    }
    done = []
    return ShardFiller(teacher, tables, progress=done.append, stopping=stopping), tables


def test_a_filler_computes_missing_rows_in_full_calls(folder):
    teacher = SineTeacher()
    filler, tables = filler_of(folder, teacher)
    wanted = np.arange(0, ROWS, 7)
    for shard in (2, 0, 1):
        filler.fill(shard, wanted[wanted // 1024 == shard])
    filler.finish()
    assert (filler.present, filler.added) == (0, len(wanted))
    assert sorted(teacher.calls) == wanted.tolist()
    for table in tables.values():
        check(table, wanted)
    again, tables = filler_of(folder, teacher)
    for shard in range(3):
        again.fill(shard, tables["logits"].rows_of(shard))
    again.finish()
    assert (again.present, again.added) == (len(wanted), ROWS - len(wanted))
    assert sorted(teacher.calls) == list(range(ROWS))
    for table in tables.values():
        check(table, range(ROWS))


def test_a_filler_that_is_stopped_keeps_what_it_computed(folder):
    teacher, stops = SineTeacher(), iter([False] * 10 + [True])
    filler, tables = filler_of(folder, teacher, stopping=lambda: next(stops))
    for shard in range(3):
        if not filler.stopped:
            filler.fill(shard, tables["logits"].rows_of(shard))
    filler.finish()
    assert filler.stopped
    assert filler.added == len(teacher.calls) == 1280
    for table in tables.values():
        check(table, teacher.calls)


# Adds all rows in small parts, in an order of its own.
MACHINE = """
import sys
import numpy as np
from kdzoo import stores
from kdzoo.teachers.shards import open_table
table = open_table(stores.open_store(sys.argv[1]), {"name": "a", "mean": (0.5, 0.25)}, 2500)
print("ready", flush=True)
for rows in np.random.default_rng(int(sys.argv[2])).permutation(np.split(np.arange(2496), 13)):
    values = np.sin(np.add.outer(rows, np.arange(4))).astype("f4")
    for shard in range(3):
        own = rows // 1024 == shard
        if own.any():
            table.add(shard, rows[own], values[own])
"""


def kill_machines(store: stores.Store, *, turns: int) -> None:
    """Two machines fill one table; at each turn both are killed, at the end they finish."""
    table = table_in(store)
    moments, held = random.Random(0), []
    for turn in range(turns + 1):
        processes = [start_python("-c", MACHINE, store.uri, f"{turn}{i}") for i in range(2)]
        for process in processes:
            assert process.stdout.readline() == "ready\n", process.communicate()
        for process in processes:
            if turn < turns:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=moments.uniform(0, 0.2))
                process.send_signal(signal.SIGKILL)
            _, errors = process.communicate()
            assert turn < turns or process.returncode == 0, errors
        rows, values = map(np.concatenate, zip(*map(table.read_whole, range(3)), strict=True))
        assert len(set(rows)) == len(rows)
        np.testing.assert_array_equal(values, values_of(rows))
        held.append(len(rows))
    assert held == sorted(held)
    assert held[-1] == 2496


def test_killed_machines_leave_no_wrong_row_and_no_row_twice(folder):
    kill_machines(folder, turns=2)


@pytest.mark.slow
def test_ten_kills_while_shards_are_written(store):
    kill_machines(store, turns=10)
