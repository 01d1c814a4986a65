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


RECIPE = """
import json, sys
from absl import flags
name, *words = sys.argv[1:]
command = __import__(f"apps.{name}", fromlist=["run_config"])
flags.FLAGS(["command", "--workdir=runs/a", *words])
config = command.search_from_flags().student if name == "tune" else None
from apps import run_config
print(json.dumps(vars(config or run_config.from_flags(model="resnet18", ce_weight=1.0, kd_weight=0.0, at_weight=0.0))))
"""
IMAGENET = {"batch_size": 256, "lr": 0.1, "lr_decay": 0.1, "momentum": 0.9, "nesterov": False, "weight_decay": 1e-4}
IMAGENET |= {"image_size": 224}


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        (["train", "--model=resnet18"], {}),
        (
            ["train", "--model=resnet18", "--schedule=cos-30", "--batch_size=128"],
            {"schedule": "cos-30", "batch_size": 128},
        ),
        (["distill", "--student=resnet18", "--teacher=wrn16-2_10-35", "--nesterov"], {"nesterov": True}),
        (
            ["tune", "--student=resnet18", "--teachers=none", "--lr=0.1", "--weight_decay=0.0005"],
            {"weight_decay": 5e-4},
        ),
    ],
)
def test_a_recipe_sets_the_flags_that_are_not_given(words: list[str], changed: dict) -> None:
    done = run_python("-c", RECIPE, *words, "--recipe=imagenet")
    assert done.returncode == 0, done.stderr
    expected = {"schedule": "30-90"} | IMAGENET | changed
    assert {key: value for key, value in json.loads(done.stdout).items() if key in expected} == expected


@pytest.mark.parametrize("words", [["train", "--model=wrn10-1"], ["tune", "--student=wrn10-1", "--teachers=none"]])
def test_without_a_recipe_the_schedule_is_required(words: list[str]) -> None:
    done = run_python("-m", f"apps.{words[0]}", *words[1:], "--workdir=runs/a")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert (
        "flag --schedule=None: Flag --schedule must have a value other than None, for example 20-65, unless --recipe"
        in line
    )


def test_a_run_from_scratch_is_one_of_train() -> None:
    command, flags = parse(lr=0.05, dataset="digits", seed=3, nesterov=False)
    assert (command, flags["model"]) == ("apps.train", "wrn10-1")


@pytest.mark.parametrize("changed", [{"ce_weight": 0.5}, {"temperature": 2.0}, {"teacher_input": "raw"}])
def test_a_setting_that_train_lacks_makes_it_one_of_distill(changed: dict) -> None:
    command, flags = parse(**changed)
    assert (command, flags["student"], flags["teacher"]) == ("apps.distill", "wrn10-1", [])
    assert (flags["kd_weight"], flags["at_weight"]) == (0, 0)


ROUND_TRIP = """
from absl import flags
from apps import run_config, train
from kdzoo.runs.config import METHODS, RunConfig
for changes in ({}, {"optimizer": "adamw"}, {"optimizer": "adamw", "lr": 0.001, "weight_decay": 0.05}):
    config = RunConfig("keras:MobileNetV2", "1-2", **changes)
    flags.FLAGS.unparse_flags()
    flags.FLAGS(run_config.command_line(config, "runs/a"))
    assert run_config.from_flags(model=config.model, **METHODS["none"]) == config, changes
"""


def test_the_command_of_another_network_sets_what_its_recipe_has_not() -> None:
    done = run_python("-c", ROUND_TRIP)
    assert done.returncode == 0, done.stderr


def test_students_of_two_recipes_need_one() -> None:
    words = ["--students=wrn10-1,keras:MobileNetV2", "--teachers=none", "--schedule=1-2", "--workdir=runs/a"]
    done = run_python("-m", "apps.tune", *words)
    assert (done.returncode, "have different recipes" in done.stderr.splitlines()[-1]) == (2, True)


@pytest.mark.parametrize("teachers", [["runs,1/wrn10-2_1-2_seed0"], [" runs/a", 'runs/b"'], ["a b/c", "grpc://h:1/n"]])
def test_teachers_may_have_commas_quotes_and_spaces(teachers: list[str]) -> None:
    command, flags = parse(teachers=teachers, **METHODS["kd"])
    assert command == "apps.distill"
    assert [teacher.removeprefix("./") for teacher in flags["teacher"]] == teachers
