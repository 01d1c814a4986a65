"""Command lines with one thing wrong, as far as a backend is needed."""

import contextlib
import dataclasses
import json
import pathlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import strategies as st

import fuzz_commands as commands
from conftest import ROOT
from fuzz_cases import NUMBERS, TEXTS, Tally, fuzz
from fuzz_flags import FLAGS

WORKER = ROOT / "tests/fuzz/fuzz_worker.py"
WARM = ("fastjsonschema", "kdzoo.reports.comparison", "kdzoo.reports.finished_runs", "kdzoo.experiments.grid")
NEEDS_A_BACKEND = 99
RUN, OTHER, GRID = "runs/wrn10-1_2-3", "runs/wrn16-1_10-35", "grid.json"
MODELS = ROOT / "saved_models"
DATA = "--dataset=npz:data.npz --dataset_name=cifar10 --augment=crop --train_examples=500 --val_examples=100"
OPTIMISER = "--batch_size=64 --lr=0.05 --lr_decay=0.1 --momentum=0.8 --nonesterov --weight_decay=0.001"
OPTIMISER += " --dtype_policy=mixed_bfloat16"
TEACHER = "--teacher_signature=s --teacher_logits=l --teacher_deadline=30 --teacher_dtype=float32"
TEACHER += " --teacher_input=standardised --teacher_mean=0.5,0,1 --teacher_std=0.5,0.1,1 --teacher_layout=nhwc"
CACHE = "--teacher_cache=cache --cache_gb=5"
TERMS = "--temperature=2 --at_mode=paper"
MANY = f"--jobs=2 --budget_minutes=30 --checkpoint_minutes=2 {CACHE}"
RUN_FLAGS = f"{DATA} {OPTIMISER} --seed=3 --strategy=none --fused_steps=8 --checkpoint_minutes=2 --progress=lines"
LINES = [
    f"train --model=wrn16-2 --schedule=20-65 --workdir=new {RUN_FLAGS} --norestart",
    "train --model=resnet18 --schedule=cos-30 --workdir=new --dataset=digits --restart",
    "train --model=resnet18 --recipe=imagenet --batch_size=512 --workdir=new --dataset=digits",
    "train --model=wrn16-2 --schedule=20-65@40 --keep_epochs=3,20 --workdir=new --optimizer=adamw --warmup_epochs=2.5"
    " --clip_norm=1 --ema_momentum=0.99 --label_smoothing=0.1 --mixup_alpha=0.2 --cutmix_alpha=1 --freeze=^stem"
    " --backbone_lr=0.01",
    f"distill --student=wrn16-1 --teacher={RUN},wrn16-2_10-35 --schedule=5-16x0.5 --method=at+kd --workdir=new"
    f" {RUN_FLAGS} {TEACHER} {CACHE} {TERMS} --kd_until=0.5 --ce_weight=0.2 --kd_weight=0.8 --at_weight=100",
    "distill --student=wrn16-1 --teacher=wrn16-2_10-35 --schedule=10-35 --method=dkd --method_args=beta=2,alpha=0.5"
    " --method_weight=0.5 --workdir=new",
    "distill --student=wrn16-1 --schedule=10-35 --method=label_smoothing --workdir=new",
    "distill --student=dn40-12 --teacher=wrn16-2_10-35 --schedule=30 --workdir=new --unlabelled=folder:photos"
    " --unlabelled_share=0.25",
    f"evaluate --model={RUN} --dataset=digits --examples=100 --per_class=classes.csv --confusion=runs/x.csv",
    f"predict --model={RUN} --images=runs --output=classes.csv",
    "demo --workdir=demo --norestart",
    f"precompute --teacher={RUN} --schedule=2-3 --seeds=0,1 --attention {DATA} {TEACHER} {CACHE}",
    "precompute --teacher=wrn16-2_10-35 --features --unlabelled=npz:more.npz --batch_size=64",
    f"sweep --grid={GRID} {MANY}",
    f"reproduce --table=7 --rows=0,3-5,wrn16-2:20/65 --seeds=2 --schedule_scale=0.25 --kd_until=1,0.5"
    f" --via=wrn16-2+wrn16-3 --workdir=paper --dataset=cifar10 --augment=crop {OPTIMISER} {TERMS} {MANY}",
    "reproduce --table=2,10 --seeds=1",
    "reproduce --table=methods --seeds=2 --schedule_scale=0.25 --teachers=wrn16-2_5-16,wrn16-2_10-35",
    "reproduce --figure=1 --rows=1,3-5,resnet34:30 --seeds=1 --dataset=npz:imagenet.npz --recipe=imagenet",
    f"tune --student=wrn16-1 --schedule=10-35 --teachers=none,wrn16-2,{RUN} --teacher_schedules=5-16,10-35"
    " --methods=kd,dkd:beta=2 --temperatures=1,4 --kd_weights=0.5,0.9 --kd_until=0.5,1 --search=random --max_trials=5"
    f" --budget_minutes=10 --workers=2 --workdir=tune --seed=1 {DATA} {OPTIMISER} {TEACHER} {CACHE}",
    "tune --student=wrn10-1 --schedule=4-12 --dataset=digits --teachers=none --workdir=tune",
    "tune --students=wrn10-1,dn40-12 --student=wrn16-1 --max_mflops=100 --max_mb=2 --max_latency_ms=5 --schedule=4-12"
    " --dataset=digits --teachers=none --workdir=tune",
    "list --models=wrn16-* --path=models",
    f"publish --run={RUN},{OTHER} --models=models --name=x/wrn10-1_2-3 --dataset=digits --licence=MIT --store=float16"
    " --replace",
    "serve --models=* --host=localhost --port=8500 --request_mb=16",
    f"compare --runs={RUN},{OTHER} --out=compared --curves=* --tensorboard=logs",
]
EXTRA = ["wrn16-2,wrn16-2", "0,0", "1,2,x", "1,,2", ",", '"', "a,b", "npz:", "npz:data.npz", "cifar11", "off", "file"]
EXTRA += ["grpc://h:1/n", "grpc://", "wrn16-2_10-35", RUN, "runs", "*", "[", "0x10", "1_000", " 1", "+1", "1e400", GRID]
EXTRA += [
    "0.25",
    "0.2500",
    "1/0",
    "3-1",
    "0-99",
    "wrn16-2:20/65",
    "none,none",
    "resnet18",
    "at",
    "10-35",
    "4",
    "true",
    "dkd",
    "beta=2",
    "methods",
]
EXTRA += ["T", "\udcff"]
VALUES = [*TEXTS, *(str(number)[:400] for number in NUMBERS), *EXTRA]
ODD = [
    "x",
    "-",
    "--",
    "---",
    "=",
    "--=1",
    "-1",
    "--no",
    "--nolr=3",
    "--help",
    "--helpfull",
    "--help=false",
    "-h",
    "--h",
]
ODD += [
    "--undefok=seeed",
    "--verbosity=x",
    "--verbosity=-1",
    "--log_dir=none",
    "--stderrthreshold=x",
    "--nohelp",
    "--lr",
]
ODD += ["--é=1"]
IN_FILE = ["", "comment", "behind", "itself", "latin1", "space", "joined", "no file"]


