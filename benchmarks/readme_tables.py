"""Writes tables into README.md, between the comments that name them. The documentation includes them from there."""

import pathlib

README = pathlib.Path(__file__).with_name("README.md")


def write(name: str, table: str, path: pathlib.Path = README) -> None:
    """Replaces what is between `<!-- NAME -->` and `<!-- end of NAME -->`."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    before, found, rest = path.read_text().partition(begin)
    _, also, after = rest.partition(end)
    if not (found and also):
        raise ValueError(f"{path} must have lines {begin.strip()} and {end.strip()}")
    path.write_text(f"{before}{begin}\n{table.strip()}\n\n{end}{after}")
