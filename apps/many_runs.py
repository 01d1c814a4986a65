"""Makes many runs, each in a process of its own: the common part of `apps.sweep` and `apps.reproduce`."""

import os
import sys
from collections.abc import Callable, Sequence

from absl import flags

from apps import flag_values, run_config, run_flags, runs_display, signals
from kdzoo import parent_process
from kdzoo.experiments import local_scheduler
from kdzoo.experiments.grid import Run


def define_flags() -> None:
    """Defines the flags of how the runs are executed."""
    flags.DEFINE_integer("jobs", 1, "Number of runs at a time, each with its share of the machine.", lower_bound=1)
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
    with signals.stop_signals() as received:
        local_scheduler.run_all(
            runs,
            command=command,
            jobs=args.jobs,
            budget_seconds=budget,
            checkpoint_seconds=60 * args.checkpoint_minutes,
            show=show,
            stopping=lambda: bool(received),
        )
    return runs_display.summarise(runs)


def command(run: Run) -> list[str]:
    """Returns the command that makes this run."""
    args = flags.FLAGS
    cache = [f"--{name}={args[name].value}" for name in ("teacher_cache", "cache_gb") if args[name].present]
    return [
        sys.executable,
        "-m",
        *run_config.command_line(run.config, run.workdir),
        f"--checkpoint_minutes={args.checkpoint_minutes}",
        *(cache if run.config.teachers else ()),
        "--progress=json",
    ]
