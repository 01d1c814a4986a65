"""Published models on a server: downloaded once into the user's cache; an interrupted download resumes."""

import hashlib
import os
import pathlib
import re
import urllib.parse

from kdzoo import files
from kdzoo.hub import cards
from kdzoo.hub.download import TIMEOUT, Download
from kdzoo.hub.folders import cache_folder
from zoo import InputError

MOST_BYTES = 2**32  # of a model
_RULE = "A remote model must lie at https://HOST/FOLDER/NAME or hf://OWNER/REPO[@REVISION]/NAME"


def fetch(address: str, *, timeout: float = TIMEOUT) -> pathlib.Path:
    """Downloads the published model at an address, as far as the cache lacks it.

    If the cache holds the whole model, no request is sent. Several processes may fetch one model: one downloads, the
    others wait.

    Args:
        address: https://HOST/FOLDER/NAME or hf://OWNER/REPO[@REVISION]/[FOLDER/]NAME; http:// from this machine only.
        timeout: longest silence of the server, in seconds.

    Returns:
        The model's directory in the cache.

    Raises:
        InputError: if the download fails, or does not match its card. Part of a file is kept, to resume from.
    """
    url = _url(address)
    folder = f"{urllib.parse.urlsplit(url).hostname}-{hashlib.sha256(url.encode()).hexdigest()[:16]}"
    directory = cache_folder() / "models" / folder
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with files.locked(directory, wait=True):
            _fetch(url, directory, timeout)
    except OSError as error:
        raise InputError(f"The cache must be a folder that can be written. Received: {directory}: {error}") from None
    return directory


def _fetch(url: str, directory: pathlib.Path, timeout: float) -> None:
    try:
        card = cards.read_card(directory)
        cards.verify(directory, card)
        return
    except InputError:
        pass  # not downloaded yet, or damaged
    content = Download(f"{url}/{cards.CARD}", timeout).read(cards.CARD_BYTES)
    card = cards.parse_card(content, spec=f"{url}/{cards.CARD}")
    if not url.endswith(f"/{card['name']}"):
        raise InputError(f"A remote model must lie under its own name, {card['name']}. Received: {url}")
    if not 0 < cards.count_bytes(card) <= MOST_BYTES:
        raise InputError(f"A remote model must be of at most {MOST_BYTES} bytes. Received: {url}")
    (directory / cards.CARD).unlink(missing_ok=True)  # a directory without a card is no model: the card comes last
    for name, expected in card["files"].items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{expected['sha256'][:16]}.partial")
        try:
            cards.check_content(path.read_bytes(), expected, spec=str(path))
            continue
        except (FileNotFoundError, InputError):
            path.unlink(missing_ok=True)
        Download(f"{url}/{name}", timeout).into(partial, expected["bytes"])
        try:
            cards.check_content(partial.read_bytes(), expected, spec=f"{url}/{name}")
        except InputError:
            partial.unlink()
            raise
        os.replace(partial, path)
    files.write_atomically(directory / cards.CARD, content)


def _url(address: str) -> str:
    """The folder's https address: a repository of Hugging Face has one for each of its files."""
    try:
        parts = urllib.parse.urlsplit(address)
    except ValueError as error:  # of brackets that hold no IPv6 address
        raise InputError(f"{_RULE}. Received: {repr(address)[:100]}: {error}") from None
    if re.search(r"[\x00-\x20\x7f\\]|/\.\.?(/|$)", address) or len(address) > 1000 or parts.query or parts.fragment:
        raise InputError(f"{_RULE}. Received: {repr(address)[:100]}")
    if parts.scheme == "hf":
        match = re.fullmatch(r"hf://(\w[\w.-]*)/(\w[\w.-]*)(?:@(\w[\w.-]*))?/(.+?)/?", address)
        if match:
            owner, repository, revision, path = match.groups()
            base = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
            return f"{base}/{owner}/{repository}/resolve/{revision or 'main'}/{path}"
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if parts.hostname and parts.path.strip("/") and (parts.scheme == "https" or (parts.scheme == "http" and local)):
        return address.rstrip("/")
    raise InputError(f"{_RULE}. Received: {address}")
