"""Whoever teaches: a run, a published model, anybody's SavedModel, a model behind a server.

All of them can be *asked*: given raw images, on the host, before the step that needs the answer (`kdzoo.answers`). A
network of ours may run inside the training step instead.
"""

import dataclasses
import functools
import hashlib
import logging
import math
import os
import pathlib
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kdzoo import data, hub, records
from kdzoo.config import RunConfig
from zoo import InputError, list_stages

ASK_BATCH = 500
COMPARED = 1000  # test images, of a network in another precision
GRPC = "grpc://"
DEADLINE = 60.0  # seconds in which a server must answer

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Signature:
    """One function of a SavedModel: names of its input and outputs, and what goes in.

    Shapes are without the batch; None where a side is free.
    """

    name: str
    input: str
    dtype: str
    image_shape: tuple[int | None, ...] | None
    outputs: Mapping[str, tuple[int | None, ...] | None]


def choose_signature(signatures: Mapping[str, Signature], config: RunConfig, where: str) -> Signature:
    """The signature a configuration asks for.

    Raises:
        InputError: if it is not there, or does not take images and give logits and, for attention transfer, stages.
    """
    name = config.teacher_signature or ("features" if config.at_weight else "serving_default")
    if name not in signatures:
        raise InputError(
            f"teacher_signature must be one of {', '.join(sorted(signatures)) or 'none there is'}."
            f" Received: {name} of {where}"
        )
    signature = signatures[name]
    logits = logits_of(signature, config, where)
    if config.at_weight and "stage1" not in signature.outputs:
        raise InputError(
            "For attention transfer a teacher's signature must give stage1, stage2...; features does of a published"
            f" model. Received: {', '.join(sorted(signature.outputs))} of {name} of {where}"
        )
    wanted = {logits, *(stages_of(signature) if config.at_weight else ())}
    return dataclasses.replace(signature, outputs={key: signature.outputs[key] for key in wanted})


def logits_of(signature: Signature, config: RunConfig, where: str) -> str:
    """Name of the output that holds the logits."""
    if not config.teacher_logits and len(signature.outputs) == 1:
        return next(iter(signature.outputs))
    name = config.teacher_logits or "logits"
    if name not in signature.outputs:
        raise InputError(
            f"teacher_logits must be one of {', '.join(sorted(signature.outputs))}. Received: {name} of {where}"
        )
    return name


def stages_of(signature: Signature) -> list[str]:
    """Names of the stage outputs, first to last."""
    stages = [f"stage{i + 1}" for i in range(len(signature.outputs))]
    return [stage for stage in stages if stage in signature.outputs]


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

    where: str
    digest: str
    record: dict[str, Any]
    ahead = 0
    test_logits: np.ndarray | None = None

    def check(self, dataset: data.Dataset) -> None:
        """Raises InputError unless it can teach on this data set."""
        raise NotImplementedError

    def compare_with_float32(self, dataset: data.Dataset) -> None:
        """Tells, and notes in its record, how far what it computes in bfloat16 is from what it would in float32.

        Raises:
            InputError: if its precision is its own affair.
        """
        raise InputError(
            f"teacher_dtype must be auto for a teacher that is no run or published model. Received: {self.where}"
        )

    def ask(self, images: np.ndarray) -> dict[str, Any]:
        """What it says of uint8 images [n, h, w, c]: "logits" float32 [n, classes], and with AT "maps".

        A map, float16 [n, h, w], is a stage's `kdzoo.losses.compact_map`, one channel in place of all the stage has.
        """
        raise NotImplementedError

    def key(self, dataset: data.Dataset) -> dict[str, Any]:
        """All that its answers to a data set's images depend on, but for the machine: see `kdzoo.teacher_cache`."""
        statistics = {"mean": dataset.mean, "std": dataset.std}
        return {"teacher": self.digest, "dataset": dataset.fingerprint, **statistics}


