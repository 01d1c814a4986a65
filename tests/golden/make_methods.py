"""Makes methods.json, the losses of logit methods, with their authors' published code on PyTorch.

`python make_methods.py FOLDER`, where FOLDER holds clones of the repositories that `main` names. The tests need neither
these nor PyTorch. Code that cannot run as it is on a CPU is patched here, at run time:

- `.cuda()`, in Teacher-free-Knowledge-Distillation, returns the tensor itself.
- `from turtle import st`, in Multi-Level-Logit-Distillation, is an import without use, of a module that needs Tk.
- `mmcls.registry`, in cls_KD, is a registry that registers nothing.
"""

import json
import pathlib
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from authors import Clones, measure, stub
from draws import draw, draw_labels

CLASSES = 10
LOGITS = {
    name: draw(name, (6, CLASSES), scale=3.0)
    for name in ("student_logits", "teacher_logits", "strong_student_logits", "strong_teacher_logits")
}
PAIR = {name: LOGITS[name] for name in ("student_logits", "teacher_logits")}
LABELS = {"labels": draw_labels("labels", 6, CLASSES)}
LABELLED = PAIR | LABELS
STUDENT = {"student_logits": LOGITS["student_logits"]} | LABELS


def patch() -> None:
    torch.Tensor.cuda = lambda tensor, *args, **kwargs: tensor
    stub("turtle", st=None)
    stub("mmcls.registry", MODELS=types.SimpleNamespace(register_module=lambda: lambda cls: cls))


def of_pair(loss: Callable[..., torch.Tensor], *arguments: Any) -> dict:
    return measure(
        lambda student_logits, teacher_logits: loss(student_logits, teacher_logits, *arguments),
        PAIR,
        differentiate=["student_logits"],
    )


def of_labelled(loss: Callable[..., torch.Tensor], *arguments: Any) -> dict:
    return measure(
        lambda student_logits, teacher_logits, labels: loss(student_logits, teacher_logits, labels, *arguments),
        LABELLED,
        differentiate=["student_logits"],
    )


def of_student(loss: Callable[..., torch.Tensor]) -> dict:
    return measure(
        lambda student_logits, labels: loss(student_logits, labels), STUDENT, differentiate=["student_logits"]
    )


def multi_level(module: types.ModuleType) -> dict:
    """The distillation terms of the authors' step, whose networks return the logits of the view that they are given."""
    cfg = types.SimpleNamespace
    weights = cfg(CE_WEIGHT=0.0, KD_WEIGHT=1.0)

    def loss(student_logits, teacher_logits, strong_student_logits, strong_teacher_logits):
        student = {"weak": (student_logits, None), "strong": (strong_student_logits, None)}.get
        teacher = {"weak": (teacher_logits, None), "strong": (strong_teacher_logits, None)}.get
        method = module.KD_ours(student, teacher, cfg(KD=cfg(TEMPERATURE=4.0, LOSS=weights)))
        _, terms = method.forward_train("weak", "strong", torch.tensor(LABELS["labels"]))
        return sum(terms[name] for name in ("loss_kd", "loss_cc", "loss_bc"))

    return measure(loss, LOGITS, differentiate=["student_logits", "strong_student_logits"])


def multi_level_of_the_paper(module: types.ModuleType) -> Callable[..., torch.Tensor]:
    """The sum of the authors' three functions over their temperatures, without masks, for one view."""
    levels = (module.kd_loss, module.cc_loss, module.bc_loss)
    return lambda student, teacher: sum(
        level(student, teacher, t) for level in levels for t in (2.0, 3.0, 4.0, 5.0, 6.0)
    )


def main(folder: str) -> None:
    patch()
    clones = Clones(pathlib.Path(folder))
    mdistiller = clones.load("megvii-research/mdistiller", "mdistiller/distillers/DKD.py")
    standardised = "sunshangquan/logit-standardization-KD"
    lskd = clones.load(standardised, "mdistiller/distillers/KD.py")
    lskd_dkd = clones.load(standardised, "mdistiller/distillers/DKD.py")
    dist = clones.load("hunto/image_classification_sota", "lib/models/losses/dist_kd.py")
    ttm = clones.load("zkxufo/TTM", "distiller_zoo/ttm.py")
    wttm = clones.load("zkxufo/TTM", "distiller_zoo/wttm.py")
    nkd = clones.load("yzd-v/cls_KD", "mmcls/models/dis_losses/nkd.py")
    mlkd = clones.load("Jin-Ying/Multi-Level-Logit-Distillation", "mdistiller/distillers/KD_ours.py")
    smoothing = clones.load("Jin-Ying/Multi-Level-Logit-Distillation", "mdistiller/distillers/loss.py")
    tfkd = clones.load("yuanli2333/Teacher-free-Knowledge-Distillation", "my_loss_function.py")
    # With alpha 1 their losses are without cross-entropy. With a multiplier of CLASSES the mean over classes is a sum.
    virtual = types.SimpleNamespace(reg_alpha=1.0, reg_temperature=20.0, multiplier=CLASSES)
    own = types.SimpleNamespace(alpha=1.0, temperature=6.0, multiplier=CLASSES)
    losses = {
        "lskd": of_pair(lskd.kd_loss, 2.0, True),
        "dkd": of_labelled(mdistiller.dkd_loss, 1.0, 8.0, 4.0),
        "dkd_imagenet": of_labelled(mdistiller.dkd_loss, 1.0, 0.5, 1.0),
        "dkd_standardised": of_labelled(lskd_dkd.dkd_loss, 9.0, 72.0, 2.0, True),
        "dist": of_pair(dist.DIST(beta=1.0, gamma=1.0, tau=4.0)),
        "dist_imagenet": of_pair(dist.DIST(beta=1.0, gamma=1.0, tau=1.0)),
        "dist_weighted": of_pair(dist.DIST(beta=2.0, gamma=0.5, tau=2.0)),
        "ttm": of_pair(ttm.TTM(0.1)),
        "wttm": of_pair(wttm.WTTM(0.2)),
        "nkd": of_labelled(nkd.NKDLoss("nkd", True, temp=3.0, gamma=3.5)),
        "nkd_imagenet": of_labelled(nkd.NKDLoss("nkd", True, temp=1.0, gamma=1.5)),
        "mlkd": multi_level(mlkd),
        "mlkd_paper": of_pair(multi_level_of_the_paper(mlkd)),
        "tfkd": of_student(lambda student, labels: tfkd.loss_kd_regularization(student, labels, virtual)),
        "tfkd_self": measure(
            lambda student_logits, teacher_logits, labels: tfkd.loss_kd_self(
                student_logits, labels, teacher_logits, own
            ),
            LABELLED,
            differentiate=["student_logits"],
        ),
        "label_smoothing": of_student(smoothing.CrossEntropyLabelSmooth(CLASSES, epsilon=0.1, use_gpu=False)),
        "label_smoothing_others": of_student(tfkd.loss_label_smoothing),
    }
    golden = {"torch": torch.__version__, "numpy": np.__version__, "sources": clones.sources, "losses": losses}
    pathlib.Path(__file__).with_name("methods.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
