"""Distillation methods compared with KD: the same student, recipe, seeds and teacher."""

import dataclasses
from collections.abc import Sequence

from kdzoo.models.names import natural_key
from kdzoo.reports import costs
from kdzoo.reports.contexts import families
from kdzoo.reports.costs import TrainingCost
from kdzoo.reports.groups import Group, Record, teacher_name
from kdzoo.reports.labels import student_label, teacher_label, variant_label
from kdzoo.reports.many_to_one import Difference, many_to_one
from kdzoo.reports.tables import markdown
from kdzoo.runs.config import METHODS, RunConfig

CONTROL = "kd"  # the method that the others are compared with
EXPLAINED = (
    f"Methods with the same student, recipe, seeds and teacher, the best first. A difference from {CONTROL} is the mean"
    " over the n seeds that both have, d. All intervals of a table hold at once with 95 %: they are Dunnett's, for"
    " comparisons with a control, d ± q s sqrt(2 / n), where s is the residual standard deviation of method x seed,"
    " pooled over all methods. Hours and teacher outputs are means of a run; computed are those outputs that no cache"
    " held."
)
_MILLION = 1e6


@dataclasses.dataclass(frozen=True, eq=False)
class Method:
    """A method in a comparison.

    Attributes:
        label: its name, with its arguments that are not defaults and in what else its variants differ.
        group: its runs.
        difference: from the control; None of the control itself, without control and without a common seed.
        cost: of a run.
    """

    label: str
    group: Group
    difference: Difference | None
    cost: TrainingCost


@dataclasses.dataclass(frozen=True, eq=False)
class MethodComparison:
    """Methods for one student and one teacher.

    Attributes:
        teachers: the teacher's entry in a record; several of an ensemble.
        methods: from the lowest error to the highest, by the difference from the control if there is one. Methods
            without a teacher are among them.
        control: the one the others are compared with; None without runs of KD.
        residual_std, degrees, quantile: see `kdzoo.reports.many_to_one.ManyToOne`.
    """

    teachers: tuple[Record, ...]
    methods: tuple[Method, ...]
    control: Method | None
    residual_std: float | None
    degrees: int
    quantile: float | None

    @property
    def student(self) -> Group:
        """A group of the student."""
        return self.methods[0].group

    @property
    def teacher(self) -> str:
        """Architecture and schedule of the teacher."""
        return ", ".join(map(teacher_label, self.teachers))


def compare_methods(groups: Sequence[Group]) -> list[MethodComparison]:
    """Returns a comparison for each student and teacher with two methods or more, besides training from scratch.

    Args:
        groups: from `group_runs`, with teachers of other seeds apart: pairs of runs must have one teacher.
    """
    found = []
    for family in families(groups):
        by_teacher: dict[str, list[Group]] = {}
        for group in family:
            if group.teachers:
                by_teacher.setdefault(group.teacher_key, []).append(group)
        alone = [group for group in family if not group.teachers]
        of_student = [
            _compare([*alone, *distilled], distilled[0].teachers)
            for distilled in by_teacher.values()
            if len({group.method for group in (*alone, *distilled)} - {"none"}) > 1
        ]
        found += sorted(of_student, key=lambda one: natural_key(one.teacher))
    return found


def stopped_early(one: MethodComparison, others: Sequence[MethodComparison]) -> bool | None:
    """Whether another teacher of this one's architecture was trained for longer; None if there is none to compare."""
    names = [teacher_name(each.teachers[0]) for each in (one, *others) if len(each.teachers) == 1]
    own = names[0] if len(one.teachers) == 1 else None
    lengths = {name.schedule.epochs for name in names if name and own and name.architecture == own.architecture}
    return own.schedule.epochs < max(lengths) if own and len(lengths) > 1 else None


