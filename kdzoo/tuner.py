"""KerasTuner chooses the trials of a search, in one process or several; killed at any moment, it goes on unharmed.

KerasTuner 1.4.8 by itself does not: it writes a file for each trial and one for its oracle, in place and at different
moments, so that a kill in between leaves half a file, a trial twice, or one that counts as neither done nor under way.
Here all of it is one file, replaced as a whole, and a trial under way is handed out again under the same ID.
"""

import concurrent.futures
import contextlib
import json
import math
import os
import pathlib
import signal
import subprocess
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
import keras
import keras_tuner as kt
import numpy as np
from keras_tuner.src import protos
from keras_tuner.src.distribute import oracle_chief
from keras_tuner.src.engine import base_tuner, conditions
from keras_tuner.src.engine.trial import Trial, TrialStatus

from kdzoo import files, sweep, training, tune
from kdzoo.config import METHODS
from kdzoo.tune import NONE, Outcome, Search
from zoo import InputError

OBJECTIVE = "val_error"
FACTOR = 3  # Hyperband's: each rung trains so many times as long, a trial in so many gets there
GRACE = 60.0  # seconds in which whoever was given a trial must have locked it, or is taken to be gone
POLL = 0.5  # seconds between two questions for a trial

conditions.print = lambda *_: None  # KerasTuner prints each condition of the space that it sends


def space(search: Search) -> kt.HyperParameters:
    """The search space. What has no part where another choice is made is conditional on that choice."""
    hp = kt.HyperParameters()
    hp.Choice("teacher", list(search.teachers))
    taught = [teacher for teacher in search.teachers if teacher != NONE]
    if search.architectures:
        with hp.conditional_scope("teacher", list(search.architectures)):
            hp.Choice("teacher_schedule", list(search.teacher_schedules))
    if not taught:
        return hp
    with hp.conditional_scope("teacher", taught):
        hp.Choice("method", list(search.methods))
        hp.Choice("kd_until", list(search.kd_untils))
        if with_kd := [method for method in search.methods if METHODS[method]["kd_weight"]]:
            with hp.conditional_scope("method", with_kd):
                hp.Choice("temperature", list(search.temperatures))
                hp.Choice("kd_weight", list(search.kd_weights))
    return hp


