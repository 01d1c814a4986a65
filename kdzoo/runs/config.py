"""The configuration of a run, and the rules that it must keep. Imports no backend."""

import dataclasses
import math
import re
from typing import Any

from kdzoo.data import augmentation, sources
from kdzoo.data.config import DataConfig
from kdzoo.data.dataset import STATISTICS
from kdzoo.distillation import registry, run_method, schedules
from kdzoo.distillation.checks import check_at_mode
from kdzoo.distillation.method import Method
from kdzoo.models import names, specs
from kdzoo.runs import kept_epochs, settings
from zoo import InputError

METHODS = registry.TERMS  # methods of KD and AT alone -> weights of the loss's terms
AUGMENTATIONS = ("auto", *augmentation.AUGMENTATIONS)
STRATEGIES = ("none", "mirrored", "data_parallel")
TEACHER_INPUTS = ("auto", "raw", "unit", "standardised", "imagenet")
TEACHER_LAYOUTS = ("auto", "nchw", "nhwc")
DTYPE_POLICIES = ("float32", "mixed_bfloat16", "mixed_float16", "auto")
TEACHER_DTYPES = ("auto", "float32", "bfloat16")
TEACHER_STORES = ("float32", "float16")
STAGES = ("student_stages", "teacher_stages")
OPTIMIZERS = ("sgd", "adamw", "lion")


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Everything that the result of a run depends on.

    Attributes:
        model: spec of the network to train, for example wrn16-1 or keras:MobileNetV3Small: see `kdzoo.models.specs`.
        schedule: its learning-rate schedule, for example 20-65 or cos-65.
        dataset, dataset_name: see `kdzoo.data.load`.
        seed: of the initial weights, the order and the augmentation.
        teachers: directories of finished runs, published models, SavedModels, onnx:FILE, FILE.keras or
            grpc://HOST:PORT/NAME; several form an ensemble.
        ce_weight, kd_weight, at_weight, temperature, at_mode: see `kdzoo.Distiller`.
        kd_until: share of the epochs with distillation; the remaining epochs fine-tune on labels, with cross-entropy of
            weight 1 alone: early-stopped distillation (ESKD), not to be confused with early-stopped teachers.
        batch_size: images per step, over all replicas.
        lr: initial learning rate.
        lr_decay: factor at each step of a step schedule.
        momentum: of SGD.
        weight_decay: coupled, as in PyTorch's SGD; of the other optimizers decoupled, as Keras's.
        augment: none, crop, crop_flip, resize, inception, or auto: see `kdzoo.data.DataConfig`.
        train_examples: class-balanced subset to train on; 0: all.
        val_examples: class-balanced subset held out of training.
        strategy: none; mirrored, TensorFlow's over all GPUs or logical CPUs; data_parallel, over all devices of JAX.
        dtype_policy: Keras's, for student and teachers; auto: the faster of float32 and mixed_bfloat16, measured first.
        teacher_dtype: precision of the teachers, float32 or bfloat16; auto: follows dtype_policy.
        fused_steps: on JAX, the maximum of training steps in one call; 0: 1 on a CPU, 64 elsewhere.
        teacher_signature: of a SavedModel or server; default: serving_default, with AT features.
        teacher_logits: the output of the signature, or of an ONNX model, that holds logits; default: the only one, or
            logits.
        teacher_input: its images: raw (0 to 255), unit (0 to 1), standardised as the student's, or by teacher_mean and
            teacher_std, or by ImageNet's statistics (imagenet); auto: raw if it takes integers.
        nesterov: whether the momentum is Nesterov's.
        image_size, views, memory_gb, test_share, background, class_names, train_split, test_split: see
            `kdzoo.data.DataConfig`.
        teacher_store: precision to which teacher outputs are rounded, kept or not: float32 or float16.
        unlabelled: pictures without labels, see `kdzoo.data.DataConfig`. The student learns from them by its teachers
            alone; they are drawn in passes of their own, while an epoch is one pass over the labelled examples.
        unlabelled_share: their share of each batch, above 0 and below 1.
        model_args: arguments of the function that builds the model, a JSON object: see `kdzoo.models.specs`.
        name: names the runs of a model that is no zoo model; default: from its spec.
        init: a trained model whose weights the model begins with: the directory of a run, or a published model.
        student_stages, teacher_stages: layers between which attention transfer compares student and teachers, their
            names separated by commas; default: stage1, stage2 and so on.
        teacher_image_size: height and width to which the student's view is resized for the teachers; 0: they take it as
            it is.
        optimizer: sgd, with the fields above, or Keras's adamw or lion.
        warmup_epochs: for how long the learning rate rises, step by step, to the schedule's; 0: not at all.
        clip_norm: largest norm of the gradient of all weights together; 0: any.
        ema_momentum: of an exponential moving average of the weights, which is what is evaluated and saved; 0: none.
        label_smoothing: share of each label that is spread evenly over all classes.
        mixup_alpha, cutmix_alpha: each image of a batch is mixed with another one, with a share from
            Beta(alpha, alpha): see `kdzoo.data.mixup`. 0: off.
        freeze: a regular expression, searched for in the layers' paths: those layers do not train. Empty: all train.
        backbone_lr: initial learning rate of all layers but the head, the last layer with weights; 0: `lr`.
        teacher_layout: of the images of an ONNX model: nchw, nhwc, or auto: where its shape has 1 or 3 channels.
        teacher_mean, teacher_std: per channel, of images in [0, 1], as a text, for example 0.5,0.5,0.5.
        distillation_method: a method with a term of its own, see `kdzoo.distillation.registry`; empty: KD and AT alone.
        method_args: its arguments that differ from their defaults, as JSON: see `registry.parse_arguments`.
        method_weight: weight of its term.
        keep_epochs: numbers of epochs, separated by commas, each of which is kept: see `kdzoo.runs.kept_epochs`.
    """

    model: str
    schedule: str
    dataset: str = "cifar10"
    seed: int = 0
    teachers: tuple[str, ...] = ()
    ce_weight: float = 1.0
    kd_weight: float = 0.0
    at_weight: float = 0.0
    temperature: float = 4.0
    at_mode: str = "code"
    kd_until: float = 1.0
    batch_size: int = 128
    lr: float = 0.1
    lr_decay: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 5e-4
    augment: str = "auto"
    train_examples: int = 0
    val_examples: int = 0
    strategy: str = "none"
    dtype_policy: str = "float32"
    dataset_name: str = ""
    fused_steps: int = 0
    teacher_signature: str = ""
    teacher_logits: str = ""
    teacher_input: str = "auto"
    teacher_dtype: str = "auto"
    nesterov: bool = True
    image_size: int = DataConfig.image_size
    views: int = DataConfig.views
    memory_gb: float = DataConfig.memory_gb
    test_share: float = DataConfig.test_share
    background: str = DataConfig.background
    class_names: str = DataConfig.class_names
    train_split: str = DataConfig.train_split
    test_split: str = DataConfig.test_split
    teacher_store: str = "float32"
    unlabelled: str = DataConfig.unlabelled
    unlabelled_share: float = 0.5
    model_args: str = ""
    name: str = ""
    init: str = ""
    student_stages: str = ""
    teacher_stages: str = ""
    teacher_image_size: int = 0
    optimizer: str = "sgd"
    warmup_epochs: float = 0.0
    clip_norm: float = 0.0
    ema_momentum: float = 0.0
    label_smoothing: float = 0.0
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    freeze: str = ""
    backbone_lr: float = 0.0
    teacher_layout: str = "auto"
    teacher_mean: str = ""
    teacher_std: str = ""
    distillation_method: str = ""
    method_args: str = ""
    method_weight: float = 0.0
    keep_epochs: str = ""

    @property
    def spec(self) -> specs.Spec:
        """The model's spec, parsed."""
        return specs.parse(self.model, self.model_args)

    @property
    def architecture(self) -> str:
        """The model's name, without a schedule."""
        return self.name or self.spec.slug

    @property
    def data(self) -> DataConfig:
        """The data set and its views."""
        return DataConfig(**{field.name: getattr(self, field.name) for field in dataclasses.fields(DataConfig)})

    @property
    def num_views(self) -> int:
        """Number of views of an image; `augment` must not be auto."""
        return augmentation.count_views(self.augment, self.views)

    @property
    def teacher_policy(self) -> str:
        """Keras's dtype policy for teachers."""
        policies = {"auto": self.dtype_policy, "float32": "float32", "bfloat16": "mixed_bfloat16"}
        return policies[self.teacher_dtype]

    @property
    def teacher_statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Mean and standard deviation of external teachers' images in [0, 1]; None: they are the data set's."""
        if self.teacher_input == "imagenet":
            return STATISTICS["imagenet2012"]
        if not self.teacher_mean:
            return None
        mean, std = (settings.parse_statistic(name, getattr(self, name)) for name in settings.STATISTICS)
        return mean, std

    @property
    def loss_options(self) -> dict[str, Any]:
        """The arguments of `kdzoo.Distiller` that set its loss."""
        stages = {name: tuple(filter(None, getattr(self, name).split(","))) for name in STAGES}
        options = {**self.loss_weights, "temperature": self.temperature, "at_mode": self.at_mode, **stages}
        if self.distillation_method:
            options |= {"method": self.own_method, "method_weight": self.method_weight}
        return options

    @property
    def own_method(self) -> Method | None:
        """The method, if it has a term of its own beside KD and AT."""
        return run_method.find(self.distillation_method, self.method_args)

    @property
    def teacher_features(self) -> bool:
        """Whether the teachers' penultimate features are computed beside their logits."""
        return run_method.compares_features(self.own_method)

    @property
    def loss_weights(self) -> dict[str, Any]:
        """The weight of cross-entropy, KD and AT, by the field's name."""
        return {name: getattr(self, name) for name in METHODS["none"]}

    @property
    def optimizer_options(self) -> dict[str, Any]:
        """The arguments of `kdzoo.distillation.optimizers.make_optimizer` that need no network."""
        fields = ("lr", "momentum", "nesterov", "weight_decay", "optimizer", "clip_norm", "ema_momentum")
        options = {name: getattr(self, name) for name in fields}
        return options | {"backbone_factor": (self.backbone_lr or self.lr) / self.lr}

    @property
    def batch_options(self) -> dict[str, Any]:
        """The arguments of `kdzoo.data.Batches` that are the same in each epoch; `augment` must not be auto."""
        fields = ("seed", "batch_size", "augment", "mixup_alpha", "cutmix_alpha", "label_smoothing")
        batch = {name: getattr(self, name) for name in fields}
        return batch | {"crops": self.views, "unlabelled": self.unlabelled_per_batch}

    @property
    def mixes(self) -> bool:
        """Whether the images of a batch are mixed with each other."""
        return bool(self.mixup_alpha or self.cutmix_alpha)

    @property
    def unlabelled_per_batch(self) -> int:
        """Number of unlabelled images in each batch."""
        return round(self.unlabelled_share * self.batch_size) if self.unlabelled else 0

    @property
    def labelled_per_batch(self) -> int:
        """Number of labelled images in each batch."""
        return self.batch_size - self.unlabelled_per_batch

    @property
    def kd_epochs(self) -> int:
        """Epochs of the distillation phase."""
        return min(self.planned_kd_epochs, schedules.parse(self.schedule).epochs)

    @property
    def planned_kd_epochs(self) -> int:
        """The share `kd_until` of the epochs, were the schedule not cut, rounded, at least 1."""
        return max(1, math.floor(self.kd_until * schedules.full_epochs(self.schedule) + 0.5))

    @property
    def kept_epochs(self) -> list[int]:
        """Numbers of the epochs to keep, from 1, in order."""
        return kept_epochs.parse(self.keep_epochs, schedule=self.schedule)

    @property
    def method(self) -> str:
        """The method that the loss weights form: none, kd, at or at+kd; or one with a term of its own: dkd, sp+kd."""
        terms = [self.distillation_method] if self.distillation_method else []
        terms += [name for name, weight in (("at", self.at_weight), ("kd", self.kd_weight)) if weight]
        return "+".join(terms) or "none"

    def check(self) -> None:
        """Raises InputError if a field breaks a rule that needs no data to check."""
        settings.check_types(self)
        specs.check_name(self.name, self.spec)
        if self.spec.kind == specs.ZOO and names.parse(self.model).schedule:
            raise InputError(f"A model to train is an architecture, for example wrn16-2. Received: {self.model}")
        kept_epochs.parse(self.keep_epochs, schedule=self.schedule)
        if re.search(r"\s", self.dataset_name):  # the comment behind a flagfile's value, for example
            raise InputError(f"dataset_name must have no spaces, for example cifar10. Received: {self.dataset_name}")
        sources.check(self.data)
        check_at_mode(self.at_mode)
        method = self.distillation_method, self.method_args, self.method_weight
        run_method.check(*method, self.loss_weights, num_teachers=len(self.teachers))
        for name, choices in (
            ("augment", AUGMENTATIONS),
            ("strategy", STRATEGIES),
            ("teacher_input", TEACHER_INPUTS),
            ("teacher_layout", TEACHER_LAYOUTS),
            ("dtype_policy", DTYPE_POLICIES),
            ("teacher_dtype", TEACHER_DTYPES),
            ("teacher_store", TEACHER_STORES),
            ("optimizer", OPTIMIZERS),
        ):
            if getattr(self, name) not in choices:
                raise InputError(f"{name} must be one of {', '.join(choices)}. Received: {getattr(self, name)}")
        settings.check(**{name: value for name, value in vars(self).items() if name in settings.RANGES})
        if self.kd_until != 1 and not self.teachers:
            raise InputError(f"kd_until must be 1 without a teacher. Received: {self.kd_until}")
        if self.teacher_mean or self.teacher_std:
            self._check_teacher_statistics()
        if self.unlabelled:
            self._check_unlabelled()
        self._check_training()
        if repeated := [teacher for teacher in self.teachers if self.teachers.count(teacher) > 1]:
            raise InputError(f"The teachers of an ensemble must differ. Received: {repeated[0]} more than once")

    def _check_teacher_statistics(self) -> None:
        """Raises InputError unless the statistics of a teacher's images are complete, and used."""
        given = f"{self.teacher_mean or 'none'} and {self.teacher_std or 'none'}, teacher_input={self.teacher_input}"
        if not (self.teacher_mean and self.teacher_std) or self.teacher_input != "standardised":
            raise InputError(
                "teacher_mean and teacher_std must be set together, with teacher_input=standardised, for example"
                f" 0.5,0.5,0.5 and 0.5,0.5,0.5. Received: {given}"
            )
        mean, std = self.teacher_statistics or ((), ())
        if len(mean) != len(std):
            raise InputError(f"teacher_mean and teacher_std must have one value for each channel. Received: {given}")

    def _check_unlabelled(self) -> None:
        """Raises InputError if unlabelled images would teach nothing, or leave no place for labelled ones."""
        if not self.teachers or not (self.kd_weight or self.at_weight or self.method_weight):
            raise InputError(
                "unlabelled needs a teacher, and kd_weight or at_weight above 0, for example 0.9."
                f" Received: {len(self.teachers)} teachers, kd_weight {self.kd_weight}, at_weight {self.at_weight}"
            )
        if self.kd_until != 1:
            raise InputError(f"kd_until must be 1 with unlabelled images. Received: {self.kd_until}")
        if not self.unlabelled_per_batch or not self.labelled_per_batch:
            raise InputError(
                "A batch must have labelled and unlabelled images, for example 64 of each."
                f" Received: unlabelled_share {self.unlabelled_share} of batch_size {self.batch_size}"
            )

    def _check_training(self) -> None:
        """Raises InputError if warm-up, clipping, mixing or freezing is impossible."""
        epochs = schedules.parse(self.schedule).epochs
        if self.warmup_epochs > epochs:
            raise InputError(
                f"warmup_epochs must be at most the {epochs} epochs of the schedule. Received: {self.warmup_epochs}"
            )
        if self.clip_norm and self.strategy == "mirrored":
            raise InputError(
                "clip_norm must be 0 with strategy=mirrored, for each replica would clip a gradient of its own."
                f" Received: {self.clip_norm}"
            )
        if self.mixes and 1 in (self.labelled_per_batch, self.unlabelled_per_batch):
            raise InputError(
                "mixup_alpha and cutmix_alpha need two images in each batch, and two of any without labels, for example"
                f" batch_size 128. Received: batch_size {self.batch_size}, {self.unlabelled_per_batch} without labels"
            )
        try:
            re.compile(self.freeze)
        except (re.error, OverflowError, RecursionError) as error:
            raise InputError(
                f"freeze must be a regular expression, for example ^stem. Received: {self.freeze[:100]}: {error}"
            ) from None
