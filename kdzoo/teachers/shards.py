"""A table of teacher outputs that many machines fill: in a store, as a manifest of shards.

A shard holds the outputs for a fixed range of row numbers. Its own small manifest lists the objects that hold its rows,
each row in one of them; to add rows is one conditional commit of that manifest, so machines that fill different shards
never wait for one another, and two that fill the same one write each row once. No machine copies the table together.

An object is a bitmap of the rows it holds, one bit for each row number of the shard, then their records in order. Rows
are read at offsets, each with its checksum, or the whole object with its digest.
"""

import dataclasses
import json
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kdzoo.stores import Conflict, Damaged, Missing, Store
from kdzoo.stores.base import Manifest
from kdzoo.teachers.row_format import RowType
from zoo import InputError

_log = logging.getLogger(__name__)

FORMAT = 1
TABLE, SHARDS = "table", "shards"
FEWEST_ROWS, MOST_ROWS = 2**10, 2**16  # of a shard, multiples of 64
_SHARDS = 2**11  # of a table of middle size
_REFRESH_SECONDS = 300.0  # after which a shard that lacked rows is looked up again


def rows_per_shard(rows: int) -> int:
    """Returns the number of rows of each shard but the last, for a table of so many rows."""
    return min(MOST_ROWS, max(FEWEST_ROWS, 1 << (-(-rows // _SHARDS) - 1).bit_length()))


def count_shards(rows: int) -> int:
    """Returns the number of shards of a table of so many rows."""
    return -(-rows // rows_per_shard(rows))


@dataclasses.dataclass(frozen=True)
class Index:
    """Which rows of a shard an object holds, and the place of each among its records.

    Attributes:
        bits: uint64 [rows of a shard / 64], the lowest bit first.
        before: [rows of a shard / 64], number of rows in the bits before.
    """

    bits: np.ndarray
    before: np.ndarray

    @classmethod
    def parse(cls, content: bytes) -> "Index":
        bits = np.frombuffer(content, "<u8")
        counts = np.bitwise_count(bits).astype(np.int64)
        return cls(bits, np.cumsum(counts) - counts)

    @classmethod
    def of_rows(cls, rows: np.ndarray, size: int) -> "Index":
        """The index of an object with these rows, counted from the shard's first one, of `size` rows in all."""
        flags = np.zeros(size, bool)
        flags[rows] = True
        return cls.parse(np.packbits(flags, bitorder="little").tobytes())

    def find(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whether the object holds each of these rows [n], bool [n], and its place [n]; any number if it does not."""
        bits, shift = self.bits[rows // 64], (rows % 64).astype(np.uint64)
        below = np.bitwise_count(bits & ((np.uint64(1) << shift) - np.uint64(1)))
        return (bits >> shift & np.uint64(1)).astype(bool), self.before[rows // 64] + below

    @property
    def rows(self) -> np.ndarray:
        """The rows that the object holds, in order, counted from the shard's first one."""
        return np.flatnonzero(np.unpackbits(self.bits.astype("<u8").view(np.uint8), bitorder="little"))


@dataclasses.dataclass(frozen=True)
class _Part:
    """One object of a shard."""

    name: str
    index: Index


class ShardedTable:
    """A table in a store of its own. Any number of machines read and fill it at once.

    Attributes:
        rows: number of rows of the full table.
        row: type of the rows.
        per_shard: number of rows of each shard but the last.
    """

    def __init__(self, store: Store, rows: int, row: RowType, per_shard: int):
        self._store, self.rows, self.row, self.per_shard = store, rows, row, per_shard
        self._header = per_shard // 8
        self._parts: dict[int, list[_Part]] = {}
        self._looked_up: dict[int, float] = {}
        self._listed: set[int] = set()
        self._listed_at = -math.inf
        self._listing = threading.Lock()

    def rows_of(self, shard: int) -> np.ndarray:
        """The row numbers of a shard, in order."""
        return np.arange(shard * self.per_shard, min(self.rows, (shard + 1) * self.per_shard))

    def read(self, shard: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values [n, *shape] of these rows [n] of a shard, read at offsets, and which of them are present, bool [n].

        Raises:
            InputError: if the store cannot be read.
        """
        values, present = np.zeros((len(rows), *self.row.shape), self.row.dtype), np.zeros(len(rows), bool)
        size = self.row.record.itemsize
        for part in self._find_parts(shard):
            held, places = part.index.find(rows - shard * self.per_shard)
            at = np.flatnonzero(held)
            at = at[np.argsort(places[at])]
            if not len(at):
                continue
            offsets = self._header + size * places[at]
            cuts = np.flatnonzero(np.diff(offsets) != size) + 1
            ranges = [(int(run[0]), int(run[-1]) + size) for run in np.split(offsets, cuts)]
            try:
                found = self._store.get_ranges(part.name, ranges)
            except Missing:
                continue
            content = b"".join(data.ljust(end - first, b"\0") for data, (first, end) in zip(found, ranges, strict=True))
            values[at], present[at] = self.row.unpack(content, rows[at])
        if not present.all() and time.monotonic() - self._looked_up.get(shard, 0) > _REFRESH_SECONDS:
            self._parts.pop(shard, None)  # others may have added rows: looked up again for the next rows
        return values, present

    def read_whole(self, shard: int) -> tuple[np.ndarray, np.ndarray]:
        """All rows [n] of a shard that are present, and their values [n, *shape]. Compares objects with their digests.

        Raises:
            InputError: if the store cannot be read.
        """
        rows, values = [np.empty(0, np.int64)], [np.empty((0, *self.row.shape), self.row.dtype)]
        for entry in self._entries(shard)[0]:
            found = self._read_object(shard, entry["sha256"])
            if found is not None:
                rows.append(found[0])
                values.append(found[1])
        return np.concatenate(rows), np.concatenate(values)

    def add(self, shard: int, rows: np.ndarray, values: np.ndarray) -> int:
        """Adds rows [n] of a shard with values [n, *shape], but those that it holds. Returns how many it added.

        Damaged objects are left out of the manifest.

        Raises:
            InputError: if the store cannot be read or written.
        """
        while True:
            entries, present, version = self._verified(shard)
            lacking = ~np.isin(rows, present)
            added = int(lacking.sum())
            if not added:
                return 0
            order = np.argsort(rows[lacking])
            held, records = rows[lacking][order], self.row.pack(rows[lacking][order], values[lacking][order])
            index = Index.of_rows(held - shard * self.per_shard, self.per_shard)
            content = index.bits.astype("<u8").tobytes() + records.tobytes()
            entries.append({"sha256": self._store.put(content), "bytes": len(content), "rows": added})
            try:
                self._store.commit(_name(shard), {"parts": entries}, version)
                return added
            except Conflict:
                continue

    def find_present(self, shard: int, rows: np.ndarray) -> np.ndarray:
        """Which of these rows [n] of a shard are present and whole, bool [n]."""
        return np.isin(rows, self._verified(shard)[1])

    def _verified(self, shard: int) -> tuple[list[dict[str, Any]], np.ndarray, str | None]:
        """The entries of a shard's whole objects, the rows that they hold, and the version of its manifest."""
        entries, version = self._entries(shard)
        whole, rows = [], [np.empty(0, np.int64)]
        for entry in entries:
            found = self._read_object(shard, entry["sha256"])
            if found is not None:
                whole.append(entry)
                rows.append(found[0])
        return whole, np.concatenate(rows), version

    def _entries(self, shard: int) -> tuple[list[dict[str, Any]], str | None]:
        try:
            manifest, version = self._store.read_manifest(_name(shard))
        except Damaged as error:
            _log.warning("Damaged, so its rows are computed anew: %s", error)
            return [], error.version
        return (manifest or {}).get("parts", []), version

    def _read_object(self, shard: int, name: str) -> tuple[np.ndarray, np.ndarray] | None:
        """The rows of an object and their values; None, with a warning, if it is damaged."""
        try:
            content = self._store.get(name)
        except (Damaged, Missing) as error:
            _log.warning("Damaged, so its rows are computed anew: %s", error)
            return None
        rows = Index.parse(content[: self._header]).rows + shard * self.per_shard
        return rows, self.row.unpack(content[self._header :], rows)[0]

    def _find_parts(self, shard: int) -> list[_Part]:
        """The objects of a shard; none if there is no such shard yet."""
        if shard in self._parts:
            return self._parts[shard]
        if shard not in self._list():
            return []
        parts = []
        for entry in self._entries(shard)[0]:
            try:
                (header,) = self._store.get_ranges(entry["sha256"], [(0, self._header)])
            except Missing:
                continue
            parts.append(_Part(entry["sha256"], Index.parse(header.ljust(self._header, b"\0"))))
        self._parts[shard], self._looked_up[shard] = parts, time.monotonic()
        return parts

    def _list(self) -> set[int]:
        """The shards that exist, listed at most every few minutes."""
        with self._listing:
            if time.monotonic() - self._listed_at >= _REFRESH_SECONDS:
                names = (path.rpartition("/")[2] for path in self._store.list_manifests(SHARDS))
                self._listed = {int(name) for name in names if name.isdecimal()}
                self._listed_at = time.monotonic()
            return self._listed


def _name(shard: int) -> str:
    """The path of a shard's manifest."""
    return f"{SHARDS}/{shard:06d}"


def open_table(store: Store, key: Mapping[str, Any], rows: int) -> ShardedTable | None:
    """Opens the table of this key in a store of its own; None if there is none, or with a warning if it is damaged.

    Args:
        store: holds this table only.
        key: all that its values depend on, as JSON values.
        rows: number of rows of the full table.

    Raises:
        InputError: if the store cannot be read, or its table is another one.
    """
    try:
        manifest, _ = store.read_manifest(TABLE)
    except Damaged as error:
        _log.warning("Damaged, so not read: %s", error)
        return None
    return None if manifest is None else _table(store, manifest, key, rows)


def create_table(store: Store, key: Mapping[str, Any], rows: int, describe: Callable[[], RowType]) -> ShardedTable:
    """Opens the table of this key, or creates it; a damaged manifest of it is replaced.

    Args:
        store, key, rows: see `open_table`.
        describe: returns the type of the rows; may take long.

    Raises:
        InputError: see `open_table`; also if the store cannot be written.
    """
    table = open_table(store, key, rows)
    if table:
        return table
    row = describe()
    made: Manifest = {"format": FORMAT, "key": dict(key), "rows": rows, "rows_per_shard": rows_per_shard(rows)}
    made |= {"shape": list(row.shape), "dtype": row.dtype, "metadata": row.metadata}
    try:
        version = store.read_manifest(TABLE)[1]
    except Damaged as error:
        version = error.version
    try:
        store.commit(TABLE, made, version)
    except Conflict:  # by another machine in the meantime
        return create_table(store, key, rows, lambda: row)
    return _table(store, made, key, rows)


def _table(store: Store, manifest: Manifest, key: Mapping[str, Any], rows: int) -> ShardedTable:
    """Raises InputError if the manifest is another table's, or of a later version."""
    expected = {"format": FORMAT, "key": json.loads(json.dumps(key)), "rows": rows}
    received = {name: json.loads(json.dumps(manifest.get(name))) for name in expected}
    if received != expected:
        different = next(name for name in expected if received[name] != expected[name])
        raise InputError(
            f"A table of teacher outputs must be that of its key. Received: {store.uri}: another {different}"
        )
    row = RowType(tuple(manifest["shape"]), manifest["dtype"], manifest["metadata"])
    return ShardedTable(store, rows, row, manifest["rows_per_shard"])
