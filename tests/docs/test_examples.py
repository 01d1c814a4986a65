"""Every shell and Python block of the README and the documentation runs as it is printed.

A page's blocks run one after another in one temporary folder, which holds the checkout's flag files, grids, results and
published models. A block that needs the network or a GPU carries its reason on the line above it:
`<!-- skip: needs a GPU -->`.
"""

import collections
import os
import pathlib
import re
import signal
import subprocess
import sys

import pytest

pytest.importorskip("sybil")
from sybil import Document, Example
from sybil.parsers.myst import CodeBlockParser, PythonCodeBlockParser

from conftest import ROOT

LINKED = {name: name for name in ("apps/flags", "apps/grids", "benchmarks", "results", "saved_models")}
LINKED["tests/fixtures/onnx/wrn10-1.onnx"] = "wrn10-1.onnx"
LANGUAGES = {"bash", "python", "text", "json"}  # text and json are shown, not run
FAST = {
    "README.md",
    "docs/guides/choose-a-teacher.md",
    "docs/explanation/batch.md",
    "docs/explanation/numerics.md",
    "docs/reference/formats.md",
}
# Page -> modules that it needs, each with its extra.
EXTRAS = {
    "docs/guides/export.md": {"ai_edge_litert": "litert", "ai_edge_quantizer": "litert"},
    "docs/guides/many-machines.md": {"ray": "cluster"},
    "docs/guides/serve.md": {"prometheus_client": "serving"},
    "docs/guides/phone.md": {"ai_edge_litert": "litert", "ai_edge_quantizer": "litert"},
    "docs/guides/pictures.md": {"prometheus_client": "serving"},
    "docs/guides/teachers-from-pytorch.md": {"onnxruntime": "onnx"},
    "docs/explanation/scaling.md": {"simpy": "test-cluster"},
}
SKIP = re.compile(r"<!-- skip: (.+) -->\n\Z")
MOST_SKIPPED = 0.15
SECONDS = 600


def run_bash(example: Example, seconds: float = SECONDS) -> None:
    """Runs a block in the current folder, for so long at most; what it left running ends with it."""
    script = f"set -euo pipefail\n{example.parsed}"
    with open("output.txt", "w+") as output:
        process = subprocess.Popen(["bash", "-c", script], stdout=output, stderr=output, start_new_session=True)
        try:
            code = process.wait(timeout=seconds)
        finally:
            if process.poll() is None or _is_alive(process.pid):
                os.killpg(process.pid, signal.SIGKILL)
        output.seek(0)
        assert code == 0, f"{example.path}:{example.line}\n{example.parsed}\n{output.read()[-3000:]}"


def _is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


PARSERS = (CodeBlockParser("bash", run_bash), PythonCodeBlockParser())


def pages() -> dict[str, Document]:
    """The README and each page of the documentation, by path."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return {
        path.relative_to(ROOT).as_posix(): Document.parse(str(path), *PARSERS)
        for path in paths
        if "_build" not in path.parts
    }


def reason(example: Example) -> str | None:
    """Why a block is not run; None if it is run."""
    found = SKIP.search(example.document.text[: example.region.start])
    return found[1] if found else None


PAGES = pages()


@pytest.fixture
def folder(tmp_path, monkeypatch) -> pathlib.Path:
    """The folder a page's blocks run in, where `python` is this Python."""
    for name, link in LINKED.items():
        (tmp_path / link).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / link).symlink_to(ROOT / name)
    binaries = tmp_path / ".bin"
    binaries.mkdir()
    (binaries / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (binaries / "python").chmod(0o755)
    path = [str(binaries), str(pathlib.Path(sys.executable).parent), os.environ["PATH"]]
    monkeypatch.setenv("PATH", os.pathsep.join(path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("KDZOO_CACHE", str(tmp_path / ".cache"))
    monkeypatch.delenv("KDZOO_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=() if page in FAST else pytest.mark.slow)
        for page, document in PAGES.items()
        if any(reason(example) is None for example in document.examples())
    ],
)
def test_blocks_of_a_page_run(page, folder):
    pytest.importorskip("tensorflow")
    for module, extra in EXTRAS.get(page, {}).items():
        pytest.importorskip(module, reason=f"needs the extra {extra}")
    for example in PAGES[page].examples():
        if reason(example) is None:
            example.evaluate()


def test_few_blocks_are_skipped_and_each_has_a_reason():
    reasons = [reason(example) for document in PAGES.values() for example in document.examples()]
    skipped = [text for text in reasons if text is not None]
    assert all(re.search(r"\b(network|GPU)\b", text) for text in skipped), skipped
    assert len(skipped) <= MOST_SKIPPED * len(reasons), f"{len(skipped)} of {len(reasons)} blocks are skipped"


def test_each_skip_comment_stands_on_a_block():
    for page, document in PAGES.items():
        comments = document.text.count("<!-- skip:")
        assert comments == sum(reason(example) is not None for example in document.examples()), page


def test_each_block_has_a_known_language():
    for page, document in PAGES.items():
        fences = re.findall(r"^ *(`{3,})(.*)$", document.text, flags=re.MULTILINE)
        opened = [language for _, language in fences[::2]]
        counts = collections.Counter(language for language in opened if not language.startswith("{"))
        assert counts.keys() <= LANGUAGES, f"{page}: {counts}"
        examples = list(document.examples())
        assert len(examples) >= counts["bash"] + counts["python"], page
