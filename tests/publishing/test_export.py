"""An exported file: the network's logits in another runtime, whole or not at all; or one line that names the reason."""

import dataclasses
import json
import os
import pathlib
import resource
import signal
import subprocess
import time
import zipfile
from typing import ClassVar

import numpy as np
import pytest

from conftest import ROOT, run_python, start_python
from kdzoo import files
from kdzoo.data.dataset import Split
from kdzoo.hub import models
from kdzoo.publishing import exporter, file_runner, standalone
from kdzoo.publishing.exporter import Export, export_model
from kdzoo.publishing.formats import registry
from kdzoo.runs import records
from zoo import InputError

pytest.importorskip("tensorflow")
PAIRS = [(name, quantize) for name, kind in registry.FORMATS.items() for quantize in kind.packages]
LOOSE = {"tolerance": 5.0, "max_share": 1.0}  # of tiny networks in int8, whose graph is larger than their weights


def skip_without(name: str, quantize: str = "none") -> None:
    for package in registry.FORMATS[name].packages[quantize]:
        pytest.importorskip(package)


def names_in(folder: pathlib.Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def digest(path: pathlib.Path) -> dict[str, bytes]:
    parts = path.rglob("*") if path.is_dir() else [path]
    return {part.relative_to(path).as_posix(): part.read_bytes() for part in parts if part.is_file()}


def test_a_file_has_the_networks_logits_labels_and_a_record(teacher_run, tmp_path):
    skip_without("litert")
    out = tmp_path / "phone.tflite"
    record = export_model(Export(str(teacher_run), "litert", out=str(out)))
    assert names_in(tmp_path) == ["phone.tflite", "phone.tflite.json", "phone.tflite.labels.txt"]
    assert json.loads((tmp_path / "phone.tflite.json").read_text()) == record
    assert (tmp_path / "phone.tflite.labels.txt").read_text() == "0\n1\n2\n3\n"
    assert record["test_error"] == record["test_error_network"]
    assert record["test_error"] == pytest.approx(records.read(teacher_run)["test_error_last"])
    assert (record["test_examples"], record["agreement"]) == (64, 100)
    assert record["largest_logit_difference"] < 1e-4
    assert 0 < record["latency"]["median_ms"] <= record["latency"]["p95_ms"]
    assert record["bytes"] == record["files"]["phone.tflite"]["bytes"] == len(out.read_bytes())
    assert record["hardware"]["processor"]


def test_the_standardisation_inside_is_that_of_the_data_to_the_bit():
    import keras

    from kdzoo.data import augmentation

    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    for mean, std in (((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)), ((0.0,) * 3, (1 / 255,) * 3)):
        same = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Identity()])
        outputs = standalone.from_pixels(same, (8, 8, 3), mean=mean, std=std)(images)
        np.testing.assert_array_equal(outputs, augmentation.standardise(images, mean=mean, std=std))
    np.testing.assert_array_equal(outputs, images.astype(np.float32))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "coreml"}, "format must be one of litert, onnx.*Received: coreml"),
        ({"format": "keras", "quantize": "int8"}, "quantize must be one of none for format=keras.*Received: int8"),
        ({"format": "saved_model", "quantize": "int8"}, "one of none, float16 for format=saved_model.*Received: int8"),
        ({"tolerance": float("nan")}, "tolerance must be at least 0.*Received: nan"),
        ({"max_share": 0.0}, "max_share must be above 0.*Received: 0.0"),
        ({"calibration_examples": 0}, "calibration_examples must be a whole number.*Received: 0"),
        ({"model": "wrn10-1"}, "Received: wrn10-1"),
        ({"out": "missing/file.keras", "format": "keras"}, "no directory missing"),
        ({"out": "file.h5", "format": "keras"}, "with a name in .keras.*Received: 'file.h5'"),
        ({"out": "taken"}, "out must be a directory that does not exist.*Received: taken"),
        ({"out": "precious.txt"}, "out must be a directory that does not exist.*Received: precious.txt"),
        ({"out": "held.keras", "format": "keras"}, "Received: held.keras: a directory"),
        ({"out": f"{'x' * 250}.keras", "format": "keras"}, "out.* must be a file"),
    ],
)
def test_what_cannot_be_exported_is_refused_at_once(teacher_run, tmp_path, monkeypatch, changes, message):
    monkeypatch.chdir(tmp_path)
    for folder in ("taken", "held.keras"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "notes.txt").write_text("mine")
    (tmp_path / "precious.txt").write_text("mine")
    before = digest(tmp_path)
    with pytest.raises(InputError, match=f"(?s){message}") as caught:
        dataclasses.replace(Export(str(teacher_run), "saved_model"), **changes).check()
    assert "\n" not in str(caught.value)
    assert digest(tmp_path) == before


