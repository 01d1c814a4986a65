"""Cases of fuzzing: a valid object with one thing wrong, and the count of what became of them.

A case is accepted, or refused in one line. A second rule, written from the documentation alone, decides whether it is
valid: what it calls wrong must not be accepted, and what it calls right must not be refused.
"""

import collections
import copy
import dataclasses
import json
import os
import re
import traceback
from collections.abc import Callable
from typing import Any
from unittest import mock

import hypothesis
from hypothesis import strategies as st
from hypothesis.internal import constants_ast
from hypothesis.internal.conjecture import providers

from zoo import InputError

CASES = 1000
SEED = int(os.environ.get("KDZOO_FUZZ_SEED", "18"))

LONG = "x" * 300
TEXTS = ["", " ", "x", "é", "日本", "\u202e", "a/b", "..", "\0", "a\nb", LONG, "none", "null", "true", "1", "-1", "0.5"]
TEXTS += ["nan", "inf", "wrn16-1", "wrn16-1_10-35", "wrn17-1", "20-65", "65-20", "cos-5", "kd", "auto", "\ud800", "1e5"]
NUMBERS: list[Any] = [0, 1, -1, 2, 0.5, -0.5, 1.5, 100, 101, 12.0, 1e-30, 1e30, 1e308, 5e-324, -0.0, 2**31, 2**32 - 1]
NUMBERS += [2**32, 2**53 + 1, 2**63, 2**64, 10**20, 10**400, float("nan"), float("inf"), float("-inf")]
OTHERS: list[Any] = [None, True, False, [], {}, [[]], [None], [0], ["x"], [1.5, "x"], {"x": 1}, {"": {}}]
RAW = ["1e999", "-1e999", "01", "+1", ".5", "1.", "0x10", "1_000", "'x'", "undefined", "", "[", "{", "}", '"', "nul"]
RAW += ["1 2", "// c\n1", "[" * 50 + "]" * 50, "[" * 96 + "]" * 96, "[" * 120 + "]" * 120, "[" * 100_000, "1" * 5000]


@dataclasses.dataclass(frozen=True)
class Case:
    """A changed object: its bytes, and what was changed."""

    content: bytes
    what: str = dataclasses.field(compare=False)


class Tally:
    """Counts the cases of one kind, and collects those that went wrong."""

    def __init__(self, kind: str):
        self.kind = kind
        self.cases = 0
        self.distinct: set[Any] = set()  # the cases
        self.accepted, self.refused, self.undecided = 0, 0, 0
        self.changes: collections.Counter[str] = collections.Counter()
        self.faults: list[str] = []

    def count(self, case: Any, what: str, outcome: str | None, wrong: str | None, *, later: bool = False) -> None:
        """Counts a case, and keeps it if the two rules differ.

        Args:
            case: identifies it.
            what: was changed.
            outcome: the line that refused it; None if it was accepted.
            wrong: what the second rule calls wrong; None if nothing.
            later: whether the second rule leaves it to a later stage: to the data, or to TensorFlow.
        """
        self.cases += 1
        self.distinct.add(case)
        self.changes[what.split(" ")[0]] += 1
        self.accepted += outcome is None
        self.refused += outcome is not None
        self.undecided += later
        if outcome is None and wrong and not later:
            self.fault("accepted, but wrong", what, wrong)
        if outcome is not None and not wrong and not later:
            self.fault("refused, but right", what, outcome)

    def fault(self, kind: str, what: str, detail: str) -> None:
        """Keeps a fault."""
        self.faults.append(f"{kind}: {what[:300]}: {detail[:600]}")

    def __str__(self) -> str:
        changes = ", ".join(f"{what} {n}" for what, n in self.changes.most_common())
        return (
            f"{self.kind}: seed {SEED}, {self.cases} cases, {len(self.distinct)} different; {self.refused} refused,"
            f" {self.accepted} accepted, {self.undecided} that only a later stage decides;"
            f" {len(self.faults)} faults; changes: {changes}"
        )


