"""What teachers said, kept: the table by itself, in students that must not tell whether it was there, by command."""

import dataclasses
import json
import os
import pathlib
import random
import signal
import subprocess

import numpy as np
import pytest

from conftest import JAX_ENV, JAX_PYTHON, WITHOUT_TENSORFLOW, run_python, start_python
from kdzoo.runs.config import METHODS, RunConfig
from kdzoo.teachers import output_cache
from kdzoo.teachers.output_cache import Cache, RowType, Table
from zoo import InputError

ROWS = 1000
LOGITS = RowType((4,), "float32")
MAPS = RowType((5,), "float16", [[1, 5]])


def values_of(rows: np.ndarray, row: RowType = LOGITS) -> np.ndarray:
    """What a test's table holds of a row."""
    return np.sin(np.add.outer(np.asarray(rows), np.arange(row.shape[0]))).astype(row.dtype)


def open_table(folder: pathlib.Path, name: str = "a", *, row: RowType = LOGITS, gigabytes: float = 1.0) -> Table | None:
    return Cache(folder, gigabytes).table({"name": name}, rows=ROWS, describe=lambda: row)


def check(table: Table, present) -> None:
    """Just these rows are there, with the values they should have."""
    rows = np.random.default_rng(0).permutation(ROWS)
    values, there = table.read(rows)
    assert sorted(rows[there]) == sorted(present)
    np.testing.assert_array_equal(values[there], values_of(rows[there], table.row))


# The table.


@pytest.mark.parametrize("row", [LOGITS, MAPS])
def test_rows_are_there_once_written(tmp_path, row):
    table = open_table(tmp_path, row=row)
    check(table, [])
    written = np.array([999, 0, 500, 3])
    table.write(written, values_of(written, row))
    check(table, written)
    table.close()
    again = open_table(tmp_path, row=RowType((77,), "float64"))  # what it holds is told by the table itself
    assert again.row == dataclasses.replace(row, about=row.about)
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
    path.write_bytes(whole[: 7 * size + 3])  # cut short under the table's feet
    check(table, range(7))
    table.write(rows, values_of(rows))
    check(table, rows)


@pytest.mark.parametrize("damage", ["empty card", "other format", "no card", "short", "long", "no rows"])
def test_a_damaged_table_is_made_anew(tmp_path, caplog, damage):
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
    assert "Damaged, so made anew" in caplog.text


def test_a_table_that_others_use_is_not_taken_from_them(tmp_path, caplog):
    table = open_table(tmp_path)
    (table.directory / output_cache.CARD).write_text("")
    assert open_table(tmp_path) is None
    assert "The teacher runs live" in caplog.text
    table.write(np.arange(5), values_of(np.arange(5)))
    check(table, range(5))


def test_who_was_used_least_recently_makes_room(tmp_path, caplog):
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
    assert open_table(tmp_path, "e", gigabytes=room) is None  # b and d may fill it
    assert open_table(tmp_path, "f", gigabytes=room / 3) is None
    used.close()
    assert open_table(tmp_path, "e", gigabytes=room) is not None
    assert not names["b"].exists()
    other.close()
    said = [record.message for record in caplog.records]
    assert len(said) == 2
    assert "tables in use leave less than" in said[0]
    assert "more than cache_gb" in said[1]


