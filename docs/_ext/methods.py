"""The directives `methods`, a table of the distillation methods, and `method_notes`, the notes on their sources.

```{methods}
```
"""

import importlib
import re

from sphinx.util.docutils import SphinxDirective

from kdzoo.distillation import registry

_CITATION = re.compile(r'(?P<authors>[^"]+?), "(?P<title>[^"]+)",.*?\b(?P<year>(19|20)\d\d)\b', re.DOTALL)


def describe(name: str) -> dict[str, str]:
    """A method's cells in the table, by column."""
    method, summary = registry.make(name), registry.summaries()[name]
    notes = importlib.import_module(type(method).__module__).__doc__
    citation = _CITATION.match(notes.split("\n\n")[1])
    compared = [{"last_map": "last map", "strong": "logits of two views"}.get(need, need) for need in method.needs]
    seen = [need for need in compared if need != "index"] or (["logits"] if method.has_teacher else [])
    arguments = ", ".join(f"{key}={_text(value)}" for key, value in method.arguments.items())
    return {
        "`--method`": f"`{name}`",
        "what it compares, in short": summary.partition(": ")[2].rstrip("."),
        "paper": f"{' '.join(citation['authors'].split())}, {citation['year']}",
        "sees": ", ".join([*seen, *(["labels"] if method.has_labels else [])]),
        "CE, KD, its own weight": ", ".join(f"{weight:g}" for weight in _weights(name)),
        "arguments": f"`{arguments}`" if arguments else "",
    }


def _text(value: bool | int | float | str) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value).lower()


def _weights(name: str) -> tuple[float, ...]:
    weights = registry.weights(name)
    return weights["ce_weight"], weights["kd_weight"], weights["method_weight"]


class Methods(SphinxDirective):
    def run(self):
        rows = [describe(name) for name in registry.summaries()]
        titles = list(rows[0])
        lines = [titles, ["---"] * len(titles), *(row.values() for row in rows)]
        return self.parse_text_to_nodes("\n".join(f"| {' | '.join(cells)} |" for cells in lines))


class MethodNotes(SphinxDirective):
    def run(self):
        made = []
        for name in registry.summaries():
            notes = importlib.import_module(type(registry.make(name)).__module__).__doc__
            made += self.parse_text_to_nodes(f"**`{name}`** {notes}")
        return made


def setup(app):
    app.add_directive("methods", Methods)
    app.add_directive("method_notes", MethodNotes)
    return {"parallel_read_safe": True}
