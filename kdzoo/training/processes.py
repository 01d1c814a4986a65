"""The processes of a data-parallel run on JAX: how they find each other, agree and end.

All of them run the same program. The first one alone writes: checkpoints, event files, weights and the record.
"""

import contextlib
import dataclasses
import os
import pickle
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from kdzoo.runs import identity
from kdzoo.runs.config import RunConfig
from zoo import InputError

# JAX ends all processes once one has sent no heartbeat for so long. It may take as long again to notice.
HEARTBEAT_SECONDS = 50
CONNECT_SECONDS = 110  # for which a process waits for the others when it starts
SHUTDOWN_SECONDS = 30  # and when it ends
# JAX has no class of its own for these errors: they come from Gloo, NCCL and its coordination service.
_LOST = re.compile(r"Gloo|NCCL|coordination|heartbeat|Barrier|barrier|UNAVAILABLE|DEADLINE_EXCEEDED|Socket closed")
_ALONE = re.compile("coordinator_address should be defined|before any JAX calls")
_RULE = (
    "coordinator, num_processes and process_id must be those of one run, all of whose processes start within"
    f" {CONNECT_SECONDS} s, for example 10.0.0.1:1234, 2 and 0."
)
LOST_RULE = (
    "All processes of a run must last until its end; the same command in each of them resumes from the last checkpoint."
)
_Value = TypeVar("_Value")


class ProcessLost(RuntimeError):
    """Another process of the run has ended before it, or cannot be reached. The message is one line."""


