"""Runs an exported file over pictures in its format's own runtime, in a process of its own: see `run`."""

import contextlib
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from kdzoo import parent_process
from kdzoo.data.dataset import Split
from kdzoo.publishing import own_process
from kdzoo.publishing.formats import base, registry
from zoo import InputError

_RESULT = "result.npz"
# Libraries that do not take a number of threads by a call.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def run(
    kind: base.Format, path: pathlib.Path, split: Split, *, batch: int, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """Runs a file over pictures.

    A new process does so: it has nothing but the file and the runtime, whose threads TensorFlow fixes once a process.

    Args:
        kind: the file's format.
        path: of the file.
        split: the pictures.
        batch: pictures in each call.
        threads: that the runtime may use.

    Returns:
        Logits float32 [n, classes], and the milliseconds of each call.

    Raises:
        InputError: if the runtime cannot run the file.
    """
    shape = [str(size) for size in split.images.shape[1:]]
    result, log = path.with_name(_RESULT), path.with_name("run.log")
    command = [sys.executable, "-m", __name__, kind.name, str(path), str(result), f"{batch}", f"{threads}"]
    environment = own_process.environment() | dict.fromkeys(_THREADS, str(threads))
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [*command, f"{len(split)}", *shape], env=environment, stdin=subprocess.PIPE, stdout=output, stderr=output
        )
    with process:
        assert process.stdin is not None
        try:
            with contextlib.suppress(BrokenPipeError):  # it has ended: its log holds the reason
                for first in range(0, len(split), batch):
                    positions = np.arange(first, min(first + 2 * batch, len(split)))
                    split.prefetch(positions)
                    process.stdin.write(np.ascontiguousarray(split.read(positions[:batch])).data)
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            code = process.wait()
        except BaseException:
            process.kill()
            raise
    if code:
        lines = [line.strip() for line in log.read_text(errors="replace").split("\n") if line.strip()]
        raise InputError(
            f"A file must be one that its runtime can run. Received: format={kind.name}:"
            f" {lines[-1][:300] if lines else f'exit code {code}'}"
        )
    with np.load(result) as arrays:
        return arrays["logits"], arrays["milliseconds"]


def main(format: str, path: str, result: str, batch: str, threads: str, count: str, *shape: str) -> None:
    """Runs the file over the pictures that come by the standard input, and writes logits and times."""
    parent_process.end_with_parent()
    call = registry.FORMATS[format].load(pathlib.Path(path), batch=int(batch), threads=int(threads))
    logits, milliseconds = [], []
    size = (int(shape[0]), int(shape[1]), int(shape[2]))
    for images in _batches(sys.stdin.buffer, int(count), int(batch), size):
        # A runtime may be compiled for this many pictures: the last batch is filled up.
        full = np.concatenate([images, np.zeros((int(batch) - len(images), *size), np.uint8)])
        began = time.perf_counter()
        outputs = call(full)
        milliseconds.append(1000 * (time.perf_counter() - began))
        logits.append(np.asarray(outputs, np.float32)[: len(images)])
    np.savez(result, logits=np.concatenate(logits), milliseconds=milliseconds)


def _batches(file: BinaryIO, count: int, batch: int, shape: tuple[int, int, int]) -> Iterator[np.ndarray]:
    for first in range(0, count, batch):
        images = min(batch, count - first)
        content = file.read(images * int(np.prod(shape)))
        yield np.frombuffer(content, np.uint8).reshape(images, *shape)


if __name__ == "__main__":
    main(*sys.argv[1:])
