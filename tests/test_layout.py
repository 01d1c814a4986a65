"""The layout: what importing a package loads, how it describes itself, and how big its parts may be."""

import ast
import fnmatch
import importlib
import pathlib

import pytest

from conftest import ROOT, run_python

MOST_LINES = 350  # of a module
MOST_FUNCTION_LINES = 59
BACKENDS = ("jax", "keras", "matplotlib", "tensorflow")
# Modules that compute with Keras; all others must be importable without it.
NEED_A_BACKEND = (
    "kdzoo.data.batches",
    "kdzoo.data.jax_augmentation",
    "kdzoo.distillation.adapters",
    "kdzoo.distillation.batch_mean",
    "kdzoo.distillation.distiller",
    "kdzoo.distillation.dtype",
    "kdzoo.distillation.features",
    "kdzoo.distillation.fine_tuning",
    "kdzoo.distillation.keras_loss",
    "kdzoo.distillation.losses",
    "kdzoo.distillation.method_term",
    "kdzoo.distillation.methods.*",
    "kdzoo.distillation.optimizers",
    "kdzoo.distillation.pairs",
    "kdzoo.distillation.pretraining",
    "kdzoo.distillation.replicas",
    "kdzoo.distillation.stages",
    "kdzoo.distillation.strong_view",
    "kdzoo.distillation.tensors",
    "kdzoo.experiments.*",
    "kdzoo.losses",
    "kdzoo.models.cost",
    "kdzoo.models.graph",
    "kdzoo.models.multiply_adds",
    "kdzoo.models.networks",
    "kdzoo.optimizers",
    "kdzoo.serving.*",
    "kdzoo.teachers.*",
    "kdzoo.training.*",
    "zoo.densenet",
    "zoo.layers",
    "zoo.resnet",
    "zoo.wrn",
)


def name_of(path: pathlib.Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


PATHS = {name_of(path): path for tree in ("apps", "kdzoo", "zoo") for path in sorted((ROOT / tree).rglob("*.py"))}
TREES = {name: ast.parse(path.read_text()) for name, path in PATHS.items()}
PACKAGES = [name for name, path in PATHS.items() if path == ROOT / "kdzoo" / path.parent.name / "__init__.py"]
APPS = [name for name in PATHS if name.startswith("apps")]
BACKEND_FREE = [
    name
    for name in PATHS
    if name not in APPS and not any(fnmatch.fnmatchcase(name, pattern) for pattern in NEED_A_BACKEND)
]
TESTS = {name_of(path): ast.parse(path.read_text()) for path in sorted((ROOT / "tests").rglob("*.py"))}


def loaded_backends(*modules: str) -> str:
    """Imports modules in a new process. Returns the first that loads a backend, with the backends; "" if none does."""
    code = """
import importlib, sys
backends, *modules = sys.argv[1:]
for name in modules:
    importlib.import_module(name)
    found = sorted(set(backends.split(",")) & sys.modules.keys())
    if found:
        sys.exit(print(f"{name} loads {', '.join(found)}"))
"""
    done = run_python("-c", code, ",".join(BACKENDS), *modules)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_loads_no_backend():
    assert {"kdzoo", *PACKAGES} <= set(BACKEND_FREE)
    assert loaded_backends(*BACKEND_FREE) == ""


# One process for each, since commands define flags of equal names. They import the other modules of apps.
@pytest.mark.parametrize("name", [name for name in APPS if "command.run(main)" in PATHS[name].read_text()])
def test_importing_a_command_loads_no_backend(name):
    assert loaded_backends(name) == ""


def test_the_test_finds_a_backend():
    assert loaded_backends("json", "zoo.layers").startswith("zoo.layers loads ")


def test_every_pattern_of_modules_that_need_a_backend_is_used():
    assert [pattern for pattern in NEED_A_BACKEND if not fnmatch.filter(PATHS, pattern)] == []


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_describes_itself_in_three_lines(name):
    docstring = ast.get_docstring(TREES[name])
    summary, blank, *rest = docstring.splitlines()
    assert summary.endswith(".")
    assert blank == ""
    assert [line.split(":")[0] for line in rest] == ["In", "Out"]


@pytest.mark.parametrize("name", TREES)
def test_a_module_describes_itself(name):
    summary = (ast.get_docstring(TREES[name]) or "").splitlines()[0]
    assert summary.endswith((".", "?", ":"))
    assert "TODO" not in PATHS[name].read_text()


def exported_names(name: str) -> list[str]:
    """The public names in a package's `__init__.pyi`; each is exported under its own name."""
    stub = PATHS[name].with_suffix(".pyi")
    imports = [node for node in ast.parse(stub.read_text()).body if isinstance(node, ast.ImportFrom)]
    assert all(alias.name == alias.asname for node in imports for alias in node.names), stub
    return [alias.name for node in imports for alias in node.names]


@pytest.mark.parametrize("name", ["kdzoo", *PACKAGES])
def test_every_exported_name_exists(name):
    if not PATHS[name].with_suffix(".pyi").exists():
        pytest.skip("exports nothing")
    module, names = importlib.import_module(name), exported_names(name)
    assert len(set(names)) == len(names)
    assert [exported for exported in names if not hasattr(module, exported)] == []
    assert set(names) <= set(dir(module))


def test_no_module_is_too_long():
    lengths = {name: len(path.read_text().splitlines()) for name, path in PATHS.items()}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def test_no_function_is_too_long():
    lengths = {
        f"{name}:{node.lineno} {node.name}": node.end_lineno - node.lineno + 1
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: length for name, length in lengths.items() if length > MOST_FUNCTION_LINES} == {}


def private_uses(tree: ast.AST) -> list[str]:
    """Private names of other modules of the project that a module imports, or accesses as `module._name`."""
    modules, found = set(), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.asname or alias.name for alias in node.names if alias.name in PATHS}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("apps", "kdzoo", "zoo"):
            for alias in node.names:
                if is_private(alias.name) or any(map(is_private, node.module.split("."))):
                    found.append(f"{node.lineno}: {node.module}.{alias.name}")
                if f"{node.module}.{alias.name}" in PATHS:
                    modules.add(alias.asname or alias.name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and ast.unparse(node.value) in modules:
            found.append(f"{node.lineno}: {ast.unparse(node)}")
    return found


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


@pytest.mark.parametrize("name", [*TREES, *TESTS])
def test_no_private_name_of_another_module_is_used(name):
    assert private_uses({**TREES, **TESTS}[name]) == []


def test_the_test_finds_private_names():
    code = """
import kdzoo.files
from kdzoo.models import names as model_names
from zoo.layers import _hidden
kdzoo.files._hidden
model_names._hidden
model_names.__doc__
self._own
"""
    assert [use.split(": ")[1] for use in private_uses(ast.parse(code))] == [
        "zoo.layers._hidden",
        "kdzoo.files._hidden",
        "model_names._hidden",
    ]
