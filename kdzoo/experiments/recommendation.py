"""What a search recommends: trials ranked by validation error, a table, and the runs to make next."""

import dataclasses
import json
import math
import pathlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kdzoo import files
from kdzoo.experiments.search_space import (
    NONE,
    Search,
    count_candidates,
    describe,
    name_teacher,
    run_name,
    student_config,
    teacher_config,
)
from kdzoo.experiments.trials import FINAL, TEACHERS, TRIAL_RUNS, progress_of
from kdzoo.reports import tables
from kdzoo.runs.config import RunConfig

RECOMMENDATION = "recommendation"
SHOWN = 10  # best trials in the table


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
    return tables.markdown(rows, words=3)


def write(result: Mapping[str, Any], workdir: pathlib.Path) -> None:
    """Leaves what `recommend` gave in the search's directory, for people and for programs."""
    path = workdir / RECOMMENDATION
    files.write_atomically(path.with_suffix(".json"), f"{json.dumps(result, indent=1)}\n".encode())
    files.write_atomically(path.with_suffix(".md"), f"{render(result)}\n".encode())
