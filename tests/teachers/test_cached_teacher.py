"""One teacher and its tables: the key of a table, and tables that version 0.4 wrote."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from kdzoo.data.dataset import Dataset, Split
from kdzoo.runs.config import RunConfig
from kdzoo.teachers import output_cache
from kdzoo.teachers.base import Teacher
from kdzoo.teachers.cached_teacher import CachedTeacher
from kdzoo.teachers.external import ExternalTeacher
from kdzoo.teachers.output_cache import Cache
from kdzoo.teachers.signature import Signature

CACHE = pathlib.Path(__file__).parents[1] / "fixtures" / "cache"
# The rows that 0.4 wrote: the first view of the first image, another view of it, the last view of the second image,
# and the second test image.
ROWS = np.array([0, 40, 161, 163])
LOGITS = [
    [35.6875, -35.6875, 17.84375],
    [128.34375, -128.34375, 64.171875],
    [34.03125, -34.03125, 17.015625],
    [128.859375, -128.859375, 64.4296875],
]
MAPS = [
    [0.0, 0.0, 0.0, 0.0, 0.0],
    [0.37109375, 0.5078125, 0.12890625, 0.83984375, 0.37109375],
    [0.74609375, 0.84375, 0.44921875, 0.0625, 0.74609375],
    [0.19140625, 0.3984375, 0.39453125, 0.1015625, 0.19140625],
]


class Stub(Teacher):
    """A teacher whose outputs must all come from its tables."""

    spec, digest = "stub", "d" * 64

    def check(self, dataset):
        pass

    def compute(self, images):
        raise AssertionError("a row is missing")

    def key(self, dataset):
        return super().key(dataset) | {"dtype": "float32"}


@pytest.fixture
def dataset() -> Dataset:
    split = Split(np.zeros((2, 8, 8, 1), np.uint8), np.arange(2, dtype=np.int32), np.arange(2))
    return Dataset("tiny", split, split, 3, (0.5,), (0.25,), "crop", "f" * 64)


def test_tables_of_0_4_are_found_and_read(dataset, tmp_path, monkeypatch):
    """Each key names the same directory as in 0.4. (The key's part for the machine is fixed, as it was there.)"""
    versions = {"keras": "3.15.0", "backend": "tensorflow", "tensorflow": "2.21.0", "floatx": "float32"}
    machine = versions | {"on": ["any processor", "0123456789abcdef"]}
    monkeypatch.setattr(output_cache, "computed_by", lambda: machine)
    config = RunConfig("wrn10-1", "1-1", teachers=("stub",), kd_weight=0.9, at_weight=1000.0, augment="crop")
    shutil.copytree(CACHE, tmp_path / "cache")
    cached = CachedTeacher(Stub(), dataset, config, Cache(tmp_path / "cache"))
    outputs, missing = cached.look_up(np.arange(cached.rows))
    assert np.flatnonzero(~missing).tolist() == ROWS.tolist()
    np.testing.assert_array_equal(outputs["logits"][ROWS], np.float32(LOGITS))
    np.testing.assert_array_equal(outputs["maps"][ROWS], np.float16(MAPS))
    assert [stage.shape for stage in cached.maps(outputs["maps"])] == [(164, 2, 2), (164, 1, 1)]
    cached.close()
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_table_card_keeps_its_keys(tmp_path):
    cards = [path.read_text() for path in sorted(CACHE.glob("*/card.json"))]
    assert len(cards) == 2
    for kind, card in zip(("maps", "logits"), cards, strict=True):
        row = output_cache.RowType(*{"maps": ((5,), "float16"), "logits": ((3,), "float32")}[kind], [[2, 2], [1, 1]])
        key = json.loads(card)["key"]
        assert key["says"] == kind
        table = Cache(tmp_path).table(key, rows=164, describe=lambda row=row: row)
        assert (table.directory / output_cache.CARD).read_text() == card
        table.close()


def test_the_key_of_an_external_teacher(dataset):
    signature = Signature("classify", "x", "uint8", (8, 8, 1), {"score": (3,)})
    teacher = ExternalTeacher("path", "name", "e" * 64, signature, lambda images: {}, RunConfig("wrn10-1", "1-1"))
    assert teacher.key(dataset) == {
        "teacher": "e" * 64,
        "dataset": "f" * 64,
        "mean": (0.5,),
        "std": (0.25,),
        "signature": "classify",
        "output": "score",
        "input": "raw",
    }
