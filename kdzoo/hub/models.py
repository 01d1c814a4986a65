"""Published models: found by name, verified, listed and loaded. No function here needs TensorFlow.

A published model is a directory NAME with `card.json`, which describes it and holds the SHA-256 of every file, and
`1/`, a SavedModel in the layout of TensorFlow Serving. The card lists the position of each weight in the SavedModel's
data file, so that any backend can read them.
"""

import dataclasses
import difflib
import fnmatch
import functools
import logging
import os
import pathlib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kdzoo.hub.artefact import build_network
from kdzoo.hub.cards import CARD, VARIABLES, read_card
from kdzoo.hub.folders import model_folders
from kdzoo.models import names
from kdzoo.models.names import natural_key
from kdzoo.runs import kept_epochs, records
from kdzoo.runs import weights as run_weights
from zoo import InputError

if TYPE_CHECKING:
    import keras

_log = logging.getLogger(__name__)

REMOTES = ("https://", "hf://", "http://")
_RULE = (
    "A published model must be named [DATASET/]ARCHITECTURE_SCHEDULE, for example wrn16-8_20-65 or"
    " cifar100/wrn16-8_20-65"
)


def load(name: str, *, path: str | os.PathLike[str] | None = None) -> "keras.Model":
    """Loads a published model as a Keras model: its builder builds it, the SavedModel's weights are assigned.

    The model maps standardised float32 images [n, h, w, c] (the card's `mean` and `std`, see
    `kdzoo.data.standardise`) to logits [n, classes]. Its stages are layers, and it can be trained further. Every
    file's checksum is verified first.

    Args:
        name: for example wrn16-8_20-65, searched for in `path` or else in $KDZOO_HOME, the checkout's saved_models/ and
            the remote folder $KDZOO_REMOTE; or an address, https://HOST/FOLDER/NAME or hf://OWNER/REPO/NAME. Downloads
            are kept in $KDZOO_CACHE, by default ~/.cache/kdzoo.
        path: the only folder of models to search.

    Raises:
        InputError: if there is no such model, or it is damaged; the message names the closest ones.
    """
    return find(name, path=path).build()


def list_models(pattern: str = "*", *, path: str | os.PathLike[str] | None = None) -> list[str]:
    """Names of the published models on this machine, for example of "wrn16-*", in natural order. Reads only cards.

    Args:
        pattern: a shell pattern.
        path: the only folder of models to search, instead of $KDZOO_HOME and the checkout's saved_models/.

    Raises:
        InputError: if the pattern is no text.
    """
    return [card["name"] for card in list_cards(pattern, path=path)]


