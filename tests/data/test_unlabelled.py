"""Pictures without labels: where they come from, and which of them each batch has."""

import dataclasses
import pathlib

import numpy as np
import pytest
from PIL import Image

from kdzoo.data import mixing, sources, unlabelled
from kdzoo.data.batches import Batches
from kdzoo.data.config import DataConfig
from kdzoo.data.dataset import Dataset
from zoo import InputError

RNG = np.random.default_rng(0)
LABELLED = RNG.integers(0, 256, (64, 16, 16, 3), dtype=np.uint8)
MORE = RNG.integers(0, 256, (50, 16, 16, 3), dtype=np.uint8)
OPTIONS = {"seed": 3, "batch_size": 10, "augment": "crop_flip", "unlabelled": 4}


@pytest.fixture
def data(tmp_path) -> DataConfig:
    labels = np.arange(64) % 4
    np.savez(
        tmp_path / "labelled.npz", x_train=LABELLED[:48], y_train=labels[:48], x_test=LABELLED[48:], y_test=labels[48:]
    )
    np.savez(tmp_path / "more.npz", x=MORE)
    return DataConfig(f"npz:{tmp_path}/labelled.npz", unlabelled=f"npz:{tmp_path}/more.npz")


def write_folder(folder: pathlib.Path) -> None:
    """The same images as PNGs, in folders within each other."""
    for number, image in enumerate(MORE):
        place = folder / ("in" * (number % 3)) / "deeper"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number}.png")


def batches(dataset: Dataset, epoch: int) -> Batches:
    return Batches(dataset.train, dataset, epoch=epoch, **OPTIONS)


@pytest.mark.parametrize(("batch", "count"), [(2, 1), (10, 4), (128, 64), (7, 6), (9, 1)])
def test_each_batch_has_so_many_in_places_of_its_own(batch, count):
    places = mixing.places(batch, count)
    assert places.sum() == count
    weights = mixing.label_weights(batch, count)
    assert (weights == 0).tolist() == places.tolist()
    np.testing.assert_allclose(weights.mean(), 1, rtol=1e-6)
    if batch == 128:
        assert {part.sum() for part in np.split(places, 8)} == {8}  # of each replica


def test_draws_are_passes_over_all_in_an_order_of_their_own():
    options = {"seed": 1, "indices": np.arange(100, 150), "augment": "inception", "crops": 4}
    positions, views = mixing.draw(0, 200, **options)
    passes = positions.reshape(4, 50)
    assert all(sorted(one.tolist()) == list(range(50)) for one in passes)
    assert (passes[0] != passes[1]).any()
    assert set(views.tolist()) == {0, 1, 2, 3}
    for begin, end in ((0, 7), (45, 55), (149, 151), (0, 120)):
        part = mixing.draw(begin, end, **options)
        np.testing.assert_array_equal(part, (positions[begin:end], views[begin:end]))
    assert (mixing.draw(0, 50, **options | {"seed": 2})[0] != passes[0]).any()


def test_an_epoch_is_one_pass_over_the_labelled_examples(data):
    dataset = sources.load(data)
    assert dataset.fingerprint == sources.load(dataclasses.replace(data, unlabelled="")).fingerprint
    assert dataset.unlabelled.indices.tolist() == list(range(48, 98))
    assert sorted(image.tobytes() for image in dataset.unlabelled.array) == sorted(image.tobytes() for image in MORE)
    places = mixing.places(10, 4)
    seen = []
    for epoch in range(3):
        made = batches(dataset, epoch)
        assert len(made) == 8
        steps = [made.seen(step)[0] for step in range(8)]
        assert sorted(np.concatenate([step[~places] for step in steps]).tolist()) == list(range(48))
        seen += [step[places] for step in steps]
        for step in range(8):
            images, labels = made.read(step)
            assert (labels[places] == -1).all()
            joined = np.concatenate([dataset.train.labels, dataset.unlabelled.labels])
            np.testing.assert_array_equal(labels, joined[made.positions(step)])
            assert images.shape == (10, 16, 16, 3)
    drawn = np.concatenate(seen)
    assert sorted(drawn[:50].tolist()) == list(range(48, 98))
    np.testing.assert_array_equal(drawn, 48 + mixing.draw(0, 96, seed=3, indices=np.arange(48, 98), augment="none")[0])


