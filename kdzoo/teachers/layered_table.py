"""A table of this machine over a table in a store, which machines share."""

import concurrent.futures
import logging
from typing import Protocol

import numpy as np

from kdzoo.teachers.row_format import RowType
from kdzoo.teachers.shards import ShardedTable
from zoo import InputError

_log = logging.getLogger(__name__)

_READERS = 16  # shards that are read at once, since each read of a store waits for its network


class OutputTable(Protocol):
    """What a teacher reads its outputs from, and writes them to.

    Attributes:
        row: type of the rows.
    """

    row: RowType

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values [n, *shape] of these rows [n], and which of them are present, bool [n]. Others have any values."""

    def write(self, rows: np.ndarray, values: np.ndarray) -> None:
        """Writes values [n, *shape] of these rows [n], as far as there is room for them."""

    def close(self) -> None:
        """Closes the table."""


class LayeredTable:
    """Reads this machine's table, then what it lacks from the shared one; writes to this machine's.

    A store that cannot be read is reported once, and read no more: its rows then count as missing.

    Args:
        shards: the shared table.
        local: this machine's; None: there is no room for it.
        keep: whether rows of the store are written to this machine's table when they are first needed, a shard at once.

    Attributes:
        row: type of the rows.
    """

    def __init__(self, shards: ShardedTable, local: OutputTable | None, *, keep: bool):
        self._shards, self._local, self.row = shards, local, shards.row
        self._keep = keep and local is not None
        self._kept: set[int] = set()
        self._readable = True
        self._pool = concurrent.futures.ThreadPoolExecutor(_READERS)

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `OutputTable.read`."""
        values, present = np.zeros((len(rows), *self.row.shape), self.row.dtype), np.zeros(len(rows), bool)
        if self._local:
            values, present = self._local.read(rows)
        lacking = np.flatnonzero(~present)
        if not len(lacking) or not self._readable:
            return values, present
        shards = rows[lacking] // self._shards.per_shard
        numbers = np.unique(shards).tolist()
        groups = [lacking[shards == number] for number in numbers]
        try:
            found = self._pool.map(self._read_shard, numbers, [rows[group] for group in groups])
            for group, (theirs, there) in zip(groups, found, strict=True):
                values[group], present[group] = theirs, there
        except InputError as error:
            self._readable = False
            _log.warning("Teacher outputs are no longer read from the store: %s", error)
        return values, present

    def write(self, rows: np.ndarray, values: np.ndarray) -> None:
        """See `OutputTable.write`."""
        if self._local:
            self._local.write(rows, values)

    def close(self) -> None:
        """See `OutputTable.close`."""
        self._pool.shutdown(cancel_futures=True)
        if self._local:
            self._local.close()

    def _read_shard(self, shard: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not self._keep or shard in self._kept:
            return self._shards.read(shard, rows)
        self._kept.add(shard)
        all_rows, values = self._shards.read_whole(shard)
        if self._local:
            self._local.write(all_rows, values)
        own = np.isin(rows, all_rows)
        order = np.argsort(all_rows)
        found = np.zeros((len(rows), *self.row.shape), self.row.dtype)
        found[own] = values[order[np.searchsorted(all_rows, rows[own], sorter=order)]]
        return found, own