def fuzz(kind: str, cases: st.SearchStrategy[Any], judge: Callable[[Any, Tally], None], count: int = CASES) -> None:
    """Draws the cases of one kind, judges each, prints their count and seed, and fails if one is a fault."""
    tally = Tally(kind)

    @hypothesis.seed(SEED)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],  # each fault is collected; a case with one thing wrong is small already
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(cases)
    def run(case: Any) -> None:
        hypothesis.assume(tally.cases < count and case not in tally.distinct)
        judge(case, tally)

    # Else it draws constants from the modules that other tests have imported, and a seed gives other cases.
    with mock.patch.object(providers, "_get_local_constants", constants_ast.Constants):
        run()
    print(f"\n{tally}")
    assert tally.cases == count
    assert not tally.faults, f"{len(tally.faults)} faults\n" + "\n".join(tally.faults[:40])


def refusal(call: Callable[[], Any]) -> tuple[str | None, Any]:
    """Returns the line that refuses a call, None if it is accepted, and its result.

    Raises:
        AssertionError: if it raises another error than InputError, or a message that is not one line.
    """
    try:
        return None, call()
    except InputError as error:
        message = str(error)
        assert "Received: " in message, f"no 'Received: ' in {message}"
        assert len(message) < 2000, f"a message of {len(message)} characters"
        return " ".join(message.split()), None
    except Exception as error:
        raise AssertionError("".join(traceback.format_exception(error)[-4:])) from None


# Changes of JSON


@st.composite
def changed_json(draw: st.DrawFn, value: Any, extra: list[Any], keys: list[str]) -> Case:
    """Draws a change of a JSON object: of one value, of one key, or of its text.

    Args:
        draw: of hypothesis.
        value: the object.
        extra: more values to put in.
        keys: more keys to add.
    """
    if draw(st.integers(0, 6)) == 6:
        return draw(_changed_text(json.dumps(value, indent=draw(st.sampled_from([None, 1]))).encode()))
    value = copy.deepcopy(value)
    change = draw(st.sampled_from(["replace", "replace", "replace", "drop", "rename", "duplicate", "add", "neighbour"]))
    if change == "add":
        parents = [parent for parent in _containers(value) if isinstance(parent, dict)]
        parent = parents[draw(st.integers(0, len(parents) - 1))]
        key = draw(st.sampled_from(["x", "", "é", "\ud800", LONG, "\0", *keys]))
        parent[key] = draw(junk(extra))
        return Case(dump(value), f"add {key!r:.20}: {parent[key]!r:.60}")
    parent, key = draw(_place(value))
    place = f"{key!r:.30}"
    if change == "drop":
        del parent[key]
    elif change in ("rename", "duplicate") and isinstance(parent, dict):
        other = draw(st.sampled_from(["", " ", "s", "_"]))
        if change == "rename":
            parent[f"{key}{other or 'X'}"] = parent.pop(key)
        else:
            parent[f"{key}{_AGAIN}"] = draw(st.one_of(st.just(parent[key]), junk(extra)))
    else:
        new = draw(junk(extra) if change == "replace" else _neighbour(parent[key]))
        place += f": {parent[key]!r:.40} -> {new!r:.60}"
        parent[key] = new
    return Case(dump(value), f"{change} {place}")


_AGAIN = "@again@"
_RAW = re.compile(r'"@raw:(.*?)@"')


def dump(value: Any) -> bytes:
    """Returns JSON text in which marked keys are given twice, and marked texts stand as they are."""
    text = json.dumps(value).replace(_AGAIN, "")
    return _RAW.sub(lambda match: json.loads(f'"{match[1]}"'), text).encode("utf-8", "surrogatepass")


def junk(extra: list[Any]) -> st.SearchStrategy[Any]:
    """Returns a strategy of values of any type."""
    return st.one_of(
        st.sampled_from(TEXTS),
        st.sampled_from(NUMBERS),
        st.sampled_from(OTHERS),
        st.sampled_from([f"@raw:{text}@" for text in RAW]),
        st.sampled_from(extra),
        st.text(max_size=12),
        st.integers(),
        st.floats(),
    )


