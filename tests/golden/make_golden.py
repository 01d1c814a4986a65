"""Makes golden.json with PyTorch, which the tests themselves do not need: `pip install torch && python make_golden.py`.

Losses as RepDistiller and Zagoruyko & Komodakis' attention-transfer code compute them, kept one per example; steps of
`torch.optim.SGD` across a drop of the learning rate.
"""

import json
import pathlib

import torch
import torch.nn.functional as F

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)


def attention(x):
    return x.pow(2).mean(1)


def normalised(a):
    return F.normalize(a.flatten(1))


def attention_distances(students, teachers):
    code = paper = 0
    for s, t in zip(students, teachers, strict=True):
        s, t = attention(s), attention(t)
        size = min(s.shape[1:], t.shape[1:])
        difference = normalised(F.adaptive_avg_pool2d(s, size)) - normalised(F.adaptive_avg_pool2d(t, size))
        code = code + difference.pow(2).mean(1)
        paper = paper + difference.norm(2, dim=1)
    return code, paper


def channels_last(tensors):
    return [tensor.permute(0, 2, 3, 1).tolist() for tensor in tensors]


student, teacher = 3 * torch.randn(4, 10), 3 * torch.randn(4, 10)
kd = {
    temperature: (
        F.kl_div(
            F.log_softmax(student / temperature, dim=1), F.softmax(teacher / temperature, dim=1), reduction="none"
        ).sum(1)
        * temperature**2
    ).tolist()
    for temperature in (1.0, 4.0, 20.0)
}

student_stages = [torch.randn(2, 3, 8, 8), torch.randn(2, 4, 4, 4)]
teacher_stages = [torch.randn(2, 5, 8, 8), torch.randn(2, 6, 2, 2)]
at_code, at_paper = attention_distances(student_stages, teacher_stages)

weight = torch.nn.Parameter(torch.randn(5))
initial = weight.tolist()
optimiser = torch.optim.SGD([weight], lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.05)
gradients, weights = torch.randn(6, 5), []
for i, gradient in enumerate(gradients):
    optimiser.param_groups[0]["lr"] = 0.1 if i < 3 else 0.02
    weight.grad = gradient.clone()
    optimiser.step()
    weights.append(weight.tolist())

golden = {
    "torch": torch.__version__,
    "kd": {"student": student.tolist(), "teacher": teacher.tolist(), "values": kd},
    "at": {
        "student": channels_last(student_stages),
        "teacher": channels_last(teacher_stages),
        "code": at_code.tolist(),
        "paper": at_paper.tolist(),
    },
    "sgd": {"initial": initial, "gradients": gradients.tolist(), "lr": [0.1] * 3 + [0.02] * 3, "weights": weights},
}
pathlib.Path(__file__).with_name("golden.json").write_text(json.dumps(golden) + "\n")
