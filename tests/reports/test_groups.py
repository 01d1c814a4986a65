"""Which runs are a group, and in which order groups are."""

import pytest

from kdzoo.reports.groups import group_runs, repeats
from kdzoo.reports.spreads import Spread
from synthetic_records import SHORT, TEACHER, make_record, make_students


def test_runs_that_differ_in_their_seed_are_a_group():
    runs = [*make_students(TEACHER, {2: 8.3, 0: 8.0, 1: 8.6}), *make_students(None, {0: 9.0}), TEACHER]
    del runs[0]["test_ece_last"]
    scratch, distilled, teacher = group_runs(runs)
    assert (distilled.model, str(distilled.schedule), distilled.method, distilled.seeds) == (
        "wrn16-1",
        "60-200",
        "kd",
        (0, 1, 2),
    )
    # mean 24.9 / 3 = 8.3; squares 0.09 + 0.09 + 0 = 0.18; std sqrt(0.18 / 2) = 0.3
    assert distilled.error == Spread(3, pytest.approx(8.3), pytest.approx(0.3))
    assert distilled.spread("test_error_best") == Spread(3, pytest.approx(8.2), pytest.approx(0.3))
    assert distilled.spread("test_ece_last").n == 2
    assert distilled.spread("test_error_val_chosen") is None
    assert (str(distilled.teacher), distilled.of_teacher("test_error_last")) == ("wrn16-2_60-200", 6.0)
    assert (scratch.teachers, scratch.teacher, scratch.error) == ((), None, Spread(1, 9.0, None))
    assert teacher.parameters == 691_674


@pytest.mark.parametrize(
    ("change", "groups"),
    [
        ({"dataset": "npz:elsewhere.npz", "fused_steps": 8}, 1),
        ({"at_mode": "paper"}, 1),  # without AT, its mode does not matter
        ({"teacher_dtype": "bfloat16"}, 1),  # auto means the same here
        ({"temperature": 2.0}, 2),
        ({"kd_until": 0.5}, 2),
        ({"kd_weight": 0.5}, 2),
        ({"batch_size": 64}, 2),
        ({"dtype_policy": "float32"}, 2),
        ({"schedule": "60-200x0.25"}, 2),  # a scaled run is never in a group with an unscaled one
    ],
)
def test_what_belongs_in_a_group(change, groups):
    runs = [make_record(teachers=(TEACHER,)), make_record(seed=1, teachers=(TEACHER,), **change)]
    assert len(group_runs(runs)) == groups


def test_a_number_is_the_same_however_json_writes_it():
    """A call may set kd_until to 1 where a flag sets it to 1.0."""
    assert len(group_runs([make_record(), make_record(seed=1, kd_until=1, lr_decay=0.2, batch_size=128.0)])) == 1


def test_settings_of_teachers_do_not_matter_from_scratch():
    assert len(group_runs([make_record(), make_record(seed=1, temperature=2.0, teacher_input="raw")])) == 1


def test_teachers_differ_by_name_method_seed_and_error():
    other = {**TEACHER, "seed": 1, "test_error_last": 6.4}
    published = {**TEACHER, "name": "folder/wrn16-2_60-200"}
    runs = [make_record(seed=i, teachers=(it,)) for i, it in enumerate((TEACHER, other, published))]
    assert [group.seeds for group in group_runs(runs)] == [(0, 2), (1,)]
    (merged,) = group_runs(runs, merge_teachers=True)
    assert merged.seeds == (0, 1, 2)
    assert merged.of_teacher("test_error_last") == pytest.approx((6.0 + 6.4 + 6.0) / 3)


def test_teachers_of_one_digest_are_one_and_a_path_is_no_data_set():
    renamed = {"name": "m/wrn16-2_20-65", "method": None, "seed": None, "test_error_last": 6.4}
    runs = [make_record(seed=i, teachers=(TEACHER,)) for i in range(3)]
    for run, entry, digest in zip(runs, (TEACHER, renamed, TEACHER), ("d", "d", "e"), strict=True):
        run["teachers"] = [{**entry, "digest": digest}]
        run["dataset"]["name"] = f"npz:/somewhere/{entry['name']}.npz"
    assert [group.seeds for group in group_runs(runs)] == [(0, 1), (2,)]


def test_distilled_external_and_several_teachers_have_no_name():
    distilled = {**TEACHER, "method": "kd", "teachers": [SHORT]}
    external = {"name": "score@host", "method": None, "seed": None, "parameters": None, "test_error_last": 5.0}
    runs = [make_record(teachers=teachers) for teachers in ((distilled,), (external,), (TEACHER, SHORT))]
    groups = group_runs(runs)
    assert len(groups) == 3
    assert [group.teacher for group in groups] == [None] * 3


def test_the_run_started_last_counts():
    runs = [make_record(error=8.0), make_record(error=9.0), make_record(error=7.0)]
    runs[1]["started"] = "2099-01-01T00:00:00+00:00"
    assert group_runs(runs)[0].error.mean == 9.0
    assert repeats(runs) == [runs[0], runs[2]]


def test_natural_order():
    models = ["wrn16-11", "wrn16-2", "dn100-12"]
    runs = [make_record(model, schedule) for model in models for schedule in ("60-200", "10-35")]
    assert [f"{group.model}_{group.schedule}" for group in group_runs(runs)] == [
        *("dn100-12_10-35", "dn100-12_60-200", "wrn16-2_10-35", "wrn16-2_60-200", "wrn16-11_10-35", "wrn16-11_60-200")
    ]
