"""Data sets of TensorFlow Datasets (TFDS), prepared or downloaded; CIFAR-10 and CIFAR-100 as arrays."""

import functools
import re
import threading
import urllib.error
import urllib.request
from typing import Any

from kdzoo.data.dataset import Dataset, from_arrays
from zoo import InputError

_NAME = re.compile(r"\w+(/[^:]+)?(:[\w.*]+)?")
CIFAR = ("cifar10", "cifar100")
_CIFAR_SITE = "https://www.cs.toronto.edu/~kriz/cifar.html"


@functools.lru_cache(maxsize=1)  # decoding 60,000 images takes seconds, and one process may run many runs
def read_tfds(name: str) -> Dataset:
    """Reads CIFAR-10 or CIFAR-100, or downloads and prepares it first.

    Raises:
        InputError: if TFDS is not installed, or the download fails.
    """
    try:
        import tensorflow_datasets as tfds

        builder = find_builder(name)
        prepare(builder, name)
        splits = tfds.as_numpy(builder.as_dataset(batch_size=-1, shuffle_files=False))
    except ImportError as error:
        raise InputError(
            f"{name} needs TensorFlow and tensorflow-datasets; without them, npz:FILE. Received: {error}"
        ) from None
    return from_arrays(name, *(splits[split][key] for split in ("train", "test") for key in ("image", "label")))


def find_builder(name: str) -> Any:
    """Returns TFDS's builder of a data set: NAME[/CONFIG][:VERSION].

    Unless the data set is prepared, it will be in ArrayRecord form, which has random access; CIFAR as `read_tfds` reads
    it.

    Raises:
        ImportError: if TFDS is not installed.
        InputError: if it is no such name, or TFDS does not know this data set.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            "A TFDS data set must be tfds:NAME[/CONFIG][:VERSION], for example tfds:imagenet_resized/64x64:0.1.0."
            f" Received: tfds:{name}"
        )
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name)
        if builder.name not in CIFAR and not _is_prepared(builder):
            builder = tfds.builder(name, file_format="array_record")
    except ImportError:
        raise
    except Exception as error:  # of names, configurations, versions and damaged files: TFDS has no common class
        reason = one_line(error).partition(" Available datasets")[0]
        raise InputError(
            "tfds:NAME[/CONFIG][:VERSION] must be a data set that TFDS knows, for example tfds:mnist."
            f" Received: {name}: {reason}"
        ) from None
    return builder


def prepare(builder: Any, name: str) -> None:
    """Downloads and prepares a data set unless it is prepared.

    Raises:
        ImportError: if a package is missing that this data set needs.
        InputError: if the download fails.
    """
    import tensorflow_datasets as tfds

    if _is_prepared(builder):
        return
    if builder.name in CIFAR:
        check_site(name, builder.data_dir, site=_CIFAR_SITE)
    elif builder.url_infos and not builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
        check_site(name, builder.data_dir, site=next(iter(builder.url_infos)))
    try:
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    except ImportError:
        raise
    except Exception as error:  # of the network, the site or the disk: TFDS has no common class for them
        raise InputError(
            f"{name} could not be downloaded to {builder.data_dir}. Received: {one_line(error)}"
        ) from error


def _is_prepared(builder: Any) -> bool:
    return (builder.data_path / "dataset_info.json").exists()


def one_line(error: Exception) -> str:
    """The beginning of an error's message in one line: before a list, as TFDS adds them."""
    return " ".join(str(error).partition("\n\t- ")[0].split())[:300] or type(error).__name__


def check_site(name: str, data_dir: Any, *, site: str = _CIFAR_SITE, timeout: float = 8.0) -> None:
    """Checks that the data set's site responds before a download, since TFDS retries for minutes.

    Args:
        name: the data set.
        data_dir: the folder of the data set, for the message.
        site: an address of the data set.
        timeout: in seconds.

    Raises:
        InputError: if the site does not respond in time.
    """
    outcome: list[str] = []

    def request() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(site, method="HEAD"), timeout=timeout).close()
            outcome.append("")
        except urllib.error.HTTPError:  # a response, if not to this kind of request
            outcome.append("")
        except (OSError, ValueError) as error:
            outcome.append(f" ({error})")

    # In a thread, because the name lookup has no timeout.
    thread = threading.Thread(target=request, daemon=True)
    thread.start()
    thread.join(timeout)
    if outcome != [""]:
        raise InputError(
            f"{name} must be prepared by TFDS, or a network be there to download it: set TFDS_DATA_DIR to the folder"
            f" that holds {name}/, or give --dataset=npz:FILE. Received: nothing in {data_dir}, no response from {site}"
            + (outcome[0] if outcome else "")
        )
