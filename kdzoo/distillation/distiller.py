"""`Distiller`: a Keras model that trains its student on labels and on what its teachers say."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from kdzoo.distillation import losses
from kdzoo.distillation.checks import check_at_mode, check_temperature, check_weights
from zoo import InputError, list_stages

_TEACHER_METRICS = ("kd", "at", "agreement", "teacher_kl")


class BatchMean(keras.losses.Loss):
    """Reduces values that are one per example already: Keras's own sample weights, batch mean and replica's share."""

    def call(self, y_true, y_pred):
        return y_pred


class Distiller(keras.Model):
    """Trains `student` with `ce_weight * CE + kd_weight * KD + at_weight * AT`, plus its own regularisation losses.

    The teachers are frozen, run in inference mode outside the gradient's tape, and see exactly the student's view of
    each image. Several teachers: KD takes the mean of their logits (the geometric mean of their predictions, Hinton et
    al., 2015), AT the mean of the terms. Labels may be integers [n] or probabilities [n, classes]. Where the labels
    come as a dict that already holds "teacher_logits" beside "label", no teacher is run.

    It logs plain means over examples: `accuracy` and `agreement` (same top-1 as the teachers) as fractions, `ce`, `kd`,
    `at`, and `teacher_kl`, the KL divergence from the teachers at temperature 1, in nats. `evaluate` gives the
    student's `loss` (cross-entropy and regularisation), `ce` and `accuracy`; `evaluate` and `predict` run no teacher
    unless asked, and what is saved, loaded or exported is the student.

    Args:
        student: from images to logits; with stages (`zoo.list_stages`) if `at_weight` is not 0.
        teachers: a model, or several, of the same input and classes. None: the student learns from labels alone.
        ce_weight, kd_weight, at_weight: weights of the three terms, at least 0.
        temperature: of the KD term, above 0.
        at_mode: "code" or "paper", see `kdzoo.losses.attention_transfer`.
        teacher_in_evaluate: whether `evaluate` runs the teachers too, and gives `kd`, `agreement` and `teacher_kl`.
        outputs_given: whether, in place of teachers, what they say always comes beside the labels: {"label",
            "teacher_logits"} and, for AT, "teacher_stages", a list of stages, or of their maps, for each teacher. Or
            else a function that gives it of the images, called in each step.

    Raises:
        InputError: if the networks or the weights do not fit together.
    """

    def __init__(
        self,
        student: keras.Model,
        teachers: keras.Model | Sequence[keras.Model] = (),
        *,
        ce_weight: float = 0.1,
        kd_weight: float = 0.9,
        at_weight: float = 0.0,
        temperature: float = 4.0,
        at_mode: str = "code",
        teacher_in_evaluate: bool = False,
        outputs_given: bool | Callable[[Any], dict[str, Any]] = False,
        name: str = "distiller",
    ):
        super().__init__(name=name)
        teachers = [teachers] if isinstance(teachers, keras.Model) else list(teachers)
        taught = len(teachers) or int(bool(outputs_given))
        check_temperature(temperature)
        check_at_mode(at_mode)
        check_weights(ce_weight=ce_weight, kd_weight=kd_weight, at_weight=at_weight, num_teachers=taught)
        for teacher in teachers:
            check_pair(student, teacher, attention=at_weight > 0)
            teacher.trainable = False
        self.student = student
        self.teachers = teachers
        self._say = outputs_given if callable(outputs_given) else None
        self.ce_weight, self.kd_weight, self.at_weight = ce_weight, kd_weight, at_weight
        self.temperature, self.at_mode = temperature, at_mode
        self.teacher_in_evaluate = teacher_in_evaluate
        self._student_tap = _tap(student) if at_weight else None
        self._teacher_taps = [_tap(teacher) for teacher in teachers] if at_weight else []
        self._batch_mean = BatchMean()
        self._evaluating = False
        names = ["ce", "accuracy"]
        if taught:
            names += [name for name in _TEACHER_METRICS if name != "at" or at_weight]
        self._means = {name: keras.metrics.Mean(name) for name in names}
        self.built = True

    # What the student learns.

    def call(self, inputs, training=None):
        """Logits [n, classes]; in training with AT, {"logits", "stages"}."""
        if training and self._student_tap is not None:
            return self._student_tap(inputs, training=True)
        return self.student(inputs, training=training)

    def train_step(self, *args):
        """Keras's own step, with the teachers' outputs put beside the labels.

        TensorFlow calls it with (data), JAX with (state, data).
        """
        *state, data = args
        return super().train_step(*state, self.add_teacher_outputs(data, *state))

    def test_step(self, *args):
        *state, data = args
        if self.teacher_in_evaluate:
            data = self.add_teacher_outputs(data, *state)
        return super().test_step(*state, data)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The weighted sum in training; cross-entropy otherwise. A scalar."""
        terms = self._terms(y, y_pred)
        total = terms["ce"]
        if training:
            total = self.ce_weight * total
            if self.kd_weight:
                total += self.kd_weight * terms["kd"]
            if self.at_weight:
                total += self.at_weight * terms["at"]
        loss = self._batch_mean(total, total, sample_weight)
        for regularisation in self.losses:
            loss += self._aggregate_additional_loss(regularisation)
        return loss

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        for name, values in self._terms(y, y_pred).items():
            self._means[name].update_state(values)
        labels = y["label"] if isinstance(y, dict) else y
        logits = y_pred["logits"] if isinstance(y_pred, dict) else y_pred
        return super().compute_metrics(x, labels, logits, sample_weight)

    def _terms(self, y, y_pred) -> dict[str, Any]:
        """Every loss and metric that these labels and predictions allow, one value per example."""
        labels = y["label"] if isinstance(y, dict) else y
        logits = ops.cast(y_pred["logits"] if isinstance(y_pred, dict) else y_pred, "float32")
        predicted = ops.argmax(logits, axis=-1)
        if len(labels.shape) == 2 and labels.shape[-1] == logits.shape[-1] > 1:
            ce = keras.losses.categorical_crossentropy(labels, logits, from_logits=True)
            labels = ops.argmax(labels, axis=-1)
        else:
            labels = ops.reshape(labels, (-1,))
            ce = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        terms = {"ce": ce, "accuracy": ops.equal(predicted, ops.cast(labels, predicted.dtype))}
        if isinstance(y, dict) and "teacher_logits" in y:
            pair = {"student_logits": logits, "teacher_logits": y["teacher_logits"]}
            terms["kd"] = losses.distillation(**pair, temperature=self.temperature)
            terms["teacher_kl"] = losses.distillation(**pair, temperature=1.0)
            terms["agreement"] = ops.equal(predicted, ops.argmax(y["teacher_logits"], axis=-1))
        if isinstance(y, dict) and "teacher_stages" in y and isinstance(y_pred, dict):
            terms["at"] = sum(
                losses.attention_transfer(student_stages=y_pred["stages"], teacher_stages=stages, mode=self.at_mode)
                for stages in y["teacher_stages"]
            ) / len(y["teacher_stages"])
        return {name: ops.cast(values, "float32") for name, values in terms.items()}

    # What the teachers say.

    def add_teacher_outputs(self, data, state=None):
        """The batch with the teachers' outputs beside its labels; on JAX, teachers as in this state."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        say = self._say or (self._run_teachers if self.teachers else None)
        if say and not (isinstance(y, dict) and "teacher_logits" in y):
            if state is None:
                outputs = say(x)
            else:  # on JAX a variable's value is what the step was handed, not what the model holds
                with keras.StatelessScope(state_mapping=list(zip(self.non_trainable_variables, state[1], strict=True))):
                    outputs = say(x)
            y = {"label": y, **outputs}
        return keras.utils.pack_x_y_sample_weight(x, y, sample_weight)

    def _run_teachers(self, x) -> dict[str, Any]:
        if not self.at_weight:
            return {"teacher_logits": _mean([teacher(x, training=False) for teacher in self.teachers])}
        outputs = [tap(x, training=False) for tap in self._teacher_taps]
        return {
            "teacher_logits": _mean([output["logits"] for output in outputs]),
            "teacher_stages": [[losses.compact_map(stage) for stage in output["stages"]] for output in outputs],
        }

    # What Keras sees: the student.

    @property
    def losses(self) -> list:
        return self._losses_override or self.student.losses

    def compile(self, optimizer, *, metrics=None, **kwargs):
        """As `keras.Model.compile`, without a loss: that is the distiller's own."""
        if kwargs.get("loss") is not None:
            raise InputError("A Distiller brings its own loss: set ce_weight, kd_weight, at_weight. Received: loss=")
        super().compile(optimizer=optimizer, metrics=metrics, **kwargs)

    def evaluate(self, *args, **kwargs):
        self._evaluating = True
        try:
            return super().evaluate(*args, **kwargs)
        finally:
            self._evaluating = False

    def get_metrics_result(self) -> dict:
        results = super().get_metrics_result()
        if self._evaluating:
            hidden = {"at"} if self.teacher_in_evaluate else _TEACHER_METRICS
            results = {name: value for name, value in results.items() if name not in hidden}
        return results

    def save(self, *args, **kwargs):
        """Saves the student."""
        return self.student.save(*args, **kwargs)

    def save_weights(self, *args, **kwargs):
        """Saves the student's weights."""
        return self.student.save_weights(*args, **kwargs)

    def load_weights(self, *args, **kwargs):
        """Loads the student's weights."""
        return self.student.load_weights(*args, **kwargs)

    def export(self, *args, **kwargs):
        """Exports the student."""
        return self.student.export(*args, **kwargs)


def check_pair(student: keras.Model, teacher: keras.Model, *, attention: bool) -> None:
    """Raises InputError if the teacher cannot teach the student: other images, other classes, no common stages."""
    for what, of_student, of_teacher in (
        ("image shape", student.input_shape[1:], teacher.input_shape[1:]),
        ("number of classes", student.output_shape[-1], teacher.output_shape[-1]),
        *([("number of stages", len(list_stages(student)), len(list_stages(teacher)))] if attention else []),
    ):
        if of_student != of_teacher:
            raise InputError(
                f"A teacher must have its student's {what}: {of_student} of {student.name}."
                f" Received: {of_teacher} of {teacher.name}"
            )
    if attention and not list_stages(student):
        raise InputError(f"Attention transfer needs layers named stage1, stage2... Received: none in {student.name}")


def _tap(model: keras.Model) -> keras.Model:
    """The same network, giving its stages beside its logits."""
    stages = [model.get_layer(name).output for name in list_stages(model)]
    return keras.Model(model.inputs, {"logits": model.outputs[0], "stages": stages}, name=f"{model.name}_tap")


def _mean(tensors: list):
    return sum(ops.cast(tensor, "float32") for tensor in tensors) / len(tensors)
