"""Teacher outputs on disk, so that each is computed once: a table with a row for every view of every image.

Pad-4 crop and flip make 162 views of an image and no more, so a teacher's outputs for a data set are a finite table.
A row is written when it is first needed, and read by every later epoch, seed, student, temperature and loss weight.
The tables are read and written at offsets and not mapped into memory: a full disk or a truncated file then raises an
error that can be handled, and the process does not grow by what it has read. Where many machines have filled a table in
a store (`shards`), it is read first.
"""

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import pathlib
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kdzoo import files
from kdzoo.hub import folders
from kdzoo.runs import machine
from kdzoo.stores import Store, open_store
from kdzoo.stores.folder import FolderStore
from kdzoo.teachers import layered_table, shards
from kdzoo.teachers.layered_table import OutputTable
from kdzoo.teachers.row_format import FORMAT, RowType
from zoo import InputError

_log = logging.getLogger(__name__)

CACHE_GB = 10.0
CARD, ROWS = "card.json", "rows"
SHARDS = "shards"  # folder of the tables that many machines fill, unless a store elsewhere holds them
# Settings in the environment that change the last bits of a network's outputs, or more of them. Each is part of a
# table's key if it is set. docs/guides/caching.md lists what was measured.
NUMERIC_SETTINGS = (
    "DNNL_DEFAULT_FPMATH_MODE",
    "DNNL_MAX_CPU_ISA",
    "JAX_DEFAULT_MATMUL_PRECISION",
    "NVIDIA_TF32_OVERRIDE",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA",
    "TF_ENABLE_ONEDNN_OPTS",
    "TF_XLA_FLAGS",
    "XLA_FLAGS",
)


