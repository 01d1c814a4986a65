"""Submits commands to the cluster, and follows them to their ends."""

import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from signal import SIGKILL, SIGTERM, Signals

import ray

from kdzoo.experiments.on_ray import tasks
from kdzoo.experiments.on_ray.cluster import Resources, describe_error
from kdzoo.experiments.on_ray.mailbox import Mailbox
from kdzoo.experiments.on_ray.workspace import Location
from kdzoo.experiments.process_stop import KILL_SECONDS
from zoo import InputError

AGAIN_SECONDS = 10.0  # until a task that has not ended is cancelled again
_execute = ray.remote(tasks.execute)  # once: Ray sends each remote function to its workers


class Cancelled(Exception):
    """The task was stopped before or without a result."""


class Failed(Exception):
    """The task has no result: its message is why, in one line."""


class Task:
    """Submits a command as a task, which Ray executes again on another node if its node dies.

    Args:
        location: where the command works. Its name is the task's, in the dashboard and in its news.
        command: its first word, this Python, is the node's there.
        env: settings that the process has beside those of the node.
        resources: that the task has.
        mailbox: receives its news.
    """

    def __init__(
        self,
        location: Location,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        resources: Resources,
        mailbox: Mailbox,
    ) -> None:
        request = tasks.Request(location, tuple(command[1:]), env, resources)
        self._ref = _execute.options(**resources.options(location.name)).remote(request, mailbox.actor)
        self._cancelled: float | None = None

    def has_ended(self) -> bool:
        """Whether it has ended. One that was stopped is cancelled again and again: Ray may lose a request."""
        ended = bool(ray.wait([self._ref], timeout=0)[0])
        if not ended and self._cancelled and time.monotonic() - self._cancelled > AGAIN_SECONDS:
            self.stop(SIGTERM)
        return ended

    def result(self) -> tasks.Result:
        """Returns the end of its process; waits for it.

        Raises:
            Cancelled: see there.
            Failed: see there.
            InputError: if the node of this process died, and so all tasks.
        """
        try:
            result: tasks.Result = ray.get(self._ref)
        except ray.exceptions.TaskCancelledError:
            raise Cancelled from None
        except ray.exceptions.LocalRayletDiedError:
            raise InputError(
                "Ray must run on this machine as long as the command does. Received: its node here has died; the same"
                " command resumes all that it had begun"
            ) from None
        except Exception as error:  # of Ray, or of the task itself
            raise Failed(describe_error(error)) from None
        return result

    def stop(self, signal: Signals) -> None:
        """Stops it: by SIGTERM its process saves before it ends."""
        self._cancelled = time.monotonic()
        ray.cancel(self._ref, force=signal == SIGKILL)

    @staticmethod
    def end(left: Iterable["Task"]) -> None:
        """Ends tasks and waits for them: by force after a time, or if this is interrupted."""
        with contextlib.suppress(ray.exceptions.RayError):  # if the node of this process died, all tasks have ended
            refs = [task._ref for task in left if not task.has_ended()]
            try:
                for ref in refs:
                    ray.cancel(ref)
                if refs:
                    ray.wait(refs, num_returns=len(refs), timeout=KILL_SECONDS)
            finally:
                for ref in refs:
                    ray.cancel(ref, force=True)
