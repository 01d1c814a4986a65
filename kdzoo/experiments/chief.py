"""The chief of a search over several processes: it serves the oracle to the workers."""

import concurrent.futures
import time
from collections.abc import Callable

import grpc
from keras_tuner.src import protos
from keras_tuner.src.distribute import oracle_chief

from kdzoo.experiments.resumable_oracle import ResumableOracle
from kdzoo.serving.address import check_address
from zoo import InputError

POLL = 0.5  # seconds between two requests for a trial


class Chief:
    """Serves an oracle to workers with KerasTuner's service.

    KerasTuner's own chief ends 20 seconds after the search; this one ends with it, and on a stop.

    Args:
        oracle: the oracle, from `make_oracle`.
        address: HOST:PORT to listen on; port 0 stands for any free one.

    Attributes:
        port: the port it listens on.

    Raises:
        InputError: if it cannot listen there.
    """

    def __init__(self, oracle: ResumableOracle, address: str) -> None:
        host, _, port = address.rpartition(":")
        target = check_address(host, int(port))
        self._oracle = oracle
        self._servicer = oracle_chief.OracleServicer(oracle)
        # The port is not shared: else each of two chiefs would receive some of the requests.
        pool = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        self._server = grpc.server(pool, options=[("grpc.so_reuseport", 0)])
        protos.get_service_grpc().add_OracleServicer_to_server(self._servicer, self._server)
        try:
            self.port: int = self._server.add_insecure_port(target)
        except RuntimeError:  # taken in the meantime
            raise InputError(f"The chief's address must be free to listen on. Received: {address}") from None
        self._server.start()

    def serve(self, *, working: Callable[[], bool] | None = None, stopping: Callable[[], bool]) -> None:
        """Serves until the search is finished or stopped, and every worker has received its end.

        Args:
            working: whether workers run; None if only the locks of their trials show it.
            stopping: whether to stop.
        """
        quiet_since = None
        while quiet_since is None or time.monotonic() - quiet_since < 4 * POLL:
            time.sleep(POLL / 5)
            self._oracle.closed = self._oracle.closed or stopping()
            quiet = not working() if working else self._is_quiet()
            quiet_since = (quiet_since or time.monotonic()) if quiet else None
        self._server.stop(grace=1).wait()

    def _is_quiet(self) -> bool:
        if self._oracle.closed:
            ongoing = list(self._oracle.ongoing_trials.values())
            return not any(self._oracle.is_held(trial.trial_id) for trial in ongoing)
        return self._servicer.stop_triggered and not self._oracle.ongoing_trials
