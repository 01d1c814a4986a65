"""Schedules runs: a run after its teachers, as many at a time as an executor has room for.

The runs' own directories hold all state. So the same command resumes a sweep that was killed, and several sweeps can
share a grid.
"""

import time
from collections.abc import Callable, Sequence

from kdzoo.experiments import process_stop
from kdzoo.experiments.executors import Execution, Executor
from kdzoo.experiments.grid import Run
from kdzoo.experiments.local_processes import LocalProcesses
from kdzoo.experiments.run_queue import RunQueue


def run_all(
    runs: Sequence[Run],
    *,
    command: Callable[[Run], list[str]],
    jobs: int = 1,
    executor: Executor | None = None,
    budget_seconds: float | None = None,
    checkpoint_seconds: float = 300.0,
    show: Callable[[Sequence[Run]], None] = lambda runs: None,
    stopping: Callable[[], bool] = lambda: False,
    poll_seconds: float = 0.2,
) -> None:
    """Trains the unfinished runs in order, a run after its teachers, and sets the state of each.

    A run that ends badly is marked as failed, its students keep waiting, and the others continue. At the end of the
    budget, or if `stopping` returns true, the running processes receive SIGTERM and save before they end. So they do if
    this function fails or is interrupted: no process outlives it.

    Args:
        runs: the runs, from `grid.expand`.
        command: returns the command of a run. It prints `kdzoo.runs.progress.json_lines`, resumes, and saves on
            SIGTERM.
        jobs: processes at a time, at least 1. Each has a share of the GPUs, or without a GPU of the cores.
        executor: executes the runs; None for `jobs` processes on this machine.
        budget_seconds: None for any time. A run that would not reach a checkpoint in time does not start.
        checkpoint_seconds: longest time between a run's checkpoints.
        show: called with the runs every `poll_seconds`.
        stopping: whether to stop.
        poll_seconds: seconds between two checks of the processes.
    """
    queue = RunQueue(runs, budget_seconds=budget_seconds, checkpoint_seconds=checkpoint_seconds)
    executor = executor or LocalProcesses(jobs)
    running: list[Execution] = []
    stop_signals = process_stop.StopSignals()
    try:
        while True:
            executor.refresh()
            ended = [execution for execution in running if execution.has_ended()]
            for execution in running:
                if execution.first_checkpoint:
                    queue.note_first_checkpoint(execution.run, execution.first_checkpoint)
            running = [execution for execution in running if execution not in ended]
            late = stopping() or queue.is_over_budget()
            for ready in () if late or not executor.has_room() else queue.ready():
                running.append(executor.start(ready, command(ready)))
                if not executor.has_room():
                    break
            if late and running and (signal := stop_signals.next()):
                for execution in running:
                    execution.stop(signal)
            show(runs)
            if not running and (late or not queue.waits_for_others()):
                return
            time.sleep(poll_seconds)
    finally:  # after a failure or an interrupt some still run
        executor.end()
