"""A search for what teaches a student best: which teacher, trained how long, which method, temperature and weights.

Here is what is searched, what a trial does, and what comes of it; `kdzoo.tuner` has KerasTuner choose the trials. A
search's directory holds

    search/     what the search is, and how far
    teachers/   NAME_seedS, a run each: teachers trained on demand, once, for all trials
    trials/     ID, a run each: with curves and HParams for TensorBoard
    recommendation.md, recommendation.json

Trials are compared by the error on examples held out of training, at their last epoch. The test error stands in their
records and has no part in anything.
"""

import contextlib
import dataclasses
import json
import math
import os
import pathlib
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from kdzoo import checkpoints, data, files, names, records, report, schedules
from kdzoo import teachers as teachers_of
from kdzoo.config import METHODS, RunConfig, check_temperature
from zoo import InputError

NONE = "none"
ALGORITHMS = ("hyperband", "bayesian", "random")
TRIALS = 20  # of random and bayesian search, where nothing is said
STATE, TEACHERS, TRIAL_RUNS, FINAL = "search", "teachers", "trials", "final"
DESCRIPTION = "search.json"
FAILURE = "failed.txt"
RECOMMENDATION = "recommendation"
SHOWN = 10  # best trials in the table

# KerasTuner's environment variables, of each process of several.
ENV = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")

# In what is said of the machine's, the network's or a server's fault: no reason to give a trial up.
_PASSING = ("teacher_deadline", "must have room", "can be written", "in use by another", "sent whole", "downloaded")


@dataclasses.dataclass(frozen=True)
class Search:
    """What is searched, and how.

    Attributes:
        student: the student's run without a teacher; teachers trained on demand share its data, optimiser and seed. Its
            `val_examples` are what trials are compared by; 0: a tenth of the training examples.
        teachers: each "none", an architecture to train on each of `teacher_schedules`, or a trained one, wherever it
            lies. The latter may have learnt from the examples held out here.
        teacher_schedules: of the architectures.
        methods: of `kdzoo.config.METHODS`, but for "none".
        temperatures: T of the KD term.
        kd_weights: of the KD term; the cross-entropy's is what is missing to 1.
        kd_untils: shares of the student's epochs in which the teacher's terms count.
        algorithm: of `ALGORITHMS`.
        max_trials: of random and bayesian search; None: `TRIALS`. Hyperband's follow from the student's schedule.
    """

    student: RunConfig
    teachers: tuple[str, ...]
    teacher_schedules: tuple[str, ...] = ()
    methods: tuple[str, ...] = ("kd",)
    temperatures: tuple[float, ...] = (RunConfig.temperature,)
    kd_weights: tuple[float, ...] = (METHODS["kd"]["kd_weight"],)
    kd_untils: tuple[float, ...] = (RunConfig.kd_until,)
    algorithm: str = "hyperband"
    max_trials: int | None = None

    @property
    def architectures(self) -> tuple[str, ...]:
        """Teachers that are trained on demand."""
        return tuple(teacher for teacher in self.teachers if teacher != NONE and is_architecture(teacher))

    @property
    def epochs(self) -> int:
        """Of the student's whole schedule."""
        return schedules.parse(self.student.schedule).epochs

    def check(self) -> None:
        """Raises InputError for what is wrong with it, as far as can be told without data or a backend."""
        self.student.check()
        if self.student.teachers:
            raise InputError(f"student must have no teacher, trials do. Received: {', '.join(self.student.teachers)}")
        lists = ("teachers", "teacher_schedules", "methods", "temperatures", "kd_weights", "kd_untils")
        for name in lists:
            values = getattr(self, name)
            if len(set(values)) != len(values) or not (values or name == "teacher_schedules"):
                raise InputError(f"{name} must be one or more, each once. Received: {', '.join(map(str, values))}")
        for teacher in self.teachers:
            if teacher != NONE and not is_architecture(teacher):
                try:
                    teachers_of.check_exists(teacher)
                except InputError as error:
                    raise InputError(
                        f"A teacher must be none, an architecture to train, for example wrn16-2, or be there. {error}"
                    ) from None
        if bool(self.architectures) != bool(self.teacher_schedules):
            raise InputError(
                "teacher_schedules must be given for teachers that are architectures, for example 10-35,20-65, and for"
                f" no others. Received: {', '.join(self.teacher_schedules) or 'none'} for {', '.join(self.teachers)}"
            )
        for schedule in self.teacher_schedules:
            schedules.parse(schedule)
        taught = [method for method in METHODS if method != NONE]
        for values, passes, rule in (
            (self.methods, lambda method: method in taught, f"methods must be of {', '.join(taught)}"),
            (self.kd_weights, lambda weight: 0 < weight <= 1, "kd_weights must be above 0 and at most 1, as 0.9"),
            (self.kd_untils, lambda share: 0 < share <= 1, "kd_until must be above 0 and at most 1, for example 0.5,1"),
            ((self.algorithm,), lambda name: name in ALGORITHMS, f"search must be one of {', '.join(ALGORITHMS)}"),
        ):
            for value in values:
                if not passes(value):
                    raise InputError(f"{rule}. Received: {value}")
        for temperature in self.temperatures:
            check_temperature(temperature)
        if self.max_trials is not None and (self.algorithm == "hyperband" or self.max_trials < 1):
            raise InputError(
                "max_trials must be at least 1, for example 20, and is for random and bayesian search: hyperband's"
                f" follow from the schedule. Received: {self.max_trials} for {self.algorithm}"
            )
        if self.student.dtype_policy == "auto":
            raise InputError(
                "dtype_policy must be the same for all trials of a search, for example mixed_bfloat16. Received: auto"
            )


