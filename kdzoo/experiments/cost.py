"""The cost of runs: their time on a machine of known speed, and a plan of what is left to run."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from kdzoo.data.augmentation import count_views
from kdzoo.experiments.grid import Run
from kdzoo.experiments.paper_results import find_faults
from kdzoo.experiments.paper_runs import Experiment, epochs, networks
from kdzoo.reports import tables
from kdzoo.runs import records
from kdzoo.runs.config import RunConfig


@dataclasses.dataclass(frozen=True)
class MachineSpeed:
    """How fast a machine trains on a data set.

    Attributes:
        forward_seconds: architecture -> seconds of one image's forward pass. A training step counts as three passes.
        train_examples: training examples of the data set.
        test_examples: test examples of the data set.
    """

    forward_seconds: Mapping[str, float]
    train_examples: int
    test_examples: int

    def seconds(self, run: Run, *, before: int = 0) -> float:
        """Estimates the seconds of a whole run that has the machine to itself.

        Args:
            run: the run.
            before: epochs of earlier runs with the same teachers. A teacher computes each view of an image once.
        """
        student, *teachers = networks(run)
        forward = epochs(run) * (3 * self.train_examples + self.test_examples)
        of = _count_views(run.config)
        views = _distinct(before + run.config.kd_epochs, of) - _distinct(before, of)
        passes = views * self.train_examples + self.test_examples
        return forward * self.forward_seconds[student] + sum(passes * self.forward_seconds[name] for name in teachers)


def _count_views(config: RunConfig) -> int:
    """Number of an image's views; of auto, as data sets of such images resolve it."""
    usual = "inception" if config.image_size else "crop_flip"
    return count_views(usual if config.augment == "auto" else config.augment, config.views)


def _distinct(epochs: int, views: int) -> float:
    """Average number of an image's views that occurred in so many epochs."""
    return views * (1 - (1 - 1 / views) ** epochs)


def estimate(runs: Sequence[Run], machine: MachineSpeed) -> dict[str, float]:
    """Returns the seconds of each run, by name, if they run in this order."""
    seconds: dict[str, float] = {}
    before: dict[tuple[str, ...], int] = {}
    for run in runs:
        teachers = run.config.teachers
        seconds[run.name] = machine.seconds(run, before=before.get(teachers, 0))
        before[teachers] = before.get(teachers, 0) + run.config.kd_epochs
    return seconds


def describe_plan(
    experiments: Sequence[Experiment], runs: Sequence[Run], seconds: Callable[[Run], float] | None
) -> str:
    """Returns as Markdown the runs that are missing, in order, with their rows and their cost.

    Args:
        experiments: all experiments; none if the runs are of no table of the paper.
        runs: all their runs, in order.
        seconds: estimates the seconds of a run; None if nothing is known, then the plan has no times.
    """
    missing = [run for run in runs if not (run.workdir / records.RECORD).exists()]
    faults = find_faults(experiments)
    left_out = "".join(f"\n\n{name} does not count: {fault}" for name, fault in faults.items())
    if not missing:
        return f"All {len(runs)} runs are finished{f', {len(faults)} not as planned' if faults else ''}.{left_out}"
    rows_of: dict[str, dict[str, None]] = {run.name: {} for run in runs}
    for one in experiments:
        for run in (*one.teachers, *one.students.values()):
            rows_of[run.name][f"{one.row.table}.{one.line}"] = None
    rows = [["run", *(["for table.line"] if experiments else []), "epochs", *(["minutes"] if seconds else [])]]
    for run in missing:
        minutes = [f"{seconds(run) / 60:.1f}"] if seconds else []
        lines = [", ".join(rows_of[run.name])] if experiments else []
        rows.append([run.name, *lines, f"{epochs(run)}", *minutes])
    total = f"{len(missing)} of {len(runs)} runs are missing: {sum(map(epochs, missing)):,} epochs"
    if seconds:
        total += f", about {sum(map(seconds, missing)) / 3600:.1f} hours on this machine, as just measured"
    return f"{tables.markdown(rows, words=2 if experiments else 1)}\n\n{total}{left_out}"
