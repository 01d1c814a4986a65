"""Data sets in .npz files with one thing wrong: `kdzoo.data.sources.load`."""

import ast
import io
import pathlib
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from fuzz_cases import Case, Tally, flip, fuzz, refusal
from kdzoo.data import sources
from kdzoo.data.dataset import Dataset, Split

NAMES = ("x_train", "y_train", "x_test", "y_test")
DTYPES = [
    "int8",
    "uint16",
    "int32",
    "int64",
    "uint64",
    "float16",
    "float64",
    "bool",
    "complex64",
    "U3",
    "S2",
    "M8[s]",
    ">i4",
]
LABELS = [-1, 1, 5, 127, 255, 256, 2**31 - 1, 2**31, 2**32, 2**40, 2**62, -(2**40)]


def write(arrays: dict[str, np.ndarray], *, compressed: bool) -> bytes:
    content = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(content, **arrays)
    return content.getvalue()


@st.composite
def data_sets(draw: st.DrawFn) -> dict[str, np.ndarray]:
    """Draws a valid data set of up to four classes of small images."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    classes, channels = draw(st.integers(1, 4)), draw(st.sampled_from([1, 3, 4]))
    size = (draw(st.integers(1, 8)), draw(st.integers(1, 8)), channels)
    arrays = {}
    for split, least in (("train", classes), ("test", 1)):
        count = draw(st.integers(least, 12))
        labels = np.arange(count) % classes
        if draw(st.booleans()):
            labels = labels.reshape(-1, 1)
        arrays[f"x_{split}"] = rng.integers(0, 256, (count, *size), np.uint8)
        arrays[f"y_{split}"] = labels.astype(draw(st.sampled_from(["uint8", "int32", "int64", "uint16", ">i8"])))
    return arrays


@st.composite
def changed_arrays(draw: st.DrawFn, arrays: dict[str, np.ndarray]) -> tuple[dict[str, Any], str]:
    """Draws a change of one array."""
    name = draw(st.sampled_from(NAMES))
    array = arrays[name]
    change = draw(
        st.sampled_from(["nothing", "drop", "rename", "dtype", "shape", "label", "label", "objects", "extra"])
    )
    if change == "drop":
        return {key: arrays[key] for key in arrays if key != name}, f"drop {name}"
    if change == "rename":
        other = draw(st.sampled_from(["X_train", "x", "x_train ", "labels", "x_train.npy", *NAMES]))
        return {other if key == name else key: arrays[key] for key in arrays}, f"rename {name} {other}"
    if change == "extra":
        return {**arrays, "more": np.zeros(3)}, "extra"
    if change == "dtype":
        dtype = draw(st.sampled_from(DTYPES))
        values = array.astype("int64") if dtype.startswith("M8") else array
        return {**arrays, name: values.astype(dtype)}, f"dtype {name} {dtype}"
    if change == "objects":
        new = draw(st.sampled_from([None, {}, "x", 5, 2.5, [], [[1], [2]], np.array(None), array.astype(object)]))
        return {**arrays, name: new}, f"objects {name} {new!r:.30}"
    if change == "shape":
        ways: dict[str, Callable[[np.ndarray], np.ndarray]] = {
            "shorter": lambda a: a[:-1],
            "empty": lambda a: a[:0],
            "longer": lambda a: np.concatenate([a, a[:1]]),
            "flat": lambda a: a.reshape(-1),
            "deeper": lambda a: a[..., None],
            "shallower": lambda a: a[..., 0],
            "swapped": lambda a: np.asfortranarray(a.swapaxes(0, -1)),
            "wider": lambda a: np.repeat(a, 2, axis=min(2, a.ndim - 1)),
            "fortran": np.asfortranarray,
            "no pixels": lambda a: a[:, :0] if a.ndim > 1 else a,
            "one": lambda a: a[:1],
            "in one": lambda a: a[None],
        }
        way = draw(st.sampled_from(sorted(ways)))
        return {**arrays, name: ways[way](array)}, f"shape {name} {way}"
    if change == "label":
        labels = f"y_{draw(st.sampled_from(['train', 'test']))}"
        i, new = draw(st.integers(0, arrays[labels].size - 1)), draw(st.sampled_from(LABELS))
        values = arrays[labels].astype("int64")
        values.reshape(-1)[i] = new
        return {**arrays, labels: values}, f"label {labels}[{i}] {new}"
    return arrays, "nothing"


@st.composite
def files(draw: st.DrawFn) -> tuple[Case, str]:
    """Draws a file, and the name of its data set."""
    arrays = draw(data_sets())
    name = draw(st.sampled_from(["", "", "mine", "cifar10"]))
    compressed = draw(st.booleans())
    if draw(st.booleans()):
        changed, what = draw(changed_arrays(arrays))
        return Case(write(changed, compressed=compressed), f"{what}, {name}"), name
    content = write(arrays, compressed=compressed)
    return draw(changed_file(content, arrays)), name


@st.composite
def changed_file(draw: st.DrawFn, content: bytes, arrays: dict[str, np.ndarray]) -> Case:
    """Draws a change of the bytes of a file, of its archive or of one of its headers."""
    change = draw(st.sampled_from(["flip", "flip", "flip", "header", "header", "truncate", "insert", "member", "wrap"]))
    i = draw(st.integers(0, len(content) - 1))
    if change == "flip":
        return Case(flip(content, i, draw(st.integers(0, 7))), f"flip byte {i}")
    if change == "truncate":
        return Case(content[:i], f"truncate at {i}")
    if change == "insert":
        return Case(content[:i] + draw(st.binary(min_size=1, max_size=4)) + content[i:], f"insert at {i}")
    if change == "wrap":
        array = io.BytesIO()
        np.save(array, arrays["x_train"])
        ways = {"npy": array.getvalue(), "nothing": b"", "text": b"x_train", "gzip": b"\x1f\x8b" + content}
        ways |= {
            "twice": content + content,
            "before": b"junk" + content,
            "after": content + b"junk",
            "zip": b"PK\x03\x04",
        }
        ways |= {"pickle": b"\x80\x04]\x94.", "end": b"PK\x05\x06" + bytes(18)}
        way = draw(st.sampled_from(sorted(ways)))
        return Case(ways[way], f"wrap as {way}")
    members = {f"{name}.npy": _npy(array) for name, array in arrays.items()}
    name = draw(st.sampled_from(sorted(members)))
    if change == "header":
        members[name], what = draw(_changed_header(members[name]))
        return Case(_zip(list(members.items())), f"header of {name}: {what}")
    extra = draw(st.sampled_from([(name, b""), (name, members[name]), ("../x.npy", b"x"), ("", b""), ("more/", b"")]))
    return Case(_zip([*members.items(), extra]), f"member {extra[0]}")


@st.composite
def _changed_header(draw: st.DrawFn, member: bytes) -> tuple[bytes, str]:
    """Draws a change of the text in front of an array, in an archive whose checksums fit."""
    size = int.from_bytes(member[8:10], "little")
    header, data = member[10 : 10 + size].decode(), member[10 + size :]
    change = draw(st.sampled_from(["text", "text", "byte", "length", "version", "long"]))
    if change == "text":
        old, new = draw(
            st.sampled_from(
                [
                    ("'descr'", "'dtype'"),
                    ("False", "True"),
                    ("False", "0"),
                    ("(", "(("),
                    (")", ""),
                    ("(", "(1, "),
                    ("(", "(9" * 12),
                    ("(", "(-"),
                    ("(", "(2 * "),
                    ("'|u1'", "'|i1'"),
                    ("'|u1'", "'O'"),
                    ("'|u1'", "[('a', '|u1')]"),
                    ("'|u1'", "'|V1'"),
                    ("'<", "'>"),
                    ("}", ""),
                    ("{", "["),
                    ("{", "(" * 300),
                    ("{", "{'x': 1, "),
                    (",", "L,"),
                    ("'", '"'),
                    (": ", ":\0"),
                    ("{", "__import__('os').abort() or {"),
                ]
            )
        )
        header = header.replace(old, new)
    elif change == "byte":
        i = draw(st.integers(0, len(header) - 1))
        header = header[:i] + chr(draw(st.integers(0, 255))) + header[i + 1 :]
    elif change == "long":
        header = header.rstrip("\n") + " " * draw(st.sampled_from([100, 9_000, 20_000])) + "\n"
    start = bytearray(member[:10])
    text = header.encode("latin1")
    start[8:10] = (min(len(text), 65535)).to_bytes(2, "little")
    if change == "length":
        start[8:10] = draw(st.integers(0, 65535)).to_bytes(2, "little")
    if change == "version":
        start[6] = draw(st.integers(0, 255))
    return bytes(start) + text + data, f"{change} {header.strip()[:80]!r}"


def _npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def _zip(members: list[tuple[str, bytes]]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, member in members:
            archive.writestr(zipfile.ZipInfo(name), member)
    return content.getvalue()


# The second rule


def read(content: bytes) -> dict[str, np.ndarray]:
    """Returns the four arrays of a file. Raises any error if there are none, or their headers and sizes do not fit."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(f"{name}.npy") for name in NAMES}  # checks the checksums
    return {name: _parse(member) for name, member in members.items()}


