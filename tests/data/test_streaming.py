"""Pictures decoded as they are needed: the same views for any number of workers, and one line when a worker fails."""

import io
import os
import signal
import threading
import time

import numpy as np
import pytest
from PIL import Image

from kdzoo.data import augmentation, crops, streaming
from kdzoo.data.decoding import open_picture
from kdzoo.data.source import Source
from zoo import InputError

WHITE = (255, 255, 255)


def encode(image: np.ndarray, kind: str = "JPEG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind)
    return file.getvalue()


class Encoded(Source):
    """Pictures in a list."""

    def __init__(self, contents: list[bytes]):
        self._contents = contents
        self.labels = np.arange(len(contents), dtype=np.int32)
        self.left_out = np.zeros(len(contents), bool)
        self.digests: dict[int, bytes] = {}

    def read(self, index: int) -> tuple[bytes, bytes | None]:
        if self._contents[index] == b"gone":
            raise InputError(f"A picture must stay where it was. Received: {self.path(index)}")
        if self._contents[index] == b"hang":
            time.sleep(600)
        return self._contents[index], bytes([index % 256])

    def path(self, index: int) -> str:
        return f"picture {index}"

    def keep_digest(self, index: int, digest: bytes) -> None:
        self.digests[index] = digest


def pictures(count: int, seed: int = 0) -> list[bytes]:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(20, 90, (count, 2))
    blocks = (rng.integers(0, 256, (4, 4, 3), dtype=np.uint8) for _ in sizes)
    images = [Image.fromarray(block).resize(size) for block, size in zip(blocks, sizes.tolist(), strict=True)]
    return [encode(np.asarray(image), "JPEG" if i % 3 else "PNG") for i, image in enumerate(images)]


def stream(contents: list[bytes], processes: int = 0, augment: str = "inception", size: int = 24) -> streaming.Stream:
    sources = [Encoded(contents), Encoded(contents[:5])]
    return streaming.Stream(sources, crops.Transform(augment, (size, size)), background=WHITE, workers=processes)


def test_views_are_the_same_for_any_number_of_workers():
    contents, indices = pictures(120), np.random.default_rng(1).permutation(120)
    views = indices * 7 % 5
    alone = stream(contents)
    expected, plain = alone.read(0, indices, views), alone.read(1, np.arange(5))
    for processes in (1, 3):
        several = stream(contents, processes)
        try:
            several.prefetch(0, indices[:40], views[:40])
            np.testing.assert_array_equal(several.read(0, indices, views), expected)
            np.testing.assert_array_equal(several.read(0, indices[::-1], views[::-1]), expected[::-1])
            np.testing.assert_array_equal(several.read(1, np.arange(5)), plain)
            assert several.sources[0].digests.keys() == set(range(120))
        finally:
            several.close()


def test_a_view_is_a_function_of_index_and_number():
    contents = pictures(1) * 3
    images = stream(contents).read(0, np.array([0, 0, 1, 0]), np.array([0, 1, 0, 0]))
    np.testing.assert_array_equal(images[0], images[3])
    assert (images[0] != images[1]).any()
    assert (images[0] != images[2]).any()


def test_more_views_than_the_table_holds(monkeypatch):
    monkeypatch.setattr(streaming, "CELLS", 32)
    contents, indices = pictures(100), np.tile(np.arange(100), 2)
    expected = stream(contents, augment="resize").read(0, indices)
    several = stream(contents, 2, augment="resize")
    results = [np.empty(0)] * 4

    def read(thread: int) -> None:
        results[thread] = several.read(0, np.roll(indices, 10 * thread))

    threads = [threading.Thread(target=read, args=(thread,)) for thread in range(4)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for i, result in enumerate(results):
            np.testing.assert_array_equal(result, np.roll(expected, 10 * i, axis=0))
    finally:
        several.close()


def test_the_next_picture_takes_the_place_of_one_that_is_none(caplog):
    contents = pictures(300)
    contents[7], contents[8] = b"", contents[8][:30]
    for processes in (0, 2):
        one = stream(contents, processes)
        try:
            images = streaming.StreamedImages(one, 0, np.arange(300))
            read = images.read(np.arange(300), np.full(300, 3))
            assert images.labels(np.array([6, 7, 8, 9])).tolist() == [6, 9, 9, 9]
            np.testing.assert_array_equal(read[7], read[9])
            assert streaming.describe_contents(*one.sources) == {"left_out": ["picture 7", "picture 8"]}
        finally:
            one.close()
    assert "picture 7 is left out: empty" in caplog.text


def test_too_many_pictures_that_are_none():
    contents = pictures(100)
    contents[3] = contents[5] = b"no picture"
    with pytest.raises(InputError, match=r"At most 1%.*Received: 2 of 105, for example picture 3"):
        stream(contents).read(0, np.arange(100))


@pytest.mark.parametrize("processes", [0, 2])
def test_a_picture_that_is_gone(processes):
    contents = pictures(40)
    contents[20] = b"gone"
    one = stream(contents, processes)
    try:
        for _ in range(2):
            with pytest.raises(InputError, match="picture 20"):
                one.read(0, np.arange(40))
        assert one.read(0, np.arange(20)).shape == (20, 24, 24, 3)
    finally:
        one.close()


def read_often(one: streaming.Stream, rng: np.random.Generator) -> None:
    for _ in range(100):
        one.read(0, np.arange(100), rng.integers(0, 2**31, 100))


def test_a_worker_that_is_killed():
    several = stream(pictures(100), 2)
    try:
        several.read(0, np.arange(40))
        os.kill(several._pool._context.started[0].pid, signal.SIGKILL)
        rng = np.random.default_rng(0)
        with pytest.raises(InputError, match="a worker that has ended"):  # soon, if not at once
            read_often(several, rng)
    finally:
        several.close()


def test_a_worker_that_hangs(monkeypatch):
    contents = pictures(40)
    contents[35] = b"hang"
    several = stream(contents, 1)
    try:
        several.read(0, np.arange(16))
        monkeypatch.setattr(streaming, "SECONDS", 1.0)
        with pytest.raises(InputError, match="none for 1 s"):
            several.read(0, np.arange(40))
    finally:
        began = time.monotonic()
        several.close()
    assert time.monotonic() - began < 5
    assert not [process for process in several._pool._context.started if process.is_alive()]


def test_pictures_of_another_size():
    with pytest.raises(InputError, match=r"one size, 24x24; augment=resize\|inception .*Received: .*picture 0"):
        stream(pictures(3), augment="crop_flip").read(0, np.arange(3))


def test_crop_flip_of_single_pictures():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 24, 24, 3), dtype=np.uint8)
    one = stream([encode(image, "PNG") for image in images], augment="crop_flip")
    views = rng.integers(0, 162, 6)
    np.testing.assert_array_equal(one.read(0, np.arange(6), views), augmentation.apply_views(images, views))
    np.testing.assert_array_equal(one.read(0, np.arange(6)), images)


