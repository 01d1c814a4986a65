"""Directories in a store, such as a run's: worked on in a machine's own folder, and published through a manifest.

A directory in a store has one owner, the machine that took it over last: by the token in its manifest, an earlier owner
that still runs, on a machine that was thought dead, notices that it has lost it and can no longer change it.
"""

import contextlib
import itertools
import logging
import os
import pathlib
import platform
import secrets
import threading
from collections.abc import Callable, Iterator
from typing import Any

from kdzoo import digests, files
from kdzoo.stores.base import Conflict, Damaged, Manifest, Missing, Store, conflict
from zoo import InputError

_log = logging.getLogger(__name__)

NAME = "directory"  # of the manifest, below the directory's path
SECONDS = 60.0  # between two uploads of a directory that is worked on
_ATTEMPTS = 10
# Of each file: its time, its size and its inode, which differ if it was written again.
_Snapshot = dict[str, tuple[int, int, int]]
_Entries = dict[str, dict[str, Any]]  # "bytes" and "sha256" of each file


def list_directories(store: Store, prefix: str = "") -> list[str]:
    """Returns the sorted paths of all directories below a path of a store."""
    paths = store.list_manifests(prefix)
    return [path.removesuffix(f"/{NAME}") for path in paths if path.endswith(f"/{NAME}")]


def list_files(store: Store, path: str) -> _Entries:
    """Returns "bytes" and "sha256" of each file in a directory by its relative path; empty if there is none."""
    manifest, _ = store.below(path).read_manifest(NAME)
    return _files_of(manifest, spec=f"{store.uri}/{path}")


def download(
    store: Store,
    path: str,
    into: pathlib.Path,
    *,
    only: Callable[[str], bool] = lambda name: True,
    skip_damaged: bool = False,
) -> set[str]:
    """Copies a directory of a store into a folder, which is created. Files there that it lacks stay.

    Args:
        store: holds the directory.
        path: of the directory in the store.
        into: the folder.
        only: whether to copy a file, by its relative path.
        skip_damaged: whether files that are not as they were written are left out with a warning, for example
            checkpoints: a run resumes from an older one.

    Returns:
        The SHA-256 of each file that was copied.

    Raises:
        Damaged: if a file is not as it was written.
        InputError: if the store cannot be read, or the folder cannot be written.
    """
    place = store.below(path)
    for attempt in itertools.count(1):
        manifest, version = place.read_manifest(NAME)
        entries = _files_of(manifest, spec=f"{store.uri}/{path}")
        wanted = {into / name: entry["sha256"] for name, entry in entries.items() if only(name)}
        try:
            return {
                digest
                for file, digest in wanted.items()
                if _download_file(place, version, file, digest, skip_damaged=skip_damaged)
            }
        except Missing:  # its owner replaced it meanwhile
            if attempt == _ATTEMPTS:
                raise
    raise AssertionError


def _download_file(place: Store, version: str | None, file: pathlib.Path, digest: str, *, skip_damaged: bool) -> bool:
    """Copies a file. Returns False if it is damaged, and so left out. Raises Missing if the manifest changed."""
    try:
        content = place.get(digest)
    except (Damaged, Missing) as error:
        if isinstance(error, Missing) and place.read_manifest(NAME)[1] != version:
            raise
        if not skip_damaged:
            raise Damaged(str(error)) from None
        _log.warning("Damaged, so left out: %s: %s", file, error)
        return False
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomically(file, content)
    except OSError as error:
        raise InputError(f"A folder to copy to must be one that can be written. Received: {error}") from None
    return True


def upload(store: Store, path: str, directory: pathlib.Path) -> None:
    """Publishes a directory: from then on the store holds its files, and no others, at this path.

    Raises:
        Conflict: if another owner took it over meanwhile.
        InputError: if a file cannot be read, or the store cannot be written.
    """
    WorkingCopy(store, path, directory).save()


@contextlib.contextmanager
def working_copy(
    store: Store,
    path: str,
    directory: pathlib.Path,
    *,
    seconds: float = SECONDS,
    lost: Callable[[], None] = lambda: None,
) -> Iterator["WorkingCopy"]:
    """Takes a directory over, copies it into a folder, and publishes the folder's changes until the block ends.

    Args:
        store: holds the directory.
        path: of the directory in the store; it need not exist.
        directory: the folder to work in, on this machine, best without other files.
        seconds: between two uploads. Those that fail are logged and tried again; the last one, at the end, may raise.
        lost: called once, in another thread, if another owner took the directory over.

    Raises:
        Conflict: at the end, if another owner took it over.
        InputError: if the store cannot be read or written. What the folder holds is not lost.
    """
    copy = WorkingCopy(store, path, directory)
    copy.whole = download(store, path, directory, skip_damaged=True)
    ended = threading.Event()

    def publish() -> None:
        while not ended.wait(seconds):
            try:
                copy.save()
            except Conflict:
                lost()
                return
            except InputError as error:
                _log.warning("Not published yet, tried again in %g s: %s", seconds, error)

    thread = threading.Thread(target=publish, name=f"publish {path}", daemon=True)
    thread.start()
    try:
        yield copy
    finally:
        ended.set()
        thread.join()
        copy.save()