@dataclasses.dataclass(frozen=True)
class Line:
    """A command line, the content of its file of flags, and what was changed."""

    command: str
    words: tuple[str, ...]
    content: str | None
    what: str = dataclasses.field(compare=False)


@st.composite
def lines(draw: st.DrawFn) -> Line:
    """Draws a command line with one thing wrong."""
    command, *words = draw(st.sampled_from(LINES)).split()
    i = draw(st.integers(0, len(words) - 1))
    name = words[i].removeprefix("--").partition("=")[0]
    change = draw(st.sampled_from(["value"] * 6 + ["other"] * 3 + ["drop", "rename", "twice", "odd", "split", "file"]))
    value = draw(st.one_of(st.sampled_from(VALUES), st.text(max_size=8), st.integers().map(str), st.floats().map(str)))
    value = (
        value.replace("\0", " ")
        .encode("utf-8", "surrogateescape" if "\udcff" in value else "replace")
        .decode("utf-8", "surrogateescape")
    )
    if change == "value":
        near = _near(words[i].partition("=")[2])
        value = draw(st.one_of(st.just(value), st.sampled_from(near)))
        words[i] = f"--{name}={value}"
    elif change == "other":
        other = draw(st.sampled_from(sorted(FLAGS[command])))
        words.append(f"--{other}={value}")
    elif change == "drop":
        del words[i]
    elif change == "rename":
        words[i] = draw(
            st.sampled_from([f"--{name}s", f"--{name.upper()}", f"--{name[:-1]}", f"--no{name}", f"-{name}"])
        )
        words[i] += draw(st.sampled_from(["", "=1", f"={value}"]))
    elif change == "twice":
        words.append(f"--{name}={value}")
    elif change == "odd":
        words.insert(i, draw(st.sampled_from(ODD)))
    elif change == "split":
        words[i : i + 1] = [f"--{name}", value]
    else:
        return Line(command, *draw(_in_file(words)), "file of flags")
    shown = " ".join(words) if change == "drop" else words[i]
    return Line(command, tuple(words), None, f"{change} {shown:.200} {value!r:.60}")


