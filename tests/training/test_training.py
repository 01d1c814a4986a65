import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest

from conftest import ROOT
from kdzoo.data import augmentation, sources
from kdzoo.models import count_multiply_adds, names, peak_activation_bytes
from kdzoo.runs import records
from kdzoo.runs.config import METHODS, RunConfig
from kdzoo.runs.weights import load_model
from kdzoo.teachers import resolve
from kdzoo.training import evaluation, train
from zoo import InputError

KD = METHODS["kd"]


@pytest.fixture
def config(npz) -> RunConfig:
    return RunConfig("wrn10-1", "1-2", dataset=f"npz:{npz}", batch_size=32, seed=1)


def test_record_of_a_teacher(teacher_run, npz):
    record = records.read(teacher_run)
    assert record["name"] == "wrn10-1_2-3"
    assert record["method"] == "none"
    assert record["teachers"] == []
    assert record["config"]["augment"] == "crop_flip"
    assert record["dataset"]["fingerprint"] == sources.load(f"npz:{npz}").fingerprint
    assert record["dataset"]["train_examples"] == 128
    np.testing.assert_allclose([row["lr"] for row in record["history"]], [0.1, 0.1, 0.02])
    assert [row["epoch"] for row in record["history"]] == [1, 2, 3]
    errors = [row["test_error"] for row in record["history"]]
    assert record["test_error_last"] == errors[-1]
    assert record["test_error_best"] == min(errors) == errors[record["test_error_best_epoch"] - 1]
    assert all(error * 64 / 100 == pytest.approx(round(error * 64 / 100)) for error in errors)
    assert record["versions"]["keras"] == keras.__version__
    assert record["hardware"]["cores"] >= 1
    assert record["images_per_second"] > 0


def test_record_of_what_a_network_costs(teacher_run):
    record = records.read(teacher_run)
    network = names.build("wrn10-1", num_classes=4, input_shape=(16, 16, 3))
    assert record["multiply_adds"] == count_multiply_adds(network)
    assert record["peak_activation_bytes"] == peak_activation_bytes(network)
    assert 0 < record["latency_ms"]["median"] <= record["latency_ms"]["p95"]
    assert record["latency_ms"]["batch"] == 1
    assert "latency_ms" not in records.result(record)


def test_the_record_s_error_is_that_of_the_weights(teacher_run):
    result = evaluation.evaluate_run(teacher_run)
    assert result["test_error"] == result["test_error_recorded"] == records.read(teacher_run)["test_error_last"]


def test_a_student_learns_from_its_teacher(config, teacher_run, tmp_path):
    config = dataclasses.replace(config, teachers=(str(teacher_run),), at_weight=1000.0, ce_weight=0.1, kd_weight=0.9)
    record = train.run(config, tmp_path / "run")
    assert record["method"] == "at+kd"
    assert record["teachers"][0]["name"] == "wrn10-1_2-3"
    assert record["teachers"][0]["test_error_last"] == records.read(teacher_run)["test_error_last"]
    row = record["history"][-1]
    assert row["loss"] == pytest.approx(0.1 * row["ce"] + 0.9 * row["kd"] + 1000 * row["at"], rel=1e-3)
    assert 0 <= record["test_agreement_last"] <= 100
    assert json.loads((tmp_path / "run" / "record.json").read_text()) == json.loads(json.dumps(record))


def test_after_kd_until_the_student_learns_from_labels_alone(config, teacher_run, tmp_path):
    """ESKD: up to the switch it is the run that was distilled to its end, from there on plain training."""
    config = dataclasses.replace(config, schedule="3-4", teachers=(str(teacher_run),), **KD)
    whole = train.run(config, tmp_path / "whole")["history"]
    stopped = train.run(dataclasses.replace(config, kd_until=0.5), tmp_path / "stopped")
    clock = ("time", "images_per_second")
    assert [{k: v for k, v in row.items() if k not in clock} for row in stopped["history"][:2]] == [
        {k: v for k, v in row.items() if k not in clock} for row in whole[:2]
    ]
    for row in stopped["history"][2:]:
        assert "kd" not in row
        assert row["loss"] == pytest.approx(row["ce"], rel=1e-6)
    assert all(0 <= row["test_agreement"] <= 100 for row in stopped["history"])
    assert stopped["test_agreement_last"] == stopped["history"][-1]["test_agreement"]
    assert stopped["sessions"][-1]["teacher_rows"]["needed"] == 2 * 128


def test_without_nesterov_another_run(config, tmp_path):
    errors = []
    for kind in (True, False):
        record = train.run(dataclasses.replace(config, schedule="1-1", nesterov=kind), tmp_path / f"{kind}")
        assert records.read(tmp_path / f"{kind}")["config"]["nesterov"] is kind
        errors.append(record["history"][0]["loss"])
    assert errors[0] != errors[1]


