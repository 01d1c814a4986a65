"""The space of a search: its checks, its size, and the runs of a trial."""

import dataclasses

import pytest

from kdzoo.experiments import trial_configs
from kdzoo.runs.config import RunConfig
from search_examples import SPACE, STUDENT
from zoo import InputError


def test_hyperparameters_become_run_configs():
    values = {"teacher": "wrn10-2", "teacher_schedule": "1-2", "method": "at+kd", "kd_until": 0.5}
    values |= {"temperature": 2.0, "kd_weight": 0.9}
    config = trial_configs.student_config(SPACE, values, "runs/teacher")
    assert (config.model, config.teachers) == ("wrn10-1", ("runs/teacher",))
    assert (config.temperature, config.kd_until) == (2.0, 0.5)
    assert (config.ce_weight, config.kd_weight, config.at_weight) == (0.1, 0.9, 1000.0)
    assert trial_configs.teacher_config(SPACE, values) == dataclasses.replace(STUDENT, model="wrn10-2", schedule="1-2")
    tuned = dataclasses.replace(SPACE, teacher_init="runs/pretrained", teachers=("none", "wrn10-2"))
    assert trial_configs.teacher_config(tuned, values).init == "runs/pretrained"
    assert trial_configs.student_config(tuned, values, "runs/teacher").init == ""
    assert trial_configs.describe(values) == "teacher wrn10-2_1-2, at+kd, T 2, kd weight 0.9, kd until 0.5"
    at = trial_configs.student_config(SPACE, {"teacher": "runs/x", "method": "at", "kd_until": 1.0}, "runs/x")
    assert (at.method, at.ce_weight, at.temperature) == ("at", 1.0, STUDENT.temperature)
    assert trial_configs.student_config(SPACE, {"teacher": "none"}, "none") == STUDENT


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teachers": ()}, "teachers must be one or more"),
        ({"teachers": ("none", "none")}, "each once. Received: none, none"),
        ({"teachers": ("nobody",), "teacher_schedules": ()}, "architecture to train.*Received: nobody"),
        ({"teachers": ("wrn99-1_10-35",), "teacher_schedules": ()}, "A teacher must be none"),
        ({"teachers": ("none",)}, "and for no others. Received: 1-1, 1-2 for none"),
        ({"teacher_schedules": ()}, "teacher_schedules must be set"),
        ({"teacher_schedules": ("2-1",)}, "A schedule must be"),
        (
            {"teacher_init": "runs/a", "teachers": ("none", "wrn10-2", "wrn16-2")},
            "one architecture among the teachers.*Received: runs/a for wrn10-2, wrn16-2",
        ),
        ({"methods": ("none",)}, r"methods must be of kd, at, at\+kd, .*dkd.* Received: none"),
        ({"temperatures": (0.0,)}, "temperature must be at least 0.001"),
        ({"kd_weights": (1.5,)}, "kd_weights must be above 0 and at most 1"),
        ({"kd_untils": (0.0,)}, "kd_until must be above 0"),
        ({"algorithm": "grid"}, "search must be one of"),
        ({"algorithm": "random", "max_trials": 0}, "max_trials must be at least 1.*Received: 0 for random"),
        ({"max_trials": 10}, "for random and bayesian.*Received: 10 for hyperband"),
        ({"student": RunConfig("vgg16", "1-2")}, "for example wrn16-2"),
        ({"student": RunConfig("wrn10-1", "1-2", dtype_policy="auto")}, "the same for all trials"),
        ({"student": RunConfig("wrn10-1", "1-2", teachers=("x",), kd_weight=1.0)}, "student must have no teacher"),
    ],
)
def test_impossible_searches_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(SPACE, **changes).check()
