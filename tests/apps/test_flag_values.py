"""The flags of numbers and directories: no command takes a value outside their ranges, or none."""

import ast
import json

import pytest

from conftest import ROOT, run_python

# Gives every number of a command each of these values. Prints the flags that took one, and their messages.
TRY = """
import importlib, json, sys
from absl import flags
importlib.import_module("apps." + sys.argv[1])
FLAGS, taken, messages = flags.FLAGS, [], {}
own = [name for name in FLAGS if FLAGS[name].flag_type() in ("float", "list") or name in ("workdir", "out", "path")]
for name in sorted(own):
    values = ("nan", "inf", "-inf", "-1", "1e999", "", "one", "None") if FLAGS[name].flag_type() != "string" else ("",)
    for value in values:
        try:
            FLAGS[name].parse(value)
            taken.append(f"--{name}={value}")
        except flags.IllegalFlagValueError as error:
            messages[f"--{name}={value}"] = str(error)
print(json.dumps([taken, messages]))
"""


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        ("distill", "teacher_deadline"),
        ("tune", "temperatures"),
        ("reproduce", "kd_until"),
        ("serve", "request_mb"),
        ("compare", "out"),
    ],
)
def test_no_number_is_nan_infinite_negative_or_empty(command: str, flag: str) -> None:
    done = run_python("-c", TRY, command)
    assert done.returncode == 0, done.stderr
    taken, messages = json.loads(done.stdout)
    assert taken == []
    assert f"--{flag}=" in messages
    for text, message in messages.items():
        name = text.partition("=")[0].removeprefix("--")
        assert f": {name} must be " in message, message
        assert ", for example " in message
        assert "Received: " in message


def test_no_command_defines_a_number_of_absl() -> None:
    """absl's own floats may be nan."""
    calls = [
        f"{path.name}:{node.lineno}"
        for path in sorted((ROOT / "apps").glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in ("DEFINE_float", "DEFINE_multi_float")
    ]
    assert calls == []
