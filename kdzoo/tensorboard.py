"""Event files for TensorBoard, written by TensorBoard's own library: no TensorFlow, so the same on every backend."""

import importlib.util
import os
import socket
from collections.abc import Mapping
from time import time as now
from typing import Any


def summary_writer(logdir: str) -> "SummaryWriter":
    """A writer of a new event file in `logdir`; where TensorBoard is not installed, one that writes nothing."""
    return SummaryWriter(logdir) if importlib.util.find_spec("tensorboard") else NoSummaryWriter()


class NoSummaryWriter:
    """Takes what a `SummaryWriter` takes, and drops it."""

    def scalars(self, values: Mapping[str, float], *, step: int, time: float) -> None:
        """Writes one point of each scalar, tag -> value, at this time in seconds since 1970."""

    def hparams(self, hparams: Mapping[str, Any], *, metrics: Mapping[str, str]) -> None:
        """Writes what the run is: its hyperparameters, and the scalars (tag -> title) to compare runs by."""

    def close(self, *, finished: bool | None) -> None:
        """Marks the run as finished or failed, or None: neither yet; and closes the file."""


class SummaryWriter(NoSummaryWriter):
    """Appends to an event file."""

    def __init__(self, logdir: str):
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._logdir = logdir
        # The package's EventFileWriter does the same, but loads TensorFlow wherever that is installed.
        name = f"events.out.tfevents.{now():.0f}.{socket.gethostname()}.{os.getpid()}"
        self._file = open(os.path.join(logdir, name), "wb")  # noqa: SIM115 (closed by `close`)
        self._records = RecordWriter(self._file)
        self._records.write(Event(wall_time=now(), file_version="brain.Event:2").SerializeToString())

    def scalars(self, values, *, step, time):
        from tensorboard.plugins.scalar.summary_v2 import scalar_pb

        for tag, value in values.items():
            self._add(scalar_pb(tag, value), step=step, time=time)

    def hparams(self, hparams, *, metrics):
        from tensorboard.plugins.hparams import summary_v2 as api  # the package's own `api` imports TensorFlow

        values = {key: value if isinstance(value, (bool, int, float)) else str(value) for key, value in hparams.items()}
        columns = [api.Metric(tag, display_name=title) for tag, title in metrics.items()]
        self._add(api.hparams_config_pb(hparams=[api.HParam(key) for key in values], metrics=columns))
        self._add(api.hparams_pb(values, trial_id=self._logdir))

    def close(self, *, finished):
        if finished is not None:
            self._add(_session_end(finished))
        self._file.close()

    def _add(self, summary, *, step: int = 0, time: float | None = None) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        event = Event(wall_time=now() if time is None else time, step=step, summary=summary)
        self._records.write(event.SerializeToString())
        self._records.flush()


def _session_end(finished: bool):
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    status = api_pb2.STATUS_SUCCESS if finished else api_pb2.STATUS_FAILURE
    end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=now())
    content = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_end_info=end))
    tag = metadata.SESSION_END_INFO_TAG
    return Summary(value=[Summary.Value(tag=tag, metadata=content, tensor=metadata.NULL_TENSOR)])
