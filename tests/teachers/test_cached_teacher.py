"""One teacher and its tables: what the key of a table holds, and tables that version 0.4 wrote."""

import contextlib
import json
import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

from conftest import run_python
from kdzoo.data import sources
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


def server(dataset: Dataset, scale: float, *, spec: str = "grpc://one:8500/name") -> ExternalTeacher:
    """A served teacher without a test error, whose logits are of this scale."""
    signature = Signature("classify", "x", "uint8", (8, 8, 1), {"score": (3,)})

    def call(images):
        return {"score": scale * (2 * np.eye(3, dtype=np.float32) - 1)[np.arange(len(images)) % 3]}

    teacher = ExternalTeacher(spec, "name", None, signature, call, RunConfig("wrn10-1", "1-1"))
    teacher.check(dataset)
    teacher.measure(dataset)
    return teacher


def test_servers_of_one_name_and_error_share_no_rows(dataset, tmp_path):
    config = RunConfig("wrn10-1", "1-1", teachers=("grpc://one:8500/name",), kd_weight=0.9, augment="crop")
    small, large, moved = server(dataset, 1.0), server(dataset, 19.0), server(dataset, 1.0, spec="grpc://two:1/name")
    assert small.record["test_error_last"] == large.record["test_error_last"] == 0
    assert small.record["digest"] == moved.record["digest"] != large.record["digest"]
    rows = np.arange(4)
    for teacher, scale, present in ((small, 1, False), (large, 19, False), (small, 1, True), (moved, 1, True)):
        with contextlib.closing(CachedTeacher(teacher, dataset, config, Cache(tmp_path))) as cached:
            outputs, missing = cached.look_up(rows)
            assert (~missing).tolist() == [present] * len(rows)
            logits = outputs["logits"] if present else cached.compute(rows)["logits"]
            assert logits.max() == scale


def test_one_bit_of_one_logit_makes_another_server(dataset):
    assert server(dataset, 1.0).digest != server(dataset, float(np.nextafter(np.float32(1), np.float32(2)))).digest


def test_settings_that_change_logits_are_part_of_every_key(monkeypatch):
    for name in output_cache.NUMERIC_SETTINGS:
        monkeypatch.delenv(name, raising=False)
    unset = output_cache.computed_by()
    assert unset.keys() == {"keras", "backend", unset["backend"], "floatx", "on"}  # as in 0.4
    for name in output_cache.NUMERIC_SETTINGS:
        with monkeypatch.context() as patch:
            patch.setenv(name, "1")
            assert output_cache.computed_by() == unset | {name: "1"}


LOGITS_OF_SETTING = """
import sys
import numpy as np
from kdzoo.distillation.dtype import dtype_policy
from kdzoo.hub import models
from kdzoo.teachers import output_cache
from kdzoo.teachers.zoo_teacher import compile_program

with dtype_policy("mixed_bfloat16"):
    model = models.find("wrn16-2_10-35").build()
images = np.random.default_rng(0).normal(size=(128, *model.input_shape[1:])).astype("f4")
np.save(sys.argv[1], np.asarray(compile_program(model, attention=False)(images)["logits"]))
print(output_cache.computed_by())
"""


@pytest.mark.slow
def test_a_setting_that_changes_logits_has_tables_of_its_own(tmp_path):
    """On a processor with bfloat16 instructions: oneDNN without them rounds elsewhere."""
    pytest.importorskip("tensorflow")
    if "avx512_bf16" not in pathlib.Path("/proc/cpuinfo").read_text():
        pytest.skip("the processor has no bfloat16 instructions")
    logits, keys = [], []
    for setting in (None, "AVX512_CORE"):
        environment = {"ONEDNN_MAX_CPU_ISA": setting, "KERAS_BACKEND": "tensorflow"}
        path = tmp_path / f"{setting}.npy"
        done = run_python("-c", LOGITS_OF_SETTING, str(path), env=environment)
        assert done.returncode == 0, done.stderr[-3000:]
        keys.append(done.stdout.splitlines()[-1])
        logits.append(np.load(path))
    assert 0 < np.abs(logits[0] - logits[1]).max() < 0.1
    assert keys[0] != keys[1]


class Brightness(Stub):
    """A teacher whose logits are the mean of an image."""

    def compute(self, images):
        logits = images.mean((1, 2, 3), np.float32)[:, None] * np.ones(2, np.float32)
        return {"logits": logits, "maps": []}


def test_outputs_for_a_picture_that_was_replaced_are_not_found(tmp_path, monkeypatch):
    monkeypatch.setenv("KDZOO_CACHE", str(tmp_path / "cache"))
    for number in range(8):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9), (number, 0, 0)).save(path)
    data = {"dataset": f"folder:{tmp_path}/photos", "image_size": 8, "test_share": 0.3, "views": 2}
    data["dataset_name"] = "cifar10"  # whose mean and standard deviation are known
    config = RunConfig("wrn10-1", "1-1", teachers=("stub",), kd_weight=0.9, augment="inception", **data)

    def teach():
        cached = CachedTeacher(Brightness(), sources.load(config.data), config, Cache(tmp_path / "tables"))
        with contextlib.closing(cached):
            outputs, missing = cached.look_up(np.arange(cached.rows))
            return outputs["logits"] if not missing.any() else cached.compute(np.arange(cached.rows))["logits"]

    first = teach()
    Image.new("RGB", (9, 9), (200, 200, 200)).save(path)  # of the same size in bytes
    second = teach()
    assert 199 < second.max() < 201
    assert first.max() < 10
    assert (first != second).any(axis=1).sum() in (1, 2)  # a test picture, or the crops of a training picture
    assert len(list((tmp_path / "tables").iterdir())) == 2
