"""TFDS data sets as sources of pictures: by random access, converted where they have none, whatever may be damaged."""

import hashlib
import io
import os
import pathlib
import pickle
import shutil

import numpy as np
import pytest
from PIL import Image

from conftest import run_python
from kdzoo.data import sources, tfds_source
from kdzoo.data.config import DataConfig
from kdzoo.data.decoding import open_picture
from kdzoo.data.picture_index import ENTRY
from zoo import InputError

tfds = pytest.importorskip("tensorflow_datasets")
pytest.importorskip("array_record")

# Hides TensorFlow as if it were not installed. TFDS itself works without it, unlike with `WITHOUT_TENSORFLOW`.
HIDE_TENSORFLOW = """
import importlib.machinery, sys
find = importlib.machinery.PathFinder.find_spec
importlib.machinery.PathFinder.find_spec = classmethod(
    lambda cls, name, *args: None if name.partition(".")[0] == "tensorflow" else find(name, *args)
)
"""
SPLITS = {"train": (0, 40), "test": (40, 50), "validation": (50, 62)}


def encode(number: int, *, grey: bool = False) -> bytes:
    rng = np.random.default_rng(number)
    height, width = (28, 28) if grey else rng.integers(20, 60, 2)
    file = io.BytesIO()
    image = rng.integers(0, 256, (height, width) if grey else (height, width, 3), dtype=np.uint8)
    Image.fromarray(image).save(file, "PNG" if grey else "JPEG")
    return file.getvalue()


def prepare(
    folder: pathlib.Path, name: str = "shapes", file_format: str = "array_record", *, seed: int = 0, grey: bool = False,
    labels: dict[str, int] | None = None, splits: dict[str, tuple[int, int]] = SPLITS,
    features: dict[str, object] | None = None,
) -> pathlib.Path:  # fmt: skip
    """Writes a data set as TFDS does, of JPEGs of many sizes, or grey PNGs of one. Returns its folder."""
    shown = tfds.features.Image(
        shape=(28, 28, 1) if grey else (None, None, 3), encoding_format="png" if grey else "jpeg"
    )
    features = {"label": tfds.features.ClassLabel(names=["round", "square"]), "image": shown} | (features or {})

    class Made(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.2.0")
        pkg_dir_path = folder

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(split) for split in splits}

        def _generate_examples(self, split):
            for number in range(*splits[split]):
                file = io.BytesIO(encode(number + seed, grey=grey))
                example = {"image": file, "label": (labels or {"test": -1}).get(split, number % 2)}
                yield number, {key: example.get(key, 0) for key in features}

    Made.name = name
    builder = Made(data_dir=folder, file_format=file_format)
    builder.download_and_prepare()
    return pathlib.Path(builder.data_path)


@pytest.fixture(autouse=True)
def _folders(tmp_path, monkeypatch):
    monkeypatch.setenv("KDZOO_CACHE", str(tmp_path / "cache"))
    tfds.core.add_data_dir(tmp_path)
    yield
    tfds.core.utils.file_utils.clear_registered_data_dirs()


def load(source: str, **fields):
    return sources.load(DataConfig(**{"dataset": source, "image_size": 24, "augment": "resize"} | fields))


def test_pictures_of_a_data_set_in_the_order_of_their_paths(tmp_path):
    prepare(tmp_path)
    train, test, names, fingerprint = tfds_source.read_splits("shapes")
    assert names == ("round", "square")
    assert len(train) == 40
    assert len(fingerprint) == 64
    assert {test.path(i) for i in range(len(test))} == {f"validation/{i}" for i in range(12)}  # test has no labels
    paths = [train.path(i) for i in range(len(train))]
    assert paths == sorted(
        (f"train/{i}" for i in range(40)), key=lambda path: hashlib.blake2b(path.encode(), digest_size=16).digest()
    )
    expected = {encode(i): i % 2 for i in range(40)}
    assert {train.read(i)[0]: label for i, label in enumerate(train.labels.tolist())} == expected
    digests = {hashlib.blake2b(content, digest_size=16).digest() for content in expected}
    assert set(train.known_digests().tolist()) == {digest.rstrip(b"\0") for digest in digests}
    copy = pickle.loads(pickle.dumps(train))
    assert copy.read(7) == train.read(7)
    assert copy.path(7) == train.path(7)


