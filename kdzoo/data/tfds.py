"""CIFAR-10 and CIFAR-100 through TFDS."""

import functools
import threading
import urllib.request

from kdzoo.data.dataset import Dataset, from_arrays
from zoo import InputError


@functools.lru_cache(maxsize=1)  # decoding 60,000 images takes seconds, and one process may run many runs
def read_tfds(name: str) -> Dataset:
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


def _download(name: str, builder, config) -> None:
    _check_download(name, builder.data_dir)
    try:
        builder.download_and_prepare(download_config=config)
    except Exception as error:  # of the network, the site or the disk: TFDS has no one class for them
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{name} could not be downloaded to {builder.data_dir}. Received: {reason}") from error


def _check_download(name: str, data_dir: str, *, timeout: float = 8.0) -> None:
    """Raises InputError unless the data set's site answers in time; TFDS would retry for minutes."""
    site = "https://www.cs.toronto.edu/~kriz/cifar.html"
    answer = []

    def ask():
        try:
            urllib.request.urlopen(urllib.request.Request(site, method="HEAD"), timeout=timeout).close()
            answer.append("")
        except OSError as error:
            answer.append(f" ({error})")

    # In a thread, since looking a name up knows no time limit.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout)
    if answer != [""]:
        raise InputError(
            f"{name} must be prepared by TFDS, or a network be there to download it: set TFDS_DATA_DIR to the folder"
            f" that holds {name}/, or give --dataset=npz:FILE. Received: nothing in {data_dir}, no answer from {site}"
            + (answer[0] if answer else "")
        )
