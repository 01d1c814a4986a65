"""Data-parallel runs on JAX, on several devices of one process and in several processes, in processes of their own."""

import contextlib
import json
import signal
import socket
import sys
import time

import numpy as np
import pytest

from conftest import JAX_ENV, JAX_PYTHON, WITHOUT_TENSORFLOW, app, run_python, start_python
from kdzoo.runs import records

pytestmark = pytest.mark.slow
if sys.executable == JAX_PYTHON:
    pytest.importorskip("jax")
TWO_DEVICES = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
EPOCHS = 12
# Prints the losses of 20 steps of several configurations, and the mean logit of the test images.
LOSSES = """
import json, pathlib, sys
import numpy as np
from kdzoo import RunConfig
from kdzoo.teachers import output_cache
from kdzoo.training import backends, build, delivery, inputs
from kdzoo.training.processes import join

cases, *given = json.loads(sys.argv[1])
for fields in cases:
    cache = fields.pop("cache")
    config = RunConfig("wrn10-1", "2-5", **{"augment": "crop_flip", "batch_size": 32, "lr": 0.005, **fields})
    processes = join(config, **dict(zip(("coordinator", "num_processes", "process_id"), given)))
    found = inputs.prepare_inputs(config, pathlib.Path("none"), processes, restart=False, deadline=60.0, workers=0)
    way = delivery.choose_delivery(found, cache and output_cache.find(cache))
    model = build.build_distiller(found, way)
    steps = backends.make(model, found.dataset, found.splits["train"], found.config, way.step_outputs)
    losses = []
    together = config.fused_steps or 1
    for number in range(0, 20, together):
        epoch, step = divmod(number, steps.per_epoch)
        model.reset_metrics()
        steps.run(epoch=epoch, begin=step, end=step + together)
        losses.append(steps.metrics()["loss"])
        steps.state()
    logits = steps.predict(found.dataset.test)
    taught = [float(np.abs(way.test_logits(model, found.dataset)).mean())] if config.teachers else []
    way.close()
    if processes.is_first:
        print(json.dumps([type(way).__name__, losses, float(np.abs(logits).mean()), *taught]), flush=True)
"""


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def print_losses(cases: list[dict], *, strategy: str, processes: int = 1, **options) -> list:
    """What `LOSSES` prints for each case, by processes of one device each, or by one process of two."""
    code = WITHOUT_TENSORFLOW + LOSSES
    coordinator = f"127.0.0.1:{free_port()}"
    started = []
    for process in range(processes):
        given = [coordinator, processes, process] if processes > 1 else []
        words = json.dumps([[case | {"strategy": strategy} for case in cases], *given])
        env = JAX_ENV | (TWO_DEVICES if strategy == "data_parallel" and processes == 1 else {})
        started.append(start_python("-c", code, words, python=JAX_PYTHON, env=env))
    outputs = [process.communicate(timeout=1200) for process in started]
    assert not any(process.returncode for process in started), outputs
    return [json.loads(line) for line in outputs[0][0].splitlines()]


def compare_losses(cases: list[dict], *, ways: list[str]) -> None:
    """Fails unless losses and logits of one device, of two in one process, and of two processes are the same."""
    one = print_losses(cases, strategy="none")
    devices = print_losses(cases, strategy="data_parallel")
    processes = print_losses(cases, strategy="data_parallel", processes=2)
    assert [line[0] for line in devices] == [line[0] for line in processes] == ways
    for lines, tolerance in ((devices, 1e-5), (processes, 1e-5)):
        for ours, theirs in zip(lines, one, strict=True):
            np.testing.assert_allclose(ours[1], theirs[1], rtol=tolerance)
            np.testing.assert_allclose(ours[2:], theirs[2:], rtol=1e-4)
    for ours, theirs in zip(processes, devices, strict=True):
        np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-6)


def test_devices_and_processes_give_the_losses_of_one_device(npz, teacher_run):
    taught = {"teachers": [str(teacher_run)], "ce_weight": 0.1, "kd_weight": 0.9, "at_weight": 100.0}
    compare_losses([{"dataset": f"npz:{npz}", "cache": "", **taught}], ways=["InStep"])


