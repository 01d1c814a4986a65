"""Searches for the best way to teach a student: which teacher, trained how long, which method, temperature and weights.

  python -m apps.tune --student=wrn16-1 --schedule=10-35 --dataset=cifar10 --teachers=none,wrn16-2,wrn16-4 \\
      --teacher_schedules=5-16,10-35 --temperatures=1,2,4,8 --kd_weights=0.5,0.9 --budget_minutes=480 \\
      --workdir=runs/tune

Several students, within limits: --students=wrn16-1,wrn16-2,wrn22-1 --max_mflops=50 --max_mb=2 --max_latency_ms=5. The
search then recommends the best student and teacher; a student beyond a limit is not trained.

Teachers that are architectures are trained on demand, once, with the student's data and optimizer flags. Trials are
compared on examples held out of training, never on the test set; their curves and HParams: tensorboard
--logdir=WORKDIR/trials. At the end the command prints the best trials and the commands that train with none held out,
and writes them to WORKDIR/recommendation.md and .json. The same command resumes the search after any interruption.

Several processes on this machine: --workers=2; on a Ray cluster whose nodes share WORKDIR: --workers=8 --ray=auto. On
several machines without Ray, set KerasTuner's environment
variables and run the same command once for each, in any order:

  KERASTUNER_TUNER_ID=chief   KERASTUNER_ORACLE_IP=HOST KERASTUNER_ORACLE_PORT=8000 python -m apps.tune ...
  KERASTUNER_TUNER_ID=worker0 KERASTUNER_ORACLE_IP=HOST KERASTUNER_ORACLE_PORT=8000 python -m apps.tune ...
  KERASTUNER_TUNER_ID=worker1 KERASTUNER_ORACLE_IP=HOST KERASTUNER_ORACLE_PORT=8000 python -m apps.tune ...

Exit code: 0 once the search is finished, 1 if no trial was completed, 75 if the budget or a signal left it unfinished.
"""

import functools
import logging
import os
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from apps import command, flag_values, model_flags, ray_flags, run_config, run_flags, signals
from kdzoo import parent_process
from kdzoo.experiments import machine_share, outcomes, recommendation, roles, search_space
from kdzoo.runs import machine, recipes
from kdzoo.runs.config import METHODS, RunConfig
from kdzoo.runs.settings import RANGES
from kdzoo.teachers import resolve
from zoo import InputError

if TYPE_CHECKING:
    from kdzoo.experiments.on_ray.cluster import Resources

flags.DEFINE_string(
    "student", None, "Architecture of the student. Example: wrn16-1. Required, unless --students names several."
)
flags.DEFINE_list(
    "students",
    [],
    "Architectures to compare as students, separated by commas; --student, if it is given too, is the first of them."
    " They share everything else, the schedule too. Example: wrn16-1,wrn22-1,dn40-12.",
)
flags.register_multi_flags_validator(
    ["student", "students"],
    lambda given: bool(given["student"] or given["students"]),
    "--student or --students must be set, for example --student=wrn16-1.",
)
flag_values.define_number(
    "max_mflops",
    None,
    "Most multiply-adds of a student for one image, in millions. A multiplication with a weight, or of two activations"
    " in attention, and the addition after it count as one; biases, normalisation, activations and pooling count as"
    " none. A student beyond a limit is not trained. Default: no limit.",
    search_space.LIMIT,
)
flag_values.define_number(
    "max_mb",
    None,
    "Most memory of a student's weights, in units of 10^6 bytes: 4 bytes for each trainable parameter, so without"
    " BatchNorm's moving statistics. Default: no limit.",
    search_space.LIMIT,
)
flag_values.define_number(
    "max_latency_ms",
    None,
    "Most time of a student for one image, in milliseconds: the median over calls of its compiled forward pass on the"
    " machine and with the threads of the process that begins the search. It is measured once. Default: no limit.",
    search_space.LIMIT,
)
flags.DEFINE_string(
    "schedule",
    None,
    "Learning-rate schedule of the student, k-N or cos-N. Hyperband's short trials are its first epochs. Example:"
    " 10-35. Required, unless --recipe sets it.",
)
flags.DEFINE_list(
    "teachers",
    None,
    "Teachers to compare, separated by commas: architectures, each trained on every schedule of --teacher_schedules;"
    " trained teachers as in apps.distill --teacher, which may have seen the held-out examples; and none, which shows"
    " whether a teacher helps at all. Example: none,wrn16-2,wrn16-4. Required.",
    required=True,
)
flags.DEFINE_list(
    "teacher_schedules",
    [],
    "Schedules of the teachers that are architectures, separated by commas. Example: 10-35,20-65,60-200.",
)
flags.DEFINE_string(
    "teacher_init",
    "",
    "Trained model whose weights the teachers that the search trains begin with, as apps.train --init. There must be"
    " one architecture among --teachers then. Example: wrn16-4_5-16.",
)
flags.DEFINE_list(
    "methods",
    ["kd"],
    "Distillation methods to compare, separated by commas: those of apps.distill --method, each with arguments if need"
    " be. Example: kd,dist,dkd:beta=2,dkd:beta=8:temperature=2.",
)
flag_values.define_numbers(
    "temperatures",
    [RunConfig.temperature],
    "Temperatures of the KD term to compare, separated by commas. Example: 1,2,4,8.",
    RANGES["temperature"],
)
flag_values.define_numbers(
    "kd_weights",
    [METHODS["kd"]["kd_weight"]],
    "Weights of the KD term to compare, separated by commas; the cross-entropy's weight is 1 - kd_weight. Example:"
    " 0.5,0.9.",
    search_space.KD_WEIGHT,
)
flag_values.define_numbers(
    "kd_until",
    [RunConfig.kd_until],
    "Shares of the student's epochs that use the teacher, separated by commas. Below 1 it is early-stopped distillation"
    " (ESKD). Example: 0.5,1.",
)
flags.DEFINE_enum(
    "search",
    "hyperband",
    search_space.ALGORITHMS,
    "Search algorithm. hyperband runs many trials for a few epochs, then the best third for three times as long, and so"
    " on; bayesian and random run --max_trials trials for all epochs.",
)
flags.DEFINE_integer(
    "max_trials",
    None,
    f"Number of trials of random and bayesian search; a later call may raise it. Default: {search_space.TRIALS}.",
)
flag_values.define_number(
    "budget_minutes",
    None,
    "Time after which the current trial saves a checkpoint and the search stops, in minutes. Default: no limit.",
)
flags.DEFINE_integer(
    "workers",
    1,
    "Number of processes on this machine, each with its share of cores or GPUs; with --ray on the cluster.",
    lower_bound=1,
)
ray_flags.define_flags("worker")
flag_values.define_directory(
    "workdir", None, "Directory of the search, with its trials and trained teachers. Required.", required=True
)
flag_values.define_number(
    "seed",
    RunConfig.seed,
    "Seed of the search, and of every run's initial weights, order of examples and augmentation.",
)
run_flags.define_checkpoint_flag()
run_flags.define_data_flags()
model_flags.define_model_flags()
run_flags.define_optimiser_flags()
run_flags.define_recipe_flag()
run_flags.require_schedule()
run_flags.define_teacher_flags()
delattr(flags.FLAGS, "teacher")  # here --teachers
flags.adopt_module_key_flags(run_flags)
flags.FLAGS["val_examples"].help = (
    "Number of training examples to hold out, balanced over the classes; trials are compared on them. 0 means a tenth"
    " of the training examples."
)


