"""One file downloaded from a server that may be slow, stop in the middle, or send wrong bytes."""

import os
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from zoo import InputError

TIMEOUT = 20.0  # longest silence of a server, in seconds
LEAST_RATE = 1000  # bytes a second, on average, of a file that takes longer than the timeout
_CHUNK = 2**16


class Download:
    """A file to download.

    Args:
        url: of the file, https or http.
        timeout: longest silence of the server, in seconds.
    """

    def __init__(self, url: str, timeout: float):
        self._url, self._timeout = url, timeout

    def read(self, most: int) -> bytes:
        """Returns the whole of a small file.

        Raises:
            InputError: if it cannot be had, or has more than `most` bytes.
        """
        content = b""
        for chunk in self._chunks(0):
            content += chunk
            if len(content) > most:
                raise self._error(f"more than {most} bytes")
        return content

    def into(self, partial: pathlib.Path, size: int) -> None:
        """Downloads the bytes that `partial` still lacks of a file of `size` bytes.

        Raises:
            InputError: if it cannot be had, or has another size.
        """
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
            received = file.tell()
            if received < size:
                raise self._error(f"{received} of {size} bytes; the same call resumes from there")

    def _chunks(self, begin: int, restart: Callable[[], Any] = lambda: None) -> Iterator[bytes]:
        """Yields the bytes from `begin` to the end; calls `restart` if the server sends the whole file instead."""
        import requests
        import urllib3

        start, received = time.monotonic(), 0
        retries = urllib3.Retry(2, backoff_factor=0.5, status_forcelist=(502, 503, 504), read=0)
        try:
            with requests.Session() as session:
                for scheme in ("http://", "https://"):
                    session.mount(scheme, requests.adapters.HTTPAdapter(max_retries=retries))
                request = session.get(self._url, headers=self._headers(begin), stream=True, timeout=self._timeout)
                with request as response:
                    if response.status_code == 416:
                        restart()
                    response.raise_for_status()
                    if self._url.startswith("https://") and not response.url.startswith("https://"):
                        raise self._error(f"a way without encryption, {response.url}")
                    if begin and not response.headers.get("Content-Range", "").startswith(f"bytes {begin}-"):
                        restart()
                    for chunk in response.iter_content(_CHUNK):
                        received += len(chunk)
                        self._check_rate(received, time.monotonic() - start)
                        yield chunk
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise self._error(_reason(error)) from None

    def _headers(self, begin: int) -> dict[str, str]:
        """A token is sent to the server of HF_ENDPOINT alone."""
        headers = {"Accept-Encoding": "identity"}
        if begin:
            headers["Range"] = f"bytes={begin}-"
        endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
        if (token := os.environ.get("HF_TOKEN")) and self._url.startswith(f"{endpoint.rstrip('/')}/"):
            headers["Authorization"] = f"Bearer {token}"
        return headers

    def _check_rate(self, received: int, seconds: float) -> None:
        if seconds > self._timeout and received < LEAST_RATE * seconds:
            raise self._error(f"{received} bytes in {seconds:.0f} s; the same call resumes from there")

    def _error(self, reason: str) -> InputError:
        return InputError(f"A remote model must be sent whole. Received: {self._url}: {reason}")


def _reason(error: Any) -> str:
    """The innermost of an error's causes, in one line."""
    while inner := next((arg for arg in (*error.args, getattr(error, "reason", None)) if _is_error(arg)), None):
        error = inner
    return " ".join(str(error).split())[:200]


def _is_error(value: Any) -> bool:
    return isinstance(value, Exception)
