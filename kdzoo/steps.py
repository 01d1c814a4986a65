"""How the training steps of a run are carried out: the same `Distiller.train_step` driven as suits each backend.

On TensorFlow batches are made on the host while the step before runs. On JAX the whole data set lives on the device as
uint8; crop, flip and standardisation happen inside the compiled step, and many steps run in one call.
"""

import concurrent.futures
import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kdzoo import data
from kdzoo.batches import Batches
from kdzoo.config import RunConfig
from kdzoo.distiller import Distiller

EVALUATION_BATCH = 500
DEVICE_SHARE = 0.25  # of an accelerator's memory that a table of what teachers say may take
FUSED_STEPS = 64  # on an accelerator; a processor's steps are long enough to be called one by one


def make(
    model: Distiller,
    dataset: data.Dataset,
    train: data.Split,
    config: RunConfig,
    answers: Callable[[tuple[int, int]], dict[str, Any]] | None = None,
) -> "Steps":
    """What runs this compiled model's steps on the backend in use.

    `answers` tells of a step, (epoch, step), what a model of `outputs_given` takes beside the labels.
    """
    kinds = {"tensorflow": TensorFlowSteps, "jax": JaxSteps}
    return kinds[keras.backend.backend()](model, dataset, train, config, answers)


def call_ends(steps: int, *, fused: int) -> list[int]:
    """Where in an epoch of so many steps each call ends, at most `fused` steps from the one before.

    Calls of one length where there is such a length from `fused / 2` on, since each length is a program to compile.
    """
    if not steps:
        return []
    calls = -(-steps // fused)
    calls = next((n for n in range(calls, min(2 * calls, steps) + 1) if steps % n == 0), calls)
    length = -(-steps // calls)
    return [*range(length, steps, length), steps]


class Steps:
    """A compiled `Distiller` and the examples it learns from."""

    fused = 1

    def __init__(self, model: Distiller, dataset: data.Dataset, train: data.Split, config: RunConfig, answers):
        self.model, self.dataset, self._answers = model, dataset, answers
        seen = {"seed": config.seed, "batch_size": config.batch_size, "augment": config.augment}
        # Two epochs, since at the end of one the next one's batches are being made.
        self._epoch = functools.lru_cache(maxsize=2)(lambda epoch: Batches(train, dataset, epoch=epoch, **seen))
        self.per_epoch = len(train) // config.batch_size

    def run(self, *, epoch: int, begin: int, end: int) -> None:
        """Runs these steps of an epoch. Begins where the last call ended, and ends where one of `call_ends` does."""
        raise NotImplementedError

    def metrics(self) -> dict[str, float]:
        """The model's metrics since they were last reset."""
        return {name: float(value) for name, value in self.model.get_metrics_result().items()}

    def predict(self, split: data.Split) -> np.ndarray:
        """The student's logits [n, classes] of the images as they are."""
        return predict(self.model.student, split, self.dataset)

    def state(self) -> dict[str, np.ndarray]:
        """A copy of all that a step changes: the student's weights, optimizer slots, metrics."""
        return {name: np.array(variable) for name, variable in self._variables().items()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Puts back what `state` gave."""
        for name, variable in self._variables().items():
            variable.assign(state[name])

    def _variables(self) -> dict[str, keras.Variable]:
        groups = {
            "student": self.model.student.variables,
            "optimizer": self.model.optimizer.variables,
            "metrics": self.model.metrics_variables,
        }
        return {f"{group}/{i:04d}/{v.path}": v for group, vs in groups.items() for i, v in enumerate(vs)}


class TensorFlowSteps(Steps):
    """Keras's own train function; each batch is made while the step before runs. A replica gets its share."""

    def __init__(self, *args):
        super().__init__(*args)
        self.model.make_train_function()
        self._batches = Ahead(
            lambda key: self._epoch(key[0])[key[1]],
            lambda key: (key[0], key[1] + 1) if key[1] + 1 < self.per_epoch else (key[0] + 1, 0),
        )

    def run(self, *, epoch, begin, end):
        for step in range(begin, end):
            images, labels = self._batches((epoch, step))
            if self._answers:
                labels = {"label": labels, **self._answers((epoch, step))}
            self.model.train_function(iter([self._distributed((images, labels))]))

    def _distributed(self, batch: tuple[np.ndarray, ...]) -> tuple:
        strategy = self.model.distribute_strategy
        replicas = strategy.num_replicas_in_sync
        if replicas == 1:
            return batch
        arrays = keras.tree.flatten(batch)
        shares = zip(*(np.split(array, replicas) for array in arrays), strict=True)
        shares = [
            keras.tree.pack_sequence_as(batch, [keras.ops.convert_to_tensor(array) for array in share])
            for share in shares
        ]
        return strategy.experimental_distribute_values_from_function(
            lambda context: shares[context.replica_id_in_sync_group]
        )


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

    def _on_device(self, split: data.Split) -> tuple:
        """The padded uint8 images and the labels."""
        import jax

        if split not in self._arrays:
            self._arrays[split] = jax.device_put((data.pad(split.images), split.labels))
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
            seen = self._seen(images, positions, np.full(positions.shape, data.CENTRE))
            return self.model.stateless_call(trainable, non_trainable, seen, training=False)[0]

        return _map(step, positions)

    def _seen(self, padded, positions, views):
        """What `Batches` gives: standardised float32 images [batch, h, w, c], of these positions and views."""
        import jax

        height, width, channels = self.dataset.image_shape
        flip, down, right = data.describe_views(views)

        def crop(position, down, right):
            return jax.lax.dynamic_slice(padded, (position, down, right, 0), (1, height, width, channels))[0]

        crops = jax.vmap(crop)(positions, down, right)
        crops = jax.numpy.where((flip == 1)[:, None, None, None], crops[:, :, ::-1], crops)
        return data.standardise(crops, mean=self.dataset.mean, std=self.dataset.std)


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


def predict(model: keras.Model, split: data.Split, dataset: data.Dataset) -> np.ndarray:
    """A network's logits [n, classes] of a split's images as they are, by Keras's own `predict`."""
    images = data.standardise(split.images, mean=dataset.mean, std=dataset.std)
    return model.predict(images, batch_size=EVALUATION_BATCH, verbose=0)


def _assign(variables, values) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


class Ahead:
    """Makes things one ahead of the work that uses them, in order.

    Args:
        make: makes the thing of a key; called by a thread.
        following: the key after a key.
    """

    def __init__(self, make: Callable[[Any], Any], following: Callable[[Any], Any]):
        self._make, self._following = make, following
        self._pool = concurrent.futures.ThreadPoolExecutor(1)
        self._pending: dict[Any, concurrent.futures.Future] = {}

    def __call__(self, key: Any) -> Any:
        """The thing of this key."""
        wanted = (key, self._following(key))
        self._pending = {k: self._pending.get(k) or self._pool.submit(self._make, k) for k in wanted}
        return self._pending.pop(key).result()
