"""Published models and caches of teacher outputs for the attacks of tests/attacks.md, whole and damaged."""

import json
import pathlib
from collections.abc import Callable
from typing import Any

from attack_states import DEEP, PUBLISHED, SMALL, STATES, Shared, copy, flip, keep, state


@state
def models(shared: Shared, tmp: pathlib.Path) -> pathlib.Path:
    return copy(shared.models, tmp / "models")


@state
def models_flipped(shared: Shared, tmp: pathlib.Path) -> pathlib.Path:
    root = copy(shared.models, tmp / "models_flipped")
    flip(root / PUBLISHED / "1/variables/variables.data-00000-of-00001", 5000)
    return root


@state
def models_precious(shared: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """Where a model would be published, a directory of the user's holds other files."""
    (tmp / "precious" / PUBLISHED).mkdir(parents=True)
    (tmp / "precious" / PUBLISHED / "notes.txt").write_text("mine")
    return tmp / "precious"


@state
def models_loop(shared: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """The folder holds a link to itself, and one of its models under a second name."""
    root = pathlib.Path(models(shared, tmp))
    (root / "again").symlink_to(root)
    (root / "copy").symlink_to(root / "quarters")
    return root


def _card_state(name: str, edit: Callable[[dict[str, Any]], object]) -> None:
    """Defines a folder of a whole model and one whose card was edited, with a digest that fits."""

    def make(shared: Shared, tmp: pathlib.Path) -> pathlib.Path:
        from kdzoo.hub import cards

        root = copy(shared.models, tmp / name)
        edited = copy(root / PUBLISHED, root / "edited/wrn10-1_1-1")
        card = cards.read_card(edited)
        card["name"] = "edited/wrn10-1_1-1"
        edit(card)
        cards.write_card(edited, card)
        return root

    STATES[name] = make


for _name, _edit in {
    "card_bare": lambda card: keep(card, "name", "files"),
    "card_error_text": lambda card: card.update(test_error="12.5", test_error_last="12.5"),
    "card_dataset_text": lambda card: card.update(dataset="quarters"),
    "card_weights_beyond": lambda card: card["weights"][0].update(offset=-4),
}.items():
    _card_state(_name, _edit)


@state
def card_deep(shared: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """A whole model, and one whose card is JSON of great depth."""
    root = copy(shared.models, tmp / "card_deep")
    (root / "edited/wrn10-1_1-1").mkdir(parents=True)
    (root / "edited/wrn10-1_1-1/card.json").write_text(DEEP)
    return root


@state
def cache_precious(_: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """A folder of the user's: its parts have names of a table's files, but are none."""
    root = tmp / "precious"
    for name, card in (("measured", None), ("scanned", {"title": "mine"}), ("0" * 32, {"format": "mine"})):
        (root / name).mkdir(parents=True)
        (root / name / "rows").write_bytes(b"x" * 400_000)
        if card:
            (root / name / "card.json").write_text(json.dumps(card))
    return root


@state
def cache_deep(shared: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """The cache of the run's outputs, in which every table's card is JSON of great depth."""
    from kdzoo.runs.config import RunConfig
    from kdzoo.teachers.output_cache import Cache
    from kdzoo.teachers.precompute import precompute

    config = RunConfig(**SMALL, dataset=f"npz:{shared.data}", teachers=(str(shared.run),), kd_weight=1.0)
    precompute(config, Cache(tmp / "cache_deep"), seeds=[0])
    for path in (tmp / "cache_deep").glob("*/card.json"):
        path.write_text(DEEP)
    return tmp / "cache_deep"
