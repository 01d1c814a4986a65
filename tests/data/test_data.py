import os
import re
import time
import zipfile

import numpy as np
import pytest

from kdzoo.data import augmentation, class_names, dataset, sampling, sources, tfds
from kdzoo.data.batches import Batches
from kdzoo.data.config import DataConfig
from zoo import InputError

INDICES = np.arange(50_000)


def test_order_is_a_permutation_of_seed_and_epoch_alone():
    first = sampling.order(seed=1, epoch=2, indices=INDICES)
    np.testing.assert_array_equal(np.sort(first), INDICES)
    np.testing.assert_array_equal(first, sampling.order(seed=1, epoch=2, indices=INDICES))
    assert (first != sampling.order(seed=1, epoch=3, indices=INDICES)).mean() > 0.99
    assert (first != sampling.order(seed=2, epoch=2, indices=INDICES)).mean() > 0.99
    np.testing.assert_array_equal(first[:4], [5590, 37196, 31405, 3430])  # on every machine, in every version


def test_a_view_depends_on_seed_epoch_and_index_alone():
    some = np.array([7, 40_000, 3])
    every = augmentation.views(seed=1, epoch=2, indices=INDICES, augment="crop_flip")
    np.testing.assert_array_equal(augmentation.views(seed=1, epoch=2, indices=some, augment="crop_flip"), every[some])
    np.testing.assert_array_equal(every[:4], [121, 16, 54, 116])


@pytest.mark.parametrize("augment", augmentation.AUGMENTATIONS)
def test_views_are_spread_evenly(augment):
    number = augmentation.count_views(augment, 8)
    views = augmentation.views(seed=0, epoch=0, indices=INDICES, augment=augment, crops=8)
    counts = np.bincount(views, minlength=number)
    if number == 1:
        assert set(views) == {augmentation.CENTRE}
    else:
        # chi^2 over n - 1 degrees of freedom: mean n - 1, standard deviation sqrt(2(n - 1))
        expected = len(INDICES) / number
        chi2 = ((counts - expected) ** 2 / expected).sum()
        assert abs(chi2 - (number - 1)) < 4 * np.sqrt(2 * (number - 1))


def test_a_view_matches_its_number():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)
    padded = np.pad(image, ((4, 4), (4, 4), (0, 0)))
    views = np.arange(162)
    seen = augmentation.apply_views(np.repeat(image[None], 162, axis=0), views)
    assert seen.dtype == np.uint8
    for view in views:
        flip, down, right = view // 81, view % 81 // 9, view % 9
        expected = padded[down : down + 6, right : right + 5]
        np.testing.assert_array_equal(seen[view], expected[:, ::-1] if flip else expected)
    np.testing.assert_array_equal(seen[augmentation.CENTRE], image)


def test_standardise():
    images = np.array([0, 51, 255], np.uint8).reshape(1, 1, 1, 3)
    seen = augmentation.standardise(images, mean=(0.5, 0.2, 0.4), std=(0.25, 0.5, 0.2))
    assert seen.dtype == np.float32
    np.testing.assert_allclose(seen.ravel(), [-2, 0, 3], atol=1e-6)


def test_digits():
    digits = sources.load("digits")
    assert (len(digits.train), len(digits.test), digits.num_classes) == (1437, 360, 10)
    assert digits.image_shape == (32, 32, 3)
    np.testing.assert_array_equal(np.bincount(digits.test.labels), [36] * 10)
    assert digits.train.images.max() == 255
    assert digits.augment == "crop"
    assert digits.class_names == tuple("0123456789")
    assert digits.fingerprint == "773117f506324f95eb1cafc0512a4949d53caf91668d29e8151add05725fe824"
    both = {image.tobytes() for image in digits.train.images} & {image.tobytes() for image in digits.test.images}
    assert not both


def test_a_data_set_does_not_depend_on_its_stored_order(npz, tmp_path):
    with np.load(npz) as file:
        arrays = dict(file)
    shuffled = np.random.default_rng(1).permutation(len(arrays["y_train"]))
    for key in ("x_train", "y_train"):
        arrays[key] = arrays[key][shuffled]
    arrays["y_train"] = arrays["y_train"].astype(np.int64)[:, None]
    np.savez(tmp_path / "other.npz", **arrays)
    one, other = sources.load(f"npz:{npz}"), sources.load(f"npz:{tmp_path}/other.npz")
    assert one.fingerprint == other.fingerprint
    np.testing.assert_array_equal(one.train.images, other.train.images)
    np.testing.assert_array_equal(one.train.labels, other.train.labels)
    assert (one.mean, one.std) == (other.mean, other.std)
    np.testing.assert_allclose(one.mean, one.train.images.mean((0, 1, 2)) / 255, atol=1e-4)
    np.testing.assert_allclose(one.std, one.train.images.std((0, 1, 2)) / 255, atol=1e-4)


