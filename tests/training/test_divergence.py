"""A run that diverges ends in one line, without a record; a step that loss scaling skips is no divergence."""

import dataclasses
import random

import numpy as np
import pytest

from kdzoo.runs import checkpoints, records, weights
from kdzoo.runs.config import RunConfig
from kdzoo.training import divergence, train
from zoo import InputError

STATE = {"student/0000/conv/kernel": np.ones((3, 3), "f4"), "optimizer/0000/momentum": np.full(2, np.inf, "f4")}


@pytest.fixture
def config(npz) -> RunConfig:
    """Two epochs of one step: the loss is taken before the step, so the first one's is finite in any case."""
    return RunConfig("wrn10-1", "1-2", dataset=f"npz:{npz}", batch_size=128, seed=1)


def check(value: object) -> None:
    divergence.check({"the loss": value}, epoch=3, lr=1e30)


@pytest.mark.parametrize("value", [0.0, -2.5, 1e19, np.float32(-1e19), np.zeros((0, 2)), np.array([0, 2**31], "u4")])
def test_finite_numbers_pass(value):
    check(value)


@pytest.mark.parametrize(
    ("value", "largest"),
    [(np.nan, "nan"), (-np.inf, "inf"), (1e20, r"1e\+20"), (np.array([[1, np.nan], [2, np.inf]], "f4"), "nan")],
)
def test_other_numbers_end_the_run(value, largest):
    message = rf"diverged in epoch 3: the loss is {largest}; .* for example 0.1. Received: lr 1e\+30$"
    with np.errstate(all="raise"), pytest.raises(InputError, match=message):
        check(value)


def test_weights_and_statistics_count_and_the_optimizer_does_not():
    divergence.check_weights(STATE, epoch=1, lr=0.05)
    state = STATE | {"student/0001/bn/moving_variance": np.array([1, np.inf], "f4")}
    with pytest.raises(InputError, match=r"the largest value of bn/moving_variance is inf; .* example 0.005\. "):
        divergence.check_weights(state, epoch=1, lr=0.05)


@pytest.mark.parametrize(("lr", "steps"), [(1e30, 0), (1e8, 1)])
def test_a_diverged_run_leaves_no_record_and_no_checkpoint_of_its_weights(config, tmp_path, lr, steps):
    config = dataclasses.replace(config, lr=lr)
    for _ in range(2):  # the same call again resumes from the last checkpoint before, and diverges again
        with pytest.raises(InputError, match=r"Training diverged in epoch ") as diverged:
            train.run(config, tmp_path)
        assert "\n" not in str(diverged.value)
        assert not (tmp_path / records.RECORD).exists()
        assert not (tmp_path / weights.WEIGHTS).exists()
        kept = sorted((tmp_path / checkpoints.DIRECTORY).glob("*.npz"))
        assert [path.name[:9] for path in kept] == ["000000001"] * steps
        for path in kept:
            with np.load(path) as state:
                divergence.check_weights(dict(state), epoch=1, lr=lr)


def test_outputs_that_overflow_after_the_last_epoch_end_the_run(config, tmp_path):
    """Weights and loss are of a possible size, yet the network computes nothing. So it is when only the end is left."""
    for _ in range(2):
        with pytest.raises(InputError, match="diverged in epoch 2: the cross-entropy on the test set is "):
            train.run(dataclasses.replace(config, lr=1e5), tmp_path)
        assert not (tmp_path / records.RECORD).exists()


def test_a_step_that_loss_scaling_skips_is_no_divergence(config, tmp_path):
    """The gradients of a loss of weight 1e6, scaled by 2^15, overflow in float16: no weight moves."""
    config = dataclasses.replace(config, schedule="1-1", dtype_policy="mixed_float16", ce_weight=1e6)
    record = train.run(config, tmp_path)
    assert np.isfinite(record["history"][0]["loss"])
    random.seed(config.seed)
    initial = weights.build(record).trainable_variables
    for trained, untrained in zip(weights.load_model(tmp_path).trainable_variables, initial, strict=True):
        np.testing.assert_array_equal(np.asarray(trained), np.asarray(untrained))