def test_a_package_that_is_not_installed_is_named_with_its_extra():
    class Lacking(type(registry.FORMATS["litert"])):
        packages: ClassVar = {"none": ("kdzoo_has_no_such_package",)}

    with pytest.raises(InputError, match=r"format=litert needs the extra litert: pip install 'kdzoo\[litert\]'"):
        Lacking().check("none")


def test_the_default_name_is_a_file_name():
    export = Export("", "onnx", "int8")
    assert export.default_name("cifar10-kd/wrn16-1_10-35", registry.FORMATS["onnx"]) == (
        "cifar10-kd-wrn16-1_10-35-int8.onnx"
    )


def test_a_scratch_folder_is_removed_and_so_is_one_that_a_killed_process_left(tmp_path):
    path = tmp_path / "file [1].onnx"
    left = tmp_path / ".file [1].onnx.01234567.partial"
    left.mkdir()
    (left / "part").write_text("half")
    with files.scratch_beside(path) as live:
        (live / "part").write_text("whole")
        assert not left.exists()
        with files.scratch_beside(path):
            assert live.exists()
    assert names_in(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize(("name", "quantize"), PAIRS)
def test_each_format_and_quantisation_has_the_networks_error(published, tmp_path, name, quantize):
    skip_without(name, quantize)
    out = tmp_path / f"file{registry.FORMATS[name].suffix}"
    model = str(published / "quarters/wrn10-1_2-3")
    record = export_model(Export(model, name, quantize, out=str(out), **LOOSE))
    exact = {"none": 1e-3, "float16": 0.1, "int8": 5.0}[quantize]
    assert record["largest_logit_difference"] < exact
    assert record["agreement"] >= 90
    kind = registry.FORMATS[name]
    main = {path.name for path in kind.files(out)}
    assert set(names_in(tmp_path)) == main | {f"{out.name}.json", f"{out.name}.labels.txt"}
    assert record["files"].keys() == (main if kind.suffix else set())
    assert (record["bytes"] < record["float32_bytes"]) == (quantize != "none")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "quantize"), PAIRS)
def test_two_exports_are_equal_to_the_byte(teacher_run, tmp_path, name, quantize):
    skip_without(name, quantize)
    written = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        out = tmp_path / folder / f"file{registry.FORMATS[name].suffix}"
        export_model(Export(str(teacher_run), name, quantize, out=str(out), examples=20, tolerance=100, max_share=10))
        written.append({path.name: digest(path) for path in registry.FORMATS[name].files(out)})
    assert written[0] == written[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", list(registry.FORMATS))
def test_any_number_of_pictures_may_be_given(teacher_run, tmp_path, name):
    skip_without(name)
    kind = registry.FORMATS[name]
    out = tmp_path / f"file{kind.suffix}"
    export_model(Export(str(teacher_run), name, out=str(out), examples=10))
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    split = Split(images, np.zeros(3, np.int32), np.arange(3))
    together, alone = (file_runner.run(kind, out, split, batch=batch, threads=1)[0] for batch in (3, 1))
    np.testing.assert_allclose(together, alone, atol=1e-4)


@pytest.mark.slow
def test_class_names_are_in_the_metadata(teacher_run, tmp_path):
    names = ("top left", "top right", "bottom left", "bottom right")
    run = tmp_path / "run"
    subprocess.run(["cp", "-r", str(teacher_run), str(run)], check=True)
    record = records.read(run)
    records.write(run, record | {"dataset": record["dataset"] | {"class_names": list(names)}})
    for name in ("litert", "onnx", "openvino"):
        skip_without(name)
        out = tmp_path / f"file{registry.FORMATS[name].suffix}"
        export_model(Export(str(run), name, out=str(out), examples=10))
        assert pathlib.Path(f"{out}.labels.txt").read_text() == "".join(f"{text}\n" for text in names)
    with zipfile.ZipFile(tmp_path / "file.tflite") as archive:
        assert archive.read("labels.txt").decode().splitlines() == list(names)
    assert b"TFLITE_METADATA" in (tmp_path / "file.tflite").read_bytes()
    import onnx
    import openvino

    props = {item.key: item.value for item in onnx.load(tmp_path / "file.onnx").metadata_props}
    assert props == {"labels": "\n".join(names)}
    model = openvino.Core().read_model(tmp_path / "file.xml")
    assert model.get_rt_info(["model_info", "labels"]).astype(str) == "top_left top_right bottom_left bottom_right"


@pytest.mark.slow
def test_a_keras_file_loads_without_kdzoo(teacher_run, tmp_path):
    export_model(Export(str(teacher_run), "keras", out=str(tmp_path / "file.keras"), examples=10))
    code = """
import sys
sys.modules.update(dict.fromkeys(("kdzoo", "zoo")))
import keras, numpy as np
print(keras.saving.load_model(sys.argv[1]).predict(np.zeros((2, 16, 16, 3), "uint8"), verbose=0).shape)
"""
    done = run_python("-c", code, str(tmp_path / "file.keras"))
    assert done.stdout.strip().endswith("(2, 4)"), done.stderr


@pytest.mark.slow
def test_a_file_whose_error_moved_is_not_left_and_the_line_shows_the_figures(teacher_run, tmp_path):
    skip_without("litert", "int8")
    out = tmp_path / "file.tflite"
    out.write_text("before")
    with pytest.raises(InputError, match=r"at most 1e-05 of the [\d,]+ bytes.*Received: 0\.\d+ of them from litert"):
        export_model(Export(str(teacher_run), "litert", "int8", out=str(out), max_share=1e-5, tolerance=100))
    assert digest(out) == {".": b"before"}
    assert names_in(tmp_path) == ["file.tflite"]
    measured = {"test_error": 12.0, "test_error_network": 11.4, "agreement": 98.0, "test_examples": 1000}
    with pytest.raises(InputError, match=r"11.40 %, give or take 0.5 points.*Received: 12.00 % from litert in int8"):
        exporter.check_measured(Export("", "litert", "int8"), measured, 100, 1000)


def start_export(run: pathlib.Path, out: pathlib.Path, **options) -> subprocess.Popen:
    return start_python("-m", "apps.export", f"--model={run}", "--format=saved_model", f"--out={out}", **options)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [4, 8, 12, 16])
