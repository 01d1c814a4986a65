"""The small set in ImageNet's form: what the tests that use it rely on."""

import io
from collections import Counter

import numpy as np
from PIL import Image

import imagenet_like
from kdzoo.data import sources
from kdzoo.data.config import DataConfig

FORM = {"classes": 12, "pictures": 6, "val_pictures": 2}


def test_it_has_imagenet_s_folders_sizes_and_modes():
    found = dict(imagenet_like.contents(**FORM))
    assert dict(imagenet_like.contents(**FORM)) == found
    assert len(found) == 12 * 8
    assert "train/n01440764/n01440764_0.JPEG" in found
    assert "val/n01440764/ILSVRC2012_val_00000001.JPEG" in found
    assert len({path.split("/")[1] for path in found}) == 12
    opened = {path: Image.open(io.BytesIO(content)) for path, content in found.items()}
    assert {image.size for image in opened.values()} == set(imagenet_like.SIZES)
    assert Counter((image.format, image.mode) for image in opened.values()) == {
        ("JPEG", "RGB"): 86,
        ("JPEG", "L"): 8,
        ("JPEG", "CMYK"): 1,
        ("PNG", "RGB"): 1,
    }


def test_its_classes_can_be_learnt_from_colours(tmp_path):
    imagenet_like.write(tmp_path, **FORM)
    dataset = sources.load(DataConfig(f"folder:{tmp_path}", image_size=32, augment="resize"))
    assert (len(dataset.train), len(dataset.test), dataset.num_classes) == (72, 24, 12)
    assert dataset.class_names == tuple(imagenet_like.wordnet_id(label) for label in range(12))
    means = [split.read(np.arange(len(split))).mean((1, 2)) for split in (dataset.train, dataset.test)]
    colours = [one / one.sum(-1, keepdims=True) for one in means]
    nearest = np.abs(colours[1][:, None] - colours[0]).sum(-1).argmin(-1)
    right = dataset.train.labels[nearest] == dataset.test.labels
    assert 0.6 < right.mean() < 1  # grey ones have no colour
