"""Searches for what teaches a student best: which teacher, trained how long, which method, temperature and weights.

  python -m apps.tune --student=wrn16-1 --schedule=10-35 --dataset=cifar10 --teachers=none,wrn16-2,wrn16-4 \
      --teacher_schedules=5-16,10-35 --temperatures=1,2,4,8 --kd_weights=0.5,0.9 --budget_minutes=480 \
      --workdir=runs/tune

Teachers that are architectures are trained on demand, once, with the student's data and optimiser flags. The same
command goes on where it stopped, after anything. Trials are compared by examples held out of training, never by the
test set; curves and HParams: tensorboard --logdir=WORKDIR/trials. At the end stand the best trials and the commands to
run with all examples, also in WORKDIR/recommendation.md and .json.

Several processes on this machine: --workers=2. On several machines that share WORKDIR, KerasTuner's way, the same
command for each, in any order:

  KERASTUNER_TUNER_ID=chief   KERASTUNER_ORACLE_IP=HOST KERASTUNER_ORACLE_PORT=8000 python -m apps.tune ...
  KERASTUNER_TUNER_ID=worker0 KERASTUNER_ORACLE_IP=HOST KERASTUNER_ORACLE_PORT=8000 python -m apps.tune ...
  KERASTUNER_TUNER_ID=worker1 KERASTUNER_ORACLE_IP=HOST KERASTUNER_ORACLE_PORT=8000 python -m apps.tune ...

Exit code: 0 once the search is finished, 1 if no trial was completed, 75 if the budget or a signal left some of it to
be gone on with.
"""

import logging
import os
import pathlib
import sys
import threading
import time

from absl import flags

from apps import common
from kdzoo.experiments import recommendation, search_space, search_state, sweep
from kdzoo.runs.config import RunConfig
from zoo import InputError

PARENT = "KDZOO_TUNE_CHIEF"  # process ID of the chief that started this worker

flags.DEFINE_string("student", None, "Architecture, for example wrn16-1.", required=True)
flags.DEFINE_string("schedule", None, "The student's, for example 10-35; Hyperband's rungs are its first epochs.")
flags.mark_flag_as_required("schedule")
flags.DEFINE_list(
    "teachers",
    None,
    "Architectures to train on each of teacher_schedules, trained teachers (see apps.distill --teacher; they may know"
    " the held-out examples), and none, to be told whether a teacher helps at all.",
    required=True,
)
flags.DEFINE_list("teacher_schedules", [], "Of the teachers that are architectures, for example 10-35,20-65,60-200.")
flags.DEFINE_list("methods", ["kd"], "Of kd, at, at+kd.")
flags.DEFINE_list("temperatures", ["4"], "T of the KD term, for example 1,2,4,8.")
flags.DEFINE_list("kd_weights", ["0.9"], "Of the KD term, above 0; the cross-entropy's is 1 - kd_weight.")
flags.DEFINE_list("kd_until", ["1"], "Shares of the student's epochs with teachers; below 1: ESKD.")
flags.DEFINE_enum(
    "search",
    "hyperband",
    search_space.ALGORITHMS,
    "hyperband: many trials for a few epochs, the best third for three times as long, and so on; bayesian; random.",
)
flags.DEFINE_integer(
    "max_trials", None, f"Of random and bayesian search; default {search_space.TRIALS}. May be raised later."
)
flags.DEFINE_float("budget_minutes", None, "Stop by then; the trial under way is saved.", lower_bound=0)
flags.DEFINE_integer("workers", 1, "Processes on this machine, each with its share of cores or GPUs.", lower_bound=1)
flags.DEFINE_string("workdir", None, "Directory of the search, its trials and teachers.", required=True)
flags.DEFINE_integer("seed", RunConfig.seed, "Of the search, and of every run's initial weights, order, augmentation.")
flags.DEFINE_float("checkpoint_minutes", 5.0, "Longest time between a run's checkpoints.")
common.define_data_flags()
common.define_optimiser_flags()
common.define_teacher_flags()
delattr(flags.FLAGS, "teacher")  # here --teachers
flags.adopt_module_key_flags(common)
flags.FLAGS["val_examples"].help = "Class-balanced subset held out, by which trials are compared; 0: a tenth."

_LISTS = ("teachers", "teacher_schedules", "methods")
_NUMBERS = {"temperatures": "temperatures", "kd_weights": "kd_weights", "kd_until": "kd_untils"}  # flag -> field


def main() -> int:
    args = flags.FLAGS
    search = search_of_flags()
    if not args.checkpoint_minutes > 0:
        raise InputError(f"checkpoint_minutes must be above 0, for example 5. Received: {args.checkpoint_minutes}")
    _end_with_chief()
    options = {name: args[name].value for name in common.OPTIONS if name in args}
    began = time.monotonic()
    budget = float("inf") if args.budget_minutes is None else 60 * args.budget_minutes
    with common.stop_signals() as received:
        devices = sweep.gpus()
        if search_state.role() == "chief" or (search_state.role() == "single" and args.workers > 1):
            os.environ[PARENT] = str(os.getpid())
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # a chief trains nothing, so its workers are to have all the memory
        tuner = common.import_quietly("kdzoo.experiments.tuner")
        logging.getLogger("tensorflow").setLevel(logging.ERROR)  # each trial's graphs are new: no cause for warnings
        found = tuner.run(
            search,
            args.workdir,
            workers=args.workers,
            worker_command=[sys.executable, "-m", "apps.tune", *sys.argv[1:]],
            devices=devices,
            stopping=lambda: bool(received) or time.monotonic() - began > budget,
            say=lambda line: print(line, flush=True),
            **options,
        )
    return 0 if found is None else _tell(*found)


def search_of_flags() -> search_space.Search:
    """What the flags ask for; checked as far as can be without importing TensorFlow."""
    args = flags.FLAGS
    names = (RunConfig.__dataclass_fields__.keys() & args.__flags.keys()) - {"teachers", *_NUMBERS}
    search = search_space.Search(
        RunConfig(model=args.student, **{name: args[name].value for name in names}),
        **{name: tuple(args[name].value) for name in _LISTS},
        **{field: _floats(name) for name, field in _NUMBERS.items()},
        algorithm=args.search,
        max_trials=args.max_trials,
    )
    search.check()
    return search


def _floats(name: str) -> tuple[float, ...]:
    values = flags.FLAGS[name].value
    try:
        return tuple(float(value) for value in values)
    except ValueError:
        raise InputError(f"{name} must be numbers, for example 0.5,0.9. Received: {','.join(values)}") from None


def _end_with_chief() -> None:
    """Has a worker end once the chief that started it has: killed itself, it would find nobody to report to."""
    chief = os.environ.get(PARENT)
    if chief is None:
        return

    def watch() -> None:
        while os.getppid() == int(chief):
            time.sleep(0.5)
        os._exit(1)  # at any moment, which is what searches can take

    threading.Thread(target=watch, daemon=True).start()


def _tell(search: search_space.Search, outcomes: list[recommendation.Outcome], finished: bool) -> int:
    """Prints and writes what the search amounts to. Returns the exit code."""
    workdir = pathlib.Path(flags.FLAGS.workdir)
    result = recommendation.recommend(search, outcomes, workdir, finished=finished, command=common.command_line)
    recommendation.write(result, workdir)
    print(f"\n{recommendation.render(result)}\n\n{workdir / recommendation.RECOMMENDATION}.md and .json")
    if not finished:
        return 75
    return 0 if result["best"] else 1


if __name__ == "__main__":
    common.run(main)
