"""TensorBoard event files, written without TensorFlow: a writer, and the tags of a run's history and record."""

import importlib.util
import os
import socket
import struct
from collections.abc import Iterable, Mapping, Sequence
from time import time as now
from typing import Any

from kdzoo.distillation.metrics import FEW_CLASSES
from kdzoo.models import names
from zoo import InputError

EVENTS = "events.out.tfevents.*"
METRICS = {"error/test": "test error (%)"}
TOP5_METRICS = METRICS | {"error/test_top5": "test top-5 error (%)"}
# Name in the history -> tag. TensorBoard groups tags by their first part.
_TAGS = {
    **{f"{split}_error": f"error/{split}" for split in ("train", "val", "test")},
    **{f"{split}_top5_error": f"error/{split}_top5" for split in ("val", "test")},
    **{f"{split}_ce": f"cross_entropy/{split}" for split in ("val", "test")},
    "ce": "cross_entropy/train",
    **{f"{split}_ece": f"calibration_error/{split}" for split in ("val", "test")},
    **{name: f"loss/{name}" for name in ("loss", "kd", "at", "method_loss")},
    "agreement": "teacher/agreement",
    "teacher_kl": "teacher/kl",
    "test_agreement": "agreement/test",
    **{name: f"run/{name}" for name in ("lr", "images_per_second")},
}


def scalars_of(row: Mapping[str, Any]) -> dict[str, float]:
    """Maps a row of a run's history to TensorBoard's tags, without missing values."""
    return {tag: row[name] for name, tag in _TAGS.items() if row.get(name) is not None}


def hparams_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the hyperparameters by which TensorBoard sorts and filters runs; schedules are k-N."""
    keys = ["model", "schedule", "dataset", "seed", "ce_weight", "kd_weight", "at_weight", "temperature", "kd_until"]
    keys += ["method_weight", "method_args"] if record["config"].get("distillation_method") else []
    keys += ["batch_size", "lr", "weight_decay", "augment", "dtype_policy"]
    config = {"kd_until": 1.0, **record["config"]}
    teachers = [teacher["name"] for teacher in record["teachers"]]
    return {key: config[key] for key in keys if key in config} | {
        "method": record["method"],
        "teacher": ",".join(teachers) or "none",
        "teacher_schedule": ",".join(map(_schedule, teachers)) or "none",
    }


def metrics_of(record: Mapping[str, Any]) -> dict[str, str]:
    """Returns the scalars (tag -> title) to compare unfinished runs by: of the validation split if there is one."""
    if record["config"].get("val_examples"):
        return {"error/val": "validation error (%)"}
    return TOP5_METRICS if record["dataset"]["num_classes"] > FEW_CLASSES else METRICS


def _schedule(name: str) -> str:
    """Returns the schedule in a model's name; "unknown" for an external model."""
    try:
        return str(names.parse_trained(name.rpartition("/")[2]).schedule or "unknown")
    except InputError:
        return "unknown"


def summary_writer(logdir: str) -> "NoSummaryWriter":
    """Returns a writer of a new event file in `logdir`; without TensorBoard, a writer that does nothing."""
    return SummaryWriter(logdir) if importlib.util.find_spec("tensorboard") else NoSummaryWriter()


class NoSummaryWriter:
    """A writer that does nothing, for use without TensorBoard."""

    def scalars(self, values: Mapping[str, float], *, step: int, time: float) -> None:
        """Writes one point of each scalar (tag -> value); `time` is in seconds since 1970."""

    def hparams(self, hparams: Mapping[str, Any], *, metrics: Mapping[str, str]) -> None:
        """Writes the run's hyperparameters, and the scalars (tag -> title) to compare runs by."""

    def close(self, *, finished: bool | None) -> None:
        """Marks the run as finished (True) or failed (False), or as neither yet (None), and closes the file."""