class WorkingCopy:
    """A folder whose changes `save` publishes as a directory of a store. Making one takes the directory over.

    Objects that a killed owner left, and those of replaced files, are removed.

    Attributes:
        whole: names of objects that are known to be as they were written. Files of this content are not written again.

    Raises:
        Conflict: if another owner took the directory over meanwhile.
        InputError: if the store cannot be read or written.
    """

    def __init__(self, store: Store, path: str, directory: pathlib.Path):
        self._place, self._directory = store.below(path), directory
        self._spec = f"{store.uri}/{path}"
        self._owner = {"token": secrets.token_hex(16), "host": platform.node(), "pid": os.getpid()}
        self._lock = threading.Lock()
        self._seen: _Snapshot = {}
        self._entries: _Entries = {}  # of the files as last seen
        self.whole: set[str] = set()
        self._version: str | None
        kept, self._version = self._take_over()
        self._stored = self._place.list_objects()
        self._discard_all_but(kept)

    def save(self) -> None:
        """Publishes the folder as it is now, or if it changes all the while, leaves that to the next call.

        Raises:
            Conflict: if another owner took the directory over.
            InputError: if a file cannot be read, or the store cannot be written.
        """
        with self._lock:
            for _ in range(_ATTEMPTS):
                before = _snapshot(self._directory)
                if before == self._seen and self._entries:
                    return
                entries = self._put_changed(before)
                if entries is not None and _snapshot(self._directory) == before:
                    self._commit(entries)
                    self._seen, self._entries = before, entries
                    return

    def _put_changed(self, snapshot: _Snapshot) -> _Entries | None:
        """Writes the files that changed to the store; None if one vanished meanwhile."""
        entries = {}
        for name, stamp in snapshot.items():
            if self._seen.get(name) == stamp:
                entries[name] = self._entries[name]
                continue
            try:
                content = (self._directory / name).read_bytes()
            except FileNotFoundError:
                return None
            except OSError as error:
                raise InputError(f"A file to publish must be one that can be read. Received: {error}") from None
            entry = digests.file_entry(content)
            if entry["sha256"] not in self.whole:
                self._stored.add(entry["sha256"])
                self._place.put(content)
                self.whole.add(entry["sha256"])
            entries[name] = entry
        return entries

    def _commit(self, entries: _Entries) -> None:
        manifest = {"owner": self._owner, "files": entries}
        for _ in range(_ATTEMPTS):
            try:
                self._version = self._place.commit(NAME, manifest, self._version)
                break
            except Conflict:
                self._version = self._read_own()[1]  # this one's after all, if only the response was lost
        else:
            raise conflict(self._spec)
        self._discard_all_but(entries)

    def _take_over(self) -> tuple[_Entries, str | None]:
        def change(manifest: Manifest | None) -> Manifest:
            return {"owner": self._owner, "files": _files_of(manifest, spec=self._spec)}

        self._place.update(NAME, change)
        manifest, version = self._read_own()
        return _files_of(manifest, spec=self._spec), version

    def _read_own(self) -> tuple[Manifest, str | None]:
        """The manifest and its version. Raises Conflict if it is another owner's."""
        manifest, version = self._place.read_manifest(NAME)
        owner = (manifest or {}).get("owner") or {}
        if manifest is None or owner != self._owner:
            rule = "A directory in a store must be the work of one process at a time"
            other = f"process {owner.get('pid')} of {owner.get('host')} took it over"
            raise Conflict(f"{rule}. Received: {self._spec}: {other}")
        return manifest, version

    def _discard_all_but(self, entries: _Entries) -> None:
        kept = {entry["sha256"] for entry in entries.values()}
        self.whole &= kept
        self._place.discard(self._stored - kept)
        self._stored = kept


def _files_of(manifest: Manifest | None, *, spec: str) -> _Entries:
    """The files in a manifest. Raises Damaged if they are none, or one would lie outside of the directory."""
    found = (manifest or {}).get("files", {})
    for name in found:
        path = pathlib.PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise Damaged(f"A file in a directory must lie within it. Received: {spec}: {name[:200]!r}")
    return dict(found)


def _snapshot(directory: pathlib.Path) -> _Snapshot:
    """The whole files of a directory, by relative path, and what shows whether they changed. Links are left out."""
    found: _Snapshot = {}
    for parent, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if not name.endswith(".partial")]
        for name in names:
            path = pathlib.Path(parent, name)
            with contextlib.suppress(FileNotFoundError):
                if name.endswith(".partial") or path.is_symlink() or not path.is_file():
                    continue
                status = path.stat()
                relative = path.relative_to(directory).as_posix()
                found[relative] = status.st_mtime_ns, status.st_size, status.st_ino
    return found
