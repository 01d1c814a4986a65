"""Published models: found by name, verified, listed and loaded. Nothing here needs TensorFlow.

A published model is a directory NAME with `card.json`, which describes it and holds the SHA-256 of every file, and
`1/`, a SavedModel as TensorFlow Serving wants it. The card also says where each weight lies in the SavedModel's data
file, so that any backend can read them.
"""

import dataclasses
import difflib
import fnmatch
import functools
import hashlib
import json
import logging
import os
import pathlib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kdzoo import names, records
from zoo import InputError

if TYPE_CHECKING:
    import keras

CARD = "card.json"
VERSION = "1"
SAVED_MODEL = f"{VERSION}/saved_model.pb"
VARIABLES = f"{VERSION}/variables/variables.data-00000-of-00001"
INDEX = f"{VERSION}/variables/variables.index"
FILES = (SAVED_MODEL, VARIABLES, INDEX)
SAMPLE = 1000  # first test images, whose error alone a card holds too: a check that takes seconds
CARD_BYTES = 2**20  # more is no card
REMOTES = ("https://", "hf://", "http://")
CHECKOUT = pathlib.Path(__file__).parents[1] / "saved_models"
_RULE = (
    "A published model must be named [DATASET/]ARCHITECTURE_SCHEDULE, for example wrn16-8_20-65 or"
    " cifar100/wrn16-8_20-65"
)

_log = logging.getLogger(__name__)


def load(name: str, *, path: str | os.PathLike | None = None) -> "keras.Model":
    """A published model as a Keras model: built by its builder, holding the artefact's weights.

    It takes standardised float32 images (the card's `mean` and `std`, see `kdzoo.data.standardise`) to logits, has its
    stages as layers, and can be trained on. Every file's checksum is verified first.

    Args:
        name: for example wrn16-8_20-65, looked for in `path` or else in $KDZOO_HOME, the checkout's saved_models/ and
            the remote folder $KDZOO_REMOTE; or where one lies: https://HOST/FOLDER/NAME or hf://OWNER/REPO/NAME. What
            comes from afar is kept in $KDZOO_CACHE, by default ~/.cache/kdzoo.
        path: the only folder of models to look in.

    Raises:
        InputError: if there is no such model, or it is damaged; the message names the closest ones.
    """
    return find(name, path=path).build()


def list_models(pattern: str = "*", *, path: str | os.PathLike | None = None) -> list[str]:
    """Names of the published models on this machine, for example of "wrn16-*", in natural order. Reads only cards.

    Args:
        pattern: as a shell's.
        path: the only folder of models to look in, instead of $KDZOO_HOME and the checkout's saved_models/.
    """
    return [card["name"] for card in list_cards(pattern, path=path)]


