"""From teacher specs to teachers: runs, published models, Keras networks, SavedModels, ONNX models, gRPC servers."""

from typing import Any

from kdzoo.data.dataset import Dataset
from kdzoo.hub import models
from kdzoo.models import specs
from kdzoo.runs import identity
from kdzoo.runs.config import RunConfig
from kdzoo.teachers.base import DEADLINE, Teacher
from kdzoo.teachers.external import ExternalTeacher
from kdzoo.teachers.onnx_files import ONNX, ModelFiles, find_file
from kdzoo.teachers.saved_model import digest_saved_model, find_saved_model, load_saved_model
from kdzoo.teachers.signature import choose_signature
from kdzoo.teachers.zoo_teacher import ZooTeacher, describe_model
from zoo import InputError

GRPC = ("grpc://", "grpcs://")


class Ensemble:
    """The teachers of a run.

    Args:
        config: the run's.
        dataset: the run's data set.
        deadline: seconds in which a server must respond.

    Attributes:
        teachers: in the order of the configuration.
        has_external: whether any is an external model, which cannot run inside a training step.

    Raises:
        InputError: see `find`.
    """

    def __init__(self, config: RunConfig, dataset: Dataset, *, deadline: float = DEADLINE):
        self.teachers = [find(spec, config, dataset, deadline=deadline) for spec in config.teachers]
        self.has_external = any(isinstance(teacher, ExternalTeacher) for teacher in self.teachers)

    def check(self, dataset: Dataset) -> None:
        """Raises InputError unless all teachers fit the data set, and differ. Measures external models' test error."""
        for teacher in self.teachers:
            teacher.check(dataset)
            if isinstance(teacher, ExternalTeacher):
                teacher.measure(dataset)
        identity.check_teachers_differ((teacher.spec, teacher.digest) for teacher in self.teachers)


def find(spec: str, config: RunConfig, dataset: Dataset, *, deadline: float = DEADLINE) -> Teacher:
    """The teacher that a spec names.

    Args:
        spec: one of `config.teachers`: directory of a run, published model or SavedModel; onnx:FILE; FILE.keras or
            another network's spec; published name; address https://..., hf://... or grpc[s]://HOST:PORT/NAME.
        config: the run's.
        dataset: the run's data set.
        deadline: seconds in which a server must respond.

    Raises:
        InputError: if there is none, or its signature does not fit the configuration.
    """
    attention = bool(config.at_weight)
    if spec.startswith(GRPC):
        from kdzoo.teachers import grpc

        return grpc.find_teacher(spec, config, deadline=deadline)
    if spec.startswith(ONNX):
        from kdzoo.teachers.onnx_model import OnnxTeacher

        return OnnxTeacher(spec, config)
    if specs.is_network(spec):
        from kdzoo.teachers import keras_network

        return keras_network.find_teacher(spec, config, dataset)
    saved_model = find_saved_model(spec)
    if saved_model is None:
        stages = config.loss_options["teacher_stages"]
        size = config.teacher_image_size
        return ZooTeacher(
            models.resolve(spec),
            config.teacher_policy,
            attention=attention,
            stages=stages,
            features=config.teacher_features,
            image_size=size,
        )
    signatures, call = load_saved_model(saved_model)
    signature = choose_signature(signatures, config, spec)
    return ExternalTeacher(
        spec,
        saved_model.parent.name if saved_model.name.isdecimal() else saved_model.name,
        digest_saved_model(saved_model),
        signature,
        lambda images: call(signature, images),
        config,
    )


def describe(spec: str) -> dict[str, Any]:
    """Returns what a student's record keeps of a local teacher, as far as that shows without its data.

    Raises:
        InputError: if the spec names no local teacher, or one whose weights are known only once it is built.
    """
    if spec.startswith(ONNX):
        return {"digest": ModelFiles(spec).digest}
    if specs.is_network(spec):
        if digest := specs.digest(specs.parse(spec)):
            return {"digest": digest}
        raise InputError(f"A teacher's file of weights must be known. Received: {spec}")
    saved_model = find_saved_model(spec)
    return {"digest": digest_saved_model(saved_model)} if saved_model else describe_model(models.resolve(spec))


def check_exists(spec: str) -> None:
    """Raises InputError if a local spec names no teacher. Needs no network and no TensorFlow: skips addresses."""
    if spec.startswith(ONNX):
        find_file(spec)
    elif specs.is_network(spec):
        specs.digest(specs.parse(spec))
    elif not spec.startswith((*GRPC, *models.REMOTES)) and find_saved_model(spec) is None:
        models.resolve(spec)
