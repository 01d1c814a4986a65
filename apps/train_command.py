"""Makes one run as its flags describe it: the common part of `apps.train`, `apps.distill` and `apps.demo`."""

import contextlib
import os
import pathlib
import signal
import sys
from collections.abc import Mapping
from typing import Any

from absl import flags

from apps import process_errors, run_config, signals
from kdzoo import parent_process, training
from kdzoo.runs import machine, progress, records
from kdzoo.runs.config import RunConfig
from kdzoo.training import processes

FLAGS = flags.FLAGS


def train(model: str, **distillation: Any) -> None:
    """Trains the model as the flags describe, and prints one line with its test error.

    Args:
        model: architecture, for example wrn16-2.
        **distillation: fields of `kdzoo.RunConfig` that replace the flags' values: teachers and loss weights.
    """
    parent_process.end_with_parent()
    config = run_config.from_flags(model=model, **distillation)
    finished = (pathlib.Path(FLAGS.workdir) / records.RECORD).exists() and not FLAGS.restart
    with process_errors.shortened() if config.strategy == "data_parallel" else contextlib.nullcontext():
        record = run_training(config, FLAGS.workdir, kind=FLAGS.progress, **run_config.options_from_flags())
    if processes.here().is_first:
        _print_result(record, finished=finished)


def _print_result(record: Mapping[str, Any], *, finished: bool) -> None:
    top5 = f", top-5 error {record['test_top5_error_last']:.2f} %" if "test_top5_error_last" in record else ""
    print(
        f"{'finished before: ' if finished else ''}{record['name']} on {record['dataset']['name']}:"
        f" test error {record['test_error_last']:.2f} %"
        f" (best {record['test_error_best']:.2f} % in epoch {record['test_error_best_epoch']}){top5},"
        f" {record['parameters']:,} parameters, {record['wall_seconds'] / 60:.1f} minutes: {FLAGS.workdir}"
    )


def run_training(
    config: RunConfig, workdir: str | os.PathLike[str], *, kind: str = "auto", **options: Any
) -> dict[str, Any]:
    """Calls `kdzoo.training.run` and shows its progress. Returns the run's record.

    After SIGTERM or Ctrl-C the run saves a checkpoint, and the process exits with 128 plus the signal's number.

    Args:
        config: of the run.
        workdir: directory of the run.
        kind: how progress is shown: bar, lines, json, or auto, which is a bar on a terminal and lines elsewhere.
        **options: more arguments of `kdzoo.training.run`.
    """
    with signals.stop_signals() as received:
        machine.check_backend()
        if kind == "auto":
            kind = "bar" if sys.stdout.isatty() else "lines"
        show = {"bar": progress.bar, "lines": progress.lines, "json": progress.json_lines}[kind]()
        try:
            record: dict[str, Any] = training.run(
                config, workdir, progress=show, stopping=lambda: bool(received), **options
            )
        except training.Stopped as stopped:
            print(f"\nstopped {stopped}; saved, so that the same command resumes from there: {workdir}", flush=True)
            sys.exit(128 + (received or [signal.SIGTERM])[0])  # the signal may have been another process's
        return record
