"""Results of experiments beside the paper's: errors, differences, and comparisons between rows."""

from collections.abc import Mapping, Sequence
from typing import Any

from kdzoo.experiments.paper_runs import Experiment, is_finished
from kdzoo.reports import differences
from kdzoo.reports.groups import Group, group_runs
from kdzoo.runs import records

FULL = "60/200"  # Mode of a fully trained teacher
COLUMNS = (
    *("table", "line", "student", "teacher", "mode", "method", "schedule_type", "variant", "schedule_scale"),
    *("published_teacher_error", "teacher_error", "published_error", "published_std"),
    *("n", "error", "std", "error_best", "error_val_chosen", "agreement", "difference"),
    *("compared_with", "paired_n", "paired_difference", "paired_low", "paired_high", "runs"),
)


def results(experiments: Sequence[Experiment]) -> list[dict[str, Any]]:
    """Returns the result of each experiment so far, a dict of `COLUMNS` each; errors and agreement in percent.

    `difference` is our mean minus the published one; None on scaled schedules, for which the paper has no errors. The
    paired difference, with its 95 % interval, is over the seeds that both have: a variant's students minus the plain
    row's, an early-stopped teacher's minus the fully trained teacher's, a fully trained teacher's minus students from
    scratch.
    """
    groups = {id(one): _group(one) for one in experiments}
    return [_result(one, _reference(one, experiments), groups) for one in experiments]


def _result(one: Experiment, reference: Experiment | None, groups: Mapping[int, Group | None]) -> dict[str, Any]:
    row, group = one.row, groups[id(one)]
    result = dict.fromkeys(COLUMNS) | {
        name: getattr(row, name) for name in ("table", "student", "teacher", "mode", "method", "schedule_type")
    }
    result |= {"line": one.line, "variant": str(one.variant), "schedule_scale": one.schedule_scale, "n": 0}
    result |= {"published_teacher_error": row.teacher_error, "published_error": row.student_error}
    result |= {"published_std": row.student_std, "runs": " ".join(run.name for run in one.students.values())}
    if one.teachers and is_finished(one.teachers[0]):
        result["teacher_error"] = records.read(one.teachers[0].workdir)["test_error_last"]
    if not group:
        return result
    result |= {"n": group.n, "error": group.error.mean, "std": group.error.std}
    for name in ("error_best", "error_val_chosen", "agreement"):
        key = "test_agreement_last" if name == "agreement" else f"test_{name}"
        result[name] = getattr(group.spread(key), "mean", None)
    if row.student_error is not None and not result["schedule_scale"]:
        result["difference"] = differences.against(group, mean=row.student_error).difference
    return result | _paired(group, reference, groups)


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
    if one.row.mode != FULL:
        return find(teacher=one.row.teacher, mode=FULL, method=one.row.method)
    return find(teacher=None)


def _group(one: Experiment) -> Group | None:
    finished = [records.read(run.workdir) for run in one.students.values() if is_finished(run)]
    groups = group_runs(finished)
    return groups[0] if groups else None
