"""The interface of a store: objects that never change, named by their SHA-256, and manifests that are replaced.

Only manifests change, each by one conditional write that fails if another writer was first. Nothing is locked, renamed
or appended. So a writer can be killed anywhere: what it has not committed no reader sees.
"""

import abc
import hashlib
import json
import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from kdzoo import digests, files
from zoo import InputError

Manifest = dict[str, Any]

OBJECTS = "objects"
SUFFIX = ".manifest"
_DIGEST = "sha256"
_ATTEMPTS = 100
_LONGEST_PAUSE = 2.0


class Conflict(InputError):
    """Another writer committed first. Whether this commit took effect too is not known: read the manifest again."""


class Missing(InputError):
    """No object has this name."""


class Damaged(InputError):
    """The content is not the one that was written.

    Attributes:
        version: of a damaged manifest, by which `commit` can replace it.
    """

    version: str | None = None


class Store(abc.ABC):
    """Objects and manifests below one folder or address. Any number of processes and threads use it at once.

    Attributes:
        uri: by which `open_store` opens it.
    """

    uri: str

    def put(self, data: bytes) -> str:
        """Writes an object, and returns its name, the SHA-256 of its content. Writing it again changes nothing."""
        name = hashlib.sha256(data).hexdigest()
        self._write(f"{OBJECTS}/{name}", data)
        return name

    def get(self, name: str) -> bytes:
        """Returns the content of an object.

        Raises:
            Missing: if there is none of this name.
            Damaged: if its content is not the one that was written.
            InputError: if the store cannot be read.
        """
        data = self._read(f"{OBJECTS}/{name}")
        try:
            digests.check_content(
                data, {_DIGEST: name}, rule="An object must be as it was written", spec=f"{self.uri}/{OBJECTS}/{name}"
            )
        except InputError as error:
            raise Damaged(str(error)) from None
        return data

    @abc.abstractmethod
    def get_ranges(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Returns parts of an object, each from a first byte up to the one behind the last; fewer bytes at its end.

        They are not compared with the digest: the content needs checksums of its own.

        Raises:
            Missing: if there is none of this name.
            InputError: if the store cannot be read.
        """

    @abc.abstractmethod
    def list_objects(self) -> set[str]:
        """Returns the names of all objects of this store, without those of stores below it."""

    @abc.abstractmethod
    def discard(self, names: Iterable[str]) -> None:
        """Removes objects, as far as they exist."""

    def read_manifest(self, path: str) -> tuple[Manifest | None, str | None]:
        """Returns a manifest and its version, by which it can be replaced; None and None if there is none.

        Args:
            path: of the manifest, parts separated by /.

        Raises:
            Damaged: if it is not as it was written.
            InputError: if the store cannot be read.
        """
        content, version = self._read_versioned(check_path(path) + SUFFIX)
        if content is None:
            return None, None
        try:
            return _decode(content, spec=f"{self.uri}/{path}"), version
        except InputError as error:
            damaged = Damaged(str(error))
            damaged.version = version
            raise damaged from None

    def commit(self, path: str, manifest: Manifest, version: str | None) -> str:
        """Writes a manifest in one step, if its present version is the given one.

        Args:
            path: see `read_manifest`.
            manifest: JSON values; the key "sha256" is reserved.
            version: from `read_manifest`; None if there must be no manifest yet.

        Returns:
            The new version.

        Raises:
            Conflict: if the version is another one.
            InputError: if it cannot be written.
        """
        return self._write_versioned(check_path(path) + SUFFIX, _encode(manifest), version)

    def update(self, path: str, change: Callable[[Manifest | None], Manifest | None]) -> Manifest | None:
        """Replaces a manifest by what `change` makes of it, again if another writer was first.

        Args:
            path: see `read_manifest`.
            change: from the present manifest, or None, to the new one; None: it stays as it is. It may be called
                several times, and must be harmless where it has been made already.

        Returns:
            The manifest as it now is.

        Raises:
            Conflict: if others were first again and again.
            InputError: see `read_manifest` and `commit`.
        """
        for attempt in range(_ATTEMPTS):
            manifest, version = self.read_manifest(path)
            changed = change(manifest)
            if changed is None:
                return manifest
            try:
                self.commit(path, changed, version)
                return changed
            except Conflict:
                if attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(random.uniform(0, min(_LONGEST_PAUSE, 0.01 * 2 ** min(attempt, 10))))
        raise AssertionError

    @abc.abstractmethod
    def list_manifests(self, prefix: str = "") -> list[str]:
        """Returns the sorted paths of all manifests below a path, those of stores below this one among them."""

    @abc.abstractmethod
    def below(self, path: str) -> "Store":
        """Returns the store at a path below this one. It has objects of its own."""

    @abc.abstractmethod
    def _read(self, key: str) -> bytes:
        """Raises Missing if there is no such key."""

    @abc.abstractmethod
    def _write(self, key: str, data: bytes) -> None:
        """Writes it whole or not at all."""

    @abc.abstractmethod
    def _read_versioned(self, key: str) -> tuple[bytes | None, str | None]:
        """Returns content and version; None and None if there is no such key."""

    @abc.abstractmethod
    def _write_versioned(self, key: str, data: bytes, version: str | None) -> str:
        """Writes it whole if the version is this one, else raises Conflict. Returns the new version."""


def check_path(path: str) -> str:
    """Returns the path of a manifest or store, of one or more parts that name files.

    Raises:
        InputError: if it is none.
    """
    for part in path.split("/"):
        files.check_name(part, what="Each part of a path in a store")
        if part in (".", "..", OBJECTS) or part.endswith(SUFFIX):
            raise InputError(
                f"A path in a store must have no part ., .., {OBJECTS} or *{SUFFIX}, for example runs/one."
                f" Received: {path[:100]}"
            )
    return path


def conflict(spec: str) -> Conflict:
    """The error of a commit that came second."""
    return Conflict(f"A manifest must be the one that was read when it is replaced. Received: {spec}: a newer one")


def _encode(manifest: Manifest) -> bytes:
    return json.dumps({**manifest, _DIGEST: _digest(manifest)}, indent=0).encode()


def _decode(content: bytes, *, spec: str) -> Manifest:
    rule = "A manifest must be as it was written"
    manifest = files.parse_json(content, spec=spec, rule=rule)
    if manifest.pop(_DIGEST, None) != _digest(manifest):
        raise InputError(f"{rule}. Received: {spec}: other content than its SHA-256")
    return manifest


def _digest(manifest: Manifest) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
