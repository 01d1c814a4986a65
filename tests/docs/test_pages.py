"""The README is short, its links lead somewhere, and each command has its flags in the reference."""

import re

import pytest

from conftest import ROOT

README_LINES = 150
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "results/README.md")),
    ROOT / "benchmarks/README.md",
    *(path for path in sorted((ROOT / "docs").rglob("*.md")) if "_build" not in path.parts),
]


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_to_files_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    files = [target.partition("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)]
    missing = [file for file in files if not (page.parent / file).exists()]
    assert not missing


def test_each_command_has_its_flags_in_the_reference():
    commands = {path.stem for path in (ROOT / "apps").glob("*.py") if 'if __name__ == "__main__":' in path.read_text()}
    listed = re.findall(r"^```{flags} (\w+)$", (ROOT / "docs/reference/flags.md").read_text(), flags=re.MULTILINE)
    assert sorted(listed) == sorted(commands)


def test_each_package_is_in_the_reference():
    packages = {path.parent.name for path in (ROOT / "kdzoo").glob("*/__init__.pyi")}
    listed = re.findall(r"^```{package} (\w+)$", (ROOT / "docs/reference/api.md").read_text(), flags=re.MULTILINE)
    assert set(listed) == packages


def test_files_named_in_the_layout_exist():
    text = (ROOT / "docs/explanation/layout.md").read_text() + (ROOT / "docs/explanation/batch.md").read_text()
    named = set(re.findall(r"`((?:apps|kdzoo|zoo|tests|docs|benchmarks|results|saved_models)/[\w./-]*)`", text))
    assert len(named) > 30
    assert not {path for path in named if not (ROOT / path).exists()}


def test_each_module_that_moved_is_listed_in_the_changelog():
    rows = re.findall(r"^  \| `(kdzoo[\w.]*)` \| (.+) \|$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert len(rows) > 25
    moved_to = [module for _, modules in rows for module in re.findall(r"`([\w.]+)`", modules)]
    paths = {module: ROOT / module.replace(".", "/") for module in moved_to}
    assert not [module for module, path in paths.items() if not (path.is_dir() or path.with_suffix(".py").exists())]