class Network(Teacher):
    """A trained network of ours.

    Args:
        trained: the network.
        policy: Keras's, in whose precision it computes.
        attention: whether it is asked for maps.
    """

    def __init__(self, trained: hub.Trained, policy: str, *, attention: bool):
        self.where, self.digest = trained.where, trained.digest()
        self._trained, self._policy, self._attention = trained, policy, attention
        told = ("name", "method", "seed", "parameters", "test_error_last", "test_ece_last", "teachers")
        self.record = {key: trained.record[key] for key in told if key in trained.record}
        if "expected_calibration_error" in trained.record:  # a card
            self.record["test_ece_last"] = trained.record["expected_calibration_error"]
        self.directory = trained.directory
        self._program, self._lock = None, threading.Lock()
        self.ahead = int(bool(records.hardware()["accelerators"]))

    def check(self, dataset: data.Dataset) -> None:
        check_fits(self.where, self._trained.record, dataset)
        needed = [list(dataset.mean), list(dataset.std)]
        received = [self._trained.record["dataset"][key] for key in ("mean", "std")]
        if received != needed:
            raise InputError(
                f"A teacher must have learnt from images standardised as the student's: mean, std {needed}."
                f" Received: {received} from {self.where}"
            )
        self._statistics = {"mean": dataset.mean, "std": dataset.std}

    def build(self):
        """The Keras model."""
        return self._build(self._policy)

    def _build(self, policy: str):
        from kdzoo import precision

        with precision.policy(policy):
            return self._trained.build()

    def key(self, dataset):
        return super().key(dataset) | {"dtype": self._policy}

    def check_pair(self, student) -> None:
        """Raises InputError unless student and teacher have as many stages, for attention transfer."""
        from kdzoo import distiller

        distiller.check_pair(student, records.build(self._trained.record), attention=True)

    def compare_with_float32(self, dataset):
        images = data.standardise(dataset.test.images[:COMPARED], **self._statistics)
        logits = []
        for policy in ("float32", self._policy):
            program = compiled(self._build(policy), attention=False)
            logits.append(np.concatenate([program(images[i : i + 100])[0] for i in range(0, len(images), 100)]))
        agreement = 100 * float(np.mean(logits[0].argmax(-1) == logits[1].argmax(-1)))
        apart = float(np.abs(logits[0] - logits[1]).max())
        self.record |= {"bfloat16_agreement": agreement, "bfloat16_logits_apart": apart}
        _log.warning(
            "%s in bfloat16 names the class that it does in float32 for %.2f %% of %d test images, logits %.3f apart",
            self.where,
            agreement,
            len(images),
            apart,
        )

    @property
    def activations(self) -> int:
        """How many numbers its layers give of one image, all together."""
        return sum(math.prod(layer.output.shape[1:]) for layer in records.build(self._trained.record).layers)

    @property
    def program(self) -> Callable[[Any], tuple[Any, list[Any]]]:
        """See `compiled`."""
        with self._lock:
            if self._program is None:  # a run whose tables are full never builds it
                self._program = compiled(self.build(), attention=self._attention)
        return self._program

    def ask(self, images):
        logits, maps = self.program(data.standardise(images, **self._statistics))
        return {"logits": np.asarray(logits), "maps": [np.asarray(one) for one in maps]}


def compiled(model, *, attention: bool) -> Callable[[Any], tuple[Any, list[Any]]]:
    """From standardised images to a teacher's logits and, with `attention`, its maps: a program of its own.

    On TensorFlow it stays one, of the same last bits, where a training step calls it.
    """
    import keras

    from kdzoo import losses

    stages = [model.get_layer(name).output for name in list_stages(model)] if attention else []
    pool, head = model.get_layer("pool"), model.get_layer("logits")
    tap = keras.Model(model.inputs, {"features": pool.input, "stages": stages})

    def say(outputs):
        logits = head(average(outputs["features"]))
        return keras.ops.cast(logits, "float32"), [losses.compact_map(stage) for stage in outputs["stages"]]

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        def average(features):
            # As the pool layer, whose mean goes by an image's place in the batch where channels are no multiple of 8.
            return tf.squeeze(tf.nn.avg_pool2d(features, features.shape[1:3], 1, "VALID"), (1, 2))

        images = tf.TensorSpec([None, *model.input_shape[1:]], tf.float32)
        return tf.function(
            lambda images: say(tap(images, training=False)),
            input_signature=[images],
            autograph=False,
            experimental_attributes={"_noinline": True},
        )
    import jax

    average = pool
    variables = model.variables

    @jax.jit
    def call(values, images):
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return say(tap(images, training=False))

    return functools.partial(call, [variable.value for variable in variables])


