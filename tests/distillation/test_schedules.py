import math

import keras
import numpy as np
import pytest

from kdzoo.distillation import schedules
from zoo import InputError


def curve(text: str, **options) -> list[float]:
    schedule = schedules.parse(text)
    return [schedule.learning_rate(epoch, **{"lr": 0.1, **options}) for epoch in range(schedule.epochs)]


def test_step_curves():
    np.testing.assert_allclose(curve("2-5"), [0.1, 0.1, 0.02, 0.02, 0.004], rtol=1e-12)
    np.testing.assert_allclose(curve("20-65"), [0.1] * 20 + [0.02] * 20 + [0.004] * 20 + [0.0008] * 5, rtol=1e-12)
    np.testing.assert_allclose(curve("60-200"), [0.1] * 60 + [0.02] * 60 + [0.004] * 60 + [0.0008] * 20, rtol=1e-12)
    np.testing.assert_allclose(curve("2-4", lr=1.0, decay=0.1), [1, 1, 0.1, 0.1], rtol=1e-12)


def test_cosine_curve():
    np.testing.assert_allclose(curve("cos-4"), [0.1, 0.0853553391, 0.05, 0.0146446609], rtol=1e-8)


def test_stopped_curve_is_30_90_shrunk():
    np.testing.assert_allclose(curve("5"), [0.1, 0.1, 0.02, 0.02, 0.004], rtol=1e-12)
    assert schedules.parse("90").step == 30


def test_a_scaled_schedule_is_the_same_curve_in_fewer_epochs():
    np.testing.assert_allclose(curve("60-200x0.25"), curve("15-50"), rtol=1e-12)
    np.testing.assert_allclose(curve("20-65x0.25"), curve("5-16"), rtol=1e-12)
    # Steps at epochs 2.5, 5 and 7.5 of 8.75.
    np.testing.assert_allclose(curve("10-35x0.25"), [0.1] * 3 + [0.02] * 2 + [0.004] * 3 + [0.0008], rtol=1e-12)
    np.testing.assert_allclose(curve("60-200x0.03"), [0.1] * 2 + [0.02] * 2 + [0.004] * 2, rtol=1e-12)
    np.testing.assert_allclose(curve("cos-8x0.5"), curve("cos-4"), rtol=1e-12)
    assert curve("2-4x0.1") == [0.1]


def test_a_schedule_that_is_cut_is_the_beginning_of_the_full_one():
    for full in ("2-5", "cos-5", "5", "4-10x0.5"):
        assert curve(f"{full}@3") == curve(full)[:3]
    assert schedules.parse("60-200@65").paper_form == "60/200@65"
    assert schedules.full_epochs("60-200x0.25@7") == schedules.full_epochs("60-200x0.25") == 50
    assert schedules.cut("60-200@65", 20) == schedules.cut("60-200", 20) == "60-200@20"


@pytest.mark.parametrize("text", ["2-3", "cos-3", "3", "4-8x0.5", "4-8@5"])
@pytest.mark.parametrize("epoch", [-1, math.nan])
def test_before_the_first_epoch_is_no_learning_rate(text, epoch):
    with pytest.raises(InputError, match=f"epoch must be at least 0 .* Received: {epoch}"):
        schedules.parse(text).learning_rate(epoch, lr=0.1)


def test_callback_follows_the_schedule():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    callback = schedules.callback(schedules.parse("2-5"), lr=0.1)
    x = np.zeros((2, 1))
    logs = model.fit(x, x, epochs=5, initial_epoch=1, callbacks=[callback], verbose=0).history
    np.testing.assert_allclose(logs["learning_rate"], [0.1, 0.02, 0.02, 0.004], rtol=1e-6)


@pytest.mark.parametrize(
    "text", ["20-65", "cos-65", "50", "20-65x0.25", "cos-65x0.1", "50x0.0625", "60-200@65", "8x0.5@3"]
)
def test_a_parsed_schedule_prints_its_name(text):
    assert str(schedules.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "65-20",
        "0-5",
        "5-0",
        "1-2-3",
        *("2-4@0", "2-4@4", "2-4@", "@2", "2-4@3@2", "2-4@03", "2-4@2x0.5", "2-4@1000000"),
        "cos",
        "cos-0",
        "20/65",
        "-5",
        "1.5-3",
        "5 ",
        "5x",
        "5x1.0",
        "5x0.10",
        "5x0.0",
        "5x0.5x0.5",
        "x0.5",
    ],
)
def test_invalid_schedules_are_refused(text):
    with pytest.raises(InputError, match="Received: "):
        schedules.parse(text)


def warmed(text: str, epochs: float, *, steps: int = 4, lr: float = 0.1) -> list[list[float]]:
    """The learning rate of each step, by epoch."""
    schedule = schedules.parse(text)
    return [
        [
            schedules.warm_up(schedule.learning_rate(epoch, lr=lr), epoch=epoch, step=step, steps=steps, epochs=epochs)
            for step in range(steps)
        ]
        for epoch in range(schedule.epochs)
    ]


@pytest.mark.parametrize(
    ("epochs", "curve"),
    [
        (0, [[0.1] * 4, [0.1] * 4, [0.02] * 4]),
        (0.5, [[0.05, 0.1, 0.1, 0.1], [0.1] * 4, [0.02] * 4]),
        (1, [[0.025, 0.05, 0.075, 0.1], [0.1] * 4, [0.02] * 4]),
        (1.5, [[1 / 60, 2 / 60, 3 / 60, 4 / 60], [5 / 60, 0.1, 0.1, 0.1], [0.02] * 4]),
        (
            3,
            [
                [1 / 120, 2 / 120, 3 / 120, 4 / 120],
                [5 / 120, 6 / 120, 7 / 120, 8 / 120],
                [0.015, 1 / 60, 11 / 600, 0.02],
            ],
        ),
        (5e-324, [[0.1] * 4, [0.1] * 4, [0.02] * 4]),
    ],
)
def test_warm_up_rises_to_the_schedules_own_curve(epochs, curve):
    np.testing.assert_allclose(warmed("2-3", epochs), curve, rtol=1e-12)


def test_after_warm_up_the_rate_is_the_schedules_to_the_bit():
    schedule = schedules.parse("cos-7")
    for epoch, rates in enumerate(warmed("cos-7", 1.3, steps=7)):
        after = [rate for step, rate in enumerate(rates) if epoch * 7 + step + 1 >= 1.3 * 7]
        assert set(after) <= {schedule.learning_rate(epoch, lr=0.1)}
