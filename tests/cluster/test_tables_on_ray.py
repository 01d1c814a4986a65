"""Tables of teacher outputs filled by the nodes of a cluster, of which one dies."""

import pytest

pytest.importorskip("ray", reason="needs the extra cluster")
pytest.importorskip("tensorflow")

from cluster_nodes import DATA, Nodes, list_workers
from conftest import run_python, start_python
from kdzoo.runs import records

FLAGS = [f"--{name}={value}" for name, value in DATA.items()]
OF_TABLE = [*FLAGS[:2], "--schedule=1-3", "--seeds=0,1"]
pytestmark = pytest.mark.slow


def run(*args: str) -> str:
    done = run_python(*args)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    return done.stdout


def test_a_table_that_nodes_filled_is_read_by_a_student(tmp_path):
    teacher = f"--teacher={tmp_path / 'teacher'}"
    run("-m", "apps.train", "--model=wrn10-1", "--schedule=1-2", *FLAGS, f"--workdir={tmp_path / 'teacher'}")
    here, shared = (f"--teacher_cache={tmp_path / name}" for name in ("here", "shared"))
    alone = run("-m", "apps.precompute", teacher, *OF_TABLE, here)
    nodes = Nodes()
    try:
        command = ["-m", "apps.precompute", teacher, *OF_TABLE, shared, f"--ray={nodes.address}"]
        with start_python(*command) as process:
            while not list(tmp_path.glob("shared/shards/*/shards/*.manifest")):
                assert process.poll() is None, process.communicate()
            assert list_workers("fill")
            nodes.kill()
            nodes.add()
            _, stderr = process.communicate(timeout=900)
        assert process.returncode == 0, stderr
        rows = alone.split(" rows added")[0]
        again = run(*command)
        assert again.splitlines()[-1].startswith(f"0 rows added to {rows} that were there")
    finally:
        nodes.close()
    made = []
    for name, cache in (("one", here), ("two", shared)):
        run(
            *("-m", "apps.distill", "--student=wrn10-1", teacher, "--schedule=1-3", *FLAGS, cache),
            f"--workdir={tmp_path / name}",
        )
        made.append(records.read(tmp_path / name))
        assert made[-1]["sessions"][0]["teacher_rows"]["asked"] == 0
    assert records.result(made[0]) == records.result(made[1])
