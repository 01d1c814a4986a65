"""Each process's share of this machine."""

import os

import pytest

from kdzoo.experiments import machine_share


def test_processes_share_the_memory_of_a_gpu(monkeypatch):
    for name in ("XLA_PYTHON_CLIENT_MEM_FRACTION", "TF_FORCE_GPU_ALLOW_GROWTH"):
        monkeypatch.delenv(name, raising=False)
    shares = [machine_share.share(slot, jobs=8, devices=["0", "3"]) for slot in range(8)]
    assert [env["CUDA_VISIBLE_DEVICES"] for env, _ in shares] == ["0", "3"] * 4
    assert {env["XLA_PYTHON_CLIENT_MEM_FRACTION"] for env, _ in shares} == {"0.225"}
    assert all(cores is None for _, cores in shares)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    assert machine_share.gpus() == ["GPU-a", "GPU-b"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert machine_share.gpus() == []


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no processor affinity on this system")
def test_processes_share_the_cores_without_a_gpu():
    every = os.sched_getaffinity(0)
    shares = [machine_share.share(slot, jobs=2, devices=[])[1] for slot in range(2)]
    assert all(len(cores) == max(1, len(every) // 2) for cores in shares)
    if len(every) > 1:
        assert not shares[0] & shares[1]
