"""Event files for TensorBoard, written by TensorBoard's own library: no TensorFlow, so the same on every backend."""

import importlib.util
import time
from collections.abc import Mapping
from typing import Any


def summary_writer(logdir: str) -> "SummaryWriter":
    """A writer of a new event file in `logdir`; where TensorBoard is not installed, one that writes nothing."""
    return SummaryWriter(logdir) if importlib.util.find_spec("tensorboard") else NoSummaryWriter()


class NoSummaryWriter:
    """Takes what a `SummaryWriter` takes, and drops it."""

    def scalars(self, values: Mapping[str, float], *, step: int) -> None:
        """Writes one point of each scalar, tag -> value."""

    def hparams(self, hparams: Mapping[str, Any], *, metrics: Mapping[str, str]) -> None:
        """Writes what the run is: its hyperparameters, and the scalars (tag -> title) to compare runs by."""

    def close(self, *, finished: bool) -> None:
        """Marks the run as finished or failed, and closes the file."""


class SummaryWriter(NoSummaryWriter):
    """Appends to an event file."""

    def __init__(self, logdir: str):
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._logdir = logdir
        self._writer = EventFileWriter(logdir)

    def scalars(self, values, *, step):
        from tensorboard.plugins.scalar.summary_v2 import scalar_pb

        for tag, value in values.items():
            self._add(scalar_pb(tag, value), step=step)

    def hparams(self, hparams, *, metrics):
        from tensorboard.plugins.hparams import summary_v2 as api  # the package's own `api` imports TensorFlow

        values = {key: value if isinstance(value, (bool, int, float)) else str(value) for key, value in hparams.items()}
        columns = [api.Metric(tag, display_name=title) for tag, title in metrics.items()]
        self._add(api.hparams_config_pb(hparams=[api.HParam(key) for key in values], metrics=columns))
        self._add(api.hparams_pb(values, trial_id=self._logdir))

    def close(self, *, finished):
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

        status = api_pb2.STATUS_SUCCESS if finished else api_pb2.STATUS_FAILURE
        end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
        content = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_end_info=end))
        self._add(
            Summary(
                value=[Summary.Value(tag=metadata.SESSION_END_INFO_TAG, metadata=content, tensor=metadata.NULL_TENSOR)]
            )
        )
        self._writer.close()

    def _add(self, summary, *, step: int = 0) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))
