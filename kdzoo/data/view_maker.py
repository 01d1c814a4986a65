"""Makes views of pictures: reads, decodes, crops, and writes the pixels to cells of a table."""

from typing import NamedTuple

import numpy as np

from kdzoo.data import crops
from kdzoo.data.decoding import Undecodable, open_picture
from kdzoo.data.source import Source
from zoo import InputError

PLAIN = -1  # stands for a picture's view without augmentation


class Job(NamedTuple):
    """Views to make of pictures of one split: cells of the table, indices and view numbers, [n] each."""

    split: int
    cells: list[int]
    indices: list[int]
    views: list[int]


class Report(NamedTuple):
    """What was found out about a picture: the digest of its contents, and why it could not be decoded."""

    digest: bytes | None
    fault: str | None


class ViewMaker:
    """Makes the views of a data set's pictures.

    Args:
        sources: of the splits.
        transform: from a picture to a view.
        background: colour behind transparent pictures.

    Attributes:
        table: uint8 [cells, height, width, channels]; set it before `make` is called.
    """

    table: np.ndarray

    def __init__(self, sources: list[Source], transform: crops.Transform, background: tuple[int, int, int]):
        self._sources, self._transform, self._background = sources, transform, background

    def make(self, job: Job) -> list[Report]:
        """Makes views, each in its cell.

        Raises:
            InputError: if a file cannot be read or has changed.
        """
        draws = crops.draw(np.array(job.indices), np.array(job.views))
        views = zip(job.cells, job.indices, job.views, draws, strict=True)
        return [self._make_one(job.split, cell, index, view, numbers) for cell, index, view, numbers in views]

    def _make_one(self, split: int, cell: int, index: int, view: int, draws: np.ndarray) -> Report:
        content, digest = self._sources[split].read(index)
        try:
            picture = open_picture(content, self._background)
            if view == PLAIN:
                self.table[cell] = self._transform.plain(picture)
            else:
                self.table[cell] = self._transform.view(picture, view, draws)
        except Undecodable as error:
            return Report(digest, str(error))
        except InputError as error:
            raise InputError(f"{error}: {self._sources[split].path(index)}") from None
        return Report(digest, None)
