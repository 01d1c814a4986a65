"""The time of one image."""

import time

import keras

from kdzoo.distillation.dtype import dtype_policy
from kdzoo.models import names
from kdzoo.runs import machine
from kdzoo.training import latency


def test_latency_is_that_of_the_compiled_forward_pass():
    model = names.build("wrn10-1", num_classes=4, input_shape=(16, 16, 3))
    began = time.perf_counter()
    found = latency.measure(model, (16, 16, 3))
    seconds = time.perf_counter() - began
    assert found.keys() == {"median", "p95", "calls", "batch", "threads"}
    assert 0 < found["median"] <= found["p95"] < 1000 * seconds
    assert (found["batch"], found["threads"]) == (1, machine.hardware()["cores"])
    assert 3 <= found["calls"] <= latency.CALLS
    assert found["calls"] * found["median"] / 2 < 1000 * seconds


def test_runs_of_one_network_share_its_latency():
    def build(name, size=16):
        return names.build(name, num_classes=4, input_shape=(size, size, 3)), (size, size, 3)

    first = latency.measure_once(*build("wrn10-1"))
    assert latency.measure_once(*build("wrn10-1")) == first
    with dtype_policy("mixed_bfloat16"):
        others = [build("wrn10-1")]
    for network in (*others, build("wrn10-1", 8), build("wrn10-2")):
        assert latency.measure_once(*network) != first


def test_a_slow_network_is_called_a_few_times(monkeypatch):
    monkeypatch.setattr(latency, "SECONDS", 0.0)
    x = keras.Input((4, 4, 3))
    assert latency.measure(keras.Model(x, keras.layers.Flatten()(x)), (4, 4, 3))["calls"] == 3
