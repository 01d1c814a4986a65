"""A search whose workers are tasks of a cluster, of which one node dies."""

import json

import pytest

pytest.importorskip("ray", reason="needs the extra cluster")
pytest.importorskip("tensorflow")

from cluster_nodes import DATA, Nodes, output, wait_for
from conftest import start_python

pytestmark = pytest.mark.slow


def test_a_search_outlives_a_node(tmp_path):
    root = tmp_path / "search"
    flags = [*(f"--{name}={value}" for name, value in DATA.items()), "--val_examples=32", "--checkpoint_minutes=1e-6"]
    flags += ["--student=wrn10-1", "--schedule=1-3", "--teachers=none,wrn10-1", "--teacher_schedules=1-1,1-2"]
    flags += ["--temperatures=1,4", "--search=random", "--max_trials=3", f"--workdir={root}"]
    nodes = Nodes()
    try:
        command = ["-m", "apps.tune", *flags, "--workers=2", f"--ray={nodes.address}"]
        with open(f"{root}.txt", "w") as file:
            process = start_python(*command, stdout=file, stderr=file)
        wait_for(lambda: "trial 0000: " in output(root), process, root)
        nodes.kill()
        nodes.add()
        assert process.wait(1800) == 0, output(root)
    finally:
        nodes.close()
    result = json.loads((root / "recommendation.json").read_text())
    assert result["finished"]
    assert len(result["trials"]) == 3
    assert "Traceback" not in output(root)
