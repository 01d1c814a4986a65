"""The format of a row in a table of teacher outputs: its values, then a checksum of them and of the row's number.

A row that is torn, damaged, of another number or not yet written does not match its checksum, and counts as missing.
"""

import dataclasses
import functools
from typing import Any

import numpy as np

FORMAT = 1  # of tables in a folder; the factors of the checksums are drawn by it


@dataclasses.dataclass(frozen=True)
class RowType:
    """The type of a row: an array of this shape and dtype.

    `metadata` is any JSON value. The table's card keeps it.
    """

    shape: tuple[int, ...]
    dtype: str
    metadata: Any = None

    @property
    def record(self) -> np.dtype:
        """The layout of a row in a file."""
        return np.dtype([("values", self.dtype, self.shape), ("check", "<u4")])

    def pack(self, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Records [n] of these row numbers [n] and values [n, *shape]."""
        records = np.empty(len(rows), self.record)
        records["values"] = values
        records["check"] = self._checksums(records["values"], rows)
        return records

    def unpack(self, content: bytes, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values [n, *shape] from the records of these rows [n], and which of them are whole, bool [n]."""
        records = np.frombuffer(content, self.record)
        return np.array(records["values"]), records["check"] == self._checksums(records["values"], rows)

    @functools.cached_property
    def _factors(self) -> np.ndarray:
        words = -(-self.record["values"].itemsize // 4)
        return np.random.RandomState(FORMAT).randint(0, 2**64, words + 2, np.uint64)

    def _checksums(self, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """uint32 [n], never 0: multilinear hashing, by which two contents agree by chance once in 2^32.

        Lemire & Kaser, "Strongly universal string hashing is fast", The Computer Journal 57(11), 2014.
        """
        content = np.ascontiguousarray(values).view(np.uint8).reshape(len(rows), -1)
        content = np.pad(content, ((0, 0), (0, -content.shape[1] % 4))).view("<u4")
        with np.errstate(over="ignore"):
            total = (content.astype(np.uint64) * self._factors[2:]).sum(axis=1, dtype=np.uint64)
            total += rows.astype(np.uint64) * self._factors[1] + self._factors[0]
        return np.maximum(total >> np.uint64(32), 1).astype(np.uint32)
