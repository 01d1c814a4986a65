"""The folders that environment variables name."""

import pathlib
from collections.abc import Callable

import pytest

from kdzoo.hub import folders
from zoo import InputError


@pytest.mark.parametrize(
    ("variable", "find"),
    [("KDZOO_HOME", folders.publishing_folder), ("KDZOO_CACHE", folders.cache_folder)],
)
def test_a_folder_is_named_by_a_variable(
    variable: str, find: Callable[[], pathlib.Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/one")
    for value, folder in (("~/models", "/home/one/models"), ("models", "models")):
        monkeypatch.setenv(variable, value)
        assert find() == pathlib.Path(folder)
    for value in ("~nobody-here/models", "x" * 300):
        monkeypatch.setenv(variable, value)
        with pytest.raises(InputError, match=rf"{variable} must .*, for example .*Received: '?{value[:50]}"):
            find()
