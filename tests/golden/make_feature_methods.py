"""Makes feature_methods.json from the published code of the methods' authors, run on CPU with PyTorch, in float64.

    pip install torch torchvision
    git clone each repository that the json names, into one folder, at its commit
    python tests/golden/make_feature_methods.py FOLDER

Inputs and weights are drawn from their names, in the layout of Keras. The json holds their shapes, each loss, and its
gradients by the student's inputs and by the adapters' weights. Code that cannot run as it is is patched at run time:

- `.cuda()` in RepDistiller and SemCKD, and `.to("cuda")` in ReviewKD, return the tensor or module itself.
- `metric.utils` in RKD, and two modules with relative imports in torchdistill, are loaded or replaced by name.
- The networks of AB_distillation are their numbers of channels, the student of ReviewKD is a list of features.
"""

import importlib
import json
import pathlib
import re
import sys
import types
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from authors import Clones, measure, stub
from draws import draw

N = 6
CLONES = Clones(pathlib.Path(sys.argv[1]))
LOSSES: dict[str, dict] = {}

# The code moves tensors and modules to a GPU as it builds them.
torch.Tensor.cuda = lambda self, *args, **kwargs: self


def repdistiller(path: str) -> types.ModuleType:
    return CLONES.load("HobbitLong/RepDistiller", path)


def to_torch(array: np.ndarray) -> np.ndarray:
    """Features from channels last to first."""
    return array.transpose(0, 3, 1, 2) if array.ndim == 4 else array


def from_torch(array: np.ndarray) -> np.ndarray:
    """Features from channels first to last."""
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


