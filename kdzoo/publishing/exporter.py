"""Exports a trained network: a file of another format, run in that format's own runtime before it gets its name."""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from kdzoo import digests, files
from kdzoo.data.dataset import Dataset, Split
from kdzoo.hub import models
from kdzoo.publishing import file_writer, measurement
from kdzoo.publishing.formats import base, registry
from kdzoo.publishing.replacement import replacing
from kdzoo.ranges import Range
from kdzoo.runs import machine
from zoo import InputError

LABELS, RECORD = ".labels.txt", ".json"  # added to the file's name
TOLERANCE = Range(least=0, most=100, example=0.5)  # percentage points
SHARE = Range(above=0, most=10, example=0.3)
CALIBRATION = Range(least=1, most=2**16, whole=True, example=256)


@dataclasses.dataclass(frozen=True)
class Export:
    """What to export.

    Attributes:
        model: a run's directory, or a published model's name, address or directory.
        format: a key of `kdzoo.publishing.formats.registry.FORMATS`.
        quantize: none, float16 or int8, as far as the format has it.
        out: path of the file; "": the model's name, in the current directory.
        tolerance: by how many points the file's test error may differ from the network's, in percent.
        max_share: of the bytes in float32 that a file in int8 may have.
        dataset: source of the model's data set, see `kdzoo.data.load`; None: the one in its record.
        examples: number of test images, from the first; None: all.
        calibration_examples: number of training images that calibrate int8, from the first.
    """

    model: str
    format: str
    quantize: str = "none"
    out: str = ""
    tolerance: float = TOLERANCE.example
    max_share: float = SHARE.example
    dataset: str | None = None
    examples: int | None = None
    calibration_examples: int = int(CALIBRATION.example)

    def check(self) -> tuple[base.Format, models.Trained, pathlib.Path]:
        """Returns format, network and the file's path, without importing a backend.

        Raises:
            InputError: if the format or the model does not exist, a package is not installed, a number is out of its
                range, or no such file can be written.
        """
        kind = registry.find(self.format)
        kind.check(self.quantize)
        TOLERANCE.check("tolerance", self.tolerance)
        SHARE.check("max_share", self.max_share)
        CALIBRATION.check("calibration_examples", self.calibration_examples)
        trained = models.resolve(self.model)
        path = pathlib.Path(self.out or self.default_name(trained.record["name"], kind))
        check_place(path, kind)
        return kind, trained, path

    def default_name(self, name: str, kind: base.Format) -> str:
        """Returns the file name of a model of this name: what is no letter, digit, dot, _ or - becomes a -."""
        quantized = "" if self.quantize == "none" else f"-{self.quantize}"
        return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}{quantized}{kind.suffix}"


def check_place(path: pathlib.Path, kind: base.Format) -> None:
    """Raises InputError if the file and those beside it cannot be written at this path, as far as that shows."""
    labels = path.with_name(f"{path.name}{LABELS}") if path.name else path
    if kind.suffix:
        files.check_output(path, name="out", suffix=kind.suffix)
    else:
        files.check_directory(path, name="out")
        record = path.with_name(f"{path.name}{RECORD}")
        if path.exists() and not (path.is_dir() and _is_export(record, kind)):
            raise InputError(
                f"out must be a directory that does not exist, or one that was exported before, for example"
                f" exported/{kind.name}. Received: {path}"
            )
    files.check_output(labels, name="out, with .labels.txt behind it,", suffix=LABELS)


def _is_export(record: pathlib.Path, kind: base.Format) -> bool:
    """Whether a directory has the record of an export beside it."""
    with contextlib.suppress(InputError):
        return files.read_json(record, rule="An export has a record").get("format") == kind.name
    return False


def export_model(export: Export) -> dict[str, Any]:
    """Exports a trained network, whole or not at all, and returns the record of its file.

    The file takes uint8 pictures [n, h, w, c] of the network's size, and returns logits float32 [n, classes]. It is run
    over the test set first. `FILE.labels.txt` has the class names, one a line; `FILE.json` is the record: see
    docs/reference/formats.md.

    Raises:
        InputError: if the format cannot hold the network, its runtime cannot run the file, or the file's test error is
            not the network's: see also `Export.check`.
    """
    kind, trained, path = export.check()
    from kdzoo.training import evaluation  # imports Keras, so only after the quick checks

    dataset = evaluation.own_dataset(trained.record, export.dataset, workers=-1)
    with contextlib.closing(dataset), _writing(), files.scratch_beside(path.absolute()) as scratch:
        test = _test_split(dataset, export.examples)
        if export.quantize == "int8":
            np.save(scratch / file_writer.CALIBRATION, _first(dataset.train, export.calibration_examples))
        exact = measurement.logits_of(trained, test, dataset)
        float32_bytes = file_writer.write(trained, scratch, path.name, kind, export.quantize)
        measured = measurement.measure(kind, scratch / path.name, test, exact)
        size = file_writer.count_bytes(kind, scratch / path.name)
        check_measured(export, measured, size, float32_bytes)
        record = _describe(export, kind, trained, scratch / path.name) | measured
        record |= {"bytes": size, "float32_bytes": float32_bytes}
        _install(scratch, path, kind, record)
    return record


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    """Turns an error of the disk into an InputError."""
    try:
        yield
    except OSError as error:
        raise InputError(f"A file to write must be one that can be written. Received: {error}") from None


