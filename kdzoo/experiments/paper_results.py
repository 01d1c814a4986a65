"""Results of experiments beside the paper's: errors, differences, and comparisons between rows."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kdzoo.experiments.paper_runs import Experiment, find_record
from kdzoo.paper import printed
from kdzoo.reports import differences
from kdzoo.reports.groups import Group, group_runs
from kdzoo.runs import identity

COLUMNS = (
    *("table", "line", "student", "teacher", "mode", "method", "schedule_type", "variant", "schedule_scale"),
    *("published_teacher_error", "teacher_error", "published_error", "published_std"),
    *("n", "error", "std", "error_best", "error_val_chosen", "agreement", "difference"),
    *("compared_with", "paired_n", "paired_difference", "paired_low", "paired_high", "runs"),
    *("seeds", "complete", "faults"),
)
# More columns of tables on ImageNet.
IMAGENET_COLUMNS = ("parameters", "published_teacher_top5_error", "teacher_top5_error", "top5_error", "top5_std")


@dataclasses.dataclass(frozen=True)
class Found:
    """What an experiment's runs have come to so far.

    Attributes:
        group: the students that count: the largest group of finished runs that differ only in their seed, the first if
            two are as large. None if none is finished.
        teacher_error: test error of the first teacher in percent; None if it is not finished.
        teacher_top5_error: its top-5 error; None if its record has none.
        complete: whether every run is finished and counts.
        faults: name of a finished run that does not count -> what is wrong with it.
    """

    group: Group | None
    teacher_error: float | None
    teacher_top5_error: float | None
    complete: bool
    faults: Mapping[str, str]


def results(experiments: Sequence[Experiment]) -> list[dict[str, Any]]:
    """Returns the result of each experiment so far, a dict of `columns` each; errors and agreement in percent.

    `seeds` holds those that count; for `complete` and `faults` see `Found`.

    `difference` is our mean minus the published one; None unless the students are those of the printed row: its data
    set, all examples of it, its schedule, unscaled, and its method, in no variant.

    The paired difference, with its 95 % interval, is over the seeds that both have: a variant's students minus the
    plain row's, an early-stopped teacher's minus the fully trained teacher's, a fully trained teacher's minus students
    from scratch.
    """
    found = {id(one): find(one) for one in experiments}
    groups = {key: of_one.group for key, of_one in found.items()}
    return [_result(one, found[id(one)], _reference(one, experiments), groups) for one in experiments]


def columns(row: printed.Row) -> tuple[str, ...]:
    """Returns the names of the results of the table that has this row."""
    return COLUMNS + (IMAGENET_COLUMNS if row.dataset == printed.IMAGENET else ())


def find(one: Experiment) -> Found:
    """Reads the records of an experiment's runs: see `Found`."""
    runs = (*one.teachers, *one.students.values())
    found = {run.name: find_record(run) for run in runs}
    faults = {name: fault for name, (_, fault) in found.items() if fault}
    teacher, _ = found[one.teachers[0].name] if one.teachers else (None, "")
    students = {run.name: record for run in one.students.values() if (record := found[run.name][0])}
    group = max(group_runs(students.values()), key=lambda group: group.n, default=None)
    for name, record in students.items():
        if group and record not in group.runs:
            changed = identity.changes_but_seed(record, group.runs[0]) or ["what only one of their records holds"]
            faults[name] = f"not like the row's other runs: {'; '.join(changed)}"
    complete = not faults and all(record for record, _ in found.values())
    error, top5 = (teacher.get(key) if teacher else None for key in ("test_error_last", "test_top5_error_last"))
    return Found(group, error, top5, complete, faults)


def find_faults(experiments: Iterable[Experiment]) -> dict[str, str]:
    """Returns what is wrong with finished runs, by name: see `Found`."""
    return {name: fault for one in experiments for name, fault in find(one).faults.items()}