@dataclasses.dataclass(frozen=True)
class Processes:
    """The processes of a run.

    Attributes:
        count: of all of them.
        index: of this one, from 0.
        devices: of all of them, if the run is data-parallel; else 0.
    """

    count: int = 1
    index: int = 0
    devices: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this process writes."""
        return self.index == 0

    def describe(self) -> dict[str, int]:
        """What the record of a data-parallel run keeps of them."""
        return {"processes": self.count, "devices": self.devices} if self.devices else {}

    def from_first(self, make: Callable[[], _Value]) -> _Value:
        """What `make` returns in the first process. All processes call this together; only the first calls `make`.

        Raises:
            InputError: if `make` raises it: in all processes.
        """
        if self.count == 1:
            return make()
        content = b""
        if self.is_first:
            try:
                content = pickle.dumps(make())
            except InputError as error:
                content = pickle.dumps(error)
        value = pickle.loads(_broadcast(content))
        if isinstance(value, InputError):
            raise value
        return value

    def gather(self, array: np.ndarray) -> np.ndarray:
        """The arrays of all processes, of one shape: [processes, ...]. All processes call this together."""
        if self.count == 1:
            return array[None]
        from jax.experimental import multihost_utils

        return multihost_utils.process_allgather(array)

    def total(self, counts: Mapping[str, int]) -> dict[str, int]:
        """The sums over all processes. They call this together."""
        return dict(zip(counts, self.gather(np.array([*counts.values()])).sum(axis=0).tolist(), strict=True))

    def check_same(self, ours: Mapping[str, Any]) -> None:
        """Raises InputError unless this process makes the run that the first one makes. They call this together.

        Args:
            ours: identity of the run, see `kdzoo.runs.identity`.
        """
        if changed := identity.changes(self.from_first(lambda: ours), ours):
            raise InputError(
                "All processes of a run must have the same configuration, data and teachers."
                f" Received: {'; '.join(changed)} in process {self.index}"
            )

    def agree_to_stop(self, stopping: Callable[[], bool]) -> Callable[[], bool]:
        """A function that all processes call together, and that returns the same in all of them.

        It returns true one call after `stopping` did in any process: so a step need not wait for the one before it.
        """
        return stopping if self.count == 1 else _Agreement(stopping)


ALONE = Processes()


def is_joined() -> bool:
    """Whether this process is, or tried to become, one of the processes of a run."""
    return "jax" in sys.modules and sys.modules["jax"].distributed.is_initialized()


def here() -> Processes:
    """The processes of which this is one; `ALONE` if there are no others."""
    if not is_joined():
        return ALONE
    import jax

    return Processes(jax.process_count(), jax.process_index())


def join(config: RunConfig, *, coordinator: str = "", num_processes: int = 0, process_id: int = -1) -> Processes:
    """Connects this process with the others of its run. Call it before JAX computes anything.

    Without arguments they are found as `jax.distributed` finds them (Slurm, Open MPI, Kubernetes, Cloud TPU); if it
    finds none, this process is the only one.

    Args:
        config: of the run.
        coordinator: HOST:PORT at which the first process listens; "": found by JAX.
        num_processes: number of processes; 0: found by JAX.
        process_id: number of this one, from 0; -1: found by JAX.

    Raises:
        InputError: if the arguments are impossible.
        ProcessLost: if not all processes are there in time.
    """
    given = bool(coordinator or num_processes or process_id >= 0)
    received = f"coordinator {coordinator or 'none'}, num_processes {num_processes}, process_id {process_id}"
    if given and config.strategy != "data_parallel":
        raise InputError(f"coordinator, num_processes and process_id need strategy=data_parallel. Received: {received}")
    if coordinator and not re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[^\s:\[\]]+):[0-9]{1,5}", coordinator):
        raise InputError(f"coordinator must be HOST:PORT, for example 10.0.0.1:1234. Received: {coordinator}")
    if num_processes and process_id >= num_processes:
        raise InputError(f"process_id must be below num_processes. Received: {received}")
    if config.strategy != "data_parallel":
        return ALONE
    import jax

    if not is_joined():
        try:
            _initialize(coordinator or None, num_processes or None, process_id if process_id >= 0 else None)
        except (ValueError, RuntimeError) as error:
            if given or not _ALONE.search(str(error)):
                kind = ProcessLost if is_joined() else InputError  # the others may be late
                reason = f"{received}: {' '.join(str(error).split())[:300]}"
                raise kind(f"{_RULE} Received: {reason}") from None
    found = dataclasses.replace(here(), devices=jax.device_count())
    if found.devices != found.count * jax.local_device_count():
        raise InputError(
            "All processes of a run must have as many devices each, for example one."
            f" Received: {jax.local_device_count()} of {found.devices} in process {found.index} of {found.count}"
        )
    if found.count > 1:
        _connect_devices()
    return found


def _initialize(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    import jax

    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM from the command
    jax.distributed.initialize(
        coordinator,
        num_processes,
        process_id,
        initialization_timeout=CONNECT_SECONDS,
        heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        shutdown_timeout_seconds=SHUTDOWN_SECONDS,
    )


def _connect_devices() -> None:
    """Runs a first collective operation. Gloo prints a line for each process then, to a stdout that may be JSON."""
    stdout = os.dup(1)
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 1)
        _broadcast(b"connected")
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)


@contextlib.contextmanager
def losses_found(processes: Processes) -> Iterator[None]:
    """Raises ProcessLost in place of the errors of JAX that show that another process is gone."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        if processes.count == 1 or isinstance(error, InputError) or not _LOST.search(str(error)):
            raise
        reason = " ".join(str(error).split())[:200]
        raise ProcessLost(
            f"{LOST_RULE} Received: process {processes.index} of {processes.count} lost another one: {reason}"
        ) from None


class _Agreement:
    """See `Processes.agree_to_stop`."""

    def __init__(self, stopping: Callable[[], bool]):
        import jax

        self._stopping, self._before = stopping, None
        mesh = jax.sharding.Mesh(np.array(jax.devices()), ("device",))
        self._by_device = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("device"))
        copies = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
        self._any = jax.jit(lambda flags: flags.any(), out_shardings=copies)

    def __call__(self) -> bool:
        import jax

        flags = np.full(jax.local_device_count(), self._stopping())
        before, self._before = self._before, self._any(jax.make_array_from_process_local_data(self._by_device, flags))
        return before is not None and bool(before)


def _broadcast(content: bytes) -> bytes:
    """The content of the first process; what the others give does not matter."""
    from jax.experimental import multihost_utils

    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(content))))
    given = np.resize(np.frombuffer(content or b"\0", np.uint8), size)
    return multihost_utils.broadcast_one_to_all(given).tobytes()
