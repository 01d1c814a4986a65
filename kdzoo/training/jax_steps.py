"""Training steps on JAX: the data set lies on the device, and one call of the compiled program runs many steps."""

import keras
import numpy as np

from kdzoo.data import augmentation
from kdzoo.data.dataset import Split
from kdzoo.training.steps import EVALUATION_BATCH, Steps, call_ends

DEVICE_SHARE = 0.25  # of an accelerator's memory that a table of what teachers say may take
FUSED_STEPS = 64  # on an accelerator; a processor's steps are long enough to be called one by one


class JaxSteps(Steps):
    """`lax.scan` over the steps of a call, each of which takes its batch from the data set on the device."""

    def __init__(self, model, dataset, train, config, answers):
        import jax

        super().__init__(model, dataset, train, config, answers)
        self.fused = config.fused_steps or (1 if jax.default_backend() == "cpu" else FUSED_STEPS)
        self._train = jax.jit(self._train_call, donate_argnums=0)
        self._test = jax.jit(self._test_call)
        self._train_split, self._arrays = train, {}
        self._table = None  # what the teachers say, where it lies on the device, and which rows of it are there
        if answers and not config.at_weight and fits_on_device(answers.bytes):
            table, self._there = answers.preload()
            self._table = jax.device_put(table)
            # Rows that there are not, to fill up with, are dropped.
            add = lambda table, rows, values: table.at[rows].set(values, mode="drop")  # noqa: E731
            self._add = jax.jit(add, donate_argnums=0)
        self._carry = None  # what the steps hold in place of the model's variables, once they have begun

    def run(self, *, epoch, begin, end):
        if self._carry is None:
            self._carry = [[variable.value for variable in group] for group in self.groups()]
        of_epoch = self._epoch(epoch)
        positions = of_epoch.order[begin * of_epoch.batch_size : end * of_epoch.batch_size]
        positions = positions.reshape(-1, of_epoch.batch_size).astype(np.int32)
        views = of_epoch.views[positions].astype(np.int32)
        batches = {"positions": positions, "views": views}
        if self._table is not None:
            batches["rows"] = self._on_table(epoch, begin, end)
        elif self._answers:
            said = [self._answers((epoch, step)) for step in range(begin, end)]
            batches["said"] = keras.tree.map_structure(lambda *arrays: np.stack(arrays), *said)
        self._carry = self._train(self._carry, *self._on_device(self._train_split), self._table, batches)

    def _on_table(self, epoch: int, begin: int, end: int) -> np.ndarray:
        """Rows [steps, batch] of these steps in the device's table, once it has been given those that it lacked."""
        rows = np.stack([self._answers.numbers((epoch, step)) for step in range(begin, end)]).astype(np.int32)
        lacking = np.flatnonzero(~self._there[rows].all(axis=1))
        if lacking.size:
            added, values = np.full_like(rows, len(self._there)), np.zeros((*rows.shape, self._table.shape[1]), "f4")
            for i in lacking.tolist():
                added[i], values[i] = rows[i], self._answers((epoch, begin + i))["teacher_logits"]
            self._table = self._add(self._table, added, values)
            self._there[rows] = True
        return rows

    def metrics(self):
        if self._carry is not None:
            _assign(self.model.metrics_variables, self._carry[-1])
        return super().metrics()

    def predict(self, split):
        self._sync()
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
        return np.concatenate([np.asarray(one) for one in logits])

    def state(self):
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
        """Gives the model's variables the values that so far only the steps hold."""
        if self._carry is not None:
            for variables, values in zip(self.groups(), self._carry, strict=True):
                _assign(variables, values)
            self._carry = None

    def _on_device(self, split: Split) -> tuple:
        """The padded uint8 images and the labels."""
        import jax

        if split not in self._arrays:
            self._arrays[split] = jax.device_put((augmentation.pad(split.images), split.labels))
        return self._arrays[split]

    # Compiled.

    def _train_call(self, carry, images, labels, table, batches):
        def step(carry, batch):
            y = labels[batch["positions"]]
            if "said" in batch:
                y = {"label": y, **batch["said"]}
            if table is not None:
                y = {"label": y, "teacher_logits": table[batch["rows"]]}
            x = self._seen(images, batch["positions"], batch["views"])
            return list(self.model.train_step(tuple(carry), (x, y))[1])

        return _scan(step, carry, batches)

    def _test_call(self, trainable, non_trainable, images, positions):
        def step(positions):
            seen = self._seen(images, positions, np.full(positions.shape, augmentation.CENTRE))
            return self.model.stateless_call(trainable, non_trainable, seen, training=False)[0]

        return _map(step, positions)

    def _seen(self, padded, positions, views):
        """What `Batches` gives: standardised float32 images [batch, h, w, c], of these positions and views."""
        import jax

        height, width, channels = self.dataset.image_shape
        flip, down, right = augmentation.describe_views(views)

        def crop(position, down, right):
            return jax.lax.dynamic_slice(padded, (position, down, right, 0), (1, height, width, channels))[0]

        crops = jax.vmap(crop)(positions, down, right)
        crops = jax.numpy.where((flip == 1)[:, None, None, None], crops[:, :, ::-1], crops)
        return augmentation.standardise(crops, mean=self.dataset.mean, std=self.dataset.std)


def fits_on_device(size: int) -> bool:
    """Whether a table of so many bytes is to lie on JAX's device: on a processor that is the host itself."""
    import jax

    memory = jax.devices()[0].memory_stats() or {}
    return size <= DEVICE_SHARE * memory.get("bytes_limit", 0)


def _scan(step, carry, batches):
    """Applies `step(carry, batch)` to each batch in turn. (On a CPU, XLA runs a loop's body 20 times slower.)"""
    import jax

    if len(jax.tree.leaves(batches)[0]) == 1:
        return step(carry, jax.tree.map(lambda array: array[0], batches))
    return jax.lax.scan(lambda carry, batch: (step(carry, batch), None), carry, batches)[0]


def _map(function, batches):
    """The function's values [calls * batch, ...] of each batch, one after another."""
    import jax

    if len(batches) == 1:
        return function(batches[0])
    values = jax.lax.map(function, batches)
    return values.reshape(-1, *values.shape[2:])


def _assign(variables, values) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
