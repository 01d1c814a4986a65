"""The directory of a run: refused before any work if the run could not be written into it."""

import pathlib

import pytest

from kdzoo.training import workdirs
from zoo import InputError


@pytest.mark.parametrize("name", ["record.json", "model.weights.h5"])
def test_a_directory_with_the_name_of_a_file_of_a_run_is_refused(name: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=f"workdir must have room for a run's file {name}. Received: .*{name}"):
        workdirs.check(tmp_path)
    assert (tmp_path / name).is_dir()


def test_a_file_with_the_name_of_the_checkpoints_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "checkpoints").write_text("notes")
    with pytest.raises(InputError, match=r"workdir must have room for a run's directory checkpoints\. Received: "):
        workdirs.check(tmp_path)


def test_a_link_to_itself_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for workdir in (tmp_path / "loop", tmp_path / "loop" / "run"):
        with pytest.raises(InputError, match=r"workdir must be a directory that can be written\. Received: "):
            workdirs.check(workdir)


def test_a_link_to_a_directory_and_a_new_directory_are_accepted(tmp_path: pathlib.Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "link").symlink_to("runs")
    (tmp_path / "runs" / "record.json").write_text("{}")
    for workdir in (tmp_path / "link", tmp_path / "link" / "new", tmp_path / "new" / "run"):
        workdirs.check(workdir)
