import dataclasses
import json
import math
import pathlib
import random
import shlex
import shutil
import subprocess
import time

import numpy as np
import pytest

from conftest import run_python, start_python
from kdzoo import files
from kdzoo.experiments import recommendation, search_space, search_state
from kdzoo.experiments.recommendation import Outcome
from kdzoo.experiments.search_space import Search
from kdzoo.experiments.trials import lock_of, progress_of, run_trial, train_until
from kdzoo.runs import checkpoints, records
from kdzoo.runs.config import RunConfig
from test_resume import weights
from zoo import InputError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:keras_tuner")

STUDENT = RunConfig("wrn10-1", "1-2")
SPACE = Search(
    STUDENT,
    teachers=("none", "wrn10-1", "wrn10-2"),
    teacher_schedules=("1-1", "1-2"),
    methods=("kd", "at", "at+kd"),
    temperatures=(1.0, 4.0),
    kd_weights=(0.5, 0.9),
    kd_untils=(0.5, 1.0),
)


# What is searched.


def test_a_trial_is_a_run():
    values = {"teacher": "wrn10-2", "teacher_schedule": "1-2", "method": "at+kd", "kd_until": 0.5}
    values |= {"temperature": 2.0, "kd_weight": 0.9}
    config = search_space.student_config(SPACE, values, "there")
    assert (config.model, config.teachers, config.temperature, config.kd_until) == ("wrn10-1", ("there",), 2.0, 0.5)
    assert (config.ce_weight, config.kd_weight, config.at_weight) == (0.1, 0.9, 1000.0)
    assert search_space.teacher_config(SPACE, values) == dataclasses.replace(STUDENT, model="wrn10-2", schedule="1-2")
    assert search_space.describe(values) == "teacher wrn10-2_1-2, at+kd, T 2, kd weight 0.9, kd until 0.5"
    at = search_space.student_config(SPACE, {"teacher": "runs/x", "method": "at", "kd_until": 1.0}, "runs/x")
    assert (at.method, at.ce_weight, at.temperature) == ("at", 1.0, STUDENT.temperature)
    assert search_space.student_config(SPACE, {"teacher": "none"}, "none") == STUDENT


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teachers": ()}, "teachers must be one or more"),
        ({"teachers": ("none", "none")}, "each once. Received: none, none"),
        ({"teachers": ("nobody",), "teacher_schedules": ()}, "architecture to train.*Received: nobody"),
        ({"teachers": ("wrn99-1_10-35",), "teacher_schedules": ()}, "A teacher must be none"),
        ({"teachers": ("none",)}, "and for no others. Received: 1-1, 1-2 for none"),
        ({"teacher_schedules": ()}, "teacher_schedules must be given"),
        ({"teacher_schedules": ("2-1",)}, "A schedule must be"),
        ({"methods": ("none",)}, "methods must be of kd, at, at[+]kd. Received: none"),
        ({"temperatures": (0.0,)}, "temperature must be above 0"),
        ({"kd_weights": (1.5,)}, "kd_weights must be above 0 and at most 1"),
        ({"kd_untils": (0.0,)}, "kd_until must be above 0"),
        ({"algorithm": "grid"}, "search must be one of"),
        ({"algorithm": "random", "max_trials": 0}, "max_trials must be at least 1.*Received: 0 for random"),
        ({"max_trials": 10}, "for random and bayesian.*Received: 10 for hyperband"),
        ({"student": RunConfig("vgg16", "1-2")}, "for example wrn16-2"),
        ({"student": RunConfig("wrn10-1", "1-2", dtype_policy="auto")}, "the same for all trials"),
        ({"student": RunConfig("wrn10-1", "1-2", teachers=("x",), kd_weight=1.0)}, "student must have no teacher"),
    ],
)
def test_what_is_no_search_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(SPACE, **changes).check()


def test_trials_are_ranked_by_what_trained_longest():
    def outcome(trial, error, epochs, **values):
        return Outcome(trial, {"teacher": "none"} | values, "COMPLETED", error, epochs)

    trials = [
        outcome("0000", 9.0, 1),
        outcome("0001", 5.0, 1),
        Outcome("0002", {"teacher": "none"}, "FAILED", None, 3),
        outcome("0003", 8.0, 3, **{"tuner/trial_id": "0000"}),
        outcome("0004", 7.0, 3),
    ]
    assert [trial.trial for trial in recommendation.rank(trials)] == ["0004", "0003", "0001"]
    # 7 and 8 % of 1000: each known to about 0.8 points. Of 100,000: to 0.08.
    assert recommendation.standard_error(7.0, 1000) == pytest.approx(100 * math.sqrt(0.07 * 0.93 / 1000), rel=0.01)
    assert recommendation.standard_error(0.0, 1000) > 0
    assert recommendation.count_ties(recommendation.rank(trials), 1000) == 1
    assert recommendation.count_ties(recommendation.rank(trials), 100_000) == 0