@dataclasses.dataclass(frozen=True)
class Cache:
    """A folder of tables, of limited size.

    Attributes:
        folder: holds one directory for each table.
        gigabytes: largest size of all tables together, in 10^9 bytes. The least recently used tables are evicted.
        required: whether a table that can be neither opened nor created is an error.
        store: elsewhere, holds tables that many machines fill; None: those are in the folder too. `gigabytes` does not
            limit them.
    """

    folder: pathlib.Path
    gigabytes: float = CACHE_GB
    required: bool = False
    store: Store | None = None

    @property
    def name(self) -> str:
        """The store or folder that holds the tables."""
        return self.store.uri if self.store else os.path.abspath(self.folder)

    def shared_store(self, key: Mapping[str, Any]) -> Store:
        """The store of the table of this key that many machines fill."""
        return (self.store or FolderStore(self.folder / SHARDS)).below(_digest(key))

    def open(self, key: Mapping[str, Any], *, rows: int, describe: Callable[[], RowType]) -> OutputTable | None:
        """The table of this key: this machine's, over the one that many machines filled if there is one.

        Args, Raises: see `table`. None, with a warning, if there can be neither.
        """
        try:
            shared = shards.open_table(self.shared_store(key), key, rows)
        except InputError as error:
            shared = None
            _log.warning("Teacher outputs are not read from shards: %s", error)
        if shared is None:
            return self.table(key, rows=rows, describe=describe)
        local = None
        try:
            local = self._make(key, rows, lambda: shared.row)
        except (OSError, InputError) as error:
            self._report(error, "Teacher outputs that the shards lack are not kept")
        return layered_table.LayeredTable(shared, local, keep=self.store is not None)

    def table(self, key: Mapping[str, Any], *, rows: int, describe: Callable[[], RowType]) -> "Table | None":
        """This machine's table of this key, created if there is none; None, with a warning, if that fails.

        Args:
            key: all that its values depend on, as JSON values. Its digest names the table's directory.
            rows: number of rows of the full table.
            describe: returns the type of a new table's rows; may take long.

        Raises:
            InputError: if it fails and is `required`.
        """
        try:
            return self._make(key, rows, describe)
        except (OSError, InputError) as error:
            self._report(error, "The teacher runs live, since its outputs cannot be cached")
            return None

    def _report(self, error: Exception, consequence: str) -> None:
        """Logs why there is no table, or raises InputError if it is required."""
        if self.required:
            raise InputError(f"teacher_cache must have room for the tables. Received: {self.folder}: {error}") from None
        _log.warning("%s: %s", consequence, error)

    def _make(self, key: Mapping[str, Any], rows: int, describe: Callable[[], RowType]) -> "Table | None":
        directory = self.folder / _digest(key)
        self.folder.mkdir(parents=True, exist_ok=True)
        with files.locked(self.folder, wait=True):
            table = self._open(directory, rows)
        if table:
            return table
        row = describe()  # not under the lock: it may run the teacher
        with files.locked(self.folder, wait=True):
            table = self._open(directory, rows)  # another process may have created it meanwhile
            if table:
                return table
            self._evict(directory, rows * row.record.itemsize)
            _create(directory, key, rows, row)
            return self._open(directory, rows)

    def _open(self, directory: pathlib.Path, rows: int) -> "Table | None":
        """The existing table, if it is undamaged; a damaged one is removed."""
        if not directory.exists():
            return None
        try:
            card = _read_card(directory)
            row = RowType(tuple(card["shape"]), card["dtype"], card["about"])
            size = rows * row.record.itemsize
            if card["format"] != FORMAT or (directory / ROWS).stat().st_size != size:
                raise ValueError("the size of its rows is not that of its card")
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("Damaged, so rebuilt: %s: %s", directory, error)
            _remove(directory)
            return None
        self._evict(directory, size)
        return Table(directory, rows, row)

    def _evict(self, directory: pathlib.Path, size: int) -> None:
        """Removes tables that no process has open, least recently used first, until `directory` may grow to this size.

        Other folders beside them stay, and do not count.

        Raises:
            InputError: if the tables in use leave less than that.
        """
        budget = 1e9 * self.gigabytes
        if size > budget:
            raise InputError(f"they may take {size / 1e9:.2f} GB, more than cache_gb {self.gigabytes:g}")
        others = [path.parent for path in self.folder.glob(f"*/{ROWS}") if path.parent != directory]
        others = [other for other in others if _is_table(other)]
        taken = {other: _bytes_of(other) for other in others}
        for other in sorted(others, key=lambda other: _mtime(other / CARD)):
            if sum(taken.values()) + size <= budget:
                return
            with contextlib.suppress(InputError):
                _remove(other)
                del taken[other]
        if sum(taken.values()) + size > budget:
            raise InputError(f"tables in use leave less than {size / 1e9:.2f} GB of cache_gb {self.gigabytes:g}")


class Table:
    """An open table. Any number of threads and processes may read and write it at once.

    Attributes:
        directory: of the table.
        rows: number of rows of the full table.
        row: type of the rows.
    """

    def __init__(self, directory: pathlib.Path, rows: int, row: RowType):
        self.directory, self.rows, self.row = directory, rows, row
        self._file = os.open(directory / ROWS, os.O_RDWR)
        self._in_use = files.share(directory)
        self._writable = True
        os.utime(directory / CARD)

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values [n, *shape] of these rows [n], and which of them are present, bool [n]. Others have any values."""
        size = self.row.record.itemsize
        if len(rows) > 1 and (np.diff(rows) == 1).all():
            content = os.pread(self._file, size * len(rows), size * int(rows[0])).ljust(size * len(rows), b"\0")
        else:
            content = b"".join(os.pread(self._file, size, size * row).ljust(size, b"\0") for row in rows.tolist())
        return self.row.unpack(content, rows)

    def write(self, rows: np.ndarray, values: np.ndarray) -> None:
        """Writes values [n, *shape] of these rows [n]. After a write fails, a warning is logged and none is tried."""
        if not self._writable:
            return
        records = self.row.pack(rows, values)
        size, content = records.itemsize, records.tobytes()
        try:
            for i, row in enumerate(rows.tolist()):
                if os.pwrite(self._file, content[i * size : (i + 1) * size], row * size) != size:
                    raise OSError("no room left")
        except OSError as error:
            self._writable = False
            _log.warning("Teacher outputs are no longer cached: %s: %s", self.directory, error)

    def close(self) -> None:
        """Closes the table. From then on it may be evicted."""
        with contextlib.suppress(OSError):
            os.utime(self.directory / CARD)
        os.close(self._file)
        os.close(self._in_use)


def _create(directory: pathlib.Path, key: Mapping[str, Any], rows: int, row: RowType) -> None:
    """Creates a table without rows. The card is written last, since a directory without it counts as no table."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    with open(directory / ROWS, "wb") as file:
        file.truncate(rows * row.record.itemsize)  # a sparse file: it takes no space yet
    card = {"format": FORMAT, "key": key, "rows": rows, "shape": row.shape, "dtype": row.dtype, "about": row.metadata}
    files.write_atomically(directory / CARD, json.dumps(card, indent=1).encode())


