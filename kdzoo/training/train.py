"""One training run: a configuration in, a trained network and its record out."""

import contextlib
import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable
from typing import Any

from kdzoo.distillation import schedules
from kdzoo.distillation.distiller import Distiller
from kdzoo.runs import checkpoints, kept_epochs, machine, records, settings, weights
from kdzoo.runs.config import RunConfig
from kdzoo.runs.identity import WEIGHTS_DIGEST
from kdzoo.runs.progress import Progress, silent
from kdzoo.teachers import base, output_cache
from kdzoo.training import build, checkpointing, finished, latency, record, strategy, workdirs
from kdzoo.training.delivery import Delivery, choose_delivery
from kdzoo.training.inputs import RunInputs, prepare_inputs
from kdzoo.training.loop import TrainingLoop
from kdzoo.training.phases import Phases
from kdzoo.training.processes import Processes, join, losses_found
from kdzoo.training.state import TrainingState


def run(
    config: RunConfig,
    workdir: str | os.PathLike[str],
    *,
    restart: bool = False,
    checkpoint_minutes: float = checkpoints.MINUTES,
    teacher_deadline: float = base.DEADLINE,
    teacher_cache: str = "auto",
    cache_gb: float = output_cache.CACHE_GB,
    data_workers: int = -1,
    coordinator: str = "",
    num_processes: int = 0,
    process_id: int = -1,
    progress: Callable[[Progress], None] = silent,
    stopping: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Trains a network as configured; writes its weights, event files and record into `workdir`.

    The same configuration gives the same weights to the bit on the same CPU with as many cores. That holds for a run
    that was killed at any moment, any number of times: the same call resumes it from its last checkpoint. Once it is
    finished, the same call returns its record.

    Args:
        config: the network to train, its data, teachers and hyperparameters.
        workdir: a directory, made if need be.
        restart: whether to remove a finished or unfinished run in `workdir` first.
        checkpoint_minutes: longest time between checkpoints, above 0; each epoch ends with one in any case.
        teacher_deadline: seconds within which a teacher behind a server must respond; else the run saves and ends.
        teacher_cache: folder for teacher outputs, shared with other runs: auto ($KDZOO_CACHE, or kdzoo in the user's
            cache folder), off, a folder, or s3://BUCKET/PREFIX. On a CPU the result is the same to the bit.
        cache_gb: most disk space of the cache, in 10^9 bytes, above 0.
        data_workers: processes that decode pictures; 0: this one does, -1: one for each of several cores, up to 16.
        coordinator, num_processes, process_id: of a data-parallel run in several processes, each of which calls this:
            see `kdzoo.training.processes.join`. The first one alone writes.
        progress: called between steps, at most about once a second, and at each epoch's end.
        stopping: called between steps; once it returns true the run is saved and Stopped is raised.

    Returns:
        The record, as in `workdir/record.json`. Errors and agreement are in percent.

    Raises:
        InputError: if the configuration is impossible or the workdir cannot take the run, as it holds one of another
            configuration. Nothing is written then. Also if training diverges: then there is no record and no file of
            weights.
        Stopped: see `stopping`; all processes of a run stop if one of them is to.
        kdzoo.training.ProcessLost: if another process of the run has ended before it.
    """
    config.check()
    machine.check_backend()
    settings.check(checkpoint_minutes=checkpoint_minutes, teacher_deadline=teacher_deadline, cache_gb=cache_gb)
    settings.check(data_workers=data_workers, num_processes=num_processes, process_id=process_id)
    cache = output_cache.find(teacher_cache, cache_gb)
    strategy.make_deterministic()
    processes = join(config, coordinator=coordinator, num_processes=num_processes, process_id=process_id)
    options: dict[str, Any] = {"restart": restart, "checkpoint_seconds": 60 * checkpoint_minutes}
    options |= {"progress": progress, "stopping": stopping}
    options["data"] = {"deadline": teacher_deadline, "workers": data_workers}
    with losses_found(processes):
        return _prepare_and_train(config, pathlib.Path(workdir), processes, cache, **options)


def _prepare_and_train(
    config: RunConfig,
    workdir: pathlib.Path,
    processes: Processes,
    cache: output_cache.Cache | None,
    *,
    data: dict[str, Any],
    restart: bool,
    progress: Callable[[Progress], None],
    stopping: Callable[[], bool],
    **options: Any,
) -> dict[str, Any]:
    """Opens data and teachers, and trains unless the workdir holds the finished run. Returns the record."""
    processes.from_first(lambda: workdirs.check(workdir))
    inputs = prepare_inputs(config, workdir, processes, restart=restart, **data)
    with contextlib.closing(inputs.dataset):
        processes.check_same(inputs.identity)
        if not restart and (found := processes.from_first(lambda: _find_finished(inputs, workdir))):
            return found
        with contextlib.closing(choose_delivery(inputs, cache)) as delivery:
            options["progress"] = progress if processes.is_first else silent
            options["stopping"] = processes.agree_to_stop(stopping)
            return _train(inputs, delivery, workdir, restart=restart, **options)


def _train(
    inputs: RunInputs,
    delivery: Delivery,
    workdir: pathlib.Path,
    *,
    restart: bool,
    checkpoint_seconds: float,
    **options: Any,
) -> dict[str, Any]:
    """Builds the networks, resumes or begins, loops over the epochs, finishes. Returns the record."""
    model = build.build_distiller(inputs, delivery)
    phases = Phases(model, inputs, delivery)
    test_logits = functools.cache(lambda: delivery.test_logits(model, inputs.dataset))
    processes = inputs.processes
    with contextlib.ExitStack() as stack:
        processes.from_first(lambda: stack.enter_context(workdirs.locked(workdir, restart=restart)))
        if found := processes.from_first(lambda: _find_finished(inputs, workdir)):  # by another run
            return found
        state = checkpointing.resume(workdir, phases, inputs) or TrainingState()
        processes.from_first(lambda: finished.check_kept(inputs.config, workdir, done=state.epoch))
        state.begin_session(cache_folder=delivery.cache_folder, **processes.describe())
        result = record.describe_run(inputs, model, started=state.started)
        with (
            record.event_file(workdir, result, state, writes=processes.is_first) as events,
            checkpointing.CheckpointWriter(workdir, phases, state, inputs, seconds=checkpoint_seconds) as writer,
        ):
            loop = TrainingLoop(
                inputs,
                phases,
                state,
                teacher_test_logits=test_logits,
                checkpoints=writer,
                keep=lambda: _keep(workdir, inputs, model, phases, state),
                events=events,
                **options,
            )
            loop.run()
            if delivery.rows is not None:
                state.sessions[-1]["teacher_rows"] = processes.total(delivery.rows)
            with phases.steps_at(state.epoch).averaged_weights():
                result = processes.from_first(lambda: _finish(workdir, inputs, model, state, result))
        if processes.is_first:
            workdirs.remove_checkpoints(workdir)
    return result


def _find_finished(inputs: RunInputs, workdir: pathlib.Path) -> dict[str, Any] | None:
    """Returns the record of the finished run in a directory, which has kept all epochs that it was to; None without."""
    found = finished.find(workdir, inputs.identity)
    if found:
        finished.check_kept(inputs.config, workdir, done=len(found["history"]))
    return found


def _keep(workdir: pathlib.Path, inputs: RunInputs, model: Distiller, phases: Phases, state: TrainingState) -> None:
    """Keeps a run as it is after an epoch: as a finished run whose schedule ends there."""
    directory = kept_epochs.directory(workdir, state.epoch)
    schedule = schedules.cut(inputs.config.schedule, state.epoch)
    config = dataclasses.replace(inputs.config, schedule=schedule, keep_epochs="")
    inputs = dataclasses.replace(inputs, config=config)
    result = record.describe_run(inputs, model, started=state.started)
    with phases.steps_at(state.epoch - 1).averaged_weights():
        inputs.processes.from_first(lambda: _finish(directory, inputs, model, state, result))


def _finish(
    workdir: pathlib.Path, inputs: RunInputs, model: Distiller, state: TrainingState, result: dict[str, Any]
) -> dict[str, Any]:
    """Writes the weights and the record of a run, whose first part is `result`, and returns it."""
    workdir.mkdir(parents=True, exist_ok=True)
    result |= record.summarise(state)
    result[records.LATENCY] = latency.measure_once(model.student, inputs.dataset.image_shape)
    result["dataset"] |= record.describe_contents(inputs.dataset)
    result |= {key: state.sessions[-1][key] for key in ("versions", "hardware")} | {"sessions": state.sessions}
    result[WEIGHTS_DIGEST] = weights.save_weights(workdir, model)
    records.write(workdir, result)
    return result
