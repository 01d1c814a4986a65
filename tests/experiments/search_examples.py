"""A small search space for tests."""

from kdzoo.experiments.search_space import Search
from kdzoo.runs.config import RunConfig

STUDENT = RunConfig("wrn10-1", "1-2")
SPACE = Search(
    STUDENT,
    teachers=("none", "wrn10-1", "wrn10-2"),
    teacher_schedules=("1-1", "1-2"),
    methods=("kd", "at", "at+kd"),
    temperatures=(1.0, 4.0),
    kd_weights=(0.5, 0.9),
    kd_untils=(0.5, 1.0),
)