def is_architecture(teacher: str) -> bool:
    """Whether a teacher is to be trained: named as a network without a schedule, and nothing that is there."""
    try:
        return names.parse(teacher).schedule is None and not os.path.exists(teacher)
    except InputError:
        return False


def count_candidates(search: Search) -> int:
    """Different trials there are in the search space."""
    terms = len(search.temperatures) * len(search.kd_weights)
    ways = len(search.kd_untils) * sum(terms if METHODS[method]["kd_weight"] else 1 for method in search.methods)
    taught = [teacher for teacher in search.teachers if teacher != NONE]
    count = len(taught) + len(search.architectures) * (len(search.teacher_schedules) - 1)
    return (NONE in search.teachers) + ways * count


# What a trial is.


def student_config(search: Search, values: Mapping[str, Any], teacher: str) -> RunConfig:
    """The student's run of a trial.

    Args:
        search: that it is of.
        values: the trial's hyperparameters.
        teacher: where its teacher is.
    """
    if values["teacher"] == NONE:
        return search.student
    weights = METHODS[values["method"]]
    if "kd_weight" in values:
        # Rounded, so that what is missing to 0.9 is 0.1.
        weights = weights | {"kd_weight": values["kd_weight"], "ce_weight": round(1 - values["kd_weight"], 10)}
    terms = {name: values[name] for name in ("temperature", "kd_until") if name in values}
    return dataclasses.replace(search.student, teachers=(teacher,), **weights, **terms)


def teacher_config(search: Search, values: Mapping[str, Any]) -> RunConfig | None:
    """The run of a trial's teacher, if it is one to be trained."""
    if "teacher_schedule" not in values:
        return None
    return dataclasses.replace(search.student, model=values["teacher"], schedule=values["teacher_schedule"])


def run_name(config: RunConfig) -> str:
    """Of the directory of a run without a teacher."""
    return f"{config.model}_{config.schedule}_seed{config.seed}"


def describe(values: Mapping[str, Any]) -> str:
    """What a trial tries."""
    if values["teacher"] == NONE:
        return "no teacher"
    said = [f"teacher {name_teacher(values)}", values["method"]]
    said += [f"T {values['temperature']:g}"] if "temperature" in values else []
    said += [f"kd weight {values['kd_weight']:g}"] if "kd_weight" in values else []
    said += [f"kd until {values['kd_until']:g}"] if values["kd_until"] != 1 else []
    return ", ".join(said)