@st.composite
def _neighbour(draw: st.DrawFn, value: Any) -> Any:
    """Draws a value that is near this one."""
    if isinstance(value, bool) or value is None:
        return draw(st.sampled_from([not value, int(bool(value)), str(value), str(value).lower(), ""]))
    if isinstance(value, int):
        return draw(st.sampled_from([value + 1, value - 1, -value, float(value), str(value), 10 * value, [value]]))
    if isinstance(value, float):
        return draw(
            st.sampled_from([-value, value * 1.000001, value + 1, value * 100, str(value), int(value), value / 7])
        )
    if isinstance(value, str):
        near = [f"{value} ", f" {value}", value.upper(), value[:-1], f"{value}x", f"{value},", f"{value}\n", value * 50]
        near += [value.replace("-", "\u2013"), value.replace("-", "_"), f"{value}0", value[1:], [value], {value: value}]
        return draw(st.sampled_from(near))
    if isinstance(value, list):
        near = [
            value + value[:1],
            value[:-1],
            value[::-1],
            [value],
            [*value, None],
            value[0] if value else 0,
            value * 2,
        ]
        return draw(st.sampled_from(near))
    near = [{}, [value], list(value), {**value, "unknown": 1}, list(value.items()), json.dumps(value)]
    return draw(st.sampled_from(near))


@st.composite
def _place(draw: st.DrawFn, value: Any) -> tuple[Any, Any]:
    """Draws a key of a container someplace in a value: each level of it is as likely as the others."""
    key = draw(_key(value))
    while isinstance(value[key], (dict, list)) and value[key] and draw(st.integers(0, 3)):
        value = value[key]
        key = draw(_key(value))
    return value, key


def _key(container: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(list(container)) if isinstance(container, dict) else st.integers(0, len(container) - 1)


def _containers(value: Any) -> list[Any]:
    found = [value]
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, (dict, list)):
            found += _containers(item)
    return found


@st.composite
def _changed_text(draw: st.DrawFn, content: bytes) -> Case:
    """Draws a change of the bytes of a text."""
    change = draw(st.sampled_from(["truncate", "flip", "flip", "insert", "delete", "wrap"]))
    i = draw(st.integers(0, len(content) - 1))
    if change == "truncate":
        return Case(content[:i], f"truncate at {i}")
    if change == "flip":
        bit = draw(st.integers(0, 7))
        return Case(flip(content, i, bit), f"flip bit {bit} of byte {i}: {content[i - 5 : i + 6]!r}")
    if change == "insert":
        new = draw(st.sampled_from([b"\0", b"\xff", b",", b"}", b'"', b" ", b"1", b"\\", b"\n", b"\xef\xbb\xbf"]))
        return Case(content[:i] + new + content[i:], f"insert {new!r} at {i}")
    if change == "delete":
        return Case(content[:i] + content[i + 1 :], f"delete byte {i}")
    text = content.decode()
    ways = {
        "bom": b"\xef\xbb\xbf" + content,
        "utf-16": text.encode("utf-16"),
        "utf-32": text.encode("utf-32"),
        "list": b"[" + content + b"]",
        "twice": content + content,
        "comma": content.rstrip()[:-1] + b",}",
        "spaces": b" \n\t" + content + b"\r\n",
        "nothing": b"",
        "null": b"null",
        "gzip": b"\x1f\x8b" + content,
        "crlf": content.replace(b"\n", b"\r\n"),
        "quotes": content.replace(b'"', b"'"),
    }
    way = draw(st.sampled_from(sorted(ways)))
    return Case(ways[way], f"wrap as {way}")


def flip(content: bytes, i: int, bit: int) -> bytes:
    """Returns the content with one bit of one byte changed."""
    return content[:i] + bytes([content[i] ^ (1 << bit)]) + content[i + 1 :]
