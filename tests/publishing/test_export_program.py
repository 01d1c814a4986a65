"""The program in docs/guides/export.md, without kdzoo and Keras, makes the errors that a file's record has."""

import json
import os
import pathlib

import numpy as np
import pytest

from conftest import ROOT, run_python
from kdzoo.publishing.exporter import Export, export_model

pytest.importorskip("tensorflow")
pytest.importorskip("ai_edge_litert")
Image = pytest.importorskip("PIL.Image")
PAGE = (ROOT / "docs/guides/export.md").read_text()
LINES = 20
BEFORE = "import sys\nsys.modules.update(dict.fromkeys(('kdzoo', 'zoo', 'keras', 'tensorflow')))\n"
AFTER = """
import json, pathlib
paths = sorted(pathlib.Path("pictures").rglob("*.jpg"))
print(json.dumps([classify(path) == path.parent.name for path in paths]))
"""
PICTURES = 1000


def read_program() -> str:
    """The block of the page that defines `classify`, but for its last line, which calls it."""
    (block,) = (part for part in PAGE.split("```python\n")[1:] if "def classify" in part)
    program, _, _ = block.partition("\n\nprint(")
    return program


def write_jpegs(folder: pathlib.Path, images: np.ndarray, names: list[str]) -> None:
    for i, (image, name) in enumerate(zip(images, names, strict=True)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / name / f"{i:04}.jpg", quality=100, subsampling=0)


def measure_program(folder: pathlib.Path) -> float:
    """The error of the program, in percent, over folder/pictures/CLASS/*.jpg with folder/phone.tflite."""
    code = f"import os\nos.chdir({str(folder)!r})\n{BEFORE}{read_program()}{AFTER}"
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr[-3000:]
    right = json.loads(done.stdout.splitlines()[-1])
    assert len(right) == PICTURES
    return 100 * (1 - sum(right) / len(right))


def test_the_program_is_short():
    assert len(read_program().splitlines()) <= LINES


@pytest.mark.slow
def test_it_makes_the_recorded_error_on_a_folder_of_jpegs(tmp_path):
    from kdzoo.runs.config import RunConfig
    from kdzoo.training import train

    rng = np.random.default_rng(0)
    labels = np.arange(400 + PICTURES) % 4
    images = rng.integers(0, 156, (len(labels), 16, 16, 3))
    for image, label in zip(images, labels, strict=True):
        top, left = 8 * (label // 2), 8 * (label % 2)
        image[top : top + 8, left : left + 8] += 18  # faint, so that some are taken for others
    names = [f"class {'abcd'[label]}" for label in labels]
    for split, part in (("train", slice(0, 400)), ("test", slice(400, None))):
        write_jpegs(tmp_path / "data" / split, images[part].astype(np.uint8), names[part])
    (tmp_path / "pictures").symlink_to(tmp_path / "data/test")
    config = RunConfig("wrn10-1", "2-3", dataset=f"folder:{tmp_path}/data", batch_size=50, augment="none")
    train.run(config, tmp_path / "run")
    record = export_model(Export(str(tmp_path / "run"), "litert", out=str(tmp_path / "phone.tflite")))
    assert record["test_examples"] == PICTURES
    assert 1 < record["test_error"] < 60
    assert measure_program(tmp_path) == pytest.approx(record["test_error"], abs=0.1 + 1e-9)


@pytest.mark.slow
@pytest.mark.skipif("TFDS_DATA_DIR" not in os.environ, reason="TFDS_DATA_DIR is not set: no CIFAR-10")
def test_it_makes_the_recorded_error_of_a_published_model_on_cifar10(tmp_path):
    from kdzoo.data import load

    out = str(tmp_path / "phone.tflite")
    record = export_model(Export("wrn16-1_10-35", "litert", out=out, examples=PICTURES))
    test = load("cifar10").test
    names = [record["class_names"][label] for label in test.labels[:PICTURES]]
    write_jpegs(tmp_path / "pictures", test.read(np.arange(PICTURES)), names)
    # A JPEG of highest quality still changes pixels by a level or two.
    assert measure_program(tmp_path) == pytest.approx(record["test_error"], abs=0.5)
