"""The processes of a data-parallel run: what they are given, and what they make of JAX's errors. No JAX runs here."""

import re

import pytest

from kdzoo.runs.config import RunConfig
from kdzoo.training import processes, train
from kdzoo.training.processes import ALONE, Processes, ProcessLost, join, losses_found
from zoo import InputError

PARALLEL = RunConfig("wrn10-1", "1-1", strategy="data_parallel")


@pytest.mark.parametrize(
    ("config", "given", "message"),
    [
        (RunConfig("wrn10-1", "1-1"), {"process_id": 0}, "need strategy=data_parallel.*process_id 0$"),
        (PARALLEL, {"coordinator": "10.0.0.1"}, "^coordinator must be HOST:PORT, for example .* Received: 10.0.0.1$"),
        (PARALLEL, {"coordinator": "a b:1"}, "^coordinator must be HOST:PORT"),
        (
            PARALLEL,
            {"coordinator": "[::1]:80", "num_processes": 2, "process_id": 2},
            "^process_id must be below num_processes",
        ),
    ],
)
def test_impossible_arguments_are_refused_before_jax_begins(config, given, message):
    with pytest.raises(InputError, match=message):
        join(config, **given)


@pytest.mark.parametrize("given", [{"num_processes": -1}, {"process_id": -2}])
def test_numbers_out_of_range_are_refused(given, tmp_path):
    with pytest.raises(InputError, match=f"^{next(iter(given))} must be a whole number"):
        train.run(PARALLEL, tmp_path / "run", **given)


def test_other_runs_are_alone():
    assert join(RunConfig("wrn10-1", "1-1")) == ALONE == processes.here()
    assert ALONE.describe() == {}
    assert ALONE.total({"needed": 3}) == {"needed": 3}


@pytest.mark.parametrize(
    "reason",
    [
        "UNKNOWN: Gloo all-reduce failed: [external/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer",
        "INTERNAL: NCCL operation ncclGroupEnd() failed: remote process exited or there was a network error",
    ],
)
def test_a_lost_process_is_named_in_one_line(reason):
    message = rf"^All processes .* Received: process 1 of 2 lost .*{re.escape(reason[:20])}"
    with pytest.raises(ProcessLost, match=message), losses_found(Processes(2, 1)):
        raise ValueError(f"{reason}\nmore")
    with pytest.raises(ValueError, match=reason[:8]), losses_found(ALONE):
        raise ValueError(reason)


@pytest.mark.parametrize("error", [InputError("Gloo must be a word"), ValueError("operands could not be broadcast")])
def test_other_errors_stay_as_they_are(error):
    with pytest.raises(ValueError, match=str(error)) as raised, losses_found(Processes(2, 1)):
        raise error
    assert raised.value is error


def test_it_needs_jax(npz, tmp_path):
    pytest.importorskip("tensorflow")
    with pytest.raises(InputError, match=r"^strategy=data_parallel needs the JAX backend. Received: tensorflow$"):
        train.run(RunConfig("wrn10-1", "1-1", dataset=f"npz:{npz}", strategy="data_parallel"), tmp_path / "run")