def main() -> int:
    args = flags.FLAGS
    search = search_from_flags()
    parent_process.end_with_parent()
    options = run_config.options_from_flags()
    began = time.monotonic()
    budget = float("inf") if args.budget_minutes is None else 60 * args.budget_minutes
    role = roles.role()
    worker_command = [sys.executable, "-m", "apps.tune", *sys.argv[1:]]
    resources = ray_flags.connect() if role != "worker" else None
    if resources and role == "chief":
        raise InputError(f"ray starts the workers itself, without {', '.join(roles.VARIABLES)}. Received: {args.ray}")
    with signals.stop_signals() as received:
        devices = machine_share.gpus()
        if role == "chief" or (role == "single" and (args.workers > 1 or resources)):
            os.environ.update(parent_process.environment())
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # a chief trains nothing, so all GPU memory is for its workers
        machine.check_backend()
        from kdzoo.experiments import run_search

        logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of every new graph, and each trial has one
        found = run_search.run(
            search,
            args.workdir,
            workers=args.workers,
            worker_command=worker_command,
            devices=devices,
            **_workers_on(resources, worker_command),
            stopping=lambda: bool(received) or time.monotonic() - began > budget,
            log=lambda line: print(line, flush=True),
            **options,
        )
    return 0 if found is None else _recommend(*found)


def _workers_on(resources: "Resources | None", worker_command: list[str]) -> dict[str, Any]:
    """Returns the arguments of `run_search.run` by which this command's workers run on Ray; none without Ray."""
    if not resources:
        return {}
    from kdzoo.experiments.on_ray import cluster, workers

    args, log = flags.FLAGS, functools.partial(print, flush=True)
    start = functools.partial(
        workers.RayWorkers, pathlib.Path(args.workdir), worker_command, args.workers, resources, log
    )
    return {"start_workers": start, "host": cluster.host()}


def search_from_flags() -> search_space.Search:
    """Returns the search that the flags describe.

    Raises InputError if a value breaks a rule, as far as that shows without TensorFlow.
    """
    args = flags.FLAGS
    students = ([args.student] if args.student else []) + args.students
    if not args.recipe and len({recipes.default_recipe(student) for student in students}) > 1:
        raise InputError(
            "Students of the zoo and others have different recipes; all are trained by one, for example --recipe=adamw."
            f" Received: {', '.join(students)} without --recipe"
        )
    fields = run_config.fields_from_flags(model=students[0])
    search = search_space.Search(
        RunConfig(students[0], **{name: fields[name] for name in fields if name not in ("teachers", "kd_until")}),
        teachers=tuple(args.teachers),
        teacher_schedules=tuple(args.teacher_schedules),
        methods=tuple(args.methods),
        temperatures=tuple(args.temperatures),
        kd_weights=tuple(args.kd_weights),
        kd_untils=tuple(args.kd_until),
        algorithm=args.search,
        max_trials=args.max_trials,
        students=tuple(students) if len(students) > 1 else (),
        teacher_init=args.teacher_init,
        **{name: flags.FLAGS[name].value for name in search_space.LIMITS},
    )
    search.check()
    for spec in filter(None, (search.teacher_init, search.student.init)):
        resolve.check_exists(spec)
    return search


def _recommend(search: search_space.Search, trials: Sequence[outcomes.Outcome], finished: bool) -> int:
    """Prints and writes the recommendation of the search. Returns the exit code."""
    workdir = pathlib.Path(flags.FLAGS.workdir)
    result = recommendation.recommend(search, trials, workdir, finished=finished, command=run_config.command_line)
    recommendation.write(result, workdir)
    print(f"\n{recommendation.render(result)}\n\n{workdir / recommendation.RECOMMENDATION}.md and .json")
    if not finished:
        return 75
    return 0 if result["best"] else 1


if __name__ == "__main__":
    command.run(main)
