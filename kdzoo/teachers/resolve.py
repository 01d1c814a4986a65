"""Whoever teaches: a run, a published model, anybody's SavedModel, a model behind a server.

All of them can be *asked*: given raw images, on the host, before the step that needs the answer (`kdzoo.answers`). A
network of ours may run inside the training step instead.
"""

from kdzoo.data.dataset import Dataset
from kdzoo.hub import models
from kdzoo.runs.config import RunConfig
from kdzoo.teachers.base import DEADLINE, Teacher
from kdzoo.teachers.external import ExternalTeacher
from kdzoo.teachers.saved_model import digest_saved_model, find_saved_model, load_saved_model
from kdzoo.teachers.signature import choose_signature
from kdzoo.teachers.zoo_teacher import ZooTeacher

GRPC = "grpc://"


class Ensemble:
    """The teachers of a run.

    Attributes:
        teachers: of the run.
        foreign: whether there are some that are no networks of ours, and so cannot run inside a training step.
    """

    def __init__(self, config: RunConfig, *, deadline: float = DEADLINE):
        self.teachers = [find(spec, config, deadline=deadline) for spec in config.teachers]
        self.has_external = any(isinstance(teacher, ExternalTeacher) for teacher in self.teachers)

    def check(self, dataset: Dataset) -> None:
        """Raises InputError unless all of them can teach on this data set; strangers say what they know of it."""
        for teacher in self.teachers:
            teacher.check(dataset)
            if isinstance(teacher, ExternalTeacher):
                teacher.measure(dataset)


def find(spec: str, config: RunConfig, *, deadline: float = DEADLINE) -> Teacher:
    """The teacher a configuration names, by what it is: see `apps.distill`.

    Args:
        where: one of `config.teachers`.
        config: the run's.
        deadline: seconds in which a server must answer.

    Raises:
        InputError: if there is none.
    """
    attention = bool(config.at_weight)
    if spec.startswith(GRPC):
        from kdzoo.teachers import grpc

        return grpc.find_teacher(spec, config, deadline=deadline)
    saved_model = find_saved_model(spec)
    if saved_model is None:
        return ZooTeacher(models.resolve(spec), config.teacher_policy, attention=attention)
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


def check_exists(spec: str) -> None:
    """Raises InputError unless there is such a teacher, as far as can be told without a network or TensorFlow."""
    if not spec.startswith((GRPC, *models.REMOTES)) and find_saved_model(spec) is None:
        models.resolve(spec)
