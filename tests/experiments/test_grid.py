"""The runs of a grid."""

import dataclasses

import pytest

from conftest import ROOT
from kdzoo.experiments.grid import expand, read_grid
from kdzoo.runs.config import RunConfig
from zoo import InputError


def names(grid: dict) -> list[str]:
    return [run.name for run in expand(grid)]


def test_a_list_stands_for_a_run_with_each_value():
    grid = {
        "workdir": "runs/x",
        "common": {"dataset": "digits", "lr": 0.05},
        "runs": [
            {"model": ["wrn10-2", "wrn16-2"], "schedule": ["10-35", "20-65"], "lr": [0.1, 0.2]},
            {"student": "wrn10-1", "schedule": "60-200", "seed": [0, 1]},
        ],
    }
    runs = expand(grid)
    assert [run.name for run in runs] == [
        *(f"{m}_{s}_lr{lr}_seed0" for m in ("wrn10-2", "wrn16-2") for s in ("10-35", "20-65") for lr in (0.1, 0.2)),
        "wrn10-1_60-200_seed0",
        "wrn10-1_60-200_seed1",
    ]
    assert runs[-1].config.lr == 0.05
    assert runs[-1].config.method == "none"
    assert str(runs[-1].workdir) == "runs/x/wrn10-1_60-200_seed1"


def test_a_boolean_is_named_as_json_writes_it():
    runs = expand({"runs": [{"model": "wrn10-1", "schedule": "1-2", "nesterov": [True, False]}]})
    assert [(run.name, run.config.nesterov) for run in runs] == [
        ("wrn10-1_1-2_nesterovtrue_seed0", True),
        ("wrn10-1_1-2_nesterovfalse_seed0", False),
    ]


def test_a_recipe_sets_the_flags_that_are_not_given():
    grid = {"common": {"recipe": "imagenet"}, "runs": [{"model": "resnet18"}, {"model": "resnet34", "batch_size": 512}]}
    one, other = expand(grid)
    assert (one.name, other.name) == ("resnet18_30-90_seed0", "resnet34_30-90_seed0")
    assert one.config == RunConfig(
        *("resnet18", "30-90"),
        image_size=224,
        views=0,
        batch_size=256,
        lr=0.1,
        lr_decay=0.1,
        momentum=0.9,
        nesterov=False,
        weight_decay=1e-4,
    )
    assert other.config == dataclasses.replace(one.config, model="resnet34", batch_size=512)
    runs = expand({"runs": [{"model": "wrn10-1", "schedule": "1-2", "recipe": ["cifar", "imagenet"]}]})
    assert [run.name for run in runs] == ["wrn10-1_1-2_recipecifar_seed0", "wrn10-1_1-2_recipeimagenet_seed0"]
    assert runs[0].config == RunConfig("wrn10-1", "1-2")


def test_networks_other_than_the_zoo_have_adamw_by_default():
    flags = {"model": ["wrn10-1", "keras:MobileNetV2"], "schedule": "1-2"}
    configs = [run.config for run in expand({"runs": [flags, flags | {"recipe": "cifar", "seed": 1}]})]
    expected = [("sgd", 0.1), ("adamw", 0.001), ("sgd", 0.1), ("sgd", 0.1)]
    assert [(config.optimizer, config.lr) for config in configs] == expected


