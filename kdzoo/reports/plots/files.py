"""Image files of figures."""

import os
import pathlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PNG_DPI = 120


def save(figure: "Figure", path: str | os.PathLike[str]) -> tuple[pathlib.Path, pathlib.Path]:
    """Saves PATH.png and PATH.svg, with the same bytes each time. Returns their paths."""
    import matplotlib

    png, svg = (pathlib.Path(f"{os.fspath(path)}.{kind}") for kind in ("png", "svg"))
    with matplotlib.rc_context({"svg.hashsalt": "kdzoo"}):
        figure.savefig(png, dpi=PNG_DPI)
        figure.savefig(svg, metadata={"Date": None})
    return png, svg
