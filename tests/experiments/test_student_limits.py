"""Searches over several students, and limits on what a student may cost."""

import dataclasses
import json

import pytest

from conftest import run_python
from kdzoo.data import sources
from kdzoo.experiments import recommendation, search_space, search_state, student_limits, trial_configs
from kdzoo.experiments.outcomes import Outcome
from kdzoo.experiments.search_directory import FIGURES
from kdzoo.experiments.search_space import LIMITS, Search
from kdzoo.models import count_multiply_adds, names
from kdzoo.runs import weights
from kdzoo.runs.config import RunConfig
from search_examples import SPACE
from zoo import InputError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:keras_tuner")
STUDENTS = ("wrn10-1", "wrn10-2", "wrn16-4")
FIGURES_OF = {
    "wrn10-1": {"mflops": 12.5, "mb": 0.3, "latency_ms": 1.0},
    "wrn10-2": {"mflops": 40.0, "mb": 1.2, "latency_ms": 2.0},
    "wrn16-4": {"mflops": 390.25, "mb": 11.0, "latency_ms": 1.5},
}


@pytest.fixture(scope="module")
def search(npz) -> Search:
    student = RunConfig("wrn10-1", "1-1", dataset=f"npz:{npz}", batch_size=32, val_examples=32, lr=0.02)
    return Search(student, teachers=("none",), algorithm="random", students=STUDENTS)


@pytest.mark.parametrize(
    ("limits", "left", "lines"),
    [
        ({}, STUDENTS, []),
        ({"max_mflops": 40.0}, STUDENTS[:2], ["wrn16-4: 390.250 million multiply-adds, above max_mflops 40"]),
        (
            {"max_mb": 1.0},
            STUDENTS[:1],
            [
                "wrn10-2: 1.200 MB of float32 weights, above max_mb 1",
                "wrn16-4: 11.000 MB of float32 weights, above max_mb 1",
            ],
        ),
        ({"max_latency_ms": 1.5}, ("wrn10-1", "wrn16-4"), ["wrn10-2: 2.000 ms for an image, above max_latency_ms 1.5"]),
        (
            {"max_mflops": 39.0, "max_latency_ms": 0.9},
            (),
            [
                "wrn10-1: 1.000 ms for an image, above max_latency_ms 0.9",
                "wrn10-2: 40.000 million multiply-adds, above max_mflops 39",
                "wrn16-4: 390.250 million multiply-adds, above max_mflops 39",
            ],
        ),
    ],
)
def test_students_beyond_a_limit_are_left_out(search, limits, left, lines):
    search = dataclasses.replace(search, **limits)
    search.check()
    if not left:
        with pytest.raises(InputError) as error:
            student_limits.apply(search, FIGURES_OF)
        assert str(error.value) == (
            f"max_mflops, max_mb, max_latency_ms must leave a student to train. Received: {'; '.join(lines)}"
        )
        return
    limited, notes = student_limits.apply(search, FIGURES_OF)
    assert notes == [f"student {line}: not trained" for line in lines]
    assert (limited.models, limited.student.model) == (left, left[0])
    assert search_space.count_candidates(limited) == len(left)


def test_figures_are_those_of_the_network(search):
    dataset = sources.load(search.student.data)
    search = dataclasses.replace(search, students=STUDENTS[:1])
    figures = student_limits.measure(dataclasses.replace(search, max_latency_ms=1e6), dataset)
    assert figures.keys() == {"wrn10-1"}
    network = names.build("wrn10-1", num_classes=4, input_shape=(16, 16, 3))
    assert figures["wrn10-1"]["mflops"] == count_multiply_adds(network) / 1e6
    assert figures["wrn10-1"]["mb"] == 4 * weights.count_parameters(network) / 1e6
    assert figures["wrn10-1"]["latency_ms"] > 0
    assert "latency_ms" not in student_limits.measure(search, dataset)["wrn10-1"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"students": ("wrn10-1", "wrn10-1")}, "students must be one or more, each once. Received: wrn10-1, wrn10-1"),
        ({"students": ("wrn10-1", "vgg16")}, "Received: vgg16"),
        ({"students": ("wrn10-1", "wrn10-2_1-2")}, "A model to train is an architecture"),
        ({"max_mflops": 0.0}, "max_mflops must be above 0"),
        ({"max_mb": float("nan")}, "max_mb must be above 0"),
        ({"max_latency_ms": -1.0}, "max_latency_ms must be above 0"),
    ],
)
def test_impossible_students_and_limits_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(SPACE, **changes).check()