class Asked(Teacher):
    """Somebody else's model, known by its signature alone.

    Args:
        where: as it was asked for.
        name: to call it by.
        digest: of its files or, behind a server, None: it is then known again by its name and error.
        signature: that it is asked by.
        call: given the images as the signature wants them, the outputs by their names.
        config: the run's.
    """

    ahead = 4

    def __init__(
        self,
        where: str,
        name: str,
        digest: str | None,
        signature: Signature,
        call: Callable[[np.ndarray], dict[str, np.ndarray]],
        config: RunConfig,
    ):
        self.where, self.digest, self._name = where, digest, name
        self._signature, self._call, self._input = signature, call, config.teacher_input
        self._logits = logits_of(signature, config, where)
        self._stages = stages_of(signature) if config.at_weight else []
        if signature.dtype == "string":
            raise InputError(
                f"A teacher must take images as numbers [n, height, width, channels]. Received: strings, of {where}"
            )
        if self._input == "auto":
            if not signature.dtype.startswith(("int", "uint")):
                raise InputError(
                    "teacher_input must say how a teacher of floating-point images wants them: raw (0 to 255), unit"
                    f" (0 to 1) or standardised. Received: {self._input} for {signature.dtype} of {where}"
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
                    f"A teacher must have the data set's {what}: {needed}. Received: {received} from {self.where}"
                )
        self._statistics = {"mean": dataset.mean, "std": dataset.std}

    def measure(self, dataset: data.Dataset) -> None:
        """Takes its test error, and refuses who does not know what the data set shows."""
        images = dataset.test.images
        parts = [self.ask(images[i : i + ASK_BATCH])["logits"] for i in range(0, len(images), ASK_BATCH)]
        self.test_logits = logits = np.concatenate(parts)
        if logits.shape[-1] != dataset.num_classes:
            raise InputError(
                f"A teacher must have the data set's number of classes: {dataset.num_classes}."
                f" Received: {logits.shape[-1]} from {self.where}"
            )
        error = 100 * float(np.mean(logits.argmax(-1) != dataset.test.labels))
        if (logits >= 0).all() and np.allclose(logits.sum(-1), 1, atol=1e-3):
            raise InputError(
                "A teacher must give logits: name its output by teacher_logits."
                f" Received: probabilities, {self._logits} of {self._signature.name} of {self.where}"
            )
        if not np.isfinite(logits).all() or error >= 100 * (1 - 1.5 / dataset.num_classes):
            raise InputError(
                f"A teacher must know the classes of {dataset.name}, in the same order, from images as it wants them"
                f" (teacher_input={self._input}). Received: test error {error:.2f} % from {self.where}"
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

    def ask(self, images):
        if self._input == "unit":
            images = images / 255
        elif self._input == "standardised":
            images = data.standardise(images, **self._statistics)
        outputs = self._call(images.astype(self._signature.dtype))
        logits = np.asarray(outputs[self._logits], np.float32)
        if logits.ndim != 2 or len(logits) != len(images):
            raise InputError(
                f"A teacher must give logits [{len(images)}, classes]. Received: {logits.shape} from {self.where}"
            )
        return {"logits": logits, "maps": [_map(outputs[stage]) for stage in self._stages]}


def _map(stage) -> np.ndarray:
    """A stage's attention map, by the very operations that a training step would make it with."""
    import keras

    from kdzoo import losses

    return keras.ops.convert_to_numpy(losses.compact_map(keras.ops.convert_to_tensor(stage)))


class Ensemble:
    """The teachers of a run.

    Attributes:
        teachers: of the run.
        foreign: whether there are some that are no networks of ours, and so cannot run inside a training step.
    """

    def __init__(self, config: RunConfig, *, deadline: float = DEADLINE):
        self.teachers = [find(where, config, deadline=deadline) for where in config.teachers]
        self.foreign = any(isinstance(teacher, Asked) for teacher in self.teachers)

    def check(self, dataset: data.Dataset) -> None:
        """Raises InputError unless all of them can teach on this data set; strangers say what they know of it."""
        for teacher in self.teachers:
            teacher.check(dataset)
            if isinstance(teacher, Asked):
                teacher.measure(dataset)


def find(where: str, config: RunConfig, *, deadline: float = DEADLINE) -> Teacher:
    """The teacher a configuration names, by what it is: see `apps.distill`.

    Args:
        where: one of `config.teachers`.
        config: the run's.
        deadline: seconds in which a server must answer.

    Raises:
        InputError: if there is none.
    """
    attention = bool(config.at_weight)
    if where.startswith(GRPC):
        from kdzoo import serving

        return serving.find_teacher(where, config, deadline=deadline)
    saved_model = find_saved_model(where)
    if saved_model is None:
        return Network(hub.resolve(where), config.teacher_policy, attention=attention)
    signatures, call = load_saved_model(saved_model)
    signature = choose_signature(signatures, config, where)
    return Asked(
        where,
        saved_model.parent.name if saved_model.name.isdecimal() else saved_model.name,
        _digest(saved_model),
        signature,
        lambda images: call(signature, images),
        config,
    )


def check_exists(where: str) -> None:
    """Raises InputError unless there is such a teacher, as far as can be told without a network or TensorFlow."""
    if not where.startswith((GRPC, *hub.REMOTES)) and find_saved_model(where) is None:
        hub.resolve(where)


def find_saved_model(where: str) -> pathlib.Path | None:
    """Directory of the SavedModel that lies there and is none of ours; of several versions the newest."""
    path = pathlib.Path(where)
    if "\0" in where or not os.path.isdir(path) or any((path / own).exists() for own in (hub.CARD, records.RECORD)):
        return None
    if (path / "saved_model.pb").exists():
        return path.resolve()
    versions = [found.parent for found in path.glob("*/saved_model.pb") if found.parent.name.isdecimal()]
    return max(versions, key=lambda version: int(version.name)).resolve() if versions else None


def load_saved_model(
    directory: pathlib.Path,
) -> tuple[dict[str, Signature], Callable[[Signature, np.ndarray], dict[str, np.ndarray]]]:
    """A SavedModel's signatures that take one tensor, and what calls one.

    Raises:
        InputError: if it cannot be loaded.
    """
    try:
        import tensorflow as tf
    except ImportError as error:
        raise InputError(f"A SavedModel as teacher needs TensorFlow. Received: {directory}: {error}") from None
    try:
        model = tf.saved_model.load(str(directory))
    except Exception as error:  # of reading, parsing, or making a graph: TensorFlow has no one class for them
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"A SavedModel must be one that loads. Received: {directory}: {reason}") from None
    signatures = {}
    for name, function in model.signatures.items():
        _, inputs = function.structured_input_signature
        if len(inputs) == 1:
            (key, image), outputs = *inputs.items(), function.structured_outputs
            shapes = {output: inner_shape(spec.shape) for output, spec in outputs.items()}
            signatures[name] = Signature(name, key, image.dtype.name, inner_shape(image.shape), shapes)

    def call(signature: Signature, images: np.ndarray) -> dict[str, np.ndarray]:
        try:
            outputs = model.signatures[signature.name](**{signature.input: tf.constant(images)})
        except (tf.errors.OpError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"A SavedModel must take {images.dtype} images {list(images.shape)}. Received: {directory}: {reason}"
            ) from None
        return {key: outputs[key].numpy() for key in signature.outputs}

    return signatures, call


def inner_shape(shape) -> tuple[int | None, ...] | None:
    """Of a TensorFlow shape: the sides but for the batch, None for one that is free; None if nothing is known."""
    return None if shape.rank is None else tuple(shape.as_list()[1:])


def _digest(directory: pathlib.Path) -> str:
    """SHA-256 over all files of a SavedModel."""
    digest = hashlib.sha256()
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        digest.update(path.relative_to(directory).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def check_fits(where: str, record: Mapping[str, Any], dataset: data.Dataset) -> None:
    """Raises InputError unless a run's network takes the data set's images and knows its classes."""
    theirs = record["dataset"]
    for what, received, needed in (
        ("number of classes", theirs["num_classes"], dataset.num_classes),
        ("image shape", tuple(theirs["image_shape"]), dataset.image_shape),
    ):
        if received != needed:
            raise InputError(f"A model must have the data set's {what}: {needed}. Received: {received} from {where}")
    if theirs["fingerprint"] != dataset.fingerprint:
        data_sets = [
            f"{name} {digest[:8]}"
            for name, digest in ((theirs["name"], theirs["fingerprint"]), (dataset.name, dataset.fingerprint))
        ]
        _log.warning("%s was trained on other data, %s, than %s", where, *data_sets)
