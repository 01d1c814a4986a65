"""A store in a folder, on this machine or shared by all.

A manifest is a directory of its versions, files that are numbered and never change. To commit is to create the next
number, which only one writer can: hard links fail where the file exists, on NFS too.
"""

import contextlib
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence

from kdzoo import files
from kdzoo.stores import base
from zoo import InputError


class FolderStore(base.Store):
    """A store in this folder, which is created by the first write."""

    def __init__(self, folder: str | os.PathLike[str]):
        files.check_directory(folder, name="store")
        self._folder = pathlib.Path(folder)
        self.uri = os.fspath(folder)

    def get_ranges(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        path = self._folder / base.OBJECTS / name
        with _errors(path), open(path, "rb") as file:
            return [os.pread(file.fileno(), end - first, first) for first, end in ranges]

    def list_objects(self) -> set[str]:
        folder = self._folder / base.OBJECTS
        with _errors(folder):
            return {path.name for path in folder.iterdir() if path.is_file()} if folder.is_dir() else set()

    def discard(self, names: Iterable[str]) -> None:
        for name in names:
            path = self._folder / base.OBJECTS / name
            with _errors(path):
                path.unlink(missing_ok=True)

    def list_manifests(self, prefix: str = "") -> list[str]:
        found = []
        with _errors(self._folder):
            for parent, folders, _ in os.walk(self._folder / base.check_path(prefix) if prefix else self._folder):
                manifests = [name for name in folders if name.endswith(base.SUFFIX)]
                folders[:] = [name for name in folders if not name.endswith(base.SUFFIX) and name != base.OBJECTS]
                parent = os.path.relpath(parent, self._folder)
                paths = [os.path.normpath(os.path.join(parent, name)) for name in manifests]
                found += [path.removesuffix(base.SUFFIX) for path in paths if _versions(self._folder / path)]
        return sorted(found)

    def below(self, path: str) -> "FolderStore":
        return FolderStore(self._folder / base.check_path(path))

    def _read(self, key: str) -> bytes:
        with _errors(self._folder / key):
            return (self._folder / key).read_bytes()

    def _write(self, key: str, data: bytes) -> None:
        with _errors(path := self._folder / key):
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write_atomically(path, data)

    def _read_versioned(self, key: str) -> tuple[bytes | None, str | None]:
        with _errors(directory := self._folder / key):
            while versions := _versions(directory):
                with contextlib.suppress(FileNotFoundError):  # replaced twice since it was listed
                    return _path(directory, versions[-1]).read_bytes(), str(versions[-1])
        return None, None

    def _write_versioned(self, key: str, data: bytes, version: str | None) -> str:
        directory, number = self._folder / key, int(version or 0) + 1
        with _errors(directory):
            directory.mkdir(parents=True, exist_ok=True)
            try:
                created = files.create_atomically(_path(directory, number), data)
            except FileNotFoundError:  # a newer commit removed what this one had begun
                created = False
            # A number below the newest is free again once it has been removed: then the newest one counts.
            if not created or _versions(directory)[-1] != number:
                raise base.conflict(f"{self._folder / key}".removesuffix(base.SUFFIX))
            _remove_before(directory, number - 1)
        return str(number)


def _path(directory: pathlib.Path, number: int) -> pathlib.Path:
    return directory / f"{number:09d}"


def _versions(directory: pathlib.Path) -> list[int]:
    """The numbers of a manifest's versions, in order."""
    try:
        return sorted(int(name) for name in os.listdir(directory) if name.isdecimal())
    except FileNotFoundError:
        return []


def _remove_before(directory: pathlib.Path, number: int) -> None:
    """Removes older versions, and what killed writers left of them. The last but one stays for its readers."""
    for name in os.listdir(directory):
        own = name.partition(".")[0]
        if own.isdecimal() and int(own) < number:
            (directory / name).unlink(missing_ok=True)


@contextlib.contextmanager
def _errors(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise base.Missing(f"An object must exist when it is read. Received: {path}: none") from None
    except OSError as error:
        raise InputError(
            f"A store must be a folder that can be read and written. Received: {path}: {error.strerror}"
        ) from None