def test_a_student_waits_for_its_teachers(teacher_run):
    teacher = "wrn10-2_1-2_seed0"
    grid = {
        "runs": [
            {"model": "wrn10-2", "schedule": "1-2"},
            {"student": "wrn10-1", "schedule": "1-2", "teacher": [teacher, f"{teacher},{teacher_run}"]},
            {"student": "wrn10-1", "schedule": "1-2", "teacher": str(teacher_run), "method": ["at", "at+kd"]},
        ]
    }
    _, one, two, *others = expand(grid)
    assert (one.name, one.needs, one.config.teachers) == (
        f"wrn10-1_1-2_kd_{teacher}_seed0",
        (teacher,),
        (f"runs/{teacher}",),
    )
    assert (two.needs, two.config.teachers) == ((teacher,), (f"runs/{teacher}", str(teacher_run)))
    assert [run.config.method for run in others] == ["at", "at+kd"]
    assert others[0].needs == ()


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ([], "A grid must be"),
        ({"runs": [{"model": "wrn10-1"}]}, "A grid must be"),
        ({"runs": [{"model": "wrn10-1", "student": "wrn10-1", "schedule": "1-2"}]}, "A grid must be"),
        ({"runs": []}, "A grid must be"),
        ({"runs": [{"model": "wrn10-1", "schedule": "1-2", "sed": 1}]}, "flags must be those of apps.train .*sed"),
        (
            {"runs": [{"model": "wrn10-1", "schedule": "1-2", "seed": []}]},
            r'at least one value. Received: {"seed": \[\]}',
        ),
        ({"common": {"seed": []}, "runs": [{"model": "wrn10-1", "schedule": "1-2"}]}, "at least one value"),
        ({"runs": [{"model": "wrn10-1", "schedule": "1-2", "seed": 0.5}]}, "seed must be a whole number"),
        ({"runs": [{"model": "wrn10-1", "schedule": "1-2", "seed": [0, True]}]}, "seed must be a whole number"),
        (
            {"runs": [{"model": "wrn10-1", "schedule": "1-2", "train_examples": "256"}]},
            "train_examples must be a whole",
        ),
        ({"runs": [{"model": "wrn10-1", "schedule": "1-2", "train_examples": -5}]}, "at least 0, .*Received: -5"),
        ({"runs": [{"model": "wrn10-1", "schedule": "1-2", "batch_size": 12.5}]}, "batch_size must be a whole number"),
        ({"runs": [{"model": "wrn10-1", "schedule": "1-2", "lr": {"a": 1}}]}, "lr must be above 0"),
        ({"runs": [{"model": "wrn10-1", "schedule": "1-2", "nesterov": 1}]}, "nesterov must be true or false"),
        ({"runs": [{"model": "wrn10-1", "schedule": "1-2", "nesterov": "true"}]}, "nesterov must be true or false"),
        (
            {"runs": [{"model": "wrn10-1", "recipe": "imagenet1k"}]},
            "recipe must be one of cifar, imagenet, adamw. Received",
        ),
        ({"runs": [{"model": "wrn10-1", "recipe": {}}]}, "recipe must be a text"),
        ({"runs": [{"model": "wrn10-1", "recipe": "cifar"}]}, "A grid must be"),
        ({"runs": [{"model": "wrn10-1", "schedule": ["1-2", None]}]}, "schedule must be a text"),
        ({"runs": [{"model": ["wrn10-1", 3], "schedule": "1-2"}]}, "model must be a text"),
        ({"runs": [{"student": "wrn10-1", "schedule": "1-2", "teacher": 3}]}, "teacher must be a text"),
        ({"runs": [{"student": "wrn10-1", "schedule": "1-2", "method": [["kd"]]}]}, "method must be a text"),
        (
            {
                "runs": [
                    {"model": "wrn10-1", "schedule": "1-2"},
                    {"student": "wrn10-1", "schedule": "1-2", "teacher": "wrn10-1_1-2_seed0,wrn10-1_1-2_seed0"},
                ]
            },
            "must differ. Received: runs/wrn10-1_1-2_seed0 more than once",
        ),
        (
            {"runs": [{"model": "wrn10-1", "schedule": "1-2", "dataset": ["npz:" + "x" * 300, "digits"]}]},
            "The name of a run, and of its log, must be of 1 to 255 bytes",
        ),
        ({"workdir": "", "runs": [{"model": "wrn10-1", "schedule": "1-2"}]}, "workdir must be the path of a directory"),
        ({"workdir": "a\0b", "runs": [{"model": "wrn10-1", "schedule": "1-2"}]}, "workdir must be the path of a"),
        ({"runs": [3]}, "A grid must be"),
        ({"jobs": 2, "runs": []}, "A grid must be"),
        ({"common": 3, "runs": []}, "A grid must be"),
        ({"runs": [{"model": "vgg16", "schedule": "1-2"}]}, "for example wrn16-2"),
        ({"runs": [{"model": "wrn11-1", "schedule": "1-2"}]}, "depth must be 6N"),
        ({"runs": [{"model": "resnet35", "schedule": "1-2"}]}, "A ResNet must be one of resnet18"),
        ({"runs": [{"model": "wrn10-1", "schedule": "1-2", "dataset": "cifar11"}]}, "dataset must be one of cifar10"),
        (
            {"runs": [{"model": "wrn10-1", "schedule": "1-2", "dataset_name": "cifar100"}]},
            "dataset_name must name what an npz:FILE or folder:DIR holds",
        ),
        ({"runs": [{"model": "wrn10-1", "schedule": "2-1"}]}, "A schedule must be"),
        ({"runs": [{"model": "wrn10-1", "schedule": "1-2", "seed": "0"}]}, "seed must be a whole number"),
        ({"runs": [{"student": "wrn10-1", "schedule": "1-2", "method": "kd"}]}, "none without a teacher"),
        (
            {"runs": [{"student": "wrn10-1", "schedule": "1-2", "teacher": "nobody"}]},
            "A teacher must be an earlier run",
        ),
        ({"runs": [{"model": "wrn10-1", "schedule": "1-2"}] * 2}, "two wrn10-1_1-2_seed0"),
    ],
)
def test_impossible_grids_are_refused(grid, message):
    with pytest.raises(InputError, match=message):
        expand(grid)


@pytest.mark.parametrize("content", ["", "[" * 10_000, '{"runs": NaN}', '{"runs": [], "runs": []}', "[]", "\0"])
def test_what_is_no_grid_is_refused(tmp_path, content):
    (tmp_path / "grid.json").write_text(content)
    with pytest.raises(InputError, match=r"A grid must be .* Received: .*/grid\.json: "):
        read_grid(tmp_path / "grid.json")


@pytest.mark.parametrize("path", sorted(ROOT.glob("apps/grids/*.json")), ids=lambda path: path.stem)
def test_the_packaged_grids_are_valid(path):
    assert read_grid(path)
