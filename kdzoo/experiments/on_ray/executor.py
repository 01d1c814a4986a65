"""Executes runs as tasks of a Ray cluster, which gives the tasks of a node that died to other nodes."""

import os
import pathlib
import time
from collections.abc import Sequence
from signal import Signals

from kdzoo import files
from kdzoo.experiments.executors import Execution
from kdzoo.experiments.grid import Run
from kdzoo.experiments.logged_process import LOGS
from kdzoo.experiments.on_ray import cluster
from kdzoo.experiments.on_ray.cluster import Resources
from kdzoo.experiments.on_ray.mailbox import Mailbox, News
from kdzoo.experiments.on_ray.submission import Cancelled, Failed, Task
from kdzoo.experiments.on_ray.workspace import Location
from kdzoo.runs import progress, records

QUEUED = 100  # most runs that wait for resources: enough for the cluster to see what is needed
VISIBLE_SECONDS = 90.0  # until this node sees what another wrote into a shared folder: NFS keeps names for a minute


class RayRun(Execution):
    """A run as a task.

    Args:
        run: the run.
        task: its task.
        log: path of the log.
    """

    def __init__(self, run: Run, task: Task, log: pathlib.Path) -> None:
        super().__init__(run)
        self.task, self._log = task, log
        self._ended_at: float | None = None
        run.state = "queued"

    @property
    def is_under_way(self) -> bool:
        """Whether the run's state is queued or running."""
        return self.run.state in ("queued", "running")

    def take(self, news: News) -> None:
        """Takes news of the task."""
        if found := progress.parse(news.line):
            self._note(found, news.seconds)
        elif not news.line:
            self.run.state, self.run.detail = "running", f"starting on {news.node}"

    def has_ended(self) -> bool:
        """Whether it has ended; if so, sets the run's state."""
        run = self.run
        if not self.task.has_ended():
            return False
        self._ended_at = self._ended_at or time.monotonic()
        try:
            result = self.task.result()
        except Cancelled:
            run.state, run.detail = ("stopped", run.detail) if run.state == "running" else ("waiting", "")
        except Failed as error:
            run.state, run.detail = "failed", f"{error} ({self._log})"
        else:
            if result.record:
                run.workdir.mkdir(parents=True, exist_ok=True)
                files.write_atomically(run.workdir / records.RECORD, result.record)
            hidden = not result.code and not (run.workdir / records.RECORD).exists()
            if hidden and time.monotonic() - self._ended_at < VISIBLE_SECONDS:
                return False
            self._end(result.code, result.output, log=self._log)
        return True

    def stop(self, signal: Signals) -> None:
        """Stops the task: see `executors.Execution`."""
        self._stop_requested = True
        self.task.stop(signal)


class RayTasks:
    """An executor: tasks of the cluster that this process is connected to.

    Args:
        directory: of the runs.
        resources: that each run has.
        jobs: most runs at a time; None for as many as the cluster has resources for.
        store: URI of a store that holds the runs for all nodes; the directory then has their records only. "": all
            nodes share the directory.

    Raises:
        InputError: if another command on the cluster has the directory.
    """

    def __init__(
        self, directory: pathlib.Path, resources: Resources, *, jobs: int | None = None, store: str = ""
    ) -> None:
        self._resources, self._jobs, self._store = resources, jobs, store
        self._mailbox = Mailbox(store or os.path.abspath(directory))
        self._runs: dict[str, RayRun] = {}

    def refresh(self) -> None:
        """Takes the news of the runs."""
        self._runs = {name: run for name, run in self._runs.items() if run.is_under_way}
        for news in self._mailbox.take():
            if run := self._runs.get(news.name):
                run.take(news)

    def has_room(self) -> bool:
        """Whether it takes another run now."""
        states = [run.run.state for run in self._runs.values() if run.is_under_way]
        return states.count("queued") < QUEUED and (self._jobs is None or len(states) < self._jobs)

    def start(self, run: Run, command: Sequence[str]) -> RayRun:
        """Submits a run: see `executors.Executor`. The first word of the command, this Python, is the node's there."""
        directory = run.workdir.parent.absolute()
        directory.mkdir(parents=True, exist_ok=True)
        location = Location(str(directory), run.name, run.needs, os.getcwd(), self._store)
        env = cluster.shared_environment()
        task = Task(location, command, env=env, resources=self._resources, mailbox=self._mailbox)
        log = pathlib.Path(self._store or directory) / LOGS / f"{run.name}.txt"
        run.detail = f"waits for {self._resources}"
        self._runs[run.name] = RayRun(run, task, log)
        return self._runs[run.name]

    def end(self) -> None:
        """Ends all runs that are still under way, and waits for them."""
        Task.end(run.task for run in self._runs.values() if run.is_under_way)
