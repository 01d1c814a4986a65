"""The mailbox of a command on Ray: an actor beside it, to which its tasks send news."""

import dataclasses
import time
from typing import Any

import ray

from kdzoo.experiments.on_ray import cluster
from zoo import InputError

FREE_SECONDS = 30.0  # until the cluster has noticed the end of an earlier command


@dataclasses.dataclass(frozen=True)
class News:
    """A line that a process printed, or "" as it starts.

    Attributes:
        name: of the task.
        node: address of the node.
        line: the line.
        seconds: from the start of the task.
    """

    name: str
    node: str
    line: str = ""
    seconds: float = 0.0


class Letters:
    """The actor."""

    def __init__(self) -> None:
        self._news: list[News] = []

    def put(self, news: News) -> None:
        """Adds news."""
        self._news.append(news)

    def take(self) -> list[News]:
        """Returns the news since the last call."""
        news, self._news = self._news, []
        return news


_Actor = ray.remote(Letters)


class Mailbox:
    """Starts the mailbox of a directory. Its name keeps other commands on this cluster out of the directory.

    Args:
        directory: that the command works in; an absolute path, or the URI of a store.

    Attributes:
        actor: of `Letters`, on this node.

    Raises:
        InputError: if another command has the directory.
    """

    def __init__(self, directory: str) -> None:
        give_up = time.monotonic() + FREE_SECONDS
        options = {"num_cpus": 0, "max_restarts": -1, "scheduling_strategy": cluster.on_this_node()}
        while True:
            try:
                self.actor: Any = _Actor.options(name=directory, **options).remote()
                return
            except ValueError:  # the name is taken
                if time.monotonic() > give_up:
                    raise InputError(
                        f"workdir must not be in use by another command on this cluster. Received: {directory}"
                    ) from None
                time.sleep(1)

    def take(self) -> list[News]:
        """Returns the news since the last call. Those are lost that came before the actor's process died."""
        try:
            news: list[News] = ray.get(self.actor.take.remote())
            return news
        except ray.exceptions.RayActorError:
            return []
