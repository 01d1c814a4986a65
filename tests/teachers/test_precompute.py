"""The command that fills the tables of teacher outputs."""

import pytest

from conftest import run_python


def test_the_command_fills_the_whole_table(npz, teacher_run, tmp_path):
    flags = [f"--teacher={teacher_run}", f"--dataset=npz:{npz}", f"--teacher_cache={tmp_path}/cache"]
    done = run_python("-m", "apps.precompute", *flags, "--augment=none")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == f"192 rows added to 0 that were there: {tmp_path}/cache\n"  # 128 and 64 images


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "teacher must name at least one"),
        (["--teacher=no/where"], "directory of a finished run"),
        (["--teacher=wrn16-2_10-35", "--teacher_cache=off"], "for later runs. Received: off"),
        (["--teacher=wrn16-2_10-35", "--dtype_policy=auto"], "each run measures auto anew. Received: auto"),
        (["--teacher=wrn16-2_10-35", "--schedule=1-1", "--seeds="], "Received: nothing"),
        (
            ["--teacher=wrn16-2_10-35", "--seeds=one"],
            "seeds must be a whole number at least 0 and at most 4294967295, for example 0. Received: one",
        ),
        (["--teacher=wrn16-2_10-35", "--cache_gb=-1"], "cache_gb must be above 0"),
    ],
)
def test_bad_flags_are_reported_in_one_line(flags, message):
    done = run_python("-m", "apps.precompute", *flags)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
