"""Processor seconds of this process and all that it started, by name."""

import collections

import psutil


def processor_seconds() -> dict[str, float]:
    """Seconds so far, of the living and of those that their parents have waited for, by the name of the process."""
    own = psutil.Process()
    seconds: dict[str, float] = collections.defaultdict(float)
    for process in [own, *own.children(recursive=True)]:
        try:
            times, name = process.cpu_times(), process.name()
        except psutil.NoSuchProcess:
            continue
        seconds["driver" if process == own else name] += times.user + times.system
        seconds["ended"] += times.children_user + times.children_system
    return dict(seconds)


def between(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """The differences, by name."""
    return {name: value - before.get(name, 0.0) for name, value in after.items()}
