"""Training steps on all devices of a data-parallel run on JAX, in one process or several.

The program is that of one device. XLA splits it along the batch, so a mean over the batch is one over all devices: that
of a loss, a gradient, or BatchNorm's statistics. Each process reads and uploads its own share of each batch; weights
and resident images are copied to each device.
"""

import functools
from typing import Any

import keras
import numpy as np

from kdzoo.data import augmentation
from kdzoo.data.dataset import Dataset, Split
from kdzoo.training import strategy
from kdzoo.training.jax_steps import JaxSteps
from kdzoo.training.processes import here
from kdzoo.training.steps import Steps, evaluation_batch

# What a step of several processes needs of the whole batch.
_WHOLE = ("mix", "label_share", "learning_rate")


class DataParallelSteps(JaxSteps):
    """`JaxSteps` on all devices. Each call gets this process's share of the batches."""

    def __init__(self, *args: Any):
        import jax

        super().__init__(*args)
        layouts = [[variable.value.sharding for variable in group] for group in self.groups()]
        self._train = jax.jit(self._train_call, donate_argnums=0, out_shardings=layouts)

    def metrics(self) -> dict[str, float]:
        """See `Steps.metrics`. Computed in this process alone: others may not compute them at the same time."""
        import jax

        variables = self.model.metrics_variables
        values = self._carry[-1] if self._carry is not None else [variable.value for variable in variables]
        here = [jax.numpy.asarray(np.asarray(value)) for value in values]
        with keras.StatelessScope(state_mapping=list(zip(variables, here, strict=True))):
            return Steps.metrics(self)

    def _predict(self, split: Split) -> np.ndarray:
        self._sync()
        return predict(self.model.student, split, self.dataset)

    def _put_images(self, arrays: Any) -> Any:
        return put_copies(arrays)

    def _put_batches(self, batches: dict[str, Any]) -> dict[str, Any]:
        whole = {name: batches.pop(name) for name in _WHOLE if name in batches}
        return {**put_copies(whole), **put_shares(batches)}


def predict(model: keras.Model, split: Split, dataset: Dataset) -> np.ndarray:
    """A network's logits [n, classes] for the unaugmented images of a split, computed on all devices.

    All processes call it together, with a network that was built in `strategy.scope`. Each reads its share of the
    images.
    """
    import jax

    processes = here()
    devices, count = jax.device_count(), len(split)
    size = devices * -(-min(evaluation_batch(split, dataset), count) // devices)
    own = np.split(np.arange(size), processes.count)[processes.index]
    program = _program(model, dataset.mean, dataset.std)
    weights = [variable.value for variable in model.variables]
    logits = []
    for first in range(0, count, size):
        positions = np.minimum(first + own, count - 1)  # the last image fills up the last batch
        split.prefetch(np.append(positions, np.minimum(first + size + own, count - 1)))
        images = split.read(positions)
        logits.append(np.asarray(program(weights, put_shares(images[None]))))
    if split.streamed is not None:
        left_out = split.streamed.stream.sources[split.streamed.split].left_out
        left_out |= processes.gather(left_out).any(axis=0)
    return np.concatenate(logits)[:count]


@functools.lru_cache(maxsize=4)
def _program(model: keras.Model, mean: tuple[float, ...], std: tuple[float, ...]) -> Any:
    import jax

    def forward(weights: Any, images: Any) -> Any:
        x = augmentation.standardise(images[0], mean=mean, std=std)
        with keras.StatelessScope(state_mapping=list(zip(model.variables, weights, strict=True))):
            return model(x, training=False)

    return jax.jit(forward, out_shardings=_layout())


def put_copies(arrays: Any) -> Any:
    """The arrays of a tree on each device, whole. All processes give the same."""
    import jax

    return jax.tree.map(
        lambda array: jax.make_array_from_callback(np.shape(array), _layout(), np.asarray(array).__getitem__), arrays
    )


def put_shares(arrays: Any) -> Any:
    """The arrays of a tree, split over the devices along the second axis, that of the batch.

    Args:
        arrays: this process's share of each, [steps, images, ...].
    """
    import jax

    processes = jax.process_count()

    def put(array: np.ndarray) -> Any:
        steps, images, *shape = array.shape
        whole = (steps, processes * images, *shape)
        return jax.make_array_from_process_local_data(_layout(None, "batch"), array, whole)

    return jax.tree.map(put, arrays)


def _layout(*axes: str | None) -> Any:
    """The layout of an array: the axis of the devices that each of its axes is split over, None for none."""
    import jax

    return jax.sharding.NamedSharding(
        strategy.data_parallel().device_mesh.backend_mesh, jax.sharding.PartitionSpec(*axes)
    )
