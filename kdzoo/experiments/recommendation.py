"""What a search recommends: its best trials, the runs to train next, and the cost so far."""

import dataclasses
import json
import pathlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kdzoo import files
from kdzoo.experiments.outcomes import Outcome, count_ties, rank, standard_error
from kdzoo.experiments.search_directory import FINAL, TEACHERS, TRIAL_RUNS, read_figures, read_progress
from kdzoo.experiments.search_space import LIMITS, NONE, Search, count_candidates
from kdzoo.experiments.trial_configs import (
    describe,
    name_student,
    name_teacher,
    run_name,
    student_config,
    teacher_config,
)
from kdzoo.reports import tables
from kdzoo.runs.config import RunConfig

RECOMMENDATION = "recommendation"
MOST_BYTES = 255  # of a directory's name
SHOWN = 10  # best trials in the table
# Figure of a student -> heading.
_HEADINGS = {"mflops": "multiply-adds (M)", "mb": "weights (MB)", "latency_ms": "latency (ms)"}


def recommend(
    search: Search,
    outcomes: Sequence[Outcome],
    workdir: pathlib.Path,
    *,
    finished: bool,
    command: Callable[[RunConfig, pathlib.Path], Sequence[str]],
) -> dict[str, Any]:
    """Returns the best trials, the commands to run next, the uncertainty and the cost, as JSON.

    Args:
        search: the search, from `search_state.prepare`.
        outcomes: its trials.
        workdir: its directory.
        finished: whether the search is finished.
        command: returns the words after `python -m` that train a run in a directory.
    """
    ranked, examples = rank(outcomes), search.student.val_examples
    result: dict[str, Any] = {
        "finished": finished,
        "candidates": count_candidates(search),
        "train_examples": search.student.train_examples,
        "val_examples": examples,
        "epochs": search.epochs,
        "trials": [dataclasses.asdict(outcome) | {"values": dict(outcome.values)} for outcome in ranked],
        "failed": {outcome.trial: outcome.message for outcome in outcomes if outcome.status == "FAILED"},
        "cost": count_cost(search, outcomes, workdir),
    }
    if figures := read_figures(workdir):
        result["students"] = {model: figures[model] for model in search.models}
        result["limits"] = {name: getattr(search, name) for name in LIMITS if getattr(search, name) is not None}
    if not ranked:
        return result | {"best": None, "commands": []}
    best = ranked[0]
    student = name_student(search, best.values)
    of_student = (outcome for outcome in ranked if name_student(search, outcome.values) == student)
    scratch = next((outcome for outcome in of_student if outcome.values["teacher"] == NONE), None)
    runs = final_runs(search, best.values, workdir)
    return result | {
        "best": best.trial,
        **({"best_student": student} if figures else {}),
        "standard_error": standard_error(best.error, examples),
        "ties": count_ties(ranked, examples),
        "without_teacher": {"val_error": scratch.val_error, "epochs": scratch.epochs} if scratch else None,
        "commands": [shlex.join(["python", "-m", *command(config, directory)]) for config, directory in runs],
    }


def count_cost(search: Search, outcomes: Sequence[Outcome], workdir: pathlib.Path) -> dict[str, float]:
    """Counts the epochs that were trained, each once, and their minutes."""
    cost = {"trials": len(outcomes), "student_epochs": 0, "teachers": 0, "teacher_epochs": 0, "minutes": 0.0}
    for outcome in outcomes:
        history, seconds = read_progress(workdir / TRIAL_RUNS / outcome.trial)
        inherited, before = read_progress(workdir / TRIAL_RUNS / outcome.origin) if outcome.origin else ([], 0.0)
        cost["student_epochs"] += max(0, len(history) - len(inherited))
        cost["minutes"] += max(0.0, seconds - before) / 60
    trained = {run_name(config) for outcome in outcomes if (config := teacher_config(search, outcome.values))}
    for name in trained:
        history, seconds = read_progress(workdir / TEACHERS / name)
        cost["teachers"] += bool(history)
        cost["teacher_epochs"] += len(history)
        cost["minutes"] += seconds / 60
    return cost