def test_the_space_of_one_student_is_as_it_was(search):
    from kdzoo.experiments import oracles

    space = [hp.name for hp in oracles.hyperparameters(SPACE).space]
    assert space == ["teacher", "teacher_schedule", "method", "kd_until", "temperature", "kd_weight"]
    several = dataclasses.replace(SPACE, students=("wrn10-1", "wrn10-2"))
    assert [hp.name for hp in oracles.hyperparameters(several).space] == ["student", *space]
    assert search_space.count_candidates(several) == 2 * search_space.count_candidates(SPACE)
    dataset = sources.load(search.student.data)
    described = search_state.describe_search(dataclasses.replace(search, students=()), dataset)
    assert not {"students", *LIMITS, FIGURES} & described.keys()
    assert described["student model"] == "wrn10-1"


def test_a_trial_trains_its_own_student():
    several = dataclasses.replace(SPACE, students=("wrn10-1", "wrn10-2"))
    values = {"student": "wrn10-2", "teacher": "wrn10-1", "teacher_schedule": "1-2", "method": "kd", "kd_until": 1.0}
    assert trial_configs.student_config(several, values, "runs/t").model == "wrn10-2"
    assert trial_configs.teacher_config(several, values).model == "wrn10-1"
    assert trial_configs.describe(values) == "student wrn10-2, teacher wrn10-1_1-2, kd"
    alone = {"student": "wrn10-2", "teacher": "none"}
    assert trial_configs.describe(alone) == "student wrn10-2, no teacher"
    assert trial_configs.student_config(several, alone, "none").model == "wrn10-2"


def test_the_recommendation_names_the_student_and_what_it_costs(search, tmp_path):
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "search.json").write_text(json.dumps({FIGURES: FIGURES_OF}))
    limited, _ = student_limits.apply(dataclasses.replace(search, max_mflops=40.0, teachers=("none", "x")), FIGURES_OF)
    kd = {"teacher": "x", "method": "kd", "kd_until": 1.0}
    trials = [
        Outcome("0000", {"student": "wrn10-1", "teacher": "none"}, "COMPLETED", 7.0, 1),
        Outcome("0001", {"student": "wrn10-2", "teacher": "none"}, "COMPLETED", 6.0, 1),
        Outcome("0002", {"student": "wrn10-2", **kd}, "COMPLETED", 4.0, 1),
    ]
    result = recommendation.recommend(
        limited, trials, tmp_path, finished=True, command=lambda config, directory: [config.model, *config.teachers]
    )
    assert (result["best_student"], result["limits"]) == ("wrn10-2", {"max_mflops": 40.0})
    assert result["students"] == {model: FIGURES_OF[model] for model in ("wrn10-1", "wrn10-2")}
    assert result["without_teacher"] == {"val_error": 6.0, "epochs": 1}
    assert result["commands"] == ["python -m wrn10-2 x"]
    text = recommendation.render(result)
    assert "Recommended: student wrn10-2, teacher x, kd." in text
    head, _, first = [line for line in text.splitlines() if line.startswith("|")][:3]
    cells = [[cell.strip() for cell in line.split("|")] for line in (head, first)]
    row = dict(zip(*cells, strict=True))
    assert row["student"] == "wrn10-2"
    assert [row[name] for name in ("multiply-adds (M)", "weights (MB)", "latency (ms)")] == ["40.00", "1.20", "2.00"]
    alone = dataclasses.replace(limited, students=())
    result = recommendation.recommend(
        alone,
        [Outcome("0000", {"teacher": "none"}, "COMPLETED", 7.0, 1)],
        tmp_path,
        finished=True,
        command=lambda config, directory: [config.model],
    )
    assert "Recommended: student wrn10-1, no teacher." in recommendation.render(result)