def test_subsets_are_balanced_disjoint_and_nested():
    train = sources.load("digits").train
    small, held_out = sampling.split_train(train, train_examples=95, val_examples=100)
    large, _ = sampling.split_train(train, train_examples=200, val_examples=100)
    assert (len(small), len(held_out)) == (95, 100)
    np.testing.assert_array_equal(np.bincount(small.labels), [10] * 5 + [9] * 5)
    np.testing.assert_array_equal(np.bincount(held_out.labels), [10] * 10)
    assert not set(small.indices) & set(held_out.indices)
    assert set(small.indices) < set(large.indices)
    np.testing.assert_array_equal(train.labels[small.indices], small.labels)
    everything, none = sampling.split_train(train)
    assert (len(everything), len(none)) == (1437, 0)
    for wrong in ({"train_examples": 1438}, {"train_examples": -1}, {"train_examples": 1430}):
        with pytest.raises(InputError, match="Received: "):
            sampling.split_train(train, **wrong)


def test_batches_hold_each_example_once_in_its_view():
    digits = sources.load("digits")
    split, _ = sampling.split_train(digits.train, train_examples=100)
    batches = Batches(split, digits, seed=3, epoch=1, batch_size=30, augment="none")
    assert len(batches) == 3
    shown = [batches[i] for i in range(3)]
    assert all(images.shape == (30, 32, 32, 3) and images.dtype == np.float32 for images, _ in shown)
    standard = augmentation.standardise(split.images, mean=digits.mean, std=digits.std)
    order = sampling.order(seed=3, epoch=1, indices=split.indices)[:90]
    np.testing.assert_array_equal(np.concatenate([images for images, _ in shown]), standard[order])
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in shown]), split.labels[order])


@pytest.mark.parametrize(
    ("change", "received"),
    [
        ({"x_train": None}, "x_train"),
        ({"x_test": np.zeros((4, 8, 8, 3), np.uint8), "y_test": np.zeros(4, int)}, r"\(16, 16, 3\) and \(8, 8, 3\)"),
        ({"x_train": np.zeros((128, 16, 16, 3), np.float32)}, "float32"),
        ({"y_train": np.zeros(3, int)}, r"labels int64 \(3,\)"),
        ({"x_train": np.zeros((128, 0, 16, 3), np.uint8)}, r"uint8 \(128, 0, 16, 3\)"),
        ({"y_train": np.arange(128) % 4.0}, "labels float64"),
        ({"y_train": np.full(128, -1)}, r"bad.npz: y_train\[0\] = -1"),
        ({"y_train": np.append(np.arange(127) % 4, 2**40)}, r"bad.npz: y_train\[127\] = 1099511627776"),
        ({"y_train": np.append(np.arange(127) % 4, 2**63).astype(np.uint64)}, r"y_train\[127\] = 9223372036854775808"),
        ({"y_train": np.arange(128) % 4 * 1000}, r"y_train\[1\] = 1000 \(classes without a gap: 1\)"),
        ({"y_train": np.arange(128) % 4 + 1}, r"y_train\[0\] = 1 \(classes without a gap: 0\)"),
        ({"y_test": np.arange(64) % 4 + 1}, r"y_test\[3\] = 4 \(classes without a gap: 4\)"),
        ({"y_test": np.append(np.arange(63) % 4, 2**40)}, r"y_test\[63\] = 1099511627776"),
    ],
)
def test_malformed_npz_is_refused(npz, tmp_path, change, received):
    with np.load(npz) as file:
        arrays = {key: value for key, value in {**file, **change}.items() if value is not None}
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(InputError, match=f"Received: .*{received}|{received}.*Received: "):
        sources.load(f"npz:{tmp_path}/bad.npz")


def test_a_header_that_moves_the_data_is_refused(npz, tmp_path):
    """Fewer bytes of header make its padding pixels. NumPy then stops before the checksum of the archive's member."""
    content = bytearray(npz.read_bytes())
    length = content.index(b"\x93NUMPY") + 8
    assert content[length] == 118
    content[length] = 112
    (tmp_path / "bad.npz").write_bytes(content)
    with np.load(tmp_path / "bad.npz") as file:
        assert file["x_train"].reshape(-1)[:6].tobytes() == b" " * 5 + b"\n"
    with pytest.raises(InputError, match=r"Received: .*bad\.npz: .*x_train"):
        sources.load(f"npz:{tmp_path}/bad.npz")


@pytest.mark.parametrize(("old", "new"), [(b"(128", b"((12"), (b"{'descr", b"('descr"), (b"'|u1'", b"'\0u1'")])
def test_a_damaged_header_is_refused_in_one_line(npz, tmp_path, old, new):
    assert old in npz.read_bytes()
    (tmp_path / "bad.npz").write_bytes(npz.read_bytes().replace(old, new))
    with pytest.raises(InputError, match=r"Received: .*bad\.npz: ") as refused:
        sources.load(f"npz:{tmp_path}/bad.npz")
    assert len(str(refused.value)) < 600


def test_the_test_set_may_lack_classes(npz, tmp_path):
    with np.load(npz) as file:
        arrays = dict(file)
    np.savez(tmp_path / "few.npz", **{**arrays, "y_test": np.zeros(64, np.uint64)})
    assert sources.load(f"npz:{tmp_path}/few.npz").num_classes == 4


