"""Teachers onnx:FILE: layouts, dtypes and scaling of their images, their digests and tables; models that do not fit."""

import contextlib
import dataclasses
import hashlib
import json
import pathlib
import re
import shutil
import sys

import numpy as np
import pytest

from conftest import ROOT, app, run_python
from kdzoo.data import sources
from kdzoo.data.dataset import STATISTICS, Dataset
from kdzoo.experiments.grid import expand
from kdzoo.runs import checkpoints, identity, records, weights
from kdzoo.runs.config import METHODS, RunConfig
from kdzoo.teachers import image_layout, resolve
from kdzoo.teachers.cached_teacher import CALL_IMAGES, CachedTeacher
from kdzoo.teachers.output_cache import Cache
from kdzoo.training import train
from zoo import InputError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

TYPES = {"float32": onnx.TensorProto.FLOAT, "float16": onnx.TensorProto.FLOAT16, "uint8": onnx.TensorProto.UINT8}
TYPES["int64"] = onnx.TensorProto.INT64
# tests/golden/make_onnx.py made it with PyTorch from the weights of the published model.
OF_PYTORCH = f"onnx:{ROOT}/tests/fixtures/onnx/wrn10-1.onnx"
PUBLISHED = f"{ROOT}/tests/fixtures/models/digits/wrn10-1_2-3"


def write_quarters(
    path: pathlib.Path,
    *,
    layout: str = "nchw",
    shape: tuple | None = ("n", 3, 16, 16),
    dtype: str = "float32",
    scale: float = 0.1,
    pool: int = 8,
    nodes: tuple = (),
    outputs: dict | None = None,
    inputs: int = 1,
    external: bool = False,
) -> str:
    """Writes a model for the images of the fixture `npz`: its logits are the mean brightness of each quarter.

    Args:
        path: of the model.
        layout: of the images.
        shape: of the input, as if it were NCHW; None: of any rank.
        dtype: of the input.
        scale: of the logits.
        pool: height and width of the parts whose means are the logits; 8: quarters.
        nodes: more operations, each (type, input, output, attributes).
        outputs: name of each output -> the tensor that it is, of cast, plain1, plain2, plain3, means, scaled.
        inputs: number of inputs.
        external: whether the scale is kept in a file beside the model.

    Returns:
        The teacher's spec.
    """
    perm = [0, 3, 1, 2] if layout == "nhwc" else [0, 1, 2, 3]
    if shape and layout == "nhwc":
        shape = (shape[0], *shape[2:], shape[1])
    outputs = outputs or {"logits": "scaled"}
    operations = [
        ("Cast", "image", "cast", {"to": TYPES["float32"]}),
        ("Transpose", "cast", "plain1", {"perm": perm}),
        ("AveragePool", "plain1", "plain2", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("AveragePool", "plain1", "plain3", {"kernel_shape": [4, 4], "strides": [4, 4]}),
        ("AveragePool", "plain1", "parts", {"kernel_shape": [pool, pool], "strides": [pool, pool]}),
        ("ReduceMean", "parts", "grey", {"axes": [1]}),
        ("Flatten", "grey", "means", {}),
        ("Mul", "means scale", "scaled", {}),
        *nodes,
        *(("Identity", tensor, name, {}) for name, tensor in outputs.items()),
    ]
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node(kind, given.split(), [made], **attributes)
            for kind, given, made, attributes in operations
        ],
        "quarters",
        [onnx.helper.make_tensor_value_info(f"image{i or ''}", TYPES[dtype], shape) for i in range(inputs)],
        [onnx.helper.make_tensor_value_info(name, TYPES["float32"], None) for name in outputs],
        [onnx.numpy_helper.from_array(np.float32([scale]), "scale")],
    )
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("own", 1)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.save(model, str(path), save_as_external_data=external, location=f"{path.name}.data", size_threshold=0)
    return f"onnx:{path}"


@pytest.fixture
def dataset(npz) -> Dataset:
    return sources.load(f"npz:{npz}")


@pytest.fixture
def config(npz) -> RunConfig:
    return RunConfig(
        "wrn10-1",
        "1-2",
        dataset=f"npz:{npz}",
        augment="crop",
        batch_size=32,
        seed=1,
        lr=0.001,
        teacher_input="raw",
        **METHODS["kd"],
    )


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return sources.load("digits")


