"""Teachers that are external models: only their signature is known."""

from collections.abc import Callable
from typing import Any

import numpy as np

from kdzoo.data import augmentation
from kdzoo.data.dataset import Dataset, array_digest
from kdzoo.runs.config import RunConfig
from kdzoo.teachers.base import Teacher
from kdzoo.teachers.signature import Signature, logits_of, stages_of
from zoo import InputError

QUERY_BATCH = 500


class ExternalTeacher(Teacher):
    """A model that was not built here, used through its signature.

    Args:
        spec: directory or address, as in the run's configuration.
        name: for the student's record.
        digest: of its files; None for a model behind a server, whose content shows in its outputs alone.
        signature: the function of the model to call.
        call: computes the outputs, by name, for images in the dtype of the signature.
        config: the run's.

    Raises:
        InputError: if the signature takes no numbers, or `teacher_input` must be set.
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
        self.spec, self.digest, self._name = spec, digest or "", name
        self._signature, self._call, self._input = signature, call, config.teacher_input
        self.image_size = config.teacher_image_size
        self._own_statistics = config.teacher_statistics
        self._logits = logits_of(signature, config, spec)
        self._stages = stages_of(signature, config, spec)
        self._named_stages = bool(self._stages and config.teacher_stages)
        if signature.dtype == "string":
            raise InputError(
                f"A teacher must take images as numbers [n, height, width, channels]. Received: strings, of {spec}"
            )
        if self._input == "auto":
            if not signature.dtype.startswith(("int", "uint")):
                raise InputError(
                    "teacher_input must be set for a teacher of floating-point images: raw (0 to 255), unit (0 to 1),"
                    f" imagenet or standardised. Received: {self._input} for {signature.dtype} of {spec}"
                )
            self._input = "raw"

    def check(self, dataset: Dataset) -> None:
        classes = (self._signature.outputs[self._logits] or (None,))[-1:]
        self._check_shape("image shape", self._signature.image_shape, self.image_shape(dataset))
        self._check_shape("number of classes", classes, (dataset.num_classes,))
        mean, std = self._own_statistics or (dataset.mean, dataset.std)
        if len(mean) != dataset.image_shape[-1]:
            raise InputError(
                "A teacher's images must be standardised by a mean and a std for each of their"
                f" {dataset.image_shape[-1]} channels. Received: {len(mean)}, {self._input} for {self.spec}"
            )
        self.statistics = {"mean": mean, "std": std}

    def _check_shape(self, what: str, received: tuple[int | None, ...] | None, needed: tuple[int, ...]) -> None:
        if received is not None and (
            len(received) != len(needed) or any(r not in (None, n) for r, n in zip(received, needed, strict=True))
        ):
            raise InputError(
                f"A teacher must have the data set's {what}: {needed}. Received: {received} from {self.spec}"
            )

    def measure(self, dataset: Dataset) -> None:
        """Computes its test logits, and from them its test error, its digest if it has none yet, and its record.

        Raises:
            InputError: if the outputs are no logits of the data set's classes, or hardly better than chance.
        """
        positions = np.arange(len(dataset.test))
        batches = (positions[first : first + QUERY_BATCH] for first in range(0, len(positions), QUERY_BATCH))
        parts = [self.compute(dataset.test.read(batch))["logits"] for batch in batches]
        self.test_logits = logits = np.concatenate(parts)
        if logits.shape[-1] != dataset.num_classes:
            raise InputError(
                f"A teacher must have the data set's number of classes: {dataset.num_classes}."
                f" Received: {logits.shape[-1]} from {self.spec}"
            )
        wrong = (logits.argmax(-1) != dataset.test.labels)[dataset.test.counts]
        error = 100 * float(np.mean(wrong))
        if (logits >= 0).all() and np.allclose(logits.sum(-1), 1, atol=1e-3):
            raise InputError(
                "A teacher must output logits: name the output by teacher_logits."
                f" Received: probabilities, {self._logits} of {self._signature.name} of {self.spec}"
            )
        if not np.isfinite(logits).all() or error >= 100 * (1 - 1.5 / dataset.num_classes):
            raise InputError(
                f"A teacher must know the classes of {dataset.name}, in the same order, from images in its own range"
                f" (teacher_input={self._input}). Received: test error {error:.2f} % from {self.spec}"
            )
        self.digest = self.digest or array_digest(logits)
        self.record = {
            "name": self._name,
            "method": None,
            "seed": None,
            "parameters": None,
            "test_error_last": error,
            "digest": self.digest,
        }

    def key(self, dataset: Dataset) -> dict[str, Any]:
        stages = {"stages": self._stages} if self._named_stages else {}
        return super().key(dataset) | {
            "signature": self._signature.name,
            "output": self._logits,
            "input": self._input,
            **stages,
        }

    def compute(self, images: np.ndarray) -> dict[str, Any]:
        images = self.resize(images)
        if self._input == "unit":
            images = images / 255
        elif self._input in ("imagenet", "standardised"):
            images = augmentation.standardise(images, **self.statistics)
        outputs = self._call(images.astype(self._signature.dtype))
        logits = np.asarray(outputs[self._logits], np.float32)
        if logits.ndim != 2 or len(logits) != len(images):
            raise InputError(
                f"A teacher must output logits [{len(images)}, classes]. Received: {logits.shape} from {self.spec}"
            )
        return {"logits": logits, "maps": [_map(outputs[stage]) for stage in self._stages]}


def _map(stage: np.ndarray) -> np.ndarray:
    """The attention map of a stage, by the same operations as in a training step."""
    import keras

    from kdzoo.distillation import losses

    return keras.ops.convert_to_numpy(losses.compact_map(keras.ops.convert_to_tensor(stage)))
