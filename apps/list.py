"""Prints a table of the published models on this machine, from their cards.

  python -m apps.list
  python -m apps.list --models='wrn16-*'

A name in the table can be given to `kdzoo.load`, and to --teacher and --model of the other commands.
"""

from absl import flags

from apps import command, flag_values
from kdzoo.hub import models
from kdzoo.reports import tables

flags.DEFINE_string(
    "models", "*", "Names of the models to list, as a shell pattern. Examples: 'wrn16-*', 'cifar100/*'."
)
flag_values.define_directory(
    "path",
    None,
    "The only folder of published models to search. Default: $KDZOO_HOME, then the checkout's saved_models.",
    exists=True,
)


def main() -> None:
    cards = models.list_cards(flags.FLAGS.models, path=flags.FLAGS.path)
    print(tables.card_table(cards) if cards else f"no published model is named like {flags.FLAGS.models}")


if __name__ == "__main__":
    command.run(main)