def final_runs(
    search: Search, values: Mapping[str, Any], workdir: pathlib.Path
) -> list[tuple[RunConfig, pathlib.Path]]:
    """Returns the runs to train after the search, the teacher if need be, and the student.

    They hold nothing out: without `train_examples` they train on all examples, with it on the search's own subset.
    """
    whole = dataclasses.replace(search, student=dataclasses.replace(search.student, val_examples=0))
    runs, teacher = [], values["teacher"]
    if config := teacher_config(whole, values):
        directory = workdir / FINAL / run_name(config)
        runs.append((config, directory))
        teacher = str(directory)
    student = student_config(whole, values, teacher)
    return [*runs, (student, workdir / FINAL / _final_name(student))]


def _final_name(student: RunConfig) -> str:
    """Returns the name of the student's directory, of at most 255 bytes: a long name of a teacher is cut."""
    start, end = f"{student.model}_{student.schedule}", f"_seed{student.seed}"
    for teacher in student.teachers:
        start += f"_{student.method}_"
        name = pathlib.PurePath(teacher.rstrip("/")).name
        start += name.encode()[: MOST_BYTES - len(start + end)].decode(errors="ignore")
    return start + end


def render(result: Mapping[str, Any]) -> str:
    """Returns a result of `recommend` as Markdown."""
    trials, cost = result["trials"], result["cost"]
    state = "finished" if result["finished"] else "not finished: the same command resumes it"
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
    lines += ["", _table(trials[:SHOWN], result.get("students", {})), ""]
    if best["epochs"] < result["epochs"]:
        lines += [f"No trial has reached the end of the schedule, {result['epochs']} epochs, yet.", ""]
    if result["ties"]:
        lines += [
            f"The best {result['ties'] + 1} are no further apart than chance makes them on {result['val_examples']}"
            f" held-out examples (standard error {result['standard_error']:.2f} points each): more val_examples, or"
            " runs of several seeds, would separate them.",
            "",
        ]
    lines += _compare_with_scratch(best, result["without_teacher"])
    count = result["train_examples"]
    training = f"With the same {count} training examples" if count else "With the held-out examples trained on as well"
    student = result.get("best_student", "")
    named = f"student {student}, " if student and "student" not in best["values"] else ""
    lines += [f"Recommended: {named}{describe(best['values'])}. {training}:", "", "```"]
    return "\n".join([*lines, *result["commands"], "```"])


def _compare_with_scratch(best: Mapping[str, Any], scratch: Mapping[str, Any] | None) -> list[str]:
    if best["values"]["teacher"] == NONE:
        return ["No teacher that was tried helps this student.", ""]
    if not scratch:
        return []
    error, epochs = scratch["val_error"], scratch["epochs"]
    if epochs == best["epochs"]:
        return [f"Without a teacher the error is {error:.2f} %, {error - best['val_error']:+.2f} points.", ""]
    return [f"Without a teacher it reached {error:.2f} % by epoch {epochs}, and was not trained further.", ""]


def _table(trials: Sequence[Mapping[str, Any]], students: Mapping[str, Mapping[str, float]]) -> str:
    """The table of trials; of a search that compares or limits what students cost, with the student and its figures."""
    figures = [figure for figure in _HEADINGS if any(figure in known for known in students.values())]
    costs = [_HEADINGS[figure] for figure in figures]
    head = ["trial", *(["student"] if students else []), "teacher", "method", "T", "kd weight", "kd until", "epochs"]
    rows = [[*head, *costs, "val error (%)"]]
    for trial in trials:
        values = trial["values"]
        numbers = [f"{values[name]:g}" if name in values else "-" for name in ("temperature", "kd_weight", "kd_until")]
        method = values.get("method", NONE)
        student = [values.get("student", next(iter(students)))] if students else []
        costs = [f"{students[student[0]][figure]:,.2f}" for figure in figures]
        row = [trial["trial"], *student, name_teacher(values), method, *numbers, str(trial["epochs"])]
        rows.append([*row, *costs, f"{trial['val_error']:.2f}"])
    return tables.markdown(rows, words=4 if students else 3)


def write(result: Mapping[str, Any], workdir: pathlib.Path) -> None:
    """Writes a result of `recommend` into the search's directory, as Markdown and as JSON."""
    path = workdir / RECOMMENDATION
    files.write_atomically(path.with_suffix(".json"), f"{json.dumps(result, indent=1)}\n".encode())
    files.write_atomically(path.with_suffix(".md"), f"{render(result)}\n".encode())