def test_random_resized_crops_are_spread_as_they_should_be():
    draws = crops.draw(np.arange(4000), np.zeros(4000, int))
    boxes = [crops.inception_box(300, 400, numbers) for numbers in draws]
    areas = np.array([(box.right - box.left) * (box.bottom - box.top) / 120_000 for box, _ in boxes])
    ratios = np.array([(box.right - box.left) / (box.bottom - box.top) for box, _ in boxes])
    assert all(0 <= box.left < box.right <= 400 and 0 <= box.top < box.bottom <= 300 for box, _ in boxes)
    assert areas.min() > 0.078
    assert areas.max() < 1.01
    assert 0.73 < ratios.min() < 0.77
    assert 1.31 < ratios.max() < 1.37
    assert abs(np.mean([mirror for _, mirror in boxes]) - 0.5) < 0.03
    rng = np.random.default_rng(0)  # the same by NumPy's generator, all at once
    area, ratio = 120_000 * rng.uniform(0.08, 1, 50_000), np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3), 50_000))
    fits = (np.sqrt(area * ratio) <= 400) & (np.sqrt(area / ratio) <= 300)
    assert abs(areas.mean() - area[fits].mean() / 120_000) < 0.01


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 500), (500, 1), (3, 2)])
def test_crops_of_very_small_and_narrow_pictures(height, width):
    picture = open_picture(np.full((height, width, 3), 9, np.uint8), WHITE)
    transform = crops.Transform("inception", (8, 8))
    for numbers in crops.draw(np.arange(20), np.arange(20)):
        assert (transform.view(picture, 0, numbers) == 9).all()
    assert (transform.plain(picture) == 9).all()


def test_the_centred_square():
    assert crops.centre_box(256, 512, 224, 224) == (144, 16, 368, 240)
    assert crops.centre_box(512, 256, 224, 224) == (16, 144, 240, 368)
