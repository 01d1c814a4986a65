"""Defines the flags of the distillation method."""

from absl import flags

from apps import flag_values
from kdzoo.distillation import registry


def define_method_flags() -> None:
    """Defines the method, its arguments and the weight of its own term."""
    flags.DEFINE_string(
        "method",
        "kd",
        "Distillation method: none, knowledge distillation (kd), attention transfer (at) or both. It sets the default"
        f" weights of cross-entropy, KD and AT: {_describe_methods()}. Or a method with a term of its own:"
        f"\n{_describe_others()}",
    )
    flags.DEFINE_list(
        "method_args",
        [],
        "Arguments of a method with a term of its own, NAME=VALUE, separated by commas. Example: beta=2. Empty: the"
        " authors' values.",
    )
    flag_values.define_number(
        "method_weight",
        None,
        "Weight of the term of a method that has one of its own. Default: the authors' weight.",
    )


def _describe_others() -> str:
    return "\n".join(f"{name}: {line.partition(': ')[2] or line}" for name, line in registry.summaries().items())


def _describe_methods() -> str:
    weights = {name: ", ".join(f"{weight:g}" for weight in registry.TERMS[name].values()) for name in registry.TERMS}
    return "; ".join(f"{name} {values}" for name, values in weights.items())
