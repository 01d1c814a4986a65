"""The commands: their help, their errors, and one path from a teacher to an evaluated student."""

import csv
import os
import pathlib
import re
import subprocess
from typing import Any

import pytest

from conftest import ROOT, run_python

COMMANDS = (
    *("train", "distill", "evaluate", "publish", "serve", "list", "compare", "demo", "export"),
    *("precompute", "sweep", "tune", "reproduce", "predict"),
)
FLAGFILES = sorted(ROOT.glob("apps/flags/*.flags"))


def run_app(name: str, *args: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return run_python("-m", f"apps.{name}", *args, **options)


@pytest.mark.parametrize("code", ["import kdzoo", "import sys; sys.argv = ['x', '--help']; import apps.distill"])
def test_import_and_help_load_no_backend(code: str) -> None:
    loaded = run_python("-c", f"{code}\nimport sys; print(*sorted({{m.split('.')[0] for m in sys.modules}}))")
    assert loaded.returncode == 0, loaded.stderr
    assert not {"keras", "tensorflow", "jax", "tensorflow_datasets", "matplotlib"} & set(loaded.stdout.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_an_example_and_a_sentence_for_each_flag(name: str) -> None:
    done = run_app(name, "--help")
    assert done.returncode == 0, done.stderr
    assert f"python -m apps.{name}" in done.stdout
    _, _, described = done.stdout.partition(f"apps/{name}.py:")
    helps = re.findall(r"^  --(\S+):((?:.|\n    )*)", described, re.MULTILINE)
    assert helps
    for flag, text in helps:
        sentence = re.sub(r"\((default: [^)]*|an? [^)]*|number [^)]*)\)|<[^>]*>:", "", text).strip()
        assert re.match("[A-Z]", sentence), (flag, text)
        assert sentence.endswith("."), (flag, text)


def test_train_distill_evaluate(npz: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """The same command with the same seed makes bit-identical weights in two processes."""
    import h5py
    import numpy as np

    dataset = [f"--dataset=npz:{npz}", "--batch_size=32", "--seed=3"]
    done = run_app("train", "--model=wrn10-2", "--schedule=1-2", f"--workdir={tmp_path}/teacher", *dataset)
    assert done.returncode == 0, done.stderr
    assert "wrn10-2_1-2 on npz:" in done.stdout
    weights: list[dict[str, Any]] = []
    for run in ("one", "two"):
        flags = [f"--teacher={tmp_path}/teacher", "--method=at+kd", f"--workdir={tmp_path}/{run}", *dataset]
        done = run_app("distill", "--student=wrn10-1", "--schedule=cos-2", *flags)
        assert done.returncode == 0, done.stderr
        weights.append({})
        with h5py.File(tmp_path / run / "model.weights.h5") as file:
            file.visititems(lambda name, item: weights[-1].update({name: item[()]}) if hasattr(item, "shape") else None)
    assert weights[0].keys() == weights[1].keys()
    assert len(weights[0]) > 20
    for name in weights[0]:
        np.testing.assert_array_equal(weights[0][name], weights[1][name])
    files = [f"--per_class={tmp_path}/classes.csv", f"--confusion={tmp_path}/confusion.csv"]
    done = run_app("evaluate", f"--model={tmp_path}/one", f"--dataset=npz:{npz}", *files)
    assert (done.returncode, done.stderr) == (0, "")
    assert "; in its record: " in done.stdout
    classes = list(csv.DictReader((tmp_path / "classes.csv").read_text().splitlines()))
    assert [(row["class"], row["name"], row["test_images"]) for row in classes] == [(i, i, "16") for i in "0123"]
    error = sum(float(row["error_percent"]) for row in classes) / 4
    assert f"test error {error:.2f} % of 64 images" in done.stdout
    rows = [line.split(",") for line in (tmp_path / "confusion.csv").read_text().splitlines()]
    right = sum(int(rows[i][i]) for i in range(1, 5))
    assert 100 - right / 64 * 100 == pytest.approx(error)
    assert {path.name for path in tmp_path.glob("confusion.*")} == {
        f"confusion.{kind}" for kind in ("csv", "png", "svg")
    }


TRAIN = ["train", "--dataset=digits", "--workdir={tmp}/run"]
DISTILL = ["distill", "--student=wrn10-1", "--schedule=1-2", "--dataset=npz:{npz}", "--workdir={tmp}/run"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            [*TRAIN, "--model=vgg16", "--schedule=1-2"],
            "for example wrn16-2, dn40-12, resnet34, wrn16-8_20-65. Received",
        ),
        (
            [*TRAIN, "--model=wrn15-1", "--schedule=1-2"],
            "depth must be 6N + 4, for example wrn16-2 or wrn28-10. Received",
        ),
        ([*TRAIN, "--model=wrn10-1", "--schedule=65-20"], "1 <= k <= N), cos-N or N, for example 20-65 or cos-65"),
        ([*TRAIN, "--model=wrn10-1", "--schedule=1-2", "--dataset=mnist"], "dataset must be one of cifar10, "),
        ([*TRAIN, "--model=wrn10-1", "--schedule=1-2", "--dataset=npz:none.npz"], "Received: no file none.npz"),
        (
            [*TRAIN, "--model=wrn10-1", "--schedule=1-2", "stray", "words"],
            "for example --seed=1. Received: stray words",
        ),
        ([*TRAIN, "--model=wrn10-1", "--schedule=1-2", "--seed=one"], "flag --seed=one: "),
        (
            [*TRAIN, "--model=wrn10-1", "--schedule=1-2", "--sed=1"],
            "Unknown command line flag 'sed'. Did you mean: seed",
        ),
        ([*TRAIN, "--model=wrn10-1"], "flag --schedule=None"),
        ([*TRAIN, "--model=wrn10-1", "--schedule=1-2", "--workdir=/dev/null/run"], "a directory that can be written"),
        (
            [*TRAIN, "--model=wrn10-1", "--schedule=1-2", "--workdir={teacher}"],
            "a finished run of another configuration, unless",
        ),
        ([*TRAIN, "--flagfile=none.flags"], "Unable to open flagfile"),
        (DISTILL, "kd_weight and at_weight must be 0 without a teacher"),
        ([*DISTILL, "--teacher={tmp}"], "directory of a finished run. Received: {tmp}/record.json: No such file"),
        (
            [*DISTILL, "--teacher={teacher}", "--temperature=-1"],
            "temperature must be at least 0.001 and at most 100, for example 4. Received: -1",
        ),
        ([*DISTILL, "--teacher={teacher},{teacher}"], "must differ. Received: {teacher} more than once"),
        ([*TRAIN, "--model=wrn10-1", "--schedule=1-2", "--workdir=" + "x" * 300], "each part of at most 255 bytes"),
        ([*TRAIN, "--flagfile={npz}"], "codec can't decode"),
        (["reproduce", "--table=7", "--workdir={tmp}", "--kd_until=50"], "at most 1, for example 0.5. Received: 50"),
        ([*DISTILL, "--teacher={teacher}", "--dataset=digits"], "number of classes: 10. Received: 4"),
        (
            [*DISTILL, "--teacher={teacher}", "--method=at", "--student=resnet18"],
            "number of stages: 4 of resnet18. Rec",
        ),
        (["evaluate", "--model={tmp}"], "directory of a finished run. Received: "),
        (["evaluate", "--model=" + "w/" * 1000], "a directory or a published name. Received: 'w/w/"),
        (
            ["evaluate", "--model={teacher}", "--per_class={tmp}/x.txt"],
            "per_class must be a file to write, with a name in .csv, in a directory that exists, for example out.csv.",
        ),
        (
            ["evaluate", "--model={teacher}", "--confusion={tmp}/a/x.csv"],
            "Received: {tmp}/a/x.csv: no directory {tmp}/a",
        ),
        (
            ["evaluate", "--model={teacher}", "--confusion={tmp}/x.csv", "--per_class={tmp}//x.csv"],
            "per_class and confusion must be two files. Received: {tmp}/x.csv for both",
        ),
        (["predict", "--model={teacher}", "--images={tmp}/none"], "Received: '{tmp}/none', which does not exist"),
        (
            ["predict", "--model={teacher}", "--images={npz}"],
            "Received: {npz}: no header of a JPEG, PNG, WebP, BMP, GIF",
        ),
        (["predict", "--model={tmp}", "--images={tmp}"], "directory of a finished run. Received: {tmp}/record.json"),
        (
            ["predict", "--model={teacher}", "--images={tmp}", "--output={tmp}"],
            "output must be a file to write, with a name in .csv, in a directory that exists, for example out.csv.",
        ),
        ([*DISTILL, "--teacher=wrn28-10"], "none of it is published. Received: wrn28-10"),
        (
            ["publish", "--run={tmp}", "--models={tmp}/models"],
            "directory of a finished run. Received: {tmp}/record.json",
        ),
        (["publish", "--run="], "run must be the path of a directory"),
        (["reproduce", "--table=7", "--dry_run", "--seeds=4294967295"], "flag --seeds=4294967295: "),
        (["reproduce", "--table=1", "--dry_run", "--rows=0"], "table 1 has lines 1 to 9. Received: 0"),
        (
            ["serve", "--path={tmp}"],
            "There must be a published model to serve: see apps.list. Received: none like * in {tmp}",
        ),
    ],
)
def test_bad_input_ends_in_one_clear_line(
    args: list[str], message: str, npz: pathlib.Path, teacher_run: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    paths = {"tmp": tmp_path, "npz": npz, "teacher": teacher_run}
    done = run_app(*(arg.format(**paths) for arg in args))
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert message.format(**paths) in line
    assert list(tmp_path.iterdir()) == []


def test_a_flag_that_is_no_utf8_is_printed() -> None:
    """Paths are bytes; most locales have standard output refuse what is no UTF-8."""
    done = run_app("list", f"--models={os.fsdecode(b'wrn' + bytes([255]))}", env={"PYTHONIOENCODING": "utf-8:strict"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "no published model is named like wrn\\udcff\n"


@pytest.mark.parametrize("args", [["--help"], ["--helpfull"], ["--helpshort"]])
def test_help_ends_with_exit_code_0(args: list[str]) -> None:
    done = run_app("evaluate", *args)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--model" in done.stdout


def test_a_backend_that_is_not_supported_is_refused_before_it_is_imported(tmp_path: pathlib.Path) -> None:
    args = ["--model=wrn10-1", "--schedule=1-2", "--dataset=digits", f"--workdir={tmp_path}/run"]
    done = run_app("train", *args, env={"KERAS_BACKEND": "torch"})
    assert done.returncode == 2
    assert done.stderr == ("error: KERAS_BACKEND must be tensorflow or jax, for example tensorflow. Received: torch\n")
    (tmp_path / "keras.json").write_text('{"backend": "openvino"}')
    done = run_app("train", *args, env={"KERAS_BACKEND": None, "KERAS_HOME": str(tmp_path)})
    assert done.stderr.endswith("Received: openvino\n")
    assert not (tmp_path / "run").exists()


def test_without_a_network_the_error_names_the_remedy(tmp_path: pathlib.Path) -> None:
    # A proxy that refuses every connection stands for the missing network.
    proxy = "http://127.0.0.1:9"
    env = {"TFDS_DATA_DIR": str(tmp_path / "none"), "HTTPS_PROXY": proxy, "https_proxy": proxy}
    done = run_app("train", "--model=wrn10-1", "--schedule=1-2", f"--workdir={tmp_path}/run", env=env)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "set TFDS_DATA_DIR to the folder that holds cifar10/" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", FLAGFILES, ids=lambda path: path.stem)
def test_flagfiles_begin_with_a_description_and_parse(path: pathlib.Path) -> None:
    lines = path.read_text().splitlines()
    comments = [line for line in lines if line.startswith("#")]
    assert lines[: len(comments)] == comments
    for part in ("python -m apps.", "hardware:", "time:", "error:", "runs:"):
        assert any(part in line for line in comments), part
    app = re.search(r"python -m apps\.(\w+)", path.read_text())[1]
    # The word at the end stops the command once its flags are parsed.
    done = run_app(app, f"--flagfile={path}", "stop")
    assert done.stderr == "error: Arguments must be flags, for example --seed=1. Received: stop\n"