def test_several_teachers(config, teacher_run, tmp_path):
    train.run(dataclasses.replace(config, schedule="1-1", seed=2), tmp_path / "other")
    both = dataclasses.replace(config, schedule="1-1", teachers=(str(teacher_run), str(tmp_path / "other")), **KD)
    record = train.run(both, tmp_path / "run")
    assert [teacher["seed"] for teacher in record["teachers"]] == [0, 2]


def test_a_teacher_counts_once_whatever_its_path(config, teacher_run, tmp_path):
    twice = dataclasses.replace(config, teachers=(str(teacher_run), f"{teacher_run}/."), **KD)
    with pytest.raises(InputError, match=r"must differ\. Received: .*/teacher/\., the same as .*/teacher$"):
        train.run(twice, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_validation_chooses_an_epoch_and_stands_beside_the_headline(config, tmp_path):
    record = train.run(dataclasses.replace(config, val_examples=32, train_examples=64), tmp_path / "run")
    history = record["history"]
    chosen = history[record["val_chosen_epoch"] - 1]
    assert chosen["val_error"] == min(row["val_error"] for row in history)
    assert record["test_error_val_chosen"] == chosen["test_error"]
    assert record["test_error_last"] == history[-1]["test_error"]
    assert (record["dataset"]["train_examples"], record["dataset"]["val_examples"]) == (64, 32)


def test_a_finished_run_is_kept_without_restart(config, teacher_run, tmp_path):
    workdir = tmp_path / "run"
    config = dataclasses.replace(config, schedule="1-1")
    first = train.run(config, workdir)
    with pytest.raises(InputError, match="must not hold a finished run of another configuration"):
        train.run(dataclasses.replace(config, seed=2), workdir)
    assert records.read(workdir) == json.loads(json.dumps(first))
    again = train.run(dataclasses.replace(config, seed=2), workdir, restart=True)
    assert records.read(workdir)["seed"] == again["seed"] == 2
    if any(workdir.glob("events*")):
        assert len(list(workdir.glob("events*"))) == 1


def test_the_seed_decides(config, tmp_path):
    weights = []
    for i, seed in enumerate((1, 1, 2)):
        train.run(dataclasses.replace(config, seed=seed), tmp_path / f"{i}")
        weights.append([np.asarray(weight) for weight in load_model(tmp_path / f"{i}").weights])
    assert all((one == two).all() for one, two in zip(weights[0], weights[1], strict=True))
    assert any((one != two).any() for one, two in zip(weights[0], weights[2], strict=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "wrn15-1"}, "depth must be 6N"),
        ({"model": "wrn10-1_1-2"}, "A model to train is an architecture"),
        ({"batch_size": 129}, "at most the 128 training examples"),
        ({"train_examples": 1000}, "together at most 128"),
        ({"lr": 0.0}, "lr must be above 0"),
        ({"lr_decay": 1.5}, "lr_decay must be"),
        ({"momentum": 1.0}, "momentum must be"),
        ({"nesterov": 1}, r"nesterov must be true or false\. Received: 1$"),
        ({"batch_size": True}, "batch_size must be a whole number"),
        ({"weight_decay": -1.0}, "weight_decay must be"),
        ({"seed": -1}, "seed must be"),
        ({"temperature": 0.0}, "temperature must be"),
        ({"augment": "cutout"}, "augment must be one of"),
        ({"dtype_policy": "float8"}, "dtype_policy must be one of"),
        ({"ce_weight": 0.0}, "Loss weights must not all be 0"),
        ({"teachers": ("missing",), **KD}, "directory of a finished run. Received: missing"),
    ],
)
def test_impossible_runs_are_refused_and_leave_nothing(config, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        train.run(dataclasses.replace(config, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_teacher_of_other_classes_or_images_is_refused(config, teacher_run, tmp_path):
    taught = dataclasses.replace(config, teachers=(str(teacher_run),), **KD)
    with pytest.raises(InputError, match=r"number of classes: 10. Received: 4 "):
        train.run(dataclasses.replace(taught, dataset="digits"), tmp_path / "run")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (64, 8, 8, 3), dtype=np.uint8)
    labels = np.arange(64) % 4
    np.savez(tmp_path / "small.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    with pytest.raises(InputError, match=r"image shape: \(8, 8, 3\). Received: \(16, 16, 3\)"):
        train.run(dataclasses.replace(taught, dataset=f"npz:{tmp_path}/small.npz"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_network_gets_images_standardised_as_it_learnt_them(config, teacher_run, npz, tmp_path):
    with np.load(npz) as file:
        arrays = dict(file)
    arrays["x_train"] //= 2  # another mean and standard deviation, the same test images
    np.savez(tmp_path / "dark.npz", **arrays)
    dark = f"npz:{tmp_path}/dark.npz"
    result = evaluation.evaluate_run(teacher_run, dark)
    assert result["test_ce"] == evaluation.evaluate_run(teacher_run)["test_ce"]
    student = dataclasses.replace(config, dataset=dark, teachers=(str(teacher_run),), **KD)
    dataset = sources.load(student.data)
    (teacher,) = resolve.Ensemble(student, dataset).teachers
    teacher.check(dataset)
    images = dataset.test.read(np.arange(16))
    statistics = records.read(teacher_run)["dataset"]
    standardised = augmentation.standardise(images, mean=statistics["mean"], std=statistics["std"])
    expected = load_model(teacher_run).predict_on_batch(standardised)
    np.testing.assert_allclose(teacher.compute(images)["logits"], expected, rtol=1e-4, atol=1e-4)
    assert train.run(student, tmp_path / "run")["history"][-1]["kd"] > 0


def test_other_data_in_the_place_of_a_runs_own_are_refused(teacher_run, npz, tmp_path):
    run = shutil.copytree(teacher_run, tmp_path / "run")
    record = records.read(run)
    moved = tmp_path / "moved.npz"
    records.write(run, record | {"config": record["config"] | {"dataset": f"npz:{moved}"}})
    with np.load(npz) as file:
        arrays = dict(file)
    for change, refused in ((0, False), (1, True)):
        arrays["x_test"] += change
        np.savez(moved, **arrays)
        if refused:
            with pytest.raises(InputError, match=r"dataset must be the run's own, .* Received: npz:.*moved.npz"):
                evaluation.evaluate_run(run)
        assert evaluation.evaluate_run(run, f"npz:{moved}")["test_examples"] == 64  # given by name, any data will do
        if not refused:
            assert evaluation.evaluate_run(run)["test_error"] == record["test_error_last"]


def test_a_teacher_is_not_overwritten_by_its_student(config, teacher_run):
    taught = dataclasses.replace(config, teachers=(str(teacher_run),), **KD)
    with pytest.raises(InputError, match="must not be the teacher's own directory"):
        train.run(taught, teacher_run / ".." / teacher_run.name, restart=True)
    assert evaluation.evaluate_run(teacher_run)["name"] == "wrn10-1_2-3"


def test_damaged_weights_are_refused(teacher_run, tmp_path):
    record = records.read(teacher_run)
    del record["weights_sha256"]  # as in a record of 0.4: only the format can show the damage
    records.write(tmp_path, record)
    for content in (None, b"", (teacher_run / "model.weights.h5").read_bytes()[:-5000]):
        if content is not None:
            (tmp_path / "model.weights.h5").write_bytes(content)
        with pytest.raises(InputError, match=r"must hold its weights. Received: "):
            load_model(tmp_path)


def test_weights_of_another_network_are_refused_without_warnings(teacher_run, recwarn):
    record = records.read(teacher_run)
    record["config"]["model"] = "wrn10-2"
    with pytest.raises(InputError, match=r"must hold its weights. Received: .*could not be loaded"):
        load_model(teacher_run, record)
    assert not [warning for warning in recwarn if "container" in str(warning.message)]


def test_event_files_hold_curves_and_hparams(teacher_run):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    plugin_data = pytest.importorskip("tensorboard.plugins.hparams.metadata")
    events = accumulator.EventAccumulator(str(teacher_run)).Reload()
    history = records.read(teacher_run)["history"]
    curve = [(e.step, e.tensor_proto.float_val[0]) for e in events.Tensors("error/test")]
    assert curve == [(row["epoch"], pytest.approx(row["test_error"])) for row in history]
    assert {"error/train", "cross_entropy/test", "loss/loss", "run/lr"} <= set(events.Tags()["tensors"])
    content = events.PluginTagToContent("hparams")[plugin_data.SESSION_START_INFO_TAG]
    hparams = plugin_data.parse_session_start_info_plugin_data(content).hparams
    assert hparams["model"].string_value == "wrn10-1"
    assert hparams["lr"].number_value == 0.1
    assert plugin_data.SESSION_END_INFO_TAG in events.PluginTagToContent("hparams")


def test_a_number_that_is_none_does_not_cost_the_record(tmp_path):
    record = records.read(ROOT / "tests/fixtures/run")
    row = record["history"][0]
    records.write(tmp_path, {**record, "history": [{**row, "test_ce": float("inf")}, *record["history"][1:]]})
    assert records.read(tmp_path) == {**record, "history": [{**row, "test_ce": None}, *record["history"][1:]]}


@pytest.mark.parametrize("content", ["", "[]", "{}", "3", "\0"])
def test_what_is_no_record_is_refused(tmp_path, content):
    (tmp_path / "record.json").write_text(content)
    with pytest.raises(InputError, match=r"directory of a finished run. Received: "):
        records.read(tmp_path)