def _near(value: str) -> list[str]:
    near = [f"{value} ", f" {value}", f"{value}x", value[:-1], value.upper(), f"-{value}", f"{value},{value}"]
    return [*near, f"{value}0", f"{value}\udcff"]  # a byte that is no UTF-8


@st.composite
def _in_file(draw: st.DrawFn, words: list[str]) -> tuple[tuple[str, ...], str]:
    """Draws a file of these flags with one thing wrong, or nothing."""
    i = draw(st.integers(0, len(words) - 1))
    change = draw(
        st.sampled_from(["", "comment", "behind", "itself", "missing", "latin1", "space", "joined", "no file"])
    )
    file = "--flagfile=case.flags"
    if change == "comment":
        words.insert(i, draw(st.sampled_from(["# a comment", "// a comment", "", "   "])))
    elif change == "behind":
        words[i] += draw(st.sampled_from([" # a comment", "\t", "  ", ";"]))
    elif change == "itself":
        words.insert(i, file)
    elif change == "latin1":
        words[i] += "\udcff"
    elif change == "space":
        words[i] = words[i].replace("=", draw(st.sampled_from([" ", " = ", "= ", "=="])))
    elif change == "joined":
        words[i] = words[i] + " " + words[i - 1]
    elif change == "no file":
        file = draw(st.sampled_from(["--flagfile", "--flagfile=", "--flagfile=runs", "--flagfile=missing"]))
    return (file,), "\n".join(words) + "\n"


def expand(words: tuple[str, ...], content: str | None) -> list[str] | None:
    """The words with those of the file of flags, which are one a line, but for comments; None if there is no file."""
    if content is None:
        return list(words)
    if words == ("--flagfile=",):
        return []
    if words != ("--flagfile=case.flags",) or "\udcff" in content:
        return None
    lines = [line for line in content.splitlines() if line.strip() and not line.startswith(("#", "//"))]
    return [line.strip() for line in lines if not line.startswith("--flagfile=")]  # itself: left out, with a warning


