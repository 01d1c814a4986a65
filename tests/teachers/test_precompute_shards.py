"""Precomputing by shards: a run that reads what other machines computed has the same weights, to the bit."""

import contextlib
import dataclasses
import pathlib

import numpy as np
import pytest

from conftest import run_python
from kdzoo.runs.config import METHODS, RunConfig
from kdzoo.teachers import output_cache
from kdzoo.teachers.output_cache import Cache
from zoo import InputError

SHARDS = 21  # of 128 images in 162 views, and 64 test images


@pytest.fixture
def config(npz, teacher_run) -> RunConfig:
    dataset = f"npz:{npz}"
    return RunConfig("wrn10-1", "1-2", dataset=dataset, batch_size=32, lr=0.01, teachers=(str(teacher_run),))


def train(config: RunConfig, workdir: pathlib.Path, cache: str) -> tuple[bytes, dict]:
    """Weights; and the rows that were needed and computed."""
    from kdzoo.runs.weights import load_model
    from kdzoo.training.train import run

    record = run(config, workdir, teacher_cache=cache)
    weights = b"".join(np.asarray(weight).tobytes() for weight in load_model(workdir).get_weights())
    return weights, record["sessions"][-1]["teacher_rows"]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "method"), [("folder", "kd"), ("s3", "at+kd")])
def test_a_student_is_the_same_to_the_bit_from_shards_of_other_machines(
    config, tmp_path, monkeypatch, request, kind, method
):
    from kdzoo.teachers.precompute import ShardedTeachers, count_shards

    config = dataclasses.replace(config, **METHODS[method])
    source = str(tmp_path / "shared") if kind == "folder" else request.getfixturevalue("bucket")
    off, rows = train(config, tmp_path / "off", "off")
    assert count_shards(config) == SHARDS
    done = []
    for shards in (range(12), range(9, SHARDS)):  # two machines, which overlap
        cache = output_cache.find(source)
        with contextlib.closing(ShardedTeachers(config, cache, seeds=[0])) as teachers:
            done.append(teachers.fill(shards, progress=lambda done, of: None))
            assert len(set(teachers.names)) == (2 if method == "at+kd" else 1)
    (_, first), (present, second) = done
    assert present > 0
    assert 128 + 64 < first + second <= 2 * 128 + 64
    monkeypatch.setenv("KDZOO_CACHE", str(tmp_path / "another machine"))
    shared, of_shared = train(config, tmp_path / "shared run", source)
    assert shared == off
    assert (of_shared["needed"], of_shared["asked"]) == (rows["needed"], 0)


def test_shards_that_do_not_exist_are_refused(config, tmp_path):
    from kdzoo.teachers.precompute import precompute

    config = dataclasses.replace(config, **METHODS["kd"])
    for shards in ([SHARDS], [-1]):
        with pytest.raises(InputError, match=r"shards must be at least 0 and below 21. Received: "):
            precompute(config, Cache(tmp_path), shards=shards)
    stopped = precompute(config, Cache(tmp_path), shards=[3, 4], stopping=iter([False, False, True]).__next__)
    assert stopped == (0, 256)
    seen = []
    again = precompute(config, Cache(tmp_path), shards=[3, 4], progress=lambda done, of: seen.append((done, of)))
    assert again == (256, 2 * 1024 - 256)
    assert seen[-1] == (2048, 2048)


@pytest.mark.slow
def test_the_command_fills_a_table_in_a_bucket(npz, teacher_run, bucket, tmp_path):
    flags = [f"--teacher={teacher_run}", f"--dataset=npz:{npz}", f"--teacher_cache={bucket}", "--augment=none"]
    for added, present in ((192, 0), (0, 192)):
        done = run_python("-m", "apps.precompute", *flags)
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout == f"{added} rows added to {present} that were there: {bucket}\n"
    done = run_python("-m", "apps.precompute", *flags, env={"AWS_ENDPOINT_URL": "http://127.0.0.1:9"})
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"Received: {bucket}: " in done.stderr
