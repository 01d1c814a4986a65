"""Published models from afar: fetched once into the user's cache, going on where a download was cut off."""

import hashlib
import os
import pathlib
import re
import sys
import time
import urllib.parse
from typing import Any

from kdzoo import files
from kdzoo.hub import cards
from zoo import InputError

TIMEOUT = 20.0  # seconds a server may be silent
LEAST_RATE = 1000  # bytes a second, over the whole of a file that took longer than that
MOST_BYTES = 2**32  # of a model
_CHUNK = 2**16
_RULE = "A remote model must lie at https://HOST/FOLDER/NAME or hf://OWNER/REPO[@REVISION]/NAME"


def cache_folder() -> pathlib.Path:
    """$KDZOO_CACHE, or kdzoo in the user's cache folder."""
    if home := os.environ.get("KDZOO_CACHE"):
        return pathlib.Path(home).expanduser()
    default = pathlib.Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or default) / "kdzoo"


def fetch(address: str, *, timeout: float = TIMEOUT) -> pathlib.Path:
    """Directory in the cache of the published model at an address; downloads what of it is not there yet.

    A model that is in the cache whole is taken from there without asking the network. Several processes may fetch one
    model: one downloads, the others wait.

    Args:
        address: https://HOST/FOLDER/NAME or hf://OWNER/REPO[@REVISION]/[FOLDER/]NAME; http:// from this machine only.
        timeout: seconds the server may be silent.

    Raises:
        InputError: if it cannot be had, or is not what its card says. What came of a file cut off is kept.
    """
    url = _url(address)
    place = f"{urllib.parse.urlsplit(url).hostname}-{hashlib.sha256(url.encode()).hexdigest()[:16]}"
    directory = cache_folder() / "models" / place
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
        pass  # not there yet, or damaged
    content = _Download(f"{url}/{cards.CARD}", timeout).read(cards.CARD_BYTES)
    card = cards.parse_card(content, spec=f"{url}/{cards.CARD}")
    if not url.endswith(f"/{card['name']}"):
        raise InputError(f"A remote model must lie under its own name, {card['name']}. Received: {url}")
    if not 0 < cards.count_bytes(card) <= MOST_BYTES:
        raise InputError(f"A remote model must be of at most {MOST_BYTES} bytes. Received: {url}")
    (directory / cards.CARD).unlink(missing_ok=True)  # without it there is no model, until all of it is there
    for name, expected in card["files"].items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{expected['sha256'][:16]}.partial")
        try:
            cards.check_content(path.read_bytes(), expected, spec=str(path))
            continue
        except (FileNotFoundError, InputError):
            path.unlink(missing_ok=True)
        _Download(f"{url}/{name}", timeout).into(partial, expected["bytes"])
        try:
            cards.check_content(partial.read_bytes(), expected, spec=f"{url}/{name}")
        except InputError:
            partial.unlink()
            raise
        os.replace(partial, path)
    files.write_atomically(directory / cards.CARD, content)


def _url(address: str) -> str:
    """Where the files lie under https: a repository of Hugging Face has an address for each of its files."""
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


class _Download:
    """One file of a server that may be slow, stop in the middle, or send anything at all."""

    def __init__(self, url: str, timeout: float):
        self._url, self._timeout = url, timeout

    def read(self, most: int) -> bytes:
        """The whole of a small file, of at most so many bytes."""
        content = b""
        for chunk in self._chunks(0):
            content += chunk
            if len(content) > most:
                raise self._error(f"more than {most} bytes")
        return content

    def into(self, partial: pathlib.Path, size: int) -> None:
        """Fetches what `partial` lacks of a file of this size."""
        import tqdm

        with open(partial, "ab") as file:
            if file.tell() > size:
                file.truncate(0)
            if file.tell() < size:
                bar = tqdm.tqdm(
                    desc=self._url, total=size, initial=file.tell(), unit="B", unit_scale=True, disable=None
                )
                with bar:  # shown on a terminal only
                    for chunk in self._chunks(file.tell(), restart=lambda: file.truncate(0)):
                        bar.update(file.write(chunk))
                        if file.tell() > size:
                            file.truncate(0)
                            raise self._error(f"more than the {size} bytes of its card")
            if file.tell() < size:
                raise self._error(f"{file.tell()} of {size} bytes; the same call goes on from there")

    def _chunks(self, begin: int, restart=lambda: None):
        """The bytes from `begin` on; calls `restart` if the server will only send the whole."""
        import requests
        import urllib3

        headers = {"Accept-Encoding": "identity"}
        if begin:
            headers["Range"] = f"bytes={begin}-"
        endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
        if (token := os.environ.get("HF_TOKEN")) and self._url.startswith(f"{endpoint.rstrip('/')}/"):
            headers["Authorization"] = f"Bearer {token}"
        began, received = time.monotonic(), 0
        retries = urllib3.Retry(2, backoff_factor=0.5, status_forcelist=(502, 503, 504), read=0)
        try:
            with requests.Session() as session:
                for scheme in ("http://", "https://"):
                    session.mount(scheme, requests.adapters.HTTPAdapter(max_retries=retries))
                with session.get(self._url, headers=headers, stream=True, timeout=self._timeout) as response:
                    if response.status_code == 416:
                        restart()
                    response.raise_for_status()
                    if self._url.startswith("https://") and not response.url.startswith("https://"):
                        raise self._error(f"a way without encryption, {response.url}")
                    if begin and not response.headers.get("Content-Range", "").startswith(f"bytes {begin}-"):
                        restart()
                    for chunk in response.iter_content(_CHUNK):
                        received += len(chunk)
                        elapsed = time.monotonic() - began
                        if elapsed > self._timeout and received < LEAST_RATE * elapsed:
                            raise self._error(f"{received} bytes in {elapsed:.0f} s; the same call goes on from there")
                        yield chunk
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise self._error(_reason(error)) from None

    def _error(self, what: str) -> InputError:
        return InputError(f"A remote model must be sent whole. Received: {self._url}: {what}")


def _reason(error: Any) -> str:
    """The innermost of an error's causes, in one line."""
    while inner := next((arg for arg in (*error.args, getattr(error, "reason", None)) if _is_error(arg)), None):
        error = inner
    return " ".join(str(error).split())[:200]


def _is_error(value: Any) -> bool:
    return isinstance(value, Exception)
