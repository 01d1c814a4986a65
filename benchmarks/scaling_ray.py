"""What Ray's own processes cost: for a task on the head, by the number of nodes, and for the start of a worker."""

import os
import statistics
import time

import process_tree

os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # no warning
NODES = (1, 2, 4)
SECONDS = 0.1  # of a task
TASKS = 200  # for each node, one after another
HEAD = "gcs_server"


def measure(rounds: int) -> dict:
    """Processor seconds for a task: of the head (its global control store) and the driver, by the number of nodes."""
    result: dict = {"nodes": {str(nodes): measure_nodes(nodes) for nodes in NODES}}
    result["worker"] = measure_worker(2 * rounds)
    result |= measure_driver(rounds)
    return result


def measure_nodes(nodes: int) -> dict:
    """Makes tasks on so many nodes of one CPU each, and counts the seconds that idle nodes take in the same time."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(nodes):
            cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False)

        @ray.remote(num_cpus=1, max_retries=0)
        def rest(seconds: float) -> None:
            time.sleep(seconds)

        ray.get([rest.remote(SECONDS) for _ in range(2 * nodes)])  # workers start
        time.sleep(5)
        before = process_tree.processor_seconds()
        time.sleep(SECONDS * TASKS)
        idle = process_tree.between(before, process_tree.processor_seconds())
        before, began = process_tree.processor_seconds(), time.perf_counter()
        ray.get([rest.remote(SECONDS) for _ in range(TASKS * nodes)])
        seconds = time.perf_counter() - began
        busy = process_tree.between(before, process_tree.processor_seconds())
        tasks = TASKS * nodes
        return {
            "seconds": seconds,
            "head, idle, a second": idle[HEAD] / SECONDS / TASKS,
            "all, idle, a second": sum(idle.values()) / SECONDS / TASKS,
            "head, a task": (busy[HEAD] - idle[HEAD] * seconds / SECONDS / TASKS) / tasks,
            "driver, a task": busy["driver"] / tasks,
        }
    finally:
        ray.shutdown()
        cluster.shutdown()


def measure_worker(workers: int) -> dict:
    """Processor seconds of a worker's start: tasks that all run at once, in an instance without workers."""
    import ray

    ray.init(address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False)
    try:

        @ray.remote(num_cpus=1)
        def rest(seconds: float) -> None:
            time.sleep(seconds)

        time.sleep(5)
        before, began = process_tree.processor_seconds(), time.perf_counter()
        ray.get([rest.remote(5.0) for _ in range(workers)])
        seconds = time.perf_counter() - began
        busy = process_tree.between(before, process_tree.processor_seconds())
        return {"workers": workers, "seconds": seconds, "processor seconds": sum(busy.values()) / workers}
    finally:
        ray.shutdown()


def measure_driver(rounds: int) -> dict:
    """Seconds of the mailbox for a message, and of the driver for a look at a task that is under way."""
    import ray

    class Mailbox:
        """As that of `kdzoo.experiments.on_ray`."""

        def __init__(self) -> None:
            self.news: list = []

        def put(self, news: dict) -> None:
            self.news.append(news)

        def take(self) -> tuple[int, float]:
            """How many messages there are, and the processor seconds of this process so far."""
            return len(self.news), time.process_time()

    def send(mailbox, messages: int) -> None:
        for i in range(messages):
            mailbox.put.remote({"name": "run", "node": "10.0.0.1", "line": "x" * 200, "seconds": float(i)})
        ray.get(mailbox.take.remote())

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        mailbox = ray.remote(Mailbox).options(num_cpus=0).remote()
        sender = ray.remote(send)
        ray.get(sender.remote(mailbox, 100))
        messages, looks = [], []
        for _ in range(rounds):
            before = ray.get(mailbox.take.remote())
            ray.get([sender.remote(mailbox, 2_000) for _ in range(2)])
            after = ray.get(mailbox.take.remote())
            messages.append((after[1] - before[1]) / (after[0] - before[0]))
        rest = ray.remote(lambda: time.sleep(600)).options(num_cpus=2)
        refs = [rest.remote() for _ in range(500)]
        for _ in range(rounds):
            began = time.process_time()
            for ref in refs:
                ray.wait([ref], timeout=0)
            looks.append((time.process_time() - began) / len(refs))
        for ref in refs:
            ray.cancel(ref, force=True)
        return {"message": statistics.median(messages), "look": statistics.median(looks)}
    finally:
        ray.shutdown()