def name_teacher(values: Mapping[str, Any]) -> str:
    """A trial's teacher, with the schedule it is trained on if it is one to be trained."""
    return values["teacher"] + (f"_{values['teacher_schedule']}" if "teacher_schedule" in values else "")


# Running one.


def run_trial(
    search: Search,
    trial: str,
    values: Mapping[str, Any],
    workdir: pathlib.Path,
    *,
    stopping: Callable[[], bool],
    say: Callable[[str], None],
    **options,
) -> float:
    """Trains a trial's student, from where it is, and its teacher first if that is to be trained and is not yet.

    Args:
        search: what `prepare` gave.
        trial: its ID, which names its directory.
        values: its hyperparameters; Hyperband's "tuner/epochs" says how far it goes, and "tuner/trial_id" which trial
            it goes on from.
        workdir: the search's.
        stopping: whether to stop: see `training.run`.
        say: told when a teacher is trained.
        **options: of `training.run`.

    Returns:
        Its error on the held-out examples after its last epoch, in percent.

    Raises:
        InputError: if it cannot be trained.
        training.Stopped: if it was stopped; it is saved.
    """
    epochs = values.get("tuner/epochs", search.epochs)
    directory = workdir / TRIAL_RUNS / trial
    # The last epoch's checkpoint is not yet the end of a whole run: weights and record follow.
    whole = epochs == search.epochs
    if not ((directory / records.RECORD).exists() if whole else len(progress_of(directory)[0]) >= epochs):
        if origin := values.get("tuner/trial_id"):
            go_on_from(workdir / TRIAL_RUNS / origin, directory)
        where = values["teacher"]
        if teacher := teacher_config(search, values):
            where = str(workdir / TEACHERS / run_name(teacher))
            train_once(teacher, pathlib.Path(where), workdir, stopping=stopping, say=say, **options)
        train_until(student_config(search, values, where), directory, epochs, stopping=stopping, **options)
    return progress_of(directory)[0][epochs - 1]["val_error"]


def progress_of(directory: pathlib.Path) -> tuple[list[dict[str, float]], float]:
    """History and seconds of a run, finished or not; nothing of one that has not started."""
    if (directory / records.RECORD).exists():
        record = records.read(directory)
        return record["history"], record["wall_seconds"]
    found = checkpoints.load(directory)
    return (found[1]["place"]["history"], found[1]["place"]["seconds"]) if found else ([], 0.0)


def train_until(
    config: RunConfig, directory: pathlib.Path, epochs: int, *, stopping: Callable[[], bool], **options
) -> None:
    """Trains a run, from where it is, to the end of this epoch; the learning rate is the whole schedule's.

    Raises:
        training.Stopped: if `stopping` said so before.
    """
    from kdzoo import training

    reached = False

    def note(progress) -> None:
        nonlocal reached
        reached = progress.epoch >= epochs

    try:
        training.run(config, directory, progress=note, stopping=lambda: reached or stopping(), **options)
    except training.Stopped:
        if not reached:
            raise


def train_once(
    config: RunConfig,
    directory: pathlib.Path,
    workdir: pathlib.Path,
    *,
    stopping: Callable[[], bool],
    say: Callable[[str], None],
    **options,
) -> None:
    """Trains a run that several trials need, unless it is finished; others wait until it is."""
    from kdzoo import training

    with turn(workdir, directory.name, stopping):
        if not (directory / records.RECORD).exists():
            say(f"teacher {directory.name}: training")
            record = training.run(config, directory, stopping=stopping, **options)
            minutes = record["wall_seconds"] / 60
            say(
                f"teacher {directory.name}: val error {record['history'][-1]['val_error']:.2f} %, {minutes:.1f} minutes"
            )