def test_streamed_and_in_memory_with_any_number_of_workers(tmp_path):
    prepare(tmp_path)
    inside, streamed = load("tfds:shapes"), load("tfds:shapes:1.2.0", memory_gb=0.0)
    assert inside.name == streamed.name == "shapes"
    assert streamed.class_names == ("round", "square")
    assert inside.train.array.shape == (40, 24, 24, 3)
    assert streamed.train.streamed
    here = streamed.train.read(np.arange(40))
    np.testing.assert_array_equal(np.sort(here.reshape(40, -1), 0), np.sort(inside.train.array.reshape(40, -1), 0))
    config = DataConfig("tfds:shapes", image_size=24, augment="resize", memory_gb=0.0)
    apart = sources.load(config, workers=2)
    try:
        assert apart.fingerprint == streamed.fingerprint != inside.fingerprint
        np.testing.assert_array_equal(apart.train.read(np.arange(40)), here)
    finally:
        apart.close()


def test_grey_pictures_have_three_channels(tmp_path):
    prepare(tmp_path, "digits_like", grey=True)
    dataset = load("tfds:digits_like", image_size=0, augment="crop")
    assert dataset.image_shape == (28, 28, 3)
    images = {open_picture(encode(i, grey=True), (0, 0, 0)).pixels().tobytes() for i in range(40)}
    assert {image.tobytes() for image in dataset.train.array} == images


def test_parts_of_splits(tmp_path):
    prepare(tmp_path)
    train, test, *_ = tfds_source.read_splits("shapes", train_split="train[:75%]", test_split="train[75%:]+validation")
    assert (len(train), len(test)) == (30, 22)
    contents = [{source.read(i)[0] for i in range(len(source))} for source in (train, test)]
    assert len(contents[0]) + len(contents[1]) == len(contents[0] | contents[1]) == 52


def test_pictures_whatever_their_labels(tmp_path, caplog):
    prepare(tmp_path, labels={"train": -1})
    every, _ = tfds_source.read_images("shapes")
    assert {every.read(i)[0] for i in range(len(every))} == {encode(i) for i in range(40)}
    assert (every.labels == -1).all()
    prepare(tmp_path, "more", splits={"unlabelled": (70, 90), "train": (0, 4)})
    more, fingerprint = tfds_source.read_images("more")
    assert {more.path(i) for i in range(len(more))} == {f"unlabelled/{i}" for i in range(20)}
    tfds_source.read_splits("more", test_split="unlabelled")
    read = caplog.text.count("is read once")
    assert tfds_source.read_images("more")[1] == fingerprint  # beside the index with labels
    assert caplog.text.count("is read once") == read


def test_a_kept_index_is_used_while_it_is_of_the_same_files(tmp_path, caplog):
    prepare(tmp_path)
    first = tfds_source.read_splits("shapes")
    assert caplog.text.count("is read once") == 2
    second = tfds_source.read_splits("shapes")
    assert caplog.text.count("is read once") == 2
    assert second[3] == first[3]
    place = tmp_path / "cache/tfds/shapes/1.2.0/index/train"
    content = bytearray((place / "pictures").read_bytes())
    content[ENTRY.fields["label"][1]] ^= 1
    (place / "pictures").write_bytes(content)  # damaged
    assert tfds_source.read_splits("shapes")[3] == first[3]
    assert caplog.text.count("is read once") == 3
    shutil.rmtree(tmp_path / "shapes")
    prepare(tmp_path, seed=1000)
    other = tfds_source.read_splits("shapes")
    assert other[3] != first[3]
    assert {other[0].read(i)[0] for i in range(40)} == {encode(1000 + i) for i in range(40)}


def test_a_disk_that_takes_no_index_does_no_harm(tmp_path, caplog):
    prepare(tmp_path)
    (tmp_path / "cache").write_text("a file where a folder must be")
    train, *_ = tfds_source.read_splits("shapes")
    assert "stays in memory" in caplog.text
    assert pickle.loads(pickle.dumps(train)).read(3) == train.read(3)


LOAD = """
import logging
from kdzoo.data import sources
from kdzoo.data.config import DataConfig
logging.disable()
try:
    dataset = sources.load(DataConfig("tfds:shapes", image_size=24, augment="resize", memory_gb=0.0))
    print(dataset.fingerprint, dataset.train.read(dataset.train.indices).sum(), "tensorflow" in sys.modules)
except Exception as error:
    print(f"{type(error).__name__}: {error}")
"""


