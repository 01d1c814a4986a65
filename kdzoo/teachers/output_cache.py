"""What teachers said, kept on disk, so that each is paid for once: a table with a row for every view of every image.

Pad-4 crop and flip give an image 162 views and no more, so what a teacher says of a data set is a finite table. Rows
are written when they are first needed, and read by every later epoch, seed, student, temperature and loss weight. A row
holds a checksum of its values and its number: one that was torn, damaged or never written does not match, and counts as
missing. Rows are read and written at their offsets rather than mapped into memory: a full disk or a file cut short is
then an error that can be handled, and the process does not swell by what it has read.
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
from kdzoo.hub import remote
from zoo import InputError

_log = logging.getLogger(__name__)

CACHE_GB = 10.0
FORMAT = 1
CARD, ROWS = "card.json", "rows"


@dataclasses.dataclass(frozen=True)
class Cache:
    """Where tables are kept, and how much room they may take.

    Attributes:
        folder: of the tables.
        gigabytes: that all tables together may take, in 10^9 bytes; those least recently used make room.
    """

    folder: pathlib.Path
    gigabytes: float = CACHE_GB

    def table(self, key: Mapping[str, Any], *, rows: int, describe: Callable[[], "RowType"]) -> "Table | None":
        """The table of this key, made if need be; None, with a warning, where it cannot be had.

        Args:
            key: all that its values depend on, as JSON can hold it.
            rows: how many it has when full.
            describe: tells what a row of a new table holds; may take long.
        """
        directory = self.folder / hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with files.locked(self.folder, wait=True):
                table = self._open(directory, rows)
            if table:
                return table
            row = describe()  # not under the lock: it may ask the teacher
            with files.locked(self.folder, wait=True):
                table = self._open(directory, rows)  # another process may have been as quick
                if table:
                    return table
                self._make_room(directory, rows * row.record.itemsize)
                _create(directory, key, rows, row)
                return self._open(directory, rows)
        except (OSError, InputError) as error:
            _log.warning("The teacher runs live, since its answers cannot be kept: %s", error)
            return None

    def _open(self, directory: pathlib.Path, rows: int) -> "Table | None":
        """The table that is there, if it is whole; a damaged one is removed."""
        if not directory.exists():
            return None
        try:
            card = json.loads((directory / CARD).read_text())
            row = RowType(tuple(card["shape"]), card["dtype"], card["about"])
            size = rows * row.record.itemsize
            if card["format"] != FORMAT or (directory / ROWS).stat().st_size != size:
                raise ValueError("its size is not what its card says")
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("Damaged, so made anew: %s: %s", directory, error)
            _remove(directory)
            return None
        self._make_room(directory, size)
        return Table(directory, rows, row)

    def _make_room(self, directory: pathlib.Path, size: int) -> None:
        """Removes tables that nobody has open, least recently used first, until `directory` may grow to this size.

        Raises:
            InputError: if there is not as much room.
        """
        budget = 1e9 * self.gigabytes
        if size > budget:
            raise InputError(f"they may take {size / 1e9:.2f} GB, more than cache_gb. Received: {self.gigabytes:g}")
        others = [path.parent for path in self.folder.glob(f"*/{ROWS}") if path.parent != directory]
        taken = {other: _bytes_of(other) for other in others}
        for other in sorted(others, key=lambda other: _mtime(other / CARD)):
            if sum(taken.values()) + size <= budget:
                return
            with contextlib.suppress(InputError):
                _remove(other)
                del taken[other]
        if sum(taken.values()) + size > budget:
            raise InputError(f"tables in use leave less than {size / 1e9:.2f} GB of cache_gb {self.gigabytes:g}")


@dataclasses.dataclass(frozen=True)
class RowType:
    """What a row holds: an array of this shape and type. `about` is told again by whoever opens the table."""

    shape: tuple[int, ...]
    dtype: str
    about: Any = None

    @property
    def record(self) -> np.dtype:
        """A row as it lies in the file."""
        return np.dtype([("values", self.dtype, self.shape), ("check", "<u4")])


class Table:
    """An open table. Any number of threads and processes may read and write it at once.

    Attributes:
        rows: how many it has when full.
        row: what each holds.
    """

    def __init__(self, directory: pathlib.Path, rows: int, row: RowType):
        self.directory, self.rows, self.row = directory, rows, row
        self._file = os.open(directory / ROWS, os.O_RDWR)
        self._in_use = files.share(directory)
        self._writable = True
        words = -(-row.record["values"].itemsize // 4)
        self._factors = np.random.RandomState(FORMAT).randint(0, 2**64, words + 2, np.uint64)
        os.utime(directory / CARD)

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values [n, *shape] of these rows [n], and which of them are there, bool [n]; what is not holds anything."""
        size = self.row.record.itemsize
        if len(rows) > 1 and (np.diff(rows) == 1).all():
            content = os.pread(self._file, size * len(rows), size * int(rows[0])).ljust(size * len(rows), b"\0")
        else:
            content = b"".join(os.pread(self._file, size, size * row).ljust(size, b"\0") for row in rows.tolist())
        return self._checked(content, rows)

    def write(self, rows: np.ndarray, values: np.ndarray) -> None:
        """Keeps values [n, *shape] of these rows [n]. Once the disk has no room left it says so, and keeps no more."""
        if not self._writable:
            return
        records = np.empty(len(rows), self.row.record)
        records["values"] = values
        records["check"] = self._checksums(records["values"], rows)
        size, content = records.itemsize, records.tobytes()
        try:
            for i, row in enumerate(rows.tolist()):
                if os.pwrite(self._file, content[i * size : (i + 1) * size], row * size) != size:
                    raise OSError("no room left")
        except OSError as error:
            self._writable = False
            _log.warning("What the teacher says is no longer kept: %s: %s", self.directory, error)

    def close(self) -> None:
        """Lets others remove it."""
        with contextlib.suppress(OSError):
            os.utime(self.directory / CARD)
        os.close(self._file)
        os.close(self._in_use)

    def _checked(self, content: bytes, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        records = np.frombuffer(content, self.row.record)
        return np.array(records["values"]), records["check"] == self._checksums(records["values"], rows)

    def _checksums(self, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """uint32 [n], never 0: multilinear hashing, in which two contents agree by chance once in 2^32.

        Lemire & Kaser, "Strongly universal string hashing is fast", The Computer Journal 57(11), 2014.
        """
        content = np.ascontiguousarray(values).view(np.uint8).reshape(len(rows), -1)
        content = np.pad(content, ((0, 0), (0, -content.shape[1] % 4))).view("<u4")
        with np.errstate(over="ignore"):
            total = (content.astype(np.uint64) * self._factors[2:]).sum(axis=1, dtype=np.uint64)
            total += rows.astype(np.uint64) * self._factors[1] + self._factors[0]
        return np.maximum(total >> np.uint64(32), 1).astype(np.uint32)


def _create(directory: pathlib.Path, key: Mapping[str, Any], rows: int, row: RowType) -> None:
    """A table without rows; the card comes last, and without it there is no table."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    with open(directory / ROWS, "wb") as file:
        file.truncate(rows * row.record.itemsize)  # takes no room on the disk yet
    card = {"format": FORMAT, "key": key, "rows": rows, **dataclasses.asdict(row)}
    files.write_atomically(directory / CARD, json.dumps(card, indent=1).encode())


def _remove(directory: pathlib.Path) -> None:
    """Removes a table; raises InputError if some process has it open."""
    with files.locked(directory):
        shutil.rmtree(directory)


def _bytes_of(directory: pathlib.Path) -> int:
    """What a table takes of the disk or, if some process has it open, may come to take."""
    try:
        with files.locked(directory):
            return 512 * (directory / ROWS).stat().st_blocks
    except InputError:
        return (directory / ROWS).stat().st_size


def _mtime(path: pathlib.Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0


def find(spec: str, gigabytes: float = CACHE_GB) -> Cache | None:
    """The cache that `--teacher_cache` asks for: auto ($KDZOO_CACHE or the user's cache folder), off, or a folder.

    Raises:
        InputError: if it is no folder, or its size is none.
    """
    if not gigabytes > 0:
        raise InputError(f"cache_gb must be above 0, for example {CACHE_GB:g}. Received: {gigabytes}")
    if spec == "off":
        return None
    folder = remote.cache_folder() / "teachers" if spec == "auto" else pathlib.Path(spec)
    if not spec or (folder.exists() and not folder.is_dir()):
        raise InputError(f"teacher_cache must be auto, off or a folder. Received: {spec}")
    return Cache(folder, gigabytes)


def computed_by() -> dict[str, Any]:
    """What the last bits of a network's output depend on, beside its weights and images.

    Tables are kept apart by it: so a run gives the same numbers whatever filled the table, or how far.
    """
    import keras

    from kdzoo.runs import machine as machine_module

    now, hardware = machine_module.versions(), machine_module.hardware()
    said = {key: now[key] for key in ("keras", "backend", now["backend"])}
    said |= {name: os.environ[name] for name in ("TF_ENABLE_ONEDNN_OPTS", "XLA_FLAGS") if name in os.environ}
    said["floatx"] = keras.config.floatx()
    return said | {"on": hardware["accelerators"] or [hardware["processor"], _instructions()]}


def _instructions() -> str:
    """Digest of the processor's instruction sets, where it tells: two that give other bits may bear one name."""
    try:
        with open("/proc/cpuinfo") as file:
            flags = next(line for line in file if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        return ""
    return hashlib.sha256(" ".join(sorted(flags.split(":")[1].split())).encode()).hexdigest()[:16]
