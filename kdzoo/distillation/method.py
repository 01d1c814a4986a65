"""What a distillation method is: one term of a student's loss, beside cross-entropy, KD and AT. Imports no backend."""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from kdzoo.distillation.checks import TEMPERATURE, WEIGHT, check_mode
from kdzoo.ranges import Range

_SHARE = Range(least=0, most=1, example=0.1)
# Of arguments that several methods have, by name.
_RANGES = {
    "temperature": TEMPERATURE,
    **dict.fromkeys(("alpha", "beta", "gamma"), WEIGHT),
    **dict.fromkeys(("warmup_share", "first_share", "pretraining_share"), _SHARE),
}
STAGES, FEATURES, LAST_MAP, INDEX, STRONG = "stages", "features", "last_map", "index", "strong"


@dataclasses.dataclass(frozen=True)
class Outputs:
    """What a network computed of a batch.

    Attributes:
        logits: [n, classes].
        stages: outputs [n, h, w, channels] of its stages, first to last, if the method needs them.
        features: of the penultimate layer [n, channels], the input of the last dense layer, if the method needs them.
        last_map: what is averaged by the last global pooling [n, h, w, channels], if the method needs it.
        index: numbers of the training examples [n], if the method needs them; of the student alone.
        strong: logits for a second, strongly augmented view of the images [n, classes], if the method needs them.
    """

    logits: Any
    stages: Sequence[Any] = ()
    features: Any = None
    last_map: Any = None
    index: Any = None
    strong: Any = None


@dataclasses.dataclass(frozen=True)
class Shapes:
    """The shapes of a network's outputs, without the batch.

    Attributes:
        classes: number of classes.
        stages: (height, width, channels) of each stage that the method needs.
        channels: of the penultimate layer, if the method needs it.
        last_map: (height, width, channels), if the method needs it.
    """

    classes: int
    stages: tuple[tuple[int, int, int], ...] = ()
    channels: int = 0
    last_map: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Training:
    """What some methods' adapters depend on, beside the networks.

    Attributes:
        batch_size: examples of a batch, over all replicas.
        labels: class of each training example [N], for a method that keeps something for each of them.
        mean, std: per channel, of images in [0, 1], by which images are standardised, for a method that augments them.
        seed: of what a method draws.
    """

    batch_size: int
    labels: Any = None
    mean: Sequence[float] = ()
    std: Sequence[float] = ()
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Method(abc.ABC):
    """One term of a student's loss. A subclass is a frozen dataclass whose fields are its arguments, with defaults.

    A subclass is immutable and pure. What it trains beside the student are its adapters, which the `Distiller` keeps.

    Attributes:
        ce_weight, kd_weight, weight: default weights of cross-entropy, of KD and of this term.
        needs: what it compares beside logits, of "stages", "features", "last_map" and "strong": see `Outputs`. And
            "index", if it keeps something for each training example.
        pretrained: names of adapters that are trained first, alone, for `pretraining_share` of the epochs, and then
            frozen.
        has_teacher: whether it needs a teacher.
        has_labels: whether it needs labels.
        is_relation: whether it compares the examples of a batch with each other. Then it sees the whole batch, that of
            all replicas.
        ranges: (name, range) of each argument of its own that is a number. Shared names, such as temperature and beta,
            have theirs.
    """

    ce_weight: ClassVar[float] = 1.0
    kd_weight: ClassVar[float] = 0.0
    weight: ClassVar[float] = 1.0
    needs: ClassVar[tuple[str, ...]] = ()
    pretrained: ClassVar[tuple[str, ...]] = ()
    has_teacher: ClassVar[bool] = True
    has_labels: ClassVar[bool] = False
    is_relation: ClassVar[bool] = False
    ranges: ClassVar[tuple[tuple[str, Range], ...]] = ()

    def __post_init__(self) -> None:
        """Raises InputError if an argument is outside its range."""
        accepted = {**_RANGES, **dict(self.ranges)}
        for name, value in self.arguments.items():
            if name == "mode":
                check_mode(value)
            elif name in accepted:
                accepted[name].check(name, value)

    @property
    def arguments(self) -> dict[str, Any]:
        """The method's arguments, by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @property
    def required(self) -> tuple[str, ...]:
        """What it needs with its arguments."""
        return self.needs

    def make_student(self, student: Any, teacher: Any) -> Any:
        """Returns the `keras.Model` that is trained and saved: the student, unless the method adds layers to it.

        Args:
            student: the student.
            teacher: the teacher, a `keras.Model`.
        """
        return student

    def make_adapters(self, student: Shapes, teacher: Shapes, training: Training | None) -> dict[str, Any]:
        """Builds the layers that a method has beside the student, by name. Not called if it compares logits alone.

        Args:
            student: shapes of the student's outputs.
            teacher: of the teacher's.
            training: batch size and more; None if it is not known, as in `fit`.
        """
        return {}

    @abc.abstractmethod
    def compute(self, student: Outputs, teacher: Outputs, *, labels: Any, adapters: Mapping[str, Any]) -> Any:
        """Computes the loss of a batch in training. Adapters are called with `training=True`.

        Args:
            student: the student's outputs.
            teacher: the teacher's; of a method without teacher, None.
            labels: integers [n], -1 for an example without label; or probabilities [n, classes].
            adapters: those that `make_adapters` built.

        Returns:
            [n], or a scalar.
        """

    def pretrain(self, teacher: Outputs, *, adapters: Mapping[str, Any]) -> Any:
        """Computes the loss by which the adapters in `pretrained` are trained: [n], or a scalar."""
        raise NotImplementedError

    def factors(self, epoch: int, epochs: int) -> tuple[float, float]:
        """Returns what this term's weight, and what the weights of all other terms, are multiplied by in an epoch.

        Both are 1 unless the method warms up, or begins with a phase of its own.

        Args:
            epoch: counted from 0.
            epochs: of the schedule.
        """
        return 1.0, 1.0


def warm_up(share: float, epoch: int, epochs: int) -> float:
    """Returns a factor that rises linearly, epoch by epoch, to 1 at the end of a share of all epochs."""
    rising = share * epochs
    return min(1.0, (epoch + 1) / rising) if rising > 1 else 1.0


def first_alone(share: float, epoch: int, epochs: int) -> tuple[float, float]:
    """Returns the factors of a method that has a first share of all epochs to itself, and is left out after it."""
    return (1.0, 0.0) if epoch < share * epochs else (0.0, 1.0)
