"""What a task does on a node of the cluster: it starts a command as a process, and stops it when it is cancelled."""

import contextlib
import dataclasses
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import ray

from kdzoo import parent_process
from kdzoo.experiments import process_stop
from kdzoo.experiments.logged_process import LoggedProcess
from kdzoo.experiments.on_ray import cores, workspace
from kdzoo.experiments.on_ray.cluster import Resources
from kdzoo.experiments.on_ray.mailbox import News
from kdzoo.experiments.on_ray.workspace import Location
from kdzoo.runs import progress

POLL_SECONDS = 0.1
TAIL = 20  # lines of output that a task returns


@dataclasses.dataclass(frozen=True)
class Request:
    """A command to execute on a node.

    Attributes:
        location: where it works.
        words: words of the command after the node's own `python`.
        env: settings that the process has beside those of the node.
        resources: that the task has.
    """

    location: Location
    words: tuple[str, ...]
    env: Mapping[str, str]
    resources: Resources


@dataclasses.dataclass(frozen=True)
class Result:
    """The end of a process.

    Attributes:
        code: its exit code.
        output: the last lines of its log.
        record: content of the run's record, if that is in a store.
    """

    code: int
    output: list[str]
    record: bytes | None


def execute(request: Request, mailbox: Any) -> Result:
    """Executes a command on this node. Interrupted, it has the process save and end.

    Args:
        request: the command.
        mailbox: actor of `mailbox.Letters`; receives news as the process starts, and each line of its standard output.

    Raises:
        InputError: if the node lacks the folders or cores, or the store cannot be read or written.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # after a task of this process that was stopped
    node, location, began = ray.util.get_node_ip_address(), request.location, time.monotonic()
    os.environ.update({name: value for name, value in request.env.items() if name.startswith("AWS_")})

    def take(line: str) -> bool:
        mailbox.put.remote(News(location.name, node, line, time.monotonic() - began))
        found = progress.parse(line)
        if found and not found.row:
            return False
        print(line, end="", flush=True)  # for Ray's dashboard
        return True

    with cores.claimed(request.resources.cpus) as own, workspace.opened(location, node) as folders:
        own = None if request.resources.gpus else own
        folders.log.parent.mkdir(parents=True, exist_ok=True)
        with open(folders.log, "a") as log:
            log.write(f"on {node}, {f'cores {sorted(own)}' if own else request.resources}\n")
        command = [sys.executable, *request.words]
        process = LoggedProcess(
            command, log=folders.log, env=_environment(request), cores=own, take=take, cwd=folders.cwd
        )
        with _ended(process):
            mailbox.put.remote(News(location.name, node))
            while not process.has_ended():
                time.sleep(POLL_SECONDS)
                if folders.lost.is_set():
                    process.stop(signal.SIGKILL)
        record = folders.record() if location.store else None
        return Result(process.process.returncode, process.output()[-TAIL:], record)


@contextlib.contextmanager
def _ended(process: LoggedProcess) -> Iterator[None]:
    """Ends the process with the block: if that is interrupted, by SIGTERM, so that it saves."""
    try:
        yield
    except KeyboardInterrupt:  # of `ray.cancel`, which comes again until the task has ended
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    finally:
        process_stop.end([process.process])
        process.has_ended()


def _environment(request: Request) -> dict[str, str]:
    """Returns the environment of the process on this node."""
    env = {**os.environ, **request.env, **parent_process.environment()}
    if "OMP_NUM_THREADS" not in request.env:
        env.pop("OMP_NUM_THREADS", None)  # Ray's own
    if request.resources.gpus:
        env.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.9 * min(1.0, request.resources.gpus):.3f}")
        env.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    else:
        env["CUDA_VISIBLE_DEVICES"] = ""  # the GPUs of the node are for others
    return env
