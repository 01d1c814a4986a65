"""A source of pictures that has an index of them."""

import numpy as np

from kdzoo.data.picture_index import PictureIndex
from kdzoo.data.scan import printable
from kdzoo.data.source import Source


class IndexedSource(Source):
    """The pictures of an index, in its order.

    Args:
        index: of the pictures.

    Attributes:
        faults: why pictures are left out, by their index.
    """

    def __init__(self, index: PictureIndex) -> None:
        self._index = index
        self.labels = np.array(index.entries["label"], np.int32)
        self.left_out = np.zeros(len(self.labels), bool)
        self.faults = dict(index.faults())
        self.left_out[list(self.faults)] = True

    def path(self, index: int) -> str:
        return printable(self._index.path(index))

    def leave_out(self, index: int, reason: str, *, keep: bool = True) -> None:
        """Keeps that an example is no picture: for later runs as well, or for this one only."""
        super().leave_out(index, reason)
        self.faults[index] = reason
        if keep:
            self._index.keep_fault(index, reason)

    def known_digests(self) -> np.ndarray:
        """The digests of pictures that were read: bytes in a NumPy array."""
        return self._index.known_digests()
