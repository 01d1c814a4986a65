import pytest

from kdzoo.models import specs
from zoo import InputError


@pytest.mark.parametrize(
    ("text", "kind", "target", "arguments", "slug"),
    [
        ("wrn16-1", "zoo", "wrn16-1", {}, "wrn16-1"),
        ("keras:MobileNetV3Small", "keras", "MobileNetV3Small", {}, "mobilenetv3small"),
        ("keras:MobileNetV2?alpha=0.35", "keras", "MobileNetV2", {"alpha": 0.35}, "mobilenetv2-alpha0.35"),
        ("keras:MobileNetV2?weights=imagenet", "keras", "MobileNetV2", {"weights": "imagenet"}, "mobilenetv2"),
        ("kerashub:resnet_18_imagenet", "kerashub", "resnet_18_imagenet", {}, "resnet-18-imagenet"),
        ("kerashub:/models/My Preset/", "kerashub", "/models/My Preset/", {}, "my-preset"),
        ("nets/Own Net.keras", "file", "nets/Own Net.keras", {}, "own-net"),
        ("my_nets.small:build", "function", "my_nets.small:build", {}, "build"),
        ("nets:build?width=2&wide=true", "function", "nets:build", {"width": 2, "wide": True}, "build-width2-widetrue"),
        ("3d.keras", "file", "3d.keras", {}, "model-3d"),
    ],
)
def test_specs(text, kind, target, arguments, slug):
    spec = specs.parse(text)
    assert (spec.kind, spec.target, dict(spec.arguments), spec.slug) == (kind, target, arguments, slug)
    assert spec.own_standardisation == (kind != "zoo")


def test_arguments_may_be_a_json_object():
    assert specs.parse("nets:build?width=2", '{"depths": [2, 2]}').arguments == {"width": 2, "depths": [2, 2]}


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("", "", "A model must be named wrn<depth>-<width>.*Received: nothing"),
        ("wrn17-1", "", "depth must be 6N"),
        ("wrn16-1?width=2", "", "A zoo model takes no arguments"),
        ("net.keras?width=2", "", "A file takes no arguments"),
        ("keras:", "", "or be keras:NAME.*Received: keras:"),
        ("torch:resnet18.pt", "", "or be keras:NAME.*Received: torch:resnet18.pt"),
        ("nets:build?a=1&a=2", "", "each once"),
        ("nets:build?a=1", '{"a": 2}', "each once"),
        ("nets:build", '{"a": ', "model_args must be a JSON object"),
        ("nets:build", "[1]", "model_args must be a JSON object"),
    ],
)
def test_what_names_no_model(text, arguments, message):
    with pytest.raises(InputError, match=message) as error:
        specs.parse(text, arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["Net", "wrn16-2", "a_b", "-a", "a" * 64, "a/b"])
def test_names_that_runs_cannot_have(name):
    with pytest.raises(InputError, match="name must be lower-case"):
        specs.check_name(name, specs.parse("keras:MobileNetV2"))


def test_a_zoo_model_has_its_own_name():
    with pytest.raises(InputError, match="name must be empty for a zoo model"):
        specs.check_name("small", specs.parse("wrn16-1"))
    specs.check_name("", specs.parse("wrn16-1"))
    specs.check_name("small-75.b", specs.parse("keras:MobileNetV2"))


def test_the_folder_of_a_file_identifies_no_model(tmp_path):
    path = tmp_path / "net.keras"
    path.write_bytes(b"abc")
    spec = specs.parse(str(path))
    assert specs.digest(spec) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert specs.without_path(str(path)) == "net.keras"
    of_weights = f"keras:MobileNetV2?weights={path}&alpha=1.0"
    assert specs.parse(of_weights).file == str(path)
    assert specs.without_path(of_weights) == "keras:MobileNetV2?weights=net.keras&alpha=1.0"
    assert specs.digest(specs.parse("keras:MobileNetV2?weights=imagenet")) == ""
    path.unlink()
    with pytest.raises(InputError, match=r"A model's file must be one that can be read.*No such file"):
        specs.digest(spec)
