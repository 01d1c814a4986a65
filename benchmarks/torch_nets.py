"""The zoo's networks in PyTorch, as the peers of the timings: WideResNet and DenseNet-BC."""

import torch
from torch import nn
from torch.nn import functional as F


def build(name: str) -> nn.Module:
    """The network of an architecture, for example wrn16-2 or dn40-12: from images [n, 3, 32, 32] to logits [n, 10]."""
    depth, width = map(int, name.removeprefix("wrn").removeprefix("dn").split("-"))
    return {"w": WideResNet, "d": DenseNet}[name[0]](depth, width)


class WideResNet(nn.Module):
    def __init__(self, depth: int, width: int):
        super().__init__()
        blocks, channels = [], 16
        self.stem = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        for stage in range(3):
            for block in range((depth - 4) // 6):
                filters = 16 * width * 2**stage
                blocks.append(_Residual(channels, filters, 2 if stage and not block else 1))
                channels = filters
        self.blocks, self.norm, self.head = nn.Sequential(*blocks), nn.BatchNorm2d(channels), nn.Linear(channels, 10)

    def forward(self, x):
        return self.head(F.relu(self.norm(self.blocks(self.stem(x))), inplace=True).mean((2, 3)))


class _Residual(nn.Module):
    def __init__(self, channels: int, filters: int, stride: int):
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(filters)
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(channels, filters, 1, stride, bias=False) if channels != filters else None

    def forward(self, x):
        activated = F.relu(self.norm1(x), inplace=True)
        x = self.shortcut(activated) if self.shortcut else x
        return x + self.conv2(F.relu(self.norm2(self.conv1(activated)), inplace=True))


class DenseNet(nn.Module):
    def __init__(self, depth: int, growth: int):
        super().__init__()
        channels = 2 * growth
        layers = [nn.Conv2d(3, channels, 3, padding=1, bias=False)]
        for stage in range(3):
            if stage:
                layers.append(_Transition(channels))
                channels //= 2
            for _ in range((depth - 4) // 6):
                layers.append(_Bottleneck(channels, growth))
                channels += growth
        self.layers, self.norm, self.head = nn.Sequential(*layers), nn.BatchNorm2d(channels), nn.Linear(channels, 10)

    def forward(self, x):
        return self.head(F.relu(self.norm(self.layers(x)), inplace=True).mean((2, 3)))


class _Bottleneck(nn.Module):
    def __init__(self, channels: int, growth: int):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(channels), nn.Conv2d(channels, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x):
        new = self.conv1(F.relu(self.norm1(x), inplace=True))
        return torch.cat([x, self.conv2(F.relu(self.norm2(new), inplace=True))], 1)


class _Transition(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(channels), nn.Conv2d(channels, channels // 2, 1, bias=False)

    def forward(self, x):
        return F.avg_pool2d(self.conv(F.relu(self.norm(x), inplace=True)), 2)