def test_statistics_of_a_known_data_set_need_its_channels(npz, tmp_path):
    with np.load(npz) as file:
        arrays = {key: array[..., :1] if key.startswith("x") else array for key, array in file.items()}
    np.savez(tmp_path / "grey.npz", **arrays)
    assert sources.load(f"npz:{tmp_path}/grey.npz").image_shape == (16, 16, 1)
    with pytest.raises(InputError, match=r"Images of cifar10 must have 3 channels\. Received: 1"):
        sources.load(f"npz:{tmp_path}/grey.npz", "cifar10")


def test_other_files_than_npz_are_refused(tmp_path):
    (tmp_path / "text.npz").write_text("no arrays")
    with open(tmp_path / "one.npz", "wb") as file:
        np.save(file, np.zeros(3))
    with zipfile.ZipFile(tmp_path / "zip.npz", "w") as file:
        file.writestr("x_train", "no array")
    for path in ("missing.npz", "text.npz", "one.npz", "zip.npz", "."):
        with pytest.raises(InputError, match=r"An npz data set must hold .* Received: "):
            sources.load(f"npz:{tmp_path}/{path}")


@pytest.mark.parametrize("source", ["imagenet", "", 5, None, ["cifar10"]])
def test_unknown_data_set_is_refused(source):
    with pytest.raises(InputError, match=rf"dataset must be one of cifar10, .* Received: {re.escape(str(source))}"):
        sources.load(source)


def test_a_missing_network_is_reported_within_10_seconds(monkeypatch, tmp_path):
    def stall(*_, **__):
        time.sleep(20)
        raise OSError("too late")

    monkeypatch.setattr("urllib.request.urlopen", stall)
    started = time.monotonic()
    with pytest.raises(InputError, match="set TFDS_DATA_DIR"):
        tfds.check_site("cifar10", tmp_path)
    assert time.monotonic() - started < 10


needs_cifar10 = pytest.mark.skipif("TFDS_DATA_DIR" not in os.environ, reason="TFDS_DATA_DIR is not set: no CIFAR-10")


@needs_cifar10
def test_cifar10_through_tfds():
    cifar10 = sources.load("cifar10")
    assert (len(cifar10.train), len(cifar10.test), cifar10.image_shape) == (50_000, 10_000, (32, 32, 3))
    np.testing.assert_array_equal(np.bincount(cifar10.train.labels), [5000] * 10)
    outline = sources.load_or_outline("cifar10")
    for attribute in ("image_shape", "num_classes", "mean", "std", "augment"):
        assert getattr(outline, attribute) == getattr(cifar10, attribute)
    channels = cifar10.train.images.reshape(-1, 3) / 255.0
    np.testing.assert_allclose(channels.mean(0), cifar10.mean, atol=1e-3)
    np.testing.assert_allclose(channels.std(0), cifar10.std, atol=5e-3)


def test_the_outline_of_imagenet_takes_no_memory():
    for source in ("tfds:imagenet2012", "tfds:imagenet2012:5.1.0"):
        outline = sources.load_or_outline(DataConfig(source, image_size=192))
        assert (outline.name, outline.image_shape) == ("imagenet2012", (192, 192, 3))
        assert (len(outline.train), len(outline.test), outline.num_classes) == (1_281_167, 50_000, 1000)
        assert outline.train.images.strides[0] == 0
    assert sources.load_or_outline(DataConfig("folder:none", "imagenet2012")).image_shape == (224, 224, 3)
    assert sources.load_or_outline(DataConfig("folder:none")) is None


@pytest.mark.parametrize(
    ("name", "count", "some"),
    [
        ("cifar10", 10, {0: "airplane", 5: "dog", 9: "truck"}),
        ("cifar100", 100, {0: "apple", 19: "cattle", 39: "keyboard", 54: "orchid", 99: "worm"}),
    ],
)
def test_the_classes_of_a_known_data_set_have_names(name, count, some):
    labels = np.arange(count)
    images = np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3), np.uint8)
    names = dataset.from_arrays(name, images, labels, images, labels).class_names
    assert len(set(names)) == count
    assert list(names) == sorted(names)
    assert {label: names[label] for label in some} == some
    assert dataset.from_arrays("npz:x.npz", images, labels, images, labels).class_names == ()
    assert dataset.from_arrays(name, images, labels % 7, images, labels % 7).class_names == ()
    assert class_names.of_record({"num_classes": 3}) == ["0", "1", "2"]
    assert class_names.of_record({"num_classes": 3, "class_names": ["a", "b", "c"]}) == ["a", "b", "c"]


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_an_outline_has_the_sizes_of_its_data_set(name):
    outline = sources.load_or_outline("npz:none.npz", name)
    assert (len(outline.train), len(outline.test)) == (50_000, 10_000)
    train, val = sampling.split_train(outline.train, train_examples=1000, val_examples=500)
    for labels in (train.labels, val.labels):
        assert len(set(np.bincount(labels, minlength=outline.num_classes))) == 1
    assert train.images.shape == (1000, *outline.image_shape)
