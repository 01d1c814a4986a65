"""Grids of apps.sweep with one thing wrong: `read_grid`, and the command of each run."""

import csv
import itertools
import json
import os
import pathlib
import shutil
from typing import Any

import pytest
from hypothesis import strategies as st

import fuzz_formats as formats
from apps import run_config
from conftest import ROOT
from fuzz_cases import Case, Tally, changed_json, fuzz, refusal
from kdzoo.experiments import grid

REMOTE = ("grpc://", "https://", "http://", "hf://")
PUBLISHED = {
    path.parent.relative_to(ROOT / "saved_models").as_posix() for path in ROOT.glob("saved_models/**/card.json")
}
TRAINED = "trained/wrn10-1"  # a finished run in the current directory
ENSEMBLE = ("wrn16-2_cos-16_nesterovfalse_seed0", "wrn22-2_5-16_nesterovtrue_seed0")
EVERY: dict[str, Any] = {
    "workdir": "runs/every",
    "common": {"dataset": "npz:data.npz", "dataset_name": "cifar10", "batch_size": 64, "val_examples": 100, "lr": 0.05},
    "runs": [
        {"model": "dn40-12", "schedule": "10-35x0.25", "momentum": 0.5, "fused_steps": 8, "augment": ["none", "crop"]},
        {"model": ["wrn16-2", "wrn22-2"], "schedule": ["5-16", "cos-16"], "lr_decay": 0.1, "nesterov": [True, False]},
        {"model": "wrn10-1", "schedule": "2-3", "optimizer": ["adamw", "lion"], "warmup_epochs": 0.5, "clip_norm": 1},
        {"model": "wrn10-2", "schedule": "2-3", "ema_momentum": 0.9, "mixup_alpha": [0, 0.2], "cutmix_alpha": 1},
        {"model": "wrn10-3", "schedule": "2-3", "label_smoothing": 0.1, "freeze": "^stem", "backbone_lr": 0.01},
        {
            "student": "wrn16-1",
            "schedule": "10-35",
            "teacher": [
                "wrn16-2_5-16_nesterovtrue_seed0",
                ",".join(ENSEMBLE),
                "wrn16-2_10-35",
                TRAINED,
            ],
            "method": ["kd", "at+kd"],
            "seed": [0, 1],
            "kd_until": [1, 0.5],
            "temperature": 2,
            "at_mode": "paper",
        },
        {
            "student": "resnet18",
            "recipe": ["imagenet", "cifar"],
            "schedule": "30",
            "teacher": TRAINED,
            "ce_weight": 0.5,
            "kd_weight": 2.5,
            "at_weight": 1,
            "unlabelled": "folder:photos",
            "unlabelled_share": 0.25,
        },
        {
            "student": "wrn16-1",
            "schedule": "10-35",
            "teacher": TRAINED,
            "method": ["crd", "dkd", "semckd"],
            "method_weight": [0.5, 2],
            "seed": 2,
        },
        {"student": "wrn16-1", "schedule": "10-35", "method": "tfkd"},
        {"student": "wrn10-2", "schedule": "2-3", "teacher": TRAINED, "method": "dkd", "method_args": "beta=2"},
        {"model": "resnet34", "recipe": "imagenet", "batch_size": 512, "keep_epochs": "3,80"},
        {
            "student": "wrn10-1",
            "schedule": "2-3",
            "teacher_dtype": "bfloat16",
            "teacher_input": "standardised",
            "teacher_mean": "0.5,0.5,0.5",
            "teacher_std": "0.25,0.25,0.25",
            "teacher_layout": "nchw",
            "strategy": "none",
        },
    ],
}
BASES = [EVERY, *(json.loads(path.read_text()) for path in sorted((ROOT / "apps/grids").glob("*.json")))]
FLAGS = {"model", "schedule", *formats.WHOLE, *formats.REAL, *formats.ONE_OF, *formats.BOOLEAN, *formats.ANY_TEXT}
FLAGS |= {"student", "teacher", "method", "recipe"}
# What apps.train has no flag for.
OF_TEACHERS = {"ce_weight", "kd_weight", "at_weight", "temperature", "kd_until", "at_mode"}
OF_TEACHERS |= {"method", "method_args", "method_weight"}
OF_TEACHERS |= {flag for flag in FLAGS if flag.startswith("teacher_")}
EXTRA = [TRAINED, "wrn16-2_10-35", [0, 0], [1, 1.0], ["wrn16-2", "wrn16-2"], [[0, 1]], "grpc://host:1/name", "dn40-12"]
EXTRA += ["npz:x.npz", "cifar11", "a,b", "wrn16-2_10-35,", "at+kd", "resnet35", "10-35x0.5", "runs,1", ["kd", "at"]]
EXTRA += ["pkt", "mode=paper"]
NAMED = ("kd_until", "method_args")


class Wrong(Exception):
    """What is wrong with a grid."""


def expect(wrong: str | None) -> None:
    if wrong:
        raise Wrong(wrong)


def find_wrong(content: bytes) -> tuple[str | None, list[str], bool]:
    """Returns what is wrong with a grid, the names of its runs, and whether a teacher shows only in the run."""
    try:
        value = formats.read(content)
        return None, *_name_runs(value)
    except (formats.NoJson, Wrong) as error:
        return str(error), [], False


