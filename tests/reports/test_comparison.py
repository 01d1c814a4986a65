"""`apps.compare` from end to end, on records alone."""

import csv
import json

import pytest

from conftest import ROOT, run_python
from kdzoo.models.names import natural_key
from kdzoo.reports.comparison import compare
from kdzoo.reports.finished_runs import find
from kdzoo.runs import consistency
from synthetic_records import make_record, make_sweep
from zoo import InputError

RESULTS = ROOT / "results"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder of finished runs, some a folder deeper, beside one that is not finished."""
    root = tmp_path_factory.mktemp("runs")
    for label, record in make_sweep(("wrn16-2", "wrn16-8"), ("2-6", "6-20"), 2, student="6-20").items():
        write(root / ("teachers" if record["method"] == "none" else ".") / label, record)
    (root / "unfinished").mkdir()
    return root


def write(workdir, record):
    workdir.mkdir(parents=True)
    (workdir / "record.json").write_text(json.dumps({**record, **consistency.summarise(record["history"])}))


@pytest.fixture(scope="module")
def compared(runs, tmp_path_factory):
    """Runs the command. Returns its folder and its end; it prints the backends that it has imported."""
    out = tmp_path_factory.mktemp("compared")
    code = "import sys, runpy; sys.argv[0] = 'compare'\ntry: runpy.run_module('apps.compare', run_name='__main__')\n"
    code += "finally: print('imported:', {'tensorflow', 'keras', 'jax'} & sys.modules.keys())"
    return out, run_python("-c", code, f"--runs={runs}", f"--out={out}", f"--tensorboard={out / 'logs'}")


def run_command(*args):
    return run_python("-m", "apps.compare", *args)


def test_the_command(runs, compared):
    out, done = compared
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    table = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(table) == 2 + 4 + 1 + 4 + 1  # head, teachers, from scratch, a student of each teacher, ESKD
    assert "\n".join(table) in (out / "compare.md").read_text()
    with open(out / "compare.csv") as file:
        rows = list(csv.DictReader(file))
    assert sum(int(row["n"]) for row in rows) == len(find([runs])) == 16
    plots = ["teacher_size_wrn16-1_6-20_kd", "teacher_length_wrn16-1_6-20_kd", "heat_map_wrn16-1_6-20_kd"]
    for name in (*plots, "curves_wrn16-1_6-20"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (out / f"{name}.svg").read_text()
        assert f"{name}.svg" in (out / "compare.md").read_text()
        assert str(out / f"{name}.png") in done.stdout
    assert "no heat_map_wrn16-1_6-20_eskd-50: teachers of one size" in done.stdout


def test_it_needs_no_backend(compared):
    assert "imported: set()" in compared[1].stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--runs={tmp}"], "Received: {tmp}"),
        (["--runs={tmp}/nowhere-*"], "Received: {tmp}/nowhere-*"),
        (["--runs={runs},{tmp}"], "Received: {tmp}"),
        (["--runs="], "Received: none"),
        (["--runs={runs}", "--curves=nothing"], "Received: nothing"),
        (["--runs={runs}", "--out={runs}/unfinished/../unfinished/file"], "must be a directory"),
        (["--runs={runs}", "words"], "Received: words"),
    ],
)
def test_bad_input_ends_in_one_line(args, message, runs, tmp_path):
    (runs / "unfinished" / "file").touch()
    names = {"runs": runs, "tmp": tmp_path}
    done = run_command(f"--out={tmp_path / 'out'}", *(arg.format(**names) for arg in args))
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert message.format(**names) in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_damaged_records_are_named(tmp_path):
    write(tmp_path / "run", make_record())
    path = tmp_path / "run" / "record.json"
    path.write_text(json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key != "history"}))
    with pytest.raises(InputError, match=r"Received: .*run/record\.json: must contain \['history'\]"):
        find([tmp_path])
    path.write_text("{")
    with pytest.raises(InputError, match=r"Received: .*record\.json"):
        find([tmp_path])


def test_find(runs, monkeypatch):
    found = find([runs / "teachers" / "*", f"{runs}/wrn16-1_*seed1", runs / "teachers"])
    assert list(found) == sorted(found, key=natural_key)
    assert "teachers/wrn16-2_2-6_seed0" in found
    assert not any(label.endswith("kd_wrn16-2_2-6_seed0") for label in found)
    monkeypatch.chdir(runs)
    (one,) = find(["teachers/wrn16-2_2-6_seed0"])
    assert one == "wrn16-2_2-6_seed0"


def test_a_run_that_was_copied_counts_once(tmp_path):
    write(tmp_path / "a" / "run", make_record())
    write(tmp_path / "b" / "run", make_record())
    made = compare(find([tmp_path]), tmp_path / "out")
    assert "left out, since a later run differs in nothing from it: b/run" in made.notes
    assert made.table.splitlines()[-1].split("|")[5].strip() == "1"


def test_the_records_of_this_checkout(tmp_path):
    made = compare(find([RESULTS / "cifar10"]), tmp_path)
    names = {path.name for path in made.paths}
    assert {"teacher_length_wrn16-1_10-35_kd.png", "curves_wrn16-1_10-35.png"} <= names
    assert "no teacher_size_wrn16-1_10-35_kd: teachers of one size" in made.notes


def test_chosen_curves(runs, tmp_path):
    made = compare(find([runs]), tmp_path, curves=("*wrn16-2_*_seed?",))
    assert [path.name for path in made.paths if "curves" in path.name] == ["curves.png", "curves.svg"]


def test_runs_without_teachers_have_a_table(tmp_path):
    made = compare({"a": make_record(), "b": make_record("wrn16-2")}, tmp_path)
    assert [path.name for path in made.paths] == ["compare.md", "compare.csv"]
    assert made.notes == ["no teacher_size: no run has a teacher"]
