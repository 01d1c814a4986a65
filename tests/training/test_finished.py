import dataclasses
import json
import shutil

import numpy as np
import pytest

from kdzoo.runs import records
from kdzoo.runs.config import RunConfig
from kdzoo.training import finished, train
from zoo import InputError

KD = {"ce_weight": 0.1, "kd_weight": 0.9}


@pytest.fixture
def config(npz):
    return RunConfig("wrn10-1", "1-1", dataset=f"npz:{npz}", batch_size=32)


@pytest.fixture
def student(config, teacher_run, tmp_path):
    """Configuration and directory of a finished student, with a copy of the teacher as its teacher."""
    teacher = tmp_path / "teacher"
    shutil.copytree(teacher_run, teacher)
    student = dataclasses.replace(config, teachers=(str(teacher),), **KD)
    train.run(student, tmp_path / "student")
    return student, tmp_path / "student"


def test_a_finished_run_is_returned_and_other_configurations_refused(student):
    config, workdir = student
    before = (workdir / records.RECORD).read_bytes()
    assert train.run(config, workdir) == json.loads(before)
    assert train.run(dataclasses.replace(config, dtype_policy="auto"), workdir)["config"]["dtype_policy"] == "float32"
    for change, line in (({"lr": 0.05}, "lr 0.1, now 0.05"), ({"temperature": 2.0}, "temperature 4.0, now 2.0")):
        with pytest.raises(InputError, match=f"finished run of another configuration, unless restart.*{line}"):
            train.run(dataclasses.replace(config, **change), workdir)
    assert (workdir / records.RECORD).read_bytes() == before


def test_a_teacher_trained_anew_is_another_teacher(student, config):
    distilled, workdir = student
    record = records.read(workdir)
    assert finished.changes(distilled, record) == []
    teacher = distilled.teachers[0]
    moved = shutil.move(teacher, f"{teacher}.elsewhere")
    assert finished.changes(distilled, record) == []  # no longer there: compared by name
    assert finished.changes(dataclasses.replace(distilled, teachers=(moved,)), record) == []
    train.run(dataclasses.replace(config, schedule="2-3", lr=0.2), teacher)
    (change,) = finished.changes(distilled, record)
    assert change.startswith("teachers wrn10-1_2-3 (")
    with pytest.raises(InputError, match=r"another configuration.* teachers"):
        train.run(distilled, workdir)


def test_a_record_of_0_4_is_compared_by_what_it_has(student):
    distilled, workdir = student
    record = records.read(workdir)
    del record["teachers"][0]["digest"], record["config"]["teacher_dtype"]
    assert finished.changes(distilled, record) == []
    record["teachers"][0]["seed"] = 7
    assert finished.changes(distilled, record) != []


def test_other_data_in_the_same_file_is_seen(config, npz, tmp_path):
    data = tmp_path / "data.npz"
    shutil.copy(npz, data)
    run = dataclasses.replace(config, dataset=f"npz:{data}")
    record = train.run(run, tmp_path / "run")
    assert finished.is_finished(run, tmp_path / "run")
    moved = shutil.move(data, tmp_path / "moved.npz")
    assert finished.is_finished(run, tmp_path / "run")  # gone
    assert finished.is_finished(dataclasses.replace(run, dataset=f"npz:{moved}"), tmp_path / "run")
    with np.load(moved) as file:
        arrays = dict(file)
    arrays["x_train"][0, 0, 0, 0] ^= 1
    np.savez(data, **arrays)
    (change,) = finished.changes(run, record)
    assert change.startswith("dataset ")
