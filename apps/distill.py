"""Trains a student on labels and on what a teacher says: the directory of a run of apps.train, or of another student.

  python -m apps.distill --student=wrn16-1 --teacher=runs/wrn16-2_20-65 --schedule=60-200 --method=kd \
      --dataset=cifar10 --seed=0 --workdir=runs/wrn16-1_kd
"""

from absl import flags

from apps import common
from kdzoo.runs.config import METHODS

common.define_run_flags()
common.define_distillation_flags()
flags.adopt_module_key_flags(common)
flags.DEFINE_string("student", None, "Architecture, for example wrn16-1.", required=True)


def main() -> None:
    args = flags.FLAGS
    weights = METHODS[args.method]
    given = {name: getattr(args, name) for name in weights if getattr(args, name) is not None}
    common.train(args.student, teachers=tuple(args.teacher), **{**weights, **given})


if __name__ == "__main__":
    common.run(main)
