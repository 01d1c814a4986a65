"""Evaluates a trained network on a test set, beside the test error in its record or card.

  python -m apps.evaluate --model=runs/wrn16-2_20-65 --dataset=cifar10
  python -m apps.evaluate --model=wrn16-2_10-35

Prints one line with the test error in percent, of more than ten classes also the top-5 error, and the cross-entropy in
nats; no file is written.
"""

from absl import flags

from apps import command
from kdzoo import training
from kdzoo.hub import models
from kdzoo.runs import machine

flags.DEFINE_string(
    "model",
    None,
    "Directory of a finished run, or a published model: its name, https://HOST/FOLDER/NAME or hf://OWNER/REPO/NAME."
    " Example: wrn16-2_10-35. Required.",
    required=True,
)
flags.DEFINE_string(
    "dataset",
    None,
    "Data set: cifar10, cifar100, digits, npz:FILE, folder:DIR or tfds:NAME. Default: the data set that it was trained"
    " on.",
)
flags.DEFINE_integer(
    "examples", None, "Number of test images to evaluate, the first of the test set. Default: the whole test set."
)


def main() -> None:
    models.resolve(flags.FLAGS.model)  # a wrong name fails before TensorFlow takes seconds to import
    machine.check_backend()
    result = training.evaluate_run(flags.FLAGS.model, flags.FLAGS.dataset, examples=flags.FLAGS.examples, workers=-1)
    top5 = f", top-5 error {result['test_top5_error']:.2f} %" if "test_top5_error" in result else ""
    print(
        f"{result['name']} on {result['dataset']}: test error {result['test_error']:.2f} %{top5}"
        f" of {result['test_examples']:,} images, cross-entropy {result['test_ce']:.4f} nats;"
        f" in its record: {result['test_error_recorded']:.2f} %"
    )


if __name__ == "__main__":
    command.run(main)