def load_without_tensorflow(tmp_path: pathlib.Path) -> str:
    env = {"TFDS_DATA_DIR": str(tmp_path), "KDZOO_CACHE": os.environ["KDZOO_CACHE"]}
    done = run_python("-c", HIDE_TENSORFLOW + LOAD, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow  # imports TensorFlow
def test_other_forms_are_converted_once_by_tensorflow(tmp_path, caplog):
    pytest.importorskip("tensorflow")
    folder = prepare(tmp_path, file_format="tfrecord")
    (line,) = load_without_tensorflow(tmp_path).splitlines()
    assert line.startswith("InputError: tfds:shapes needs")
    assert line.endswith("No module named 'tensorflow'")
    converted = load("tfds:shapes", memory_gb=0.0)
    cache = tmp_path / "cache/tfds/shapes/1.2.0"
    assert "is copied into a form with random access, once: 52 examples" in caplog.text
    assert not list(cache.glob("shapes-test*"))  # without labels, so not needed
    pixels = converted.train.read(converted.train.indices).sum()
    assert load_without_tensorflow(tmp_path) == f"{converted.fingerprint} {pixels} False"
    # A conversion that was killed resumes.
    shard = cache / "shapes-train.array_record-00000-of-00001"
    shard.rename(f"{shard}.partial")
    assert load("tfds:shapes", memory_gb=0.0).fingerprint == converted.fingerprint
    assert "once: 40 examples" in caplog.text
    assert not list(cache.glob("*.partial"))
    # Its folder is one of TFDS.
    builder = tfds.builder("shapes", data_dir=tmp_path / "cache/tfds")
    assert len(builder.as_data_source("train")) == 40
    # A file that is cut short, and one whose bytes have changed.
    file = folder / "shapes-train.tfrecord-00000-of-00001"
    content = file.read_bytes()
    for damaged in (content[:-1000], content[:5000] + b"?" + content[5001:]):
        file.write_bytes(damaged)
        with pytest.raises(
            InputError, match=r"tfds:shapes/1.2.0 must be whole in .* Received: .*[Cc]orrupted|truncated"
        ):
            load("tfds:shapes", memory_gb=0.0)
        assert not list(cache.glob("shapes-train*00001"))


def test_changes_during_a_run_end_it_in_one_line(tmp_path):
    folder = prepare(tmp_path)
    train, test, *_ = tfds_source.read_splits("shapes")
    train.read(0)
    (folder / "shapes-validation.array_record-00000-of-00001").unlink()
    with pytest.raises(
        InputError, match=r"must stay as it was .* Received: .*/shapes/1.2.0: validation/\d+: ."
    ) as error:
        test.read(0)
    assert "\n" not in str(error.value)
    file = folder / "shapes-train.array_record-00000-of-00001"
    file.write_bytes(bytes(file.stat().st_size))
    with pytest.raises(InputError, match=r"must stay as it was .* Received: .*/shapes/1.2.0: train/\d+: ."):
        pickle.loads(pickle.dumps(train)).read(0)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("none_such", {}, "must be a data set that TFDS knows, .* Received: none_such: Dataset none_such not found"),
        ("shapes:9.9.9", {}, "must be a data set that TFDS knows"),
        ("", {}, r"must be tfds:NAME\[/CONFIG\]\[:VERSION\], .* Received: tfds:$"),
        ("a b", {}, "must be tfds:NAME"),
        ("shapes", {"train_split": "learn"}, "train_split must be .* Received: learn; it has .*validation"),
        ("shapes", {"train_split": "train[:0]"}, r"train_split must be .* Received: train\[:0\]"),
        ("shapes", {"test_split": "train[:"}, "test_split must be .* Received: train"),
        ("shapes", {"test_split": "test"}, r"example of tfds:shapes must have a label. Received: test/\d without"),
        ("two", {}, "an image and a class label, .* Received: tfds:two with .*second"),
    ],
)
def test_what_is_no_data_set_is_refused_in_one_line(tmp_path, name, fields, message):
    if name == "two":
        label = tfds.features.ClassLabel(num_classes=2)
        prepare(tmp_path, "two", features={"first": label, "second": label, "label": tfds.features.Scalar(np.int64)})
    else:
        prepare(tmp_path)
    with pytest.raises(InputError, match=message) as error:
        load(f"tfds:{name}", **fields)
    assert "\n" not in str(error.value)


needs_cifar10 = pytest.mark.skipif("TFDS_DATA_DIR" not in os.environ, reason="TFDS_DATA_DIR is not set: no CIFAR-10")


@needs_cifar10
@pytest.mark.slow
def test_cifar10_is_the_same_data_set():
    assert load("tfds:cifar10", image_size=0, augment="auto").fingerprint == sources.load("cifar10").fingerprint
