"""The reader of JSON, and the limits of names."""

import pathlib

import pytest

from kdzoo import files
from zoo import InputError


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Expecting value"),
        (b"[" * 10_000, "nested more than 100 deep"),
        (b'{"a": ' * 10_000, "nested more than 100 deep"),
        (b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}", "nested more than 100 deep"),
        (b'{"a": ' * 101 + b"1" + b"}" * 101, "nested more than 100 deep"),
        (b'{"a": "\xff"}', "codec can't decode"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' more than once"),
        (b'{"a": [NaN]}', "the constant NaN"),
        (b'{"a": -Infinity}', "the constant -Infinity"),
        (b'{"a": 1e999}', "a number beyond the range of float64"),
        (b'{"a": 1' + b"0" * 400 + b"}", "a number beyond the range of float64"),
        (b'{"a": "\\ud800"}', "surrogates not allowed"),
        (b'{"\\ud800": 1}', "surrogates not allowed"),
        (b"[{}]", "list instead of an object"),
        (b"3", "int instead of an object"),
        (b'{"a": ' + b"1" * 5000 + b"}", "limit"),
        (b"\xef\xbb\xbf{}", "BOM"),
    ],
)
def test_what_is_no_json_object_is_refused(content: bytes, reason: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"A file must be JSON\. Received: .*a\.json: .*{reason}") as refused:
        files.read_json(path, rule="A file must be JSON")
    assert len(str(refused.value).splitlines()) == 1


def test_json_is_read(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": [1, 1.5, null, true, {"ä": "\\ud83d\\ude00"}]}', encoding="utf-8")
    assert files.read_json(path, rule="") == {"a": [1, 1.5, None, True, {"ä": "\U0001f600"}]}
    path.write_text('{"a": ' * 100 + "1e308" + "}" * 100)
    assert len(files.read_json(path, rule="")) == 1


@pytest.mark.parametrize("name", ["missing", "", "a\0b", "x" * 300])
def test_a_file_that_cannot_be_read_is_refused(name: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match=r"A file must be JSON\. Received: ") as refused:
        files.read_json(tmp_path / name, rule="A file must be JSON")
    assert "\0" not in str(refused.value)


def test_the_limits_of_names() -> None:
    for name in ("a", "x" * 255, "ä" * 127):
        files.check_name(name, what="The name")
        files.check_directory(f"runs/{name}/b", name="workdir")
    for name in ("", "x" * 256, "ä" * 128, "a/b", "a\0", "a\n", "\ud800"):
        with pytest.raises(InputError, match=r"The name must be of 1 to 255 bytes .* Received: ") as refused:
            files.check_name(name, what="The name")
        assert len(str(refused.value).splitlines()) == 1
    for path in ("", "x" * 256, f"/tmp/{'ä' * 128}", "a\0b", "\ud800", "ab/" * 2000):
        with pytest.raises(InputError, match=r"workdir must be the path of a directory, .* Received: "):
            files.check_directory(path, name="workdir")


def test_a_directory_that_must_exist_is_no_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    files.check_directory(tmp_path, name="path", exists=True)
    for name in ("missing", "file", "file/inside"):
        with pytest.raises(InputError, match=rf"path must be a directory that exists, .* Received: .*/{name}$"):
            files.check_directory(tmp_path / name, name="path", exists=True)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "nothing"),
        (".csv", "'.*/.csv'"),
        ("a.txt", "'.*/a.txt'"),
        ("x" * 250 + ".csv", "'.*/xxx"),
        ("a\0.csv", "'.*/a"),
        ("none/a.csv", ".*/none/a.csv: no directory .*/none"),
        ("file/a.csv", ".*/file/a.csv: no directory .*/file"),
        ("folder.csv", ".*/folder.csv: a directory"),
    ],
)
def test_a_file_to_write_is_checked_before_the_work_begins(name: str, reason: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=rf"^out must be a file to write, with a name in \.csv, .* Received: {reason}"):
        files.check_output(f"{tmp_path}/{name}" if name else "", name="out", suffix=".csv")


def test_a_file_to_write_may_exist(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files.check_output("a.csv", name="out", suffix=".csv")
    files.write_output("a.csv", "one\n")
    files.check_output(tmp_path / "a.csv", name="out", suffix=".csv")
    files.write_output(tmp_path / "a.csv", "\udcff\n")
    assert (tmp_path / "a.csv").read_bytes() == b"\xff\n"
    assert list(tmp_path.iterdir()) == [tmp_path / "a.csv"]