def _parse(member: bytes) -> np.ndarray:
    assert member[:6] == b"\x93NUMPY"
    assert member[6:8] in (b"\1\0", b"\2\0", b"\3\0"), "version"
    width = 2 if member[6] == 1 else 4
    start = 8 + width + int.from_bytes(member[8 : 8 + width], "little")
    assert start < 10_000, "a header that NumPy refuses"
    header = ast.literal_eval(member[8 + width : start].decode("utf-8" if member[6] == 3 else "latin1"))
    assert header.keys() == {"descr", "fortran_order", "shape"}
    assert type(header["fortran_order"]) is bool
    shape, descr = header["shape"], header["descr"]
    assert isinstance(shape, tuple)
    assert all(type(size) is int and size >= 0 for size in shape)
    assert np.dtype(descr).kind in "ui", f"dtype {descr}"
    array = np.frombuffer(member[start:], descr)
    return array.reshape(shape, order="F" if header["fortran_order"] else "C")  # raises unless the size fits


def find_wrong(content: bytes, name: str) -> tuple[str | None, dict[str, np.ndarray]]:
    """Returns what is wrong with a file, and its arrays: labels of one dimension."""
    try:
        arrays = read(content)
        for split in ("train", "test"):
            images, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
            assert (images.dtype, images.ndim, images.size > 0) == (np.uint8, 4, True), "images"
            assert labels.shape in ((len(images),), (len(images), 1)), "labels"
            arrays[f"y_{split}"] = labels.reshape(-1)
        assert arrays["x_train"].shape[1:] == arrays["x_test"].shape[1:], "sizes"
        classes = {int(label) for label in arrays["y_train"]}
        assert classes == set(range(len(classes))), "classes"
        assert {int(label) for label in arrays["y_test"]} <= classes, "classes of the test"
        assert name != "cifar10" or arrays["x_train"].shape[3] == 3, "channels"
    except Exception as error:
        return f"{type(error).__name__}: {error}", {}
    return None, arrays