def _is_table(directory: pathlib.Path) -> bool:
    """Whether a directory is a table: it is named by the digest of the key in its card, and is no link."""
    try:
        card = _read_card(directory)
        return card["format"] == FORMAT and directory.name == _digest(card["key"]) and not directory.is_symlink()
    except (ValueError, KeyError, TypeError):
        return False


def _read_card(directory: pathlib.Path) -> dict[str, Any]:
    return files.read_json(directory / CARD, rule="A table of teacher outputs must have a card")


def _digest(key: Mapping[str, Any]) -> str:
    """The name of a table's directory."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]


def _remove(directory: pathlib.Path) -> None:
    """Removes a table. Raises InputError if a process has it open."""
    with files.locked(directory):
        (directory / ROWS).unlink(missing_ok=True)  # first: rows without a card are never evicted
        shutil.rmtree(directory)


def _bytes_of(directory: pathlib.Path) -> int:
    """The size of a table on disk, in bytes; its full size if a process has it open and may fill it."""
    try:
        with files.locked(directory):
            return 512 * (directory / ROWS).stat().st_blocks
    except InputError:
        return (directory / ROWS).stat().st_size


def _mtime(path: pathlib.Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0


def find(source: str, gigabytes: float = CACHE_GB) -> Cache | None:
    """The cache that `--teacher_cache` names.

    Args:
        source: auto ($KDZOO_CACHE or the user's cache folder), off (None), a folder's path, or s3://BUCKET/PREFIX, from
            which tables that many machines filled are read into the cache of auto.
        gigabytes: see `Cache`.

    Raises:
        InputError: if the path is no folder, the bucket cannot be listed, or the size is not positive.
    """
    if not gigabytes > 0:
        raise InputError(f"cache_gb must be above 0, for example {CACHE_GB:g}. Received: {gigabytes}")
    if source == "off":
        return None
    own = folders.cache_folder() / "teachers"
    if "://" in source:
        return Cache(own, gigabytes, store=open_store(source))
    folder = own if source == "auto" else pathlib.Path(source)
    if not source or (folder.exists() and not folder.is_dir()):
        raise InputError(f"teacher_cache must be auto, off, a folder or s3://BUCKET/PREFIX. Received: {source}")
    return Cache(folder, gigabytes)


def computed_by() -> dict[str, Any]:
    """What the last bits of a network's outputs depend on, apart from its weights and images.

    That is libraries, settings and processor.

    It is part of each table's key, so a run computes the same numbers whether a table is empty, partly filled or full.
    """
    import keras

    now, hardware = machine.versions(), machine.hardware()
    setup = {key: now[key] for key in ("keras", "backend", now["backend"])}
    setup |= {name: os.environ[name] for name in NUMERIC_SETTINGS if name in os.environ}
    setup["floatx"] = keras.config.floatx()
    return setup | {"on": hardware["accelerators"] or [hardware["processor"], _instructions()]}


def _instructions() -> str:
    """Digest of the processor's instruction sets, "" if unknown: processors of one name may compute other last bits."""
    try:
        with open("/proc/cpuinfo") as file:
            flags = next(line for line in file if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        return ""
    return hashlib.sha256(" ".join(sorted(flags.split(":")[1].split())).encode()).hexdigest()[:16]
