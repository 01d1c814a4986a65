"""Each process's share of this machine: a GPU and a part of its memory, or some of the cores."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence


def gpus() -> list[str]:
    """Returns the NVIDIA GPUs that processes may use, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name and name != "-1"]
    if not shutil.which("nvidia-smi"):
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    return [str(i) for i, line in enumerate(line for line in listed.splitlines() if line.startswith("GPU "))]


def share(slot: int, *, jobs: int, devices: Sequence[str] | None = None) -> tuple[dict[str, str], set[int] | None]:
    """Returns the environment and the cores of one of several processes.

    Args:
        slot: number of the process, from 0 to jobs - 1.
        jobs: number of processes at a time.
        devices: GPUs to share; None for `gpus()`.

    Returns:
        The environment, which names a GPU and limits its memory if there is one; and the cores, None for all of them.
    """
    devices = gpus() if devices is None else devices
    env, cores = dict(os.environ), None
    if devices:
        sharing = -(-jobs // len(devices))
        env["CUDA_VISIBLE_DEVICES"] = devices[slot % len(devices)]
        env.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.9 / sharing:.3f}")
        env.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    elif hasattr(os, "sched_getaffinity"):
        every = sorted(os.sched_getaffinity(0))
        count = max(1, len(every) // jobs)
        cores = {every[(slot * count + i) % len(every)] for i in range(count)}
    return env, cores


@contextlib.contextmanager
def on_cores(cores: set[int] | None) -> Iterator[None]:
    """Restricts processes started inside to these cores: else the threads of all processes compete for all cores."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
