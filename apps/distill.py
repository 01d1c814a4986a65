"""Trains a student on labels and on the outputs of a teacher.

  python -m apps.distill --student=wrn16-1 --teacher=runs/wrn16-2_20-65 --schedule=60-200 --method=kd \\
      --dataset=cifar10 --seed=0 --workdir=runs/wrn16-1_kd
  python -m apps.distill --student=wrn16-1 --teacher=wrn16-2_10-35 --schedule=10-35 --method=at+kd --kd_until=0.5 \\
      --workdir=runs/wrn16-1_at_kd_eskd
  python -m apps.distill --student=wrn16-1 --teacher=wrn16-2_10-35 --schedule=10-35 --method=dkd --method_args=beta=2 \\
      --workdir=runs/wrn16-1_dkd

The same command resumes a run that was stopped. The record of the finished run is WORKDIR/record.json; the learning
curves: tensorboard --logdir=WORKDIR.
"""

from absl import flags

from apps import command, run_config, run_flags, train_command
from kdzoo.distillation import registry

run_flags.define_run_flags()
run_flags.define_distillation_flags()
flags.adopt_module_key_flags(run_flags)
flags.DEFINE_string(
    "student",
    None,
    "Network of the student, as in apps.train --model. Examples: wrn16-1, keras:MobileNetV3Small. Required.",
    required=True,
)


def main() -> None:
    args = flags.FLAGS
    fields = registry.fields(args.method, args.method_args)
    weights = [name for name in run_config.WEIGHTS if getattr(args, name) is not None]
    given = {name: getattr(args, name) for name in weights}
    defaults = {"method_args": "", "method_weight": 0.0}
    train_command.train(args.student, teachers=tuple(args.teacher), **{**defaults, **fields, **given})


if __name__ == "__main__":
    command.run(main)
