"""Predicts the classes of the pictures in a folder.

  python -m apps.predict --model=runs/wrn16-2_20-65 --images=photos --output=classes.csv
  python -m apps.predict --model=wrn16-2_10-35 --images=photo.jpg

Writes a CSV row for each picture, sorted by path: path, class, probability, and the five most probable classes with
their probabilities, class_1 to class_5 and probability_1 to probability_5. Pictures may be of any size, and in JPEG,
PNG, WebP, BMP, GIF (the first frame) or TIFF. A file that is no picture is named on standard error and left out.
"""

import os
import sys

from absl import flags

from apps import command, flag_values
from kdzoo import files, training
from kdzoo.data import picture_files
from kdzoo.hub import models
from kdzoo.runs import machine

flag_values.define_trained_model()
flags.DEFINE_string(
    "images",
    None,
    "Folder of pictures, with all folders in it; or one picture. Example: photos. Required.",
    required=True,
)
flag_values.define_output("output", "CSV file to write. Default: standard output.", suffix=".csv")


def main() -> None:
    args = flags.FLAGS
    models.resolve(args.model)  # a wrong name fails before TensorFlow takes seconds to import
    picture_files.check_exists(args.images)
    machine.check_backend()
    predictions = training.predict_pictures(args.model, args.images, _name_left_out)
    if args.output:
        with files.open_output(args.output) as file:
            training.write_csv(predictions, file)
        return
    try:
        training.write_csv(predictions, sys.stdout)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _name_left_out(path: str, reason: str) -> None:
    print(f"left out: {path if path.isprintable() else repr(path)}: {reason}", file=sys.stderr)


if __name__ == "__main__":
    command.run(main)
