"""The role of a process in a search: KerasTuner's environment variables make it the chief or a worker of several."""

import os

from kdzoo.ranges import Range
from zoo import InputError

VARIABLES = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")
PORT = Range(least=1, most=65535, whole=True, example=8000)


def role() -> str:
    """Returns chief or worker, or single without KerasTuner's environment variables.

    Raises:
        InputError: if only some of them are set, or the port is none.
    """
    present = [name for name in VARIABLES if os.environ.get(name)]
    if not present:
        return "single"
    if len(present) < len(VARIABLES):
        raise InputError(f"{', '.join(VARIABLES)} must be set together, or not at all. Received: {', '.join(present)}")
    PORT.parse(VARIABLES[2], os.environ[VARIABLES[2]])
    return "chief" if "chief" in os.environ[VARIABLES[0]] else "worker"


def chief_address() -> str:
    """Returns the chief's HOST:PORT from the environment variables."""
    return ":".join(os.environ[name] for name in VARIABLES[1:])


def worker_environment(worker: int, port: int, host: str = "127.0.0.1") -> dict[str, str]:
    """Returns the environment variables of a worker whose chief listens at this port of this host."""
    return dict(zip(VARIABLES, (f"worker{worker}", host, str(port)), strict=True))
