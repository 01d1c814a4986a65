"""The workers of a search: processes that run trials for a chief, on this machine or others."""

import contextlib
import subprocess
from collections.abc import Sequence
from typing import Protocol

from kdzoo.experiments import machine_share, process_stop, roles


class Workers(Protocol):
    """Workers, wherever they run."""

    def working(self, stop: bool) -> bool:
        """Whether some workers run. Call it repeatedly; once `stop` is true it stops them."""

    def end(self) -> None:
        """Ends the workers that still run, and waits for them."""


class LocalWorkers:
    """Starts worker processes, each with its share of the machine.

    Args:
        command: the command of a worker.
        count: number of workers.
        port: the chief's port on this machine.
        devices: the GPUs to share, as CUDA_VISIBLE_DEVICES names them; None for `machine_share.gpus()`.
    """

    def __init__(self, command: Sequence[str], count: int, port: int, devices: Sequence[str] | None) -> None:
        self._stop_signals = process_stop.StopSignals()
        self._processes: list[subprocess.Popen[bytes]] = []
        for i in range(count):
            env, cores = machine_share.share(i, jobs=count, devices=devices)
            with machine_share.on_cores(cores):
                # A session of its own: Ctrl-C in the terminal reaches the chief, which stops the workers.
                process = subprocess.Popen(command, env=env | roles.worker_environment(i, port), start_new_session=True)
            self._processes.append(process)

    def working(self, stop: bool) -> bool:
        """Whether some workers run. Call it repeatedly; once `stop` is true it stops them."""
        running = [process for process in self._processes if process.poll() is None]
        if stop and running and (signal := self._stop_signals.next()):
            for process in running:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal)
        return bool(running)

    def end(self) -> None:
        """Ends the workers that still run, and waits for them."""
        process_stop.end(self._processes)