def check_same(dataset: Dataset, arrays: dict[str, np.ndarray]) -> None:
    """The loaded examples are those of the file, in whatever order, and the statistics theirs."""

    def examples(images: np.ndarray, labels: np.ndarray) -> list[tuple[bytes, int]]:
        return sorted((image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True))

    for name in ("train", "test"):
        split: Split = getattr(dataset, name)
        assert examples(split.images, split.labels) == examples(arrays[f"x_{name}"], arrays[f"y_{name}"]), (
            "other examples"
        )
    assert dataset.num_classes == len(set(arrays["y_train"].tolist())), "other classes"
    if dataset.name != "cifar10":
        mean = arrays["x_train"].reshape(-1, dataset.image_shape[2]).astype(float).mean(0) / 255
        assert np.allclose(dataset.mean, mean, atol=6e-5), "another mean"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Reading `.npy`:UserWarning")
@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_npz_files(tmp_path: pathlib.Path) -> None:
    def judge(drawn: tuple[Case, str], tally: Tally) -> None:
        case, name = drawn
        path = tmp_path / "data.npz"
        path.write_bytes(case.content)
        wrong, arrays = find_wrong(case.content, name)
        try:
            refused, dataset = refusal(lambda: sources.load(f"npz:{path}", name))
            if refused is None and not wrong:
                check_same(dataset, arrays)
        except AssertionError as error:
            tally.count(drawn, case.what, "an error", "an error")
            return tally.fault("an error", case.what, f"{wrong}: {str(error)[-500:]}")
        tally.count(drawn, case.what, refused, wrong)

    fuzz("npz files", files(), judge)
