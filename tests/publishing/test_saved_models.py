"""Every published model: equal logits in three ways, the error of its card, and a row in the documentation."""

import os
import signal

import numpy as np
import pytest

import kdzoo
from conftest import ROOT, run_python, start_python
from kdzoo.data import augmentation
from kdzoo.hub import cards, folders, models
from kdzoo.reports import tables
from kdzoo.runs import records
from kdzoo.training import evaluation
from zoo import InputError

tf = pytest.importorskip("tensorflow")
MODELS = models.list_models(path=folders.CHECKOUT)
needs_cifar10 = pytest.mark.skipif("TFDS_DATA_DIR" not in os.environ, reason="TFDS_DATA_DIR is not set: no CIFAR-10")

BARE = """
import sys
sys.modules.update(dict.fromkeys(("keras", "kdzoo")))
import numpy as np, tensorflow as tf
root, images, outputs, *names = sys.argv[1:]
images = tf.constant(np.load(images))
loaded = (tf.saved_model.load(f"{root}/{name}/1").signatures["serving_default"] for name in names)
np.savez(outputs, *(serve(images=images)["logits"].numpy() for serve in loaded))
"""


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def bare(images, tmp_path_factory) -> dict[str, np.ndarray]:
    """Logits by TensorFlow alone."""
    path = tmp_path_factory.mktemp("bare")
    np.save(path / "images.npy", images)
    arguments = (str(folders.CHECKOUT), str(path / "images.npy"), str(path / "outputs.npz"))
    done = run_python("-c", BARE, *arguments, *MODELS)
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(path / "outputs.npz") as outputs:
        return dict(zip(MODELS, (outputs[f"arr_{i}"] for i in range(len(MODELS))), strict=True))


@pytest.fixture(scope="module")
def by_grpc(images) -> dict[str, np.ndarray]:
    """Logits by `apps.serve`."""
    grpc_teacher = pytest.importorskip("kdzoo.teachers.grpc", exc_type=ValueError)
    process = start_python("-m", "apps.serve", f"--path={folders.CHECKOUT}", "--port=0")
    try:
        target = process.stdout.readline().partition("grpc://")[2].partition("/")[0]
        clients = {name: grpc_teacher.Client(target, name) for name in MODELS}
        return {name: c.predict(c.signatures()["serving_default"], images)["logits"] for name, c in clients.items()}
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


@pytest.mark.parametrize("name", MODELS)
def test_its_logits_are_equal_by_load_by_tensorflow_alone_and_by_grpc(name, images, bare, by_grpc):
    dataset = cards.read_card(folders.CHECKOUT / name)["dataset"]
    model = kdzoo.load(name, path=folders.CHECKOUT)
    logits = model.predict(augmentation.standardise(images, mean=dataset["mean"], std=dataset["std"]), verbose=0)
    np.testing.assert_allclose(logits, bare[name], atol=1e-5 * np.abs(logits).max())
    np.testing.assert_allclose(by_grpc[name], bare[name], atol=1e-5 * np.abs(logits).max())


@needs_cifar10
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("examples", [cards.SAMPLE, pytest.param(None, marks=pytest.mark.slow)])
def test_its_error_is_that_of_its_card(name, examples):
    result = evaluation.evaluate_run(name, examples=examples)
    assert result["test_examples"] == (examples or 10_000)
    assert result["dataset"] == "cifar10"
    # Another processor's order of summation may turn an image or two that lie on the border.
    assert result["test_error"] == pytest.approx(result["test_error_recorded"], abs=200 / result["test_examples"])


@pytest.mark.parametrize("name", MODELS)
def test_one_record_names_it_and_matches_its_card(name):
    runs = [records.read(path.parent) for path in ROOT.glob("results/*/*/record.json")]
    (record,) = [record for record in runs if record.get("published") == name]
    card = cards.read_card(folders.CHECKOUT / name)
    for key in ("method", "teachers", "seed", "config", "dataset", "parameters", "test_error_last"):
        assert card[key] == record[key]
    assert name.rpartition("/")[2] == record["name"]
    assert card["licence"] == "Apache-2.0"


def test_every_teacher_trained_for_the_results_is_published():
    runs = [records.read(path.parent) for path in ROOT.glob("results/cifar10/*/record.json")]
    assert {record.get("published") for record in runs if record["method"] == "none"} <= set(MODELS)


def test_results_hold_no_weights():
    assert not list(ROOT.glob("results/**/*.h5"))


def test_a_result_without_weights_names_its_published_model():
    run = "results/cifar10/wrn16-2_10-35_seed0"
    with pytest.raises(InputError, match=rf"weights\. Received: {run}/.*: none; .* published as wrn16-2_10-35$"):
        models.resolve(run)


def test_the_documentation_lists_them():
    table = tables.card_table(models.list_cards(path=folders.CHECKOUT))
    page = ROOT / "docs/guides/published-models.md"
    assert table in page.read_text(), f"run python -m apps.list, and put its table into {page.relative_to(ROOT)}"


def test_the_repository_stays_small():
    assert sum(cards.count_bytes(card) for card in models.list_cards(path=folders.CHECKOUT)) < 150 * 2**20
