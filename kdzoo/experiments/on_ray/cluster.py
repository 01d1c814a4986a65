"""The Ray cluster that executes tasks: the connection to it, and what a task needs of it."""

import dataclasses
import logging
import os
import socket
from typing import Any

from zoo import InputError

try:
    import ray
    import ray._private.worker as ray_worker
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ImportError:
    raise InputError(
        "ray needs the extra cluster, for example pip install 'kdzoo[cluster]'. Received: a Python without Ray"
    ) from None

AUTO = "auto"
NAMESPACE = "kdzoo"
CONNECT_SECONDS = 30.0
RETRIES = 20  # of a task whose node or worker died
# Settings of the command that its tasks share, wherever they are executed. They are arguments of the tasks and not part
# of a runtime environment, which Ray's dashboard shows with all secrets.
PREFIXES = ("AWS_", "DNNL_", "JAX_", "KDZOO_", "KERAS_", "NVIDIA_TF32_", "ONEDNN_", "TF_", "TFDS_", "XLA_")
NAMES = ("OMP_NUM_THREADS", "PYTHONPATH")


@dataclasses.dataclass(frozen=True)
class Resources:
    """What a task needs.

    Attributes:
        cpus: cores, at least 1, which are also the threads of its process.
        gpus: GPUs, or a share of one below 1.
    """

    cpus: int = 1
    gpus: float = 0.0

    def __str__(self) -> str:
        return f"{self.cpus} CPU{'s'[: self.cpus > 1]}{f' and {self.gpus:g} GPU' if self.gpus else ''}"

    def options(self, name: str) -> dict[str, Any]:
        """Returns options of a Ray task of this name, which is in the dashboard."""
        return {"name": name, "num_cpus": self.cpus, "num_gpus": self.gpus, "max_retries": RETRIES}


def connect(address: str) -> str:
    """Connects this process to a cluster. Returns a line that describes it.

    Args:
        address: HOST:PORT of a cluster; or auto: the cluster that runs on this machine, else one that is started for
            this process and ends with it.

    Raises:
        InputError: if there is no such cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # of a cluster that is started here
    # Ray prints each death of a node in a hundred lines. Its logs hold them too; the states of runs show the effect.
    ray_worker.print_to_stdstream = lambda *_, **__: None
    rule = "ray must be auto or the HOST:PORT of a running cluster, for example 10.0.0.1:6379. Received"
    if address != AUTO:
        _check_address(address, rule)
    try:
        context = ray.init(
            None if address == AUTO else address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR
        )
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise InputError(f"{rule}: {address}: {reason}") from None
    have = ray.cluster_resources()
    dashboard = f"; dashboard http://{context.dashboard_url}" if context.dashboard_url else ""
    nodes = sum(node["Alive"] for node in ray.nodes())
    return (
        f"Ray at {context.address_info['gcs_address']}: {nodes} node{'s'[: nodes > 1]}, {have.get('CPU', 0):g} CPUs,"
        f" {have.get('GPU', 0):g} GPUs{dashboard}"
    )


def _check_address(address: str, rule: str) -> None:
    """Raises InputError unless something listens at HOST:PORT: Ray itself would try for many minutes."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        raise InputError(f"{rule}: {address}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"{rule}: {address}: {error}") from None


def describe_error(error: Exception) -> str:
    """Returns in one line why a task has no result: the error that it raised, or Ray's own."""
    cause = getattr(error, "cause", None) or error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0]


def has_gpus() -> bool:
    """Whether a node of the cluster has a GPU."""
    return bool(ray.cluster_resources().get("GPU"))


def shared_environment() -> dict[str, str]:
    """Returns the settings in this process's environment that its tasks share."""
    own = {name: value for name, value in os.environ.items() if name.startswith(PREFIXES) or name in NAMES}
    return {name: value for name, value in own.items() if name != "KDZOO_PARENT"}


def on_this_node() -> NodeAffinitySchedulingStrategy:
    """Returns the strategy that places an actor on this process's node, with which it lives and dies."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def host() -> str:
    """Returns the address of this node, at which other nodes find it."""
    return str(ray.util.get_node_ip_address())
