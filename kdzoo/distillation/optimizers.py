"""Stochastic gradient descent with coupled weight decay, as the distillation papers use it."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("kdzoo")
class CoupledSGD(keras.optimizers.SGD):
    """SGD with momentum and coupled weight decay, equal to PyTorch's step for step:

        g = gradient + coupled_weight_decay * w
        m = momentum * m + g
        w = w - learning_rate * (g + momentum * m)    with Nesterov momentum; else  w - learning_rate * m

    Keras's own `weight_decay` is decoupled (Loshchilov & Hutter, 2019), and its momentum includes the learning rate of
    earlier steps, so that the steps after a drop are too long. All trainable weights decay, including BatchNorm's, as
    in the code of Zagoruyko & Komodakis.

    Args:
        learning_rate: at least 0.
        momentum: from 0 to below 1.
        nesterov: whether the momentum is Nesterov's.
        coupled_weight_decay: factor of each weight in its gradient, at least 0.
        name: of the optimizer.
        **kwargs: further arguments of `keras.optimizers.SGD`.
    """

    def __init__(
        self,
        learning_rate: float = 0.1,
        momentum: float = 0.9,
        nesterov: bool = True,
        coupled_weight_decay: float = 5e-4,
        name: str = "coupled_sgd",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, momentum=momentum, nesterov=nesterov, name=name, **kwargs)
        self.coupled_weight_decay = coupled_weight_decay

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates one variable and its momentum."""
        gradient = ops.cast(gradient, variable.dtype) + self.coupled_weight_decay * variable
        step = gradient
        if self.momentum:
            momentum = self.momentums[self._get_variable_index(variable)]
            self.assign(momentum, self.momentum * momentum + gradient)
            step = gradient + self.momentum * momentum if self.nesterov else momentum
        self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * step)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "coupled_weight_decay": self.coupled_weight_decay}


def make_optimizer(*, lr: float, momentum: float, nesterov: bool, weight_decay: float) -> keras.optimizers.Optimizer:
    """The optimizer of a training run, from the options of its configuration (`RunConfig.optimizer_options`)."""
    return CoupledSGD(lr, momentum=momentum, nesterov=nesterov, coupled_weight_decay=weight_decay)