def _name_runs(value: dict[str, Any]) -> tuple[list[str], bool]:
    expect("a key" if value.keys() - {"workdir", "common", "runs"} else None)
    expect(formats.wrong_directory(value.get("workdir", "runs")))
    common, entries = value.get("common", {}), value.get("runs")
    expect(None if isinstance(common, dict) and isinstance(entries, list) and entries else "common or runs")
    names: list[str] = []
    remote = False
    for entry in entries:
        expect(None if isinstance(entry, dict) else "an entry")
        flags = {**entry, **{flag: common[flag] for flag in common if flag not in entry}}
        lists = {flag: item if isinstance(item, list) else [item] for flag, item in flags.items()}
        expect(None if all(lists.values()) else "an empty list")
        varied = [flag for flag, items in lists.items() if len(items) > 1 or flag in NAMED]
        for items in itertools.product(*lists.values()):
            name, is_remote = _name_run(dict(zip(lists, items, strict=True)), varied, names)
            expect(f"twice {name}" if name in names else None)
            names.append(name)
            remote = remote or is_remote
    return names, remote


def _name_run(flags: dict[str, Any], varied: list[str], earlier: list[str]) -> tuple[str, bool]:
    expect("a flag" if flags.keys() - FLAGS else None)
    expect(None if ("model" in flags) != ("student" in flags) else "model and student")
    model = flags.get("model", flags.get("student"))
    expect(formats.wrong_architecture(model))
    recipe = flags.get("recipe", "cifar")
    expect(None if isinstance(recipe, str) and recipe in formats.RECIPES else "recipe")
    flags.setdefault("schedule", formats.RECIPES[recipe])
    expect(formats.wrong_schedule(flags["schedule"]))
    for flag, setting in flags.items():
        if flag not in ("model", "student", "schedule", "teacher", "method", "recipe"):
            expect(formats.wrong_setting(flag, setting))
    expect(formats.wrong_dataset(flags))
    expect(formats.wrong_statistics(flags))
    expect(None if isinstance(flags.get("teacher", ""), str) else "teacher")
    teachers = [teacher for teacher in flags.get("teacher", "").split(",") if teacher]
    remote = [teacher for teacher in teachers if teacher.startswith(REMOTE)]
    expect("a teacher" if set(teachers) - {*earlier, *PUBLISHED, TRAINED, *remote} else None)
    expect("a teacher twice" if len(set(teachers)) < len(teachers) else None)
    method = flags.get("method", "kd" if teachers else "none")
    expect(None if isinstance(method, str) else "method")
    own = method in formats.OWN
    right = own or (method in formats.METHODS and (method == "none") == (not teachers))
    expect(None if right else f"method {method!r:.50}")
    expect(f"arguments of {method}" if flags.get("method_args") and not own else None)
    weights = formats.weights_of(method, flags)
    expect(formats.wrong_weights(*weights, method=method, teachers=len(teachers)))
    expect(formats.wrong_unlabelled(flags, *weights[1:], teachers=len(teachers)))
    expect(formats.wrong_training(flags, flags["schedule"]))
    expect("kd_until" if flags.get("kd_until", 1) != 1 and not teachers else None)
    parts = [f"{model}_{flags['schedule']}", *([method] if teachers or own else [])]
    parts += [pathlib.PurePath(teacher).name for teacher in teachers]
    others = [flag for flag in varied if flag not in ("model", "student", "schedule", "teacher", "method", "seed")]
    parts += [f"{flag}{_text(flags[flag])}".replace("/", "-") for flag in others if flag in flags]
    name = "_".join([*parts, f"seed{flags.get('seed', 0)}"])
    expect(f"a name of {len(name)}" if len(f"{name}.txt".encode()) > 255 or not name.isprintable() else None)
    return name, bool(remote or flags.get("method_args"))  # each method has its own arguments


def _text(setting: Any) -> str:
    return json.dumps(setting) if isinstance(setting, bool) else str(setting)


def check_command(run: grid.Run) -> None:
    """The command of a run has only flags of its command, and its teachers are those of the run."""
    command, *flags = run_config.command_line(run.config, run.workdir)
    given = dict(flag.removeprefix("--").split("=", 1) for flag in flags)
    known = FLAGS - {"recipe"} - ({"model"} if command == "apps.distill" else {"student", "teacher", *OF_TEACHERS})
    assert command in ("apps.train", "apps.distill")
    assert given.keys() <= known | {"workdir"}, f"{command} has no flag {sorted(given.keys() - known)}"
    words = next(csv.reader([given["teacher"]], strict=True)) if "teacher" in given else []  # as absl reads a list
    teachers = [os.path.normpath(word.strip()) for word in words]
    assert teachers == list(map(os.path.normpath, run.config.teachers)), f"{run.config.teachers} become {words}"


def judge(case: Case, tally: Tally) -> None:
    path = pathlib.Path("grid.json")
    path.write_bytes(case.content)
    wrong, names, remote = find_wrong(case.content)
    try:
        refused, runs = refusal(lambda: grid.read_grid(path))
        for run in runs or ():
            check_command(run)
    except AssertionError as error:
        tally.count(case, case.what, "an error", "an error")
        return tally.fault("an error", case.what, str(error)[-600:])
    tally.count(case, case.what, refused, wrong, later=remote and not wrong)
    if refused is None and not wrong and [run.name for run in runs] != names:
        tally.fault("other runs", case.what, f"{[run.name for run in runs]} and not {names}")


@pytest.mark.slow
def test_grids(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "tests/fixtures/run", tmp_path / TRAINED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KDZOO_HOME", raising=False)
    for base in BASES:
        assert find_wrong(json.dumps(base).encode())[0] is None
    keys = sorted(FLAGS)
    cases = st.sampled_from(BASES).flatmap(lambda base: changed_json(base, EXTRA, keys))
    fuzz("grids", cases, judge)
