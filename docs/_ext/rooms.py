"""The directive `room`: what a package is for, and its public names as its `__init__.pyi` lists them.

```{room} data
```
"""

import ast
import importlib
import inspect
import pathlib

from sphinx.util.docutils import SphinxDirective

PACKAGES = pathlib.Path(__file__).parents[2] / "kdzoo"


def exports(room: str) -> list[tuple[str, str]]:
    """(module, name) of each public name of a room."""
    tree = ast.parse((PACKAGES / room / "__init__.pyi").read_text())
    return [
        (f"kdzoo.{room}.{statement.module}", alias.name)
        for statement in tree.body
        if isinstance(statement, ast.ImportFrom) and statement.module
        for alias in statement.names
    ]


def source(room: str) -> list[str]:
    """reStructuredText that documents a room."""
    lines = []
    for module, name in exports(room):
        value = getattr(importlib.import_module(module), name)
        if inspect.isclass(value):
            lines += [f".. autoclass:: {module}.{name}", "   :members:", ""]
        elif callable(value):
            lines += [f".. autofunction:: {module}.{name}", ""]
        else:
            lines += [f".. py:data:: {module}.{name}", "", f"   In ``{module}``.", ""]
    return lines


class Room(SphinxDirective):
    required_arguments = 1

    def run(self):
        (room,) = self.arguments
        text = importlib.import_module(f"kdzoo.{room}").__doc__ or ""
        made = self.parse_text_to_nodes(text)
        content = "\n".join(["```{eval-rst}", *source(room), "```"])
        return [*made, *self.parse_text_to_nodes(content)]


def setup(app):
    app.add_directive("room", Room)
    return {"parallel_read_safe": True}
