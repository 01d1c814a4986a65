"""Files: written atomically, locked between processes, named within limits, and read as JSON."""

import contextlib
import glob
import io
import itertools
import json
import math
import os
import pathlib
import secrets
import shutil
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO, TextIO

from zoo import InputError

try:
    import fcntl

    HAS_LOCKS = True
except ImportError:  # Windows
    HAS_LOCKS = False


NAME_BYTES = 255  # of a file's name, on the file systems in use
PATH_BYTES = 3500  # of a directory's path; Linux allows 4095, with the files inside
_PARTIAL_BYTES = len(".01234567.partial")  # added to a file's name until it is whole
_JSON_DEPTH = 100  # arrays and objects within each other


def write_atomically(path: pathlib.Path, content: bytes | memoryview) -> None:
    """Writes a file so that a reader finds either the whole new content or the whole old one, even after a crash.

    Any number of processes and threads may write one file at once: the last one to finish wins.
    """
    with open_atomically(path) as file:
        file.write(content)


def create_atomically(path: pathlib.Path, content: bytes) -> bool:
    """Writes a file that does not exist yet: it appears whole. Of many writers on any number of machines one succeeds.

    Takes hard links, as local file systems, NFS and Lustre have.

    Returns:
        Whether this call made it; False if the file exists.
    """
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with open(partial, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(partial, path)
    except FileExistsError:
        return False
    finally:
        partial.unlink(missing_ok=True)
    with _opened(path.parent) as directory:
        os.fsync(directory)
    return True


@contextlib.contextmanager
def open_atomically(path: pathlib.Path) -> Iterator[BinaryIO]:
    """Opens a file to write part by part. It appears whole when the block ends, or not at all if that raises."""
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with open(partial, "xb") as file:
            _try_lock(file)
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    remove_abandoned(path.parent, glob.escape(path.name))
    with _opened(path.parent) as directory:
        os.fsync(directory)  # else a power failure may lose the new name


def remove_abandoned(directory: pathlib.Path, names: str = "*") -> None:
    """Removes what killed processes left of files: a writer holds a lock from before the first byte to the end.

    Args:
        directory: of the files.
        names: pattern of their names.
    """
    for partial in directory.glob(f"{names}.????????.partial"):
        with contextlib.suppress(OSError), open(partial, "r+b") as file:
            if os.fstat(file.fileno()).st_size and _try_lock(file):
                partial.unlink()


@contextlib.contextmanager
def scratch_beside(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a new directory on the file system of `path`, for what is to be renamed to it. It is removed at the end.

    So are those that killed processes left: a live one holds a lock on its own.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}.????????.partial"):
        with contextlib.suppress(OSError), _opened(left) as descriptor:
            if any(left.iterdir()) and _try_lock(descriptor):
                shutil.rmtree(left, ignore_errors=True)
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    scratch.mkdir()
    try:
        with _opened(scratch) as descriptor:
            _try_lock(descriptor)
            yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextlib.contextmanager
def _opened(path: pathlib.Path, flags: int = os.O_RDONLY) -> Iterator[int]:
    descriptor = os.open(path, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def sync(path: pathlib.Path) -> None:
    """Has the disk keep a file, or a directory with all in it, before it is renamed."""
    for part in path.iterdir() if path.is_dir() else ():
        sync(part)
    with _opened(path) as descriptor:
        os.fsync(descriptor)


def _try_lock(file: BinaryIO | int) -> bool:
    """Locks an open file until it is closed. Returns False if another holds the lock, or the disk has none."""
    if HAS_LOCKS:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    return False


@contextlib.contextmanager
def locked(path: pathlib.Path, *, wait: bool = False) -> Iterator[None]:
    """Holds an exclusive lock on a directory or file. The lock ends with the block, or with the process.

    On NFS the lock of a directory is known on one machine, that of a file on all.

    Args:
        path: an existing directory or file.
        wait: whether to wait while another process holds a lock.

    Raises:
        InputError: if another process holds a lock and `wait` is false.
    """
    with _opened(path, os.O_RDONLY if path.is_dir() else os.O_RDWR) as descriptor:
        if HAS_LOCKS:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                raise InputError(f"workdir must not be in use by another process. Received: {path}") from None
        yield


def share(directory: pathlib.Path) -> int:
    """Takes a shared lock on a directory: others can share it, but nobody can enter `locked(directory)`.

    Returns:
        A file descriptor; closing it releases the lock.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    if HAS_LOCKS:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def check_name(name: str, *, what: str) -> None:
    """Raises InputError unless a file can have this name.

    Args:
        name: of a file or directory, without its parents.
        what: describes it, for the message.
    """
    if "/" in name or not name.isprintable() or not 1 <= _count_bytes(name) <= NAME_BYTES:
        received = f"{_count_bytes(name)} bytes: {repr(name)[:100]}"
        raise InputError(
            f"{what} must be of 1 to {NAME_BYTES} bytes of UTF-8, printable and without /. Received: {received}"
        )


def check_directory(path: str | os.PathLike[str], *, name: str, exists: bool = False) -> None:
    """Raises InputError unless a directory can have this path.

    Args:
        path: of the directory.
        name: of the flag or argument, for the message.
        exists: whether it must exist.
    """
    text = os.fspath(path)
    longest = max(map(_count_bytes, text.split("/")))
    if not text or "\0" in text or longest > NAME_BYTES or _count_bytes(text) > PATH_BYTES:
        raise InputError(
            f"{name} must be the path of a directory, each part of at most {NAME_BYTES} bytes of UTF-8, for example"
            f" runs/one. Received: {repr(text)[:100] if text else 'nothing'}"
        )
    if exists and not os.path.isdir(text):
        raise InputError(f"{name} must be a directory that exists, for example saved_models. Received: {text}")


def check_output(path: str | os.PathLike[str], *, name: str, suffix: str) -> None:
    """Raises InputError unless a file can be written at this path, as far as that shows before it is.

    Args:
        path: of the file; the directory that holds it must exist.
        name: of the flag or argument, for the message.
        suffix: that its name must end in, for example ".csv".
    """
    text = os.fspath(path)
    parent, file = os.path.split(text)
    reason = None
    if not file.endswith(suffix) or "\0" in text or not len(suffix) < _count_bytes(file) <= NAME_BYTES - _PARTIAL_BYTES:
        reason = repr(text)[:100] if text else "nothing"
    elif not os.path.isdir(parent or "."):
        reason = f"{text[:PATH_BYTES]}: no directory {parent[:PATH_BYTES]}"
    elif os.path.isdir(text):
        reason = f"{text}: a directory"
    elif not os.access(parent or ".", os.W_OK | os.X_OK):
        reason = f"{text}: {parent or '.'} cannot be written"
    if reason:
        raise InputError(
            f"{name} must be a file to write, with a name in {suffix}, in a directory that exists, for example"
            f" out{suffix}. Received: {reason}"
        )


def write_output(path: str | os.PathLike[str], text: str) -> None:
    """Writes a text to the path that a user gave: see `open_output`."""
    with open_output(path) as file:
        file.write(text)


@contextlib.contextmanager
def open_output(path: str | os.PathLike[str]) -> Iterator[TextIO]:
    """Opens a file in UTF-8 at the path that a user gave. It appears whole when the block ends, or not at all.

    Paths in the text keep their bytes, whatever those are.

    Raises:
        InputError: if it cannot be written.
    """
    try:
        with open_atomically(pathlib.Path(path)) as file:
            text = io.TextIOWrapper(file, "utf-8", "surrogateescape", newline="")
            yield text
            text.detach()
    except OSError as error:
        raise InputError(f"A file to write must be one that can be written. Received: {error}") from None


def _count_bytes(text: str) -> float:
    try:
        return len(text.encode())
    except UnicodeEncodeError:  # half a pair of surrogates, from JSON, or a path that is no UTF-8
        return math.inf


def read_json(path: str | os.PathLike[str], *, rule: str) -> dict[str, Any]:
    """Returns the JSON object in a file.

    Args:
        path: of the file.
        rule: what the file must be, the first sentence of an error.

    Raises:
        InputError: if the file cannot be read, or see `parse_json`.
    """
    try:
        content = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{rule}. Received: {os.fspath(path)}: {error.strerror}") from None
    except ValueError as error:  # of a path with a null byte
        raise InputError(f"{rule}. Received: {os.fspath(path)!r}: {error}") from None
    return parse_json(content, spec=os.fspath(path), rule=rule)


def parse_json(content: bytes, *, spec: str, rule: str) -> dict[str, Any]:
    """Returns the JSON object that a text holds.

    Python's own parser takes more than JSON is: NaN, a key given twice, numbers that overflow to infinity.

    Args:
        content: the text in UTF-8.
        spec: path or address of the text, for the message.
        rule: what the text must be, the first sentence of an error.

    Raises:
        InputError: if it is not JSON, not an object, or nested more than 100 deep.
    """
    try:
        value = json.loads(content.decode(), object_pairs_hook=_object, parse_constant=_refuse_constant)
        if not isinstance(value, dict):
            raise ValueError(f"{type(value).__name__} instead of an object")
        _check_values(value)
    except RecursionError:
        reason = f"nested more than {_JSON_DEPTH} deep"
    except ValueError as error:
        reason = str(error)
    else:
        return value
    raise InputError(f"{rule}. Received: {spec}: {reason}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} more than once")
    return made


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"the constant {constant}")


def _check_values(value: Any) -> None:
    """Raises an error for values that are no JSON, or that no file or line of text can hold."""
    level = [value]
    for depth in itertools.count(1):
        if not level:
            return
        for item in level:
            if isinstance(item, (int, float)) and abs(item) > sys.float_info.max:
                raise ValueError("a number beyond the range of float64")
            if isinstance(item, str):
                item.encode()  # UnicodeEncodeError, a ValueError, for half a pair of surrogates
        objects = [item for item in level if isinstance(item, dict)]
        arrays = [item for item in level if isinstance(item, list)]
        if depth > _JSON_DEPTH and (objects or arrays):
            raise RecursionError
        level = [inner for item in arrays for inner in item]
        level += [inner for item in objects for pair in item.items() for inner in pair]
