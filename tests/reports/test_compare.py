"""`apps.compare` from end to end, on records alone; and what TensorBoard's own reader finds in its event files."""

import contextlib
import csv
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from conftest import ROOT, run_python
from kdzoo.reports import statistics, tables, tensorboard
from kdzoo.runs.events import hparams_of
from test_statistics import make_record, make_sweep
from zoo import InputError

RESULTS = ROOT / "results"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder of finished runs, some a folder deeper, beside one that is not finished."""
    root = tmp_path_factory.mktemp("runs")
    for label, record in make_sweep(("wrn16-2", "wrn16-8"), ("2-6", "6-20"), 2, student="6-20").items():
        write(root / ("teachers" if record["method"] == "none" else ".") / label, record)
    (root / "unfinished").mkdir()
    return root


def write(workdir, record):
    workdir.mkdir(parents=True)
    (workdir / "record.json").write_text(json.dumps(record))


@pytest.fixture(scope="module")
def compared(runs, tmp_path_factory):
    """Its folder, and the command's end: it says what it has imported."""
    out = tmp_path_factory.mktemp("compared")
    code = "import sys, runpy; sys.argv[0] = 'compare'\ntry: runpy.run_module('apps.compare', run_name='__main__')\n"
    code += "finally: print('imported:', {'tensorflow', 'keras', 'jax'} & sys.modules.keys())"
    return out, run_python("-c", code, f"--runs={runs}", f"--out={out}", f"--tensorboard={out / 'logs'}")


def compare(*args):
    return run_python("-m", "apps.compare", *args)


def test_the_command(runs, compared):
    out, done = compared
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    table = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(table) == 2 + 4 + 1 + 4 + 1  # head, teachers, from scratch, a student of each teacher, ESKD
    assert "\n".join(table) in (out / "compare.md").read_text()
    with open(out / "compare.csv") as file:
        rows = list(csv.DictReader(file))
    assert sum(int(row["n"]) for row in rows) == len(tables.find([runs])) == 16
    plots = ["teacher_size_wrn16-1_6-20_kd", "teacher_length_wrn16-1_6-20_kd", "heat_map_wrn16-1_6-20_kd"]
    for name in (*plots, "curves_wrn16-1_6-20"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (out / f"{name}.svg").read_text()
        assert f"{name}.svg" in (out / "compare.md").read_text()
        assert str(out / f"{name}.png") in done.stdout
    assert "no heat_map_wrn16-1_6-20_eskd-50: teachers of one size" in done.stdout


def test_it_needs_no_backend(compared):
    assert "imported: set()" in compared[1].stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--runs={tmp}"], "Received: {tmp}"),
        (["--runs={tmp}/nowhere-*"], "Received: {tmp}/nowhere-*"),
        (["--runs={runs},{tmp}"], "Received: {tmp}"),
        (["--runs="], "Received: none"),
        (["--runs={runs}", "--curves=nothing"], "Received: nothing"),
        (["--runs={runs}", "--out={runs}/unfinished/../unfinished/file"], "must be a directory"),
        (["--runs={runs}", "words"], "Received: words"),
    ],
)
def test_bad_input_ends_in_one_line(args, said, runs, tmp_path):
    (runs / "unfinished" / "file").touch()
    names = {"runs": runs, "tmp": tmp_path}
    done = compare(f"--out={tmp_path / 'out'}", *(arg.format(**names) for arg in args))
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert said.format(**names) in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_damaged_records_are_named(tmp_path):
    record = make_record()
    del record["history"]
    write(tmp_path / "run", record)
    with pytest.raises(InputError, match=r"must have history\. Received: .*run"):
        tables.find([tmp_path])
    (tmp_path / "run" / "record.json").write_text("{")
    with pytest.raises(InputError, match=r"Received: .*record\.json"):
        tables.find([tmp_path])


def test_find(runs, monkeypatch):
    found = tables.find([runs / "teachers" / "*", f"{runs}/wrn16-1_*seed1", runs / "teachers"])
    assert list(found) == sorted(found, key=statistics.natural)
    assert "teachers/wrn16-2_2-6_seed0" in found
    assert not any(label.endswith("kd_wrn16-2_2-6_seed0") for label in found)
    monkeypatch.chdir(runs)
    (one,) = tables.find(["teachers/wrn16-2_2-6_seed0"])
    assert one == "wrn16-2_2-6_seed0"


def test_a_run_that_was_copied_counts_once(tmp_path):
    write(tmp_path / "a" / "run", make_record())
    write(tmp_path / "b" / "run", make_record())
    made = tables.compare(tables.find([tmp_path]), tmp_path / "out")
    assert "left out, since a later run differs in nothing from it: b/run" in made.notes
    assert made.table.splitlines()[-1].split("|")[5].strip() == "1"


