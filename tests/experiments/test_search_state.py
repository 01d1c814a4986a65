"""What identifies a search: its space, its data, its backend and the content of its trained teachers."""

import dataclasses
import functools
import json
import shutil

import pytest

from conftest import ROOT, run_python
from kdzoo.experiments import recommendation, search_directory, search_state, trials
from kdzoo.experiments.search_space import Search
from kdzoo.runs import checkpoints
from kdzoo.runs.config import RunConfig
from kdzoo.training import train
from zoo import InputError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:keras_tuner")
FIXTURES = ROOT / "tests" / "fixtures"


@pytest.fixture(scope="module")
def student(npz) -> RunConfig:
    return RunConfig("wrn10-1", "1-2", dataset=f"npz:{npz}", batch_size=32, val_examples=32, lr=0.02)


def run(search: Search, workdir, **options):
    from kdzoo.experiments import run_search

    _, outcomes, finished = run_search.run(search, workdir, log=lambda line: None, **options)
    return [outcome.status for outcome in outcomes], finished


def edit(workdir, changes: dict) -> None:
    """Changes keys of a search's description; None removes one."""
    path = workdir / "search" / "search.json"
    description = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in description.items() if value is not None}))


@pytest.fixture(scope="module")
def teacher(teacher_run, tmp_path_factory):
    return shutil.copytree(teacher_run, tmp_path_factory.mktemp("runs") / "teacher")


@pytest.fixture(scope="module")
def stopped(student, teacher, tmp_path_factory):
    """A search that was stopped in its first trial, and its directory."""
    search, workdir = Search(student, teachers=(str(teacher),), algorithm="random"), tmp_path_factory.mktemp("search")
    calls = []
    assert run(search, workdir, stopping=lambda: calls.append(0) or len(calls) > 2) == (["RUNNING"], False)
    return search, workdir


@pytest.fixture
def begun(stopped, tmp_path):
    search, workdir = stopped
    return search, shutil.copytree(workdir, tmp_path / "search")


def test_another_backend_is_refused_at_the_start(begun):
    search, workdir = begun
    edit(workdir, {"backend": "jax"})
    with pytest.raises(InputError, match=r"the same space, .* and backend\. Received: .*: backend jax, now tensorflow"):
        run(search, workdir)


def test_another_teacher_at_the_same_path_is_refused_at_the_start(begun, stopped, teacher, tmp_path):
    search, workdir = begun
    before = shutil.move(teacher, tmp_path / "before")
    shutil.copytree(FIXTURES / "run", teacher)
    try:
        with pytest.raises(InputError, match=rf": digest of teacher {teacher} [0-9a-f]{{64}}, now [0-9a-f]{{64}}$"):
            run(search, workdir)
    finally:
        shutil.rmtree(teacher)
        shutil.move(before, teacher)


def test_a_teacher_under_two_paths_is_refused_in_a_new_search(student, teacher, tmp_path):
    (tmp_path / "link").symlink_to(teacher)
    copy = shutil.copytree(teacher, tmp_path / "copy")
    for other in (tmp_path / "link", copy):
        search = Search(student, teachers=("none", str(teacher), str(other)))
        with pytest.raises(InputError, match=rf"teachers must differ\. Received: {other}, the same as {teacher}$"):
            search_state.prepare(search, tmp_path / "search")
        assert not (tmp_path / "search").exists()
    search, description = search_state.prepare(
        Search(student, teachers=(str(teacher), str(FIXTURES / "run"))), tmp_path / "search"
    )
    digests = [description[f"digest of teacher {spec}"] for spec in search.teachers]
    assert digests[0] != digests[1]


def test_a_search_of_an_earlier_version_with_a_teacher_under_two_paths_resumes(student, teacher, tmp_path):
    (tmp_path / "link").symlink_to(teacher)
    search = Search(student, teachers=("none", str(teacher)))
    _, description = search_state.prepare(search, tmp_path / "search")
    teachers = [*search.teachers, str(tmp_path / "link")]
    (tmp_path / "search" / "search").mkdir(parents=True)
    (tmp_path / "search" / "search" / "search.json").write_text(json.dumps(description | {"teachers": teachers}))
    prepared, _ = search_state.prepare(dataclasses.replace(search, teachers=tuple(teachers)), tmp_path / "search")
    assert list(prepared.teachers) == teachers


def test_a_search_of_version_0_4_resumes(begun, teacher):
    search, workdir = begun
    edit(workdir, {"backend": None, f"digest of teacher {teacher}": None, "student teacher_dtype": None})
    with pytest.raises(InputError, match="student teacher_dtype auto, now float32"):
        run(dataclasses.replace(search, student=dataclasses.replace(search.student, teacher_dtype="float32")), workdir)
    assert run(search, workdir) == (["COMPLETED"], True)


