"""Makes every run of a grid, several at a time, each in a process of its own.

  python -m apps.sweep --grid=apps/grids/digits.json --jobs=2 --budget_minutes=30

A grid is a JSON file of flags. A list of values stands for one run with each value, and an earlier run of the grid may
be the teacher of a later one:

  {"workdir": "runs/example", "common": {"dataset": "cifar10", "schedule": "10-35"},
   "runs": [{"model": "wrn16-2"},
            {"student": "wrn16-1", "teacher": "wrn16-2_10-35_seed0", "seed": [0, 1, 2]}]}

The same command resumes where it stopped. Exit code: 0 once all runs are finished, 1 if some failed, 75 if the budget
or a signal left some unfinished.
"""

from absl import flags

from apps import command, many_runs, run_flags
from kdzoo.experiments import grid

flags.DEFINE_string(
    "grid", None, "JSON file of the runs, as described above. Example: apps/grids/digits.json. Required.", required=True
)
many_runs.define_flags()
for module in (many_runs, run_flags):
    flags.adopt_module_key_flags(module)


def main() -> int:
    runs = grid.read_grid(flags.FLAGS.grid)
    if flags.FLAGS.dry_run:
        print("\n".join(" ".join(many_runs.command(run)[1:]) for run in runs))
        return 0
    return many_runs.run_all(runs)


if __name__ == "__main__":
    command.run(main)
