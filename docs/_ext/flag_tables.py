"""The directive `flags`: a command's description and its flags, from absl's own definitions.

    ```{flags} train
    ```

Each command is imported in a process of its own, since absl's flags are global. That imports no backend.
"""

import json
import re
import subprocess
import sys
import textwrap

from docutils import nodes
from docutils.parsers.rst import Directive

_CODE = """
import importlib, json, sys
from absl import flags
module = importlib.import_module("apps." + sys.argv[1])
described = [
    {
        "name": flag.name,
        "boolean": flag.boolean,
        "default": flag.default_as_str,
        "choices": list(getattr(flag.parser, "enum_values", None) or ()),
        "kind": flag.flag_type(),
        "help": flag.help,
    }
    for flag in flags.FLAGS.get_key_flags_for_module(module)
    if flag.name not in ("help", "helpfull", "helpshort", "helpxml")
]
print(json.dumps({"description": module.__doc__, "flags": described}))
"""


def describe(command: str) -> dict:
    """A command's docstring and flags."""
    done = subprocess.run([sys.executable, "-c", _CODE, command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"apps.{command} cannot be imported:\n{done.stderr}")
    return json.loads(done.stdout)


def _help(flag: dict) -> str:
    """What the flag does, without the list of choices that absl puts before it."""
    return re.sub(r"^<[^>]*>: ", "", flag["help"]) if flag["choices"] else flag["help"]


def _paragraph(text: str) -> nodes.Node:
    """A paragraph of a command's docstring; one of indented lines, or a command alone, is shown as it is."""
    if text.startswith(("  ", "python -m ")):
        text = textwrap.dedent(text)
        return nodes.literal_block(text, text, language="text")
    return nodes.paragraph(text=" ".join(text.split()))


class Flags(Directive):
    required_arguments = 1

    def run(self):
        described = describe(self.arguments[0])
        made = [_paragraph(text) for text in described["description"].strip().split("\n\n")]
        items = nodes.definition_list(classes=["flags"])
        for flag in described["flags"]:
            items += nodes.definition_list_item(
                "", self._term(flag), nodes.definition("", nodes.paragraph(text=_help(flag)))
            )
        return [*made, items]

    def _term(self, flag: dict) -> nodes.term:
        name = f"--{flag['name']}" if not flag["boolean"] else f"--[no]{flag['name']}"
        if flag["choices"]:
            notes = "one of " + ", ".join(flag["choices"])
        else:
            kinds = {"comma separated list of strings": "list", "bool": "", "integer": "int"}
            notes = kinds.get(flag["kind"], flag["kind"])
        default = (flag["default"] or "").strip("'\"")
        notes = "; ".join(note for note in (notes, f"default {default}" if default else "") if note)
        term = nodes.term("", "", nodes.literal(text=name))
        if notes:
            term += nodes.Text(f" ({notes})")
        return term


def setup(app):
    app.add_directive("flags", Flags)
    return {"parallel_read_safe": True}
