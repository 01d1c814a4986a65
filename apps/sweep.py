"""Runs every run of a grid, several at a time, each in a process of its own; the same command goes on where it stopped.

  python -m apps.sweep --grid=apps/grids/digits.json --jobs=2 --budget_minutes=30

A grid is a JSON file of flags; a list of values stands for a run with each, and a run may be taught by another:

  {"workdir": "runs/example", "common": {"dataset": "cifar10", "schedule": "10-35"},
   "runs": [{"model": "wrn16-2"},
            {"student": "wrn16-1", "teacher": "wrn16-2_10-35_seed0", "seed": [0, 1, 2]}]}

Exit code: 0 once all are finished, 1 if some failed, 75 if the budget or a signal left some to be gone on with.
"""

from absl import flags

from apps import common, running
from kdzoo.experiments import sweep

flags.DEFINE_string("grid", None, "JSON file of the runs.", required=True)
running.define_flags()
flags.adopt_module_key_flags(running)
flags.adopt_module_key_flags(common)


def main() -> int:
    runs = sweep.read_grid(flags.FLAGS.grid)
    if flags.FLAGS.dry_run:
        print("\n".join(" ".join(running.command(run)[1:]) for run in runs))
        return 0
    return running.run_all(runs)


if __name__ == "__main__":
    common.run(main)