def find(spec: str, config: RunConfig, dataset: Dataset, **changes):
    """The teacher of this spec, checked and measured."""
    config = dataclasses.replace(config, teachers=(spec,), **changes)
    config.check()
    ensemble = resolve.Ensemble(config, dataset)
    ensemble.check(dataset)
    return ensemble.teachers[0]


def quarter_means(images: np.ndarray) -> np.ndarray:
    """Mean brightness of the quarters, [n, 4], of images [n, 16, 16, channels]."""
    return images.reshape(-1, 2, 8, 2, 8, images.shape[-1]).mean((2, 4, 5)).reshape(-1, 4)


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"layout": "nhwc"},
        {"dtype": "uint8"},
        {"layout": "nhwc", "dtype": "float16"},
        {"shape": (1, 3, 16, 16)},
        {"shape": (48, 3, 16, 16)},
        {"shape": ("n", 3, "h", "w")},
        {"shape": (None, 3, None, None), "layout": "nhwc"},
        {"external": True},
    ],
    ids=str,
)
def test_a_model_of_any_form_teaches(form, config, dataset, tmp_path):
    """Images of the test set, more than a call has, fewer, and one."""
    teacher = find(write_quarters(tmp_path / "net.onnx", **form), config, dataset)
    assert teacher.record["name"] == "net"
    assert teacher.record["test_error_last"] == 0
    for count in (1, 5, CALL_IMAGES, CALL_IMAGES + 22):
        images = np.resize(dataset.train.array, (count, 16, 16, 3))
        logits = teacher.compute(images)["logits"]
        np.testing.assert_allclose(logits, 0.1 * quarter_means(images), rtol=2e-6)
        np.testing.assert_array_equal(logits[:1], teacher.compute(images[:1])["logits"])


@pytest.mark.parametrize(
    ("fields", "mean", "std"),
    [
        ({"teacher_input": "raw"}, 0, 1 / 255),
        ({"teacher_input": "unit"}, 0, 1),
        ({"teacher_input": "imagenet"}, *STATISTICS["imagenet2012"]),
        (
            {"teacher_input": "standardised", "teacher_mean": "0.5,0.25, 0", "teacher_std": "0.5,1,0.1"},
            (0.5, 0.25, 0),
            (0.5, 1, 0.1),
        ),
        ({"teacher_input": "standardised"}, None, None),
    ],
)
def test_images_are_scaled_as_the_configuration_sets(fields, mean, std, config, dataset, tmp_path):
    teacher = find(write_quarters(tmp_path / "net.onnx", scale=3), config, dataset, **fields)
    images = dataset.train.array[:4]
    mean, std = (dataset.mean, dataset.std) if mean is None else (mean, std)
    expected = 3 * quarter_means((images / 255 - mean) / std)
    np.testing.assert_allclose(teacher.compute(images)["logits"], expected, rtol=1e-5, atol=1e-5)


def test_attention_maps_are_those_of_the_stages_in_either_layout(config, dataset, tmp_path):
    """The third model has NCHW images but stages in NHWC, as some converters leave them."""
    stages = {f"stage{i}": f"plain{i}" for i in (1, 2, 3)}
    turn = tuple(("Transpose", f"plain{i}", f"turned{i}", {"perm": [0, 2, 3, 1]}) for i in (1, 2, 3))
    turned = {f"stage{i}": f"turned{i}" for i in (1, 2, 3)}
    models = [
        write_quarters(tmp_path / "a.onnx", outputs={"logits": "scaled", **stages}),
        write_quarters(tmp_path / "b.onnx", outputs={"logits": "scaled", **stages}, layout="nhwc"),
        write_quarters(tmp_path / "c.onnx", outputs={"logits": "scaled", **turned}, nodes=turn),
    ]
    images = dataset.train.array[:6]
    found = [find(spec, config, dataset, at_weight=1.0).compute(images)["maps"] for spec in models]
    squares = np.square(images.astype(np.float64)).mean(-1).reshape(6, -1)
    expected = (squares / np.linalg.norm(squares, axis=1, keepdims=True)).reshape(6, 16, 16)
    for maps in found:
        assert [stage.shape for stage in maps] == [(6, 16, 16), (6, 8, 8), (6, 4, 4)]
        np.testing.assert_allclose(maps[0], expected, rtol=2e-3)
        for stage, first in zip(maps, found[0], strict=True):
            np.testing.assert_array_equal(stage, first)


