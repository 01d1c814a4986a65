"""Damaged data sets for the attacks of tests/attacks.md."""

import pathlib
import shutil
import struct
import zipfile
from collections.abc import Callable

import numpy as np

from attack_states import STATES, Shared, state


def _arrays(shared: Shared) -> dict[str, np.ndarray]:
    with np.load(shared.data) as content:
        return dict(content)


def _npz_state(name: str, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    """Defines a copy of the data set that `change` changes in place."""

    def make(shared: Shared, tmp: pathlib.Path) -> pathlib.Path:
        arrays = _arrays(shared)
        change(arrays)
        np.savez(tmp / f"{name}.npz", **arrays)
        return tmp / f"{name}.npz"

    STATES[name] = make


def _set(split: str, first: int) -> Callable[[dict[str, np.ndarray]], object]:
    """Changes the first label of a split."""

    def change(arrays: dict[str, np.ndarray]) -> None:
        labels = arrays[f"y_{split}"].astype(np.int64)
        labels[0] = first
        arrays[f"y_{split}"] = labels

    return change


def _relabel(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[dict[str, np.ndarray]], object]:
    return lambda arrays: arrays.update({f"y_{split}": function(arrays[f"y_{split}"]) for split in ("train", "test")})


for _name, _change in {
    "npz_copy": lambda arrays: None,
    "npz_other": lambda arrays: arrays.update(x_train=255 - arrays["x_train"]),
    "npz_label_2_32": _set("train", 2**32),
    "npz_label_2_31": _set("test", 2**31),
    "npz_label_gap": _set("train", 5000),
    "npz_labels_from_1": _relabel(lambda labels: labels + 1),
    "npz_label_untrained": _set("test", 4),
    "npz_labels_unsigned": _relabel(lambda labels: labels.astype(np.uint64) + np.uint64(2**63)),
    "npz_labels_float": _relabel(lambda labels: labels.astype(float)),
    "npz_labels_onehot": _relabel(lambda labels: np.eye(4, dtype=np.int64)[labels]),
    "npz_labels_object": _relabel(lambda labels: labels.astype(object)),
    "npz_nan": lambda arrays: arrays.update(x_train=np.full(arrays["x_train"].shape, np.nan, np.float32)),
    "npz_no_pixels": lambda arrays: arrays.update(
        {key: arrays[key][:, :0] for key in ("x_train", "x_test")}  # height 0
    ),
    "npz_no_channels": lambda arrays: arrays.update({key: arrays[key][..., :0] for key in ("x_train", "x_test")}),
}.items():
    _npz_state(_name, _change)


@state
def npz_flipped(shared: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """Compressed, with damage in the middle of the images."""
    path = tmp / "flipped.npz"
    np.savez_compressed(path, **_arrays(shared))
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo("x_train.npy")
    content = bytearray(path.read_bytes())
    middle = member.header_offset + member.compress_size // 2
    content[middle : middle + 100] = b"\xff" * 100
    path.write_bytes(content)
    return path


@state
def npz_truncated(shared: Shared, tmp: pathlib.Path) -> pathlib.Path:
    content = shared.data.read_bytes()
    (tmp / "half.npz").write_bytes(content[: len(content) // 2])
    return tmp / "half.npz"


@state
def npz_huge_header(shared: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """Its header describes 2^50 images; the file holds none of them."""
    path = tmp / "huge.npz"
    shutil.copy(shared.data, path)
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({2**50}, 16, 16, 3), }}".ljust(117) + "\n"
    with zipfile.ZipFile(shared.data) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()
            new.writestr(name, content if name == "x_train.npy" else old.read(name))
    return path


@state
def npz_dollar(shared: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """A data set whose path is not what a plot's text may hold."""
    path = tmp / "cost_$5_{x^$_|.npz"
    shutil.copy(shared.data, path)
    return path
