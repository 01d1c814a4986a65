import ast
import re
import subprocess
import sys

import pytest

from conftest import ROOT
from kdzoo.distillation import registry
from zoo import InputError

OTHERS = [name for name in registry.names() if name not in registry.TERMS]


@pytest.mark.parametrize("name", OTHERS)
def test_a_method_has_its_paper_its_weights_and_one_class(name):
    tree = ast.parse((ROOT / f"kdzoo/distillation/methods/{name}.py").read_text())
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and "Method" in ast.unparse(node.bases[0])]
    assert len(classes) == 1
    method, weights = registry.resolve(name)
    assert weights["method_weight"] > 0
    assert method == registry.make(name)
    assert registry.fields(name) == {"distillation_method": name, "method_args": "", **weights}


def test_arguments_are_kept_where_they_differ():
    fields = registry.fields("dkd", ["temperature=4", "beta=2", "alpha=0.5"])
    assert fields["method_args"] == '{"alpha": 0.5, "beta": 2.0}'
    assert registry.words(fields["method_args"]) == ["alpha=0.5", "beta=2.0"]
    assert registry.fields("dkd", registry.words(fields["method_args"])) == fields
    assert registry.make("dkd", fields["method_args"]).beta == 2.0


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("none", ["a=1"], "method_args must be empty with none"),
        ("dkd", ["beta"], "method_args must be NAME=VALUE"),
        ("dkd", ["beta=1", "beta=2"], "each once"),
        ("dkd", ["beta=x"], r"for example beta=8.0. Received: beta=x"),
        ("dkd", ["gamma=1"], "The arguments of dkd are: alpha, beta, temperature, warmup_share. Received: gamma"),
        ("sp", ["gamma=1"], "The arguments of sp are: none. Received: gamma"),
        ("lskd", ["mode=no"], "mode must be one of code, paper"),
        ("dkd", ["temperature=0"], "temperature"),
        ("dkd", ["beta=-1"], "beta"),
        ("ttm", ["exponent=0"], "exponent"),
        ("ab", ["margin=-1"], "margin"),
        ("cc", ["size=0"], "size"),
        ("crd", ["negatives=0"], "negatives"),
        ("crd", ["momentum=1.5"], "momentum"),
        ("ft", ["rate=0"], "rate"),
        ("label_smoothing", ["smoothing=1"], "smoothing"),
        ("rkd", ["angle_weight=-1"], "angle_weight"),
        ("semckd", ["factor=0"], "factor"),
        ("tfkd", ["probability=1"], "probability"),
        ("tfkd", ["student_temperature=0"], "student_temperature"),
        ("fitnets", ["stage=1.5"], "stage"),
        ("nothing", [], "method must be one of none, kd, at, .*dkd.* Received: nothing"),
    ],
)
def test_wrong_arguments_are_reported(name, arguments, message):
    with pytest.raises(InputError, match=message):
        registry.make(name, registry.fields(name, arguments).get("method_args", ""))


def test_names_and_lines_need_no_backend():
    code = "import sys; from kdzoo.distillation import registry; print(registry.summaries());"
    code += " assert 'keras' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "Decoupled knowledge distillation (DKD)" in done.stdout


@pytest.mark.parametrize("name", OTHERS)
def test_a_method_names_its_paper(name):
    docstring = ast.get_docstring(ast.parse((ROOT / f"kdzoo/distillation/methods/{name}.py").read_text()))
    citation = docstring.split("\n\n")[1]
    assert re.match(r'[^"]+, "[^"]+", .*?\b(19|20)\d\d\b', " ".join(citation.split())), citation
