"""Compares finished runs: a table over seeds, plots in the paper's forms, a log directory for TensorBoard.

python -m apps.compare --runs=results/cifar10 --out=runs/comparison
python -m apps.compare --runs='runs/wrn16-1_*,runs/more' --out=runs/comparison --tensorboard=runs/comparison/logs
"""

import sys

from absl import flags

from apps import common

flags.DEFINE_list("runs", None, "Directories searched for finished runs, or shell patterns of them.", required=True)
flags.DEFINE_string("out", None, "Directory for compare.md, compare.csv and the plots.", required=True)
flags.DEFINE_list(
    "curves", [], "Shell patterns of the runs, by path below all runs' folder, whose learning curves to draw."
)
flags.DEFINE_string("tensorboard", None, "Log directory to build anew from the records, apart from the runs.")


def main() -> None:
    from kdzoo.reports import tables

    FLAGS = flags.FLAGS
    made = tables.compare(tables.find(FLAGS.runs), FLAGS.out, curves=FLAGS.curves, logdir=FLAGS.tensorboard)
    print(made.table, end="\n\n")
    for line in (*made.notes, *made.paths):
        print(line)
    if FLAGS.tensorboard:
        print(f"Curves: {sys.executable} -m tensorboard.main --logdir={FLAGS.tensorboard}")


if __name__ == "__main__":
    common.run(main)
