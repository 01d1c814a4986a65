"""The command `apps.tune`, in one process and in several, killed and resumed."""

import json
import pathlib
import random
import shlex
import shutil
import subprocess
import time

import numpy as np
import pytest

from conftest import ends_within, run_python, start_python
from kdzoo.experiments import trial_configs
from kdzoo.runs import records
from test_resume import weights


@pytest.fixture(scope="module")
def command(npz):
    """Returns the arguments of a search in a workdir."""
    flags = ["--student=wrn10-1", "--schedule=1-3", f"--dataset=npz:{npz}", "--batch_size=32", "--val_examples=32"]
    flags += ["--teachers=none,wrn10-1", "--teacher_schedules=1-1,1-2", "--temperatures=1,4", "--lr=0.02"]

    def args(workdir, *more: str) -> list[str]:
        return ["-m", "apps.tune", *flags, "--checkpoint_minutes=1e-6", f"--workdir={workdir}", *more]

    return args


RANDOM = ("--search=random", "--max_trials=3")
HYPERBAND = ("--search=hyperband",)


def run_search(command, workdir, *more: str) -> subprocess.CompletedProcess:
    done = run_python(*command(workdir, *more))
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert done.stderr == ""
    return done


def assert_same_search(one: pathlib.Path, two: pathlib.Path) -> None:
    """The same trials with the same hyperparameters and scores, and each the same to the bit."""
    states = [json.loads((path / "search" / "oracle.json").read_text())["trials"] for path in (one, two)]
    assert states[0] == states[1]
    finished = sorted(path.parent.relative_to(one) for path in one.glob(f"*/*/{records.RECORD}"))
    assert finished == sorted(path.parent.relative_to(two) for path in two.glob(f"*/*/{records.RECORD}"))
    assert len(finished) >= 3
    for run in finished:
        texts = [json.dumps(records.result(records.read(path / run))).replace(str(path), "") for path in (one, two)]
        assert texts[0] == texts[1]
        for x, y in zip(weights(one / run), weights(two / run), strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.fixture(scope="module")
def undisturbed(command, tmp_path_factory):
    """Makes an undisturbed search with these flags, once. Returns its directory, process and seconds."""
    made = {}

    def make(more: tuple[str, ...]):
        if more not in made:
            workdir = tmp_path_factory.mktemp("undisturbed") / "search"
            began = time.monotonic()
            done = run_search(command, workdir, *more)
            made[more] = workdir, done, time.monotonic() - began
        return made[more]

    return make


def test_a_search_ends_with_commands_to_run(undisturbed):
    workdir, done, _ = undisturbed(RANDOM)
    lines = done.stdout.splitlines()
    ends = [line for line in lines if ": val error" in line and line.startswith("trial ")]
    assert [line.split(":")[0] for line in ends] == ["trial 0000", "trial 0001", "trial 0002"]
    assert "test error" not in done.stdout
    result = json.loads((workdir / "recommendation.json").read_text())
    assert result["finished"]
    assert result["candidates"] == 5
    assert result["best"] == result["trials"][0]["trial"]
    assert (workdir / "recommendation.md").read_text().strip() in done.stdout
    assert result["commands"] == [line for line in lines if line.startswith("python -m")]
    for line in result["commands"]:
        _, *words = shlex.split(line)
        assert not any(word.startswith("--val_examples") for word in words)
        # The word at the end stops the command once its flags are parsed.
        parsed = run_python(*words, "stop")
        assert parsed.stderr == "error: Arguments must be flags, for example --seed=1. Received: stop\n"


def test_tensorboard_shows_the_hyperparameters_of_each_trial(undisturbed):
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.plugins.hparams import metadata

    workdir, *_ = undisturbed(RANDOM)
    for trial in json.loads((workdir / "recommendation.json").read_text())["trials"]:
        (path,) = (workdir / "trials" / trial["trial"]).glob("events.out.tfevents.*")
        values = [value for event in EventFileLoader(str(path)).Load() for value in event.summary.value]
        start = next(value for value in values if value.tag == metadata.SESSION_START_INFO_TAG)
        hparams = metadata.parse_session_start_info_plugin_data(start.metadata.plugin_data.content).hparams
        assert hparams["teacher"].string_value == trial_configs.name_teacher(trial["values"])
        assert hparams["temperature"].number_value == trial["values"].get("temperature", 4.0)
        assert hparams["kd_weight"].number_value == trial["values"].get("kd_weight", 0.0)
        assert sum(value.tag == "error/val" for value in values) == trial["epochs"]


def kill_and_compare(command, undisturbed, tmp_path, more: tuple[str, ...], *, kills: int, seed: int = 0) -> None:
    expected, _, seconds = undisturbed(more)
    moments = random.Random(seed)
    killed = searches = 0
    while killed < kills:
        workdir, finished = tmp_path / f"{searches}", False
        while not finished:
            with start_python(*command(workdir, *more)) as process:
                if moments.random() < 0.8:  # else it may not even have started
                    process.stdout.readline()
                    process.stdout.readline()  # it trains
                finished = ends_within(process, moments.uniform(0, seconds / 4) if killed < kills else 300)
                killed += not finished
        assert_same_search(expected, workdir)
        searches += 1
        shutil.rmtree(workdir)


@pytest.mark.slow
def test_two_kills_leave_a_random_search_as_it_would_have_been(command, undisturbed, tmp_path):
    kill_and_compare(command, undisturbed, tmp_path, RANDOM, kills=2)


@pytest.mark.slow
@pytest.mark.parametrize("more", [RANDOM, HYPERBAND, ("--search=bayesian", "--max_trials=4")], ids=lambda more: more[0])
def test_ten_kills_leave_a_search_as_it_would_have_been(command, undisturbed, tmp_path, more):
    kill_and_compare(command, undisturbed, tmp_path, more, kills=10, seed=1)


def test_impossible_flags_end_in_one_line(command, tmp_path):
    for more, message in (
        (["--search=random", "--max_trials=0"], "max_trials must be at least 1"),
        (["--temperatures=warm"], "temperatures must be at least 0.001 and at most 100, for example 4. Received: warm"),
        (["--teachers=nobody", "--teacher_schedules="], "Received: nobody"),
        (["--checkpoint_minutes=0"], "checkpoint_minutes must be above 0"),
    ):
        done = run_python(*command(tmp_path / "search", *more))
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: ")
        assert message in line
        assert list(tmp_path.iterdir()) == []


def test_help_needs_no_tensorflow():
    code = "import sys; sys.argv = ['x', '--help']; import apps.tune\nprint(*{m.split('.')[0] for m in sys.modules})"
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr
    assert not {"keras", "keras_tuner", "tensorflow", "jax", "matplotlib"} & set(done.stdout.split())


def same_values(one: pathlib.Path, two: pathlib.Path) -> None:
    """The same trials; on shares of the machine their scores may differ in rounding."""
    values = [
        [
            trial["hyperparameters"]["values"]
            for trial in json.loads((path / "search" / "oracle.json").read_text())["trials"]
        ]
        for path in (one, two)
    ]
    assert values[0] == values[1]


@pytest.mark.slow
def test_workers_share_teachers_and_one_may_be_killed(command, undisturbed, tmp_path):
    """A chief and two workers, by KerasTuner's environment variables; one is killed, and its trial is not lost."""
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    address = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": str(port)}
    args = command(tmp_path, *RANDOM)

    def start(tuner: str) -> subprocess.Popen:
        return start_python(*args, env={**address, "KERASTUNER_TUNER_ID": tuner})

    with start("chief") as chief, start("worker0") as one, start("worker1") as two:
        assert one.stdout.readline().startswith("trial ")
        one.kill()
        one.communicate()
        with start("worker0") as again:
            output = ""
            for process in (chief, two, again):
                stdout, stderr = process.communicate(timeout=300)
                assert process.returncode == 0, stdout + stderr
                assert stderr == ""
                output += stdout
    assert "Search finished. 3 trials of 5 candidates" in output
    assert output.count("test error") == 0
    same_values(undisturbed(RANDOM)[0], tmp_path)
    teachers = [line for line in output.splitlines() if line.startswith("teacher ") and "val error" in line]
    assert len(teachers) == len(set(teachers)) == len(list((tmp_path / "teachers").iterdir()))


@pytest.mark.slow
def test_workers_end_with_the_command_that_started_them_and_resume(command, undisturbed, tmp_path):
    args = command(tmp_path, *RANDOM, "--workers=2")
    with start_python(*args) as chief:
        assert chief.stdout.readline().startswith("random: at most 3 trials of 5 candidates")
        assert chief.stdout.readline().startswith("trial ")
        chief.kill()
        # Its workers hold its output open: once this returns, they are gone too.
        chief.communicate(timeout=30)
    done = run_python(*args)
    assert done.returncode == 0, done.stderr
    assert "Search finished. 3 trials of 5 candidates" in done.stdout
    same_values(undisturbed(RANDOM)[0], tmp_path)
    stopped = run_python(*command(tmp_path / "budget", *RANDOM, "--workers=2", "--budget_minutes=0"))
    assert stopped.returncode == 75, stopped.stderr
    assert "Search not finished: the same command resumes it." in stopped.stdout