# KerasTuner's part, without training: scores are a function of the trial.


def score(values: dict, epochs: int) -> float:
    said = json.dumps({key: value for key, value in values.items() if not key.startswith("tuner/")}, sort_keys=True)
    return random.Random(said).uniform(1, 50) + 50 / epochs


def is_failing(values: dict) -> bool:
    return values["teacher"] == "wrn10-2" and values["teacher_schedule"] == "1-1"


def open_oracle(search: Search, workdir: pathlib.Path):
    from kdzoo.experiments import oracles

    oracle = oracles.make_oracle(search, workdir)
    if pathlib.Path(oracle._get_oracle_fname()).exists():
        oracle.reload()
    return oracle


def play(oracle, search: Search, fails=lambda values: False) -> None:
    """Asks for trials until there are no more."""
    while (trial := oracle.create_trial("tuner0")).status != "STOPPED":
        assert trial.status == "RUNNING"
        epochs = trial.hyperparameters.values.get("tuner/epochs", search.epochs)
        trial.status = "FAILED"
        if not fails(trial.hyperparameters.values):
            oracle.update_trial(trial.trial_id, {"val_error": score(trial.hyperparameters.values, epochs)}, step=epochs)
            trial.status = "COMPLETED"
        oracle.end_trial(trial)
    assert oracle.finished


def trials_of(oracle) -> list:
    return [(t.trial_id, t.hyperparameters.values, t.status, t.score) for t in oracle.trials.values()]


SEARCHES = {
    "random": dataclasses.replace(SPACE, algorithm="random", max_trials=6),
    "bayesian": dataclasses.replace(SPACE, algorithm="bayesian", max_trials=9),
    "hyperband": dataclasses.replace(SPACE, student=RunConfig("wrn10-1", "3-9")),
}


@pytest.mark.parametrize("algorithm", SEARCHES)
def test_a_search_goes_on_from_each_state_it_leaves_behind(algorithm, tmp_path):
    search = SEARCHES[algorithm]
    undisturbed = open_oracle(search, tmp_path / "undisturbed")
    states, path = [], pathlib.Path(undisturbed._get_oracle_fname())
    save = undisturbed.save
    undisturbed.save = lambda: (save(), states.append(path.read_bytes()))
    play(undisturbed, search, is_failing)
    assert len(states) == 2 * len(undisturbed.trials)
    for i, state in enumerate(states[:: 1 if algorithm == "random" else 3]):
        (tmp_path / f"{i}" / "search").mkdir(parents=True)
        (tmp_path / f"{i}" / "search" / "oracle.json").write_bytes(state)
        killed = open_oracle(search, tmp_path / f"{i}")
        play(killed, search, is_failing)
        assert trials_of(killed) == trials_of(undisturbed)
    again = open_oracle(search, tmp_path / "undisturbed")
    play(again, search)
    assert trials_of(again) == trials_of(undisturbed)
    epochs = [values.get("tuner/epochs", search.epochs) for _, values, *_ in trials_of(again)]
    done = sum(epochs) - sum(values.get("tuner/initial_epoch", 0) for _, values, *_ in trials_of(again))
    assert again.plan(search) == (len(epochs), done)


@pytest.mark.parametrize("algorithm", ["random", "bayesian"])
def test_a_search_ends_when_all_has_been_tried_once(algorithm, tmp_path):
    few = Search(STUDENT, ("none", "wrn10-1"), ("1-1", "1-2"), ("kd", "at"), (1.0, 4.0))
    few = dataclasses.replace(few, algorithm=algorithm, max_trials=100)
    assert search_space.count_candidates(few) == 1 + 2 * (2 + 1)
    oracle = open_oracle(few, tmp_path)
    play(oracle, few)
    tried = [json.dumps(values, sort_keys=True) for _, values, *_ in trials_of(oracle)]
    assert len(tried) == len(set(tried)) == 7
    assert not any("temperature" in text for text in tried if '"at"' in text or "none" in text)
    # More trials may be asked for later, and then come.
    one = dataclasses.replace(few, max_trials=3)
    started = open_oracle(one, tmp_path / "more")
    play(started, one)
    more = dataclasses.replace(few, max_trials=4)
    grown = open_oracle(more, tmp_path / "more")
    play(grown, more)
    assert trials_of(grown)[:3] == trials_of(started)
    assert len(grown.trials) == 4