def kernel_from_torch(array: np.ndarray) -> np.ndarray:
    """Weights of PyTorch in the layout of Keras; kernels of transposed convolutions, too."""
    return array.transpose({4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[array.ndim])


def kernel_to_torch(array: np.ndarray) -> np.ndarray:
    return array.transpose({4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[array.ndim])


def set_weights(case: str, names: dict[str, nn.Parameter]) -> None:
    """Draws weights from the case and their names in Keras."""
    for name, parameter in names.items():
        shape = kernel_from_torch(parameter.detach().numpy()).shape
        parameter.data = torch.tensor(kernel_to_torch(draw(f"{case}/{name}", shape, scale=0.5)).copy())


def keras_names(module: nn.Module, adapter: str, layers: dict[str, str]) -> dict[str, nn.Parameter]:
    """Names of a module's parameters in Keras.

    Args:
        module: of the authors.
        adapter: name that stands before all.
        layers: from a pattern of the names of the module's layers to the name of the Keras layer.
    """
    named = {}
    for name, parameter in module.named_parameters():
        layer, _, kind = name.rpartition(".")
        pattern = next(pattern for pattern in layers if re.fullmatch(pattern, layer))
        keras_layer = re.sub(pattern, layers[pattern], layer)
        if kind in ("weight", "bias"):
            normalisation = isinstance(module.get_submodule(layer), nn.BatchNorm2d)
            kind = {"weight": "gamma", "bias": "beta"}[kind] if normalisation else kind.replace("weight", "kernel")
        named[f"{adapter}/{keras_layer}/{kind}".removeprefix("/")] = parameter
    return named


def add(
    case: str,
    loss: Callable[..., torch.Tensor],
    shapes: dict[str, Sequence[int]],
    weights: dict[str, nn.Parameter] | None = None,
    **values: object,
) -> None:
    """Computes a case.

    Args:
        case: its name.
        loss: from inputs by name, channels first, to a scalar.
        shapes: of the inputs, channels last, without the batch.
        weights: by their names in Keras.
        values: other numbers that the test compares.
    """
    weights = weights or {}
    set_weights(case, weights)
    inputs = {name: draw(f"{case}/{name}", (N, *shape)) for name, shape in shapes.items()}
    students = [name for name in inputs if name.startswith("student")]
    result = measure(loss, {k: to_torch(v).copy() for k, v in inputs.items()}, differentiate=students, weights=weights)
    gradients = {
        name: (kernel_from_torch if name in weights else from_torch)(np.array(gradient))
        for name, gradient in result["gradients"].items()
    }
    LOSSES[case] = {
        "inputs": {name: array.shape for name, array in inputs.items()},
        "weights": {name: kernel_from_torch(value.detach().numpy()).shape for name, value in weights.items()},
        "loss": result["loss"],
        "gradients": {name: rounded(gradient) for name, gradient in gradients.items()},
        **values,
    }


def rounded(array: np.ndarray) -> list:
    """Nested lists of 9 significant digits."""
    return np.vectorize(lambda x: float(f"{x:.9g}"), otypes=[float])(array).tolist()


def stages(inputs: dict[str, torch.Tensor], network: str) -> list[torch.Tensor]:
    return [inputs[name] for name in sorted(inputs) if name.startswith(network)]


def add_fitnets() -> None:
    regressor = repdistiller("models/util.py").ConvReg
    hint = repdistiller("distiller_zoo/FitNet.py").HintLoss()
    for name, student, teacher in (("equal", 4, 4), ("halved", 8, 4), ("doubled", 2, 4), ("valid", 7, 4)):
        module = regressor((N, 3, student, student), (N, 2, teacher, teacher))
        add(
            f"fitnets_{name}",
            lambda student, teacher, module=module: hint(module(student), teacher),
            {"student": (student, student, 3), "teacher": (teacher, teacher, 2)},
            keras_names(module, "regressor", {"conv": "conv", "bn": "final_bn"}),
        )


def add_relations() -> None:
    similarity = repdistiller("distiller_zoo/SP.py").Similarity()
    add(
        "sp", lambda student, teacher: similarity([student], [teacher])[0], {"student": (2, 2, 3), "teacher": (4, 4, 2)}
    )

    pkt = CLONES.load("passalis/probabilistic_kt", "nn/pkt.py")
    shapes = {"student": (5,), "teacher": (7,)}
    add("pkt", lambda student, teacher: pkt.cosine_similarity_loss(student, teacher), shapes)

    stub("metric.utils", pdist=CLONES.load("lenscloth/RKD", "metric/utils.py").pdist)
    rkd = CLONES.load("lenscloth/RKD", "metric/loss.py")
    add("rkd_distance", lambda student, teacher: rkd.RkdDistance()(student, teacher), shapes)
    add("rkd_angle", lambda student, teacher: rkd.RKdAngle()(student, teacher), shapes)
    relational = repdistiller("distiller_zoo/RKD.py").RKDLoss()
    add("rkd", lambda student, teacher: relational(student, teacher), shapes)


def add_cc() -> None:
    embed = repdistiller("models/util.py").LinearEmbed
    modules = embed(5, 3), embed(7, 3)
    weights = {
        name: parameter
        for module, network in zip(modules, ("student", "teacher"), strict=True)
        for name, parameter in keras_names(module, network, {"linear": "linear"}).items()
    }
    shapes = {"student": (5,), "teacher": (7,)}
    correlation = repdistiller("distiller_zoo/CC.py").Correlation()
    add("cc_code", lambda student, teacher: correlation(modules[0](student), modules[1](teacher)), shapes, weights)

    # torchdistill takes the norm of the difference, and features of any length.
    torchdistill_loss = torchdistill().CCKDLoss(
        "linear", "linear", {"type": "gaussian", "gamma": 0.4, "max_p": 2}, reduction="sum"
    )

    def paper(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        outputs = [
            {"linear": {"output": F.normalize(module(x))}}
            for module, x in zip(modules, (student, teacher), strict=True)
        ]
        return torchdistill_loss(*outputs) ** 2 / N**2

    add("cc_paper", paper, shapes, weights)


def torchdistill() -> types.ModuleType:
    """Torchdistill's losses, whose relative imports lead out of their folder."""
    folder = CLONES.folder / "torchdistill/torchdistill/losses"
    identity = {name: lambda function: function for name in ("register_loss_wrapper", "register_mid_level_loss")}
    stub("torchdistill.losses.registry", **identity)
    stub("torchdistill.common.constant", def_logger=types.SimpleNamespace(getChild=lambda name: None))
    for name in ("torchdistill", "torchdistill.losses", "torchdistill.common"):
        sys.modules[name].__path__ = [str(folder)]
    CLONES.note("yoshitomo-matsubara/torchdistill", "torchdistill/losses/mid_level.py")
    return importlib.import_module("torchdistill.losses.mid_level")


def add_vid() -> None:
    vid = repdistiller("distiller_zoo/VID.py").VIDLoss
    layers = {r"regressor\.0": "conv1", r"regressor\.2": "conv2", r"regressor\.4": "conv3", "": "variance"}
    for name, student, teacher in (("equal", 4, 4), ("larger", 4, 2), ("smaller", 2, 4)):
        module = vid(3, 2, 2)
        weights = keras_names(module, "predictor", layers)
        weights["predictor/variance/scale"] = weights.pop("predictor/variance/log_scale")
        add(
            f"vid_{name}",
            lambda student, teacher, module=module: module(student, teacher),
            {"student": (student, student, 3), "teacher": (teacher, teacher, 2)},
            weights,
        )


def add_stages() -> None:
    nst = repdistiller("distiller_zoo/NST.py").NSTLoss()
    add(
        "nst",
        lambda **x: sum(nst(stages(x, "student"), stages(x, "teacher"))),
        {"student1": (4, 4, 2), "student2": (4, 4, 3), "student3": (2, 2, 3)}
        | {"teacher1": (4, 4, 3), "teacher2": (2, 2, 3), "teacher3": (4, 4, 2)},
    )

    shapes = {"1": (4, 4, 2), "2": (4, 4, 3), "3": (2, 2, 4)}
    shapes = {f"{network}{i}": shape for network in ("student", "teacher") for i, shape in shapes.items()}
    fsp = repdistiller("distiller_zoo/FSP.py").FSP
    add("fsp", lambda **x: sum(fsp([], [])(stages(x, "student"), stages(x, "teacher"))), shapes)

    boundaries = repdistiller("distiller_zoo/AB.py").ABLoss(3)
    # The connectors of the authors, which need no more of the networks than their numbers of channels.
    wrapper = CLONES.load("bhheo/AB_distillation", "models/distillation_module.py").Active_Soft_WRN_norelu
    module = wrapper(*(types.SimpleNamespace(nChannels=channels) for channels in (12, 8)))
    add(
        "ab",
        lambda **x: sum(
            boundaries(
                [c(s) for c, s in zip(module.Connectors, stages(x, "student"), strict=True)], stages(x, "teacher")
            )
        ),
        {"student1": (4, 4, 2), "student2": (2, 2, 4), "student3": (1, 1, 8)}
        | {"teacher1": (4, 4, 3), "teacher2": (2, 2, 6), "teacher3": (1, 1, 12)},
        keras_names(module, "", {r"Connect(\d)\.0": r"connector\1/conv", r"Connect(\d)\.1": r"connector\1/bn"}),
    )


def add_ft() -> None:
    networks = CLONES.load("Jangho-Kim/Factor-Transfer-pytorch", "Models/FeatureProjection.py")
    utils = CLONES.load("Jangho-Kim/Factor-Transfer-pytorch", "utils.py")
    layers = {
        f"{kind}conv{i}": f"{keras}{i + 1}" for kind, keras in (("", "encode"), ("de", "decode")) for i in range(3)
    }
    paraphraser, translator = networks.Paraphraser(4, 2), networks.Translator(3, 2)
    frozen = {k: v for k, v in keras_names(paraphraser, "paraphraser", layers).items() if "encode" in k}
    set_weights("ft", frozen)
    add(
        "ft",
        lambda student, teacher: nn.L1Loss()(utils.FT(translator(student)), utils.FT(paraphraser(teacher, 1).detach())),
        {"student": (4, 4, 3), "teacher": (4, 4, 4)},
        keras_names(translator, "translator", layers),
        frozen={name: kernel_from_torch(value.detach().numpy()).shape for name, value in frozen.items()},
    )
    add(
        "ft_reconstruction",
        lambda teacher: nn.L1Loss()(paraphraser(teacher, 0), teacher.detach()),
        {"teacher": (4, 4, 4)},
        keras_names(paraphraser, "paraphraser", layers),
    )
    maps = repdistiller("distiller_zoo/FT.py").FactorTransfer()
    for name, student, teacher in (("larger", 4, 2), ("smaller", 2, 4)):
        shapes = {"student": (student, student, 3), "teacher": (teacher, teacher, 3)}
        add(f"ft_maps_{name}", lambda student, teacher: maps(student, teacher), shapes)


def add_crd() -> None:
    num_examples, negatives, size = 20, 5, 4
    options = {"s_dim": 5, "t_dim": 7, "feat_dim": size, "n_data": num_examples, "nce_k": negatives}
    module = repdistiller("crd/criterion.py").CRDLoss(types.SimpleNamespace(**options, nce_t=0.07, nce_m=0.5))
    weights = keras_names(module, "", {"embed_s.linear": "student/linear", "embed_t.linear": "teacher/linear"})
    index = np.random.RandomState(0).permutation(num_examples)[:N]
    negative = np.random.RandomState(1).randint(0, num_examples, (N, negatives))
    rows = torch.tensor(np.concatenate([index[:, None], negative], axis=1))
    banks = {name: draw(f"crd/{name}", (num_examples, size), scale=0.5) for name in ("student_bank", "teacher_bank")}
    module.contrast.memory_v1.copy_(torch.tensor(banks["student_bank"]))
    module.contrast.memory_v2.copy_(torch.tensor(banks["teacher_bank"]))
    values: dict[str, object] = {"rows": rows.tolist(), "bank_shape": (num_examples, size)}
    add(
        "crd",
        lambda student, teacher: module(student, teacher, torch.tensor(index), rows),
        {"student": (5,), "teacher": (7,)},
        weights,
        **values,
    )
    LOSSES["crd"]["constants"] = module.contrast.params[2:4].tolist()
    for name, bank in (("student_bank", module.contrast.memory_v1), ("teacher_bank", module.contrast.memory_v2)):
        LOSSES["crd"][f"new_{name}"] = rounded(bank[torch.tensor(index)].numpy())


def add_semckd() -> None:
    shapes = {"student1": (4, 4, 2), "student2": (2, 2, 3), "teacher1": (4, 4, 2), "teacher2": (2, 2, 1)}
    channels = {name: shape[-1] for name, shape in shapes.items()}
    attention = CLONES.load("DefangChen/SemCKD", "models/util.py").SelfA(
        2, 2, N, [channels["student1"], channels["student2"]], [channels["teacher1"], channels["teacher2"]], factor=3
    )
    criterion = CLONES.load("DefangChen/SemCKD", "distiller_zoo/SemCKD.py").SemCKDLoss()
    # Regular expressions that add 1 to a digit: the code counts from 0.
    layers = {
        f"{kind}_weight{i}.linear{j}": f"{kind}{i + 1}{'_hidden' if j == 1 else ''}"
        for kind in ("query", "key")
        for i in range(2)
        for j in (1, 2)
    } | {
        f"regressor{i}{j}.regressor.{layer}": f"project{i + 1}_{j + 1}_{name}"
        for i in range(2)
        for j in range(2)
        for layer, name in {0: "conv1", 1: "1_bn", 3: "conv2", 4: "2_bn", 6: "conv3"}.items()
    }
    add(
        "semckd",
        lambda **x: criterion(*attention(stages(x, "student"), stages(x, "teacher"))),
        shapes,
        keras_names(attention, "attention", layers),
    )


def add_reviewkd() -> None:
    review = CLONES.load("dvlab-research/ReviewKD", "CIFAR-100/model/reviewkd.py")
    review.ReviewKD.to = lambda self, device: self
    for name, sizes, teacher_sizes in (("equal", (8, 4, 1), (8, 4, 1)), ("larger", (4, 2, 1), (8, 4, 1))):
        channels, filters = (2, 3, 3), (3, 2, 2)
        module = review.ReviewKD(
            lambda features, is_feat: (features, None), channels, filters, sizes[::-1], teacher_sizes[::-1]
        )
        layers = {
            f"abfs.{k}.{layer}": keras.format(3 - k)
            for k in range(3)
            for layer, keras in {
                "conv1.0": "reduce{}",
                "conv1.1": "reduce{}_bn",
                "conv2.0": "predict{}",
                "conv2.1": "predict{}_bn",
                "att_conv.0": "attention{}",
            }.items()
        }
        shapes = {f"student{i}": (s, s, c) for i, s, c in zip((1, 2, 3), sizes, channels, strict=True)}
        shapes |= {f"teacher{i}": (s, s, c) for i, s, c in zip((1, 2, 3), teacher_sizes, filters, strict=True)}
        add(
            f"reviewkd_{name}",
            lambda module=module, **x: review.hcl(module(stages(x, "student"))[0], stages(x, "teacher")),
            shapes,
            keras_names(module, "fusion", layers),
        )
    shapes = {"student1": (7, 7, 2), "student2": (3, 3, 2)}
    shapes |= {name.replace("student", "teacher"): shape for name, shape in shapes.items()}
    add("reviewkd_loss", lambda **x: review.hcl(stages(x, "student"), stages(x, "teacher")), shapes)


def add_simkd() -> None:
    projector = CLONES.load("DefangChen/SimKD", "models/util.py").SimKD
    names = {0: "conv1", 1: "1_bn", 3: "conv2", 4: "2_bn", 6: "conv3", 7: "3_bn"}
    for name, student, teacher in (("equal", 4, 4), ("larger", 4, 2), ("smaller", 2, 4)):
        module = projector(s_n=3, t_n=4, factor=2)
        add(
            f"simkd_{name}",
            lambda student, teacher, module=module: nn.MSELoss()(*module(student, teacher, nn.Identity())[:2]),
            {"student": (student, student, 3), "teacher": (teacher, teacher, 4)},
            keras_names(module, "projector", {f"transfer.{i}": layer for i, layer in names.items()}),
        )


for add_method in (
    *(add_fitnets, add_relations, add_cc, add_vid, add_stages, add_ft),
    *(add_crd, add_semckd, add_reviewkd, add_simkd),
):
    add_method()
golden = {"torch": torch.__version__, "sources": CLONES.sources, "losses": LOSSES}
pathlib.Path(__file__).with_name("feature_methods.json").write_text(json.dumps(golden) + "\n")