class Workers:
    """A process for each command, which evaluates its command lines."""

    def __init__(self, stack: contextlib.ExitStack):
        self._stack = stack
        self._processes: dict[str, subprocess.Popen[str]] = {}

    def evaluate(self, command: str, words: list[str]) -> tuple[int, str, str]:
        """Returns exit code, standard output and standard error of a command line."""
        if command not in self._processes:
            process = subprocess.Popen(
                [sys.executable, str(WORKER), command, *WARM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            self._stack.callback(process.kill)
            self._processes[command] = self._stack.enter_context(process)
        process = self._processes[command]
        assert process.stdin
        assert process.stdout
        print(json.dumps(words), file=process.stdin, flush=True)
        code, out, err = json.loads(process.stdout.readline())
        return code, out, err


@pytest.fixture
def workers(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workers]:
    shutil.copytree(ROOT / "tests/fixtures/run", tmp_path / RUN)
    shutil.copytree(ROOT / "results/cifar10/wrn16-1_10-35_seed0", tmp_path / OTHER)
    shutil.copy(ROOT / "apps/grids/digits.json", tmp_path / GRID)
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    environment = {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "0", "KDZOO_CACHE": str(tmp_path / "cached")}
    environment["PYTHONIOENCODING"] = "utf-8:strict"  # as in most locales
    environment |= {"PYTHONPATH": str(ROOT), "PAPER": str(ROOT / "kdzoo/paper"), "KDZOO_HOME": str(tmp_path / "models")}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with contextlib.ExitStack() as stack:
        yield Workers(stack)


@pytest.mark.slow
def test_flags(workers: Workers) -> None:
    published = {path.parent.relative_to(MODELS).as_posix() for path in MODELS.glob("**/card.json")}
    world = commands.World({RUN, OTHER}, published, {GRID}, {"file", GRID})

    def judge(line: Line, tally: Tally) -> None:
        command, words, content = line.command, line.words, line.content
        if content is not None:
            pathlib.Path("case.flags").write_text(content, errors="surrogateescape")
        plan = ["--dry_run"] if command in ("sweep", "reproduce") else []  # else it starts the runs
        for name in published:  # `compare --out=NAME` may have made a folder, which would hide the published model
            shutil.rmtree(name, ignore_errors=True)
        code, out, err = workers.evaluate(command, [*words, *plan])
        expanded = expand(words, content)
        wrong = "no file of flags" if expanded is None else commands.find_wrong(command, [*expanded, *plan], world)
        shown = f"{command} {line.what}"
        try:
            check_end(code, out, err)
        except AssertionError as error:
            tally.count(line, command, "an error", "an error")
            return tally.fault("an error", shown, f"{wrong}: {str(error)[-600:]}")
        later = wrong == commands.LATER
        tally.count(line, command, err if code == 2 else None, wrong, later=later)
        if tally.faults and tally.faults[-1].startswith(("accepted", "refused")):
            tally.faults[-1] = tally.faults[-1].replace(f": {command}:", f": {shown}:", 1)

    for command, flags in FLAGS.items():
        assert read_flags(workers.evaluate(command, ["--helpfull"])[1]) == flags.keys(), command
    fuzz("flags", lines(), judge)


def read_flags(help_text: str) -> set[str]:
    """The flags of a command's own modules, in the text of --helpfull."""
    found, own = set(), False
    for line in help_text.splitlines():
        if section := re.fullmatch(r"(\S+):", line):
            own = section[1].startswith("apps.")
        elif own and (flag := re.match(r"  --(?:\[no\])?(\w+):", line)):
            found.add(flag[1])
    return found


def check_end(code: int, out: str, err: str) -> None:
    """A refusal is one line with what was received, or names the flag; nothing ends in a traceback."""
    shown = f"exit code {code}: {out[-300:]} {err[-500:]}"
    assert "Traceback" not in out + err, shown
    assert code in (0, 2, NEEDS_A_BACKEND), shown
    if code == 2:
        lines = err.splitlines()
        assert lines, shown
        assert lines[-1].startswith("error: "), shown
        assert len(lines) == 1 or (len(lines) == 2 and "circular" in lines[0]), shown
        assert re.search(r"Received:|flag|-\w", lines[-1]), shown  # absl's own name the flag
        assert len(lines[-1]) < 2000, shown