def _result(
    one: Experiment, found: Found, reference: Experiment | None, groups: Mapping[int, Group | None]
) -> dict[str, Any]:
    row, group = one.row, found.group
    result = dict.fromkeys(COLUMNS) | {
        name: getattr(row, name) for name in ("table", "student", "teacher", "mode", "method", "schedule_type")
    }
    result |= {"line": one.line, "variant": str(one.variant), "schedule_scale": one.schedule_scale, "n": 0}
    result |= {"published_teacher_error": row.teacher_error, "published_error": row.student_error}
    result |= {"published_std": row.student_std, "runs": " ".join(run.name for run in one.students.values())}
    result |= {"teacher_error": found.teacher_error, "seeds": (), "complete": found.complete}
    if row.dataset == printed.IMAGENET:
        result |= _on_imagenet(row, found)
    result["faults"] = tuple(f"{name}: {fault}" for name, fault in found.faults.items())
    if not group:
        return result
    result |= {"n": group.n, "error": group.error.mean, "std": group.error.std, "seeds": group.seeds}
    for name in ("error_best", "error_val_chosen", "agreement"):
        key = "test_agreement_last" if name == "agreement" else f"test_{name}"
        result[name] = getattr(group.spread(key), "mean", None)
    if row.student_error is not None and _is_printed(one, group):
        result["difference"] = differences.against(group, mean=row.student_error).difference
    return result | _paired(group, reference, groups)


def _on_imagenet(row: printed.Row, found: Found) -> dict[str, Any]:
    """Returns the results of `IMAGENET_COLUMNS`."""
    top5 = found.group.spread("test_top5_error_last") if found.group else None
    return {
        "parameters": row.parameters,
        "published_teacher_top5_error": row.teacher_top5_error,
        "teacher_top5_error": found.teacher_top5_error,
        "top5_error": top5.mean if top5 else None,
        "top5_std": top5.std if top5 else None,
    }


def _is_printed(one: Experiment, group: Group) -> bool:
    """Whether these students are the ones that the paper's row describes, on all of its data."""
    row, dataset = one.row, group.runs[0]["dataset"]
    examples = tuple(dataset.get(f"{split}_examples") for split in ("train", "test"))
    name = group.dataset.removeprefix("tfds:").partition(":")[0]  # without a version
    ours = (name, examples, group.settings["schedule"], group.method, str(one.variant))
    return ours == (row.dataset, printed.EXAMPLES[row.dataset], row.student_schedule, row.method, "")


def _paired(group: Group, reference: Experiment | None, groups: Mapping[int, Group | None]) -> dict[str, Any]:
    """Returns the paired columns of a group; none without a reference or common seeds."""
    other = groups[id(reference)] if reference else None
    paired = differences.paired(group, other) if other else None
    if not reference or not paired:
        return {}
    row = reference.row
    low, high = paired.interval or (None, None)
    return {
        "compared_with": f"{row.teacher} {row.mode}" if row.teacher else "scratch",
        "paired_n": paired.n,
        "paired_difference": paired.mean,
        "paired_low": low,
        "paired_high": high,
    }


def _reference(one: Experiment, experiments: Sequence[Experiment]) -> Experiment | None:
    """Returns the experiment to compare this one with."""

    def find(**fields: Any) -> Experiment | None:
        fields = {"student": one.row.student, "schedule_type": one.row.schedule_type} | fields
        plain = (other for other in experiments if not str(other.variant) and other is not one)
        return next((o for o in plain if all(getattr(o.row, key) == value for key, value in fields.items())), None)

    if not one.row.student or not one.row.teacher:
        return None
    if str(one.variant):
        return find(teacher=one.row.teacher, mode=one.row.mode, method=one.row.method)
    full = printed.FULL[one.row.dataset]
    if one.row.mode != full:
        return find(teacher=one.row.teacher, mode=full, method=one.row.method)
    return find(teacher=None)
