"""Evaluates a trained network on a test set, beside what its record or card says.

python -m apps.evaluate --model=runs/wrn16-2_20-65 --dataset=cifar10
python -m apps.evaluate --model=wrn16-2_10-35
"""

from absl import flags

from apps import common
from kdzoo.hub import models

flags.DEFINE_string("model", None, "Directory of a finished run, or a published name or address.", required=True)
flags.DEFINE_string("dataset", None, "cifar10, cifar100, digits or npz:FILE; by default the run's own.")
flags.DEFINE_integer("examples", None, "Only the first so many test images.")


def main() -> None:
    models.resolve(flags.FLAGS.model)  # before seconds are spent on importing TensorFlow
    result = common.import_training().evaluate_run(
        flags.FLAGS.model, flags.FLAGS.dataset, examples=flags.FLAGS.examples
    )
    print(
        f"{result['name']} on {result['dataset']}: test error {result['test_error']:.2f} %"
        f" of {result['test_examples']:,} images, cross-entropy {result['test_ce']:.4f} nats;"
        f" its record says {result['test_error_recorded']:.2f} %"
    )


if __name__ == "__main__":
    common.run(main)