class _Unkillable:
    """What all oracles here have in common, before one of KerasTuner's in a class's bases.

    Args:
        candidates: different trials there are.
        limit: most trials; None: as many as the algorithm makes.
        lock_of: a trial's ID -> the directory that is locked by whoever is at it.

    Attributes:
        closed: once set, no new trial is given out.
        finished: whether somebody has been told that there are no more.
    """

    def __init__(self, *, candidates: int, limit: int | None, lock_of: Callable[[str], pathlib.Path], **options):
        self.candidates, self._limit, self._lock_of = candidates, limit, lock_of
        self.closed = self.finished = False
        self._given: dict[str, float] = {}
        super().__init__(
            objective=kt.Objective(OBJECTIVE, "min"),
            allow_new_entries=False,
            max_consecutive_failed_trials=None,  # the search goes on past failures
            **options,
        )
        self._max_collisions = 10**6  # what is left of the space is to be found
        self.verbose = 0

    def plan(self, search: Search) -> tuple[int, int]:
        """Most trials there may be, and the epochs of the student in them."""
        trials = min(self._limit or self.candidates, self.candidates)
        return trials, trials * search.epochs

    # One file, replaced as a whole.

    def save(self) -> None:
        state = self.get_state() | {"trials": [trial.get_state() for trial in self.trials.values()]}
        try:
            files.write_atomically(pathlib.Path(self._get_oracle_fname()), json.dumps(state).encode())
        except OSError as error:
            raise InputError(f"workdir must have room for the search's state. Received: {error}") from None

    def reload(self) -> None:
        state = tune.read_json(pathlib.Path(self._get_oracle_fname()))
        self.trials = {trial["trial_id"]: Trial.from_state(trial) for trial in state["trials"]}
        self.set_state(state)
        # KerasTuner saves a trial's end before it takes the trial from those under way.
        self.ongoing_trials = {
            tuner: trial for tuner, trial in self.ongoing_trials.items() if trial.status == TrialStatus.RUNNING
        }

    def _save_trial(self, trial: Trial) -> None:
        """In `save`."""

    # Whose turn it is.

    @kt.synchronized
    def create_trial(self, tuner_id: str) -> Trial:
        """A trial of that tuner's under way, one that somebody left, or a new one."""
        if tuner_id not in self.ongoing_trials:
            left = (tuner for tuner, trial in self.ongoing_trials.items() if self._is_left(trial.trial_id))
            if (tuner := next(left, None)) is not None:
                self.ongoing_trials[tuner_id] = self.ongoing_trials.pop(tuner)
                self.save()
        trial = super().create_trial(tuner_id)
        if trial.status == TrialStatus.STOPPED and not self.closed:
            if self.ongoing_trials:
                trial.status = TrialStatus.IDLE  # whoever is at the last ones may be gone before they are done
            self.finished = not self.ongoing_trials
        if trial.status == TrialStatus.RUNNING:
            self._given[trial.trial_id] = time.monotonic()
        return trial

    def _is_left(self, trial: str) -> bool:
        """Whether a trial under way is nobody's any more. Without locks (Windows) that cannot be told."""
        given = self._given.get(trial)  # None: not in this process's time
        return bool(files.fcntl) and (given is None or time.monotonic() - given > GRACE) and not self.is_held(trial)

    def is_held(self, trial: str) -> bool:
        """Whether a process is at the trial."""
        directory = self._lock_of(trial)
        if not directory.exists():
            return False
        try:
            with files.locked(directory):
                return False
        except InputError:
            return True

    # What is tried next.

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        if self.closed or (self._limit is not None and len(self.trials) >= self._limit):
            return {"status": TrialStatus.STOPPED}
        return super().populate_space(trial_id)

    def _count_tried(self) -> int:
        return sum("tuner/trial_id" not in trial.hyperparameters.values for trial in self.trials.values())

    def _random_values(self) -> dict[str, Any] | None:
        return None if self._count_tried() >= self.candidates else super()._random_values()


class RandomSearch(_Unkillable, kt.oracles.RandomSearchOracle):
    """Random search that tries nothing twice."""