def test_stages_may_have_names_of_their_own(config, dataset, tmp_path):
    outputs = {"logits": "scaled", "stage1": "plain1", "early": "plain2", "late": "plain3"}
    spec = write_quarters(tmp_path / "model.onnx", outputs=outputs)
    named, numbered = (find(spec, config, dataset, at_weight=1.0, teacher_stages=names) for names in ("early,late", ""))
    assert [stage.shape[1] for stage in named.compute(dataset.train.array[:2])["maps"]] == [8, 4]
    assert [stage.shape[1] for stage in numbered.compute(dataset.train.array[:2])["maps"]] == [16]
    assert named.key(dataset)["stages"] == ["early", "late"]
    assert "stages" not in numbered.key(dataset)
    with pytest.raises(InputError, match=r"teacher_stages names\. Received: early, late, logits, stage1 of graph of"):
        find(spec, config, dataset, at_weight=1.0, teacher_stages="early,last")


@pytest.mark.parametrize(
    ("stage", "image", "layout", "expected"),
    [
        ((2, 5, 8, 8), (32, 32), "nchw", (2, 8, 8, 5)),
        ((2, 8, 8, 5), (32, 32), "nchw", (2, 8, 8, 5)),
        ((2, 8, 8, 5), (32, 32), "nhwc", (2, 8, 8, 5)),
        ((2, 8, 8, 8), (32, 32), "nchw", (2, 8, 8, 8)),
        ((2, 64, 8, 10), (30, 40), "nchw", (2, 8, 10, 64)),  # rounded up
        ((2, 8, 10, 64), (30, 40), "nchw", (2, 8, 10, 64)),
    ],
)
def test_the_layout_of_a_stage(stage, image, layout, expected):
    assert image_layout.stage_from_model(np.zeros(stage), image, layout, "stage1").shape == expected


def test_a_network_of_pytorch_teaches_as_the_zoo_does(digits):
    """Logits, KD losses and attention maps of the same weights, in PyTorch's layout."""
    from kdzoo.distillation import losses

    config = RunConfig("wrn10-1", "1-2", dataset="digits", teacher_input="standardised", **METHODS["at+kd"])
    images = digits.train.read(np.arange(CALL_IMAGES))
    zoo, theirs = (find(spec, config, digits).compute(images) for spec in (PUBLISHED, OF_PYTORCH))
    np.testing.assert_allclose(theirs["logits"], zoo["logits"], atol=1e-4)
    student = np.random.default_rng(0).normal(0, 3, zoo["logits"].shape).astype(np.float32)
    kd = [
        np.asarray(losses.distillation(student_logits=student, teacher_logits=one["logits"])) for one in (zoo, theirs)
    ]
    np.testing.assert_allclose(kd[1], kd[0], atol=1e-4)
    for stage, expected in zip(theirs["maps"], zoo["maps"], strict=True):
        np.testing.assert_allclose(stage, expected, atol=1e-3)