def run(search: Search, workdir, **options):
    from kdzoo.experiments import run_search

    lines: list[str] = []
    limited, outcomes, finished = run_search.run(search, workdir, log=lines.append, **options)
    return limited, outcomes, finished, lines


def test_a_search_trains_the_students_within_its_limits(search, tmp_path):
    search = dataclasses.replace(search, students=STUDENTS[:2], max_mb=1.0, max_latency_ms=1e6)
    limited, outcomes, finished, lines = run(search, tmp_path)
    assert (limited.models, finished) == (("wrn10-1",), True)
    assert [outcome.values for outcome in outcomes] == [{"student": "wrn10-1", "teacher": "none"}]
    (record,) = tmp_path.glob("trials/*/record.json")
    assert json.loads(record.read_text())["config"]["model"] == "wrn10-1"
    (line,) = [line for line in lines if line.endswith(": not trained")]
    assert line.startswith("student wrn10-2: 1.2")
    assert "MB of float32 weights, above max_mb 1" in line
    # Another limit is another search, and so are other students.
    for changes, message in (
        ({"max_mb": 3.0}, "max_mb 1.0, now 3.0"),
        ({"max_mb": None}, "max_mb 1.0, now None"),
        ({"students": ()}, "students .*, now None"),
    ):
        with pytest.raises(InputError, match=message):
            run(dataclasses.replace(search, **changes), tmp_path)
    # It resumes with the figures of its start, whatever they would be now.
    path = tmp_path / "search" / "search.json"
    description = json.loads(path.read_text())
    slow = {model: figures | {"latency_ms": 2e6} for model, figures in description[FIGURES].items()}
    path.write_text(json.dumps(description | {FIGURES: slow}))
    with pytest.raises(InputError, match=r"must leave a student.*wrn10-1: 2,000,000\.000 ms for an image, above"):
        run(search, tmp_path)
    for damaged in ({}, [], {"wrn10-1": {}}, {**slow, "wrn10-2": {"mflops": "1", "mb": 1.0, "latency_ms": 1.0}}):
        path.write_text(json.dumps(description | {FIGURES: damaged}))
        with pytest.raises(InputError, match=r"as it was written.*no figures of wrn10-[12]$"):
            run(search, tmp_path)


def test_a_search_of_an_earlier_version_has_one_student_and_no_limits(search, tmp_path):
    alone = dataclasses.replace(search, students=())
    _, description = search_state.prepare(alone, tmp_path)
    assert not {"students", *LIMITS, FIGURES} & description.keys()
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "search.json").write_text(json.dumps(description))
    for changed, message in (
        (search, r"students None, now \['wrn10-1', 'wrn10-2', 'wrn16-4'\]"),
        (dataclasses.replace(alone, max_mflops=100.0), "max_mflops None, now 100"),
    ):
        with pytest.raises(InputError, match=message):
            search_state.prepare(changed, tmp_path)
    assert search_state.prepare(alone, tmp_path)[1] == description


@pytest.mark.slow
def test_a_command_whose_limits_leave_no_student_ends_in_one_line(npz, tmp_path):
    args = ["-m", "apps.tune", "--schedule=1-1", f"--dataset=npz:{npz}", "--batch_size=32", "--teachers=none"]
    workdir = tmp_path / "search"
    done = run_python(*args, f"--workdir={workdir}", "--student=wrn10-2", "--students=wrn16-1", "--max_mflops=1")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: max_mflops, max_mb, max_latency_ms must leave a student to train. Received: wrn10-2")
    assert not workdir.exists()
    done = run_python(*args, f"--workdir={workdir}")
    assert done.returncode == 2
    assert "--student or --students must be set, for example --student=wrn16-1." in done.stderr
    students = ["--students=wrn10-1,wrn10-2", "--max_mb=1", "--search=random"]
    done = run_python(*args, f"--workdir={workdir}", *students)
    assert done.returncode == 0, done.stderr
    assert "student wrn10-2: " in done.stdout
    assert "Recommended: student wrn10-1, no teacher." in done.stdout
    assert [line.split()[3] for line in done.stdout.splitlines() if line.startswith("python -m")] == ["--model=wrn10-1"]
