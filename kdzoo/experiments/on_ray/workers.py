"""The workers of a search as tasks of a Ray cluster."""

import os
import pathlib
from collections.abc import Callable, Sequence

from kdzoo.experiments import process_stop, roles
from kdzoo.experiments.logged_process import LOGS
from kdzoo.experiments.on_ray import cluster
from kdzoo.experiments.on_ray.cluster import Resources
from kdzoo.experiments.on_ray.mailbox import Mailbox
from kdzoo.experiments.on_ray.submission import Cancelled, Failed, Task
from kdzoo.experiments.on_ray.workspace import Location


class RayWorkers:
    """Starts workers. One whose node dies starts again on another, and resumes its trial.

    Args:
        directory: of the search.
        command: of a worker. Its first word, this Python, is the node's there.
        count: number of workers.
        resources: that each worker has.
        log: receives each line that a worker prints, and one if it ends badly.
        port: the chief's port on this machine.

    Raises:
        InputError: if another command on the cluster has the directory.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        command: Sequence[str],
        count: int,
        resources: Resources,
        log: Callable[[str], None],
        port: int,
    ) -> None:
        self._log, self._stop_signals = log, process_stop.StopSignals()
        self._mailbox = Mailbox(os.path.abspath(directory))
        directory.mkdir(parents=True, exist_ok=True)
        self._logs = directory.absolute() / LOGS
        self._tasks = {}
        for i in range(count):
            env = cluster.shared_environment() | roles.worker_environment(i, port, cluster.host())
            location = Location(str(directory.absolute()), f"worker{i}", (), os.getcwd())
            self._tasks[location.name] = Task(location, command, env=env, resources=resources, mailbox=self._mailbox)

    def working(self, stop: bool) -> bool:
        """Whether some workers run. Call it repeatedly; once `stop` is true it stops them."""
        for news in self._mailbox.take():
            if news.line:
                self._log(news.line.rstrip())
        for name in [name for name, task in self._tasks.items() if task.has_ended()]:
            if failure := _failure(self._tasks.pop(name)):
                self._log(f"{name}: {failure} ({self._logs / name}.txt)")
        if stop and self._tasks and (signal := self._stop_signals.next()):
            for task in self._tasks.values():
                task.stop(signal)
        return bool(self._tasks)

    def end(self) -> None:
        """Ends the workers that still run, and waits for them."""
        Task.end(self._tasks.values())


def _failure(task: Task) -> str:
    """Returns why an ended task failed; "" if it did not."""
    try:
        result = task.result()
    except Cancelled:
        return ""
    except Failed as error:
        return str(error)
    return f"exit code {result.code}: {result.output[-1] if result.output else 'no output'}" if result.code else ""
