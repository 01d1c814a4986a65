"""The weights of a finished run are those that its record names, in every use of them."""

import hashlib
import logging
import pathlib
import shutil

import pytest

from kdzoo.hub import models
from kdzoo.runs import records, weights
from kdzoo.runs.config import METHODS, RunConfig
from kdzoo.runs.identity import WEIGHTS_DIGEST
from zoo import InputError

CONTENT = b"the bytes of a file of weights"


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def flip(path: pathlib.Path, position: int) -> None:
    """Flips the lowest bit of one byte."""
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


@pytest.fixture
def workdir(tmp_path) -> pathlib.Path:
    """A directory with a file of weights."""
    (tmp_path / weights.WEIGHTS).write_bytes(CONTENT)
    return tmp_path


@pytest.fixture
def damaged(teacher_run, tmp_path) -> pathlib.Path:
    """A finished run with one bit of one weight flipped, in a byte that no format could miss."""
    run = pathlib.Path(shutil.copytree(teacher_run, tmp_path / "damaged"))
    kernel = weights.load_model(run).get_layer("stem_conv").get_weights()[0]
    flip(run / weights.WEIGHTS, (run / weights.WEIGHTS).read_bytes().index(kernel.tobytes()))
    return run


def test_unchanged_weights_pass_and_the_digest_is_returned(workdir):
    assert weights.verify(workdir, {WEIGHTS_DIGEST: digest(CONTENT)}) == digest(CONTENT)


def test_one_flipped_bit_anywhere_is_seen(workdir):
    path = workdir / weights.WEIGHTS
    for position in range(len(CONTENT)):
        flip(path, position)
        with pytest.raises(InputError) as refused:
            weights.verify(workdir, {WEIGHTS_DIGEST: digest(CONTENT)})
        received = digest(path.read_bytes())
        assert str(refused.value) == (
            f"A finished run must hold its weights, unchanged: SHA-256 {digest(CONTENT)[:12]}."
            f" Received: {path}: {len(CONTENT)} bytes of SHA-256 {received[:12]}"
        )
        flip(path, position)


@pytest.mark.parametrize("recorded", ["", "0" * 64, None, 7, []])
def test_a_digest_that_is_none_matches_nothing(workdir, recorded):
    with pytest.raises(InputError, match="must hold its weights, unchanged: "):
        weights.verify(workdir, {WEIGHTS_DIGEST: recorded})


def test_weights_without_a_recorded_digest_pass_with_one_warning_for_each_directory(workdir, tmp_path, caplog):
    other = tmp_path / "other"
    other.mkdir()
    (other / weights.WEIGHTS).write_bytes(CONTENT)
    with caplog.at_level(logging.WARNING):
        for directory in (workdir, other, workdir, workdir / "other" / ".."):
            assert weights.verify(directory, {}) == digest(CONTENT)
    assert [record.message.startswith("Not verified") for record in caplog.records] == [True, True]


def test_a_finished_run_records_the_digest_of_its_weights(teacher_run):
    content = (teacher_run / weights.WEIGHTS).read_bytes()
    assert records.read(teacher_run)[WEIGHTS_DIGEST] == digest(content)


def evaluate(run: pathlib.Path, npz: pathlib.Path, tmp_path: pathlib.Path) -> None:
    from kdzoo.training import evaluation

    evaluation.evaluate_run(run)


def teach(run: pathlib.Path, npz: pathlib.Path, tmp_path: pathlib.Path) -> None:
    from kdzoo.training import train

    config = RunConfig("wrn10-1", "1-1", dataset=f"npz:{npz}", batch_size=32, teachers=(str(run),), **METHODS["kd"])
    train.run(config, tmp_path / "student")


def precompute(run: pathlib.Path, npz: pathlib.Path, tmp_path: pathlib.Path) -> None:
    from kdzoo.teachers.output_cache import Cache
    from kdzoo.teachers.precompute import precompute

    config = RunConfig("wrn10-1", "1-1", dataset=f"npz:{npz}", teachers=(str(run),), kd_weight=0.9)
    precompute(config, Cache(tmp_path / "cache"))


def publish(run: pathlib.Path, npz: pathlib.Path, tmp_path: pathlib.Path) -> None:
    from kdzoo.publishing import publisher

    publisher.publish([run], tmp_path / "models", name="quarters/wrn10-1_2-3")


def export(run: pathlib.Path, npz: pathlib.Path, tmp_path: pathlib.Path) -> None:
    from kdzoo.publishing import export

    export.main(str(run), str(tmp_path / "saved_model"), "float32")


def load(run: pathlib.Path, npz: pathlib.Path, tmp_path: pathlib.Path) -> None:
    weights.load_model(run)


@pytest.mark.parametrize("use", [evaluate, teach, precompute, publish, export, load])
def test_every_use_of_a_run_verifies_its_weights(damaged, npz, tmp_path, use):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(
        InputError, match=r"must hold its weights, unchanged: .*damaged/model\.weights\.h5: "
    ) as refused:
        use(damaged, npz, tmp_path)
    assert "\n" not in str(refused.value)
    assert sorted(tmp_path.iterdir()) == before  # no student, no table, no model


def test_a_run_that_was_replaced_since_its_record_was_read_is_refused(damaged):
    """Its digest is in the student's record already: other weights must not teach under it."""
    replaced = records.read(damaged) | {WEIGHTS_DIGEST: digest((damaged / weights.WEIGHTS).read_bytes())}
    trained = models.resolve(damaged)
    records.write(damaged, replaced)
    weights.load_model(damaged)
    with pytest.raises(InputError, match="must hold its weights, unchanged"):
        trained.build()
