"""How near to the machine's limit training on JAX runs, beside PyTorch where that is installed.

First what the machine does at best: a large matrix product, a large copy. From these and each network's operations and
bytes comes a floor, the time that no step can beat; then the steps as `apps.train` and `apps.distill` run them.

  python benchmarks/accelerator.py
  python benchmarks/accelerator.py --models=wrn16-1 --steps=6        # a small machine
  python benchmarks/accelerator.py --side_by_side=8                  # runs at once on one card against one alone
  python benchmarks/accelerator.py --seeds=5                         # seeds as one program against a process each

The floor counts convolutions and the classifier alone, three times each (forward, gradient of the input, gradient of
the weights; a teacher's once), as two operations a multiplication; and for bytes the two tensors that each of the three
reads and the one it writes, as if all between them cost nothing.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import functools
import math
import statistics
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import keras
import numpy as np

import kdzoo
from kdzoo.data import augmentation
from kdzoo.data.dataset import STATISTICS, Dataset, Split
from kdzoo.distillation.optimizers import CoupledSGD
from kdzoo.experiments import machine_share
from kdzoo.runs import machine
from kdzoo.runs.config import METHODS, RunConfig
from kdzoo.training import backends, steps

EXAMPLES = 50_000
ITEM_BYTES = {"float32": 4, "mixed_bfloat16": 2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="wrn16-1,wrn16-8,wrn16-1<wrn16-8", help="STUDENT<TEACHER is a KD pair")
    parser.add_argument("--policies", default="float32,mixed_bfloat16")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=390, help="timed at a time, three times")
    parser.add_argument("--side_by_side", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=0)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return worker(args)
    print(f"{jax.devices()[0].device_kind}; {machine.hardware()}; {machine.versions()}\n", flush=True)
    if args.side_by_side:
        return side_by_side(args)
    if args.seeds:
        return seeds(args)
    rates = {policy: matrix_rate(policy) for policy in args.policies.split(",")}
    bandwidth = copy_rate()
    for policy, rate in rates.items():
        print(f"matrix product, {policy}: {rate / 1e12:.2f} TFLOP/s")
    print(f"copy, bytes read plus written: {bandwidth / 1e9:.1f} GB/s\n")
    columns = [
        "model",
        "precision",
        "floor: arithmetic, bytes (ms a step)",
        "images/s",
        "epoch (s)",
        "floor over measured",
    ]
    columns += ["host at work (%)", "PyTorch eager, compiled (images/s)"]
    print(f"| {' | '.join(columns)} |\n| --- | --- |{' ---: |' * (len(columns) - 2)}")
    for pair in args.models.split(","):
        for policy in args.policies.split(","):
            model, stepper = build(pair, policy, args.batch)
            arithmetic, moved = floor(model, args.batch, ITEM_BYTES[policy], rates[policy], bandwidth)
            seconds, host = timed(stepper, args.steps)
            torch = [f"{args.batch / s:.0f}" if s else "-" for s in torch_seconds(pair, policy, args.batch, args.steps)]
            print(
                f"| {pair} | {policy} | {1e3 * arithmetic:.2f}, {1e3 * moved:.2f} | {args.batch / seconds:.0f} |"
                f" {EXAMPLES / args.batch * seconds:.2f} | {max(arithmetic, moved) / seconds:.3f} | {100 * host:.1f} |"
                f" {', '.join(torch)} |",
                flush=True,
            )


# The machine.


def best_seconds(function, *arrays, repeats: int = 10) -> float:
    """Of one call, once compiled."""
    jax.block_until_ready(function(*arrays))
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(function(*arrays))
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def size(on_card: int, on_processor: int) -> int:
    return on_processor if jax.default_backend() == "cpu" else on_card


def matrix_rate(policy: str) -> float:
    """Operations a second of a large square matrix product."""
    n = size(8192, 1024)
    dtype = jnp.bfloat16 if policy == "mixed_bfloat16" else jnp.float32
    a, b = (jax.random.normal(jax.random.key(i), (n, n), dtype) for i in (0, 1))
    return 2 * n**3 / best_seconds(jax.jit(jnp.matmul), a, b)


def copy_rate() -> float:
    """Bytes a second, read plus written."""
    x = jax.random.normal(jax.random.key(0), (size(2**30, 2**26) // 4,))
    return 2 * x.nbytes / best_seconds(jax.jit(lambda x: x + 1), x)


def floor(model, batch: int, item_bytes: int, rate: float, bandwidth: float) -> tuple[float, float]:
    """Seconds a step cannot beat: by arithmetic, by bytes."""
    operations = moved = 0
    for network, passes in ((model.student, 3), *((teacher, 1) for teacher in model.teachers)):
        for layer in network.layers:
            if isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense)):
                outputs = math.prod(layer.output.shape[1:])
                inputs = math.prod(layer.input.shape[1:])
                kernel = math.prod(layer.kernel.shape)
                operations += passes * 2 * batch * outputs * kernel // layer.kernel.shape[-1]
                moved += passes * item_bytes * (batch * (inputs + outputs) + kernel)
    return operations / rate, moved / bandwidth


# The steps of kdzoo.


def examples() -> Dataset:
    """As many as CIFAR-10 has, of noise: the time of a step does not depend on what is seen."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (EXAMPLES, 32, 32, 3), np.uint8), rng.integers(0, 10, EXAMPLES, np.int32)
    split = Split(images, labels, np.arange(EXAMPLES))
    mean, std = STATISTICS["cifar10"]
    return Dataset("noise", split, split.take(np.arange(1000)), 10, mean, std, "crop_flip", "")


