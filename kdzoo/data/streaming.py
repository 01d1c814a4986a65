"""Pictures that are read by index and decoded as they are needed, by worker processes or in this one.

A view of a picture is a pure function of the picture, its index and the view's number. Workers write it to a cell of a
table, so nothing depends on how many workers there are or which of them makes it. The table holds the views that were
read last: a teacher finds there what its student sees.
"""

import collections
import concurrent.futures
import hashlib
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np

from kdzoo.data.crops import Transform
from kdzoo.data.source import Source
from kdzoo.data.view_maker import PLAIN, Job, Report, ViewMaker
from kdzoo.data.workers import SECONDS, ImmediateExecutor, WorkerPool
from zoo import InputError

_log = logging.getLogger(__name__)

CELLS = 1024  # views that the table holds
TABLE_BYTES = 2**29  # most memory of the table
CHUNK = 16  # views of a job
LEFT_OUT_SHARE = 0.01  # of all pictures: most that may be left out
_Key = tuple[int, int, int]  # split, index, view
_Future = concurrent.futures.Future[list[Report]]


class Stream:
    """The pictures of a data set's splits, in any view.

    Args:
        sources: of the splits.
        transform: from a picture to a view.
        background: colour behind transparent pictures.
        channels: of a view.
        workers: processes that decode; 0: this one does.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        transform: Transform,
        *,
        background: tuple[int, int, int],
        channels: int = 3,
        workers: int = 0,
    ):
        self.sources, self.shape = list(sources), (*transform.size, channels)
        count = max(2 * CHUNK, min(CELLS, TABLE_BYTES // int(np.prod(self.shape))))
        maker = ViewMaker(self.sources, transform, background)
        self._pool = WorkerPool(maker, (count, *self.shape), workers) if workers else None
        self._table = self._pool.table if self._pool else np.empty((count, *self.shape), np.uint8)
        if self._pool:
            self._submit: Callable[[Job], _Future] = self._pool.submit
        else:
            maker.table, executor = self._table, ImmediateExecutor()
            self._submit = lambda job: executor.submit(maker.make, job)
        self._cells: collections.OrderedDict[_Key, int] = collections.OrderedDict()  # the least recently read first
        self._free = list(range(len(self._table)))
        self._keys: dict[_Future, list[_Key]] = {}  # of jobs under way
        self._jobs: dict[_Key, _Future] = {}  # the same, by view
        self._lock = threading.RLock()

    @property
    def views_ahead(self) -> int:
        """How many views can be read ahead of those in use without being lost again."""
        return len(self._table) // 4

    def read(self, split: int, indices: np.ndarray, views: np.ndarray | None = None) -> np.ndarray:
        """The views of pictures: uint8 [n, height, width, channels].

        The next picture takes the place of one that is left out.

        Args:
            split: number of the split.
            indices: integers [n].
            views: their numbers [n]; None: without augmentation.

        Raises:
            InputError: if a picture cannot be read or has changed, too many cannot be decoded, or a worker ended.
        """
        images = np.empty((len(indices), *self.shape), np.uint8)
        step = max(1, self.views_ahead)
        for first in range(0, len(indices), step):
            part = slice(first, first + step)
            self._read(images[part], split, indices[part], None if views is None else views[part])
        return images

    def prefetch(self, split: int, indices: np.ndarray, views: np.ndarray | None = None) -> None:
        """Has workers begin with views that `read` will need. Does nothing without workers."""
        if self._pool:
            with self._lock:
                self._request(self._name(split, indices, views)[: self.views_ahead])

    def replaced(self, split: int, indices: np.ndarray) -> np.ndarray:
        """The pictures [n] that are read for these [n]: each itself or, if it is left out, the next that is not."""
        left_out = self.sources[split].left_out
        while (out := left_out[indices]).any():
            indices = np.where(out, (indices + 1) % len(left_out), indices)
        return indices

    def close(self) -> None:
        """Ends the workers."""
        if self._pool:
            del self._table
            self._pool.close()

    def _read(self, images: np.ndarray, split: int, indices: np.ndarray, views: np.ndarray | None) -> None:
        while True:
            with self._lock:
                keys = self._name(split, indices, views)  # anew each time: more may be left out by now
                self._request(keys)
                waiting = {self._jobs[key] for key in keys if key in self._jobs}
                if not waiting and all(key in self._cells for key in keys):
                    np.take(self._table, [self._cells[key] for key in keys], axis=0, out=images, mode="clip")
                    return
                waiting = waiting or set(self._keys)  # without a cell for some view, until there are free ones
            for future in waiting:
                self._finish(future)

    def _name(self, split: int, indices: np.ndarray, views: np.ndarray | None) -> list[_Key]:
        numbers = np.full(len(indices), PLAIN) if views is None else views
        pairs = zip(self.replaced(split, indices).tolist(), numbers.tolist(), strict=True)
        return [(split, index, view) for index, view in pairs]

    def _request(self, keys: Iterable[_Key]) -> None:
        """Has the views made that the table lacks, as many as it has cells for."""
        lacking = []
        for key in dict.fromkeys(keys):
            if key in self._cells:
                self._cells.move_to_end(key)
            else:
                lacking.append(key)
        for first in range(0, len(lacking), CHUNK):
            chunk = []
            for key in lacking[first : first + CHUNK]:
                cell = self._find_cell()
                if cell is None:
                    break
                self._cells[key] = cell
                chunk.append(key)
            if chunk:
                _, indices, views = zip(*chunk, strict=True)
                job = Job(chunk[0][0], [self._cells[key] for key in chunk], list(indices), list(views))
                future = self._submit(job)
                self._keys[future] = chunk
                self._jobs |= dict.fromkeys(chunk, future)

    def _find_cell(self) -> int | None:
        """A free cell; else that of the view which was not read for longest. None while workers write to all."""
        if self._free:
            return self._free.pop()
        oldest = next((key for key in self._cells if key not in self._jobs), None)
        return None if oldest is None else self._cells.pop(oldest)

    def _finish(self, future: _Future) -> None:
        """Waits for a job, and keeps what it found out."""
        try:
            reports = future.result(SECONDS)
        except (BrokenProcessPool, TimeoutError) as error:
            what = f"none for {SECONDS:g} s" if isinstance(error, TimeoutError) else "a worker that has ended"
            raise InputError(
                "Worker processes must respond; --data_workers=0 does without, and a script that starts them must have"
                f' its code under if __name__ == "__main__". Received: {what}'
            ) from None
        except InputError:
            with self._lock:
                for key in self._keys.pop(future, []):
                    del self._jobs[key]
                    self._free.append(self._cells.pop(key))
            raise
        with self._lock:
            for (split, index, view), report in zip(self._keys.pop(future, []), reports, strict=False):
                del self._jobs[split, index, view]
                if report.digest is not None:
                    self.sources[split].keep_digest(index, report.digest)
                if report.fault is not None:
                    self._free.append(self._cells.pop((split, index, view)))
                    self._leave_out(split, index, report.fault)

    def _leave_out(self, split: int, index: int, fault: str) -> None:
        source = self.sources[split]
        if source.left_out[index]:
            return
        source.leave_out(index, fault)
        _log.warning("%s is left out: %s", source.path(index), fault)
        check_left_out(self.sources)


def check_left_out(sources: Sequence[Source]) -> None:
    """Raises InputError if more than 1 % of all pictures are left out."""
    count, of = sum(int(source.left_out.sum()) for source in sources), sum(map(len, sources))
    if count > LEFT_OUT_SHARE * of:
        source = next(source for source in sources if source.left_out.any())
        example = source.path(int(np.flatnonzero(source.left_out)[0]))
        raise InputError(
            f"At most {LEFT_OUT_SHARE:.0%} of a data set's files may be no pictures that can be decoded."
            f" Received: {count} of {of}, for example {example}"
        )


def describe_contents(train: Source, test: Source) -> dict[str, Any]:
    """What reading the pictures of a data set showed, for its record.

    Returns:
        "left_out", the paths of files that are no pictures, and "duplicates", the number of test pictures whose file is
        a training picture's too, if there are any; "contents_sha256" of all files' digests, once all were read.
    """
    described: dict[str, Any] = {}
    if paths := paths_left_out([train, test]):
        described["left_out"] = paths
    digests = train.known_digests(), test.known_digests()
    if duplicates := int(np.isin(digests[1], digests[0]).sum()):
        described["duplicates"] = duplicates
    if [len(known) for known in digests] == [len(train), len(test)]:
        described["contents_sha256"] = hashlib.sha256(b"".join(known.tobytes() for known in digests)).hexdigest()
    return described


def paths_left_out(sources: Sequence[Source]) -> list[str]:
    """The paths of files that are known to be no pictures."""
    return [source.path(index) for source in sources for index in np.flatnonzero(source.left_out).tolist()]


class StreamedImages:
    """The pictures of a split, or of a part of it, read from a `Stream` by position.

    Args:
        stream: reads them.
        split: number of the split.
        indices: int64 [n], into the split.
    """

    def __init__(self, stream: Stream, split: int, indices: np.ndarray):
        self.stream, self.split, self.indices = stream, split, indices

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """[n, height, width, channels]."""
        height, width, channels = self.stream.shape
        return len(self.indices), height, width, channels

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def views_ahead(self) -> int:
        """See `Stream.views_ahead`."""
        return self.stream.views_ahead

    def take(self, positions: np.ndarray) -> "StreamedImages":
        """The pictures at these positions."""
        return StreamedImages(self.stream, self.split, self.indices[positions])

    def read(self, positions: np.ndarray, views: np.ndarray | None = None) -> np.ndarray:
        """See `Stream.read`."""
        return self.stream.read(self.split, self.indices[positions], views)

    def prefetch(self, positions: np.ndarray, views: np.ndarray | None = None) -> None:
        """See `Stream.prefetch`."""
        self.stream.prefetch(self.split, self.indices[positions], views)

    def labels(self, positions: np.ndarray) -> np.ndarray:
        """Labels, int32 [n], of the pictures that `read` returned: those that took a place bring their own."""
        replaced = self.stream.replaced(self.split, self.indices[positions])
        return self.stream.sources[self.split].labels[replaced]

    @property
    def left_out(self) -> np.ndarray:
        """Which files are known to be no pictures, bool [n]."""
        return self.stream.sources[self.split].left_out[self.indices]