def test_a_folder_that_cannot_be_written_is_said(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    assert open_table(tmp_path / "file" / "below") is None
    assert "The teacher runs live, since its answers cannot be kept" in caplog.text
    for where, gigabytes in ((str(tmp_path / "file"), 1), ("", 1), ("auto", 0), ("auto", float("nan"))):
        with pytest.raises(InputError, match=r"teacher_cache must be auto, off or a folder|cache_gb must be above 0"):
            output_cache.find(where, gigabytes)
    assert output_cache.find("off") is None


def test_a_full_disk_ends_the_keeping_only(tmp_path, caplog, monkeypatch):
    table = open_table(tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    table.write(np.arange(5), values_of(np.arange(5)))
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        table.write(np.arange(5, 9), values_of(np.arange(5, 9)))
    table.write(np.arange(5, 9), values_of(np.arange(5, 9)))
    check(table, range(5))
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "What the teacher says is no longer kept"
    ]


def test_processes_killed_at_work_on_one_table_leave_no_wrong_row(tmp_path):
    code = """
import pathlib, sys
import numpy as np
sys.path[:0] = ["tests", "tests/teachers"]
from test_teacher_cache import ROWS, check, open_table, values_of
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


# A student does not tell whether there is one.


@pytest.fixture
def config(npz, teacher_run) -> RunConfig:
    """Three epochs of four steps, whose views repeat."""
    dataset = f"npz:{npz}"
    return RunConfig("wrn10-1", "2-3", dataset=dataset, batch_size=32, seed=1, lr=0.01, teachers=(str(teacher_run),))


def train(config: RunConfig, workdir: pathlib.Path, where, **options) -> tuple[bytes, dict]:
    """Weights, and the rows that were needed and asked for."""
    from kdzoo.runs import records
    from kdzoo.runs.weights import load_model
    from kdzoo.training.train import run

    record = run(config, workdir, teacher_cache=str(where), **options)
    weights = b"".join(np.asarray(weight).tobytes() for weight in load_model(workdir).get_weights())
    return weights, record["sessions"][-1]["teacher_rows"] | {"result": records.result(record)}


@pytest.mark.parametrize("method", ["kd", "at+kd"])
def test_a_student_is_the_same_to_the_bit_whatever_was_in_the_table(config, published, tmp_path, monkeypatch, method):
    from kdzoo.runs import machine

    monkeypatch.setenv("KDZOO_HOME", str(published))
    # As an ensemble, each has tables of its own.
    teachers = (*config.teachers, "quarters/wrn10-1_2-3") if method == "kd" else config.teachers
    config = dataclasses.replace(config, teachers=teachers, **METHODS[method])
    if machine.hardware()["accelerators"]:
        pytest.skip("bit for bit is a CPU's promise: see the test of accelerators")
    cache = tmp_path / "cache"
    off, rows = train(config, tmp_path / "off", "off")
    needed = 3 * 128 * len(teachers)
    assert (rows["needed"], rows["asked"]) == (needed, needed)
    cold, of_cold = train(config, tmp_path / "cold", cache)
    assert of_cold["asked"] > 0.9 * needed
    warm, of_warm = train(config, tmp_path / "warm", cache)
    assert (of_warm["needed"], of_warm["asked"]) == (needed, 0)
    assert len(list(cache.glob("*/card.json"))) == 2
    for path in cache.glob("*/rows"):  # a third of the rows lost
        content = np.frombuffer(path.read_bytes(), np.uint8).copy()
        content[: len(content) // 3] = 7
        path.write_bytes(content.tobytes())
    damaged, of_damaged = train(config, tmp_path / "damaged", cache)
    assert 0.2 * needed < of_damaged["asked"] < 0.5 * needed
    assert off == cold == warm == damaged
    assert json.dumps(rows["result"]) == json.dumps(of_cold["result"]) == json.dumps(of_warm["result"])
    if method == "at+kd":
        return
    other = dataclasses.replace(config, seed=2, temperature=2.0, kd_weight=0.5, batch_size=64)
    other_off, _ = train(other, tmp_path / "other_off", "off")
    other_on, of_other = train(other, tmp_path / "other_on", cache)
    assert other_off == other_on
    assert of_other["asked"] < of_other["needed"]


@pytest.mark.parametrize(("method", "dtype_policy"), [("kd", "float32"), ("at+kd", "mixed_bfloat16")])
def test_a_live_teacher_in_the_step_says_the_same_to_the_bit(tmp_path, method, dtype_policy):
    """Of batches as big as a call: the step calls the teacher's own program."""
    from kdzoo.runs import machine, records
    from kdzoo.runs.weights import load_model
    from kdzoo.training.train import run

    if machine.hardware()["accelerators"]:
        pytest.skip("bit for bit is a CPU's promise: see the test of accelerators")
    config = RunConfig("wrn10-1", "1-2", dataset="digits", train_examples=384, **METHODS[method])
    config = dataclasses.replace(config, dtype_policy=dtype_policy, lr=0.01)
    run(dataclasses.replace(config, **METHODS["none"], train_examples=128), tmp_path / "teacher")
    config = dataclasses.replace(config, teachers=(str(tmp_path / "teacher"),))
    live = run(config, tmp_path / "live", teacher_cache="off")
    cached, rows = train(config, tmp_path / "cached", tmp_path / "cache")
    assert "teacher_rows" not in live["sessions"][-1]
    assert rows["asked"] > 0
    assert b"".join(w.tobytes() for w in load_model(tmp_path / "live").get_weights()) == cached
    assert json.dumps(records.result(live)) == json.dumps(rows["result"])


@pytest.mark.parametrize("method", ["kd", "at+kd"])
def test_a_teacher_inside_the_step_says_nearly_the_same(config, tmp_path, monkeypatch, method):
    """As live on accelerators: another program, so other last bits, but no other training."""
    from kdzoo.training.train import run

    config = dataclasses.replace(config, schedule="1-2", **METHODS[method] | {"lr": 0.001})
    monkeypatch.setattr("kdzoo.training.train._accelerated", lambda _: True)
    inside = run(config, tmp_path / "inside", teacher_cache="off")
    cached = run(config, tmp_path / "cached", teacher_cache=str(tmp_path / "cache"))
    assert "teacher_rows" not in inside["sessions"][-1]
    assert cached["sessions"][-1]["teacher_rows"]["asked"] > 0
    for one, other in zip(inside["history"], cached["history"], strict=True):
        for name in ("loss", "ce", "kd", "test_ce", *(["at"] if method == "at+kd" else [])):
            assert other[name] == pytest.approx(one[name], rel=1e-3)


@pytest.mark.parametrize("method", ["kd", pytest.param("at+kd", marks=pytest.mark.slow)])
def test_on_jax_a_student_is_the_same_to_the_bit(tmp_path, method):
    """On images of 32x32: of smaller ones, some convolutions of XLA on a CPU go by an image's place in the batch."""
    code = """
import dataclasses, sys
from kdzoo.runs.config import METHODS, RunConfig
from kdzoo.training import jax_steps, train
workdir = sys.argv[1]
settings = {"dataset": "digits", "batch_size": 32, "train_examples": 128}
train.run(RunConfig("wrn10-1", "1-1", **settings), workdir + "/teacher")
config = RunConfig("wrn10-1", "2-3", seed=1, teachers=(workdir + "/teacher",), **settings)
def asked(name, cache, **changes):
    record = train.run(dataclasses.replace(config, **changes), f"{workdir}/{name}", teacher_cache=workdir + cache)
    print(record["sessions"][-1]["teacher_rows"]["asked"], record["history"][0]["loss"])
config = dataclasses.replace(config, **METHODS[sys.argv[2]])
train.run(config, f"{workdir}/off", teacher_cache="off")
asked("cold", "/cache")
asked("warm", "/cache")
if sys.argv[2] != "kd":
    sys.exit()
# As on an accelerator: the table on the device, several steps a call, empty first and then full.
jax_steps.fits_on_device = lambda size: size == 4 * 10 * 1437 * 81
asked("device_cold", "/cache2")
asked("device_warm", "/cache2")
asked("device_fused", "/cache2", fused_steps=2)
"""
    done = run_python("-c", WITHOUT_TENSORFLOW + code, str(tmp_path), method, python=JAX_PYTHON, env=JAX_ENV)
    assert done.returncode == 0, done.stderr[-3000:]
    asked, losses = zip(*(map(float, line.split()) for line in done.stdout.splitlines()), strict=True)
    assert all(count > 300 for count in asked[::2][:2])
    assert not any(asked[1::2])
    # With the table on the device the step is another program.
    for names in (("off", "cold", "warm"), ("device_cold", "device_warm") if method == "kd" else ()):
        weights = [(tmp_path / f"{name}/model.weights.h5").read_bytes() for name in names]
        assert all(weights[0] == other for other in weights)
    assert losses == pytest.approx([losses[0]] * len(losses), rel=1e-4)


def test_what_is_too_big_for_the_cache_runs_live_and_says_so_once(config, tmp_path, caplog):
    config = dataclasses.replace(config, schedule="1-1", **METHODS["kd"])
    off, _ = train(config, tmp_path / "off", "off")
    live, rows = train(config, tmp_path / "live", tmp_path / "cache", cache_gb=1e-9)
    assert live == off
    assert rows["asked"] == rows["needed"]
    assert len([r for r in caplog.records if "The teacher runs live" in r.message]) == 1
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize("name", ["wrn10-1", "dn10-3", "resnet18"])
def test_an_answer_does_not_depend_on_its_place_among_those_asked_together(name):
    import kdzoo
    from kdzoo.teachers import zoo_teacher

    program = zoo_teacher.compiled(kdzoo.build(name, input_shape=(16, 16, 3)), attention=True)
    images = np.random.default_rng(0).normal(size=(128, 16, 16, 3)).astype(np.float32)
    order = np.random.default_rng(1).permutation(128)
    (logits, maps), (of_order, maps_of_order) = program(images), program(images[order])
    np.testing.assert_array_equal(np.asarray(logits)[order], of_order)
    for one, other in zip(maps, maps_of_order, strict=True):
        assert one.dtype == np.float16
        np.testing.assert_array_equal(np.asarray(one)[order], other)


# Ahead of the runs.


def test_precomputed_rows_are_not_asked_for_again(config, tmp_path):
    from kdzoo.teachers import outputs

    config = dataclasses.replace(config, **METHODS["kd"])
    cache = Cache(tmp_path / "cache")
    seen = []
    calls = iter([False, True])
    assert outputs.precompute(config, cache, seeds=[1, 2], stopping=lambda: next(calls)) == (0, 128)
    there, added = outputs.precompute(config, cache, seeds=[1, 2], progress=lambda done, of: seen.append((done, of)))
    assert there == 128
    assert seen[-1] == (there + added,) * 2
    assert 700 < there + added <= 2 * 3 * 128 + 64
    for seed in (1, 2):
        _, rows = train(dataclasses.replace(config, seed=seed), tmp_path / f"{seed}", cache.folder)
        assert rows["asked"] == 0


def test_the_command_fills_the_whole_table(config, tmp_path):
    flags = [f"--teacher={config.teachers[0]}", f"--dataset={config.dataset}", f"--teacher_cache={tmp_path}/cache"]
    done = run_python("-m", "apps.precompute", *flags, "--augment=none")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == f"192 rows added to 0 that were there: {tmp_path}/cache\n"  # 128 and 64 images


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "teacher must name at least one"),
        (["--teacher=no/where"], "directory of a finished run"),
        (["--teacher=wrn16-2_10-35", "--teacher_cache=off"], "teacher_cache must not be off"),
        (["--teacher=wrn16-2_10-35", "--seeds=one"], "seeds must be numbers"),
        (["--teacher=wrn16-2_10-35", "--cache_gb=-1"], "cache_gb must be above 0"),
    ],
)
def test_bad_input_is_one_line(flags, message):
    done = run_python("-m", "apps.precompute", *flags)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