def test_in_memory_or_streamed_the_batches_are_the_same(data):
    inside, streamed = sources.load(data), sources.load(dataclasses.replace(data, memory_gb=1e-6))
    assert streamed.train.streamed
    assert streamed.unlabelled.streamed
    assert streamed.fingerprint == inside.fingerprint
    assert streamed.unlabelled_fingerprint == inside.unlabelled_fingerprint
    for epoch, step in ((0, 0), (0, 7), (2, 3)):
        for one, other in zip(batches(inside, epoch).read(step), batches(streamed, epoch).read(step), strict=True):
            np.testing.assert_array_equal(one, other)
        for one, other in zip(batches(inside, epoch).seen(step), batches(streamed, epoch).seen(step), strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_folder_in_memory_is_the_same_as_its_images(data, tmp_path):
    write_folder(tmp_path / "photos")
    folder = dataclasses.replace(data, unlabelled=f"folder:{tmp_path}/photos")
    ours, theirs = sources.load(folder), sources.load(data)
    assert ours.unlabelled_fingerprint == theirs.unlabelled_fingerprint
    np.testing.assert_array_equal(ours.unlabelled.array, theirs.unlabelled.array)
    moved = tmp_path / "moved"
    (tmp_path / "photos").rename(moved)
    streamed = [
        sources.load(dataclasses.replace(folder, unlabelled=f"folder:{moved}", memory_gb=1e-6), workers=workers)
        for workers in (0, 2)
    ]
    try:
        assert streamed[0].unlabelled_fingerprint == streamed[1].unlabelled_fingerprint != ours.unlabelled_fingerprint
        np.testing.assert_array_equal(*(batches(one, 1).read(2)[0] for one in streamed))
    finally:
        streamed[1].close()


def test_what_cannot_be_decoded_is_left_out_and_named(data, tmp_path, caplog):
    for number in range(4):
        write_folder(tmp_path / f"photos/{number}")
    broken = tmp_path / "photos/2/deeper/9.png"
    broken.write_bytes(broken.read_bytes()[:50])
    folder = dataclasses.replace(data, unlabelled=f"folder:{tmp_path}/photos")
    dataset = sources.load(folder)
    assert len(dataset.unlabelled) == 199
    assert dataset.contents["left_out"] == ["2/deeper/9.png"]
    assert "2/deeper/9.png is left out" in caplog.text
    streamed = sources.load(dataclasses.replace(folder, memory_gb=1e-6))
    assert len(streamed.unlabelled) == 200
    streamed.unlabelled.read(np.arange(200))
    assert streamed.contents["left_out"] == ["2/deeper/9.png"]


def test_crops_of_pictures_of_any_size(data, tmp_path):
    for number in range(20):
        size = (20 + number, 50 - number)
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(MORE[number]).resize(size).save(tmp_path / f"photos/{number}.jpg")
    config = dataclasses.replace(data, unlabelled=f"folder:{tmp_path}/photos", image_size=12)
    dataset = sources.load(config)
    made = Batches(dataset.train, dataset, epoch=0, **OPTIONS | {"augment": "inception", "crops": 4})
    assert made.read(0)[0].shape == (10, 12, 12, 3)
    with pytest.raises(InputError, match=r"Pictures must be of one size, 16x16; .* Received: \d+x\d+: \d+\.jpg"):
        sources.load(dataclasses.replace(config, image_size=0))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("photos", "unlabelled must be folder:DIR, .* Received: photos"),
        ("cifar10", "unlabelled must be folder:DIR"),
        ("folder:none", "folder:DIR must hold pictures, .* Received: no folder .*none"),
        ("folder:empty", "folder:DIR must hold pictures, .* Received: no pictures in .*empty"),
        ("npz:none.npz", "must hold x_train or x: .* Received: no file none.npz"),
        ("npz:empty", "must hold x_train or x: .* Received: empty: "),
        ("npz:labels.npz", "must hold x_train or x: .* Received: labels.npz: int64"),
        ("npz:grey.npz", "Unlabelled pictures must have the data set's channels, 3. Received: 1 in npz:grey.npz"),
        ("tfds:a b", "must be tfds:NAME"),
    ],
)
def test_what_are_no_pictures_is_refused_in_one_line(data, tmp_path, monkeypatch, spec, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    np.savez("labels.npz", x=np.arange(5))
    np.savez("grey.npz", x=MORE[..., :1])
    with pytest.raises(InputError, match=message) as error:
        sources.load(dataclasses.replace(data, unlabelled=spec))
    assert "\n" not in str(error.value)


def test_an_npz_of_a_data_set_gives_its_training_images(data):
    pictures, _ = unlabelled.read(data.dataset)
    assert len(pictures) == 48
    assert (pictures.labels == -1).all()
