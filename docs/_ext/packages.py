"""The directive `package`: what a package is for, and its public names as its `__init__.pyi` lists them.

```{package} data
```
"""

import ast
import importlib
import inspect
import pathlib

from sphinx.util.docutils import SphinxDirective

KDZOO = pathlib.Path(__file__).parents[2] / "kdzoo"


def exports(package: str) -> list[tuple[str, str]]:
    """(module, name) of each public name of a package."""
    tree = ast.parse((KDZOO / package / "__init__.pyi").read_text())
    return [
        (f"kdzoo.{package}.{statement.module}", alias.name)
        for statement in tree.body
        if isinstance(statement, ast.ImportFrom) and statement.module
        for alias in statement.names
    ]


def source(package: str) -> list[str]:
    """reStructuredText that documents a package."""
    lines = []
    for module, name in exports(package):
        value = getattr(importlib.import_module(module), name)
        if inspect.isclass(value):
            lines += [f".. autoclass:: {module}.{name}", "   :members:", ""]
        elif callable(value):
            lines += [f".. autofunction:: {module}.{name}", ""]
        else:
            lines += [f".. py:data:: {module}.{name}", "", f"   In ``{module}``.", ""]
    return lines


class Package(SphinxDirective):
    required_arguments = 1

    def run(self):
        (package,) = self.arguments
        text = importlib.import_module(f"kdzoo.{package}").__doc__ or ""
        made = self.parse_text_to_nodes(text)
        content = "\n".join(["```{eval-rst}", *source(package), "```"])
        return [*made, *self.parse_text_to_nodes(content)]


def setup(app):
    app.add_directive("package", Package)
    return {"parallel_read_safe": True}
