"""Prints the published models on this machine, from their cards.

python -m apps.list --models='wrn16-*'
"""

from absl import flags

from apps import common
from kdzoo.hub import models
from kdzoo.reports import tables

flags.DEFINE_string("models", "*", "Names, as a shell's pattern.")
flags.DEFINE_string("path", None, "The only folder of models to look in.")


def main() -> None:
    cards = models.list_cards(flags.FLAGS.models, path=flags.FLAGS.path)
    print(tables.cards(cards) if cards else f"no published model is named like {flags.FLAGS.models}")


if __name__ == "__main__":
    common.run(main)