def test_a_trial_of_another_backend_ends_the_search_but_not_the_trial(begun, teacher):
    search, workdir = begun
    edit(workdir, {"backend": None, f"digest of teacher {teacher}": None})
    trial = workdir / "trials" / "0000"
    arrays, meta = checkpoints.load(trial)
    meta["identity"]["backend"] = "jax"
    checkpoints.save(trial, step=meta["place"]["step"], arrays=arrays, meta=meta)
    with pytest.raises(InputError, match=r"run of another configuration.*: backend jax, now tensorflow"):
        run(search, workdir)
    state = json.loads((workdir / "search" / "oracle.json").read_text())
    assert [trial["status"] for trial in state["trials"]] == ["RUNNING"]


def test_a_record_of_another_run_is_no_result_of_the_search(student, teacher_run, tmp_path):
    search = Search(student, teachers=("wrn10-1",), teacher_schedules=("1-1",), algorithm="random")
    search, _ = search_state.prepare(search, tmp_path)
    values = {"teacher": "wrn10-1", "teacher_schedule": "1-1", "method": "kd", "kd_until": 1.0}
    for directory in (tmp_path / "teachers" / "wrn10-1_1-1_seed0", tmp_path / "trials" / "0000"):
        shutil.copytree(teacher_run, directory)
        with pytest.raises(InputError, match="finished run of another configuration") as error:
            trials.run_trial(search, "0000", values, tmp_path, stopping=lambda: False, log=print)
        assert f"Received: {directory}: " in str(error.value)
        assert trials.is_temporary(error.value)
        shutil.rmtree(directory)


def test_names_of_over_255_bytes_end_in_one_line(student, tmp_path):
    search = Search(student, teachers=("none",))
    for start in (functools.partial(search_state.prepare, search), functools.partial(train.run, student)):
        with pytest.raises(InputError, match=r"workdir must be .* at most 255 bytes"):
            start(tmp_path / ("x" * 256))
    long = Search(student, teachers=(f"runs/{'ü' * 127}/",))
    values = {"teacher": long.teachers[0], "method": "kd", "kd_until": 1.0}
    ((_, directory),) = recommendation.final_runs(long, values, tmp_path)
    assert len(directory.name.encode()) in (254, 255)
    assert directory.name.startswith("wrn10-1_1-2_kd_ü")
    assert directory.name.endswith("ü_seed0")


@pytest.fixture
def server(published):
    """A server, its address and its model's name."""
    pytest.importorskip("tensorflow_serving")
    from kdzoo.hub.models import list_cards
    from kdzoo.serving import models
    from kdzoo.serving.server import start

    server, port = start(models.load(list_cards(path=published), path=str(published)), host="127.0.0.1", port=0)
    yield server, f"grpc://127.0.0.1:{port}/quarters/wrn10-1_2-3"
    server.stop(None).wait()


def test_a_server_that_goes_down_ends_the_search_but_not_the_trial(student, server, tmp_path):
    server, spec = server
    search = Search(student, teachers=(spec,), algorithm="random")
    with pytest.raises(InputError, match=r"must respond within 2 s"):
        run(search, tmp_path, teacher_deadline=2, stopping=lambda: server.stop(None).wait() and False)
    description = search_directory.read_json(tmp_path / "search" / "search.json")
    assert description[f"digest of teacher {spec}"]
    state = json.loads((tmp_path / "search" / "oracle.json").read_text())
    assert [trial["status"] for trial in state["trials"]] == ["RUNNING"]
    assert state["ongoing_trials"] == {"tuner0": "0000"}


def test_a_server_that_is_down_is_refused_at_the_start(student, tmp_path):
    pytest.importorskip("tensorflow_serving")
    search = Search(student, teachers=("grpc://127.0.0.1:9/wrn10-1",), algorithm="random")
    with pytest.raises(InputError, match=r"must respond within 0\.2 s"):
        run(search, tmp_path / "search", teacher_deadline=0.2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_command_refuses_another_backend_in_one_line(npz, tmp_path):
    pytest.importorskip("jax")
    args = ["-m", "apps.tune", "--student=wrn10-1", "--schedule=1-1", f"--dataset=npz:{npz}", "--batch_size=32"]
    args += ["--teachers=none", "--search=random", f"--workdir={tmp_path}"]
    assert run_python(*args, env={"KERAS_BACKEND": "tensorflow"}).returncode == 0
    done = run_python(*args, env={"KERAS_BACKEND": "jax"})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("backend tensorflow, now jax\n")
    assert done.stderr.count("\n") == 1
