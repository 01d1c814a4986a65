"""Training steps on JAX: the data set lies on the device, and one call of the compiled program runs many steps."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from kdzoo.data import augmentation, mixup
from kdzoo.data.batches import Batches
from kdzoo.data.dataset import Split
from kdzoo.data.mixup import Mix
from kdzoo.teachers.outputs import TeacherOutputs
from kdzoo.training.prefetch import Prefetcher
from kdzoo.training.steps import EVALUATION_BATCH, Steps, call_ends

FUSED_STEPS = 64  # on an accelerator; a processor's steps are long enough to be called one by one
DEVICE_SHARE = 0.25  # most of an accelerator's memory that a table of teacher logits may take


class JaxSteps(Steps):
    """`lax.scan` over the steps of a call. Each step takes its batch from the uint8 images on the device.

    Crop, flip, mixing and standardisation are part of the compiled program. While steps run, the values of the
    variables are arrays in `_carry`; `state`, `predict` and `metrics` first copy them into the model.
    """

    def __init__(self, *args: Any):
        import jax

        super().__init__(*args)
        alone = jax.default_backend() == "cpu" or self._split.streamed is not None
        self.fused = self._config.fused_steps or (1 if alone else FUSED_STEPS)
        self._batches = Prefetcher(lambda key: self._epoch(key[0]).read(key[1]), self.following)
        self._train = jax.jit(self._train_call, donate_argnums=0)
        self._test = jax.jit(self._test_call)
        self._arrays: dict[Split, Any] = {}
        self._table: DeviceTable | None = None
        outputs, config = self._teacher_outputs, self._config
        logits_alone = not config.at_weight and not config.teacher_features
        tabulated = logits_alone and not config.mixes and config.strategy == "none"
        if outputs and tabulated and fits_on_device(outputs.bytes):
            self._table = DeviceTable(outputs)
        self._carry: list[Any] | None = None
        rate = self.model.optimizer.learning_rate
        self._rate_index = next(i for i, variable in enumerate(self.groups()[2]) if variable is rate)

    def run(self, *, epoch: int, begin: int, end: int) -> None:
        if self._carry is None:
            self._carry = [[variable.value for variable in group] for group in self.groups()]
        batches = self._describe(epoch, begin, end) if self._split.streamed is None else self._read(epoch, begin, end)
        if self._table is not None:
            batches["rows"] = self._table.rows_of(epoch, begin, end)
        elif self._teacher_outputs:
            outputs = [self._teacher_outputs((epoch, step)) for step in range(begin, end)]
            batches["teacher_outputs"] = keras.tree.map_structure(lambda *arrays: np.stack(arrays), *outputs)
        if self._indexed:
            batches["index"] = np.stack([self.index(epoch, step)["index"] for step in range(begin, end)])
        if self._config.warmup_epochs:
            batches["learning_rate"] = np.array([self.learning_rate(epoch, step) for step in range(begin, end)], "f4")
        table = None if self._table is None else self._table.logits
        self._carry = self._train(self._carry, *self._on_device(self._split), table, self._put_batches(batches))

    def _describe(self, epoch: int, begin: int, end: int) -> dict[str, Any]:
        """The images of these steps, which lie on the device: their positions and views, [steps, batch].

        Also how they are mixed, and labels that are probabilities, [steps, batch, classes].
        """
        batches, steps = self._epoch(epoch), range(begin, end)
        described: dict[str, Any] = {
            "positions": np.stack([batches.positions(step) for step in steps]).astype(np.int32),
            "views": np.stack([batches.seen(step)[1] for step in steps]).astype(np.int32),
        }
        if self._config.mixes or self._config.label_smoothing:
            described["labels"] = np.stack([batches.labels(step) for step in steps])
        return described | self._describe_mixes(batches, steps)

    def _describe_mixes(self, batches: Batches, steps: range) -> dict[str, Any]:
        """How the images of these steps are mixed, and where labels are not mixed yet, with which share."""
        mixes = [mix for step in steps if (mix := batches.mix(step))]
        if not mixes:
            return {}
        partners, weights = map(np.stack, zip(*mixes, strict=True))
        described: dict[str, Any] = {"mix": Mix(partners.astype(np.int32), weights)}
        if self._share is not None:
            described["label_share"] = np.array([mix.share for mix in mixes], np.float32)
        return described

    def _read(self, epoch: int, begin: int, end: int) -> dict[str, Any]:
        """The images of these steps themselves: uint8 [steps, batch, h, w, c], and their labels."""
        images, labels = zip(*(self._batches((epoch, step)) for step in range(begin, end)), strict=True)
        read = {"images": np.stack(images), "labels": np.stack(labels)}
        return read if self._share is None else read | self._describe_mixes(self._epoch(epoch), range(begin, end))

    def metrics(self) -> dict[str, float]:
        if self._carry is not None:
            _assign(self.model.metrics_variables, self._carry[-1])
        return super().metrics()

    def _predict(self, split: Split) -> np.ndarray:
        self._sync()
        if split.streamed is not None:
            return super()._predict(split)
        trainable, non_trainable = ([variable.value for variable in group] for group in self.groups()[:2])
        images, _ = self._on_device(split)
        whole = len(split) // EVALUATION_BATCH * EVALUATION_BATCH
        batches = np.arange(whole).reshape(-1, EVALUATION_BATCH)
        calls = np.split(batches, call_ends(len(batches), fused=self.fused)[:-1])
        logits = [
            self._test(trainable, non_trainable, images, positions)
            for positions in (*calls, np.arange(whole, len(split))[None])
            if positions.size
        ]
        return np.concatenate([np.asarray(part) for part in logits])

    def state(self) -> dict[str, np.ndarray]:
        self._sync()
        return super().state()

    def groups(self) -> tuple[list[keras.Variable], ...]:
        """The variables of a state of `train_step`."""
        model = self.model
        return (
            model.trainable_variables,
            model.non_trainable_variables,
            model.optimizer.variables,
            model.metrics_variables,
        )

    def _sync(self) -> None:
        if self._carry is not None:
            for variables, values in zip(self.groups(), self._carry, strict=True):
                _assign(variables, values)
            self._carry = None

    def _on_device(self, split: Split) -> Any:
        """The padded uint8 images and the labels; (None, None) if they are streamed."""
        if split.streamed is not None:
            return None, None
        if split not in self._arrays:
            images, labels = augmentation.pad(split.array), split.labels
            if split is self._split and self._config.unlabelled_per_batch and self.dataset.unlabelled:
                more = self.dataset.unlabelled
                images = np.concatenate([images, augmentation.pad(more.array)])
                labels = np.concatenate([labels, more.labels])
            self._arrays[split] = self._put_images((images, labels))
        return self._arrays[split]

    def _put_images(self, arrays: Any) -> Any:
        """Resident images and labels on the device."""
        import jax

        return jax.device_put(arrays)

    def _put_batches(self, batches: dict[str, Any]) -> dict[str, Any]:
        """What a call of `_train` gets of its batches."""
        return batches

    # Compiled.

    def _train_call(self, carry: Any, images: Any, labels: Any, table: Any, batches: Any) -> Any:
        def step(carry: Any, batch: Any) -> list[Any]:
            y = batch["labels"] if "labels" in batch else labels[batch["positions"]]
            mix = batch.get("mix")
            if "label_share" in batch:
                y = mixup.blend_labels(y, mix.partners, batch["label_share"])
            outputs = (
                {"teacher_logits": table[batch["rows"]]} if table is not None else batch.get("teacher_outputs", {})
            )
            y = self.with_outputs(y, outputs | ({"index": batch["index"]} if self._indexed else {}))
            if images is None:
                x = self._finish_images(batch["images"], mix)
            else:
                x = self.make_images(images, batch["positions"], batch["views"], mix)
            if "learning_rate" in batch:
                carry[2][self._rate_index] = batch["learning_rate"]
            return list(self.model.train_step(tuple(carry), (x, y))[1])

        return _scan(step, carry, batches)

    def _test_call(self, trainable: Any, non_trainable: Any, images: Any, positions: Any) -> Any:
        def step(positions: Any) -> Any:
            x = self.make_images(images, positions, np.full(positions.shape, augmentation.CENTRE))
            return self.model.stateless_call(trainable, non_trainable, x, training=False)[0]

        return _map(step, positions)

    def make_images(self, padded: Any, positions: Any, views: Any, mix: Any = None) -> Any:
        """The images that `Batches` makes: standardised float32 [batch, h, w, c], of these positions and views."""
        from kdzoo.data import jax_augmentation

        return self._finish_images(jax_augmentation.apply_views(padded, positions, views), mix)

    def _finish_images(self, images: Any, mix: Any) -> Any:
        """The views [batch, h, w, c], mixed unless `mix` is None, and standardised."""
        from kdzoo.data import jax_augmentation

        if mix is not None:
            images = jax_augmentation.mix_images(images, mix)
        return augmentation.standardise(images, mean=self.dataset.mean, std=self.dataset.std)


class DeviceTable:
    """Teacher logits of all training images and views on the device, filled as steps need them.

    Args:
        teacher_outputs: of the run.

    Attributes:
        logits: the table, float32 [rows, classes].
    """

    def __init__(self, teacher_outputs: TeacherOutputs):
        import jax

        self._teacher_outputs = teacher_outputs
        logits, self._present = teacher_outputs.preload()
        self.logits = jax.device_put(logits)

        def add(table: Any, rows: Any, values: Any) -> Any:
            return table.at[rows].set(values, mode="drop")  # row numbers past the end fill up, and are dropped

        self._add = jax.jit(add, donate_argnums=0)

    def rows_of(self, epoch: int, begin: int, end: int) -> np.ndarray:
        """Row numbers, int32 [steps, batch], of these steps' images; computes the rows that the table lacks."""
        keys = [(epoch, step) for step in range(begin, end)]
        rows = np.stack([self._teacher_outputs.rows_of(key) for key in keys]).astype(np.int32)
        lacking = np.flatnonzero(~self._present[rows].all(axis=1))
        if lacking.size:
            added = np.full_like(rows, len(self._present))
            values = np.zeros((*rows.shape, self.logits.shape[1]), "f4")
            for i in lacking.tolist():
                added[i], values[i] = rows[i], self._teacher_outputs(keys[i])["teacher_logits"]
            self.logits = self._add(self.logits, added, values)
            self._present[rows] = True
        return rows


def fits_on_device(size: int) -> bool:
    """Whether a table of so many bytes is to lie on JAX's device. On a processor that is the host itself: no."""
    import jax

    memory = jax.devices()[0].memory_stats() or {}
    return bool(size <= DEVICE_SHARE * memory.get("bytes_limit", 0))


def _scan(step: Callable[[Any, Any], list[Any]], carry: Any, batches: Any) -> Any:
    """Applies `step(carry, batch)` to each batch in turn. (On a CPU, XLA runs a loop's body 20 times slower.)"""
    import jax

    if len(jax.tree.leaves(batches)[0]) == 1:
        return step(carry, jax.tree.map(lambda array: array[0], batches))
    return jax.lax.scan(lambda carry, batch: (step(carry, batch), None), carry, batches)[0]


def _map(function: Callable[[Any], Any], batches: Any) -> Any:
    """The function's values [calls * batch, ...] for each batch, one after another."""
    import jax

    if len(batches) == 1:
        return function(batches[0])
    values = jax.lax.map(function, batches)
    return values.reshape(-1, *values.shape[2:])


def _assign(variables: Sequence[keras.Variable], values: Sequence[Any]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
