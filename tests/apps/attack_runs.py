"""Runs for the attacks of tests/attacks.md, whole and damaged."""

import json
import os
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

from attack_states import DEEP, STATES, Shared, copy, flip, keep, state


@state
def run(shared: Shared, tmp: pathlib.Path) -> pathlib.Path:
    return copy(shared.run, tmp / "run")


@state
def run_seed1(shared: Shared, tmp: pathlib.Path) -> pathlib.Path:
    return copy(shared.run_seed1, tmp / "run_seed1")


@state
def run_copy(shared: Shared, tmp: pathlib.Path) -> pathlib.Path:
    return copy(shared.run, tmp / "run_copy")


@state
def run_link(shared: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """A second name of the directory of `run`."""
    (tmp / "link").symlink_to("run")
    return tmp / "link"


@state
def run_of_bytes(shared: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """A directory above a run, which has a name that is no UTF-8."""
    copy(shared.run, pathlib.Path(os.fsdecode(os.fsencode(tmp) + b"/runs/\xff/run")))
    return tmp / "runs"


@state
def run_of_dollar(shared: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """Two runs on a data set whose name a plot cannot show as it is."""
    for seed, source in enumerate((shared.run, shared.run_seed1)):
        workdir = copy(source, tmp / "runs" / f"seed{seed}")
        record = json.loads((workdir / "record.json").read_text())
        record["dataset"]["name"] = "npz:cost_$5_{x^$_|.npz"
        (workdir / "record.json").write_text(json.dumps(record))
    return tmp / "runs"


@state
def unfinished(shared: Shared, tmp: pathlib.Path) -> pathlib.Path:
    return copy(shared.unfinished, tmp / "unfinished")


@state
def unfinished_flipped(shared: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """Every checkpoint is damaged by one bit."""
    workdir = unfinished(shared, tmp)
    for path in (pathlib.Path(workdir) / "checkpoints").glob("*.npz"):
        flip(path, path.stat().st_size // 2)
    return pathlib.Path(workdir)


@state
def run_flipped(shared: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """One bit of a weight is another: too little for the test error to show it."""
    import h5py

    workdir = copy(shared.run, tmp / "run_flipped")
    offsets: list[int] = []
    with h5py.File(workdir / "model.weights.h5") as content:
        content.visititems(
            lambda _, item: offsets.append(item.id.get_offset()) if getattr(item, "ndim", 0) == 4 else None
        )
    flip(workdir / "model.weights.h5", offsets[0])
    return workdir


@state
def run_swapped(shared: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """The weights are those of the run with another seed."""
    workdir = copy(shared.run, tmp / "run_swapped")
    shutil.copy(shared.run_seed1 / "model.weights.h5", workdir)
    return workdir


@state
def run_truncated(shared: Shared, tmp: pathlib.Path) -> pathlib.Path:
    workdir = copy(shared.run, tmp / "run_truncated")
    os.truncate(workdir / "model.weights.h5", 20_000)
    return workdir


@state
def run_data_replaced(shared: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """The file that it was trained on now holds other images."""
    other = STATES["npz_other"](shared, tmp)
    return _edited(shared, tmp / "run_data_replaced", lambda record: record["config"].update(dataset=f"npz:{other}"))


@state
def weights_directory(_: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """A workdir in which a directory has the name of the weights."""
    (tmp / "work" / "model.weights.h5").mkdir(parents=True)
    return tmp / "work"


def _edited(shared: Shared, workdir: pathlib.Path, edit: Callable[[dict[str, Any]], object]) -> pathlib.Path:
    copy(shared.run, workdir)
    record = json.loads((workdir / "record.json").read_text())
    edit(record)
    text = json.dumps(record).replace("Infinity", "1e999")
    (workdir / "record.json").write_text(text)
    return workdir


def _record_state(name: str, edit: Callable[[dict[str, Any]], object]) -> None:
    STATES[name] = lambda shared, tmp: _edited(shared, tmp / name, edit)


for _name, _edit in {
    "record_mean_text": lambda record: record["dataset"].update(mean=["0.4", "0.4", "0.4"]),
    "record_mean_short": lambda record: record["dataset"].update(mean=[0.4]),
    "record_mean_nan": lambda record: record["dataset"].update(mean=[float("nan")] * 3),
    "record_std_zero": lambda record: record["dataset"].update(std=[0, 0, 0]),
    "record_shape_short": lambda record: record["dataset"].update(image_shape=[16, 16]),
    "record_classes_infinite": lambda record: record["dataset"].update(num_classes=float("inf")),
    "record_dataset_list": lambda record: record.update(dataset=["npz"]),
    "record_config_list": lambda record: record.update(config=[]),
    "record_model_list": lambda record: record["config"].update(model=["wrn10-1"]),
    "record_other_model": lambda record: record["config"].update(model="wrn10-2"),
    "record_error_text": lambda record: record.update(test_error_last="12.5"),
    "record_error_null": lambda record: record.update(test_error_last=None),
    "record_error_over_100": lambda record: record.update(test_error_last=12345.6),
    "record_history_empty": lambda record: record.update(history=[]),
    "record_history_words": lambda record: record.update(history=["epoch 1"]),
    "record_teachers_number": lambda record: record.update(teachers=5),
    "record_minimal": lambda record: keep(record, "config", "dataset", "test_error_last"),
}.items():
    _record_state(_name, _edit)


def _record_bytes(name: str, change: Callable[[bytes], bytes]) -> None:
    def make(shared: Shared, tmp: pathlib.Path) -> pathlib.Path:
        workdir = copy(shared.run, tmp / name)
        (workdir / "record.json").write_bytes(change((workdir / "record.json").read_bytes()))
        return workdir

    STATES[name] = make


for _name, _bytes in {
    "record_deep": lambda content: DEEP.encode(),
    "record_deep_inside": lambda content: content.rstrip()[:-1] + f', "more": {DEEP}{"]" * len(DEEP)}}}'.encode(),
    "record_empty": lambda content: b"",
    "record_half": lambda content: content[: len(content) // 2],
    "record_latin1": lambda content: content.replace(b"none", b"\xff"),
    "record_twice": lambda content: b'{"test_error_last": 0.0,' + content.lstrip()[1:],
}.items():
    _record_bytes(_name, _bytes)
