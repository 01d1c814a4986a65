"""A run becomes a published model: the same bytes every time, whole or not at all."""

import json
import random
import shutil
import time

import numpy as np
import pytest

from conftest import assert_no_command_with, start_python
from kdzoo.hub import cards, models
from kdzoo.publishing import publisher
from kdzoo.runs import consistency, records
from kdzoo.runs.config import RunConfig
from kdzoo.teachers.zoo_teacher import describe_model
from kdzoo.training import evaluation, train
from zoo import InputError

pytest.importorskip("tensorflow")
NAME = "quarters/wrn10-1_2-3"


def with_error(record, error):
    """The record with another error of the last epoch, in its history too."""
    *before, last = record["history"]
    history = [*before, last | {"test_error": error}]
    return record | {"history": history, **consistency.summarise(history)}


def test_float16_has_half_the_size_and_other_seeds_count_and_two_publications_are_equal_to_the_byte(
    published, teacher_run, tmp_path
):
    record = records.read(teacher_run)
    (tmp_path / "other").mkdir()
    changed = with_error(record, record["test_error_last"] + 4)
    records.write(tmp_path / "other", changed | {"seed": 1, "config": record["config"] | {"seed": 1}})
    root = tmp_path / "models"
    directory = publisher.publish([teacher_run, tmp_path / "other"], root, name=NAME, store="float16")
    half, exact = (cards.read_card(path) for path in (directory, published / NAME))
    assert half["files"][cards.VARIABLES]["bytes"] < 0.55 * exact["files"][cards.VARIABLES]["bytes"]
    weights = [models.load(NAME, path=path).get_weights() for path in (root, published)]
    for stored, whole in zip(*weights, strict=True):
        np.testing.assert_array_equal(stored, whole.astype(np.float16).astype(np.float32))
    assert (half["runs"], half["seed"]) == (2, 0)
    assert half["test_error_last_mean"] == pytest.approx(record["test_error_last"] + 2)
    assert half["test_error_last_std"] == pytest.approx(8**0.5)

    with pytest.raises(InputError, match="published once, unless replace"):
        publisher.publish([teacher_run], root, name=NAME)
    publisher.publish([teacher_run], root, name=NAME, replace=True)
    for file in cards.FILES:
        assert (directory / file).read_bytes() == (published / NAME / file).read_bytes()
    assert [path.name for path in directory.parent.iterdir()] == [directory.name]


@pytest.mark.slow
def test_of_more_than_ten_classes_the_top5_error_is_in_record_evaluation_and_card(tmp_path):
    rng, labels = np.random.default_rng(0), np.arange(96) % 12
    images = (rng.integers(0, 60, (96, 8, 8, 3)) + 15 * labels[:, None, None, None]).astype(np.uint8)
    np.savez(tmp_path / "data.npz", x_train=images, y_train=labels, x_test=images[:48], y_test=labels[:48])
    config = RunConfig("wrn10-1", "1-1", dataset=f"npz:{tmp_path}/data.npz", batch_size=32, val_examples=12)
    record = train.run(config, tmp_path / "run")
    (row,) = record["history"]
    assert record["test_top5_error_last"] == row["test_top5_error"] <= row["test_error"]
    assert row["val_top5_error"] <= row["val_error"]
    evaluated = evaluation.evaluate_run(tmp_path / "run")
    assert evaluated["test_top5_error"] == record["test_top5_error_last"]
    card = cards.read_card(publisher.publish([tmp_path / "run"], tmp_path / "models", name="twelve/wrn10-1_1-1"))
    assert card["test_top5_error_last"] == record["test_top5_error_last"]
    assert card["test_top5_error"] == pytest.approx(record["test_top5_error_last"], abs=100 / 48 + 1e-9)
    teacher = describe_model(models.resolve(tmp_path / "run"))
    assert teacher["test_top5_error_last"] == record["test_top5_error_last"]


def test_a_run_that_does_not_match_its_record_is_refused(teacher_run, tmp_path):
    run = shutil.copytree(teacher_run, tmp_path / "run")
    record = records.read(run)
    for changed, message in (
        (with_error(record, record["test_error_last"] + 0.03), "must have its record's test error"),
        (
            {
                "method": "kd",
                "config": record["config"] | {"kd_weight": 0.9, "teachers": ["runs/wrn10-2_2-3"]},
                "teachers": [{"name": "wrn10-2_2-3", "test_error_last": 12.5}],
            },
            "must be given a name.*distilled from wrn10-2_2-3",
        ),
        ({"dataset": {**record["dataset"], "name": "npz:/x.npz"}}, "must be named"),
    ):
        records.write(run, record | changed)
        with pytest.raises(InputError, match=message):
            publisher.publish([run], tmp_path / "models", name=NAME if "history" in changed else None)
    assert not list((tmp_path / "models").rglob("*")) if (tmp_path / "models").exists() else True


@pytest.mark.parametrize("name", ["wrn10-1_9-10", "../wrn10-1_2-3", "wrn10-1"])
def test_a_name_must_end_in_the_name_of_the_run(teacher_run, tmp_path, name):
    with pytest.raises(InputError, match="name"):
        publisher.publish([teacher_run], tmp_path / "models", name=name)
    assert not (tmp_path / "models").exists()


