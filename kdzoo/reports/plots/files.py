"""Image files of figures."""

import io
import os
import pathlib
from typing import TYPE_CHECKING

from kdzoo.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PNG_DPI = 120


def save(figure: "Figure", path: str | os.PathLike[str]) -> tuple[pathlib.Path, pathlib.Path]:
    """Saves PATH.png and PATH.svg, with the same bytes each time. Returns their paths."""
    import matplotlib

    png, svg = (pathlib.Path(f"{os.fspath(path)}.{kind}") for kind in ("png", "svg"))
    with matplotlib.rc_context({"svg.hashsalt": "kdzoo"}):
        for file, options in ((png, {"dpi": PNG_DPI}), (svg, {"metadata": {"Date": None}})):
            content = io.BytesIO()
            figure.savefig(content, format=file.suffix[1:], **options)
            write_atomically(file, content.getvalue())
    return png, svg