def test_an_export_that_is_killed_leaves_nothing_under_its_name_and_the_next_removes_the_rest(
    teacher_run, tmp_path, seconds
):
    out = tmp_path / "served"
    with start_export(teacher_run, out) as process:
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "served.json").exists() or (out / "saved_model.pb").exists()
    time.sleep(2)  # its processes end by themselves
    export_model(Export(str(teacher_run), "saved_model", out=str(out), examples=10))
    assert names_in(tmp_path) == ["served", "served.json", "served.labels.txt"]


@pytest.mark.slow
@pytest.mark.parametrize("size", [1000, 100_000])
def test_a_full_disk_is_one_line_and_the_file_that_was_there_stays(teacher_run, tmp_path, size):
    out = tmp_path / "file.keras"
    out.write_text("before")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    options = {"preexec_fn": limit, "env": {"TMPDIR": str(tmp_path)}}
    process = start_python("-m", "apps.export", f"--model={teacher_run}", "--format=keras", f"--out={out}", **options)
    _, errors = process.communicate()
    assert process.returncode == 2, errors
    assert len(errors.splitlines()) == 1
    assert "Received: " in errors
    assert digest(out) == {".": b"before"}
    assert names_in(tmp_path) == ["file.keras"]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "quantize"), [("litert", "none"), ("litert", "int8"), ("onnx", "int8")])
def test_an_operation_that_a_format_lacks_is_named_in_one_line(npz, tmp_path, monkeypatch, name, quantize):
    from kdzoo.runs.config import RunConfig
    from kdzoo.training import train

    skip_without(name, quantize)
    monkeypatch.syspath_prepend(ROOT)
    model = "tests.publishing.odd_networks:erfinv"
    train.run(RunConfig(model, "1-1", dataset=f"npz:{npz}", batch_size=32, lr=0.001), tmp_path / "run")
    out = tmp_path / f"file{registry.FORMATS[name].suffix}"
    with pytest.raises(InputError, match=f"format={name}.* can hold. Received: .*(?i:erfinv)") as caught:
        export_model(Export(str(tmp_path / "run"), name, quantize, out=str(out), **LOOSE))
    assert "\n" not in str(caught.value)
    assert names_in(tmp_path) == ["run"]


@pytest.mark.slow
@pytest.mark.skipif("TFDS_DATA_DIR" not in os.environ, reason="TFDS_DATA_DIR is not set: no CIFAR-10")
def test_a_published_wrn16_1_in_int8_has_under_a_third_of_the_bytes(tmp_path):
    skip_without("litert", "int8")
    record = export_model(Export("wrn16-1_10-35", "litert", "int8", out=str(tmp_path / "file.tflite")))
    assert record["bytes"] <= 0.30 * record["float32_bytes"]
    assert record["test_error"] <= record["test_error_network"] + 0.5
    assert models.resolve("wrn16-1_10-35").digest() == record["weights_sha256"]
