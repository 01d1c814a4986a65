"""Data sets of pictures: in memory if their images have one size and fit, else streamed."""

import contextlib
import dataclasses
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from kdzoo.data import augmentation
from kdzoo.data.config import DataConfig
from kdzoo.data.crops import TEST_CROP, Transform
from kdzoo.data.dataset import STATISTICS, Dataset, Split, array_digest, canonical, from_arrays, statistics
from kdzoo.data.decoding import FILTER, LIBRARIES, Undecodable, open_picture, parse_colour
from kdzoo.data.source import ArraySource, Source
from kdzoo.data.streaming import Stream, StreamedImages, check_left_out, describe_contents, paths_left_out
from zoo import InputError

MOST_WORKERS = 16  # unless their number is given
SAMPLE = 2000  # pictures of which a streamed data set's mean and standard deviation are


def from_sources(
    name: str,
    train: Source,
    test: Source,
    *,
    class_names: tuple[str, ...],
    fingerprint: str,
    config: DataConfig,
    workers: int = 0,
) -> Dataset:
    """Returns the data set of two sources of encoded pictures.

    Args:
        name: that runs record.
        train, test: its splits.
        class_names: of the labels.
        fingerprint: of both sources, for a streamed data set.
        config: its views, and how much may be in memory.
        workers: processes that decode; 0: this one does, -1: one for each of several cores, at most 16.

    Raises:
        InputError: if the pictures must be of one size and are not, or too many cannot be decoded.
    """
    sources, background = [train, test], parse_colour(config.background)
    check_left_out(sources)
    augment = config.augment
    if augment == "auto":
        augment = "inception" if config.image_size else "crop_flip"
    size = (config.image_size, config.image_size) if config.image_size else _first_size(train, background)
    if not config.image_size and augment in augmentation.RESIZED:
        raise InputError(f"image_size must be set for augment={augment}, for example 224. Received: 0")
    stream = Stream(sources, Transform(augment, size), background=background, workers=_count(workers))
    count = len(train) + len(test)
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.closing(stream))
        if augment != "inception" and count * math.prod(stream.shape) <= config.memory_gb * 1e9:
            (x_train, y_train), (x_test, y_test) = (_read_all(stream, number) for number in range(2))
            dataset = from_arrays(name, x_train, y_train, x_test, y_test, class_names)
            preparation = _describe(augment, size) if augment in augmentation.RESIZED else {}
            found = describe_contents(train, test)
            return dataclasses.replace(dataset, augment=augment, preparation=preparation, found=found)
        train_split, test_split = (_split(stream, number) for number in range(2))
        sample = train_split.read(np.arange(min(SAMPLE, len(train))))
        stack.pop_all()  # the data set closes it
    mean, std = STATISTICS.get(name) or statistics(sample)
    return Dataset(
        name=name,
        train=train_split,
        test=test_split,
        num_classes=len(class_names),
        mean=mean,
        std=std,
        augment=augment,
        fingerprint=fingerprint,
        class_names=class_names,
        preparation=_describe(augment, size) | {"background": list(background)},
    )


def with_crops(dataset: Dataset, config: DataConfig) -> Dataset:
    """Returns a data set in memory with its images resized, or in random-resized crops, as `config.augment` sets."""
    size = (config.image_size, config.image_size) if config.image_size else dataset.image_shape[:2]
    train, test = _stream_arrays(dataset, Transform(config.augment, size))
    if config.augment != "inception":
        train, test = (Split(split.read(split.indices), split.labels, split.indices) for split in (train, test))
    preparation = _describe(config.augment, size)
    return dataclasses.replace(dataset, train=train, test=test, augment=config.augment, preparation=preparation)


