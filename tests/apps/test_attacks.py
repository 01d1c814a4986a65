"""Every attack of tests/attacks.md: what a user sees is one clear line, and nothing is lost or half written."""

import hashlib
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import time
from typing import NamedTuple

import pytest

import attack_data  # noqa: F401  each defines states
import attack_folders  # noqa: F401
import attack_grids  # noqa: F401
import attack_models  # noqa: F401
import attack_networks  # noqa: F401
import attack_pictures  # noqa: F401
import attack_runs  # noqa: F401
import attack_states
from conftest import ROOT

TABLE = ROOT / "tests/attacks.md"
COMMANDS = {
    *("train", "distill", "evaluate", "precompute", "compare", "list", "publish", "serve", "sweep", "reproduce"),
    *("tune", "demo", "library", "predict", "export"),
}
SECONDS = 240
PROGRESS = r"(computed: .*row/s\]|W.* is left out: .*)?"  # of apps.precompute; of files that are no pictures
PLACEHOLDER = r"\{(\w+)\}"
LIBRARY = """
import sys
from zoo import InputError
try:
    exec(sys.argv[1])
except InputError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
"""


class Attack(NamedTuple):
    """A row of the table."""

    name: str
    command: str
    exit_codes: set[int]
    pattern: str

    @property
    def words(self) -> list[str]:
        """The command line: environment variables, the command, its flags."""
        return shlex.split(self.command)


def read_table() -> list[Attack]:
    attacks = []
    for line in TABLE.read_text("utf-8").splitlines():
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 5 and re.fullmatch(r"[a-z]+-[0-9]+", cells[0]):
            codes = {int(code) for code in cells[2].split(" or ")}
            attacks.append(Attack(cells[0], cells[1].strip("`"), codes, cells[3].strip("`")))
    return attacks


ATTACKS = read_table()


def name_of(attack: Attack) -> str:
    return attack.name


@pytest.fixture(scope="session")
def shared(npz: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> attack_states.Shared:
    return attack_states.Shared(tmp_path_factory.mktemp("attacked"), npz)


def contents(root: pathlib.Path) -> dict[str, str]:
    """Path -> SHA-256 of every file below a directory."""
    return {
        os.path.join(folder, name): hashlib.sha256(pathlib.Path(folder, name).read_bytes()).hexdigest()
        for folder, _, names in os.walk(root)
        for name in names
        if os.path.isfile(os.path.join(folder, name))
    }


def start(attack: Attack, shared: attack_states.Shared, tmp: pathlib.Path) -> tuple[list[str], dict[str, str]]:
    """Makes what the attack needs. Returns its command line and environment."""

    def prepare(match: re.Match[str]) -> str:
        if match[1] not in made:
            made[match[1]] = attack_states.prepare(match[1], shared, tmp)
        return made[match[1]]

    made: dict[str, str] = {}
    words = [re.sub(PLACEHOLDER, prepare, word) for word in attack.words]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT), "KDZOO_CACHE": str(tmp / "cache")}
    while "=" in words[0]:
        name, _, environment[name] = words.pop(0).partition("=")
    command, *flags = words
    if command == "library":
        return [sys.executable, "-c", LIBRARY, *flags], environment
    return [sys.executable, "-m", f"apps.{command}", *flags], environment


def run(command: list[str], environment: dict[str, str], tmp: pathlib.Path) -> tuple[int, str, str]:
    """Runs a command to its end; a server is stopped once it serves. Returns its exit code, output and errors."""
    with open(tmp / "stdout", "w+") as stdout, open(tmp / "stderr", "w+") as stderr:
        process = subprocess.Popen(command, env=environment, cwd=tmp, stdout=stdout, stderr=stderr)
        end = time.monotonic() + SECONDS
        try:
            while process.poll() is None and time.monotonic() < end:
                time.sleep(0.1)
                if "\nserving " in f"\n{pathlib.Path(stdout.name).read_text(errors='replace')}":
                    process.send_signal(signal.SIGTERM)
                    process.wait(60)
            assert process.returncode is not None, f"no end after {SECONDS} seconds"
        finally:
            process.kill()
            process.wait()
    out, err = (pathlib.Path(tmp / name).read_text(errors="replace") for name in ("stdout", "stderr"))
    for name in ("stdout", "stderr"):
        (tmp / name).unlink()
    return process.returncode, out, err


def test_every_command_is_attacked_five_times() -> None:
    commands = [next(word for word in attack.words if word in COMMANDS) for attack in ATTACKS]
    assert {command for command in COMMANDS if commands.count(command) >= 5} == COMMANDS
    names = [attack.name for attack in ATTACKS]
    assert len(set(names)) == len(names)


def test_every_state_is_that_of_an_attack() -> None:
    used = {name for attack in ATTACKS for name in re.findall(PLACEHOLDER, attack.command)}
    assert used == attack_states.STATES.keys()


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS, ids=name_of)
def test_an_attack_ends_as_the_table_describes(
    attack: Attack, shared: attack_states.Shared, tmp_path: pathlib.Path
) -> None:
    command, environment = start(attack, shared, tmp_path)
    before = contents(tmp_path)
    code, out, err = run(command, environment, tmp_path)
    after = contents(tmp_path)
    shown = f"exit code {code}\n{out[-2000:]}\n{err[-3000:]}"
    assert "Traceback" not in out + err, shown
    assert code in attack.exit_codes, shown
    assert re.search(attack.pattern, out + err), shown
    if code == 2:
        lines = [line for line in err.splitlines() if not re.fullmatch(PROGRESS, line)]
        errors = [line for line in lines if line.startswith("error: ")]
        assert errors == lines[-1:], shown
        assert "Received: " in lines[-1] or re.search(r"flags?\b", lines[-1]), shown
        assert command[1] == "-c" or len(lines) == 1, shown  # a library does not silence its backend
        new = [path for path in after.keys() - before.keys() if re.search(r"(record|card)\.json$|partial", path)]
        assert not new, shown
    kept = {
        path: digest
        for path, digest in before.items()
        if code == 2 or "precious" in path or path.endswith(("record.json", "model.weights.h5"))
    }
    assert {path: after.get(path) for path in kept} == kept, "files are lost or changed"
