"""Grids and directories of many runs for the attacks of tests/attacks.md."""

import dataclasses
import json
import pathlib
import shutil
from typing import Any

from attack_states import DEEP, SMALL, STATES, SWEEP, Shared, copy, state
from conftest import ROOT

_RUN = {"model": "wrn10-1", "schedule": "1-1", "dataset": "digits"}


def _grid_state(name: str, grid: Any) -> None:
    """Defines a grid file. Text is written as it is; an entry of "runs" is written in a grid."""

    def make(_: Shared, tmp: pathlib.Path) -> pathlib.Path:
        content = grid if isinstance(grid, dict) and "runs" in grid else {"workdir": "sweep", "runs": [grid]}
        text = grid if isinstance(grid, str) else json.dumps(content).replace("Infinity", "1e999")
        (tmp / f"{name}.json").write_text(text)
        return tmp / f"{name}.json"

    STATES[name] = make


_RUN_TEXT = json.dumps(_RUN)[1:-1]
for _name, _grid in {
    "grid_one": _RUN,
    "grid_no_runs": {"runs": []},
    "grid_no_lr": _RUN | {"lr": []},
    "grid_method_field": _RUN | {"distillation_method": "dkd"},
    "grid_nested": _RUN | {"seed": [[0, 1]]},
    "grid_seed_object": _RUN | {"seed": {"from": 0, "to": 4}},
    "grid_seed_null": _RUN | {"seed": None},
    "grid_seed_true": _RUN | {"seed": [0, True]},
    "grid_seed_float": _RUN | {"seed": 0.5},
    "grid_lr_text": _RUN | {"lr": "0.1"},
    "grid_batch_float": _RUN | {"batch_size": 12.5},
    "grid_examples_negative": _RUN | {"train_examples": -1},
    "grid_dataset_number": _RUN | {"dataset": 5},
    "grid_schedule_number": _RUN | {"schedule": 65},
    "grid_lr_nan": _RUN | {"lr": [0.1, float("nan")]},
    "grid_temperature_huge": _RUN | {"temperature": float("inf")},
    "grid_twice": f'{{"runs": [{{{_RUN_TEXT}, "seed": [0, 1, 2], "seed": 0}}]}}',
    "grid_runs_twice": f'{{"runs": [{{{_RUN_TEXT}}}], "runs": [{{{_RUN_TEXT}, "seed": 5}}]}}',
    "grid_deep": DEEP,
    "grid_deep_inside": f'{{"runs": [{{{_RUN_TEXT}, "seed": {DEEP}{"]" * len(DEEP)}}}]}}',
    "grid_long_name": _RUN | {"dataset": "npz:x.npz", "dataset_name": ["a" * 300, "b"]},
    "grid_own_teacher": {
        "runs": [{"student": "wrn10-1", "schedule": "1-1", "teacher": "wrn10-1_1-1_kd_wrn10-1_1-1_seed0"}]
    },
    "grid_teacher_list": {"runs": [{"student": "wrn10-1", "schedule": "1-1", "teacher": [[]], "seed": 0}]},
    "grid_workdir_empty": {"workdir": "", "runs": [_RUN]},
    "grid_unknown": _RUN | {"learning_rate": 0.1},
}.items():
    _grid_state(_name, _grid)


@state
def grid_diverges(shared: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """A run that diverges, beside one that does not."""
    common = {**SMALL, "dataset": f"npz:{shared.data}"}
    grid = {"workdir": str(tmp / "sweep"), "common": common, "runs": [{"lr": [0.1, 1e20]}]}
    (tmp / "grid.json").write_text(json.dumps(grid))
    return tmp / "grid.json"


def _sweep(shared: Shared, tmp: pathlib.Path, **changes: Any) -> pathlib.Path:
    root = copy(shared.sweep, tmp / "sweep")
    for path in root.glob("*/record.json"):  # the teachers' paths in the records are those of the copy
        path.write_text(path.read_text().replace(str(shared.sweep), str(root)))
    common = {**SWEEP["common"], "dataset": f"npz:{shared.data}", **changes}
    (tmp / "grid.json").write_text(json.dumps({**SWEEP, "workdir": str(root), "common": common}))
    return tmp / "grid.json"


@state
def sweep_finished(shared: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """The grid of a finished sweep."""
    return _sweep(shared, tmp)


@state
def sweep_other_flag(shared: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """A grid with another weight decay than the finished runs in its directory."""
    return _sweep(shared, tmp, weight_decay=0.001)


@state
def sweep_other_data(shared: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """A grid on other data than the finished runs in its directory."""
    return _sweep(shared, tmp, dataset=f"npz:{STATES['npz_other'](shared, tmp)}")


@state
def sweep_retrained(shared: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """The teacher was trained anew, with another result, after its students had finished."""
    path = _sweep(shared, tmp)
    teacher = tmp / "sweep" / "wrn10-1_1-1_seed0"
    for name in ("record.json", "model.weights.h5"):
        shutil.copy(shared.run_seed1 / name, teacher)
    record = json.loads((teacher / "record.json").read_text())
    record["seed"] = record["config"]["seed"] = 0
    (teacher / "record.json").write_text(json.dumps(record))
    return path


@state
def paper_stale(shared: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """A workdir of `reproduce --table=7 --rows=0 --seeds=1`: the run in it has a learning rate of 0.1."""
    from kdzoo.experiments import paper_rows, paper_runs

    root = tmp / "paper" / shared.data.stem
    common = {"dataset": f"npz:{shared.data}"}
    (one,) = paper_runs.plan(paper_rows.choose(7, "0"), root=root, seeds=[0], common=common)
    (run,) = one.runs(0)
    record = json.loads((shared.run / "record.json").read_text())
    record |= {"name": f"{run.config.model}_{run.config.schedule}", "config": dataclasses.asdict(run.config)}
    record["config"]["augment"] = "crop_flip"
    record["history"] = [record["history"][0] | {"epoch": epoch} for epoch in range(1, 201)]
    run.workdir.mkdir(parents=True)
    (run.workdir / "record.json").write_text(json.dumps(record))
    return tmp / "paper"


def _search_state(name: str, text: str) -> None:
    """Defines a workdir of apps.tune with this description of its search."""

    def make(_: Shared, tmp: pathlib.Path) -> pathlib.Path:
        (tmp / "tune" / "search").mkdir(parents=True)
        (tmp / "tune" / "search" / "search.json").write_text(text)
        return tmp / "tune"

    STATES[name] = make


for _name, _text in {
    "search_deep": DEEP,
    "search_list": "[]",
    "search_half": '{"teachers": ["none"',
    "search_other": '{"teachers": ["none", "wrn16-4"]}',
}.items():
    _search_state(_name, _text)


@state
def demo_stale(_: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """The demo's directory, with a run of another seed and data in the place of its teacher."""
    copy(ROOT / "tests/fixtures/run", tmp / "demo" / "wrn10-2_10-30")
    return tmp / "demo"


@state
def demo_file(_: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """The demo's directory, with a file in the place of a run's."""
    (tmp / "precious").mkdir()
    (tmp / "precious" / "wrn10-2_10-30").write_text("mine")
    return tmp / "precious"
