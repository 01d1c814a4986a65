"""Writes a network as a file of one format, in a process of its own: see `write`."""

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from kdzoo import parent_process
from kdzoo.data import class_names
from kdzoo.hub import models
from kdzoo.publishing import own_process, standalone
from kdzoo.publishing.formats import base, registry
from zoo import InputError

CALIBRATION, FLOAT32 = "calibration.npy", "float32"
_REASON = "reason.txt"


def write(trained: models.Trained, scratch: pathlib.Path, name: str, kind: base.Format, quantize: str) -> int:
    """Writes a network as `scratch/name`.

    A new process does so on TensorFlow: TensorFlow numbers what a process traces, and files hold those numbers.

    Args:
        trained: the network.
        scratch: a directory, which holds `CALIBRATION`, uint8 [n, h, w, c], if quantize is int8.
        name: of the file.
        kind: its format.
        quantize: none, float16 or int8.

    Returns:
        The bytes of the file in float32.

    Raises:
        InputError: if the format cannot hold the network.
        OSError: if the file cannot be written.
    """
    command = [sys.executable, "-m", __name__, kind.name, quantize, str(trained.directory), str(scratch), name]
    # The converters have sets of names, and leave temporary files if they fail.
    environment = own_process.environment() | {"PYTHONHASHSEED": "0", "TMPDIR": str(scratch)}
    with open(scratch / "log.txt", "wb") as log:
        done = subprocess.run(command, env=environment, stdout=log, stderr=log)
    if done.returncode:
        reason = _reason(scratch)
        if reason.startswith("OSError"):
            raise OSError(reason)
        flags = f"format={kind.name}" + (f" with quantize={quantize}" if quantize != "none" else "")
        raise InputError(f"A network must be one that {flags} can hold. Received: {reason}")
    return int(json.loads((scratch / FLOAT32).read_text()))


def _reason(scratch: pathlib.Path) -> str:
    """Why the process failed: its exception or, if it did not end by one, the last line of its log."""
    path = scratch / _REASON
    lines = (path if path.exists() else scratch / "log.txt").read_text(errors="replace").split("\n")
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "no reason")


def main(format: str, quantize: str, directory: str, folder: str, name: str) -> None:
    """Writes the file, and the bytes that it has in float32; or why it cannot be written."""
    parent_process.end_with_parent()
    scratch = pathlib.Path(folder)
    try:
        size = _write(registry.FORMATS[format], quantize, directory, scratch, scratch / name)
        (scratch / FLOAT32).write_text(json.dumps(size))
    except Exception as error:
        first = next(iter(str(error).strip().split("\n")), "")
        (scratch / _REASON).write_text(f"{type(error).__name__}: {first}")
        raise


def _write(kind: base.Format, quantize: str, directory: str, scratch: pathlib.Path, path: pathlib.Path) -> int:
    source = _read(directory, scratch)
    exact = path
    if quantize != "none":
        (scratch / "exact").mkdir()
        exact = scratch / "exact" / path.name
    kind.write(source, exact)
    if quantize != "none":
        kind.quantize(quantize, source, exact, path)
        kind.describe(source, exact)
    kind.describe(source, path)
    return count_bytes(kind, exact)


def _read(directory: str, scratch: pathlib.Path) -> base.Source:
    """The network in a directory, with pictures to calibrate it if there are any."""
    trained = models.resolve(directory)
    network, record = trained.build(), trained.record
    dataset: dict[str, Any] = record["dataset"]
    calibration = scratch / CALIBRATION
    return base.Source(
        model=standalone.from_pixels(network, dataset["image_shape"], mean=dataset["mean"], std=dataset["std"]),
        network=network,
        record=record,
        class_names=names_of(dataset),
        calibration=np.load(calibration) if calibration.exists() else None,
    )


def names_of(dataset: Mapping[str, Any]) -> list[str]:
    """Class names of the data set in a record or card, each a line of UTF-8.

    A card of 0.4 has none: those of a known data set are taken from it.
    """
    known = class_names.of_dataset(dataset["name"], dataset["num_classes"])
    names = dataset.get("class_names") or known or class_names.of_record(dataset)
    return [" ".join(name.splitlines()).encode(errors="replace").decode() for name in names]


def count_bytes(kind: base.Format, path: pathlib.Path) -> int:
    """Bytes of a file with all that belongs to it."""
    return sum(
        os.path.getsize(file)
        for part in kind.files(path)
        for file in ([part] if part.is_file() else part.rglob("*"))
        if file.is_file()
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