class SummaryWriter(NoSummaryWriter):
    """Appends to an event file."""

    def __init__(self, logdir: str, *, suffix: str = "") -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._logdir = logdir
        # The package's EventFileWriter does the same, but loads TensorFlow wherever that is installed.
        name = f"events.out.tfevents.{now():.0f}.{socket.gethostname()}.{os.getpid()}{suffix}"
        self._file = open(os.path.join(logdir, name), "wb")  # noqa: SIM115 (closed by `close`)
        self._records = RecordWriter(self._file)
        self._records.write(Event(wall_time=now(), file_version="brain.Event:2").SerializeToString())

    def scalars(self, values: Mapping[str, float], *, step: int, time: float) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.scalar.summary_v2 import scalar_pb

        points = Summary()
        for tag, value in values.items():
            points.MergeFrom(scalar_pb(tag, value))
        self._add(points, step=step, time=time)

    def hparams(self, hparams: Mapping[str, Any], *, metrics: Mapping[str, str]) -> None:
        self.experiment(hparams, metrics=metrics)
        self.trial(hparams, name=self._logdir)

    def experiment(self, hparams: Iterable[str], *, metrics: Mapping[str, str], first: Iterable[str] = ()) -> None:
        """Writes the columns of the table of runs: hyperparameters, `first` ones first, and metrics (tag -> title)."""
        from tensorboard.plugins.hparams import plugin_data_pb2
        from tensorboard.plugins.hparams import summary_v2 as api  # the package's own `api` imports TensorFlow

        columns = [api.Metric(tag, display_name=title) for tag, title in metrics.items()]
        summary = api.hparams_config_pb(hparams=[api.HParam(key) for key in hparams], metrics=columns)
        leading = set(first)
        plugin = summary.value[0].metadata.plugin_data
        content = plugin_data_pb2.HParamsPluginData.FromString(plugin.content)
        for info in content.experiment.hparam_infos:
            info.differs = info.name in leading
        plugin.content = content.SerializeToString()
        self._add(summary)

    def trial(self, hparams: Mapping[str, Any], *, name: str) -> None:
        """Writes the values of a run's hyperparameters, under its name in the table."""
        from tensorboard.plugins.hparams import summary_v2 as api

        values = {key: value if isinstance(value, (bool, int, float)) else str(value) for key, value in hparams.items()}
        self._add(api.hparams_pb(values, trial_id=name))

    def image(self, tag: str, png: bytes) -> None:
        """Writes a PNG."""
        from tensorboard.plugins.image import metadata

        size = struct.unpack(">II", png[16:24])  # width and height, first in a PNG's first chunk
        values = [*(str(side).encode() for side in size), png]
        self._add(_strings(tag, values, metadata.create_summary_metadata(None, None), shape=[len(values)]))

    def text(self, tag: str, markdown: str) -> None:
        """Writes Markdown."""
        from tensorboard.plugins.text.summary_v2 import text_pb

        self._add(text_pb(tag, markdown))

    def layout(self, categories: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
        """Writes the charts of the custom-scalars page: category -> chart -> tags."""
        from tensorboard.plugins.custom_scalar import layout_pb2 as proto
        from tensorboard.plugins.custom_scalar import metadata

        layout = proto.Layout(
            category=[
                proto.Category(
                    title=category,
                    chart=[
                        proto.Chart(
                            title=title, multiline=proto.MultilineChartContent(tag=[f"^{tag}$" for tag in tags])
                        )
                        for title, tags in charts.items()
                    ],
                )
                for category, charts in categories.items()
            ]
        )
        values = [layout.SerializeToString()]
        self._add(_strings(metadata.CONFIG_SUMMARY_TAG, values, metadata.create_summary_metadata(), shape=[]))

    def close(self, *, finished: bool | None) -> None:
        if finished is not None:
            self._add(_session_end(finished))
        self._file.close()

    def _add(self, summary: Any, *, step: int = 0, time: float | None = None) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        event = Event(wall_time=now() if time is None else time, step=step, summary=summary)
        self._records.write(event.SerializeToString())
        self._records.flush()


def _strings(tag: str, values: Sequence[bytes], metadata: Any, *, shape: Sequence[int]) -> Any:
    """Returns a summary of byte strings in an array of this shape."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING

    dimensions = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in shape])
    tensor = TensorProto(dtype=DT_STRING, tensor_shape=dimensions, string_val=values)
    return Summary(value=[Summary.Value(tag=tag, metadata=metadata, tensor=tensor)])


def _session_end(finished: bool) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    status = api_pb2.STATUS_SUCCESS if finished else api_pb2.STATUS_FAILURE
    end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=now())
    content = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_end_info=end))
    tag = metadata.SESSION_END_INFO_TAG
    return Summary(value=[Summary.Value(tag=tag, metadata=content, tensor=metadata.NULL_TENSOR)])
