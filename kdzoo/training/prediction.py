"""Classes of pictures of any size, by a trained network."""

import concurrent.futures
import csv
import dataclasses
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TextIO

import numpy as np
from PIL import Image

from kdzoo.data import augmentation, class_names, crops
from kdzoo.data.decoding import Picture, Undecodable, open_picture, parse_colour
from kdzoo.data.picture_files import RULE, check_exists, list_files, read_file
from kdzoo.hub import models
from kdzoo.training.evaluation import build
from zoo import InputError

TOP = 5  # classes that are named
BATCH = 64
BATCH_PIXELS = 2**22  # most pixels of a batch
THREADS = 4  # that decode


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a network takes a picture for.

    Attributes:
        path: of the picture.
        classes: names of the most probable classes, most probable first: five, or all if there are fewer.
        probabilities: of these classes, from 0 to 1.
    """

    path: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]


def predict_pictures(
    spec: str | os.PathLike[str], images: str | os.PathLike[str], left_out: Callable[[str, str], None]
) -> Iterator[Prediction]:
    """Yields what a trained network takes the pictures in a folder for, sorted by their paths, batch by batch.

    A picture is brought to the network's size as in its test set, see `view_of`. Memory does not grow with the number
    of pictures, but for the names of one folder.

    Args:
        spec: a run's directory, or a published model's name, address or directory; see `kdzoo.training.evaluate_run`.
        images: the folder, which may hold others; or one picture.
        left_out: called with the path of each file that is no picture, and the reason, once a picture was found.

    Raises:
        InputError: if there is no such network or folder, or no file in it is a picture.
    """
    images = os.fspath(images)
    check_exists(images)
    trained = models.resolve(spec)
    view = view_of(trained.record)
    return _predict(trained, view, images, left_out)


def view_of(record: Mapping[str, Any]) -> Callable[[Picture], np.ndarray]:
    """Returns what brings a picture to a network's size, uint8 [h, w, c], as in its test set.

    Of a network whose images were resized that is the centred square of 0.875 of the shorter side, resampled. Of one
    whose images were taken as they are it is the whole centred square; a picture of the network's size stays as it is.
    (For an oblong network read rectangle.) Networks of grey images see pictures in grey.

    Args:
        record: of a run, or a published model's card.

    Raises:
        InputError: if the network takes images of other than 1 or 3 channels.
    """
    height, width, channels = record["dataset"]["image_shape"]
    share = crops.share_of(record["config"].get("augment", ""))
    if channels not in (1, 3):
        raise InputError(f"A network must take images of 1 or 3 channels to see pictures. Received: {channels}")

    def view(picture: Picture) -> np.ndarray:
        box = crops.centre_box(picture.height, picture.width, height, width, share=share)
        image = picture.crop(box, (height, width), mirror=False)
        return image if channels == 3 else np.asarray(Image.fromarray(image).convert("L"))[..., None]

    return view


def write_csv(predictions: Iterator[Prediction], file: TextIO) -> None:
    """Writes a row for each prediction: path, class, probability, then class and probability of the first, second..."""
    writer = csv.writer(file, lineterminator="\n")
    for i, prediction in enumerate(predictions):
        if i == 0:
            ranks = range(1, 1 + len(prediction.classes))
            top = [f"{name}_{rank}" for rank in ranks for name in ("class", "probability")]
            writer.writerow(["path", "class", "probability", *top])
        cells = [
            cell
            for name, probability in zip(prediction.classes, prediction.probabilities, strict=True)
            for cell in (name, f"{probability:.6f}")
        ]
        writer.writerow([prediction.path, *cells[:2], *cells])


def _predict(
    trained: models.Trained,
    view: Callable[[Picture], np.ndarray],
    images: str,
    left_out: Callable[[str, str], None],
) -> Iterator[Prediction]:
    record = trained.record
    names = class_names.of_record(record["dataset"])
    mean, std = (record["dataset"][key] for key in ("mean", "std"))
    model = None
    for paths, pixels in _batches(record, view, images, left_out):
        model = model or build(trained)  # not before there is a picture
        logits = np.asarray(model.predict_on_batch(augmentation.standardise(pixels, mean=mean, std=std)), np.float64)
        odds = np.exp(logits - logits.max(-1, keepdims=True))
        probabilities = odds / odds.sum(-1, keepdims=True)
        order = np.argsort(-logits, axis=-1, kind="stable")[:, :TOP]
        for path, best, row in zip(paths, order.tolist(), probabilities, strict=True):
            yield Prediction(path, tuple(names[i] for i in best), tuple(row[best].tolist()))


def _batches(
    record: Mapping[str, Any],
    view: Callable[[Picture], np.ndarray],
    images: str,
    left_out: Callable[[str, str], None],
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Yields paths and images, uint8 [n, h, w, c]. Raises InputError at the end if there were none."""
    background = parse_colour(record["config"].get("background", "white"))
    height, width, _ = record["dataset"]["image_shape"]
    size = max(1, min(BATCH, BATCH_PIXELS // (height * width)))
    reasons: list[tuple[str, str]] = []  # why files are left out; reported once a picture was found
    waiting: list[tuple[str, np.ndarray]] = []
    found = False

    def read(path: str) -> np.ndarray | str:
        """The image of a file, or why there is none."""
        try:
            return view(open_picture(read_file(path), background))
        except (OSError, Undecodable) as error:
            return getattr(error, "strerror", None) or str(error)
        except MemoryError:
            return "not enough memory"

    files = list_files(images, lambda path, reason: reasons.append((path, reason)))
    with concurrent.futures.ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        while paths := list(itertools.islice(files, size)):
            for path, result in zip(paths, pool.map(read, paths), strict=True):
                if isinstance(result, str):
                    reasons.append((path, result))
                else:
                    waiting.append((path, result))
            if found := found or bool(waiting):
                for path, reason in reasons:
                    left_out(path, reason)
                reasons.clear()
            while len(waiting) >= size:  # full batches alone: each size is another program to compile
                yield _stack(waiting[:size])
                del waiting[:size]
    if waiting:
        yield _stack(waiting)
    if not found:
        path, reason = min(reasons) if reasons else (images, "an empty folder")
        more = f"; and {len(reasons) - 1:,} others" if len(reasons) > 1 else ""
        raise InputError(f"{RULE}. Received: {path}: {reason}{more}")


def _stack(views: Sequence[tuple[str, np.ndarray]]) -> tuple[list[str], np.ndarray]:
    return [path for path, _ in views], np.stack([image for _, image in views])
