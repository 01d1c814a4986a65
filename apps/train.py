"""Trains a network on labels alone: a teacher, fully or on a shrunk schedule, or a student from scratch.

python -m apps.train --model=wrn16-2 --schedule=20-65 --dataset=cifar10 --seed=0 --workdir=runs/wrn16-2_20-65
"""

from absl import flags

from apps import common

common.define_run_flags()
flags.adopt_module_key_flags(common)
flags.DEFINE_string("model", None, "Architecture, for example wrn16-2, dn40-12 or resnet18.", required=True)


def main() -> None:
    common.train(flags.FLAGS.model)


if __name__ == "__main__":
    common.run(main)
