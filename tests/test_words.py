"""The field's words: private vocabulary must not return to names, comments, help, messages or documentation."""

import ast
import io
import pathlib
import re
import tokenize

import pytest

from conftest import ROOT

# In any part of a name: `teacher_answers`, `AskedTeacher`.
LOST_IN_NAMES = {
    *("afar", "answer", "answered", "answers", "ask", "asked", "asking", "asks", "foreign", "said", "say", "saying"),
    *("says", "stranger", "strangers", "tell", "telling", "tells", "told", "untaught", "voice", "voices"),
}
LOST_NAMES = {"about", "where", "Ahead", "Feed", "Place"}  # as a whole name
LOST_IN_TEXT = re.compile(
    r"\b(afar|answer(s|ed|ing)?|ask(s|ed|ing)?|foreign|sa(id|y|ys|ying)|strangers?|t(ell|ells|elling|old)|untaught"
    r"|voices?|of ours|makes? room|lets? go|goes on|going on|gone on|puts? back)\b",
    re.IGNORECASE,
)
# Keys of files that users have: "asked" in a record's teacher_rows, "says" in the key of a cached table.
KEYS = {"asked", "says"}
ALLOWED = {"CHANGELOG.md": {"kdzoo.answers"}}  # a module of 0.4
ITSELF = pathlib.Path(__file__)

CODE = sorted(path for tree in ("apps", "benchmarks", "kdzoo", "tests", "zoo") for path in (ROOT / tree).rglob("*.py"))
PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "results").glob("*.md"))
    if "_build" not in path.parts
) + sorted((ROOT / "benchmarks").glob("*.md"))


def name_of(path: pathlib.Path) -> str:
    return path.relative_to(ROOT).as_posix()


def names_in(tree: ast.AST) -> set[tuple[int, str]]:
    """Names that a file defines, with their lines."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add((node.lineno, node.id))
        elif isinstance(node, ast.arg):
            names.add((node.lineno, node.arg))
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add((node.lineno, node.name))
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add((node.lineno, node.attr))
    return names


def is_lost(name: str) -> bool:
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)
    if LOST_IN_TEXT.search(name.replace("_", " ")):
        return True
    return name.strip("_") in LOST_NAMES or bool(LOST_IN_NAMES & {word.lower() for word in words})


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_code_is_in_the_words_of_the_field(path):
    if path == ITSELF:
        pytest.skip("it holds the lost words themselves")
    text = path.read_text()
    found = [f"{line}: {name}" for line, name in sorted(names_in(ast.parse(text))) if is_lost(name)]
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING) and token.string.strip("\"'") not in KEYS:
            found += [f"{token.start[0]}: {match[0]}" for match in LOST_IN_TEXT.finditer(token.string)]
    assert not found


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_pages_are_in_the_words_of_the_field(path):
    text = path.read_text()
    for word in KEYS | ALLOWED.get(name_of(path), set()):
        text = text.replace(f"`{word}`", "")
    lines = enumerate(text.splitlines(), start=1)
    found = [f"{i}: {match[0]}" for i, line in lines for match in LOST_IN_TEXT.finditer(line)]
    assert not found


def test_the_test_finds_them():
    assert is_lost("teacher_answers")
    assert is_lost("AskedTeacher")
    assert is_lost("where")
    assert not is_lost("elsewhere")
    assert not is_lost("task")
    assert LOST_IN_TEXT.search("what a teacher says")
    assert not LOST_IN_TEXT.search("a task that has essays")
