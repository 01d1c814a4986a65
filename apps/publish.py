"""Publishes the network of a finished run: a SavedModel that anybody can serve, and its card.

  python -m apps.publish --run=runs/wrn16-2_20-65

The run is evaluated again first. It becomes saved_models/NAME, whole or not at all. Other runs of the same
configuration but for the seed, after a comma, count in the card's mean error.
"""

from absl import flags

from apps import common
from kdzoo.hub import cards
from kdzoo.publishing import publisher
from kdzoo.runs import records

flags.DEFINE_list("run", None, "Directory of the finished run; more, comma-separated, of other seeds.", required=True)
flags.DEFINE_string("models", None, "Folder of published models; default: $KDZOO_HOME or the checkout's.")
flags.DEFINE_string("name", None, "Default: the model's, such as wrn16-2_20-65, after DATASET/ where not cifar10.")
flags.DEFINE_string("dataset", None, "From where to take the run's data set; default: from where the run had it.")
flags.DEFINE_string("licence", None, "SPDX identifier, for example Apache-2.0; default: none stated.")
flags.DEFINE_enum("store", "float32", publisher.STORES, "How weights are stored; float16 takes half the room.")
flags.DEFINE_bool("replace", False, "Put it in the place of a published model of this name.")


def main() -> None:
    args = flags.FLAGS
    for run in args.run:
        records.read(run)  # before seconds are spent on importing TensorFlow
    common.import_training()
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
    common.run(main)