def list_cards(pattern: str = "*", *, path: str | os.PathLike | None = None) -> list[dict[str, Any]]:
    """The cards of `list_models`. A damaged card is left out, with a warning."""
    cards = {}
    for root in _roots(path):
        for found in (*root.glob(f"*/{CARD}"), *root.glob(f"*/*/{CARD}")):
            name = found.parent.relative_to(root).as_posix()
            if not name.startswith(".") and "/." not in name and name not in cards and fnmatch.fnmatch(name, pattern):
                try:
                    cards[name] = read_card(found.parent, name)
                except InputError as error:
                    _log.warning("%s", error)
    return [cards[name] for name in sorted(cards, key=_natural)]


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained network of ours, wherever it lies.

    Attributes:
        where: as it was asked for.
        directory: where it is.
        record: its run's record, or its card, which says the same and more.
        digest: gives the SHA-256 of its weights.
        build: gives the network with its weights, in the precision Keras is set to.
    """

    where: str
    directory: pathlib.Path
    record: dict[str, Any]
    digest: Callable[[], str]
    build: Callable[[], "keras.Model"]


def find(name: str, *, path: str | os.PathLike | None = None) -> Trained:
    """A published model, its card read, its files verified when it is built: see `load`.

    Raises:
        InputError: if there is none, or its card is damaged.
    """
    return _published(name, locate(name, path=path), None if _is_remote(name) else name)


def resolve(where: str | os.PathLike) -> Trained:
    """A trained network by the directory of a run or published model, a published name, or an address.

    A directory that is there wins over a published name.

    Raises:
        InputError: if there is none.
    """
    where = os.fspath(where)
    if _is_remote(where):
        return find(where)
    if not where.isprintable() or len(where) > 1000:
        raise InputError(f"A trained model is a directory or a published name. Received: {repr(where)[:100]}")
    directory = pathlib.Path(where)
    if os.path.exists(directory / CARD):  # which, unlike a path's own, takes names of any length
        return _published(where, directory, None)
    if not os.path.exists(where) and re.fullmatch(r"([^/]+/)?[a-z]+[0-9-]+(_[a-z0-9.-]+)?", where):
        return find(where)
    record = records.read(where)
    weights = directory / records.WEIGHTS
    return Trained(
        where,
        directory,
        record,
        functools.partial(_digest_file, weights),
        functools.partial(records.load_model, where),
    )


def _digest_file(path: pathlib.Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"A finished run must hold its weights. Received: {path}: {error.strerror}") from None


def locate(name: str, *, path: str | os.PathLike | None = None) -> pathlib.Path:
    """Directory of a published model, fetched there first where it lies afar.

    Raises:
        InputError: if it cannot be found.
    """
    if _is_remote(name):
        from kdzoo import remote

        return remote.fetch(name)
    check_name(name)
    roots = _roots(path)
    for root in roots:
        if (root / name / CARD).exists():
            return root / name
    if path is None and (base := os.environ.get("KDZOO_REMOTE")):
        from kdzoo import remote

        return remote.fetch(f"{base.rstrip('/')}/{name}")
    published = list_models(path=path)
    close = difflib.get_close_matches(name, published, n=3, cutoff=0.3) or published[:5]
    tried = ", ".join(str(root / name) for root in roots) or "no folder of models"
    raise InputError(
        f"A model to load must be published, for example {', '.join(close) or 'by apps.publish'}."
        f" Received: {name}: not in {tried}; KDZOO_HOME and KDZOO_REMOTE name other places"
    )


def check_name(name: str) -> names.ModelName:
    """The model a published name means.

    Raises:
        InputError: if it is no such name: no schedule, a path, anything but plain characters.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}(/[a-z0-9._-]{1,64})?", name):
        raise InputError(f"{_RULE}. Received: {repr(name)[:100]}")
    parsed = names.parse(name.rpartition("/")[2])
    if not parsed.schedule:
        published = [model for model in list_models() if model.rpartition("/")[2].startswith(f"{parsed}_")]
        which = f"published with one: {', '.join(published)}" if published else "none of it is published"
        raise InputError(f"{_RULE}, with the schedule it was trained on; {which}. Received: {name}")
    return parsed


def read_card(directory: str | os.PathLike, name: str | None = None) -> dict[str, Any]:
    """The card of the published model in a directory.

    Args:
        directory: that holds card.json.
        name: what the model must be named; None: whatever its card says.

    Raises:
        InputError: if there is no whole, unedited card of that name.
    """
    path = pathlib.Path(directory) / CARD
    try:
        with open(path, "rb") as file:
            return parse_card(file.read(CARD_BYTES + 1), where=str(path), name=name)
    except OSError as error:
        raise InputError(f"A published model must hold its card. Received: {path}: {error.strerror}") from None


def parse_card(content: bytes, *, where: str, name: str | None = None) -> dict[str, Any]:
    """A card's content, checked against its own digest, so that what it says of the files can be relied on.

    Raises:
        InputError: if it is none, was edited, or is another model's.
    """
    reason = None
    try:
        card = json.loads(content) if len(content) <= CARD_BYTES else None
        if not isinstance(card, dict) or card.get("sha256") != digest(card):
            reason = "not a card, or not as it was published"
        elif name is not None and card["name"] != name:
            reason = f"the card of {card['name']}"
        elif set(card["files"]) != set(FILES):
            reason = f"files other than {', '.join(FILES)}"
        elif not all(_is_expectation(expected) for expected in card["files"].values()):
            reason = "files without size and SHA-256"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"not a card: {error}"
    if reason:
        raise InputError(f"A published model must hold its card, as published. Received: {where}: {reason}")
    return card


