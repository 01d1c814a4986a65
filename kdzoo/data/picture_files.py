"""The files of a folder of pictures, one directory at a time."""

import os
import stat
from collections.abc import Callable, Iterator

from zoo import InputError

MOST_BYTES = 2**30  # a larger file is no picture; reading it would cost as much memory
RULE = "images must be a folder with pictures, or a picture"


def check_exists(path: str) -> None:
    """Raises InputError unless there is a folder or a file."""
    if not os.path.exists(path):
        raise InputError(f"{RULE}, for example photos. Received: {repr(path)[:200]}, which does not exist")


def list_files(path: str, unreadable: Callable[[str, str], None]) -> Iterator[str]:
    """Yields the files in a folder and in those within it, sorted by path. Holds one directory's names at a time.

    Links to folders are followed, unless they lead to a folder that holds them. kdzoo's own unfinished files
    (`*.partial`) are left out.

    Args:
        path: of the folder; a file is yielded itself.
        unreadable: called with the path of a folder that cannot be read, and the reason.
    """
    waiting: list[tuple[str, tuple[tuple[int, int], ...]]] = [(path, ())]  # paths; the folders that hold them
    while waiting:
        path, parents = waiting.pop()
        if parents and not path.endswith("/"):  # only folders end so
            yield path
            continue
        try:
            status = os.stat(path)
            if not stat.S_ISDIR(status.st_mode):
                yield path
                continue
            folder = (status.st_dev, status.st_ino)
            if folder in parents:
                raise OSError(0, "a link to a folder that holds it")
            with os.scandir(path) as entries:
                names = [f"{entry.name}/" if _is_folder(entry) else entry.name for entry in entries]
        except OSError as error:
            unreadable(path.rstrip("/"), error.strerror or str(error))
            continue
        names = [name for name in names if not name.endswith(".partial")]
        parents = (*parents, folder)
        waiting += [(os.path.join(path, name), parents) for name in sorted(names, reverse=True)]


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # of a link to itself: opening it gives the reason
        return False


def read_file(path: str) -> bytes:
    """Returns the content of a file.

    Raises:
        OSError: if it cannot be read, is no regular file, or has more than 2^30 bytes; `strerror` is the reason.
    """
    status = os.stat(path)  # opening a named pipe would wait for a writer
    if not stat.S_ISREG(status.st_mode):
        raise OSError(0, "no regular file")
    if status.st_size > MOST_BYTES:
        raise OSError(0, f"more than {MOST_BYTES:,} bytes")
    with open(path, "rb") as file:
        return file.read()
