"""Filling shards of the tables of teacher outputs: what one of many machines does."""

from collections.abc import Callable, Mapping

import numpy as np

from kdzoo.teachers.cached_teacher import CALL_IMAGES, CachedTeacher
from kdzoo.teachers.shards import ShardedTable


class ShardFiller:
    """Computes the rows that shards lack, in full calls of the teacher, and adds them shard by shard.

    A row is kept in memory until all rows of its shard are computed that are wanted.

    Args:
        teacher: without tables of its own.
        tables: by kind of output, all of the same shards.
        progress: called after each call of the teacher with `present + added`.
        stopping: called before each call of the teacher; if it returns True, no more rows are computed.

    Attributes:
        present: number of rows so far that were in the tables already.
        added: number of rows that were computed.
        stopped: whether `stopping` returned True.
    """

    def __init__(
        self,
        teacher: CachedTeacher,
        tables: Mapping[str, ShardedTable],
        *,
        progress: Callable[[int], None],
        stopping: Callable[[], bool],
    ):
        self._teacher, self._tables, self._progress, self._stopping = teacher, tables, progress, stopping
        self._backlog: list[tuple[int, int]] = []  # (shard, row)
        self._waiting: dict[int, int] = {}  # by shard, how many of its rows are in the backlog
        self._computed: dict[int, list[tuple[int, dict[str, np.ndarray]]]] = {}  # by shard, rows and their outputs
        self.present = self.added = 0
        self.stopped = False

    def fill(self, shard: int, rows: np.ndarray) -> None:
        """Takes up these rows [n] of a shard. They are in the tables after this call, a later one or `finish`."""
        there = np.logical_and.reduce([table.find_present(shard, rows) for table in self._tables.values()])
        self.present += int(there.sum())
        missing = rows[~there].tolist()
        self._backlog += [(shard, row) for row in missing]
        self._waiting[shard], self._computed[shard] = len(missing), []
        while len(self._backlog) >= CALL_IMAGES and self._call():
            pass
        self._add_complete()

    def finish(self) -> None:
        """Computes the rest, unless stopping, and adds what was computed."""
        while self._backlog and self._call():
            pass
        for shard in list(self._computed):
            self._add(shard)

    def _call(self) -> bool:
        """Computes the outputs that have waited longest. Returns False if it was to stop instead."""
        self.stopped = self.stopped or self._stopping()
        if self.stopped:
            return False
        batch, self._backlog = self._backlog[:CALL_IMAGES], self._backlog[CALL_IMAGES:]
        outputs = self._teacher.compute(np.array([row for _, row in batch]))
        for position, (shard, row) in enumerate(batch):
            self._computed[shard].append((row, {kind: values[position] for kind, values in outputs.items()}))
            self._waiting[shard] -= 1
        self.added += len(batch)
        self._progress(self.present + self.added)
        return True

    def _add_complete(self) -> None:
        for shard in [shard for shard, waiting in self._waiting.items() if not waiting]:
            self._add(shard)

    def _add(self, shard: int) -> None:
        computed = self._computed.pop(shard)
        del self._waiting[shard]
        if computed:
            rows = np.array([row for row, _ in computed])
            for kind, table in self._tables.items():
                table.add(shard, rows, np.stack([outputs[kind] for _, outputs in computed]))
