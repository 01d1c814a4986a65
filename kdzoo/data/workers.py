"""Worker processes that make views of pictures in shared memory."""

import concurrent.futures
import contextlib
import ctypes
import math
import multiprocessing
import multiprocessing.context
import os
import shutil
import signal
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import shared_memory
from typing import Any, ParamSpec, TypeVar

import numpy as np

from kdzoo import parent_process
from kdzoo.data.view_maker import Job, Report, ViewMaker
from zoo import InputError

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's numbers of these options
_KEPT = 2**25  # bytes, the most that it takes for them
SECONDS = 45.0  # in which a worker must make a few views
_P = ParamSpec("_P")
_T = TypeVar("_T")
_maker: ViewMaker  # of a worker process
_memory: shared_memory.SharedMemory  # of a worker process


class ImmediateExecutor(concurrent.futures.Executor):
    """Runs each function when it is submitted, in the caller's thread."""

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> concurrent.futures.Future[_T]:
        future: concurrent.futures.Future[_T] = concurrent.futures.Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class _Spawning(multiprocessing.context.SpawnContext):
    """Starts processes that inherit nothing, and keeps them: an executor gives no way to end one that hangs."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[Any] = []

    def Process(self, *args: Any, **options: Any) -> Any:  # type: ignore[override]
        self.started.append(multiprocessing.context.SpawnProcess(*args, **options))
        return self.started[-1]


class WorkerPool:
    """Worker processes, and the table in shared memory to which they write.

    Args:
        maker: makes the views; each worker gets a copy.
        shape: of the table, which has fewer cells if the machine has little shared memory.
        workers: number of processes.

    Attributes:
        table: uint8 of this shape.
    """

    def __init__(self, maker: ViewMaker, shape: tuple[int, ...], workers: int):
        cell = math.prod(shape[1:])
        free = shutil.disk_usage("/dev/shm").free if os.path.isdir("/dev/shm") else math.inf
        cells = int(min(shape[0], free // 2 // cell))
        if cells < 1:
            raise InputError(
                f"Worker processes need {cell:,} bytes of shared memory for each picture; --data_workers=0 needs none."
                f" Received: {free:,} bytes free in /dev/shm"
            )
        self._memory = shared_memory.SharedMemory(create=True, size=cells * cell)
        self.table = _table(self._memory, (cells, *shape[1:]))
        self._context = _Spawning()
        self._executor = concurrent.futures.ProcessPoolExecutor(
            workers, self._context, _start, (maker, self._memory.name, self.table.shape, os.getpid())
        )

    def submit(self, job: Job) -> concurrent.futures.Future[list[Report]]:
        """Has a worker do a job."""
        try:
            return self._executor.submit(_work, job)
        except BrokenProcessPool as error:  # a worker has ended before
            failed: concurrent.futures.Future[list[Report]] = concurrent.futures.Future()
            failed.set_exception(error)
            return failed

    def close(self) -> None:
        """Ends the workers, whatever they are doing."""
        for process in self._context.started:
            process.kill()
        self._executor.shutdown(cancel_futures=True)
        del self.table
        self._memory.unlink()
        with contextlib.suppress(BufferError):  # of an array that is still in use: the memory ends with it
            self._memory.close()


def _start(maker: ViewMaker, memory: str, shape: tuple[int, ...], parent: int) -> None:
    """Prepares a worker process."""
    global _maker, _memory
    _keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes; the parent saves the run and ends them
    parent_process.end_with(parent)
    _memory = shared_memory.SharedMemory(memory)
    maker.table = _table(_memory, shape)
    _maker = maker


def _keep_freed_memory() -> None:
    """Has glibc keep memory for the next picture that it would return to the kernel, which clears it each time."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library
        set_option = ctypes.CDLL(None).mallopt
        for option in (_TRIM_THRESHOLD, _MMAP_THRESHOLD):
            set_option(option, _KEPT)


def _work(job: Job) -> list[Report]:
    return _maker.make(job)


def _table(memory: shared_memory.SharedMemory, shape: tuple[int, ...]) -> np.ndarray:
    return np.ndarray(shape, np.uint8, memory.buf)
