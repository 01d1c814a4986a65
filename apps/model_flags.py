"""Flags of networks that are no new zoo models, and of the layers that attention transfer compares."""

from absl import flags

from kdzoo.runs.config import RunConfig

flags.disclaim_key_flags()  # the flags are those of the modules that call these functions


def define_model_flags() -> None:
    """Defines the flags of a model that is no new zoo model."""
    flags.DEFINE_string(
        "model_args",
        RunConfig.model_args,
        'More arguments of the function that builds a model, a JSON object. Example: {"alpha": 0.75}.',
    )
    flags.DEFINE_string(
        "name",
        RunConfig.name,
        "Name for runs of a model that is no zoo model. Empty: the last part of its spec. Example:"
        " mobilenetv3small-75.",
    )
    flags.DEFINE_string(
        "init",
        RunConfig.init,
        "Trained model whose weights the model begins with: the directory of a run, a published model's name, or"
        " its address. If it has other classes, its last layer is replaced by a new one. Example: wrn16-2_10-35.",
    )


def define_stage_flags() -> None:
    """Defines the layers between which attention transfer compares two networks."""
    for name, of in (("student_stages", "the student"), ("teacher_stages", "all teachers")):
        flags.DEFINE_string(
            name,
            getattr(RunConfig, name),
            f"With attention transfer: names of the layers of {of} whose outputs are compared, separated by commas;"
            " of an external teacher the names of its outputs. Empty: stage1, stage2 and so on. After a"
            " wrong name the error lists some. Example: stage2,stage3.",
        )