def test_the_records_of_this_checkout(tmp_path):
    made = tables.compare(tables.find([RESULTS / "cifar10"]), tmp_path)
    names = {path.name for path in made.paths}
    assert {"teacher_length_wrn16-1_10-35_kd.png", "curves_wrn16-1_10-35.png"} <= names
    assert "no teacher_size_wrn16-1_10-35_kd: teachers of one size" in made.notes


def test_chosen_curves(runs, tmp_path):
    made = tables.compare(tables.find([runs]), tmp_path, curves=("*wrn16-2_*_seed?",))
    assert [path.name for path in made.paths if "curves" in path.name] == ["curves.png", "curves.svg"]


def test_runs_without_teachers_have_a_table(tmp_path):
    made = tables.compare({"a": make_record(), "b": make_record("wrn16-2")}, tmp_path)
    assert [path.name for path in made.paths] == ["compare.md", "compare.csv"]
    assert made.notes == ["no teacher_size: no run has a teacher"]


# TensorBoard.


def read(folder):
    """What TensorBoard's own reader finds there."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()


def values(accumulator, tag):
    from tensorboard.util import tensor_util

    events = accumulator.Tensors(tag)
    return {event.step: tensor_util.make_ndarray(event.tensor_proto).item() for event in events}


def test_event_files_hold_the_history(runs, compared):
    label = "wrn16-1_6-20_kd_wrn16-8_6-20_kd_until0.5_seed1"
    record = json.loads((runs / label / "record.json").read_text())
    found = read(compared[0] / "logs" / label)
    tags = {
        **{"error/train": "train_error", "error/test": "test_error", "loss/loss": "loss", "cross_entropy/train": "ce"},
        **{"loss/kd": "kd", "agreement/test": "test_agreement", "teacher/kl": "teacher_kl", "run/lr": "lr"},
        **{"calibration_error/test": "test_ece", "cross_entropy/test": "test_ce", "teacher/agreement": "agreement"},
    }
    for tag, name in tags.items():
        rows = {row["epoch"]: row[name] for row in record["history"] if name in row}
        assert values(found, tag) == pytest.approx(rows, rel=1e-6), tag  # float32
    assert max(values(found, "loss/kd")) == 10
    teacher = dict.fromkeys(range(1, 21), record["teachers"][0]["test_error_last"])
    assert values(found, "teacher/test_error") == pytest.approx(teacher, rel=1e-6)
    assert found.Tensors("error/test")[3].wall_time == record["history"][3]["time"]


def test_event_files_hold_hparams(runs, compared):
    from tensorboard.plugins.hparams import metadata

    label = "wrn16-1_6-20_kd_wrn16-8_6-20_kd_until0.5_seed1"
    found = read(compared[0] / "logs" / label)
    plugin = found.PluginTagToContent(metadata.PLUGIN_NAME)
    hparams = metadata.parse_session_start_info_plugin_data(plugin[metadata.SESSION_START_INFO_TAG]).hparams
    told = {key: getattr(value, value.WhichOneof("kind")) for key, value in hparams.items()}
    expected = {"model": "wrn16-1", "schedule": "6-20", "method": "kd", "temperature": 4.0, "kd_until": 0.5}
    expected |= {"teacher": "wrn16-8_6-20", "teacher_schedule": "6-20", "kd_weight": 0.9, "seed": 1}
    assert expected.items() <= told.items()
    assert metadata.parse_session_start_info_plugin_data(plugin[metadata.SESSION_START_INFO_TAG]).group_name == label
    plugin = read(compared[0] / "logs" / "comparison").PluginTagToContent(metadata.PLUGIN_NAME)
    experiment = metadata.parse_experiment_plugin_data(plugin[metadata.EXPERIMENT_TAG])
    shown = {info.name for info in experiment.hparam_infos if info.differs}
    assert shown == {"teacher", "method", "kd_until", "seed", "model"}
    assert [(one.name.tag, one.display_name) for one in experiment.metric_infos] == [("error/test", "test error (%)")]


def test_event_files_hold_the_plots(compared):
    from tensorboard.plugins.custom_scalar import layout_pb2
    from tensorboard.plugins.custom_scalar import metadata as custom

    out, _ = compared
    found = read(out / "logs" / "comparison")
    images = found.PluginTagToContent("images")
    assert sorted(images) == sorted(path.stem for path in out.glob("*.png"))
    for tag in images:
        (event,) = found.Tensors(tag)
        width, height, png = event.tensor_proto.string_val
        assert png == (out / f"{tag}.png").read_bytes()
        assert (int(width), int(height)) == size_of(out / f"{tag}.png")
    assert "table" in found.PluginTagToContent("text")
    (event,) = found.Tensors(custom.CONFIG_SUMMARY_TAG)
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    assert layout.category[0].chart[1].multiline.tag == ["^error/test$", "^teacher/test_error$"]


def size_of(path):
    from PIL import Image

    with Image.open(path) as image:
        return image.size


def test_rebuilding_touches_nothing_else(tmp_path):
    logs = tmp_path / "logs"
    tensorboard.rebuild(logs, {"a/x": make_record(schedule="2-6"), "b": make_record(schedule="2-6")})
    (logs / "a" / "mine.txt").touch()
    (logs / "other").mkdir()
    (logs / "other" / "events.out.tfevents.1.host").touch()
    tensorboard.rebuild(logs, {"a/y": make_record(schedule="2-6")})
    kept = sorted(str(path.relative_to(logs)) for path in logs.rglob("*") if path.is_dir())
    assert kept == ["a", "a/y", "comparison", "other"]
    assert (logs / "a" / "mine.txt").exists()
    assert (logs / "other" / "events.out.tfevents.1.host").exists()
    for folder in ("a/y", "comparison"):
        assert len(list((logs / folder).iterdir())) == 1


@pytest.mark.parametrize("label", ["../x", "comparison"])
def test_labels_stay_below_the_log_directory(label, tmp_path):
    with pytest.raises(InputError, match="label"):
        tensorboard.rebuild(tmp_path / "logs", {label: make_record()})
    assert not list(tmp_path.rglob("events*"))


def test_it_does_not_double_a_runs_own_event_file(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "events.out.tfevents.1.host").touch()
    with pytest.raises(InputError, match="themselves"):
        tensorboard.rebuild(tmp_path, {"run": make_record()})


def test_old_records_and_several_teachers_have_curves(tmp_path):
    record = make_record(schedule="2-6", teachers=(make_record("wrn16-2"), make_record("wrn16-4", error=5.0)))
    record["teachers"][1]["name"] = "score@host"
    for row in record["history"]:
        del row["time"]
    record["history"][0]["test_ce"] = None  # as an overflow is kept
    del record["config"]["kd_until"]
    tensorboard.rebuild(tmp_path, {"run": record})
    found = read(tmp_path / "run")
    assert set(values(found, "teacher/test_error_2").values()) == {5.0}
    assert min(values(found, "cross_entropy/test")) == 2
    assert hparams_of(record)["kd_until"] == 1.0
    assert hparams_of(record)["teacher_schedule"] == "60-200,unknown"


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_tensorboard_shows_it(runs, compared, tmp_path):
    """In a browser without a window; the screenshots stay in $KDZOO_ARTEFACTS."""
    artefacts = pathlib.Path(os.environ.get("KDZOO_ARTEFACTS", tmp_path))
    artefacts.mkdir(parents=True, exist_ok=True)
    with served(compared[0] / "logs") as url:
        for page in ("hparams", "images", "scalars", "custom_scalars"):
            browse(f"{url}/#{page}", f"--screenshot={artefacts / page}.png", profile=tmp_path)
            assert size_of(artefacts / f"{page}.png") == (1600, 1200)
        # This page alone is built so that --dump-dom sees what is on it.
        shown = browse(f"{url}/#timeseries", "--dump-dom", profile=tmp_path)
        experiment = ask(f"{url}/data/plugin/hparams/experiment", {})
        wanted = {"startIndex": 0, "sliceSize": 100, "allowedStatuses": ["STATUS_SUCCESS"]}
        trials = ask(f"{url}/data/plugin/hparams/session_groups", {**wanted, "colParams": [{"metric": METRIC}]})
    for label, record in tables.find([runs]).items():
        assert f"> {label} <" in shown
        (trial,) = (each for each in trials["sessionGroups"] if each["name"] == label)
        assert trial["metricValues"][0]["value"] == pytest.approx(record["test_error_last"], rel=1e-6)
    assert experiment["metricInfos"][0]["displayName"] == "test error (%)"


METRIC = {"group": "", "tag": "error/test"}


def ask(url, question):
    request = urllib.request.Request(url, json.dumps(question).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


@contextlib.contextmanager
def served(logdir):
    """TensorBoard's address, while it runs."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", f"--logdir={logdir}", f"--port={port}", "--load_fast=false"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(120):
            try:
                with urllib.request.urlopen(f"http://localhost:{port}/data/runs", timeout=5) as answer:
                    if b"comparison" in answer.read():
                        break
            except (urllib.error.URLError, TimeoutError, ConnectionError):
                pass
            time.sleep(0.5)
        yield f"http://localhost:{port}"
    finally:
        process.kill()
        process.wait()


def browse(url, *options, profile):
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1600,1200"]
    command += [
        "--disable-background-networking",
        "--virtual-time-budget=30000",
        f"--user-data-dir={profile / 'profile'}",
        *options,
        url,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