def test_runs_of_one_card_must_differ_in_their_seeds_alone(teacher_run, tmp_path):
    with pytest.raises(InputError, match=r"differ in their seeds and in nothing else. Received: seeds \[0, 0\]"):
        publisher.publish([teacher_run, teacher_run], tmp_path, name=NAME)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ({}, {"lr": 0.05}, r"seeds \[0, 1\]; lr 0.1, now 0.05"),
        ({}, {"digest": "b"}, "teachers none, now wrn10-2_2-3"),
        ({"digest": "a"}, {"digest": "b"}, r"teachers wrn10-2_2-3 \(a\), now wrn10-2_2-3 \(b\)"),
    ],
)
def test_runs_of_one_card_are_compared_by_their_identity(teacher_run, tmp_path, one, other, message):
    record, teacher = records.read(teacher_run), {"name": "wrn10-2_2-3", "test_error_last": 12.5}
    for seed, changed in enumerate((one, other)):
        (tmp_path / f"{seed}").mkdir()
        config = record["config"] | {"seed": seed} | {key: changed[key] for key in changed if key == "lr"}
        teachers = [teacher | {"digest": changed["digest"]}] if "digest" in changed else []
        config["teachers"] = [teacher["name"] for teacher in teachers]
        records.write(tmp_path / f"{seed}", record | {"seed": seed, "config": config, "teachers": teachers})
    with pytest.raises(InputError, match=f"differ in their seeds and in nothing else. Received: .*{message}"):
        publisher.publish([tmp_path / "0", tmp_path / "1"], tmp_path / "models", name=NAME)


@pytest.mark.parametrize("content", [{"notes.txt": "mine"}, {"card.json": "{}"}, {}])
def test_only_a_published_model_is_replaced(teacher_run, tmp_path, content):
    (tmp_path / NAME).mkdir(parents=True)
    for file, text in content.items():
        (tmp_path / NAME / file).write_text(text)
    with pytest.raises(InputError, match=f"Only a published model is replaced; remove .*/{NAME} first.*Received: "):
        publisher.publish([teacher_run], tmp_path, name=NAME, replace=True)
    assert {path.name: path.read_text() for path in (tmp_path / NAME).iterdir()} == content


@pytest.mark.parametrize("runs", [[], [""], ["one", ""]])
def test_a_run_to_publish_is_the_path_of_a_directory(tmp_path, runs):
    with pytest.raises(InputError, match=r"run must be the path of a directory, .* Received: nothing"):
        publisher.publish(runs, tmp_path)


@pytest.mark.parametrize("licence", ["", "Apache 2.0, or so", "Apache2", "MIT OR", "proprietary"])
def test_a_licence_is_an_expression_of_spdx(teacher_run, tmp_path, licence):
    with pytest.raises(InputError, match=rf"licence must be an SPDX expression, .* Received: '{licence}'"):
        publisher.publish([teacher_run], tmp_path, name=NAME, licence=licence)
    assert not list(tmp_path.iterdir())


def test_a_licence_is_written_as_spdx_writes_it(teacher_run, tmp_path):
    expression = "apache-2.0 or (LicenseRef-ours and gpl-2.0-only with classpath-exception-2.0)"
    directory = publisher.publish([teacher_run], tmp_path, name=NAME, licence=expression)
    written = "Apache-2.0 OR (LicenseRef-ours AND GPL-2.0-only WITH Classpath-exception-2.0)"
    assert cards.read_card(directory)["licence"] == written


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_a_killed_publication_leaves_nothing_that_load_finds(teacher_run, tmp_path, kills):
    for _ in range(kills):
        process = start_python(
            "-m", "apps.publish", f"--run={teacher_run}", f"--models={tmp_path}", f"--name={NAME}", "--replace"
        )
        time.sleep(random.uniform(2, 9))
        process.kill()
        process.communicate()
        assert_no_command_with(tmp_path, seconds=3)  # else it would write into the next publication
        for name in models.list_models(path=tmp_path):
            assert name == NAME
            models.load(name, path=tmp_path)
    if kills > 1:
        publisher.publish([teacher_run], tmp_path, name=NAME, replace=True)
        assert [path.name for path in (tmp_path / "quarters").iterdir()] == ["wrn10-1_2-3"]


def test_a_published_model_is_evaluated_by_its_name(published, monkeypatch):
    monkeypatch.setenv("KDZOO_HOME", str(published))
    card = cards.read_card(published / NAME)
    result = evaluation.evaluate_run(NAME)
    assert result["test_error"] == result["test_error_recorded"] == card["test_error"]
    assert evaluation.evaluate_run(published / NAME, examples=10)["test_examples"] == 10
    with pytest.raises(InputError, match=r"examples must be from 1 to 64. Received: 65"):
        evaluation.evaluate_run(NAME, examples=65)


def test_the_card_is_strict_json(published):
    text = (published / NAME / cards.CARD).read_text()
    assert json.loads(text, parse_constant=lambda constant: pytest.fail(constant))["name"] == NAME
