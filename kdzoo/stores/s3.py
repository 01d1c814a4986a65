"""A store in a bucket of S3, or of a server that speaks its protocol and takes conditional writes (MinIO, Ceph, R2).

Needs the extra s3. Keys, region and endpoint come from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL; on machines of AWS from the role of the machine.
"""

import contextlib
import datetime
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kdzoo.stores import base
from zoo import InputError

if TYPE_CHECKING:
    from obstore.store import S3Store as Client

SCHEME = "s3://"
_RULE = f"A store must be a folder, or a bucket that can be read and written, for example {SCHEME}bucket/kdzoo"
_AT_ONCE = 500  # objects that one request removes, at most 1,000
_TIMEOUT = datetime.timedelta(minutes=5)
_CONNECTING = datetime.timedelta(seconds=10)
_FIRST_TRIES = 2  # after the first request, since a wrong address is the likelier reason then


class S3Store(base.Store):
    """A store below a prefix of a bucket.

    Raises:
        InputError: if the extra is not installed, or the bucket cannot be listed.
    """

    def __init__(self, uri: str):
        bucket, _, prefix = uri.removeprefix(SCHEME).partition("/")
        prefix = prefix.strip("/")
        if not bucket:
            raise InputError(f"{_RULE}. Received: {uri}")
        if prefix:
            base.check_path(prefix)
        self._connect(bucket, prefix, _client(bucket, uri))
        with self._errors():
            first = _client(bucket, uri, {"max_retries": _FIRST_TRIES})
            next(iter(_obstore().list(first, prefix=prefix or None, chunk_size=1)), None)

    def _connect(self, bucket: str, prefix: str, client: "Client") -> None:
        self._bucket, self._prefix, self._client = bucket, f"{prefix}/" if prefix else "", client
        self.uri = f"{SCHEME}{bucket}/{prefix}".rstrip("/")

    def __reduce__(self) -> Any:
        return S3Store, (self.uri,)

    def get_ranges(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        if not ranges:
            return []
        starts, ends = zip(*ranges, strict=True)
        with self._errors(base.OBJECTS + f"/{name}"):
            key = f"{self._prefix}{base.OBJECTS}/{name}"
            return [bytes(part) for part in _obstore().get_ranges(self._client, key, starts=starts, ends=ends)]

    def list_objects(self) -> set[str]:
        return {key.rpartition("/")[2] for key in self._keys(base.OBJECTS)}

    def discard(self, names: Iterable[str]) -> None:
        keys = [f"{self._prefix}{base.OBJECTS}/{name}" for name in names]
        for first in range(0, len(keys), _AT_ONCE):
            with self._errors(base.OBJECTS):
                _obstore().delete(self._client, keys[first : first + _AT_ONCE])

    def list_manifests(self, prefix: str = "") -> list[str]:
        keys = self._keys(base.check_path(prefix) if prefix else "")
        return sorted(key.removesuffix(base.SUFFIX) for key in keys if key.endswith(base.SUFFIX))

    def below(self, path: str) -> "S3Store":
        store = S3Store.__new__(S3Store)  # of the same connections
        store._connect(self._bucket, f"{self._prefix}{base.check_path(path)}", self._client)
        return store

    def _keys(self, prefix: str) -> Iterator[str]:
        """All keys below a path of this store, without the store's own prefix."""
        with self._errors(prefix):
            for chunk in _obstore().list(self._client, prefix=f"{self._prefix}{prefix}".rstrip("/") or None):
                for entry in chunk:
                    yield entry["path"].removeprefix(self._prefix)

    def _read(self, key: str) -> bytes:
        with self._errors(key):
            return bytes(_obstore().get(self._client, self._prefix + key).bytes())

    def _write(self, key: str, data: bytes) -> None:
        with self._errors(key):
            _obstore().put(self._client, self._prefix + key, data)

    def _read_versioned(self, key: str) -> tuple[bytes | None, str | None]:
        with self._errors(key):
            try:
                found = _obstore().get(self._client, self._prefix + key)
            except FileNotFoundError:
                return None, None
            return bytes(found.bytes()), found.meta["e_tag"]

    def _write_versioned(self, key: str, data: bytes, version: str | None) -> str:
        obstore = _obstore()
        mode: Any = "create" if version is None else {"e_tag": version}
        with self._errors(key):
            try:
                return obstore.put(self._client, self._prefix + key, data, mode=mode)["e_tag"] or ""
            except (obstore.exceptions.AlreadyExistsError, obstore.exceptions.PreconditionError):
                pass
        # The first of several tries may have been done, and only its response lost.
        content, now = self._read_versioned(key)
        if content == data and now is not None:
            return now
        raise base.conflict(f"{self.uri}/{key}".removesuffix(base.SUFFIX))

    @contextlib.contextmanager
    def _errors(self, key: str = "") -> Iterator[None]:
        place = f"{self.uri}/{key}".rstrip("/")
        try:
            yield
        except FileNotFoundError:
            raise base.Missing(f"An object must exist when it is read. Received: {place}: none") from None
        except (_obstore().exceptions.BaseError, OSError, ValueError) as error:
            raise InputError(f"{_RULE}. Received: {place}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """The server's code and message, or the first line of an error: more than one would not help."""
    text = str(error).strip()
    found = re.search(r"<Code>(.*?)</Code>\s*(?:<Message>(.*?)</Message>)?", text, re.DOTALL)
    return ": ".join(filter(None, found.groups())) if found else text.splitlines()[0].strip()[:400]


def _obstore() -> Any:
    try:
        import obstore
    except ImportError:
        raise InputError(f"{SCHEME} needs the extra s3: pip install 'kdzoo[s3]'. Received: none") from None
    return obstore


def _client(bucket: str, uri: str, retries: dict[str, Any] | None = None) -> "Client":
    """Raises InputError if the bucket cannot have this name, or the settings in the environment are wrong."""
    obstore = _obstore()
    from obstore.store import S3Store as Client

    plain = os.environ.get("AWS_ENDPOINT_URL", os.environ.get("AWS_ENDPOINT", "")).startswith("http://")
    options: Any = {"timeout": _TIMEOUT, "connect_timeout": _CONNECTING} | ({"allow_http": True} if plain else {})
    more: Any = {"retry_config": retries} if retries else {}
    try:
        return Client(bucket, client_options=options, **more)
    except (obstore.exceptions.BaseError, ValueError) as error:
        raise InputError(f"{_RULE}. Received: {uri}: {_reason(error)}") from None
