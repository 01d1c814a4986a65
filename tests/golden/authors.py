"""Imports the published code of a method's authors and computes its loss and gradients with PyTorch, in float64."""

import importlib
import pathlib
import subprocess
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

torch.set_default_dtype(torch.float64)


class Clones:
    """A folder of clones of public repositories, each under its name without the owner.

    Attributes:
        folder: the folder.
        sources: for each file that was imported, its repository and commit.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.sources: dict[str, dict[str, str]] = {}

    def load(self, repository: str, path: str) -> types.ModuleType:
        """Imports one file of a clone, with its relative imports but without its package's `__init__.py`."""
        name = repository.split("/")[1]
        file = self.folder / name / path
        self.note(repository, path)
        package = f"{name}.{path}".replace("/", "_").replace(".", "_")
        sys.modules[package] = types.ModuleType(package)
        sys.modules[package].__path__ = [str(file.parent)]
        return importlib.import_module(f"{package}.{file.stem}")

    def note(self, repository: str, path: str) -> None:
        """Adds a file of a clone to the sources."""
        name = repository.split("/")[1]
        commit = subprocess.run(
            ["git", "-C", str(self.folder / name), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        self.sources[f"{name}/{path}"] = {"repository": f"https://github.com/{repository}", "commit": commit}


def stub(name: str, **attributes: Any) -> None:
    """Puts a module of these attributes in the place of one that the authors' code imports and does not need."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        sys.modules.setdefault(".".join(parts[:end]), types.ModuleType(".".join(parts[:end])))
    vars(sys.modules[name]).update(attributes)


def measure(
    loss: Callable[..., torch.Tensor],
    inputs: dict[str, np.ndarray],
    *,
    differentiate: Sequence[str],
    weights: dict[str, torch.Tensor] | None = None,
) -> dict[str, Any]:
    """Computes a loss and its gradients.

    Args:
        loss: from the inputs, by name, to a tensor, of which the mean is taken.
        inputs: arrays in PyTorch's layout.
        differentiate: names of the inputs to differentiate by.
        weights: parameters of the authors' modules to differentiate by, by the names to record.

    Returns:
        {"loss": a number, "gradients": {name: nested lists, in PyTorch's layout}}.
    """
    tensors = {name: torch.tensor(array) for name, array in inputs.items()}
    by = {name: tensors[name].requires_grad_() for name in differentiate} | (weights or {})
    value = loss(**tensors).mean()
    gradients = torch.autograd.grad(value, list(by.values()))
    return {
        "loss": value.item(),
        "gradients": {name: gradient.tolist() for name, gradient in zip(by, gradients, strict=True)},
    }
