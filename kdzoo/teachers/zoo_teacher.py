"""Teachers that are trained zoo models, and the program that computes their outputs."""

import functools
import logging
import math
import pathlib
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kdzoo.data import augmentation
from kdzoo.data.dataset import Dataset
from kdzoo.hub import models
from kdzoo.runs import machine, weights
from kdzoo.teachers.base import Teacher, check_fits

if TYPE_CHECKING:
    import keras

_log = logging.getLogger(__name__)

COMPARED = 1000  # test images on which two precisions are compared
# From standardised images [n, h, w, c] to "logits" [n, classes] and "maps" [n, h, w], one for each stage; if they are
# wanted, also "features" [n, channels] of the penultimate layer.
Program = Callable[[Any], dict[str, Any]]


class ZooTeacher(Teacher):
    """A trained zoo model: a run or a published model.

    Args:
        trained: the model.
        policy: Keras's dtype policy in which it computes.
        attention: whether it computes attention maps too.
        stages: names of the layers whose maps those are; none: stage1, stage2 and so on.
        features: whether it computes the features of its penultimate layer too.
        image_size: height and width to which images are resized for it; 0: it takes them as they are.

    Attributes:
        directory: of the run or published model.
    """

    def __init__(
        self,
        trained: models.Trained,
        policy: str,
        *,
        attention: bool,
        stages: Sequence[str] = (),
        features: bool = False,
        image_size: int = 0,
    ):
        self.image_size = image_size
        self._trained, self._policy = trained, policy
        self._taps: dict[str, Any] = {"attention": attention, "stages": stages, "features": features}
        self.spec, self.record = trained.spec, describe_model(trained)
        self.digest: str = self.record["digest"]
        self.directory: pathlib.Path = trained.directory
        self._program: Program | None = None
        self._lock = threading.Lock()
        self.max_calls_ahead = int(bool(machine.hardware()["accelerators"]))

    def check(self, dataset: Dataset) -> None:
        check_fits(self.spec, self._trained.record, dataset, self.image_shape(dataset))
        self.statistics = {key: tuple(self._trained.record["dataset"][key]) for key in ("mean", "std")}

    def build(self) -> "keras.Model":
        """The Keras model with its weights, in the teacher's precision."""
        return self._build(self._policy)

    def _build(self, policy: str) -> "keras.Model":
        from kdzoo.distillation.dtype import dtype_policy

        with dtype_policy(policy):
            return self._trained.build()

    def key(self, dataset: Dataset) -> dict[str, Any]:
        taps = self._taps
        stages = {"stages": list(taps["stages"])} if taps["attention"] and taps["stages"] else {}
        return super().key(dataset) | {"dtype": self._policy} | stages

    def check_pair(self, student: "keras.Model", student_stages: Sequence[str]) -> None:
        """Raises InputError unless attention transfer to this student is possible: both have as many stages."""
        from kdzoo.distillation import pairs

        stages = {"student_stages": student_stages, "teacher_stages": self._taps["stages"]}
        pairs.check_pair(
            student, weights.build(self._trained.record), attention=True, any_size=bool(self.image_size), **stages
        )

    def compare_with_float32(self, dataset: Dataset) -> None:
        images = dataset.test.read(np.arange(min(COMPARED, len(dataset.test))))
        images = augmentation.standardise(self.resize(images), **self.statistics)
        logits = []
        for policy in ("float32", self._policy):
            program = compile_program(self._build(policy), attention=False)
            logits.append(np.concatenate([program(images[i : i + 100])["logits"] for i in range(0, len(images), 100)]))
        agreement = 100 * float(np.mean(logits[0].argmax(-1) == logits[1].argmax(-1)))
        apart = float(np.abs(logits[0] - logits[1]).max())
        self.record |= {"bfloat16_agreement": agreement, "bfloat16_logits_apart": apart}
        _log.warning(
            "%s in bfloat16 predicts the class that it predicts in float32 for %.2f %% of %d test images; its logits"
            " differ by at most %.3f",
            self.spec,
            agreement,
            len(images),
            apart,
        )

    @property
    def activations(self) -> int:
        """Number of activations of all layers for one image; those that depend on its size do not count."""
        import keras

        outputs = [
            tensor
            for layer in weights.build(self._trained.record).layers
            for tensor in keras.tree.flatten(layer.output)
        ]
        return sum(math.prod(size or 0 for size in tensor.shape[1:]) for tensor in outputs)

    @property
    def program(self) -> Program:
        """The compiled program of the model: see `compile_program`. It is built when first needed."""
        with self._lock:
            if self._program is None:
                self._program = compile_program(self.build(), **self._taps)
            return self._program

    def compute(self, images: np.ndarray) -> dict[str, Any]:
        import keras

        outputs = self.program(augmentation.standardise(self.resize(images), **self.statistics))
        arrays: dict[str, Any] = keras.tree.map_structure(np.asarray, outputs)
        return arrays

    @property
    def channels(self) -> int:
        """Number of penultimate features."""
        from kdzoo.distillation.stages import find_head

        return int(find_head(weights.build(self._trained.record)).input.shape[-1])


