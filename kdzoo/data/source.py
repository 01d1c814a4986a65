"""The interface of a source of pictures: the examples of a split by their index, in canonical order."""

import abc

import numpy as np


class Source(abc.ABC):
    """The examples of one split, in canonical order. Workers get a pickled copy and read from it.

    The process that made it keeps its state: the digests of contents, and which examples are left out.

    Attributes:
        labels: int32 [n].
        left_out: bool [n], the examples that are known to be no pictures.
        channels: of the images that pictures are decoded to.
    """

    labels: np.ndarray
    left_out: np.ndarray
    channels: int = 3

    def __len__(self) -> int:
        return len(self.labels)

    @abc.abstractmethod
    def read(self, index: int) -> tuple[bytes | np.ndarray, bytes | None]:
        """Reads an example: an encoded picture or uint8 [h, w, c]; and the contents' digest if none is known yet.

        Raises:
            InputError: if it cannot be read, or is not what it was.
        """

    @abc.abstractmethod
    def path(self, index: int) -> str:
        """Names an example in messages."""

    def known_digests(self) -> np.ndarray:
        """The digests of contents that are known: bytes, in a NumPy array."""
        return np.array([], "S16")

    def keep_digest(self, index: int, digest: bytes) -> None:  # noqa: B027
        """Keeps the digest of an example's contents, as `read` returned it."""

    def leave_out(self, index: int, reason: str) -> None:
        """Keeps that an example is no picture, for example "truncated"."""
        self.left_out[index] = True


class ArraySource(Source):
    """Images in memory.

    Args:
        images: uint8 [n, h, w, c].
        labels: int32 [n].
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray):
        self._images, self.labels, self.left_out = images, labels, np.zeros(len(labels), bool)
        self.channels = images.shape[-1]

    def read(self, index: int) -> tuple[np.ndarray, None]:
        return self._images[index], None

    def path(self, index: int) -> str:
        return f"image {index}"
