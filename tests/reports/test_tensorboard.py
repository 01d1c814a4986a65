"""What TensorBoard's own reader finds in the event files that are built from records."""

import contextlib
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

from kdzoo.reports import tensorboard
from kdzoo.reports.comparison import compare
from kdzoo.runs.events import hparams_of
from synthetic_records import make_record, make_sweep
from zoo import InputError

RUNS = make_sweep(("wrn16-2", "wrn16-8"), ("2-6", "6-20"), 2, student="6-20")


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Returns the folder of a comparison of `RUNS`, with event files in `logs`."""
    out = tmp_path_factory.mktemp("compared")
    compare(RUNS, out, logdir=out / "logs")
    return out


def read(folder):
    """Returns TensorBoard's own reader of the folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()


def values(accumulator, tag):
    from tensorboard.util import tensor_util

    events = accumulator.Tensors(tag)
    return {event.step: tensor_util.make_ndarray(event.tensor_proto).item() for event in events}


def test_event_files_hold_the_history(compared):
    label = "wrn16-1_6-20_kd_wrn16-8_6-20_kd_until0.5_seed1"
    record = RUNS[label]
    found = read(compared / "logs" / label)
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


def test_the_top5_error_has_a_tag_a_column_and_a_chart_where_a_record_has_one(compared, tmp_path):
    from tensorboard.plugins.custom_scalar import layout_pb2
    from tensorboard.plugins.hparams import metadata

    record = make_record(schedule="2-6")
    for row in record["history"]:
        row["test_top5_error"] = row["test_error"] / 4
    record["test_top5_error_last"] = record["history"][-1]["test_top5_error"]
    tensorboard.rebuild(tmp_path, {"few": make_record(schedule="2-6"), "many": record})
    rows = {row["epoch"]: row["test_top5_error"] for row in record["history"]}
    assert values(read(tmp_path / "many"), "error/test_top5") == pytest.approx(rows, rel=1e-6)
    assert "error/test_top5" not in read(tmp_path / "few").Tags()["tensors"]
    for folder, there in ((tmp_path / "comparison", True), (compared / "logs" / "comparison", False)):
        found = read(folder)
        plugin = found.PluginTagToContent(metadata.PLUGIN_NAME)[metadata.EXPERIMENT_TAG]
        shown = metadata.parse_experiment_plugin_data(plugin).metric_infos
        assert ("test top-5 error (%)" in [info.display_name for info in shown]) == there
        (event,) = found.Tensors("custom_scalars__config__")
        layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
        assert ("test top-5 error" in [chart.title for chart in layout.category[0].chart]) == there


def test_event_files_hold_hparams(compared):
    from tensorboard.plugins.hparams import metadata

    label = "wrn16-1_6-20_kd_wrn16-8_6-20_kd_until0.5_seed1"
    found = read(compared / "logs" / label)
    plugin = found.PluginTagToContent(metadata.PLUGIN_NAME)
    hparams = metadata.parse_session_start_info_plugin_data(plugin[metadata.SESSION_START_INFO_TAG]).hparams
    written = {key: getattr(value, value.WhichOneof("kind")) for key, value in hparams.items()}
    expected = {"model": "wrn16-1", "schedule": "6-20", "method": "kd", "temperature": 4.0, "kd_until": 0.5}
    expected |= {"teacher": "wrn16-8_6-20", "teacher_schedule": "6-20", "kd_weight": 0.9, "seed": 1}
    assert expected.items() <= written.items()
    assert metadata.parse_session_start_info_plugin_data(plugin[metadata.SESSION_START_INFO_TAG]).group_name == label
    plugin = read(compared / "logs" / "comparison").PluginTagToContent(metadata.PLUGIN_NAME)
    experiment = metadata.parse_experiment_plugin_data(plugin[metadata.EXPERIMENT_TAG])
    shown = {info.name for info in experiment.hparam_infos if info.differs}
    assert shown == {"teacher", "method", "kd_until", "seed", "model"}
    assert [(one.name.tag, one.display_name) for one in experiment.metric_infos] == [("error/test", "test error (%)")]


def test_event_files_hold_the_plots(compared):
    from tensorboard.plugins.custom_scalar import layout_pb2
    from tensorboard.plugins.custom_scalar import metadata as custom

    found = read(compared / "logs" / "comparison")
    images = found.PluginTagToContent("images")
    assert sorted(images) == sorted(path.stem for path in compared.glob("*.png"))
    for tag in images:
        (event,) = found.Tensors(tag)
        width, height, png = event.tensor_proto.string_val
        assert png == (compared / f"{tag}.png").read_bytes()
        assert (int(width), int(height)) == size_of(compared / f"{tag}.png")
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
def test_tensorboard_shows_the_runs(compared, tmp_path):
    """Opens the pages in a browser without a window; the screenshots stay in $KDZOO_ARTEFACTS."""
    artefacts = pathlib.Path(os.environ.get("KDZOO_ARTEFACTS", tmp_path))
    artefacts.mkdir(parents=True, exist_ok=True)
    with served(compared / "logs") as url:
        for page in ("hparams", "images", "scalars", "custom_scalars"):
            browse(f"{url}/#{page}", f"--screenshot={artefacts / page}.png", profile=tmp_path)
            assert size_of(artefacts / f"{page}.png") == (1600, 1200)
        # Only of this page does --dump-dom show the content.
        shown = browse(f"{url}/#timeseries", "--dump-dom", profile=tmp_path)
        experiment = query(f"{url}/data/plugin/hparams/experiment", {})
        wanted = {"startIndex": 0, "sliceSize": 100, "allowedStatuses": ["STATUS_SUCCESS"]}
        trials = query(f"{url}/data/plugin/hparams/session_groups", {**wanted, "colParams": [{"metric": METRIC}]})
    for label, record in RUNS.items():
        assert f"> {label} <" in shown
        (trial,) = (each for each in trials["sessionGroups"] if each["name"] == label)
        assert trial["metricValues"][0]["value"] == pytest.approx(record["test_error_last"], rel=1e-6)
    assert experiment["metricInfos"][0]["displayName"] == "test error (%)"


METRIC = {"group": "", "tag": "error/test"}


def query(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


@contextlib.contextmanager
def served(logdir):
    """Runs TensorBoard. Yields its address."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", f"--logdir={logdir}", f"--port={port}", "--load_fast=false"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(120):
            try:
                with urllib.request.urlopen(f"http://localhost:{port}/data/runs", timeout=5) as response:
                    if b"comparison" in response.read():
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
