"""Published models on this machine: their files, what `load` returns, and the damage it must refuse."""

import json
import pathlib
import shutil

import numpy as np
import pytest

import kdzoo
from conftest import JAX_ENV, JAX_PYTHON, WITHOUT_TENSORFLOW, run_python
from kdzoo.data import augmentation, sources
from kdzoo.distillation import stages
from kdzoo.hub import cards, folders, models
from kdzoo.models.names import parse
from kdzoo.runs import records
from zoo import InputError

NAME = "quarters/wrn10-1_2-3"


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)


@pytest.fixture
def model_dir(published, tmp_path) -> pathlib.Path:
    """A copy for a test to damage."""
    return pathlib.Path(shutil.copytree(published / NAME, tmp_path / NAME))


def test_the_card_describes_the_published_run(published, teacher_run, npz):
    card, record = cards.read_card(published / NAME), records.read(teacher_run)
    assert (card["family"], card["depth"], card["width"], card["schedule"]) == ("wrn", 10, 1, "2-3")
    assert card["config"] == record["config"]
    assert card["dataset"] == record["dataset"]
    assert card["dataset"]["fingerprint"] == sources.load(f"npz:{npz}").fingerprint
    assert card["test_error_last"] == card["test_error_last_mean"] == record["test_error_last"]
    assert card["test_error"] == pytest.approx(record["test_error_last"], abs=0.02)
    assert (card["seed"], card["runs"], card["test_error_last_std"], card["licence"]) == (0, 1, None, "Apache-2.0")
    assert 0 <= card["expected_calibration_error"] <= 1
    files = {path.relative_to(published / NAME).as_posix() for path in (published / NAME).rglob("*") if path.is_file()}
    assert files == {cards.CARD, *card["files"]}


def test_each_weight_is_stored_once(published):
    card = cards.read_card(published / NAME)
    weights = sum(4 * int(np.prod(weight["shape"])) for weight in card["weights"])
    assert weights > 4 * card["parameters"]
    assert weights < card["files"][cards.VARIABLES]["bytes"] < weights + 10_000
    assert card["files"][cards.SAVED_MODEL]["bytes"] < 300_000
    graph = (published / NAME / cards.SAVED_MODEL).read_bytes()
    for path in ("/site-packages", "/kdzoo", str(published)):
        assert path.encode() not in graph


BARE = """
import sys
sys.modules.update(dict.fromkeys(("keras", "kdzoo")))
import numpy as np, tensorflow as tf
path, images, outputs = sys.argv[1:]
model = tf.saved_model.load(path)
images = tf.constant(np.load(images))
served, features = (model.signatures[name](images=images) for name in ("serving_default", "features"))
assert model.signatures["serving_default"](images=images[:0])["logits"].shape == (0, 4)
assert model.signatures["features"](images=images[:0])["stage3"].shape == (0, 4, 4, 64)
np.savez(outputs, **{key: value.numpy() for key, value in served.items()},
         **{f"features_{key}": value.numpy() for key, value in features.items()})
"""


