"""Defines the flags of training: optimizer, regularisation, fine-tuning."""

from absl import flags

from apps import flag_values
from kdzoo.runs.config import OPTIMIZERS, RunConfig


def define_training_flags() -> None:
    """Defines all of them."""
    define_sgd_flags()
    define_optimizer_flags()
    define_regularisation_flags()
    define_fine_tuning_flags()


def define_sgd_flags() -> None:
    """Defines the flags of batches and of SGD."""
    flag_values.define_number(
        "batch_size", RunConfig.batch_size, "Number of images in one training step, over all replicas together."
    )
    flag_values.define_number("lr", RunConfig.lr, "Learning rate at the start of the schedule.")
    flag_values.define_number(
        "lr_decay", RunConfig.lr_decay, "Factor on the learning rate at each step of a k-N schedule."
    )
    flag_values.define_number("momentum", RunConfig.momentum, "Momentum of SGD.")
    flags.DEFINE_bool("nesterov", RunConfig.nesterov, "Whether the momentum is Nesterov's.")
    flag_values.define_number(
        "weight_decay",
        RunConfig.weight_decay,
        "Weight decay. That of SGD is coupled as in PyTorch: it sees gradient + weight_decay * weight. That of the"
        " other optimizers is decoupled.",
    )


def define_optimizer_flags() -> None:
    """Defines the flags of the optimizer, warm-up, clipping and averaging."""
    flags.DEFINE_enum(
        "optimizer",
        RunConfig.optimizer,
        OPTIMIZERS,
        "Optimizer. sgd is SGD with momentum and coupled weight decay; adamw and lion are Keras's, with decoupled"
        " weight decay and without --momentum. They need a lower --lr, for example --optimizer=adamw --lr=0.001"
        " --weight_decay=0.05.",
    )
    flag_values.define_number(
        "warmup_epochs",
        RunConfig.warmup_epochs,
        "Epochs in which the learning rate rises, step by step, to that of the schedule. 0: none.",
    )
    flag_values.define_number(
        "clip_norm",
        RunConfig.clip_norm,
        "Largest L2 norm of the gradient of all weights together; a longer one is scaled down to it. 0: any.",
    )
    flag_values.define_number(
        "ema_momentum",
        RunConfig.ema_momentum,
        "Momentum, per step, of an exponential moving average of the weights. Training proceeds from the weights"
        " themselves; evaluated and saved is their average. 0: no average.",
    )


def define_regularisation_flags() -> None:
    """Defines the flags of labels and mixed images."""
    flag_values.define_number(
        "label_smoothing",
        RunConfig.label_smoothing,
        "Share of each label that is spread evenly over all classes, in the cross-entropy with the labels.",
    )
    flag_values.define_number(
        "mixup_alpha",
        RunConfig.mixup_alpha,
        "With mixup: each image of a batch is blended with another one, with a share from Beta(alpha, alpha), and so"
        " are their labels. Teachers see the blended image, so their outputs are not cached. 0: off.",
    )
    flag_values.define_number(
        "cutmix_alpha",
        RunConfig.cutmix_alpha,
        "With CutMix: as --mixup_alpha, but a box of the other image is pasted into each. With both, each step has one"
        " of them by chance. 0: off.",
    )


def define_fine_tuning_flags() -> None:
    """Defines the flags of layers."""
    flags.DEFINE_string(
        "freeze",
        RunConfig.freeze,
        "Layers that do not train: a regular expression, which is searched for in the layers' paths. Their BatchNorm"
        " uses its moving statistics. Example: ^(stem|stage1). Empty: all layers train.",
    )
    flag_values.define_number(
        "backbone_lr",
        RunConfig.backbone_lr,
        "Learning rate, at the start of the schedule, of all layers but the head, which is the last layer with weights."
        " 0: that of --lr.",
    )