def test_the_logits_are_those_that_pytorch_computed(digits):
    expected = json.loads((ROOT / "tests/fixtures/onnx/wrn10-1.json").read_text())
    config = RunConfig("wrn10-1", "1-2", dataset="digits", teacher_input="standardised", **METHODS["kd"])
    images = np.random.RandomState(0).randint(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    logits = find(OF_PYTORCH, config, digits).compute(images)["logits"]
    np.testing.assert_allclose(logits, expected["logits"], atol=2e-4)


def test_outputs_do_not_depend_on_the_other_images_of_a_call(digits):
    config = RunConfig("wrn10-1", "1-2", dataset="digits", teacher_input="standardised", **METHODS["at+kd"])
    teacher = find(OF_PYTORCH, config, digits)
    images = digits.train.read(np.arange(CALL_IMAGES))
    whole, order = teacher.compute(images), np.random.RandomState(0).permutation(CALL_IMAGES)
    for chosen in (order, order[:1], order[:37]):
        part = teacher.compute(images[chosen])
        np.testing.assert_array_equal(part["logits"], whole["logits"][chosen])
        for stage, expected in zip(part["maps"], whole["maps"], strict=True):
            np.testing.assert_array_equal(stage, expected[chosen])


def test_cached_outputs_are_those_of_the_live_teacher(digits, tmp_path):
    config = RunConfig(
        "wrn10-1", "1-2", dataset="digits", augment="crop", teacher_input="standardised", **METHODS["at+kd"]
    )
    teacher, rows = find(OF_PYTORCH, config, digits), np.array([5, 3000, 77, 100_000])
    live = CachedTeacher(teacher, digits, config).compute(rows)
    with contextlib.closing(CachedTeacher(teacher, digits, config, Cache(tmp_path))) as cached:
        cached.compute(rows[::-1])
        kept, missing = cached.look_up(rows)
        assert not missing.any()
        for kind in ("logits", "maps"):
            np.testing.assert_array_equal(kept[kind], live[kind])
        test_logits = cached.compute(cached.test_rows[:CALL_IMAGES])["logits"]
    np.testing.assert_array_equal(test_logits, teacher.test_logits[:CALL_IMAGES])


def test_the_key_of_its_tables_holds_all_that_its_outputs_depend_on(config, dataset, tmp_path):
    spec = write_quarters(tmp_path / "net.onnx", scale=3)
    imagenet = find(spec, config, dataset, teacher_input="imagenet").key(dataset)
    own = {"teacher_input": "standardised", "teacher_mean": "0.5,0.5,0.5", "teacher_std": "0.5,0.5,0.5"}
    keys = [imagenet, find(spec, config, dataset, **own).key(dataset)]
    keys += [find(spec, config, dataset, teacher_input=name).key(dataset) for name in ("unit", "standardised")]
    keys += [find(write_quarters(tmp_path / "b.onnx", scale=2), config, dataset, teacher_input="unit").key(dataset)]
    assert len({json.dumps(key) for key in keys}) == len(keys)
    assert imagenet["teacher"] == hashlib.sha256((tmp_path / "net.onnx").read_bytes()).hexdigest()
    assert imagenet["layout"] == "nchw"
    assert imagenet["onnxruntime"] == sys.modules["onnxruntime"].__version__


def test_a_digest_is_that_of_all_files_wherever_they_are(tmp_path):
    digests = []
    for folder, scale in (("a", 0.1), ("b", 0.1), ("c", 0.2)):
        (tmp_path / folder).mkdir()
        spec = write_quarters(tmp_path / folder / "net.onnx", external=True, scale=scale)
        digests.append(resolve.describe(spec)["digest"])
    assert (tmp_path / "a/net.onnx").read_bytes() == (tmp_path / "c/net.onnx").read_bytes()
    assert digests[0] == digests[1] != digests[2]


def test_a_model_that_changes_while_it_teaches_ends_the_run(config, dataset, tmp_path):
    spec = write_quarters(tmp_path / "net.onnx", external=True)
    teacher, images = find(spec, config, dataset), dataset.test.array
    teacher.compute(images)
    (tmp_path / "net.onnx.data").write_bytes(bytes(16))
    with pytest.raises(InputError, match=r"must not change while it teaches.*net\.onnx\.data has changed$"):
        teacher.compute(images)
    spec = write_quarters(tmp_path / "other.onnx")
    teacher = find(spec, config, dataset)
    (tmp_path / "other.onnx").unlink()
    with pytest.raises(InputError, match=r"other\.onnx has changed$"):
        teacher.compute(images)


SOFTMAX, TURN = ("Softmax", "scaled", "softened", {}), ("Transpose", "scaled", "turned", {})
REFUSED = {
    "any channels": (
        {"shape": ("n", "c", "h", "w")},
        {},
        r"must be nchw or nhwc.*Received: auto for \[\?, \?, \?\] of",
    ),
    "3 channels twice": ({"shape": ("n", 3, 16, 3)}, {}, r"must be nchw or nhwc.*Received: auto for \[3, 16, 3\] of"),
    "other layout": ({}, {"teacher_layout": "nhwc"}, r"image shape: \(16, 16, 3\)\. Received: \(3, 16, 16\)"),
    "other size": ({"shape": ("n", 3, 32, 32)}, {}, r"image shape: \(16, 16, 3\)\. Received: \(32, 32, 3\)"),
    "1 channel": ({"shape": ("n", 1, 16, 16)}, {}, r"image shape: \(16, 16, 3\)\. Received: \(16, 16, 1\)"),
    "16 classes": ({"pool": 4}, {}, r"number of classes: \(4,\)\. Received: \(16,\)"),
    "any rank": ({"shape": None}, {}, r"must have one input of images.*Received: image tensor\(float\) \[\] of"),
    "2 inputs": ({"inputs": 2}, {}, r"must have one input of images.*Received: image .*, image1 .* of"),
    "int64": ({"dtype": "int64"}, {}, r"float32, float16 or uint8.*Received: image tensor\(int64\)"),
    "no range": ({}, {"teacher_input": "auto"}, "teacher_input must be set.*Received: auto for float32"),
    "wrong classes": ({"scale": -1}, {}, "must know the classes.*Received: test error 100.00 %"),
    "probabilities": (
        {"nodes": (SOFTMAX,), "outputs": {"share": "softened"}},
        {},
        "must output logits.*Received: probabilities, share of graph",
    ),
    "two outputs": (
        {"outputs": {"a": "scaled", "b": "means"}},
        {},
        "teacher_logits must be one of a, b. Received: logits of onnx:",
    ),
    "no rows": (
        {"nodes": (TURN,), "outputs": {"logits": "turned"}},
        {},
        r"must have a row for each image\. Received: \(4, 128\) for 128",
    ),
    "no stages": ({}, {"at_weight": 1.0}, "must have outputs stage1, stage2.*Received: logits of graph of onnx:"),
    "flat stages": (
        {"outputs": {"logits": "scaled", "stage1": "means"}},
        {"at_weight": 1.0},
        r"stages must be .*Received: \[64, 4\], stage1 of onnx:",
    ),
    "unknown operation": ({"nodes": (("Unheard", "scaled", "x", {}),)}, {}, "onnxruntime runs. Received: .*Unheard"),
    "own operation": (
        {"nodes": (("Unheard", "scaled", "x", {"domain": "own"}),)},
        {},
        "onnxruntime runs. Received: .*Unheard",
    ),
    "inner size": (  # the input's shape is open, but the graph needs another
        {"shape": ("n", 3, "h", "w"), "nodes": (("Add", "plain1 plain2", "x", {}),), "outputs": {"logits": "x"}},
        {},
        r"onnxruntime runs. Received: onnx:.* on float32 images \[128, 16, 16, 3\]: ",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_model_that_does_not_fit_is_refused_in_one_line(case, config, dataset, capfd, tmp_path):
    form, changes, message = REFUSED[case]
    spec = write_quarters(tmp_path / "net.onnx", **form)
    with pytest.raises(InputError, match=message) as refused:
        find(spec, config, dataset, **changes)
    assert "\n" not in str(refused.value)
    assert "onnxruntime" not in capfd.readouterr().err


def test_statistics_of_other_channels_are_refused(config, dataset, tmp_path):
    splits = [dataclasses.replace(split, images=split.array[..., :1]) for split in (dataset.train, dataset.test)]
    grey = dataclasses.replace(dataset, train=splits[0], test=splits[1], mean=(0.5,), std=(0.5,))
    spec = write_quarters(tmp_path / "net.onnx", shape=("n", 1, 16, 16))
    assert find(spec, config, grey, teacher_input="standardised").record["test_error_last"] == 0
    with pytest.raises(InputError, match=r"their 1 channels\. Received: 3, imagenet for onnx:"):
        find(spec, config, grey, teacher_input="imagenet")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"onnx:FILE must be a file, for example onnx:resnet18\.onnx\. Received: "),
        (b"", "must be an ONNX model that onnxruntime runs. Received: "),
        (b"no model", "must be an ONNX model that onnxruntime runs. Received: "),
        (pathlib.Path(ROOT / "tests/fixtures/run/model.weights.h5"), "must be an ONNX model that onnxruntime runs"),
    ],
)
def test_what_is_no_model_is_refused(content, message, config, dataset, tmp_path):
    path = tmp_path / "net.onnx"
    if content is not None:
        path.write_bytes(content.read_bytes() if isinstance(content, pathlib.Path) else content)
    with pytest.raises(InputError, match=message) as refused:
        find(f"onnx:{path}", config, dataset)
    assert "\n" not in str(refused.value)
    if content is None:
        for spec in (f"onnx:{path}", "onnx:", f"onnx:{tmp_path}", "onnx:\0"):
            with pytest.raises(InputError, match=message):
                resolve.check_exists(spec)