def test_hyperband_promotes_the_best_of_a_space_smaller_than_its_brackets(tmp_path):
    search = dataclasses.replace(
        SPACE, student=RunConfig("wrn10-1", "9-27"), methods=("kd",), kd_weights=(0.9,), kd_untils=(1.0,)
    )
    assert search_space.count_candidates(search) == 9
    oracle = open_oracle(search, tmp_path)
    play(oracle, search)
    rounds = [values["tuner/epochs"] for _, values, *_ in trials_of(oracle)]
    assert rounds == [1] * 9 + [3] * 3 + [9] + [27]
    by_id = {trial: values for trial, values, *_ in trials_of(oracle)}
    best = min((score(values, 1), trial) for trial, values in by_id.items() if values["tuner/epochs"] == 1)[1]
    assert best in {values.get("tuner/trial_id") for values in by_id.values()}
    # Failures count as the worst, and keep nothing from being promoted.
    oracle = open_oracle(search, tmp_path / "failing")
    play(oracle, search, is_failing)
    assert [values["tuner/epochs"] for _, values, *_ in trials_of(oracle)] == rounds
    assert oracle.get_best_trials(1)[0].hyperparameters.values["tuner/epochs"] == 27


def test_a_dead_workers_trial_goes_to_the_next_that_asks(tmp_path):
    search = SEARCHES["random"]
    oracle = open_oracle(search, tmp_path)
    one, two = oracle.create_trial("worker0"), oracle.create_trial("worker1")
    assert oracle.create_trial("worker0") is one  # it was killed, and is here again
    restarted = open_oracle(search, tmp_path)  # the chief
    held = lock_of(tmp_path, one.trial_id)
    held.mkdir(parents=True)
    with files.locked(held):  # worker0 is still at it
        assert restarted.create_trial("worker2").trial_id == two.trial_id
        assert restarted.create_trial("worker3").trial_id not in (one.trial_id, two.trial_id)
    assert restarted.create_trial("worker4").trial_id == one.trial_id


def test_a_worker_waits_while_somebody_may_leave_a_last_trial(tmp_path):
    search = dataclasses.replace(SEARCHES["random"], max_trials=1)
    oracle = open_oracle(search, tmp_path)
    trial = oracle.create_trial("worker0")
    assert oracle.create_trial("worker1").status == "IDLE"
    oracle.closed = True  # the budget is over
    assert oracle.create_trial("worker1").status == "STOPPED"
    oracle.closed = False
    oracle.update_trial(trial.trial_id, {"val_error": 1.0})
    trial.status = "COMPLETED"
    oracle.end_trial(trial)
    assert oracle.create_trial("worker1").status == "STOPPED"


# Real trials.


@pytest.fixture(scope="module")
def student(npz) -> RunConfig:
    return RunConfig("wrn10-1", "1-3", dataset=f"npz:{npz}", batch_size=32, val_examples=32, lr=0.02)


def run(search: Search, workdir, **options):
    from kdzoo.experiments import tuner

    said = []
    search, outcomes, finished = tuner.run(search, workdir, say=said.append, **options)
    return search, outcomes, finished, said


def test_hyperband_goes_on_with_the_best_and_trains_no_epoch_twice(student, tmp_path):
    search = Search(student, teachers=("none", "wrn10-1"), teacher_schedules=("1-1",), temperatures=(1.0, 4.0, 8.0))
    search, outcomes, finished, said = run(search, tmp_path)
    assert finished
    rungs = [(outcome.status, outcome.epochs) for outcome in outcomes]
    assert rungs == [("COMPLETED", epochs) for epochs in (1, 1, 1, 3, 3)]
    promoted = outcomes[3]
    assert promoted.origin == min(outcomes[:3], key=lambda outcome: outcome.val_error).trial
    assert any(line.endswith(f"to epoch 3, going on from trial {promoted.origin}") for line in said)
    record = records.read(tmp_path / "trials" / promoted.trial)
    assert [session["epoch"] for session in record["sessions"]] == [0, 1]
    origin, _ = progress_of(tmp_path / "trials" / promoted.origin)
    assert len(origin) == 1
    assert record["history"][0] == origin[0]
    assert promoted.val_error == record["history"][-1]["val_error"]
    cost = recommendation.count_cost(search, outcomes, tmp_path)
    assert (cost["student_epochs"], cost["teachers"], cost["teacher_epochs"]) == (1 + 1 + 1 + 2 + 3, 1, 1)
    assert sum("wrn10-1_1-1_seed0: training" in line for line in said) == 1
    # Reading it again costs nothing, and another space is refused.
    again = run(search, tmp_path)
    assert again[1:3] == (outcomes, True)
    with pytest.raises(InputError, match=r"the same space.*temperatures \[1.0, 4.0, 8.0\], now \[1.0\]"):
        run(dataclasses.replace(search, temperatures=(1.0,)), tmp_path)


