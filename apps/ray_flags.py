"""Flags of commands that can execute their tasks on a Ray cluster."""

from typing import TYPE_CHECKING

from absl import flags

from apps import flag_values
from kdzoo.ranges import Range
from zoo import InputError

if TYPE_CHECKING:
    from kdzoo.experiments.on_ray.cluster import Resources

flags.disclaim_key_flags()  # the flags are those of the modules that call these functions


def define_flags(task: str) -> None:
    """Defines the flags.

    Args:
        task: what a task is, for the help.
    """
    flags.DEFINE_string(
        "ray",
        "",
        f"Ray cluster that makes each {task} as one of its tasks: HOST:PORT of a running cluster; or auto, the one that"
        " runs on this machine, else one that is started for this command. The current folder and the directories of"
        " the command must be ones that all nodes share. Needs the extra cluster. Example: auto. Empty: no cluster.",
    )
    flag_values.define_number(
        "ray_cpus",
        1,
        f"CPU cores of each {task}, which are also its threads. Only used with --ray.",
        Range(least=1, whole=True, example=4),
    )
    flag_values.define_number(
        "ray_gpus",
        None,
        f"GPUs of each {task}, or a share of one. Only used with --ray. Default: 1 if the cluster has GPUs, else 0.",
        Range(least=0, example=0.5),
    )


def connect() -> "Resources | None":
    """Connects to the cluster of --ray and prints a line about it. Returns what a task needs; None without --ray.

    Call it before `signals.stop_signals`, since Ray sets a handler of its own.

    Raises:
        InputError: if there is no such cluster.
    """
    args = flags.FLAGS
    if not args.ray:
        return None
    if args.ray_gpus is not None and args.ray_gpus > 1 and args.ray_gpus % 1:
        raise InputError(f"ray_gpus must be whole, or a share below 1, for example 0.5. Received: {args.ray_gpus}")
    from kdzoo.experiments.on_ray import cluster

    print(cluster.connect(args.ray), flush=True)
    gpus = args.ray_gpus if args.ray_gpus is not None else float(cluster.has_gpus())
    return cluster.Resources(args.ray_cpus, gpus)
