"""The optimizers of runs: SGD with coupled weight decay, as the papers use it, and Keras's AdamW and Lion."""

from collections.abc import Sequence
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


class _BackboneRate:
    """Before an optimizer's class: some variables have another learning rate, a factor times the optimizer's.

    Decoupled weight decay is proportional to a variable's own learning rate, as it is to the optimizer's in Keras.
    """

    def set_backbone(self: Any, variables: Sequence[keras.Variable], *, factor: float) -> None:
        """Sets these variables' factor. Call it before `build`."""
        self._factor = factor
        self._backbone = frozenset(self._var_key(variable) for variable in variables)
        if self.weight_decay:
            self.exclude_from_weight_decay(var_list=list(variables))  # their own follows in `update_step`

    def update_step(self: Any, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates one variable."""
        if self._var_key(variable) in self._backbone:
            learning_rate = ops.cast(learning_rate, variable.dtype) * self._factor
            if self.weight_decay:
                self.assign_sub(variable, variable * self.weight_decay * learning_rate)
        super().update_step(gradient, variable, learning_rate)  # type: ignore[misc]


class _SGD(_BackboneRate, CoupledSGD):
    pass


class _AdamW(_BackboneRate, keras.optimizers.AdamW):
    pass


class _Lion(_BackboneRate, keras.optimizers.Lion):
    pass


def make_optimizer(
    *,
    lr: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    optimizer: str = "sgd",
    clip_norm: float = 0.0,
    ema_momentum: float = 0.0,
    backbone: Sequence[keras.Variable] = (),
    backbone_factor: float = 1.0,
) -> keras.optimizers.Optimizer:
    """The optimizer of a training run.

    Args:
        lr, momentum, nesterov, weight_decay, optimizer, clip_norm, ema_momentum: see `kdzoo.RunConfig`.
        backbone: variables whose learning rate is `backbone_factor` times the others'.
        backbone_factor: at least 0.
    """
    options: dict[str, Any] = {"global_clipnorm": clip_norm or None}
    if ema_momentum:
        options |= {"use_ema": True, "ema_momentum": ema_momentum}
    if optimizer == "sgd":
        options |= {"momentum": momentum, "nesterov": nesterov, "coupled_weight_decay": weight_decay}
    else:
        options |= {"weight_decay": weight_decay, "name": optimizer}  # the name is part of those in checkpoints
    plain, with_factor = {
        "sgd": (CoupledSGD, _SGD),
        "adamw": (keras.optimizers.AdamW, _AdamW),
        "lion": (keras.optimizers.Lion, _Lion),
    }[optimizer]
    if not backbone or backbone_factor == 1:
        return plain(float(lr), **options)
    made = with_factor(float(lr), **options)
    made.set_backbone(backbone, factor=backbone_factor)
    return made