def go_on_from(origin: pathlib.Path, directory: pathlib.Path) -> None:
    """Gives a run that has not started another's checkpoints, whole or not at all.

    Raises:
        InputError: if that one failed.
    """
    if directory.exists():
        return
    if (origin / FAILURE).exists():
        raise InputError(f"A trial must go on from one that did not fail. Received: {origin.name}")
    partial = directory.with_name(f"{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(origin / checkpoints.DIRECTORY, partial / checkpoints.DIRECTORY)
    os.replace(partial, directory)


def is_passing(error: InputError) -> bool:
    """Whether what kept a trial from its end may be gone when it is tried again."""
    return any(part in str(error) for part in _PASSING)


def lock_of(workdir: pathlib.Path, name: str) -> pathlib.Path:
    """The directory that a process locks while it is at a trial, or at a teacher."""
    return workdir / STATE / "locks" / name


@contextlib.contextmanager
def turn(workdir: pathlib.Path, name: str, stopping: Callable[[], bool]) -> Iterator[None]:
    """Waits until no other process is at the trial or teacher of this name, and keeps others waiting meanwhile.

    Raises:
        training.Stopped: if `stopping` said so before.
    """
    from kdzoo import training

    directory = lock_of(workdir, name)
    directory.mkdir(parents=True, exist_ok=True)
    while True:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(files.locked(directory))
            except InputError:
                if stopping():
                    raise training.Stopped(f"waiting for {name}") from None
                time.sleep(0.2)
                continue
            yield
            return


# The search itself.


def role() -> str:
    """What KerasTuner's environment variables make of this process: chief, worker, or single where there are none.

    Raises:
        InputError: if only some are set.
    """
    given = [name for name in ENV if os.environ.get(name)]
    if not given:
        return "single"
    if len(given) < len(ENV):
        raise InputError(f"{', '.join(ENV)} must be set together, or not at all. Received: {', '.join(given)}")
    return "chief" if "chief" in os.environ[ENV[0]] else "worker"


def prepare(search: Search, workdir: pathlib.Path) -> tuple[Search, dict[str, Any]]:
    """The search with what its data tell, and its description, if it can be made in this directory. Writes nothing.

    Raises:
        InputError: if it cannot, or the directory holds another one.
    """
    search.check()
    student = search.student
    dataset = data.load(student.dataset, student.dataset_name)
    if not student.val_examples:
        tenth = (student.train_examples or len(dataset.train)) // 10
        student = dataclasses.replace(student, val_examples=max(1, tenth))
    train, _ = data.split_train(dataset.train, train_examples=student.train_examples, val_examples=student.val_examples)
    if len(train) < student.batch_size:
        raise InputError(
            f"batch_size must be at most the {len(train)} training examples. Received: {student.batch_size}"
        )
    prepared = dataclasses.replace(search, student=student)
    path = workdir / STATE / DESCRIPTION
    described = describe_search(prepared, dataset.fingerprint)
    if path.exists():
        theirs = read_json(path)
        changed = [
            f"{key} {theirs.get(key)}, now {value}" for key, value in described.items() if theirs.get(key) != value
        ]
        if changed:
            raise InputError(
                "workdir must hold no search, or this one, with the same space, data and seed."
                f" Received: {workdir}: {'; '.join(changed)}"
            )
    elif (workdir / records.RECORD).exists() or (workdir.exists() and not workdir.is_dir()):
        raise InputError(f"workdir must be a directory for a search alone. Received: {workdir}")
    else:
        for model in (student.model, *search.architectures):  # a depth that there is none of is told now
            names.build(model, num_classes=dataset.num_classes, input_shape=dataset.image_shape)
    return prepared, described


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """What a search has written, whole, of itself.

    Raises:
        InputError: if it is damaged.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"A search's state must be as it was written. Received: {path}: {error}") from None


def describe_search(search: Search, fingerprint: str) -> dict[str, Any]:
    """All that trials, their order and their results depend on, as JSON: max_trials, so, may be raised later."""
    described = dataclasses.asdict(search)
    described |= {f"student {name}": value for name, value in described.pop("student").items()}
    for name in ("max_trials", "student dataset", "student teachers"):
        described.pop(name)
    return json.loads(json.dumps(described | {"student data set's fingerprint": fingerprint}))


# What comes of it.


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A trial, as far as it is.

    Attributes:
        trial: its ID.
        values: its hyperparameters.
        status: KerasTuner's: COMPLETED, FAILED or RUNNING.
        val_error: in percent, of one that is completed.
        epochs: that it trained to.
        message: why it failed.
    """

    trial: str
    values: Mapping[str, Any]
    status: str
    val_error: float | None
    epochs: int
    message: str = ""

    @property
    def origin(self) -> str | None:
        """The trial it went on from."""
        return self.values.get("tuner/trial_id")


def rank(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Completed trials, the best first: those that trained longest, by their error. Of one run's stages the last."""
    completed = [outcome for outcome in outcomes if outcome.status == "COMPLETED"]
    gone_on = {outcome.origin for outcome in completed}
    last = [outcome for outcome in completed if outcome.trial not in gone_on]
    return sorted(last, key=lambda outcome: (-outcome.epochs, outcome.val_error, outcome.trial))


def standard_error(val_error: float, examples: int) -> float:
    """Of an error in percent on so many examples: the binomial's, with one error and one hit more, so never 0."""
    share = (val_error / 100 * examples + 1) / (examples + 2)
    return 100 * math.sqrt(share * (1 - share) / examples)


def count_ties(ranked: Sequence[Outcome], examples: int) -> int:
    """Trials after the first, trained as long, that are no worse than chance may make them."""
    best = ranked[0]

    def chance(other: Outcome) -> float:
        return math.hypot(standard_error(best.val_error, examples), standard_error(other.val_error, examples))

    rivals = [other for other in ranked[1:] if other.epochs == best.epochs]
    return sum(other.val_error - best.val_error <= chance(other) for other in rivals)


def count_cost(search: Search, outcomes: Sequence[Outcome], workdir: pathlib.Path) -> dict[str, float]:
    """Epochs trained, each once, and the minutes they took."""
    cost = {"trials": len(outcomes), "student_epochs": 0, "teachers": 0, "teacher_epochs": 0, "minutes": 0.0}
    for outcome in outcomes:
        history, seconds = progress_of(workdir / TRIAL_RUNS / outcome.trial)
        inherited, before = progress_of(workdir / TRIAL_RUNS / outcome.origin) if outcome.origin else ([], 0.0)
        cost["student_epochs"] += max(0, len(history) - len(inherited))
        cost["minutes"] += max(0.0, seconds - before) / 60
    trained = {run_name(config) for outcome in outcomes if (config := teacher_config(search, outcome.values))}
    for name in trained:
        history, seconds = progress_of(workdir / TEACHERS / name)
        cost["teachers"] += bool(history)
        cost["teacher_epochs"] += len(history)
        cost["minutes"] += seconds / 60
    return cost


def final_runs(
    search: Search, values: Mapping[str, Any], workdir: pathlib.Path
) -> list[tuple[RunConfig, pathlib.Path]]:
    """What to run after the search, with the held-out examples trained on too: the teacher, if need be, the student."""
    whole = dataclasses.replace(search, student=dataclasses.replace(search.student, val_examples=0))
    runs, where = [], values["teacher"]
    if teacher := teacher_config(whole, values):
        where = str(workdir / FINAL / run_name(teacher))
        runs.append((teacher, pathlib.Path(where)))
    name = "" if where == NONE else f"_{values['method']}_{pathlib.PurePath(where.rstrip('/')).name}"
    student = student_config(whole, values, where)
    return [*runs, (student, workdir / FINAL / f"{student.model}_{student.schedule}{name}_seed{student.seed}")]


def recommend(
    search: Search,
    outcomes: Sequence[Outcome],
    workdir: pathlib.Path,
    *,
    finished: bool,
    command: Callable[[RunConfig, pathlib.Path], Sequence[str]],
) -> dict[str, Any]:
    """What the search amounts to so far, as JSON: the best trials, what to run, how sure that is, what it cost.

    Args:
        search: what `prepare` gave.
        outcomes: its trials.
        workdir: its directory.
        finished: whether it is at its end.
        command: the words after `python -m` that make a run.
    """
    ranked, examples = rank(outcomes), search.student.val_examples
    result: dict[str, Any] = {
        "finished": finished,
        "candidates": count_candidates(search),
        "val_examples": examples,
        "epochs": search.epochs,
        "trials": [dataclasses.asdict(outcome) | {"values": dict(outcome.values)} for outcome in ranked],
        "failed": {outcome.trial: outcome.message for outcome in outcomes if outcome.status == "FAILED"},
        "cost": count_cost(search, outcomes, workdir),
    }
    if not ranked:
        return result | {"best": None, "commands": []}
    best = ranked[0]
    alone = next((outcome for outcome in ranked if outcome.values["teacher"] == NONE), None)
    runs = final_runs(search, best.values, workdir)
    return result | {
        "best": best.trial,
        "standard_error": standard_error(best.val_error, examples),
        "ties": count_ties(ranked, examples),
        "without_teacher": {"val_error": alone.val_error, "epochs": alone.epochs} if alone else None,
        "commands": [shlex.join(["python", "-m", *command(config, directory)]) for config, directory in runs],
    }


def render(result: Mapping[str, Any]) -> str:
    """What `recommend` gives, as Markdown."""
    trials, cost = result["trials"], result["cost"]
    state = "finished" if result["finished"] else "not finished: the same command goes on"
    lines = [
        f"Search {state}. {cost['trials']} trials of {result['candidates']} candidates:"
        f" {cost['student_epochs']} epochs of the student, {cost['teacher_epochs']} of {cost['teachers']} teachers,"
        f" {cost['minutes']:.1f} minutes of training."
    ]
    if result["failed"]:
        reasons = [f"- {trial}: {message}" for trial, message in list(result["failed"].items())[:SHOWN]]
        lines += ["", f"{len(result['failed'])} trials failed:", "", *reasons]
    if not trials:
        return "\n".join([*lines, "", "No trial was completed, so there is nothing to recommend."])
    best = trials[0]
    lines += ["", _table(trials[:SHOWN]), ""]
    if best["epochs"] < result["epochs"]:
        lines += [f"No trial has come to the end of the schedule, {result['epochs']} epochs, yet.", ""]
    if result["ties"]:
        lines += [
            f"The best {result['ties'] + 1} are no further apart than chance makes them on {result['val_examples']}"
            f" held-out examples (standard error {result['standard_error']:.2f} points each): more val_examples, or"
            " runs of several seeds, would tell them apart.",
            "",
        ]
    alone = result["without_teacher"]
    if best["values"]["teacher"] == NONE:
        lines += ["No teacher that was tried helps this student.", ""]
    elif alone and alone["epochs"] == best["epochs"]:
        gain = alone["val_error"] - best["val_error"]
        lines += [f"Without a teacher the error is {alone['val_error']:.2f} %, {gain:+.2f} points.", ""]
    elif alone:
        lines += [
            f"Without a teacher it came to {alone['val_error']:.2f} % by epoch {alone['epochs']}, no further.",
            "",
        ]
    said = describe(best["values"])
    lines += [f"Recommended: {said}. With the held-out examples trained on as well:", "", "```"]
    return "\n".join([*lines, *result["commands"], "```"])


def _table(trials: Sequence[Mapping[str, Any]]) -> str:
    rows = [("trial", "teacher", "method", "T", "kd weight", "kd until", "epochs", "val error (%)")]
    for trial in trials:
        values = trial["values"]
        numbers = [f"{values[name]:g}" if name in values else "-" for name in ("temperature", "kd_weight", "kd_until")]
        method = values.get("method", NONE)
        rows.append(
            (trial["trial"], name_teacher(values), method, *numbers, str(trial["epochs"]), f"{trial['val_error']:.2f}")
        )
    return report.markdown(rows, words=3)


def write(result: Mapping[str, Any], workdir: pathlib.Path) -> None:
    """Leaves what `recommend` gave in the search's directory, for people and for programs."""
    path = workdir / RECOMMENDATION
    files.write_atomically(path.with_suffix(".json"), f"{json.dumps(result, indent=1)}\n".encode())
    files.write_atomically(path.with_suffix(".md"), f"{render(result)}\n".encode())