def build(pair: str, policy: str, batch: int, *, fused: int = 0) -> tuple[kdzoo.Distiller, steps.Steps]:
    """A student, with its teacher's weights as they are drawn, and its steps."""
    student, _, teacher = pair.partition("<")
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        teachers = [kdzoo.build(teacher)] if teacher else []
        model = kdzoo.Distiller(kdzoo.build(student), teachers, **METHODS["kd" if teacher else "none"])
        model.compile(CoupledSGD(1e-3))
        model.optimizer.build(model.trainable_variables)
    finally:
        keras.config.set_dtype_policy(before)
    dataset = examples()
    config = RunConfig(student, "1-1", batch_size=batch, augment="crop_flip", dtype_policy=policy, fused_steps=fused)
    return model, backends.make(model, dataset, dataset.train, config)


def run_steps(stepper: steps.Steps, count: int) -> float:
    """Runs an epoch's first steps. Returns the seconds until the device had been given all of them to do."""
    began, begin = time.perf_counter(), 0
    for end in steps.call_ends(count, fused=stepper.fused):
        stepper.run(epoch=0, begin=begin, end=end)
        begin = end
    handed_over = time.perf_counter() - began
    stepper.metrics()  # waits for the last of them
    return handed_over


def timed(stepper: steps.Steps, count: int) -> tuple[float, float]:
    """Seconds a step, and the share of them that the host was at work; medians of three."""
    run_steps(stepper, count)
    rounds = []
    for _ in range(3):
        began = time.perf_counter()
        handed_over = run_steps(stepper, count)
        seconds = time.perf_counter() - began
        rounds.append((seconds / count, handed_over / seconds))
    return tuple(statistics.median(values) for values in zip(*rounds, strict=True))


# PyTorch's.


def torch_seconds(pair: str, policy: str, batch: int, count: int) -> list[float | None]:
    """Seconds a step, eager and compiled, on a batch that lies on the device as it is needed; None without PyTorch."""
    try:
        import torch
        import torch_nets
    except ImportError:
        return [None, None]
    from torch.nn import functional as F

    def network(name: str) -> torch.nn.Module:
        return torch_nets.build(name).to(device, memory_format=torch.channels_last)

    device = "cuda" if torch.cuda.is_available() else "cpu"
    student_name, _, teacher_name = pair.partition("<")
    x = torch.randn(batch, 3, 32, 32, device=device).to(memory_format=torch.channels_last)
    y = torch.randint(0, 10, (batch,), device=device)
    seconds = []
    for compiled in (False, True):
        student = network(student_name)
        teacher = network(teacher_name).eval() if teacher_name else None
        optimiser = torch.optim.SGD(student.parameters(), lr=1e-3, momentum=0.9, nesterov=True, weight_decay=5e-4)

        def loss(student=student, teacher=teacher):
            with torch.autocast(device, torch.bfloat16, enabled=policy == "mixed_bfloat16"):
                logits = student(x)
                if teacher is None:
                    return F.cross_entropy(logits, y)
                with torch.no_grad():
                    target = F.softmax(teacher(x) / 4, 1)
                kd = 16 * F.kl_div(F.log_softmax(logits / 4, 1), target, reduction="batchmean")
                return 0.1 * F.cross_entropy(logits, y) + 0.9 * kd

        forward = torch.compile(loss) if compiled else loss

        def step(forward=forward, optimiser=optimiser):
            optimiser.zero_grad(set_to_none=True)
            forward().backward()
            optimiser.step()

        def run(step=step):
            began = time.perf_counter()
            for _ in range(count):
                step()
            if device == "cuda":
                torch.cuda.synchronize()
            return (time.perf_counter() - began) / count

        try:
            run()
            seconds.append(statistics.median(run() for _ in range(3)))
        except Exception as error:  # for example no compiler on this machine: the other figures stand
            print(f"PyTorch {'compiled' if compiled else 'eager'}: {str(error).splitlines()[0][:100]}", file=sys.stderr)
            seconds.append(None)
    return seconds


