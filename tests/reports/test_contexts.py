"""Which groups are compared with each other."""

from kdzoo.reports.contexts import baseline, contexts
from kdzoo.reports.groups import group_runs
from synthetic_records import SHORT, TEACHER, make_record, make_students


def test_baseline_is_the_fully_trained_teacher_or_scratch():
    runs = [
        *make_students(None, {0: 8.8}),
        *make_students(None, {0: 8.9}, lr=0.05),  # another student
        *make_students(TEACHER, {0: 8.0}),
        *make_students(SHORT, {0: 7.6}),
        *make_students(make_record("wrn16-4", "60-200x0.25"), {0: 7.0}),
        *make_students(make_record("wrn16-4", "20-65"), {0: 7.5}),
    ]
    groups = group_runs(runs)
    found = {}
    for group in groups:
        other = baseline(group, groups)
        found[group.error.mean] = other and other.error.mean
    assert found == {8.8: None, 8.9: None, 8.0: 8.8, 7.6: 8.0, 7.0: 8.8, 7.5: 8.8}


def test_scaled_teachers_are_a_context_of_their_own():
    runs = [
        *make_students(None, {0: 8.8}),
        *make_students(TEACHER, {0: 8.0}),
        *make_students(SHORT, {0: 7.6}),
        *make_students(make_record("wrn16-2", "60-200x0.25"), {0: 7.0}),
    ]
    first, second = contexts(group_runs(runs))
    assert [group.error.mean for _, group in first.by_teacher] == [7.6, 8.0]
    assert [teacher.schedule.epochs == first.full_epochs for teacher, _ in first.by_teacher] == [False, True]
    assert [group.error.mean for group in second.distilled] == [7.0]
    assert [float(share) for share in second.scales] == [1.0, 0.25]
    assert first.scratch is second.scratch
