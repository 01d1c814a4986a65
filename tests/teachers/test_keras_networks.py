"""Teachers that are Keras networks with weights of their own."""

import dataclasses

import keras
import numpy as np
import pytest

from kdzoo import training
from kdzoo.data import sources
from kdzoo.runs.config import METHODS, RunConfig
from kdzoo.teachers import resolve
from kdzoo.teachers.output_cache import Cache
from kdzoo.teachers.precompute import precompute
from test_resume import assert_same
from zoo import InputError

CLASSES = 4


def quarters(num_classes, input_shape, softmax=False):
    """Knows the classes of `npz` without training: the quarter that is brightest."""
    images = keras.Input(input_shape)
    brightness = keras.layers.Conv2D(1, 1, use_bias=False, kernel_initializer="ones", name="brightness")(images)
    means = keras.layers.AveragePooling2D(8, name="means")(brightness)
    logits = keras.layers.Dense(num_classes, kernel_initializer=keras.initializers.Identity(1 / 30))
    outputs = logits(keras.layers.Flatten()(means))
    return keras.Model(images, keras.layers.Softmax()(outputs) if softmax else outputs, name="quarters")


def untrained(num_classes, input_shape):
    images = keras.Input(input_shape)
    outputs = keras.layers.Dense(num_classes, kernel_initializer="zeros")(keras.layers.Flatten()(images))
    return keras.Model(images, outputs)


@pytest.fixture(scope="module")
def config(npz):
    return RunConfig("wrn10-1", "1-1", dataset=f"npz:{npz}", batch_size=32, **METHODS["kd"])


@pytest.fixture(scope="module")
def dataset(config):
    return sources.load(config.data)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "quarters.keras"
    model = quarters(CLASSES, (16, 16, 3), softmax=True)
    keras.Model(model.inputs, model.outputs).save(path)
    return path


def find(spec, config, dataset, **changes):
    ensemble = resolve.Ensemble(dataclasses.replace(config, teachers=(str(spec),), **changes), dataset)
    ensemble.check(dataset)
    return ensemble.teachers[0]


def test_a_file_teaches_by_its_logits_on_pixels(file, config, dataset):
    teacher = find(file, config, dataset)
    assert teacher.record["name"] == "quarters"
    assert teacher.record["test_error_last"] < 5
    images = dataset.test.array[:5]
    expected = quarters(CLASSES, (16, 16, 3)).predict_on_batch(images.astype(np.float32))
    np.testing.assert_allclose(teacher.compute(images)["logits"], expected, rtol=1e-5)
    assert teacher.digest == resolve.describe(str(file))["digest"]
    with pytest.raises(InputError, match="must be one that can be read"):
        resolve.check_exists(str(file.with_name("gone.keras")))


def test_a_function_teaches_and_is_known_by_its_weights(config, dataset):
    one, other = (find(f"{__name__}:quarters", config, dataset) for _ in range(2))
    assert one.digest == other.digest
    assert one.record["name"] == "quarters"


@pytest.mark.parametrize(
    ("spec", "changes", "message"),
    [
        ("{module}:untrained", {}, "must know the classes of .*Received: test error 75"),
        ("keras:MobileNetV2?alpha=big", {}, "must be one that can be built"),
        ("{module}:missing", {}, "must be one that can be imported"),
        ("{module}:quarters", {"at_weight": 1.0, "teacher_stages": "stage9"}, r"means \(2x2x1\)\. Received: stage9"),
        ("{file}", {"teacher_image_size": 8}, r"must take images \[n, 8, 8, 3\]"),
        ("{file}", {"teacher_dtype": "bfloat16"}, "teacher_dtype must be auto"),
    ],
)
def test_what_cannot_teach_is_refused_in_one_line(spec, changes, message, file, config, tmp_path):
    config = dataclasses.replace(config, teachers=(spec.format(module=__name__, file=file),), **changes)
    with pytest.raises(InputError, match=message) as refused:
        training.run(config, tmp_path / "run")
    assert "\n" not in str(refused.value)


def test_a_file_of_other_classes_is_refused(config, dataset, tmp_path):
    quarters(7, (16, 16, 3)).save(tmp_path / "seven.keras")
    with pytest.raises(InputError, match=r"data set's number of classes: 4\. Received: 7 from .*fine-tune it"):
        find(tmp_path / "seven.keras", config, dataset)


def test_a_student_learns_from_it_cached_and_live_to_the_bit(file, config, dataset, tmp_path):
    student = dataclasses.replace(
        config, teachers=(str(file),), student_stages="stage3", teacher_stages="means", **METHODS["at+kd"]
    )
    cache = Cache(tmp_path / "cache")
    assert precompute(student, cache, seeds=[0])[1] > 0
    record = training.run(student, tmp_path / "cached", teacher_cache=str(cache.folder))
    assert record["teachers"][0]["name"] == "quarters"
    assert min(record["history"][0][term] for term in ("kd", "at")) > 0
    training.run(student, tmp_path / "live", teacher_cache="off")
    assert_same(tmp_path / "cached", tmp_path / "live")
    assert training.run(student, tmp_path / "cached")["started"] == record["started"]  # finished before
