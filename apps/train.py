"""Trains a network on labels alone: a teacher, fully or on a shrunk schedule, or a student from scratch.

  python -m apps.train --model=wrn16-2 --schedule=20-65 --dataset=cifar10 --seed=0 --workdir=runs/wrn16-2_20-65
  python -m apps.train --model=wrn10-1 --schedule=4-12 --dataset=digits --workdir=runs/wrn10-1_4-12

The same command resumes a run that was stopped. The record of the finished run is WORKDIR/record.json; the learning
curves: tensorboard --logdir=WORKDIR.
"""

from absl import flags

from apps import command, run_flags, train_command

run_flags.define_run_flags()
flags.adopt_module_key_flags(run_flags)
flags.DEFINE_string(
    "model",
    None,
    "Network to train: zoo architecture (wrn16-2, dn40-12, resnet18), keras:NAME of keras.applications,"
    " kerashub:PRESET_OR_FOLDER, FILE.keras, or package.module:function, which is called with num_classes= and"
    " input_shape=. Arguments follow a question mark. Examples: wrn16-2, keras:MobileNetV3Small?alpha=0.75. Required.",
    required=True,
)


def main() -> None:
    train_command.train(flags.FLAGS.model)


if __name__ == "__main__":
    command.run(main)
