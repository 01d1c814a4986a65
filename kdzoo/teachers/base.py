"""The interface of a teacher."""

import abc
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from kdzoo.data import decoding
from kdzoo.data.dataset import Dataset
from zoo import InputError

_log = logging.getLogger(__name__)

DEADLINE = 60.0  # seconds in which a server must respond


class Teacher(abc.ABC):
    """One teacher of a run.

    Attributes:
        spec: its name, directory or address, as in the run's configuration.
        digest: SHA-256 of its content: of a zoo model's weights, of a SavedModel's or ONNX model's files, of a server's
            logits for the test images. Runs, checkpoints and tables of outputs know the teacher by it.
        record: its entry in the student's record: name, method, seed, parameters, test_error_last in percent, digest,
            and where known its calibration error test_ece_last, from 0 to 1, and the records of its own teachers.
        max_calls_ahead: how many calls of `compute` may run while the student trains. 0 for a teacher on the student's
            cores, where a call ahead would only slow the steps down.
        test_logits: [n, classes] of the test set, if the checks computed them.
        statistics: mean and standard deviation by which images are standardised for it, known once it was checked;
            empty: those of the data set.
        image_size: height and width to which images are resized for it; 0: it takes them as they are.
    """

    spec: str
    digest: str
    record: dict[str, Any]
    max_calls_ahead: int = 0
    test_logits: np.ndarray | None = None
    statistics: Mapping[str, tuple[float, ...]] = {}
    image_size: int = 0

    @abc.abstractmethod
    def check(self, dataset: Dataset) -> None:
        """Raises InputError unless the teacher fits the data set. Call it before `compute`."""

    def compare_with_float32(self, dataset: Dataset) -> None:
        """Logs, and adds to the record, how far its logits in bfloat16 are from those in float32.

        Raises:
            InputError: if the precision of this teacher cannot be chosen.
        """
        raise InputError(
            f"teacher_dtype must be auto for a teacher that is no run or published model. Received: {self.spec}"
        )

    @abc.abstractmethod
    def compute(self, images: np.ndarray) -> dict[str, Any]:
        """The outputs for uint8 images [n, h, w, c]: "logits" float32 [n, classes] and "maps", empty without AT.

        Each map, float16 [n, h, w], is the `kdzoo.losses.compact_map` of one stage. For a method that compares them,
        also "features" float32 [n, channels], of the penultimate layer.
        """

    def resize(self, images: np.ndarray) -> np.ndarray:
        """Images uint8 [n, h, w, c] in the size that the teacher takes."""
        return decoding.resize(images, self.image_size) if self.image_size else images

    def image_shape(self, dataset: Dataset) -> tuple[int, int, int]:
        """(height, width, channels) of the images that the teacher takes."""
        height, width, channels = dataset.image_shape
        return (self.image_size or height, self.image_size or width, channels)

    def key(self, dataset: Dataset) -> dict[str, Any]:
        """All that its outputs for a data set depend on, except for the machine: see `output_cache.computed_by`."""
        statistics = self.statistics or {"mean": dataset.mean, "std": dataset.std}
        key: dict[str, Any] = {"teacher": self.digest, "dataset": dataset.fingerprint, **statistics}
        if dataset.unlabelled:
            key["unlabelled"] = dataset.unlabelled_fingerprint
        if self.image_size:
            key["image_size"] = self.image_size
        return key | ({"pixels": dict(dataset.preparation)} if dataset.preparation else {})


def check_fits(
    spec: str, record: Mapping[str, Any], dataset: Dataset, image_shape: tuple[int, int, int] | None = None
) -> None:
    """Raises InputError unless the image shape and the number of classes in a model's record are the data set's.

    Args:
        spec: of the model, for messages.
        record: the model's.
        dataset: the data set.
        image_shape: of the images that the model sees; None: the data set's.
    """
    theirs = record["dataset"]
    for what, received, needed in (
        ("number of classes", theirs["num_classes"], dataset.num_classes),
        ("image shape", tuple(theirs["image_shape"]), image_shape or dataset.image_shape),
    ):
        if received != needed:
            raise InputError(f"A model must have the data set's {what}: {needed}. Received: {received} from {spec}")
    if theirs["fingerprint"] != dataset.fingerprint:
        data_sets = [
            f"{name} {digest[:8]}"
            for name, digest in ((theirs["name"], theirs["fingerprint"]), (dataset.name, dataset.fingerprint))
        ]
        _log.warning("%s was trained on other data, %s, than %s", spec, *data_sets)