def test_missing_external_data_is_named(config, dataset, tmp_path):
    spec = write_quarters(tmp_path / "net.onnx", external=True)
    (tmp_path / "net.onnx.data").unlink()
    with pytest.raises(InputError, match=r"external data beside it\. Received: onnx:.* without net\.onnx\.data$"):
        find(spec, config, dataset)


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_without_the_extra_the_error_names_it(package, config, dataset, monkeypatch, tmp_path):
    spec = write_quarters(tmp_path / "net.onnx")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=re.escape("needs the extra onnx: pip install 'kdzoo[onnx]'. Received: onnx:")):
        find(spec, config, dataset)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"teacher_mean": "0.5"}, r"set together.*Received: 0\.5 and none, teacher_input=raw"),
        ({"teacher_std": "0.5", "teacher_input": "standardised"}, "set together.*Received: none and 0.5"),
        ({"teacher_mean": "0.5", "teacher_std": "0.5", "teacher_input": "unit"}, "set together.*teacher_input=unit"),
        ({"teacher_mean": "123.7", "teacher_std": "58.4"}, "teacher_mean must be at least 0 and at most 1.*: 123.7"),
        ({"teacher_mean": "0.5", "teacher_std": "0"}, "teacher_std must be above 0 and at most 1.*: 0$"),
        ({"teacher_mean": "0.5,", "teacher_std": "0.5"}, "teacher_mean must be .*Received: nothing"),
        ({"teacher_mean": "0.5,0.5", "teacher_std": "0.5"}, "one value for each channel. Received: 0.5,0.5 and 0.5"),
        ({"teacher_layout": "chwn"}, "teacher_layout must be one of auto, nchw, nhwc. Received: chwn"),
    ],
)
def test_impossible_settings_are_refused(fields, message, config):
    given = {"teacher_input": "standardised"} if fields.keys() == {"teacher_mean", "teacher_std"} else {}
    with pytest.raises(InputError, match=message):
        dataclasses.replace(config, teachers=("onnx:net.onnx",), **given, **fields).check()