def methods_markdown(comparisons: Sequence[MethodComparison]) -> str:
    """Returns a heading, a Markdown table and its explanation for each comparison; empty text without any."""
    parts = ["## Methods", EXPLAINED] if comparisons else []
    for one in comparisons:
        heading = f"### {student_label(one.student).rstrip(',')}, teacher {one.teacher}"
        parts += [heading, _table(one), *filter(None, [_explain(one)])]
    return "\n\n".join(parts)


def _compare(groups: Sequence[Group], teachers: tuple[Record, ...]) -> MethodComparison:
    control = min((group for group in groups if group.method == CONTROL), key=_distance_from_defaults, default=None)
    others = [group for group in groups if group is not control]
    errors = [_by_seed(group) for group in others]
    found = many_to_one(_by_seed(control), errors) if control else many_to_one({}, errors)
    labels = {id(group): variant_label(group, groups) for group in groups}

    def describe(group: Group, difference: Difference | None) -> Method:
        return Method(labels[id(group)], group, difference, costs.of_training(group))

    methods = [describe(group, difference) for group, difference in zip(others, found.differences, strict=True)]
    reference = describe(control, None) if control else None

    def rank(method: Method) -> tuple[bool, float]:
        if method is reference:
            return False, 0.0
        if method.difference:
            return False, method.difference.mean
        return True, method.group.error.mean

    ranked = tuple(sorted([*([reference] if reference else []), *methods], key=rank))
    return MethodComparison(teachers, ranked, reference, found.residual_std, found.degrees, found.quantile)


def _distance_from_defaults(group: Group) -> tuple[bool, bool, bool, int]:
    """Sorts variants of KD: the control is the one without ESKD, with the usual weights and temperature."""
    usual = METHODS[CONTROL].items() <= group.settings.items()
    return group.stops_early, not usual, group.settings["temperature"] != RunConfig.temperature, -group.n


def _by_seed(group: Group) -> dict[int, float]:
    """Returns seed -> last test error."""
    return {run["config"]["seed"]: run["test_error_last"] for run in group.runs}


def _table(one: MethodComparison) -> str:
    """Returns a Markdown table, a row a method, without columns that are empty."""
    head = ["method", "parameters", "error (%)", "n", f"difference from {CONTROL}", "simultaneous 95 % interval"]
    rows = [[*head, "hours", "teacher outputs needed (M)", "computed (M)"]]
    rows += [_cells(method, one) for method in one.methods]
    columns = [column for column in zip(*rows, strict=True) if set(column[1:]) != {"-"}]
    if len(set(columns[1][1:])) == 1:
        del columns[1]  # all students are of one size
    return markdown([list(row) for row in zip(*columns, strict=True)], words=1)


def _cells(method: Method, one: MethodComparison) -> list[str]:
    error, difference, cost = method.group.error, method.difference, method.cost
    mean = f"{error.mean:.2f}" + ("" if error.std is None else f" ± {error.std:.2f}")
    paired, interval = "control" if method is one.control else "-", "-"
    if difference:
        few = f" (n = {difference.n})" if difference.n != method.group.n else ""
        paired = f"{difference.mean:+.2f}{few}"
    if difference and difference.interval:
        interval = "{:+.2f} to {:+.2f}".format(*difference.interval)
    outputs = ["-" if count is None else f"{count / _MILLION:.2f}" for count in (cost.needed, cost.computed)]
    cells = [method.label, f"{method.group.parameters:,}", mean, str(method.group.n), paired, interval]
    return [*cells, f"{cost.hours:.2f}", *outputs]


def _explain(one: MethodComparison) -> str:
    """Returns the basis of a table's intervals, or why it has none."""
    if not one.control:
        return f"There is no run of {CONTROL} with this teacher, so there are no differences."
    if all(method.difference is None for method in one.methods):
        return f"No method has a seed in common with {one.control.label}, so there are no differences."
    if one.residual_std is None or one.quantile is None:
        return "One seed leaves no variance to estimate, so there are no intervals."
    return (
        f"Of these intervals q = {one.quantile:.2f} and s = {one.residual_std:.3f} points,"
        f" with {one.degrees} degrees of freedom."
    )