def test_the_saved_model_needs_neither_keras_nor_kdzoo_and_equals_the_loaded_model(published, images, tmp_path):
    np.save(tmp_path / "images.npy", images)
    arguments = [str(published / NAME / "1"), str(tmp_path / "images.npy"), str(tmp_path / "outputs.npz")]
    done = run_python("-c", BARE, *arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    outputs = np.load(tmp_path / "outputs.npz")
    card = cards.read_card(published / NAME)
    statistics = {key: tuple(card["dataset"][key]) for key in ("mean", "std")}
    model = kdzoo.load(NAME, path=published)
    tap = stages.with_outputs(model)
    loaded = tap.predict(augmentation.standardise(images, **statistics), verbose=0)
    np.testing.assert_allclose(outputs["logits"], loaded["logits"], atol=1e-5)
    np.testing.assert_allclose(outputs["features_logits"], loaded["logits"], atol=1e-5)
    for i, stage in enumerate(loaded["stages"], 1):
        np.testing.assert_allclose(outputs[f"features_stage{i}"], stage, atol=1e-5)
    np.testing.assert_allclose(outputs["probabilities"].sum(-1), 1, rtol=1e-6)
    exponents = np.exp(loaded["logits"])
    np.testing.assert_allclose(outputs["probabilities"], exponents / exponents.sum(-1, keepdims=True), atol=1e-5)


def test_a_published_model_loads_on_jax_without_tensorflow(published, teacher_run):
    code = """
import sys
import numpy as np
import kdzoo
from kdzoo.runs.weights import load_model
path, name, run = sys.argv[1:]
pairs = zip(kdzoo.load(name, path=path).weights, load_model(run).weights, strict=True)
assert all((np.asarray(a) == np.asarray(b)).all() for a, b in pairs)
print("same")
"""
    arguments = (str(published), NAME, str(teacher_run))
    done = run_python("-c", WITHOUT_TENSORFLOW + code, *arguments, python=JAX_PYTHON, env=JAX_ENV)
    assert done.stdout == "same\n", done.stderr[-3000:]


def test_a_loaded_model_can_be_trained(published, npz):
    model = kdzoo.load(NAME, path=published)
    dataset = sources.load(f"npz:{npz}")
    before = [np.asarray(weight) for weight in model.trainable_weights]
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(
        augmentation.standardise(dataset.train.images[:32], mean=dataset.mean, std=dataset.std),
        dataset.train.labels[:32],
    )
    assert any((np.asarray(a) != b).any() for a, b in zip(model.trainable_weights, before, strict=True))


def test_list_models_reads_cards_alone_in_natural_order(published, tmp_path):
    card = cards.read_card(published / NAME)
    names = ["wrn16-2_10-35", "wrn16-2_20-65", "wrn16-10_10-35", "wrn100-1_10-35", "a-b/dn40-12_9-10"]
    for name in reversed(names):
        (tmp_path / name).mkdir(parents=True)
        parsed = parse(name.rpartition("/")[2])
        parts = {
            "family": parsed.family,
            "depth": parsed.depth,
            "width": parsed.width,
            "schedule": str(parsed.schedule),
        }
        config = {**card["config"], "model": parsed.architecture, "schedule": str(parsed.schedule)}
        other = {**card, "name": name, "config": config, **parts}
        (tmp_path / name / cards.CARD).write_text(json.dumps({**other, "sha256": cards.digest(other)}))
    shutil.copytree(tmp_path / names[0], tmp_path / f".{names[0]}.partial")
    code = "import sys, kdzoo; print(*kdzoo.list_models(sys.argv[1])); print('tensorflow' in sys.modules)"
    done = run_python("-c", code, "*", env={"KDZOO_HOME": str(tmp_path)})
    listed, imported = done.stdout.splitlines()
    assert [name for name in listed.split() if name in names] == names
    assert imported == "False"
    assert models.list_models("wrn16-*", path=tmp_path) == names[:3]
    assert models.list_models(path=tmp_path / "none") == []


def _flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("file", [cards.CARD, *cards.FILES])
@pytest.mark.parametrize("damage", ["truncated", "emptied", "flipped", "removed", "swapped"])
def test_every_damage_is_refused_in_one_line(model_dir, published, file, damage):
    path = model_dir / file
    content = path.read_bytes()
    if damage == "removed":
        path.unlink()
    elif damage == "swapped":
        other = cards.INDEX if file != cards.INDEX else cards.SAVED_MODEL
        path.write_bytes((model_dir / other).read_bytes())
    else:
        path.write_bytes({"truncated": content[:-2], "emptied": b"", "flipped": _flip(content)}[damage])
    with pytest.raises(InputError, match="Received: ") as refused:
        models.load(NAME, path=model_dir.parents[1])
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize(
    "edit",
    [
        lambda card: card.update(test_error=1.0),
        lambda card: card["files"].pop(cards.INDEX),
        lambda card: card["files"].update({"../../evil": {"bytes": 1, "sha256": ""}}),
        lambda card: card["files"][cards.INDEX].update(sha256="../../../../evil"),
        lambda card: card["files"][cards.INDEX].update(bytes="1"),
        lambda card: card["files"].update({cards.INDEX: 3}),
        lambda card: card["weights"][0].update(offset=10**9),
        lambda card: card["weights"].pop(),
        lambda card: card["config"].update(model="wrn10-2"),
        lambda card: card.update(name="wrn10-1_9-10"),
        lambda card: card.update(depth=16),
        lambda card: card.update(method="kd"),
        lambda card: card.update(test_error_last_std=0.1),
        lambda card: card.pop("expected_calibration_error"),
        lambda card: card["trained"].pop("wall_seconds"),
        lambda card: card.pop("files"),
        lambda card: card["dataset"].update(mean="0.3"),
        lambda card: card["weights"][0].update(offset=-1),
        lambda card: card.update(teachers={}),
        lambda card: card.update(test_top5_error=100.5),
        lambda card: card.update(test_error_last=50.0, test_error_last_mean=50.0, test_top5_error_last=51.0),
    ],
)
@pytest.mark.parametrize("redigested", [False, True])
def test_an_edited_card_is_refused(model_dir, edit, redigested):
    """Also with a matching digest, if the edited fields cannot be true."""
    card = json.loads((model_dir / cards.CARD).read_text())
    edit(card)
    if redigested:
        card["sha256"] = cards.digest(card)
        if card.get("test_error") == 1.0:
            return  # only the digest could reveal this edit
    (model_dir / cards.CARD).write_text(json.dumps(card))
    with pytest.raises(InputError, match="Received: ") as refused:
        models.load(NAME, path=model_dir.parents[1])
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b"[]", b"3", b"{}", b"\xff", b"[" * 100_000, b'{"sha256": ' + b"1" * 5000 + b"}"])
def test_other_content_is_refused_as_a_card(model_dir, content):
    (model_dir / cards.CARD).write_bytes(content)
    with pytest.raises(InputError, match="must hold its card"):
        models.load(NAME, path=model_dir.parents[1])