# Many at once.


def worker(args) -> None:
    """One process of several: prints that it is ready, waits for a line from its parent, runs and prints seconds."""
    _, stepper = build(args.models, args.policies, args.batch)
    run_steps(stepper, args.steps)
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.perf_counter()
    run_steps(stepper, args.steps)
    print(time.perf_counter() - began, flush=True)


def processes_seconds(pair: str, policy: str, args, count: int) -> float:
    """Seconds that so many processes at once take for their steps, each with its share of the machine."""
    command = [sys.executable, __file__, "--worker", f"--models={pair}", f"--policies={policy}"]
    command += [f"--batch={args.batch}", f"--steps={args.steps}"]
    workers = []
    for slot in range(count):
        env, cores = machine_share.share(slot, jobs=count)
        with machine_share.on_cores(cores):
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            workers.append(subprocess.Popen(command, env=env, **pipes))
    for process in workers:
        process.stdout.readline()
    began = time.perf_counter()
    for process in workers:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in workers:
        process.stdout.readline()
    seconds = time.perf_counter() - began
    for process in workers:
        process.communicate()
    return seconds


def side_by_side(args) -> None:
    pair, policy = args.models.split(",")[0], args.policies.split(",")[0]
    alone = processes_seconds(pair, policy, args, 1)
    together = processes_seconds(pair, policy, args, args.side_by_side)
    print(
        f"{args.side_by_side} runs of {pair}, {policy}, {args.steps} steps of {args.batch}: {together:.1f} s together,"
        f" {alone:.1f} s one alone; {args.side_by_side * alone / together:.2f} times as fast as one after another"
    )


def seeds(args) -> None:
    """The seeds of one row as one program, with one teacher's forward, against a process each."""
    pair, policy = args.models.split(",")[-1], args.policies.split(",")[0]
    model, stepper = build(pair, policy, args.batch)
    of_teachers = {id(variable) for teacher in model.teachers for variable in teacher.variables}
    axes = [[None if id(variable) in of_teachers else 0 for variable in group] for group in stepper.groups()]
    carry = [
        [
            v.value if axis is None else jnp.stack([v.value] * args.seeds)
            for v, axis in zip(group, of_group, strict=True)
        ]
        for group, of_group in zip(stepper.groups(), axes, strict=True)
    ]
    batch = augmentation.standardise(
        stepper.dataset.train.images[: args.batch], mean=stepper.dataset.mean, std=stepper.dataset.std
    )
    labels = stepper.dataset.train.labels[: args.batch]

    @functools.partial(jax.jit, donate_argnums=0)
    def step(carry, x, y):
        first = [
            [v if a is None else v[0] for v, a in zip(*group, strict=True)] for group in zip(carry, axes, strict=True)
        ]
        x, y, _ = keras.utils.unpack_x_y_sample_weight(model.add_teacher_outputs((x, y), first))
        one = lambda *state: [list(group) for group in model.train_step(state, (x, y))[1]]  # noqa: E731
        return jax.vmap(one, in_axes=axes, out_axes=axes)(*carry)

    carry = step(carry, batch, labels)
    began = time.perf_counter()
    for _ in range(args.steps):
        carry = step(carry, batch, labels)
    jax.block_until_ready(carry)
    vectorised = time.perf_counter() - began
    processes = processes_seconds(pair, policy, args, args.seeds)
    what = f"{args.seeds} seeds of {pair}, {policy}, {args.steps} steps of {args.batch}"
    print(f"{what}: {vectorised:.1f} s as one program, {processes:.1f} s as processes")


if __name__ == "__main__":
    main()
