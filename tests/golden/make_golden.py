"""Makes golden.json with PyTorch, which the tests themselves do not need: `pip install torch && python make_golden.py`.

Losses as RepDistiller and Zagoruyko & Komodakis' attention-transfer code compute them, kept one per example; steps of
`torch.optim.SGD` across a drop of the learning rate; logits of one small network a family, whose weights and image
`draw` makes from their names alone, as `tests/test_zoo.py` does.
"""

import json
import pathlib
import zlib

import numpy as np
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


def draw(name, shape, scale):
    """Numbers that are a function of the name; moving variances are positive, gammas near 1."""
    numbers = np.random.RandomState(zlib.crc32(name.encode())).normal(size=shape) * scale
    return torch.tensor(numbers)


def conv(x, filters, kernel_size, name, stride=1):
    kernel = draw(
        f"{name}/kernel", (kernel_size, kernel_size, x.shape[1], filters), (2 / kernel_size**2 / x.shape[1]) ** 0.5
    )
    return F.conv2d(x, kernel.permute(3, 2, 0, 1), stride=stride, padding=kernel_size // 2)


def batch_norm(x, name):
    n = x.shape[1]
    gamma, beta = 1 + draw(f"{name}/gamma", n, 0.1), draw(f"{name}/beta", n, 0.1)
    mean, variance = draw(f"{name}/moving_mean", n, 0.1), 1 + draw(f"{name}/moving_variance", n, 0.1).abs()
    return F.batch_norm(x, mean, variance, gamma, beta, eps=1e-5)


def head(x):
    x = x.mean((2, 3))
    return x @ draw("logits/kernel", (x.shape[1], 10), 0.1) + draw("logits/bias", 10, 0.1)


def wrn10_2(x):  # attention-transfer/cifar.py: the shortcut's convolution takes the activated input
    x = conv(x, 16, 3, "stem_conv")
    for stage in (1, 2, 3):
        name, filters, stride = f"stage{stage}_block1", 32 * 2 ** (stage - 1), 2 if stage > 1 else 1
        o = F.relu(batch_norm(x, f"{name}_1_bn"))
        z = conv(o, filters, 3, f"{name}_conv1", stride)
        z = conv(F.relu(batch_norm(z, f"{name}_2_bn")), filters, 3, f"{name}_conv2")
        x = z + conv(o, filters, 1, f"{name}_shortcut", stride)
    return head(F.relu(batch_norm(x, "final_bn")))


def dn10_4(x):  # DenseNet-BC of Huang et al.
    x = conv(x, 8, 3, "stem_conv")
    for stage in (1, 2, 3):
        if stage > 1:
            t = f"transition{stage - 1}"
            x = F.avg_pool2d(conv(F.relu(batch_norm(x, f"{t}_bn")), x.shape[1] // 2, 1, f"{t}_conv"), 2)
        name = f"stage{stage}_layer1"
        new = conv(F.relu(batch_norm(x, f"{name}_1_bn")), 16, 1, f"{name}_conv1")
        new = conv(F.relu(batch_norm(new, f"{name}_2_bn")), 4, 3, f"{name}_conv2")
        x = torch.cat([x, new], 1)
    return head(F.relu(batch_norm(x, "final_bn")))


def resnet18(x):  # torchvision's
    x = F.relu(batch_norm(conv(x, 64, 7, "stem_conv", 2), "stem_bn"))
    x = F.max_pool2d(x, 3, 2, 1)
    for stage in (1, 2, 3, 4):
        for block in (1, 2):
            name, filters = f"stage{stage}_block{block}", 64 * 2 ** (stage - 1)
            stride = 2 if stage > 1 and block == 1 else 1
            z = F.relu(batch_norm(conv(x, filters, 3, f"{name}_conv1", stride), f"{name}_1_bn"))
            z = batch_norm(conv(z, filters, 3, f"{name}_conv2"), f"{name}_2_bn")
            if stride > 1:
                x = batch_norm(conv(x, filters, 1, f"{name}_shortcut", stride), f"{name}_shortcut_bn")
            x = F.relu(x + z)
    return head(x)


networks = {
    network.__name__.replace("_", "-"): network(draw("image", (2, size, size, 3), 1.0).permute(0, 3, 1, 2)).tolist()
    for network, size in ((wrn10_2, 32), (dn10_4, 32), (resnet18, 64))
}

golden = {
    "torch": torch.__version__,
    "kd": {"student": student.tolist(), "teacher": teacher.tolist(), "values": kd},
    "at": {
        "student": channels_last(student_stages),
        "teacher": channels_last(teacher_stages),
        "code": at_code.tolist(),
        "paper": at_paper.tolist(),
    },
    "networks": networks,
    "sgd": {"initial": initial, "gradients": gradients.tolist(), "lr": [0.1] * 3 + [0.02] * 3, "weights": weights},
}
pathlib.Path(__file__).with_name("golden.json").write_text(json.dumps(golden) + "\n")
