"""Evaluates a trained network on a test set, beside the test error in its record or card.

  python -m apps.evaluate --model=runs/wrn16-2_20-65 --dataset=cifar10
  python -m apps.evaluate --model=wrn16-2_10-35 --per_class=classes.csv --confusion=confusion.csv

Prints one line with the test error in percent, of more than ten classes also the top-5 error, and the cross-entropy in
nats. Files are written where flags name them.
"""

import os

from absl import flags

from apps import command, flag_values
from kdzoo import training
from kdzoo.data import class_names
from kdzoo.hub import models
from kdzoo.reports import errors_by_class
from kdzoo.runs import machine
from zoo import InputError

flag_values.define_trained_model()
flags.DEFINE_string(
    "dataset",
    None,
    "Data set: cifar10, cifar100, digits, npz:FILE, folder:DIR or tfds:NAME. Default: the data set that it was trained"
    " on.",
)
flags.DEFINE_integer(
    "examples", None, "Number of test images to evaluate, the first of the test set. Default: the whole test set."
)
flag_values.define_output(
    "per_class",
    "CSV file to write: a row for each class with its name, its test images, its error in percent and the class that"
    " its wrong images are most often taken for.",
    suffix=".csv",
)
flag_values.define_output(
    "confusion",
    "CSV file to write: the confusion matrix, a row for each true class, a column for each predicted one. Its plot is"
    " written beside it, as .png and .svg.",
    suffix=".csv",
)


def main() -> None:
    args = flags.FLAGS
    trained = models.resolve(args.model)  # a wrong name fails before TensorFlow takes seconds to import
    if args.confusion:
        errors_by_class.check_classes(trained.record["dataset"]["num_classes"])
        if args.per_class and os.path.realpath(args.per_class) == os.path.realpath(args.confusion):
            raise InputError(f"per_class and confusion must be two files. Received: {args.confusion} for both")
    machine.check_backend()
    result = training.evaluate_run(args.model, args.dataset, examples=args.examples, workers=-1)
    top5 = f", top-5 error {result['test_top5_error']:.2f} %" if "test_top5_error" in result else ""
    line = (
        f"{result['name']} on {result['dataset']}: test error {result['test_error']:.2f} %{top5}"
        f" of {result['test_examples']:,} images"
    )
    print(f"{line}, cross-entropy {result['test_ce']:.4f} nats; in its record: {result['test_error_recorded']:.2f} %")
    classes = (result["labels"], result["predicted"], class_names.of_record(trained.record["dataset"]))
    if args.per_class:
        errors_by_class.write_per_class(args.per_class, *classes)
    if args.confusion:
        errors_by_class.write_confusion(args.confusion, *classes, title=line)


if __name__ == "__main__":
    command.run(main)
