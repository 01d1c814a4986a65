"""Makes an ONNX model with PyTorch from the weights of a published WideResNet, for teachers onnx:FILE.

  pip install torch onnx onnxscript
  python tests/golden/make_onnx.py saved_models/wrn16-2_10-35 wrn16-2.onnx
  python tests/golden/make_onnx.py tests/fixtures/models/digits/wrn10-1_2-3 tests/fixtures/onnx/wrn10-1.onnx

The second one is committed. The model takes standardised images [n, 3, height, width], as networks of PyTorch do, and
has outputs logits, stage1, stage2 and stage3. PyTorch's logits for `images` are written beside it, to FILE.json. Needs
neither Keras nor kdzoo.
"""

import json
import pathlib
import sys

import numpy as np
import onnx
import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "benchmarks"))
import torch_nets

BATCH_NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
OUTSIDE_STAGES = {"stem_conv": "stem", "final_bn": "norm", "logits": "head"}


class WithStages(nn.Module):
    """A WideResNet of benchmarks/torch_nets.py with the outputs of its three stages."""

    def __init__(self, net: torch_nets.WideResNet):
        super().__init__()
        self.net = net

    def forward(self, image):
        x, stages = self.net.stem(image), []
        for i, block in enumerate(self.net.blocks, start=1):
            x = block(x)
            if i % (len(self.net.blocks) // 3) == 0:
                stages.append(x)
        return self.net.head(F.relu(self.net.norm(x)).mean((2, 3))), *stages


def images(count: int, size: int) -> np.ndarray:
    """Images uint8 [count, size, size, 3] that are a function of their number alone."""
    return np.random.RandomState(0).randint(0, 256, (count, size, size, 3)).astype(np.uint8)


def name_in_torch(path: str, blocks: int) -> str:
    """The name of a weight in torch_nets.WideResNet: stage2_block1_1_bn/gamma is blocks.<number>.norm1.weight."""
    layer, kind = path.split("/")
    kind = BATCH_NORM.get(kind, "bias" if kind == "bias" else "weight")
    if not layer.startswith("stage"):
        return f"{OUTSIDE_STAGES[layer]}.{kind}"
    stage, block, part = layer.split("_", 2)
    part = {"1_bn": "norm1", "2_bn": "norm2"}.get(part, part)
    return f"blocks.{(int(stage[5:]) - 1) * blocks + int(block[5:]) - 1}.{part}.{kind}"


def build(model: pathlib.Path, card: dict) -> WithStages:
    """The network of a published model, with its weights."""
    net = torch_nets.WideResNet(card["depth"], card["width"])
    content = (model / "1/variables/variables.data-00000-of-00001").read_bytes()
    state = {}
    for weight in card["weights"]:
        count = int(np.prod(weight["shape"]))
        values = np.frombuffer(content, np.dtype(weight["dtype"]), count, weight["offset"]).reshape(weight["shape"])
        values = values.transpose({4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[values.ndim]).astype(np.float32)
        state[name_in_torch(weight["path"], (card["depth"] - 4) // 6)] = torch.tensor(values)
    missing = net.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys
    assert all(key.endswith("num_batches_tracked") for key in missing.missing_keys), missing
    return WithStages(net).eval()


def main(model: pathlib.Path, out: pathlib.Path) -> None:
    card = json.loads((model / "card.json").read_text())
    net = build(model, card)
    size, mean, std = card["dataset"]["image_shape"][0], card["dataset"]["mean"], card["dataset"]["std"]
    standardised = (images(4, size) / 255 - mean) / std
    x = torch.tensor(standardised.transpose(0, 3, 1, 2), dtype=torch.float32)
    out.parent.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        logits = net(x)[0]
        torch.onnx.export(
            net,
            (x,),
            str(out),
            input_names=["image"],
            output_names=["logits", "stage1", "stage2", "stage3"],
            dynamic_shapes=({0: "n"},),
            external_data=False,
        )
    made = onnx.load(out)
    for node in made.graph.node:
        del node.metadata_props[:]  # paths of the machine
    onnx.save(made, out)
    expected = {"torch": torch.__version__, "model": card["name"], "logits": logits.tolist()}
    out.with_suffix(".json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main(*map(pathlib.Path, sys.argv[1:]))
