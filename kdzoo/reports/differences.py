"""Differences between groups: paired over common seeds, and from a published mean."""

import dataclasses
import statistics

from kdzoo.reports.groups import Group
from kdzoo.reports.spreads import spread


@dataclasses.dataclass(frozen=True)
class Paired:
    """Difference of two groups' last test errors, in points of percent, over the seeds both have.

    A group of merged teachers has several runs of a seed: their mean counts.

    Attributes:
        seeds: the n common seeds.
        mean: of the n differences; below 0 if the first group is better.
        std: their sample standard deviation; None for one.
        interval: Student's t interval, which holds the true mean difference with 95 %; None for one.
    """

    seeds: tuple[int, ...]
    mean: float
    std: float | None
    interval: tuple[float, float] | None

    @property
    def n(self) -> int:
        """Number of common seeds."""
        return len(self.seeds)


@dataclasses.dataclass(frozen=True)
class Against:
    """A group beside its published error, in percent: `difference` is the group's mean minus the published one."""

    difference: float
    published_mean: float
    published_std: float | None


def paired(group: Group, other: Group, *, confidence: float = 0.95) -> Paired | None:
    """Returns the group's last test error minus the other's, seed by seed; None without a common seed.

    Runs of one seed share initial weights, order and views, so the difference has less spread than the errors have.

    Args:
        group, other: to compare.
        confidence: with which the interval holds the true mean, above 0, below 1.
    """
    errors, others = _by_seed(group), _by_seed(other)
    seeds = tuple(sorted(errors.keys() & others.keys()))
    found = spread(errors[seed] - others[seed] for seed in seeds)
    if found is None:
        return None
    interval = None
    if found.std is not None:
        from scipy.special import stdtrit  # the quantile of Student's t

        half = float(stdtrit(found.n - 1, 0.5 + confidence / 2)) * found.std / found.n**0.5
        interval = (found.mean - half, found.mean + half)
    return Paired(seeds, found.mean, found.std, interval)


def _by_seed(group: Group) -> dict[int, float]:
    """Returns the mean last test error of each seed's runs."""
    errors: dict[int, list[float]] = {}
    for run in group.runs:
        errors.setdefault(run["config"]["seed"], []).append(run["test_error_last"])
    return {seed: statistics.fmean(of_seed) for seed, of_seed in errors.items()}


def against(group: Group, *, mean: float, std: float | None = None) -> Against:
    """Returns the group beside a published mean and sample standard deviation of its error, in percent."""
    return Against(group.error.mean - mean, mean, std)
