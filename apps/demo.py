"""The paper's question in three minutes on two cores: which teacher, trained how long, helps a small student most?

Trains, on 500 of scikit-learn's handwritten digits, a teacher in full and the same teacher stopped early, then a
student from scratch and one student distilled from each teacher. Prints a table and draws a plot.

  python -m apps.demo --workdir=runs/demo
"""

import dataclasses
import pathlib
import sys
from typing import Any

from absl import flags

from apps import command, flag_values, train_command
from kdzoo.runs.config import METHODS, RunConfig

flag_values.define_directory("workdir", "runs/demo", "Directory for the five runs and the plot students.png.")
flags.DEFINE_bool("restart", False, "Whether to train again where finished runs exist.")

TEACHER, STUDENT = "wrn10-2", "wrn10-1"
FULL, SHORT = "10-30", "4-12"


def main() -> None:
    from kdzoo.reports import tables
    from kdzoo.reports.plots.students import plot_students

    workdir = pathlib.Path(flags.FLAGS.workdir)
    base = RunConfig(TEACHER, FULL, dataset="digits", train_examples=500, batch_size=50)

    def run(name: str, **changes: Any) -> dict[str, Any]:
        print(f"\n{name}", flush=True)
        config = dataclasses.replace(base, **changes)
        return train_command.run_training(config, workdir / name, restart=flags.FLAGS.restart)

    teachers = {f"{TEACHER}_{schedule}": run(f"{TEACHER}_{schedule}", schedule=schedule) for schedule in (FULL, SHORT)}
    students = [run(f"{STUDENT}_scratch", model=STUDENT)]
    for teacher in teachers:
        distillation = {"teachers": (str(workdir / teacher),), **METHODS["kd"]}
        students.append(run(f"{STUDENT}_from_{teacher}", model=STUDENT, **distillation))

    plot_students(students, workdir / "students.png")
    print(f"\n{tables.run_table([*teachers.values(), *students])}\n")
    print("One seed and 360 test images: a difference under some 2 points is noise.")
    print(f"Plot: {workdir / 'students.png'}\nCurves: {sys.executable} -m tensorboard.main --logdir={workdir}")


if __name__ == "__main__":
    command.run(main)