def _test_split(dataset: Dataset, examples: int | None) -> Split:
    test = dataset.test
    if examples is None:
        return test
    if not 1 <= examples <= len(test):
        raise InputError(f"examples must be from 1 to {len(test)}. Received: {examples}")
    return test.take(np.arange(examples))


def _first(train: Split, count: int) -> np.ndarray:
    """The first training images, uint8 [n, h, w, c]. Their order is a pseudo-random one."""
    return train.read(np.arange(min(count, len(train))))


def check_measured(export: Export, measured: dict[str, Any], size: int, float32_bytes: int) -> None:
    """Raises InputError if the file's error is not the network's, or int8 saves too little."""
    what = export.format if export.quantize == "none" else f"{export.format} in {export.quantize}"
    error, exact = measured["test_error"], measured["test_error_network"]
    if not abs(error - exact) <= export.tolerance + 1e-9:
        raise InputError(
            f"A file to keep must have its network's test error, {exact:.2f} %, give or take {export.tolerance} points"
            f" (tolerance). Received: {error:.2f} % from {what} of {size:,} bytes, which agrees with the network on"
            f" {measured['agreement']:.2f} % of {measured['test_examples']:,} images"
        )
    if export.quantize == "int8" and size > export.max_share * float32_bytes:
        raise InputError(
            f"A file in int8 must have at most {export.max_share} of the {float32_bytes:,} bytes in float32"
            f" (max_share). Received: {size / float32_bytes:.3f} of them from {what}, {size:,} bytes, with a test error"
            f" of {error:.2f} % (network {exact:.2f} %)"
        )


def _describe(export: Export, kind: base.Format, trained: models.Trained, path: pathlib.Path) -> dict[str, Any]:
    """What a record holds beside what was measured."""
    record = trained.record
    dataset = record["dataset"]
    return {
        "name": record["name"],
        "format": export.format,
        "quantize": export.quantize,
        "file": path.name,
        "files": {part.name: digests.file_entry(part.read_bytes()) for part in kind.files(path) if part.is_file()},
        "weights_sha256": trained.digest(),
        "parameters": record["parameters"],
        "input": {"name": "images", "dtype": "uint8", "shape": [None, *dataset["image_shape"]]},
        "output": {"name": "logits", "dtype": "float32", "shape": [None, dataset["num_classes"]]},
        "class_names": file_writer.names_of(dataset),
        "dataset": {key: dataset[key] for key in ("name", "fingerprint")},
        "calibration_examples": export.calibration_examples if export.quantize == "int8" else 0,
        "tolerance": export.tolerance,
        "versions": machine.versions() | kind.versions(export.quantize),
        "hardware": machine.hardware(),
    }


def _install(scratch: pathlib.Path, path: pathlib.Path, kind: base.Format, record: dict[str, Any]) -> None:
    """Renames the new files. Who finds a record finds the file that it describes, and all that belongs to it."""
    made, labels = scratch / path.name, f"{path.name}{LABELS}"
    (scratch / labels).write_text("".join(f"{name}\n" for name in record["class_names"]), "utf-8")
    text = json.dumps(record, indent=1)
    (scratch / RECORD).write_text(f"{text}\n", "utf-8")
    parts = [*kind.files(made), scratch / labels, scratch / RECORD]
    for part in parts:
        files.sync(part)
    record_path = path.with_name(f"{path.name}{RECORD}")
    record_path.unlink(missing_ok=True)
    if kind.suffix:
        path.unlink(missing_ok=True)  # of several parts, the one that is opened
        for part in kind.files(made):
            os.replace(part, path.with_name(part.name))
    else:
        with replacing(path) as partial:
            partial.rmdir()
            os.replace(made, partial)
    os.replace(scratch / labels, path.with_name(labels))
    os.replace(scratch / RECORD, record_path)
    files.sync(record_path)
    directory = os.open(path.absolute().parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
