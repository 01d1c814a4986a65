"""Makes many runs, each in a process of its own: the common part of `apps.sweep` and `apps.reproduce`."""

import os
import pathlib
import sys
from collections.abc import Callable, Sequence

from absl import flags

from apps import flag_values, ray_flags, run_config, run_flags, runs_display, signals
from kdzoo import parent_process
from kdzoo.experiments import grid, scheduler, stored_records
from kdzoo.experiments.executors import Executor
from kdzoo.experiments.grid import Run
from zoo import InputError


def define_flags() -> None:
    """Defines the flags of how the runs are executed."""
    flags.DEFINE_integer(
        "jobs",
        1,
        "Number of runs at a time, each with its share of the machine. With --ray the most at a time; default: as many"
        " as the cluster has resources for.",
        lower_bound=1,
    )
    ray_flags.define_flags("run")
    flags.DEFINE_string(
        "store",
        "",
        "Where all nodes of --ray keep the runs: s3://BUCKET/PREFIX, or a folder. Each run then works in scratch of its"
        " node, and the directory of the runs on this machine has their records only. Paths of data must be absolute,"
        " and exist on each node. Empty: all nodes share the directory of the runs.",
    )
    flag_values.define_number(
        "budget_minutes",
        None,
        "Time after which runs under way save a checkpoint and stop, in minutes. No run starts that cannot reach a"
        " checkpoint before. Default: no limit.",
    )
    run_flags.define_checkpoint_flag()
    flags.DEFINE_bool("dry_run", False, "Whether to print the planned runs only, and train nothing.")
    run_flags.define_cache_flags()


def run_all(runs: Sequence[Run], finished: Callable[[Run], None] = lambda run: None) -> int:
    """Makes the unfinished runs as the flags describe, and prints how each ended. Returns the exit code.

    Args:
        runs: all runs; those that are finished already are not made again.
        finished: called once with every finished run, earlier ones among them.
    """
    args = flags.FLAGS
    if args.store and not args.ray:
        raise InputError(f"store is for the nodes of --ray, for example --ray=auto. Received: {args.store}")
    budget = None if args.budget_minutes is None else 60 * args.budget_minutes
    display = runs_display.Display(budget)
    reported: set[str] = set()

    def show(runs: Sequence[Run]) -> None:
        display(runs)
        for run in runs:
            if run.state == "finished" and run.name not in reported:
                reported.add(run.name)
                finished(run)

    os.environ.update(parent_process.environment())
    executor = make_executor(runs)
    with signals.stop_signals() as received:
        scheduler.run_all(
            runs,
            command=command,
            jobs=args.jobs,
            executor=executor,
            budget_seconds=budget,
            checkpoint_seconds=60 * args.checkpoint_minutes,
            show=show,
            stopping=lambda: bool(received),
        )
    return runs_display.summarise(runs)


def make_executor(runs: Sequence[Run]) -> Executor | None:
    """Returns what executes the runs, None for processes on this machine. Connects to the cluster of --ray."""
    resources = ray_flags.connect()
    if not resources:
        return None
    from kdzoo.experiments.on_ray.executor import RayTasks

    jobs = flags.FLAGS.jobs if flags.FLAGS["jobs"].present else None
    root = runs[0].workdir.parent
    if flags.FLAGS.store:
        stored_records.fetch(flags.FLAGS.store, runs)
    return RayTasks(root, resources, jobs=jobs, store=flags.FLAGS.store)


def command(run: Run) -> list[str]:
    """Returns the command that makes this run. With --store its paths are those of the scratch of any node."""
    args = flags.FLAGS
    if args.store:
        run = grid.relocate(run, pathlib.Path(stored_records.SCRATCH))
    cache = [f"--{name}={args[name].value}" for name in ("teacher_cache", "cache_gb") if args[name].present]
    return [
        sys.executable,
        "-m",
        *run_config.command_line(run.config, run.workdir),
        f"--checkpoint_minutes={args.checkpoint_minutes}",
        *(cache if run.config.teachers else ()),
        "--progress=json",
    ]
