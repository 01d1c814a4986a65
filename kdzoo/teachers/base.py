"""The interface of a teacher."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from kdzoo.data.dataset import Dataset
from zoo import InputError

_log = logging.getLogger(__name__)

DEADLINE = 60.0  # seconds in which a server must answer


class Teacher:
    """Who teaches in a run.

    Attributes:
        where: as it was asked for.
        digest: by which an interrupted run knows it again.
        record: what the student's record keeps of it: name, method, seed, parameters, test_error_last in percent, and
            where they are known its calibration error, test_ece_last from 0 to 1, and its own teachers' records.
        ahead: how many calls may be under way while steps run; 0: it takes the same cores, so it is asked when needed.
        test_logits: [n, classes] of the test set, if checking it has taken them.
    """

    spec: str
    digest: str
    record: dict[str, Any]
    max_calls_ahead = 0
    test_logits: np.ndarray | None = None

    def check(self, dataset: Dataset) -> None:
        """Raises InputError unless it can teach on this data set."""
        raise NotImplementedError

    def compare_with_float32(self, dataset: Dataset) -> None:
        """Tells, and notes in its record, how far what it computes in bfloat16 is from what it would in float32.

        Raises:
            InputError: if its precision is its own affair.
        """
        raise InputError(
            f"teacher_dtype must be auto for a teacher that is no run or published model. Received: {self.spec}"
        )

    def compute(self, images: np.ndarray) -> dict[str, Any]:
        """What it says of uint8 images [n, h, w, c]: "logits" float32 [n, classes], and with AT "maps".

        A map, float16 [n, h, w], is a stage's `kdzoo.losses.compact_map`, one channel in place of all the stage has.
        """
        raise NotImplementedError

    def key(self, dataset: Dataset) -> dict[str, Any]:
        """All that its answers to a data set's images depend on, but for the machine: see `kdzoo.teacher_cache`."""
        statistics = {"mean": dataset.mean, "std": dataset.std}
        return {"teacher": self.digest, "dataset": dataset.fingerprint, **statistics}


def check_fits(spec: str, record: Mapping[str, Any], dataset: Dataset) -> None:
    """Raises InputError unless a run's network takes the data set's images and knows its classes."""
    theirs = record["dataset"]
    for what, received, needed in (
        ("number of classes", theirs["num_classes"], dataset.num_classes),
        ("image shape", tuple(theirs["image_shape"]), dataset.image_shape),
    ):
        if received != needed:
            raise InputError(f"A model must have the data set's {what}: {needed}. Received: {received} from {spec}")
    if theirs["fingerprint"] != dataset.fingerprint:
        data_sets = [
            f"{name} {digest[:8]}"
            for name, digest in ((theirs["name"], theirs["fingerprint"]), (dataset.name, dataset.fingerprint))
        ]
        _log.warning("%s was trained on other data, %s, than %s", spec, *data_sets)