class Run:
    """The processes of one run of a student.

    Args:
        flags: of `apps.distill`.
        count: of processes, of one device each.
    """

    def __init__(self, flags: list[str], count: int = 2):
        flags = [*flags, "--strategy=data_parallel", "--progress=json"]
        if count > 1:
            flags += [f"--coordinator=127.0.0.1:{free_port()}", f"--num_processes={count}"]
        self.processes = []
        for number in range(count):
            command = app("jax", "distill", *flags, *([f"--process_id={number}"] if count > 1 else []))
            self.processes.append(start_python(*command.pop("args"), **command))

    def wait_for_epoch(self, epoch: int) -> None:
        for line in self.processes[0].stdout:
            if json.loads(line)["epoch"] == epoch:
                return
        pytest.fail(self.processes[0].stderr.read()[-3000:])

    def finish(self, seconds: float = 600) -> list[tuple[int, str, str]]:
        """The exit code, stdout and stderr of each process, which end within so many seconds."""
        ended = time.monotonic() + seconds
        try:
            outputs = [process.communicate(timeout=ended - time.monotonic()) for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()
        return [(process.returncode, *output) for process, output in zip(self.processes, outputs, strict=True)]


@pytest.fixture
def flags(npz, teacher_run) -> list[str]:
    flags = ["--student=wrn10-1", f"--teacher={teacher_run}", "--method=at+kd", f"--schedule=4-{EPOCHS}", "--seed=3"]
    return [*flags, f"--dataset=npz:{npz}", "--batch_size=32", "--lr=0.01", "--checkpoint_minutes=1e-6"]


@pytest.mark.parametrize("victim", [0, 1])
def test_if_one_process_is_killed_all_end_and_fewer_resume(flags, victim, tmp_path):
    run = Run([*flags, f"--workdir={tmp_path}/run"])
    run.wait_for_epoch(2)
    run.processes[victim].send_signal(signal.SIGKILL)
    other = run.finish(seconds=120)[1 - victim]
    assert other[0] in (75, -signal.SIGABRT)
    (line,) = other[2].splitlines()
    assert line.startswith(
        "error: All processes of a run must last until its end; the same command in each of them resumes"
    )
    assert not (tmp_path / "run" / records.RECORD).exists()
    ((code, _, stderr),) = Run([*flags, f"--workdir={tmp_path}/run"], count=1).finish()
    assert code == 0, stderr
    assert "Resuming with other processes, so maybe not to the bit: 2, now 1" in stderr
    sessions = records.read(tmp_path / "run")["sessions"]
    assert [(session["processes"], session["devices"]) for session in sessions] == [(2, 2), (1, 1)]
    assert sessions[1]["epoch"] >= 1  # the second epoch may not have been written yet


def test_sigterm_in_one_process_saves_the_run_of_all(flags, tmp_path):
    run = Run([*flags, f"--workdir={tmp_path}/run"])
    run.wait_for_epoch(1)
    run.processes[1].send_signal(signal.SIGTERM)
    for code, stdout, stderr in run.finish(seconds=120):
        assert code == 128 + signal.SIGTERM, stderr
        assert "saved, so that the same command resumes from there" in stdout.splitlines()[-1]
    first, second = Run([*flags, f"--workdir={tmp_path}/run"]).finish()
    assert first[0] == second[0] == 0, first[2] + second[2]
    assert "wrn10-1_4-12 on npz:" in first[1].splitlines()[-1]
    assert not second[1]
    record = records.read(tmp_path / "run")
    assert [session["processes"] for session in record["sessions"]] == [2, 2]
    assert len(list((tmp_path / "run").glob("events.out.tfevents.*"))) <= 1  # none without tensorboard
    assert not (tmp_path / "run" / "checkpoints").exists()
    command = app("jax", "evaluate", f"--model={tmp_path}/run")
    done = run_python(*command.pop("args"), **command)
    assert f"test error {record['test_error_last']:.2f} %" in done.stdout, done.stderr


def test_processes_of_two_runs_end_with_one_line_each(flags, tmp_path):
    coordinator = f"--coordinator=127.0.0.1:{free_port()}"
    ended = []
    with contextlib.ExitStack() as stack:
        for number in range(2):
            own = [*flags, f"--workdir={tmp_path}/run", coordinator, "--num_processes=2", f"--process_id={number}"]
            command = app("jax", "distill", *own, "--strategy=data_parallel", f"--weight_decay={number + 1}e-4")
            process = stack.enter_context(start_python(*command.pop("args"), **command))
            stack.callback(process.kill)
            ended.append(process)
        errors = [process.communicate(timeout=240)[1] for process in ended]
    assert [process.returncode for process in ended][1] == 2
    assert errors[1].startswith("error: All processes of a run must have the same configuration, data and teachers.")
    assert "weight_decay 0.0001, now 0.0002 in process 1" in errors[1]
    assert errors[0].startswith("error: All processes of a run must last until its end")
    assert [len(error.splitlines()) for error in errors] == [1, 1]