@pytest.mark.parametrize(
    "name",
    [
        "../wrn10-1_2-3",
        "quarters/../quarters/wrn10-1_2-3",
        "/etc/passwd",
        "wrn10-1_2-3\0",
        "w" * 10_000,
        "",
        ".",
        "quarters/.wrn10-1_2-3.partial",
        "a/b/wrn10-1_2-3",
        "WRN10-1_2-3",
        "wrn10-1_2-3\n",
    ],
)
def test_an_invalid_name_is_refused(published, name):
    with pytest.raises(InputError, match="Received: ") as refused:
        models.load(name, path=published)
    assert len(str(refused.value)) < 400
    assert "\n" not in str(refused.value)
    assert "\0" not in str(refused.value)


def test_the_message_for_an_unknown_name_lists_published_ones(published, monkeypatch):
    with pytest.raises(
        InputError, match=rf"for example {NAME}\. Received: wrn10-1_2-4: not in {published}/wrn10-1_2-4"
    ):
        models.load("wrn10-1_2-4", path=published)
    monkeypatch.setenv("KDZOO_HOME", str(published))
    with pytest.raises(InputError, match=rf"published with one: {NAME}\. Received: wrn10-1"):
        models.load("wrn10-1")
    with pytest.raises(InputError, match=r"none of it is published. Received: wrn28-10"):
        models.load("wrn28-10")
    assert models.find(NAME).record["parameters"] == cards.read_card(published / NAME)["parameters"]


def test_names_and_patterns_must_be_texts(published):
    with pytest.raises(InputError, match=r"must be named .* Received: 5"):
        models.load(5)
    with pytest.raises(InputError, match=r"pattern must be a text.* Received: 5"):
        models.list_models(5, path=published)


@pytest.mark.parametrize("variable", ["KDZOO_HOME", "KDZOO_CACHE"])
@pytest.mark.parametrize("value", ["~nobody-here/x", "x" * 300])
def test_a_folder_of_the_environment_must_be_one(variable, value, monkeypatch):
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match=f"{variable} must .* Received: '?{value[:99]}"):
        folders.model_folders(None) if variable == "KDZOO_HOME" else folders.cache_folder()


@pytest.fixture
def weightless(teacher_run, tmp_path) -> pathlib.Path:
    """A finished run whose weights were removed."""
    records.write(tmp_path, records.read(teacher_run))
    return tmp_path


def test_a_run_without_weights_is_refused(weightless):
    with pytest.raises(InputError, match=r"must hold its weights\. Received: .*/model\.weights\.h5: none$"):
        models.resolve(weightless)


def test_a_run_without_weights_names_its_published_model(weightless):
    records.write(weightless, records.read(weightless) | {"published": NAME})
    with pytest.raises(InputError, match=rf"model\.weights\.h5: none; its network is published as {NAME}$"):
        models.resolve(weightless)


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("distill", ("--student=wrn10-1", "--schedule=1-1", "--teacher={run}", "--workdir={run}/student")),
        ("evaluate", ("--model={run}",)),
    ],
)
def test_commands_refuse_a_run_without_weights_in_one_line(weightless, name, flags):
    records.write(weightless, records.read(weightless) | {"published": NAME})
    done = run_python("-m", f"apps.{name}", *(flag.format(run=weightless) for flag in flags))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.endswith(f"its network is published as {NAME}")
    assert not (weightless / "student").exists()