class Bayesian(_Unkillable, kt.oracles.BayesianOptimizationOracle):
    """Bayesian optimisation whose every proposal is a function of the seed and the trials before it."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        if self._count_tried() >= self.candidates:
            return {"status": TrialStatus.STOPPED}
        self._random_state = np.random.RandomState([self.seed, len(self.trials)])  # KerasTuner's is not in its state
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the Gaussian process's fit, on a handful of points
            response = super().populate_space(trial_id)
        if response["status"] == TrialStatus.RUNNING and self._duplicate(response["values"]):
            return self._random_populate_space()  # the same trial again would only give the same error again
        return response


class Hyperband(_Unkillable, kt.oracles.HyperbandOracle):
    """Hyperband that also knows what to do in a space that is soon exhausted, and where trials fail.

    KerasTuner's stops without a single promotion where a bracket wants more different trials than there are: here a
    bracket is as large as what is left of the space. And it waits for as many trials to be completed as were begun:
    here one that failed counts, as the worst.
    """

    def plan(self, search: Search) -> tuple[int, int]:
        trials = epochs = 0
        left = self.candidates
        for bracket in reversed(range(self._get_num_brackets())):
            before = 0
            for rung in range(self._get_num_rounds(bracket)):
                size = min(super()._get_size(bracket, rung), math.ceil(left / self.factor**rung))
                trials, epochs = trials + size, epochs + size * (self._get_epochs(bracket, rung) - before)
                before = self._get_epochs(bracket, rung)
            left -= min(super()._get_size(bracket, 0), left)
        return trials, epochs

    def _start_new_bracket(self) -> None:
        super()._start_new_bracket()
        self._brackets[-1]["left"] = self.candidates - self._count_tried()

    def _get_size(self, bracket_num: int, round_num: int) -> int:
        left = next((b["left"] for b in self._brackets if b["bracket_num"] == bracket_num), self.candidates)
        return min(super()._get_size(bracket_num, round_num), math.ceil(left / self.factor**round_num))

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        failed = [trial for trial in self.trials.values() if trial.status == TrialStatus.FAILED]
        for trial in failed:
            trial.status, trial.score = TrialStatus.COMPLETED, math.inf
        try:
            return super().populate_space(trial_id)
        finally:
            for trial in failed:
                trial.status, trial.score = TrialStatus.FAILED, None


def make_oracle(search: Search, workdir: pathlib.Path) -> _Unkillable:
    """The oracle of a search, at its beginning.

    None of KerasTuner's grid search: the lists by which that finds its next trial are not part of its state, so once
    killed it stops early, or tries a trial twice.
    """
    options = {
        "candidates": tune.count_candidates(search),
        "limit": None if search.algorithm == "hyperband" else search.max_trials or tune.TRIALS,
        "lock_of": lambda trial: tune.lock_of(workdir, trial),
        "hyperparameters": space(search),
        "seed": search.student.seed + 1,  # 0 means any to KerasTuner
    }
    if search.algorithm == "hyperband":
        oracle = Hyperband(max_epochs=search.epochs, factor=FACTOR, **options)
    elif search.algorithm == "bayesian":
        # KerasTuner's own three random trials a dimension are more than most searches here have at all.
        oracle = Bayesian(max_trials=None, num_initial_points=len(options["hyperparameters"].space) + 1, **options)
    else:
        oracle = RandomSearch(max_trials=None, **options)
    oracle._set_project_dir(str(workdir), tune.STATE)
    return oracle


def outcomes(oracle: _Unkillable, search: Search) -> list[Outcome]:
    """The trials so far, in the order they began."""
    return [
        Outcome(
            trial.trial_id,
            dict(trial.hyperparameters.values),
            trial.status,
            None if trial.score is None else float(trial.score),
            trial.hyperparameters.values.get("tuner/epochs", search.epochs),
            _message(oracle, trial),
        )
        for trial in list(oracle.trials.values())
    ]


def _message(oracle: _Unkillable, trial: Trial) -> str:
    """Why a trial failed: beside its run, since KerasTuner sends no messages from worker to chief."""
    path = pathlib.Path(oracle._directory) / tune.TRIAL_RUNS / trial.trial_id / tune.FAILURE
    return path.read_text() if trial.status == TrialStatus.FAILED and path.exists() else ""


class Tuner(base_tuner.BaseTuner):
    """Runs trials, in the only process or as a worker of a chief that KerasTuner's environment variables name.

    Args:
        oracle: of `make_oracle`; a worker's asks the chief instead.
        search: what `tune.prepare` gave.
        workdir: its directory.
        stopping: whether to stop, asked between trials and after training steps.
        say: told of each trial's start and end.
        options: of `training.run`.
    """

    def __init__(
        self,
        oracle: _Unkillable,
        search: Search,
        workdir: pathlib.Path,
        *,
        stopping: Callable[[], bool] = lambda: False,
        say: Callable[[str], None] = print,
        options: Mapping[str, Any] | None = None,
    ):
        self._search, self._workdir, self._stopping, self._say = search, workdir, stopping, say
        self._options = options or {}
        super().__init__(oracle, directory=str(workdir), project_name=tune.STATE)

    def search(self) -> bool:
        """Runs trials until there are no more, or `stopping`. Returns whether there are no more.

        KerasTuner's own takes every error for the trial's, asks an idle chief without a pause, and prints.
        """
        while not self._stopping():
            trial = self.oracle.create_trial(self.tuner_id)
            if trial.status == TrialStatus.STOPPED:
                return True
            if trial.status == TrialStatus.IDLE:
                time.sleep(POLL)
                continue
            try:
                # Held until the oracle knows the end, so that nobody else takes the trial for left.
                with tune.turn(self._workdir, trial.trial_id, self._stopping):
                    self._run_and_end(trial)
            except training.Stopped:
                return False
        return False

    def _run_and_end(self, trial: Trial) -> None:
        trial.hyperparameters.ensure_active_values()  # on its way from a chief it gets those of other choices too
        values = trial.hyperparameters.values
        began = time.monotonic()
        epochs = values.get("tuner/epochs", self._search.epochs)
        going_on = f", going on from trial {values['tuner/trial_id']}" if "tuner/trial_id" in values else ""
        self._say(f"trial {trial.trial_id}: {tune.describe(values)}, to epoch {epochs}{going_on}")
        try:
            error = self.run_trial(trial)
        except InputError as failure:
            if tune.is_passing(failure):
                raise
            message = " ".join(str(failure).split())
            directory = self._workdir / tune.TRIAL_RUNS / trial.trial_id
            directory.mkdir(parents=True, exist_ok=True)
            files.write_atomically(directory / tune.FAILURE, message.encode())
            trial.status, trial.message = TrialStatus.FAILED, message
            self.oracle.end_trial(trial)
            self._say(f"trial {trial.trial_id}: failed: {message}")
            return
        self.oracle.update_trial(trial.trial_id, {OBJECTIVE: error}, step=epochs)
        trial.status = TrialStatus.COMPLETED
        self.oracle.end_trial(trial)
        best = self.oracle.get_best_trials(1)[0]
        self._say(
            f"trial {trial.trial_id}: val error {error:.2f} %, best so far {best.score:.2f} % (trial {best.trial_id}),"
            f" {(time.monotonic() - began) / 60:.1f} minutes"
        )

    def run_trial(self, trial: Trial, *_, **__) -> float:
        """The trial's error on the held-out examples, in percent: see `tune.run_trial`."""
        values = trial.hyperparameters.values
        try:
            return tune.run_trial(
                self._search,
                trial.trial_id,
                values,
                self._workdir,
                stopping=self._stopping,
                say=self._say,
                **self._options,
            )
        finally:
            keras.utils.clear_session()  # or each trial's graphs stay in memory

    def save(self) -> None:
        """The oracle saves itself; there is nothing else to remember."""


