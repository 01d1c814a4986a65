"""Classes of the pictures in a folder: those of the evaluation, for pictures of any size, streamed."""

import csv
import io
import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from conftest import app, run_python
from kdzoo.data import crops, sources
from kdzoo.data.decoding import open_picture
from kdzoo.training import evaluation, prediction
from zoo import InputError

RNG = np.random.default_rng(0)


def record_of(shape: tuple[int, ...], augment: str = "crop_flip") -> dict:
    return {"dataset": {"image_shape": list(shape)}, "config": {"augment": augment}}


@pytest.fixture
def photos(npz, tmp_path) -> pathlib.Path:
    """The test images of `npz` as files, among others that are no pictures."""
    folder = tmp_path / "photos"
    for i, image in enumerate(sources.load(f"npz:{npz}").test.array):
        path = folder / f"{i % 3}" / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    (folder / "0" / 'read "me", please.txt').write_text("no picture")
    (folder / "1" / "empty.png").touch()
    return folder


def predict(run, images) -> tuple[list[prediction.Prediction], list[tuple[str, str]]]:
    left_out: list[tuple[str, str]] = []
    return list(prediction.predict_pictures(run, images, lambda *reason: left_out.append(reason))), left_out


def test_predictions_are_those_of_the_evaluation(teacher_run, photos):
    predictions, left_out = predict(teacher_run, photos)
    assert [found.path for found in predictions] == sorted(str(path) for path in photos.rglob("[0-9]*.png"))
    expected = evaluation.evaluate_run(teacher_run)["predicted"]
    for found in predictions:
        assert found.classes[0] == str(expected[int(pathlib.Path(found.path).stem)])
        assert sorted(found.classes) == ["0", "1", "2", "3"]
        assert sum(found.probabilities) == pytest.approx(1)
        assert list(found.probabilities) == sorted(found.probabilities, reverse=True)
    assert left_out == [
        (str(photos / "0" / 'read "me", please.txt'), "no header of a JPEG, PNG, WebP, BMP, GIF or TIFF file"),
        (str(photos / "1" / "empty.png"), "empty"),
    ]


def test_pictures_are_read_while_those_before_them_are_predicted(teacher_run, tmp_path):
    for i in range(150):
        Image.fromarray(RNG.integers(0, 256, (20, 30, 3), np.uint8)).save(tmp_path / f"{i:03d}.png")
    left_out: list[tuple[str, str]] = []
    predictions = prediction.predict_pictures(teacher_run, tmp_path, lambda *reason: left_out.append(reason))
    first = next(predictions)
    (tmp_path / "000.png").unlink()
    (tmp_path / "149.png").unlink()
    paths = [first.path, *(found.path for found in predictions)]
    assert paths == [str(tmp_path / f"{i:03d}.png") for i in range(149)]
    assert left_out == [(str(tmp_path / "149.png"), "No such file or directory")]


@pytest.mark.parametrize("size", [(16, 16), (50, 31), (31, 50), (8, 9), (1, 1), (300, 20)])
def test_a_picture_becomes_the_centred_square(size):
    pixels = RNG.integers(0, 256, (*size, 3), np.uint8)
    side = min(size)
    top, left = ((length - side) / 2 for length in size)
    image = Image.fromarray(pixels)
    whole = image.resize((16, 16), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
    seen = prediction.view_of(record_of((16, 16, 3)))(open_picture(pixels, (0, 0, 0)))
    np.testing.assert_allclose(seen.astype(int), np.asarray(whole).astype(int), atol=1)  # Pillow's rounding is another
    if size == (16, 16):
        np.testing.assert_array_equal(seen, pixels)
    for augment in ("inception", "resize"):
        resized = prediction.view_of(record_of((16, 16, 3), augment))(open_picture(pixels, (0, 0, 0)))
        plain = crops.Transform(augment, (16, 16)).plain(open_picture(pixels, (0, 0, 0)))
        np.testing.assert_array_equal(resized, plain)


def test_networks_of_oblong_and_of_grey_images_see_pictures_as_well():
    pixels = RNG.integers(0, 256, (40, 60, 3), np.uint8)
    grey = prediction.view_of(record_of((8, 24, 1)))(open_picture(pixels, (0, 0, 0)))
    cropped = Image.fromarray(pixels).resize((24, 8), Image.Resampling.BILINEAR, box=(0, 10, 60, 30))
    np.testing.assert_allclose(grey[..., 0].astype(int), np.asarray(cropped.convert("L")).astype(int), atol=1)
    with pytest.raises(InputError, match=r"must take images of 1 or 3 channels to see pictures\. Received: 4"):
        prediction.view_of(record_of((8, 8, 4)))


@pytest.mark.parametrize("content", [{}, {"a.txt": "a", "b.txt": "b", "c.png": ""}])
def test_a_folder_without_pictures_is_refused_in_one_line(teacher_run, tmp_path, content):
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    reason = "a.txt: no header of .*; and 2 others" if content else f"{tmp_path}: an empty folder"
    left_out: list[tuple[str, str]] = []
    with pytest.raises(InputError, match=rf"must be a folder with pictures, or a picture\. Received: .*{reason}$"):
        list(prediction.predict_pictures(teacher_run, tmp_path, lambda *one: left_out.append(one)))
    assert left_out == []


def test_what_does_not_exist_is_refused_at_once(teacher_run, tmp_path):
    with pytest.raises(InputError, match=r"Received: .*none', which does not exist"):
        prediction.predict_pictures(teacher_run, tmp_path / "none", print)
    with pytest.raises(InputError, match="directory of a finished run"):
        prediction.predict_pictures(tmp_path, tmp_path, print)


def test_the_csv_is_quoted_and_has_as_many_classes_as_there_are_up_to_five():
    text = io.StringIO()
    names = ("a, b", 'c "d"', "e\nf")
    prediction.write_csv(iter([prediction.Prediction("x,\ry.png", names, (0.5, 0.3, 0.2))]), text)
    heading, row = csv.reader(io.StringIO(text.getvalue(), newline=""))
    assert heading == [
        "path",
        "class",
        "probability",
        *(f"{n}_{i}" for i in (1, 2, 3) for n in ("class", "probability")),
    ]
    assert row[1:] == ["a, b", "0.500000", "a, b", "0.500000", 'c "d"', "0.300000", "e\nf", "0.200000"]
    assert row[0] == "x,\ry.png"


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_the_command_writes_a_csv(backend, teacher_run, photos, tmp_path):
    output = tmp_path / "classes.csv"
    os.rename(photos / "2" / "002.png", os.fsencode(photos / "2") + b"/\xff.png")  # a path that is no UTF-8
    call = app(backend, "predict", f"--model={teacher_run}", f"--images={photos}", f"--output={output}")
    done = run_python(*call.pop("args"), **call)
    assert (done.returncode, done.stdout) == (0, "")
    assert len(done.stderr.splitlines()) == 2
    with open(output, newline="", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    expected, _ = predict(teacher_run, photos)
    assert [row["path"] for row in rows] == [found.path for found in expected]
    for row, found in zip(rows, expected, strict=True):
        assert row["class"] == row["class_1"] == found.classes[0]
        assert float(row["probability"]) == pytest.approx(found.probabilities[0], abs=1e-4)
