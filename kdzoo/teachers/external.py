"""Teachers that are external models, known by their signature alone."""

from collections.abc import Callable

import numpy as np

from kdzoo.data import augmentation
from kdzoo.data.dataset import Dataset
from kdzoo.runs.config import RunConfig
from kdzoo.teachers.base import Teacher
from kdzoo.teachers.signature import Signature, logits_of, stages_of
from zoo import InputError

QUERY_BATCH = 500


class ExternalTeacher(Teacher):
    """Somebody else's model, known by its signature alone.

    Args:
        where: as it was asked for.
        name: to call it by.
        digest: of its files or, behind a server, None: it is then known again by its name and error.
        signature: that it is asked by.
        call: given the images as the signature wants them, the outputs by their names.
        config: the run's.
    """

    max_calls_ahead = 4

    def __init__(
        self,
        spec: str,
        name: str,
        digest: str | None,
        signature: Signature,
        call: Callable[[np.ndarray], dict[str, np.ndarray]],
        config: RunConfig,
    ):
        self.spec, self.digest, self._name = spec, digest, name
        self._signature, self._call, self._input = signature, call, config.teacher_input
        self._logits = logits_of(signature, config, spec)
        self._stages = stages_of(signature) if config.at_weight else []
        if signature.dtype == "string":
            raise InputError(
                f"A teacher must take images as numbers [n, height, width, channels]. Received: strings, of {spec}"
            )
        if self._input == "auto":
            if not signature.dtype.startswith(("int", "uint")):
                raise InputError(
                    "teacher_input must say how a teacher of floating-point images wants them: raw (0 to 255), unit"
                    f" (0 to 1) or standardised. Received: {self._input} for {signature.dtype} of {spec}"
                )
            self._input = "raw"

    def check(self, dataset):
        for what, received, needed in (
            ("image shape", self._signature.image_shape, dataset.image_shape),
            ("number of classes", (self._signature.outputs[self._logits] or (None,))[-1:], (dataset.num_classes,)),
        ):
            if received is not None and (
                len(received) != len(needed) or any(r not in (None, n) for r, n in zip(received, needed, strict=True))
            ):
                raise InputError(
                    f"A teacher must have the data set's {what}: {needed}. Received: {received} from {self.spec}"
                )
        self._statistics = {"mean": dataset.mean, "std": dataset.std}

    def measure(self, dataset: Dataset) -> None:
        """Takes its test error, and refuses who does not know what the data set shows."""
        images = dataset.test.images
        parts = [self.compute(images[i : i + QUERY_BATCH])["logits"] for i in range(0, len(images), QUERY_BATCH)]
        self.test_logits = logits = np.concatenate(parts)
        if logits.shape[-1] != dataset.num_classes:
            raise InputError(
                f"A teacher must have the data set's number of classes: {dataset.num_classes}."
                f" Received: {logits.shape[-1]} from {self.spec}"
            )
        error = 100 * float(np.mean(logits.argmax(-1) != dataset.test.labels))
        if (logits >= 0).all() and np.allclose(logits.sum(-1), 1, atol=1e-3):
            raise InputError(
                "A teacher must give logits: name its output by teacher_logits."
                f" Received: probabilities, {self._logits} of {self._signature.name} of {self.spec}"
            )
        if not np.isfinite(logits).all() or error >= 100 * (1 - 1.5 / dataset.num_classes):
            raise InputError(
                f"A teacher must know the classes of {dataset.name}, in the same order, from images as it wants them"
                f" (teacher_input={self._input}). Received: test error {error:.2f} % from {self.spec}"
            )
        self.record = {
            "name": self._name,
            "method": None,
            "seed": None,
            "parameters": None,
            "test_error_last": error,
        }
        self.digest = self.digest or f"{self._name} of test error {error:.2f} %"

    def key(self, dataset):
        return super().key(dataset) | {"signature": self._signature.name, "output": self._logits, "input": self._input}

    def compute(self, images):
        if self._input == "unit":
            images = images / 255
        elif self._input == "standardised":
            images = augmentation.standardise(images, **self._statistics)
        outputs = self._call(images.astype(self._signature.dtype))
        logits = np.asarray(outputs[self._logits], np.float32)
        if logits.ndim != 2 or len(logits) != len(images):
            raise InputError(
                f"A teacher must give logits [{len(images)}, classes]. Received: {logits.shape} from {self.spec}"
            )
        return {"logits": logits, "maps": [_map(outputs[stage]) for stage in self._stages]}


def _map(stage) -> np.ndarray:
    """A stage's attention map, by the very operations that a training step would make it with."""
    import keras

    from kdzoo.distillation import losses

    return keras.ops.convert_to_numpy(losses.compact_map(keras.ops.convert_to_tensor(stage)))