# Several processes.


class Chief:
    """Serves an oracle to workers, as KerasTuner's chief does, but ends when all is done instead of 20 seconds later.

    Args:
        oracle: of `make_oracle`.
        address: HOST:PORT to listen on; port 0: any that is free.

    Raises:
        InputError: if it cannot listen there.
    """

    def __init__(self, oracle: _Unkillable, address: str):
        self._oracle = oracle
        self._servicer = oracle_chief.OracleServicer(oracle)
        # Without sharing the port: else two chiefs would each get some of the requests.
        pool = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        self._server = grpc.server(pool, options=[("grpc.so_reuseport", 0)])
        protos.get_service_grpc().add_OracleServicer_to_server(self._servicer, self._server)
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError:
            self.port = 0
        if not self.port:
            raise InputError(f"The chief's address must be free to listen on. Received: {address}")
        self._server.start()

    def serve(self, *, working: Callable[[], bool] | None = None, stopping: Callable[[], bool]) -> None:
        """Serves until the search is done or stopped, and every worker has been told.

        Args:
            working: whether there are workers; None: as can be told by the trials that are held.
            stopping: whether to stop.
        """
        quiet_since = None
        while quiet_since is None or time.monotonic() - quiet_since < 4 * POLL:
            time.sleep(POLL / 5)
            self._oracle.closed = self._oracle.closed or stopping()
            if working:
                over = not working()
            elif self._oracle.closed:
                ongoing = list(self._oracle.ongoing_trials.values())
                over = not any(self._oracle.is_held(trial.trial_id) for trial in ongoing)
            else:
                over = self._servicer.stop_triggered and not self._oracle.ongoing_trials
            quiet_since = (quiet_since or time.monotonic()) if over else None
        self._server.stop(grace=1).wait()


