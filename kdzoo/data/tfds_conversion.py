"""TFDS data sets in ArrayRecord form, which has random access: brought into it once, in kdzoo's cache folder."""

import contextlib
import json
import logging
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from kdzoo import files, user_folders
from kdzoo.data.tfds import one_line
from zoo import InputError

_log = logging.getLogger(__name__)
_SOURCE = "source.json"  # sizes and times of the files that were converted


def random_access(builder: Any, splits: Sequence[str]) -> pathlib.Path:
    """Returns a folder that holds splits of a data set in a form with random access.

    A conversion that was interrupted resumes with the first file that is missing. The folder is in TFDS's own layout.

    Args:
        builder: TFDS's, of a prepared data set.
        splits: in TFDS's words, for example train or train[:80%].

    Raises:
        ImportError: if TensorFlow is not installed, which reads other forms.
        InputError: if a file is damaged, or the disk is full.
    """
    import tensorflow_datasets as tfds

    if _has_random_access(builder):
        return pathlib.Path(builder.data_path)
    folder = cache_of(builder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with files.locked(folder, wait=True):
            _begin(builder, folder)
            targets = tfds.builder_from_directory(folder).info.splits
            missing = {
                pathlib.Path(target.filename): source
                for split in splits
                for source, target in zip(
                    builder.info.splits[split].file_instructions, targets[split].file_instructions, strict=True
                )
                if not os.path.exists(target.filename)
            }
            if missing:
                _convert(builder, missing)
    except (ImportError, InputError):
        raise
    except Exception as error:  # of TensorFlow or array_record: a damaged file, a full disk
        raise InputError(
            f"tfds:{builder.info.full_name} must be whole in {builder.data_path}, and its copy with random access"
            f" have room in {folder}. Received: {one_line(error)}"
        ) from None
    return folder


def cache_of(builder: Any) -> pathlib.Path:
    """The folder of a data set in kdzoo's cache folder."""
    return user_folders.cache_folder() / "tfds" / pathlib.Path(*builder.info.full_name.split("/"))


def describe_files(paths: Sequence[Any]) -> dict[str, list[int]]:
    """Sizes, and times of the last change in nanoseconds, of files, by their names."""
    stats = {pathlib.Path(path).name: os.stat(path) for path in paths}
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in sorted(stats.items())}


def peek(builder: Any, split: str) -> Iterator[bytes]:
    """Yields the examples of a split of a prepared data set, serialised, from its first file. Needs no TensorFlow."""
    import tensorflow_datasets as tfds

    if _has_random_access(builder):
        yield from builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)
        return
    with open(builder.info.splits[split].filepaths[0], "rb") as file:  # a TFRecord: length, its checksum, example, its
        while head := file.read(12):
            yield file.read(int.from_bytes(head[:8], "little"))
            file.read(4)


def _has_random_access(builder: Any) -> bool:
    from tensorflow_datasets.core import file_adapters

    return bool(builder.info.available_file_formats() & file_adapters.FileFormat.with_random_access())


def _begin(builder: Any, folder: pathlib.Path) -> None:
    """Copies what TFDS knows of a data set, unless the folder holds a copy of the very same files."""
    from tensorflow_datasets.core import dataset_info

    data_path = pathlib.Path(builder.data_path)
    source = describe_files([path for path in data_path.iterdir() if path.is_file()])
    content = json.dumps(source).encode()
    for partial in folder.glob("*.partial"):  # of a killed process
        partial.unlink()
    with contextlib.suppress(FileNotFoundError):
        if (folder / _SOURCE).read_bytes() == content:
            return
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()
    for path in data_path.iterdir():
        if path.suffix in (".json", ".txt"):
            (folder / path.name).write_bytes(path.read_bytes())
    proto = dataset_info.read_proto_from_builder_dir(data_path)
    proto.file_format = "array_record"
    dataset_info.write_dataset_info_proto(proto, folder)
    files.write_atomically(folder / _SOURCE, content)


def _convert(builder: Any, missing: dict[pathlib.Path, Any]) -> None:
    """Writes files in ArrayRecord form, each from a file in another form."""
    import tensorflow  # noqa: F401  (TFDS, which imports it when needed, prints a banner if there is none)
    import tqdm
    from tensorflow_datasets.core import file_adapters

    adapter = file_adapters.ADAPTER_FOR_FORMAT[builder.info.file_format]  # compares checksums, by TensorFlow
    total = sum(source.examples_in_shard for source in missing.values())
    _log.warning(
        "tfds:%s is copied into a form with random access, once: %d examples to %s",
        *(builder.info.full_name, total, next(iter(missing)).parent),
    )
    with tqdm.tqdm(desc="copied", total=total, unit="example", unit_scale=True, disable=None) as bar:
        for target, source in missing.items():
            partial = target.with_name(f"{target.name}.partial")
            examples = _counted(adapter.make_tf_data(source.filename).as_numpy_iterator(), source, bar.update)
            file_adapters.ArrayRecordFileAdapter.write_examples(os.fspath(partial), enumerate(examples))
            with open(partial, "r+b") as file:
                os.fsync(file.fileno())
            partial.rename(target)


def _counted(examples: Iterator[bytes], source: Any, update: Callable[[], Any]) -> Iterator[bytes]:
    """Yields the examples of a file. Raises InputError unless there are as many as TFDS counted when it wrote them."""
    count = 0
    for example in examples:
        yield example
        count += 1
        update()
    if count != source.examples_in_shard:
        raise InputError(
            f"A file of TFDS must hold the examples that it was made with, {source.examples_in_shard}."
            f" Received: {count} in {source.filename}"
        )