def _is_expectation(expected: Any) -> bool:
    """Whether this is what `expect` gives, so that it may be counted with and be part of a file's name."""
    return (
        expected.keys() == {"bytes", "sha256"}
        and type(expected["bytes"]) is int
        and expected["bytes"] >= 0
        and bool(re.fullmatch("[0-9a-f]{64}", expected["sha256"]))
    )


def digest(card: dict[str, Any]) -> str:
    """SHA-256 of what a card says, but for this digest itself."""
    said = {key: value for key, value in card.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def count_bytes(card: dict[str, Any]) -> int:
    """Size of a published model's files."""
    return sum(expected["bytes"] for expected in card["files"].values())


def verify(directory: pathlib.Path, card: dict[str, Any]) -> dict[str, bytes]:
    """The content of every file of a published model, each as its card says.

    Raises:
        InputError: if one is missing, or not what was published.
    """
    contents = {}
    for name, expected in card["files"].items():
        try:
            contents[name] = (directory / name).read_bytes()
        except OSError as error:
            raise InputError(
                f"A published model must hold the files of its card. Received: {directory / name}: {error.strerror}"
            ) from None
        check_content(contents[name], expected, where=str(directory / name))
    return contents


def expect(content: bytes) -> dict[str, Any]:
    """What a card says of a file with this content."""
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def check_content(content: bytes, expected: dict[str, Any], *, where: str) -> None:
    """Raises InputError unless this is the content a card expects of a file."""
    received = expect(content)
    if received != expected:
        raise InputError(
            f"A published model's files must be as its card says: {expected['bytes']} bytes of SHA-256"
            f" {expected['sha256'][:12]}. Received: {where}: {received['bytes']} bytes of {received['sha256'][:12]}"
        )


def _published(where: str, directory: pathlib.Path, name: str | None) -> Trained:
    card = read_card(directory, name)
    build = functools.partial(_build, directory, card)
    return Trained(where, directory, card, lambda: card["files"][VARIABLES]["sha256"], build)


def _build(directory: pathlib.Path, card: dict[str, Any]) -> "keras.Model":
    content = verify(directory, card)[VARIABLES]
    try:
        model = records.build(card)
        assign(model, card["weights"], content)
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"A published model's card must tell of its weights. Received: {directory / CARD}: {error}"
        ) from None
    return model


def assign(model: "keras.Model", weights: list[dict[str, Any]], content: bytes) -> None:
    """Gives a model the weights that lie in a SavedModel's data file.

    Args:
        model: whose variables they are.
        weights: path, shape, dtype and offset in bytes of each, as in a card.
        content: the data file's.

    Raises:
        InputError: if they are not this model's.
    """
    import numpy as np

    variables = {variable.path: variable for variable in model.variables}
    stored = {weight["path"]: weight for weight in weights}
    if {path: tuple(v.shape) for path, v in variables.items()} != {p: tuple(w["shape"]) for p, w in stored.items()}:
        raise InputError(f"A card's weights must be those of its network, {model.name}. Received: others")
    for path, variable in variables.items():
        shape, dtype = tuple(stored[path]["shape"]), np.dtype(stored[path]["dtype"]).newbyteorder("<")
        values = np.frombuffer(content, dtype, count=int(np.prod(shape)), offset=stored[path]["offset"])
        variable.assign(values.reshape(shape).astype("float32"))


def home(path: str | os.PathLike | None = None) -> pathlib.Path:
    """Folder to publish in: `path`, or else the first that `load` looks in.

    Raises:
        InputError: if there is none.
    """
    if roots := _roots(path):
        return roots[0]
    raise InputError("A folder of models must be given, or be named by KDZOO_HOME, outside a checkout. Received: none")


def _roots(path: str | os.PathLike | None) -> list[pathlib.Path]:
    """Folders of models on this machine."""
    if path is not None:
        return [pathlib.Path(path)]
    named = os.environ.get("KDZOO_HOME")
    in_checkout = CHECKOUT.with_name("setup.py").exists()
    return [*([pathlib.Path(named).expanduser()] if named else []), *([CHECKOUT] if in_checkout else [])]


def _is_remote(where: str) -> bool:
    return where.startswith(REMOTES)


def _natural(name: str) -> list:
    """Sorts numbers within names as numbers: wrn16-2 before wrn16-10; CIFAR-10's, without a prefix, first."""
    prefix, _, model = name.rpartition("/")
    return [prefix, *(int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", model)))]