def test_a_stopped_search_goes_on_and_a_trial_at_its_last_epoch_trains_no_more(student, tmp_path):
    search = Search(dataclasses.replace(student, schedule="1-2"), teachers=("none",), algorithm="random")
    calls = []
    _, (outcome,), finished, _ = run(search, tmp_path, stopping=lambda: calls.append(0) or len(calls) > 2)
    assert not finished
    assert (outcome.status, outcome.values) == ("RUNNING", {"teacher": "none"})
    trial = tmp_path / "trials" / "0000"
    assert checkpoints.load(trial)[1]["place"]["step"] > 0
    assert json.loads((tmp_path / "search" / "oracle.json").read_text())["ongoing_trials"] == {"tuner0": "0000"}
    # As if it was to train for an epoch, had done so, and had been killed before it could say so.
    train_until(search.student, trial, 1, stopping=lambda: False)
    sessions = checkpoints.load(trial)[1]["place"]["sessions"]
    values = outcome.values | {"tuner/epochs": 1}
    error = run_trial(search, "0000", values, tmp_path, stopping=lambda: True, say=print)
    assert (error, 1) == (progress_of(trial)[0][0]["val_error"], len(progress_of(trial)[0]))
    assert checkpoints.load(trial)[1]["place"]["sessions"] == sessions
    _, (outcome,), finished, _ = run(search, tmp_path)
    assert finished
    assert (outcome.status, outcome.epochs) == ("COMPLETED", 2)


def test_a_trial_killed_between_its_last_epoch_and_its_record_gets_one(student, tmp_path):
    from kdzoo.training import train

    def kill(progress) -> None:
        if progress.row:
            raise KeyboardInterrupt

    search, _ = search_state.prepare(Search(dataclasses.replace(student, schedule="1-1"), teachers=("none",)), tmp_path)
    trial = tmp_path / "trials" / "0000"
    with pytest.raises(KeyboardInterrupt):
        train.run(search.student, trial, progress=kill)
    assert len(progress_of(trial)[0]) == 1
    assert not (trial / records.RECORD).exists()
    error = run_trial(search, "0000", {"teacher": "none"}, tmp_path, stopping=lambda: False, say=print)
    assert records.read(trial)["history"][-1]["val_error"] == error


def test_the_search_goes_past_trials_that_fail(student, tmp_path):
    search = Search(
        dataclasses.replace(student, schedule="1-1", lr=1e30),
        teachers=("none", "wrn10-1"),
        teacher_schedules=("1-1",),
        algorithm="random",
    )
    search, outcomes, finished, said = run(search, tmp_path)
    assert finished
    assert [outcome.status for outcome in outcomes] == ["FAILED"] * 2
    assert all("Training diverged in epoch 1" in outcome.message for outcome in outcomes)
    assert sum("failed: Training diverged" in line for line in said) == 2
    result = recommendation.recommend(search, outcomes, tmp_path, finished=True, command=lambda config, directory: [])
    assert result["best"] is None
    assert "there is nothing to recommend" in recommendation.render(result)


def test_a_server_that_is_gone_for_now_ends_the_search_not_the_trial(student, tmp_path):
    pytest.importorskip("tensorflow_serving")
    search = Search(student, teachers=("grpc://127.0.0.1:9/wrn10-1",), algorithm="random")
    with pytest.raises(InputError, match=r"must be there and answer within 0\.2 s"):
        run(search, tmp_path, teacher_deadline=0.2)
    state = json.loads((tmp_path / "search" / "oracle.json").read_text())
    assert [trial["status"] for trial in state["trials"]] == ["RUNNING"]
    assert state["ongoing_trials"] == {"tuner0": "0000"}


def test_two_processes_are_not_to_search_in_one_directory(student, tmp_path):
    (tmp_path / "search").mkdir()
    with files.locked(tmp_path / "search"), pytest.raises(InputError, match="in use by another process"):
        run(Search(student, teachers=("none",)), tmp_path)


