"""The command that makes a run: its flags are those of the command, and mean the run's configuration."""

import json

import pytest

from conftest import run_python
from kdzoo.runs.config import METHODS, RunConfig

CODE = """
import json, sys
from absl import flags
from apps import run_config
from kdzoo.runs.config import RunConfig
fields, workdir = json.loads(sys.argv[1])
config = RunConfig(**{**fields, "teachers": tuple(fields.get("teachers", ()))})
command, *words = run_config.command_line(config, workdir)
__import__(command)
rest = flags.FLAGS([command, *words])
print(json.dumps([command, rest[1:], flags.FLAGS.flag_values_dict()], default=str))
"""


def parse(**fields: object) -> tuple[str, dict]:
    """The command of a run, and the flags that it parses."""
    done = run_python("-c", CODE, json.dumps([{"model": "wrn10-1", "schedule": "1-2", **fields}, "runs/a"]))
    assert done.returncode == 0, done.stderr
    command, rest, flags = json.loads(done.stdout)
    assert not rest
    assert flags["workdir"] == "runs/a"
    assert {key: flags[key] for key in fields if key in RunConfig.__dataclass_fields__ and key != "teachers"} == {
        key: value for key, value in fields.items() if key != "teachers"
    }
    return command, flags


def test_a_run_from_scratch_is_one_of_train() -> None:
    command, flags = parse(lr=0.05, dataset="digits", seed=3, nesterov=False)
    assert (command, flags["model"]) == ("apps.train", "wrn10-1")


@pytest.mark.parametrize("changed", [{"ce_weight": 0.5}, {"temperature": 2.0}, {"teacher_input": "raw"}])
def test_a_setting_that_train_lacks_makes_it_one_of_distill(changed: dict) -> None:
    command, flags = parse(**changed)
    assert (command, flags["student"], flags["teacher"]) == ("apps.distill", "wrn10-1", [])
    assert (flags["kd_weight"], flags["at_weight"]) == (0, 0)


@pytest.mark.parametrize("teachers", [["runs,1/wrn10-2_1-2_seed0"], [" runs/a", 'runs/b"'], ["a b/c", "grpc://h:1/n"]])
def test_teachers_may_have_commas_quotes_and_spaces(teachers: list[str]) -> None:
    command, flags = parse(teachers=teachers, **METHODS["kd"])
    assert command == "apps.distill"
    assert [teacher.removeprefix("./") for teacher in flags["teacher"]] == teachers
