"""The share of each batch that one of several processes reads."""

import numpy as np
import pytest
from PIL import Image

from kdzoo.data import mixup, sources
from kdzoo.data.batches import Batches
from kdzoo.data.config import DataConfig
from kdzoo.data.dataset import Dataset

RNG = np.random.default_rng(0)
BATCH = 12
SHARES = [slice(0, 4), slice(4, 8), slice(8, 12)]


@pytest.fixture
def dataset(tmp_path) -> Dataset:
    """48 labelled and 50 unlabelled images in memory."""
    images = RNG.integers(0, 256, (114, 16, 16, 3), dtype=np.uint8)
    labels = np.arange(64) % 4
    arrays = {"x_train": images[:48], "y_train": labels[:48], "x_test": images[48:64], "y_test": labels[48:]}
    np.savez(tmp_path / "labelled.npz", **arrays)
    np.savez(tmp_path / "more.npz", x=images[64:])
    return sources.load(DataConfig(f"npz:{tmp_path}/labelled.npz", unlabelled=f"npz:{tmp_path}/more.npz"))


def batches(dataset: Dataset, **options) -> Batches:
    return Batches(dataset.train, dataset, seed=3, epoch=1, batch_size=BATCH, **{"augment": "crop_flip"} | options)


def assert_shares_are_the_batch(dataset: Dataset, **options) -> None:
    whole, parts = batches(dataset, **options), [batches(dataset, share=share, **options) for share in SHARES]
    for step in range(len(whole)):
        images, labels = whole.read(step)
        np.testing.assert_array_equal(np.concatenate([part.read(step)[0] for part in parts]), images)
        np.testing.assert_array_equal(np.concatenate([part.labels(step) for part in parts]), labels)
        np.testing.assert_array_equal(np.concatenate([part.positions(step) for part in parts]), whole.positions(step))
        for ours, theirs in zip(zip(*(part.seen(step) for part in parts), strict=True), whole.seen(step), strict=True):
            np.testing.assert_array_equal(np.concatenate(ours), theirs)


@pytest.mark.parametrize("unlabelled", [0, 5])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_shares_make_up_the_batch(dataset, unlabelled, label_smoothing):
    assert_shares_are_the_batch(dataset, unlabelled=unlabelled, label_smoothing=label_smoothing)


def test_a_share_is_mixed_once_the_batch_is_whole(dataset):
    options = {"unlabelled": 5, "mixup_alpha": 0.5, "cutmix_alpha": 1.0}
    whole, parts = batches(dataset, **options), [batches(dataset, share=share, **options) for share in SHARES]
    for step in range(len(whole)):
        mix = parts[0].mix(step)
        (images, labels), read = whole.read(step), [part.read(step) for part in parts]
        np.testing.assert_array_equal(mixup.mix_images(np.concatenate([one[0] for one in read]), mix), images)
        np.testing.assert_array_equal(mixup.mix_labels(np.concatenate([one[1] for one in read]), mix), labels)


def test_only_the_share_is_decoded(tmp_path):
    for name in "ab":
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(24):
            pixels = RNG.integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{number}.png")
    data = DataConfig(f"folder:{tmp_path}/pictures", test_share=0.2, image_size=16)
    dataset = sources.load(data)
    assert_shares_are_the_batch(dataset, augment="inception")
    dataset = sources.load(data)
    decoded = []
    read = dataset.train.streamed.stream.sources[0].read
    dataset.train.streamed.stream.sources[0].read = lambda index: decoded.append(index) or read(index)
    share = batches(dataset, augment="inception", share=SHARES[1])
    share.read(0)
    assert sorted(set(decoded)) == sorted({*share.seen(0)[0].tolist()})
