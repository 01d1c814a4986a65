"""`Distiller`: a Keras model that trains its student on labels and teacher outputs."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from kdzoo.distillation import losses, registry
from kdzoo.distillation.batch_mean import BatchMean
from kdzoo.distillation.checks import check_at_mode, check_temperature, check_weights
from kdzoo.distillation.method import FEATURES, LAST_MAP, STAGES, Method, Shapes, Training
from kdzoo.distillation.method_term import EpochBegin, MethodTerm
from kdzoo.distillation.pairs import check_pair, shapes_of
from kdzoo.distillation.stages import with_outputs
from zoo import InputError

_OF_LABELS = ("ce", "accuracy")
_TEACHER_METRICS = ("kd", "at", "method_loss", "agreement", "teacher_kl")


class Distiller(keras.Model):
    """Trains `student` with `ce_weight * CE + kd_weight * KD + at_weight * AT`, plus its own regularisation losses.

    Another method adds a term, `method_weight` times its loss, and may train adapters beside the student.

    The teachers are frozen, run in inference mode outside the gradient tape, and see exactly the student's view of each
    image. With several teachers, KD takes the mean of their logits (the geometric mean of their predictions, Hinton et
    al., 2015), and AT the mean of its terms. Labels are integers [n] or probabilities [n, classes]. If the labels are a
    dict with "label" and "teacher_logits", no teacher runs. If it has "label_weight" [n], with a mean of 1, that weighs
    each example's cross-entropy and accuracy. From an example of weight 0, which has no label, the student learns by
    the teachers alone.

    The logs are plain means over examples: `accuracy` and `agreement` (student and teachers predict the same class) as
    fractions, `ce`, `kd`, `at`, `method_loss` (without weights), and `teacher_kl`, the KL divergence from the teachers
    at temperature 1, in nats.
    `evaluate` returns the student's `loss` (cross-entropy and regularisation), `ce` and `accuracy`; `evaluate` and
    `predict` run no teacher by default. The saved, loaded or exported model is the student.

    Args:
        student: from images to logits.
        teachers: one or more models with the student's input shape and classes. None: the student learns from labels.
        ce_weight, kd_weight, at_weight: weights of the three terms, at least 0. None: those of the method.
        temperature: of the KD term, above 0.
        at_mode: "code" or "paper", see `kdzoo.losses.attention_transfer`.
        teacher_in_evaluate: whether `evaluate` also runs the teachers and returns `kd`, `agreement` and `teacher_kl`.
        outputs_given: whether the teacher outputs always come with the labels, in place of teachers: {"label",
            "teacher_logits"} and, for AT, "teacher_stages", a list of stages or attention maps for each teacher. Or a
            function from images to {"teacher_logits", ...}, called in each step.
        student_stages, teacher_stages: with AT, names of the layers whose outputs are compared, of the student and of
            all teachers; none: those named stage1, stage2 and so on.
        method: a method of the literature by name, see `kdzoo.distillation.registry`, or a `kdzoo.Method`; None: kd.
        method_weight: weight of its term, at least 0; None: the method's own. Methods kd and at have no other term.
        teacher_shapes: with `outputs_given`, for a method that needs stages or features: their shapes.
        training: what some methods need to know: see `kdzoo.distillation.method.Training`.

    Raises:
        InputError: if the networks, the method or the weights do not fit together.
    """

    def __init__(
        self,
        student: keras.Model,
        teachers: keras.Model | Sequence[keras.Model] = (),
        *,
        ce_weight: float | None = None,
        kd_weight: float | None = None,
        at_weight: float | None = None,
        temperature: float = 4.0,
        at_mode: str = "code",
        teacher_in_evaluate: bool = False,
        outputs_given: bool | Callable[[Any], dict[str, Any]] = False,
        student_stages: Sequence[str] = (),
        teacher_stages: Sequence[str] = (),
        method: Method | str | None = None,
        method_weight: float | None = None,
        teacher_shapes: Shapes | None = None,
        training: Training | None = None,
        name: str = "distiller",
    ) -> None:
        super().__init__(name=name)
        teachers = [teachers] if isinstance(teachers, keras.Model) else list(teachers)
        num_teachers = len(teachers) or int(bool(outputs_given))
        check_temperature(temperature)
        check_at_mode(at_mode)
        given = {"ce_weight": ce_weight, "kd_weight": kd_weight, "at_weight": at_weight, "method_weight": method_weight}
        self.method, weights = registry.resolve(method, given)
        of_labels = ["ce_weight"] if self.method and self.method.has_teacher else ["ce_weight", "method_weight"]
        check_weights(**weights, num_teachers=num_teachers, of_labels=of_labels)
        stages: dict[str, Any] = {"student_stages": student_stages, "teacher_stages": teacher_stages}
        for teacher in teachers:
            check_pair(student, teacher, attention=weights["at_weight"] > 0, **stages)
            teacher.trainable = False
        if self.method and teachers:
            student = self.method.make_student(student, teachers[0])
        self.student = student
        self.teachers, self.teacher_in_evaluate = teachers, teacher_in_evaluate
        self._given_outputs = outputs_given if callable(outputs_given) else None
        self.ce_weight, self.kd_weight, self.at_weight = (weights[name] for name in registry.TERMS["none"])
        self.temperature, self.at_mode = temperature, at_mode
        needs = self.method.required if self.method else ()
        wanted = {name: name in needs for name in (STAGES, FEATURES, LAST_MAP)}
        wanted[STAGES] |= self.at_weight > 0
        taps = any(wanted.values()) or bool(needs)  # then outputs are a dict, which keeps a term computed once
        self._student_tap = with_outputs(student, **wanted, names=student_stages) if taps else None
        self._teacher_taps = [with_outputs(teacher, **wanted, names=teacher_stages) for teacher in teachers if taps]
        self._compact = STAGES not in needs  # attention maps stand for stages
        self.kept_term: MethodTerm | None = None  # of another phase: part of the state
        self.term: MethodTerm | None = None
        if self.method:
            shapes: dict[str, Any] = {"student": shapes_of(self._student_tap or student), "teacher": teacher_shapes}
            if self._teacher_taps:
                shapes["teacher"] = shapes_of(self._teacher_taps[0])
            options: dict[str, Any] = {"training": training, "num_teachers": num_teachers, **shapes}
            self.term = MethodTerm(self.method, weights["method_weight"], **options)
        self._batch_mean = BatchMean()
        self._evaluating = False
        self._means = {name: keras.metrics.Mean(name) for name in self._metric_names(num_teachers)}
        self.built = True

    def _metric_names(self, num_teachers: int) -> list[str]:
        names = ["ce", "accuracy"]
        if num_teachers:
            names += ["kd", *(["at"] if self.at_weight else []), "agreement", "teacher_kl"]
        return names + (["method_loss"] if self.method else [])

    def share_teachers(self, other: "Distiller") -> None:
        """Takes over the teachers of another distiller, and what is computed by them."""
        self.teachers, self._teacher_taps = other.teachers, other._teacher_taps
        self._given_outputs, self._compact = other._given_outputs, other._compact

    # The student's training.

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Computes logits [n, classes]; in training with AT and other methods, {"logits", "stages", "features"}."""
        if training and self._student_tap is not None:
            return self._student_tap(inputs, training=True)
        return self.student(inputs, training=training)

    def train_step(self, *args: Any) -> Any:
        """Adds the teacher outputs to the labels, then runs Keras's own step.

        TensorFlow calls it with (data), JAX with (state, data).
        """
        *state, data = args
        return super().train_step(*state, self.add_teacher_outputs(data, *state))

    def test_step(self, *args: Any) -> Any:
        """Runs Keras's own step, with teacher outputs if `teacher_in_evaluate` is true."""
        *state, data = args
        if self.teacher_in_evaluate:
            data = self.add_teacher_outputs(data, *state)
        return super().test_step(*state, data)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Computes the weighted sum of the terms in training, cross-entropy otherwise: a scalar."""
        terms = self._terms(y, y_pred)
        total, weight = terms["ce"], _label_weight(y)
        if weight is not None:
            total *= weight
        if training:
            total = self.ce_weight * total
            if self.kd_weight:
                total += self.kd_weight * terms["kd"]
            if self.at_weight:
                total += self.at_weight * terms["at"]
            if self.term:
                total = self.term.add_to(total, y, y_pred, self._strong_logits(x))
        loss = self._batch_mean(total, total, sample_weight)
        for regularisation in self.losses:
            loss += self._aggregate_additional_loss(regularisation)
        return loss

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Updates the means of all terms, and the compiled metrics on the student's logits."""
        weight = _label_weight(y)
        terms = self._terms(y, y_pred)
        if self.term and (not self.term.method.has_teacher or "kd" in terms) and not self._evaluating:
            terms["method_loss"] = self.term.loss(y, y_pred)
        for name, mean in self._means.items():
            if name in terms:
                mean.update_state(terms[name], sample_weight=weight if name in _OF_LABELS else None)
        labels = y["label"] if isinstance(y, dict) else y
        logits = y_pred["logits"] if isinstance(y_pred, dict) else y_pred
        return super().compute_metrics(x, labels, logits, sample_weight)

    def _terms(self, y: Any, y_pred: Any) -> dict[str, Any]:
        """Computes every loss and metric that these labels and predictions allow, one float32 value per example."""
        labels = y["label"] if isinstance(y, dict) else y
        logits = ops.cast(y_pred["logits"] if isinstance(y_pred, dict) else y_pred, "float32")
        predicted = ops.argmax(logits, axis=-1)
        if len(labels.shape) == 2 and labels.shape[-1] == logits.shape[-1] > 1:
            ce = keras.losses.categorical_crossentropy(labels, logits, from_logits=True)
            labels = ops.argmax(labels, axis=-1)
        else:
            labels = ops.reshape(labels, (-1,))
            if _label_weight(y) is not None:  # no loss may see the -1 of an example without label
                labels = ops.maximum(labels, 0)
            ce = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        terms = {"ce": ce, "accuracy": ops.equal(predicted, ops.cast(labels, predicted.dtype))}
        if isinstance(y, dict) and "teacher_logits" in y:
            pair = {"student_logits": logits, "teacher_logits": y["teacher_logits"]}
            terms["kd"] = losses.distillation(**pair, temperature=self.temperature)
            terms["teacher_kl"] = losses.distillation(**pair, temperature=1.0)
            terms["agreement"] = ops.equal(predicted, ops.argmax(y["teacher_logits"], axis=-1))
        if self.at_weight and isinstance(y, dict) and "teacher_stages" in y and isinstance(y_pred, dict):
            terms["at"] = sum(
                losses.attention_transfer(student_stages=y_pred["stages"], teacher_stages=stages, mode=self.at_mode)
                for stages in y["teacher_stages"]
            ) / len(y["teacher_stages"])
        return {name: ops.cast(values, "float32") for name, values in terms.items()}

    @property
    def method_variables(self) -> list[keras.Variable]:
        """All that the method keeps between batches."""
        term = self.term or self.kept_term
        return term.variables if term else []

    def _strong_logits(self, x: Any) -> tuple[Any, Any] | None:
        """Logits of student and teachers for a second view of the images, if the method needs one."""
        if self.term is None or self.term.view is None:
            return None
        images = self.term.strong_view(x)
        of_teachers = _mean([teacher(images, training=False) for teacher in self.teachers])
        return self.student(images, training=True), ops.stop_gradient(of_teachers)

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Sets what the weights are multiplied by in an epoch, for a method that warms up or has a first phase.

        Args:
            epoch: counted from 0.
            epochs: of the schedule.
        """
        if self.term:
            self.term.begin_epoch(epoch, epochs)

    # The teachers' outputs.

    def add_teacher_outputs(self, data: Any, state: Any = None) -> Any:
        """Returns the batch with the teacher outputs in its labels, unless they are already there.

        Args:
            data: (x, y) or (x, y, sample_weight).
            state: on JAX, the step's state: (trainable variables, non-trainable variables, ...).
        """
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        compute = self._given_outputs or (self.run_teachers if self.teachers else None)
        if compute and not (isinstance(y, dict) and "teacher_logits" in y):
            if state is None:
                outputs = compute(x)
            else:  # on JAX the variables' values are in the step's state, not in the model
                with keras.StatelessScope(state_mapping=list(zip(self.non_trainable_variables, state[1], strict=True))):
                    outputs = compute(x)
            y = {**(y if isinstance(y, dict) else {"label": y}), **outputs}
        return keras.utils.pack_x_y_sample_weight(x, y, sample_weight)

    def run_teachers(self, x: Any) -> dict[str, Any]:
        """Computes the teacher outputs of standardised images.

        Returns:
            "teacher_logits", the mean over teachers, float32 [n, classes]. With AT also "teacher_stages", for each
            teacher a list of attention maps, see `kdzoo.losses.compact_map`; with a method that needs them, of the
            stages themselves, and "teacher_features", for each teacher.
        """
        if not self._teacher_taps:
            return {"teacher_logits": _mean([teacher(x, training=False) for teacher in self.teachers])}
        outputs = [teacher(x, training=False) for teacher in self._teacher_taps]
        result: dict[str, Any] = {"teacher_logits": _mean([output["logits"] for output in outputs])}
        if "stages" in outputs[0]:
            form = losses.compact_map if self._compact else ops.convert_to_tensor
            result["teacher_stages"] = [[form(stage) for stage in output["stages"]] for output in outputs]
        for name in (FEATURES, LAST_MAP):
            if name in outputs[0]:
                result[f"teacher_{name}"] = [output[name] for output in outputs]
        return result

    # The model that Keras logs, saves and exports: the student.

    @property
    def losses(self) -> list[Any]:
        """The student's regularisation losses."""
        return self._losses_override or self.student.losses

    def compile(self, optimizer: Any, *, metrics: Any = None, **kwargs: Any) -> None:
        """Compiles as `keras.Model.compile` does, without `loss`.

        Raises:
            InputError: if a loss is given.
        """
        if kwargs.get("loss") is not None:
            raise InputError("A Distiller brings its own loss: set ce_weight, kd_weight, at_weight. Received: loss=")
        super().compile(optimizer=optimizer, metrics=metrics, **kwargs)

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """Trains as `keras.Model.fit` does."""
        if self.method and self.method.pretrained:
            raise InputError("A method that trains networks before the student needs kdzoo.training.run. Received: fit")
        if self.term:
            given = kwargs.get("callbacks") or []
            kwargs["callbacks"] = [*(given if isinstance(given, list | tuple) else [given]), EpochBegin()]
        return super().fit(*args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluates the student, and the teachers if `teacher_in_evaluate` is true."""
        self._evaluating = True
        try:
            return super().evaluate(*args, **kwargs)
        finally:
            self._evaluating = False

    def get_metrics_result(self) -> dict[str, Any]:
        """Returns the logs; in `evaluate`, without the metrics that it does not measure."""
        results = super().get_metrics_result()
        if self._evaluating:
            hidden = {"at", "method_loss"} if self.teacher_in_evaluate else _TEACHER_METRICS
            results = {name: value for name, value in results.items() if name not in hidden}
        return results

    def save(self, *args: Any, **kwargs: Any) -> Any:
        """Saves the student."""
        return self.student.save(*args, **kwargs)

    def save_weights(self, *args: Any, **kwargs: Any) -> Any:
        """Saves the student's weights."""
        return self.student.save_weights(*args, **kwargs)

    def load_weights(self, *args: Any, **kwargs: Any) -> Any:
        """Loads the student's weights."""
        return self.student.load_weights(*args, **kwargs)

    def export(self, *args: Any, **kwargs: Any) -> Any:
        """Exports the student."""
        return self.student.export(*args, **kwargs)


def _label_weight(y: Any) -> Any:
    return y.get("label_weight") if isinstance(y, dict) else None


def _mean(tensors: Sequence[Any]) -> Any:
    return sum(ops.cast(tensor, "float32") for tensor in tensors) / len(tensors)