def list_cards(pattern: str = "*", *, path: str | os.PathLike[str] | None = None) -> list[dict[str, Any]]:
    """The cards of `list_models`. A damaged card is left out, with a warning."""
    if not isinstance(pattern, str):
        raise InputError(f"pattern must be a text, for example wrn16-*. Received: {repr(pattern)[:100]}")
    cards: dict[str, dict[str, Any]] = {}
    for root in model_folders(path):
        for found in (*root.glob(f"*/{CARD}"), *root.glob(f"*/*/{CARD}")):
            name = found.parent.relative_to(root).as_posix()
            if found.parent.name.isdecimal():  # a further version of the model in the folder above
                continue
            if not name.startswith(".") and "/." not in name and name not in cards and fnmatch.fnmatch(name, pattern):
                try:
                    cards[name] = read_card(found.parent, name)
                except InputError as error:
                    _log.warning("%s", error)
    return [cards[name] for name in sorted(cards, key=_natural)]


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained zoo model: a finished run, or a published model.

    Attributes:
        spec: the name, directory or address that the user gave.
        directory: holds the run or the published model.
        record: the run's record, or the model's card, which holds the same fields and more.
        digest: returns the SHA-256 of the file of weights; raises InputError if a run's is not the one that it wrote.
        build: returns the network with its weights, in Keras's current dtype policy.
    """

    spec: str
    directory: pathlib.Path
    record: dict[str, Any]
    digest: Callable[[], str]
    build: Callable[[], "keras.Model"]


def find(name: str, *, path: str | os.PathLike[str] | None = None) -> Trained:
    """Finds a published model and reads its card; its files are verified when it is built. Arguments as of `load`.

    Raises:
        InputError: if there is none, or its card is damaged.
    """
    return _published(name, locate(name, path=path), None if _is_remote(name) else name)


def resolve(spec: str | os.PathLike[str]) -> Trained:
    """Finds a trained zoo model by the directory of a run or published model, a published name, or an address.

    A directory that exists wins over a published name; RUN@N is an epoch that a run kept.

    Raises:
        InputError: if there is none, or it is a run whose weights were removed; the message then names the published
            model that has them, if the record does.
    """
    spec = os.fspath(spec)
    if _is_remote(spec):
        return find(spec)
    if not spec.isprintable() or len(spec) > 1000:
        raise InputError(f"A trained model is a directory or a published name. Received: {repr(spec)[:100]}")
    directory = kept_epochs.locate(spec)
    if os.path.exists(directory / CARD):  # unlike pathlib's method, it accepts names of any length
        return _published(spec, directory, None)
    if not os.path.exists(directory) and re.fullmatch(r"([^/]+/)?[a-z]+[0-9-]+(_[a-z0-9.@-]+)?", spec):
        return find(spec)
    record = records.read(directory)
    path = directory / run_weights.WEIGHTS
    if not os.path.exists(path):
        name = record.get("published")
        hint = f"; its network is published as {name}" if name else ""
        raise InputError(f"A finished run must hold its weights. Received: {path}: none{hint}")
    build = functools.partial(run_weights.load_model, directory, record)
    return Trained(spec, directory, record, functools.partial(run_weights.verify, directory, record), build)


def locate(name: str, *, path: str | os.PathLike[str] | None = None) -> pathlib.Path:
    """Directory of a published model; a remote one is downloaded first. Arguments as of `load`.

    Raises:
        InputError: if it cannot be found.
    """
    if _is_remote(name):
        from kdzoo.hub import remote

        return remote.fetch(name)
    check_name(name)
    roots = model_folders(path)
    for root in roots:
        if (root / name / CARD).exists():
            return root / name
    if path is None and (base := os.environ.get("KDZOO_REMOTE")):
        from kdzoo.hub import remote

        return remote.fetch(f"{base.rstrip('/')}/{name}")
    published = list_models(path=path)
    close = difflib.get_close_matches(name, published, n=3, cutoff=0.3) or published[:5]
    tried = ", ".join(str(root / name) for root in roots) or "no folder of models"
    raise InputError(
        f"A model to load must be published, for example {', '.join(close) or 'by apps.publish'}."
        f" Received: {name}: not in {tried}; KDZOO_HOME and KDZOO_REMOTE name other places"
    )


def check_name(name: str) -> names.ModelName:
    """Parses a published name, without its data set's prefix.

    Raises:
        InputError: if the name has no schedule, or is not of the form [DATASET/]ARCHITECTURE_SCHEDULE.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9][a-z0-9._@-]{0,63}(/[a-z0-9._@-]{1,64})?", name):
        raise InputError(f"{_RULE}. Received: {repr(name)[:100]}")
    parsed = names.parse_trained(name.rpartition("/")[2])
    if not parsed.schedule:
        published = [model for model in list_models() if model.rpartition("/")[2].startswith(f"{parsed}_")]
        which = f"published with one: {', '.join(published)}" if published else "none of it is published"
        raise InputError(f"{_RULE}, with the schedule it was trained on; {which}. Received: {name}")
    return parsed


def _published(spec: str, directory: pathlib.Path, name: str | None) -> Trained:
    card = read_card(directory, name)
    build = functools.partial(build_network, directory, card)
    return Trained(spec, directory, card, lambda: card["files"][VARIABLES]["sha256"], build)


def _is_remote(spec: str) -> bool:
    return isinstance(spec, str) and spec.startswith(REMOTES)  # `check_name` refuses what is no text


def _natural(name: str) -> list[str | int]:
    """Sort key of published names: those without a prefix come first."""
    prefix, _, model = name.rpartition("/")
    return [prefix, *natural_key(model)]
