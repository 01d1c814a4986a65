"""Makes reStructuredText of the packages' docstrings, which are plain text with `code` in single backticks."""

import re

_SECTIONS = ("Args:", "Attributes:", "Raises:", "Returns:", "Yields:")


def convert(lines: list[str]) -> list[str]:
    """The same docstring with code marked as code, and characters escaped that mean something in reStructuredText."""
    converted: list[str] = []
    block = None  # indentation of the line that introduced a block of code or formulas
    for i, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if block is not None and (not line.strip() or indent > block):
            converted.append(line)
            continue
        block = None
        text = _escape(line)
        if line.endswith(":") and line.strip() not in _SECTIONS and _introduces_block(lines[i + 1 :], indent):
            text += ":"
            block = indent
        converted.append(text)
    return converted


def _introduces_block(rest: list[str], indent: int) -> bool:
    """Whether an empty line and then an indented one follow."""
    return len(rest) > 1 and not rest[0].strip() and len(rest[1]) - len(rest[1].lstrip()) > indent


def _escape(line: str) -> str:
    parts = re.split(r"(`[^`]+`)", line)
    return "".join(
        f"`{part}`" if i % 2 else re.sub(r"([*|\\]|(?<=\w)_(?!\w))", r"\\\1", part) for i, part in enumerate(parts)
    )


def process(app, what, name, obj, options, lines):
    lines[:] = convert(lines)


def setup(app):
    app.connect("autodoc-process-docstring", process, priority=400)  # before napoleon reads the sections
    return {"parallel_read_safe": True}