class Workers:
    """Processes that work for a chief in this one, each with its share of the machine.

    Args:
        command: that makes one.
        count: of them.
        port: the chief's.
        devices: the GPUs that they share: see `sweep.gpus`.
    """

    def __init__(self, command: Sequence[str], count: int, port: int, devices: Sequence[str] | None):
        self._told, self._processes = None, []
        for i in range(count):
            env, cores = sweep.share(i, jobs=count, devices=devices)
            values = (f"worker{i}", "127.0.0.1", str(port))
            with sweep.on_cores(cores):
                # A session of its own: Ctrl-C in the terminal is for the chief, which passes it on.
                process = subprocess.Popen(
                    command, env=env | dict(zip(tune.ENV, values, strict=True)), start_new_session=True
                )
            self._processes.append(process)

    def working(self, stop: bool) -> bool:
        """Whether some still are; to be called again and again, and tells them to stop once that is so."""
        left = [process for process in self._processes if process.poll() is None]
        if stop and left:
            late = self._told is not None and time.monotonic() - self._told > sweep.KILL_SECONDS
            for process in left:
                if self._told is None or late:
                    with contextlib.suppress(ProcessLookupError):
                        process.send_signal(signal.SIGKILL if late else signal.SIGTERM)
            self._told = self._told or time.monotonic()
        return bool(left)


def run(
    search: Search,
    workdir: str | os.PathLike,
    *,
    workers: int = 1,
    worker_command: Sequence[str] = (),
    devices: Sequence[str] | None = None,
    stopping: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = print,
    **options,
) -> tuple[Search, list[Outcome], bool] | None:
    """Searches, from where the search is; as KerasTuner's chief or worker where its environment variables say so.

    Args:
        search: what is searched, and how.
        workdir: a directory, made if need be.
        workers: processes at a time; from 2 on they are started as `worker_command`, and this one is their chief.
        worker_command: starts a worker, by calling this with the same search and workdir.
        devices: the GPUs of workers, as CUDA_VISIBLE_DEVICES names them; None: what this process may use.
        stopping: whether to stop; asked often.
        say: told of each trial's start and end.
        **options: of `training.run`, but what is given here.

    Returns:
        The search with what its data tell, its trials so far, and whether it is finished; None for a worker.

    Raises:
        InputError: if it cannot be made, or the directory holds another one; nothing is written then.
    """
    part, workdir = tune.role(), pathlib.Path(workdir)
    search, description = tune.prepare(search, workdir)
    if part == "worker":
        Tuner(make_oracle(search, workdir), search, workdir, stopping=stopping, say=say, options=options).search()
        return None
    state = workdir / tune.STATE
    try:
        state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"workdir must be a directory that can be written. Received: {error}") from None
    with files.locked(state):
        if not (state / tune.DESCRIPTION).exists():
            files.write_atomically(state / tune.DESCRIPTION, json.dumps(description, indent=1).encode())
        oracle = make_oracle(search, workdir)
        if os.path.exists(oracle._get_oracle_fname()):
            oracle.reload()
        trials, epochs = oracle.plan(search)
        say(f"{search.algorithm}: at most {trials} trials of {oracle.candidates} candidates, {epochs} epochs in all")
        if part == "chief":
            address = ":".join(os.environ[name] for name in tune.ENV[1:])
            say(f"chief at {address}: waiting for workers")
            Chief(oracle, address).serve(stopping=stopping)
        elif workers > 1:
            chief = Chief(oracle, "127.0.0.1:0")
            processes = Workers(worker_command, workers, chief.port, devices)
            chief.serve(working=lambda: processes.working(stopping()), stopping=stopping)
        else:
            Tuner(oracle, search, workdir, stopping=stopping, say=say, options=options).search()
        return search, outcomes(oracle, search), oracle.finished