# The command, in processes of its own.


@pytest.fixture(scope="module")
def command(npz):
    """What starts a search in a workdir."""
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
    """Makes an undisturbed search with these flags, once; gives its directory, what it said, and its seconds."""
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
    for said in result["commands"]:
        _, *words = shlex.split(said)
        assert not any(word.startswith("--val_examples") for word in words)
        # The word at the end stops the command once its flags are parsed.
        parsed = run_python(*words, "stop")
        assert parsed.stderr == "error: Arguments must be flags, for example --seed=1. Received: stop\n"


def test_tensorboard_finds_what_each_trial_tried(undisturbed):
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.plugins.hparams import metadata

    workdir, *_ = undisturbed(RANDOM)
    for trial in json.loads((workdir / "recommendation.json").read_text())["trials"]:
        (path,) = (workdir / "trials" / trial["trial"]).glob("events.out.tfevents.*")
        values = [value for event in EventFileLoader(str(path)).Load() for value in event.summary.value]
        start = next(value for value in values if value.tag == metadata.SESSION_START_INFO_TAG)
        hparams = metadata.parse_session_start_info_plugin_data(start.metadata.plugin_data.content).hparams
        assert hparams["teacher"].string_value == search_space.name_teacher(trial["values"])
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
                try:
                    process.communicate(timeout=moments.uniform(0, seconds / 4) if killed < kills else 300)
                    assert process.returncode == 0
                    finished = True
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.communicate()
                    killed += 1
        assert_same_search(expected, workdir)
        searches += 1
        shutil.rmtree(workdir)


def test_two_kills_leave_a_random_search_as_it_would_have_been(command, undisturbed, tmp_path):
    kill_and_compare(command, undisturbed, tmp_path, RANDOM, kills=2)


@pytest.mark.slow
@pytest.mark.parametrize("more", [RANDOM, HYPERBAND, ("--search=bayesian", "--max_trials=4")], ids=lambda more: more[0])
def test_ten_kills_leave_a_search_as_it_would_have_been(command, undisturbed, tmp_path, more):
    kill_and_compare(command, undisturbed, tmp_path, more, kills=10, seed=1)


def test_bad_input_ends_in_one_clear_line(command, tmp_path):
    for more, message in (
        (["--search=random", "--max_trials=0"], "max_trials must be at least 1"),
        (["--temperatures=warm"], "temperatures must be numbers, for example 0.5,0.9. Received: warm"),
        (["--teachers=nobody", "--teacher_schedules="], "Received: nobody"),
        (["--checkpoint_minutes=0"], "checkpoint_minutes must be above 0"),
    ):
        done = run_python(*command(tmp_path / "search", *more))
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: ")
        assert message in line
        assert list(tmp_path.iterdir()) == []


def test_what_only_data_or_networks_tell_is_refused_before_anything_is_written(student, tmp_path):
    for changes, message in (
        ({"model": "wrn11-1"}, "Received: depth 11"),
        ({"batch_size": 1000}, "batch_size must be at most the 96 training examples"),
        ({"val_examples": 129}, "together at most 128"),
        ({"dataset": "npz:none.npz"}, "no file none.npz"),
    ):
        with pytest.raises(InputError, match=message):
            run(Search(dataclasses.replace(student, **changes), teachers=("none",)), tmp_path / "search")
        assert list(tmp_path.iterdir()) == []


def test_help_needs_no_tensorflow():
    code = "import sys; sys.argv = ['x', '--help']; import apps.tune\nprint(*{m.split('.')[0] for m in sys.modules})"
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr
    assert not {"keras", "keras_tuner", "tensorflow", "jax", "matplotlib"} & set(done.stdout.split())


# Several processes.


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
            said = ""
            for process in (chief, two, again):
                stdout, stderr = process.communicate(timeout=300)
                assert process.returncode == 0, stdout + stderr
                assert stderr == ""
                said += stdout
    assert "Search finished. 3 trials of 5 candidates" in said
    assert said.count("test error") == 0
    same_values(undisturbed(RANDOM)[0], tmp_path)
    teachers = [line for line in said.splitlines() if line.startswith("teacher ") and "val error" in line]
    assert len(teachers) == len(set(teachers)) == len(list((tmp_path / "teachers").iterdir()))


@pytest.mark.slow
def test_workers_that_the_command_starts_end_with_it_and_go_on(command, undisturbed, tmp_path):
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
    assert "Search not finished: the same command goes on." in stopped.stdout
