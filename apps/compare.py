"""Compares finished runs: a table over seeds, plots in the paper's forms, a log directory for TensorBoard.

  python -m apps.compare --runs=results/cifar10 --out=runs/comparison
  python -m apps.compare --runs='runs/wrn16-1_*,runs/more' --out=runs/comparison --tensorboard=runs/comparison/logs

Reads only the records of the runs, so it needs neither their weights nor TensorFlow.
"""

import sys

from absl import flags

from apps import command, flag_values

flags.DEFINE_list(
    "runs",
    None,
    "Directories to search for finished runs, or shell patterns of such directories, separated by commas. Example:"
    " 'runs/wrn16-1_*'. Required.",
    required=True,
)
flag_values.define_directory(
    "out", None, "Directory for compare.md, compare.csv and the plots (PNG and SVG). Required.", required=True
)
flags.DEFINE_list(
    "curves",
    [],
    "Runs whose learning curves to draw: shell patterns of their paths below the common directory of all runs,"
    " separated by commas. Example: '*_kd_*'. Empty: for each student up to five groups, chosen automatically.",
)
flag_values.define_directory(
    "tensorboard",
    None,
    "Log directory in which to write TensorBoard event files from the records. Default: no event files are written.",
)


def main() -> None:
    from kdzoo.reports.comparison import compare
    from kdzoo.reports.finished_runs import find

    FLAGS = flags.FLAGS
    made = compare(find(FLAGS.runs), FLAGS.out, curves=FLAGS.curves, logdir=FLAGS.tensorboard)
    for text in filter(None, (made.table, made.methods)):
        print(text, end="\n\n")
    for line in (*made.notes, *made.paths):
        print(line)
    if FLAGS.tensorboard:
        print(f"Curves: {sys.executable} -m tensorboard.main --logdir={FLAGS.tensorboard}")


if __name__ == "__main__":
    command.run(main)