def add_unlabelled(
    dataset: Dataset, pictures: Source, *, fingerprint: str, config: DataConfig, workers: int = 0
) -> Dataset:
    """Returns a data set with pictures without labels. In memory are all its images or none.

    Args:
        dataset: of labelled images.
        pictures: without labels.
        fingerprint: of the pictures, if they are streamed.
        config: of the whole data set.
        workers: see `from_sources`.

    Raises:
        InputError: if they do not fit the images in size or channels, or too many cannot be decoded.
    """
    height, width, channels = dataset.image_shape
    if pictures.channels != channels:
        received = f"{pictures.channels} in {config.unlabelled}"
        raise InputError(f"Unlabelled pictures must have the data set's channels, {channels}. Received: {received}")
    check_left_out([pictures])
    augment = dataset.augment if config.augment == "auto" else config.augment
    stream = Stream(
        [pictures],
        Transform(augment, (height, width)),
        background=parse_colour(config.background),
        channels=channels,
        workers=0 if isinstance(pictures, ArraySource) else _count(workers),
    )
    count, first = len(dataset.train) + len(dataset.test) + len(pictures), len(dataset.train)
    changed: dict[str, Any] = {}
    if dataset.train.streamed is None and count * math.prod(stream.shape) <= config.memory_gb * 1e9:
        with contextlib.closing(stream):
            split = canonical(*_read_all(stream, 0))
        fingerprint = array_digest(split.array)
        if paths := paths_left_out([pictures]):
            changed["found"] = {**dataset.found, "left_out": [*dataset.found.get("left_out", ()), *paths]}
    else:
        split = _split(stream, 0)
        if dataset.train.streamed is None:  # its images have their size already
            transform = Transform("none" if augment == "resize" else augment, (height, width))
            changed["train"], changed["test"] = _stream_arrays(dataset, transform)
        background = {"background": list(parse_colour(config.background))}
        changed["preparation"] = {**dataset.preparation, **_describe(augment, (height, width)), **background}
    changed["unlabelled"] = dataclasses.replace(split, indices=first + split.indices)
    return dataclasses.replace(dataset, unlabelled_fingerprint=fingerprint, **changed)


def _stream_arrays(dataset: Dataset, transform: Transform) -> tuple[Split, Split]:
    """The splits of a data set in memory, with their images in views that are made when they are read."""
    sources = [ArraySource(split.array, split.labels) for split in (dataset.train, dataset.test)]
    stream = Stream(sources, transform, background=(0, 0, 0), channels=dataset.image_shape[2])
    return _split(stream, 0), _split(stream, 1)


def _count(workers: int) -> int:
    """The number of processes; -1 stands for one for each core, at most 16, and none beside the run's on one core."""
    if workers >= 0:
        return workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    return min(MOST_WORKERS, cores) if cores > 1 else 0  # a worker on the run's own core only costs: benchmarks/data.py


def _split(stream: Stream, number: int) -> Split:
    labels = stream.sources[number].labels
    indices = np.arange(len(labels))
    return Split(StreamedImages(stream, number, indices), labels, indices)


def _read_all(stream: Stream, number: int) -> tuple[np.ndarray, np.ndarray]:
    """All images of a split that can be decoded, and their labels."""
    source, step = stream.sources[number], stream.views_ahead
    images = np.empty((len(source), *stream.shape), np.uint8)
    for first in range(0, len(source), step):
        part = np.arange(first, min(first + step, len(source)))
        stream.prefetch(number, part)
        stream.prefetch(number, np.arange(part[-1] + 1, min(part[-1] + 1 + step, len(source))))
        images[part] = stream.read(number, part)
    kept = ~source.left_out
    return (images, source.labels) if kept.all() else (images[kept], source.labels[kept])


def _first_size(source: Source, background: tuple[int, int, int]) -> tuple[int, int]:
    """Height and width of the first picture that can be decoded."""
    for index in np.flatnonzero(~source.left_out).tolist():
        try:
            picture = open_picture(source.read(index)[0], background)
            return picture.height, picture.width
        except Undecodable as error:
            source.leave_out(index, str(error))
            check_left_out([source])
    raise InputError("A data set must have a picture that can be decoded. Received: none")


def _describe(augment: str, size: Sequence[int]) -> dict[str, object]:
    """What pixels depend on, beside the pictures."""
    described: dict[str, object] = {"size": list(size), "libraries": LIBRARIES}
    return described | ({"filter": FILTER, "test_crop": TEST_CROP} if augment in augmentation.RESIZED else {})
