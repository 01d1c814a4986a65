"""Cards with one thing wrong: `parse_card`, and every pure function of cards. Most are signed anew."""

import json
import pathlib
from typing import Any

import pytest
from hypothesis import strategies as st

from conftest import ROOT
from fuzz_cases import Case, Tally, changed_json, dump, fuzz, refusal
from fuzz_records import card_digest, find_wrong_in_card
from kdzoo.hub import cards, models
from kdzoo.reports import tables

PATHS = [*sorted(ROOT.glob("saved_models/**/card.json")), *sorted(ROOT.glob("tests/fixtures/models/**/card.json"))]
CARDS = [json.loads(path.read_text()) for path in PATHS]
CARDS.append(CARDS[-1] | {"test_top5_error": 1.0, "test_top5_error_last": 1.25})  # as of more than ten classes
KEYS = sorted({key for card in CARDS for key in (*card, *card["config"], *card["trained"], *card["weights"][0])})
EXTRA: list[Any] = [
    [0.4],
    [0.4, 0.4, 0.4],
    [32, 32, 3],
    "a" * 64,
    {"bytes": 5, "sha256": "a" * 64},
    "Apache-2.0",
    [2**40],
]
EXTRA += [{"path": "x", "shape": [1], "dtype": "float32", "offset": 0}, "../../x", "float16", "cifar10/wrn16-2_10-35"]


def sign(case: Case) -> Case:
    """The case with a digest that fits, if its text can have one: as a publisher with an error writes it."""
    try:
        card = json.loads(case.content)
        signed = {**card, "sha256": card_digest(card)}
    except (ValueError, TypeError, RecursionError):
        return case
    return Case(dump(signed), f"{case.what}, signed")


def use(content: bytes, spec: str, folder: pathlib.Path) -> None:
    card = cards.parse_card(content, spec=spec)
    tables.card_table([card])
    cards.count_bytes(card)
    cards.digest(card)
    models.resolve(folder)


@pytest.mark.slow
def test_cards(tmp_path: pathlib.Path) -> None:
    def judge(drawn: tuple[int, bool, Case], tally: Tally) -> None:
        i, named, case = drawn
        name = CARDS[i]["name"] if named else None
        wrong = find_wrong_in_card(case.content, name)
        (tmp_path / cards.CARD).write_bytes(case.content)
        try:
            refused, _ = refusal(lambda: cards.parse_card(case.content, spec="card.json", name=name))
            if refused is None:
                used, _ = refusal(lambda: use(case.content, "card.json", tmp_path))
                assert used is None, f"read, but then refused: {used}"
            models.list_cards(path=tmp_path.parent)
        except AssertionError as error:
            tally.count(drawn, case.what, "an error", "an error")
            return tally.fault("an error", case.what, f"{wrong}: {str(error)[-500:]}")
        tally.count(drawn, case.what, refused, wrong)

    for path in PATHS:
        assert find_wrong_in_card(path.read_bytes(), None) is None, path
    indices = st.integers(0, len(CARDS) - 1)

    def change(i: int) -> st.SearchStrategy[Any]:
        changed = changed_json(CARDS[i], EXTRA, KEYS)
        return st.tuples(st.just(i), st.booleans(), st.one_of(changed.map(sign), changed.map(sign), changed))

    fuzz("cards", indices.flatmap(change), judge)
