"""A search over several processes: one chief that chooses trials, and workers that run them."""

import concurrent.futures
import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Sequence

import grpc
from keras_tuner.src import protos
from keras_tuner.src.distribute import oracle_chief

from kdzoo.experiments import search_state, sweep
from kdzoo.experiments.oracles import Unkillable
from zoo import InputError

POLL = 0.5  # seconds between two questions for a trial


class Chief:
    """Serves an oracle to workers, as KerasTuner's chief does, but ends when all is done instead of 20 seconds later.

    Args:
        oracle: of `make_oracle`.
        address: HOST:PORT to listen on; port 0: any that is free.

    Raises:
        InputError: if it cannot listen there.
    """

    def __init__(self, oracle: Unkillable, address: str):
        self._oracle = oracle
        self._servicer = oracle_chief.OracleServicer(oracle)
        # Without sharing the port: else two chiefs would each get some of the requests.
        pool = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        self._server = grpc.server(pool, options=[("grpc.so_reuseport", 0)])
        protos.get_service_grpc().add_OracleServicer_to_server(self._servicer, self._server)
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError:
            self.port = 0
        if not self.port:
            raise InputError(f"The chief's address must be free to listen on. Received: {address}")
        self._server.start()

    def serve(self, *, working: Callable[[], bool] | None = None, stopping: Callable[[], bool]) -> None:
        """Serves until the search is done or stopped, and every worker has been told.

        Args:
            working: whether there are workers; None: as can be told by the trials that are held.
            stopping: whether to stop.
        """
        quiet_since = None
        while quiet_since is None or time.monotonic() - quiet_since < 4 * POLL:
            time.sleep(POLL / 5)
            self._oracle.closed = self._oracle.closed or stopping()
            if working:
                over = not working()
            elif self._oracle.closed:
                ongoing = list(self._oracle.ongoing_trials.values())
                over = not any(self._oracle.is_held(trial.trial_id) for trial in ongoing)
            else:
                over = self._servicer.stop_triggered and not self._oracle.ongoing_trials
            quiet_since = (quiet_since or time.monotonic()) if over else None
        self._server.stop(grace=1).wait()


class Workers:
    """Processes that work for a chief in this one, each with its share of the machine.

    Args:
        command: that makes one.
        count: of them.
        port: the chief's.
        devices: the GPUs that they share: see `sweep.gpus`.
    """

    def __init__(self, command: Sequence[str], count: int, port: int, devices: Sequence[str] | None):
        self._told, self._processes = None, []
        for i in range(count):
            env, cores = sweep.share(i, jobs=count, devices=devices)
            values = (f"worker{i}", "127.0.0.1", str(port))
            with sweep.on_cores(cores):
                # A session of its own: Ctrl-C in the terminal is for the chief, which passes it on.
                process = subprocess.Popen(
                    command, env=env | dict(zip(search_state.ENV, values, strict=True)), start_new_session=True
                )
            self._processes.append(process)

    def working(self, stop: bool) -> bool:
        """Whether some still are; to be called again and again, and tells them to stop once that is so."""
        left = [process for process in self._processes if process.poll() is None]
        if stop and left:
            late = self._told is not None and time.monotonic() - self._told > sweep.KILL_SECONDS
            for process in left:
                if self._told is None or late:
                    with contextlib.suppress(ProcessLookupError):
                        process.send_signal(signal.SIGKILL if late else signal.SIGTERM)
            self._told = self._told or time.monotonic()
        return bool(left)
