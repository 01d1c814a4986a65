"""Stores by their URI."""

import os

from kdzoo.stores import base, folder, s3
from zoo import InputError


def open_store(uri: str | os.PathLike[str]) -> base.Store:
    """Opens a store: a folder, or s3://BUCKET/PREFIX.

    Raises:
        InputError: if the URI is neither, or the bucket cannot be listed.
    """
    text = os.fspath(uri)
    if text.startswith(s3.SCHEME):
        return s3.S3Store(text)
    if "://" in text:
        raise InputError(
            f"A store must be a folder or s3://BUCKET/PREFIX, for example s3://bucket/kdzoo. Received: {text}"
        )
    return folder.FolderStore(text)
