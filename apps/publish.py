"""Publishes the network of a finished run: a SavedModel that others can load and serve, and its card.

  python -m apps.publish --run=runs/wrn16-2_20-65
  python -m apps.publish --run=runs/wrn16-2_20-65_seed0,runs/wrn16-2_20-65_seed1 --licence=Apache-2.0 --store=float16

The run is evaluated again first. The model becomes saved_models/NAME, completely or not at all. More runs of the same
configuration with other seeds, after a comma, count in the mean error on the card.
"""

from absl import flags

from apps import command, flag_values
from kdzoo.hub import cards
from kdzoo.publishing import export, publisher
from kdzoo.runs import kept_epochs, machine, records

flags.DEFINE_list(
    "run",
    None,
    "Directory of the finished run to publish, RUN@N for an epoch that it kept; after a comma, runs with other seeds"
    " that count in the mean error. Required.",
    required=True,
)
flag_values.define_directory(
    "models", None, "Folder of published models to write to. Default: $KDZOO_HOME, or else the checkout's saved_models."
)
flags.DEFINE_string(
    "name",
    None,
    "Name of the published model. Default: the run's model and schedule, after DATASET/ unless the data set is cifar10."
    " Example: cifar100/wrn16-2_20-65.",
)
flags.DEFINE_string(
    "dataset",
    None,
    "Data set to evaluate the run on, if its own has moved. Example: npz:data/images.npz. Default: the data set in"
    " the run's record.",
)
flags.DEFINE_string(
    "licence", None, "SPDX expression of the licence on the card. Example: Apache-2.0. Default: no licence is stated."
)
flags.DEFINE_enum(
    "store", "float32", export.STORES, "Type in which weights are stored. float16 halves the size on disk."
)
flags.DEFINE_bool("replace", False, "Whether to replace a published model of the same name.")


def main() -> None:
    args = flags.FLAGS
    for run in args.run:
        records.read(kept_epochs.locate(run))  # a wrong path fails before TensorFlow takes seconds to import
    machine.check_backend()
    directory = publisher.publish(
        args.run,
        args.models,
        name=args.name,
        dataset=args.dataset,
        licence=args.licence,
        store=args.store,
        replace=args.replace,
    )
    card = cards.read_card(directory)
    print(
        f"{card['name']}: test error {card['test_error']:.2f} % in float32 (its run's {card['test_error_last']:.2f} %),"
        f" {cards.count_bytes(card) / 2**20:.1f} MiB: {directory}"
    )


if __name__ == "__main__":
    command.run(main)