def describe_model(trained: models.Trained) -> dict[str, Any]:
    """Returns what a student's record keeps of a teacher."""
    kept = (
        "name",
        "method",
        "seed",
        "parameters",
        "test_error_last",
        "test_top5_error_last",
        "test_ece_last",
        "teachers",
    )
    entry = {key: trained.record[key] for key in kept if key in trained.record}
    if "expected_calibration_error" in trained.record:  # a published model's card
        entry["test_ece_last"] = trained.record["expected_calibration_error"]
    return entry | {"digest": trained.digest()}


def compile_program(
    model: "keras.Model", *, attention: bool, stages: Sequence[str] = (), features: bool = False
) -> Program:
    """A teacher's forward pass as a compiled program of its own.

    On TensorFlow a training step that calls the program does not inline it, so the last bits of the outputs are the
    same inside a step and outside.

    Args:
        model: a zoo model.
        attention: whether the program returns the stages' attention maps; without, the list of maps is empty.
        stages: names of their layers; none: stage1, stage2 and so on.
        features: whether it returns the features of the penultimate layer.
    """
    import keras

    from kdzoo.distillation import losses
    from kdzoo.distillation.stages import find_head, stage_names

    taps = [model.get_layer(name).output for name in stage_names(model, stages)] if attention else []
    on_tensorflow = keras.backend.backend() == "tensorflow"
    pooled = on_tensorflow and {"pool", "logits"} <= {layer.name for layer in model.layers}  # a zoo model
    outputs = model.get_layer("pool").input if pooled else model.outputs[0]
    wanted = {"outputs": outputs, "stages": taps}
    if features and not pooled:
        wanted["features"] = find_head(model).input
    tap = keras.Model(model.inputs, wanted)

    def forward(images: Any) -> dict[str, Any]:
        outputs = tap(images, training=False)
        logits = outputs["outputs"]
        if pooled:
            outputs["features"] = _average(logits)
            logits = model.get_layer("logits")(outputs["features"])
        result = {
            "logits": keras.ops.cast(logits, "float32"),
            "maps": [losses.compact_map(stage) for stage in outputs["stages"]],
        }
        return result | ({"features": keras.ops.cast(outputs["features"], "float32")} if features else {})

    return compile_forward(forward, model)


def compile_forward(forward: Callable[[Any], Any], model: "keras.Model") -> Callable[[Any], Any]:
    """Compiles a function of images, which calls a network, for the current backend.

    Args:
        forward: from images float32 [n, h, w, c] to tensors.
        model: the network.
    """
    import keras

    on_tensorflow = keras.backend.backend() == "tensorflow"
    return _compile_for_tensorflow(forward, model) if on_tensorflow else _compile_for_jax(forward, model)


def _average(features: Any) -> Any:
    """The mean over all positions, [n, h, w, channels] -> [n, channels].

    The pool layer's own mean depends on the image's place in the batch if the channels are no multiple of 8.
    """
    import tensorflow as tf

    return tf.squeeze(tf.nn.avg_pool2d(features, features.shape[1:3], 1, "VALID"), (1, 2))


def _compile_for_tensorflow(forward: Callable[[Any], Any], model: "keras.Model") -> Callable[[Any], Any]:
    import tensorflow as tf

    return tf.function(
        forward,
        input_signature=[tf.TensorSpec([None, *model.input_shape[1:]], tf.float32)],
        autograph=False,
        experimental_attributes={"_noinline": True},
    )


def _compile_for_jax(forward: Callable[[Any], Any], model: "keras.Model") -> Callable[[Any], Any]:
    import jax
    import keras

    variables = model.variables

    @jax.jit
    def call(values: list[Any], images: Any) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return forward(images)

    return functools.partial(call, [variable.value for variable in variables])
