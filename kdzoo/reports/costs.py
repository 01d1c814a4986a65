"""What a student costs, and its training: figures of records, of which those of earlier versions lack some."""

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kdzoo.reports.groups import Group, Record
from kdzoo.runs.config import RunConfig
from kdzoo.runs.records import LATENCY

FLOAT32 = 4  # bytes
_FIELDS = RunConfig.__dataclass_fields__.keys()
# Column -> heading, unit and format of the table.
SHOWN = {
    "multiply_adds": ("multiply-adds (M)", 1e6, ",.2f"),
    "peak_activation_bytes": ("peak activations (MB)", 1e6, ",.2f"),
    LATENCY: ("latency (ms)", 1, ",.2f"),
}
EXPLAINED = (
    "Costs are for one image: multiply-adds in millions, the peak memory of activations in float32 in 10^6 bytes, and"
    " the median time on the machine of each run."
)


def of_group(group: Group) -> dict[str, float]:
    """Returns the known costs of a group: `multiply_adds`, `peak_activation_bytes`, `latency_ms`.

    Those of the network are the same in each run; latency is the median over the runs.
    """
    found: dict[str, float] = {}
    for key in ("multiply_adds", "peak_activation_bytes"):
        if known := [run[key] for run in group.runs if key in run]:
            found[key] = known[-1]
    if latencies := [run[LATENCY]["median"] for run in group.runs if LATENCY in run]:
        found[LATENCY] = statistics.median(latencies)
    return found


def to_plot(groups: Sequence[Group]) -> dict[str, list[float]]:
    """Returns the costs on the axes of the plot, for each group: `multiply_adds`, `weight_bytes` and `latency_ms`.

    Groups of one network in one precision have one latency, the median over all their runs: their teachers change
    none, and chance must not decide between them.

    Args:
        groups: whose costs are known.
    """
    networks = [(group.model, of_group(group)["multiply_adds"], group.settings.get("dtype_policy")) for group in groups]
    latencies: dict[Any, list[float]] = {}
    for group, network in zip(groups, networks, strict=True):
        latencies.setdefault(network, []).extend(run[LATENCY]["median"] for run in group.runs if LATENCY in run)
    return {
        "multiply_adds": [multiply_adds for _, multiply_adds, _ in networks],
        "weight_bytes": [FLOAT32 * group.parameters for group in groups],
        LATENCY: [statistics.median(latencies[network]) for network in networks],
    }


def is_known(group: Group) -> bool:
    """Whether a group has all costs that the plot shows, on logarithmic axes."""
    found = of_group(group)
    return bool(found.get("multiply_adds") and found.get(LATENCY))


def notes(runs: Mapping[str, Record], groups: Sequence[Group]) -> list[str]:
    """Returns notes on runs that the plot of costs leaves out, and on latencies of several machines.

    Args:
        runs: label -> record.
        groups: of these runs.
    """
    if not any(map(is_known, groups)):
        return []
    found = []
    lacking = {id(run) for group in groups if not is_known(group) for run in group.runs}
    if labels := [label for label, record in runs.items() if id(record) in lacking]:
        found.append(f"not in the plot of costs, since their records lack them: {', '.join(labels)}")
    machines = _machines(run for group in groups for run in group.runs if LATENCY in run)
    if len(machines) > 1:
        found.append(f"latencies are of {len(machines)} machines, so do not compare them: {'; '.join(machines)}")
    return found


@dataclasses.dataclass(frozen=True)
class TrainingCost:
    """What a run of a group costs, as the mean over its runs.

    Attributes:
        hours: of training.
        needed: teacher outputs for an image, of all teachers together, that the training steps take; None if unknown.
        computed: how many of these a teacher computed: a cache holds those of earlier runs; None if unknown.
    """

    hours: float
    needed: float | None
    computed: float | None


def of_training(group: Group) -> TrainingCost:
    """Returns the cost of a group's runs. A run that is resumed in mid-training has no known teacher outputs."""
    counts = [found for run in group.runs if (found := _teacher_outputs(run))]
    needed, computed = (statistics.fmean(count) for count in zip(*counts, strict=True)) if counts else (None, None)
    return TrainingCost(statistics.fmean(run["wall_seconds"] for run in group.runs) / 3600, needed, computed)


def _teacher_outputs(run: Record) -> tuple[int, int] | None:
    """Returns how many teacher outputs a run needed and computed; None if its record does not show it."""
    if not run["teachers"]:
        return 0, 0
    session = (run.get("sessions") or [{}])[-1]
    if session.get("epoch") or session.get("step"):
        return None  # the counts are of the last session alone
    if rows := session.get("teacher_rows"):
        return rows["needed"], rows["asked"]
    if session.get("teacher_cache") != "off":
        return None
    # The teacher is part of the step, which nothing counts.
    config = RunConfig(**{key: value for key, value in run["config"].items() if key in _FIELDS})
    steps = run["dataset"]["train_examples"] // config.labelled_per_batch
    live = len(run["teachers"]) * config.kd_epochs * steps * config.batch_size
    return live, live


def _machines(runs: Iterable[Record]) -> list[str]:
    """Returns what latencies were measured on, each once."""

    def describe(run: Record) -> str:
        hardware: Mapping[str, Any] = run["hardware"]
        devices = ", ".join(hardware.get("accelerators", ())) or hardware.get("processor", "?")
        return f"{devices}, {run[LATENCY]['threads']} threads"

    return list(dict.fromkeys(map(describe, runs)))