def test_statistics_identify_a_run_and_a_layout_that_was_found_does_not(config):
    """A layout that the model's shape shows is the only one that it takes."""

    def identify(teachers=("d",), **fields):
        fields = vars(dataclasses.replace(config, **fields))
        return identity.identify(fields, dataset="x", fingerprint="f", teachers=list(teachers))

    earlier = {key: value for key, value in vars(config).items() if key not in ("teacher_layout", "teacher_mean")}
    earlier = identity.identify(earlier, dataset="x", fingerprint="f", teachers=["d"])
    assert identity.changes(earlier, identify()) == []
    assert identity.changes(identify(), identify(teacher_layout="nhwc")) == []
    assert len(identity.changes(identify(teacher_layout="nchw"), identify(teacher_layout="nhwc"))) == 1
    assert len(identity.changes(earlier, identify(teacher_mean="0.5", teacher_std="0.5"))) == 2
    assert identity.changes(identify(()), identify((), teacher_mean="0.5", teacher_layout="nhwc")) == []


def test_a_sweep_takes_an_onnx_teacher(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = write_quarters(tmp_path / "net.onnx")
    (run,) = expand({"runs": [{"student": "wrn10-1", "schedule": "1-2", "teacher": spec, "teacher_input": "imagenet"}]})
    assert run.config.teachers == (spec,)
    assert run.config.teacher_input == "imagenet"
    with pytest.raises(InputError, match=r"else exist\. A teacher onnx:FILE must be a file"):
        expand({"runs": [{"student": "wrn10-1", "schedule": "1-2", "teacher": "onnx:missing.onnx"}]})


def losses_of(record: dict) -> list[dict]:
    return [{key: row[key] for key in ("loss", "ce", "kd", "at", "test_ce") if key in row} for row in record["history"]]


DIGITS = {"dataset": "digits", "train_examples": 320, "batch_size": 32, "seed": 1, "lr": 0.001}


@pytest.mark.slow
def test_a_run_with_a_network_of_pytorch_has_the_losses_of_the_zoo(tmp_path):
    """Live, from an empty table and from a full one: the same to the bit."""
    config = RunConfig("wrn10-1", "1-2", teacher_input="standardised", **DIGITS, **METHODS["at+kd"])
    zoo = train.run(dataclasses.replace(config, teachers=(PUBLISHED,)), tmp_path / "zoo")
    config, cache = dataclasses.replace(config, teachers=(OF_PYTORCH,)), str(tmp_path / "cache")
    runs = {
        name: train.run(config, tmp_path / name, teacher_cache="off" if name == "live" else cache)
        for name in ("live", "cold", "warm")
    }
    for one, other in zip(losses_of(zoo), losses_of(runs["live"]), strict=True):
        assert other == pytest.approx(one, rel=1e-4)
    errors = [record["teachers"][0]["test_error_last"] for record in (zoo, runs["live"])]
    assert errors[0] == pytest.approx(errors[1])
    assert runs["cold"]["sessions"][-1]["teacher_rows"]["asked"] > 0
    assert runs["warm"]["sessions"][-1]["teacher_rows"]["asked"] == 0
    assert same_weights(*(tmp_path / name for name in runs))


@pytest.mark.slow
def test_a_run_whose_teacher_changes_ends_and_resumes_to_the_bit_once_it_is_restored(tmp_path):
    path = pathlib.Path(shutil.copy(OF_PYTORCH.removeprefix("onnx:"), tmp_path / "net.onnx"))
    config = RunConfig("wrn10-1", "1-2", teacher_input="standardised", **DIGITS, **METHODS["kd"])
    config = dataclasses.replace(config, teachers=(f"onnx:{path}",))
    content = path.read_bytes()

    def change() -> bool:
        describe(path)
        return False

    with pytest.raises(InputError, match=r"must not change while it teaches.*net\.onnx has changed"):
        train.run(config, tmp_path / "run", teacher_cache="off", stopping=change)
    assert checkpoints.load(tmp_path / "run")
    with pytest.raises(InputError, match=r"teachers net \("):
        train.run(config, tmp_path / "run", teacher_cache="off")
    path.write_bytes(content)
    train.run(config, tmp_path / "run", teacher_cache="off")
    train.run(config, tmp_path / "whole", teacher_cache="off")
    assert same_weights(tmp_path / "run", tmp_path / "whole")


def describe(path: pathlib.Path) -> None:
    """Changes a model's file, but nothing that it computes."""
    model = onnx.load(path)
    model.doc_string = "other"
    onnx.save(model, path)


def same_weights(*workdirs: pathlib.Path) -> bool:
    """Whether the networks of several runs are equal to the bit."""
    first, *others = (weights.load_model(workdir).get_weights() for workdir in workdirs)
    return all((a == b).all() for other in others for a, b in zip(first, other, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_the_commands_take_an_onnx_teacher(backend, tmp_path):
    """Outputs computed ahead, then read by the run; on JAX without TensorFlow. A changed model is another teacher."""
    spec = f"onnx:{shutil.copy(OF_PYTORCH.removeprefix('onnx:'), tmp_path / 'net.onnx')}"
    data = ["--dataset=digits", "--train_examples=320", f"--teacher_cache={tmp_path}/cache"]
    teacher = [f"--teacher={spec}", "--teacher_input=standardised", "--teacher_layout=nchw"]
    ahead = app(backend, "precompute", *teacher, *data, "--schedule=1-2", "--seeds=0")
    done = run_python(*ahead.pop("args"), **ahead)
    assert done.returncode == 0, done.stderr[-3000:]
    command = ["--student=wrn10-1", "--schedule=1-2", "--batch_size=32", *teacher, *data, f"--workdir={tmp_path}/run"]
    distill = app(backend, "distill", *command)
    arguments = distill.pop("args")
    done = run_python(*arguments, **distill)
    assert done.returncode == 0, done.stderr[-3000:]
    record = records.read(tmp_path / "run")
    assert record["sessions"][-1]["teacher_rows"]["asked"] == 0
    assert record["teachers"][0]["name"] == "net"
    describe(tmp_path / "net.onnx")
    done = run_python(*arguments, **distill)
    assert done.returncode == 2
    assert re.search(r"must not hold a finished run of another configuration.*teachers net \(", done.stderr)
