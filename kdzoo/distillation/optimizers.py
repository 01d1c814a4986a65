"""Stochastic gradient descent as the papers of the field mean it."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("kdzoo")
class CoupledSGD(keras.optimizers.SGD):
    """SGD with momentum and coupled weight decay, step for step that of PyTorch:

        g = gradient + coupled_weight_decay * w
        m = momentum * m + g
        w = w - learning_rate * (g + momentum * m)    with Nesterov momentum; else  w - learning_rate * m

    Keras's own `weight_decay` is decoupled (Loshchilov & Hutter, 2019), and its momentum keeps the learning rate of
    the step that made it, so that the steps just after a drop are too long. All trainable weights decay, BatchNorm's
    too, as in the code of Zagoruyko & Komodakis.
    """

    def __init__(
        self,
        learning_rate: float = 0.1,
        momentum: float = 0.9,
        nesterov: bool = True,
        coupled_weight_decay: float = 5e-4,
        name: str = "coupled_sgd",
        **kwargs,
    ):
        super().__init__(learning_rate=learning_rate, momentum=momentum, nesterov=nesterov, name=name, **kwargs)
        self.coupled_weight_decay = coupled_weight_decay

    def update_step(self, gradient, variable, learning_rate):
        gradient = ops.cast(gradient, variable.dtype) + self.coupled_weight_decay * variable
        step = gradient
        if self.momentum:
            momentum = self.momentums[self._get_variable_index(variable)]
            self.assign(momentum, self.momentum * momentum + gradient)
            step = gradient + self.momentum * momentum if self.nesterov else momentum
        self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * step)

    def get_config(self) -> dict:
        return {**super().get_config(), "coupled_weight_decay": self.coupled_weight_decay}
