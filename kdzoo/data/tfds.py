"""CIFAR-10 and CIFAR-100 through TensorFlow Datasets (TFDS)."""

import functools
import threading
import urllib.request
from typing import Any

from kdzoo.data.dataset import Dataset, from_arrays
from zoo import InputError


@functools.lru_cache(maxsize=1)  # decoding 60,000 images takes seconds, and one process may run many runs
def read_tfds(name: str) -> Dataset:
    """Reads a data set that TFDS has prepared, or downloads and prepares it first.

    Raises:
        InputError: if TFDS is not installed, or the download fails.
    """
    try:
        import tensorflow_datasets as tfds

        builder = tfds.builder(name)
        if not (builder.data_path / "dataset_info.json").exists():
            _download(name, builder, tfds.download.DownloadConfig(try_download_gcs=False))
        splits = tfds.as_numpy(builder.as_dataset(batch_size=-1, shuffle_files=False))
    except ImportError as error:
        raise InputError(
            f"{name} needs TensorFlow and tensorflow-datasets; without them, npz:FILE. Received: {error}"
        ) from None
    return from_arrays(name, *(splits[split][key] for split in ("train", "test") for key in ("image", "label")))


def _download(name: str, builder: Any, config: Any) -> None:
    check_site(name, builder.data_dir)
    try:
        builder.download_and_prepare(download_config=config)
    except Exception as error:  # of the network, the site or the disk: TFDS has no common class for them
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{name} could not be downloaded to {builder.data_dir}. Received: {reason}") from error


def check_site(name: str, data_dir: Any, *, timeout: float = 8.0) -> None:
    """Checks that the data set's site responds before a download, since TFDS retries for minutes.

    Args:
        name: the data set.
        data_dir: the folder of the data set, for the message.
        timeout: in seconds.

    Raises:
        InputError: if the site does not respond in time.
    """
    site = "https://www.cs.toronto.edu/~kriz/cifar.html"
    outcome: list[str] = []

    def request() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(site, method="HEAD"), timeout=timeout).close()
            outcome.append("")
        except OSError as error:
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
