"""halotile's model files as PyTorch modules: the reference that tests and training scripts share."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def pair(value: int | list[int]) -> tuple[int, int]:
    """One integer for both axes, or [height, width]."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def make_layer(spec: dict[str, Any], channels: int, features: int) -> nn.Module:
    """The PyTorch module of one layer of a model file, for `channels` channels or `features` numbers in."""
    kind = spec["type"]
    if kind == "conv":
        return nn.Conv2d(
            channels,
            spec["out_channels"],
            pair(spec["kernel"]),
            stride=pair(spec.get("stride", 1)),
            padding=pair(spec.get("padding", 0)),
            dilation=pair(spec.get("dilation", 1)),
            groups=spec.get("groups", 1),
            bias=spec.get("bias", True),
        )
    if kind == "max_pool":
        return nn.MaxPool2d(
            pair(spec["kernel"]),
            stride=pair(spec.get("stride", spec["kernel"])),
            padding=pair(spec.get("padding", 0)),
            dilation=pair(spec.get("dilation", 1)),
            ceil_mode=spec.get("ceil_mode", False),
        )
    if kind == "avg_pool":
        return nn.AvgPool2d(
            pair(spec["kernel"]),
            stride=pair(spec.get("stride", spec["kernel"])),
            padding=pair(spec.get("padding", 0)),
            ceil_mode=spec.get("ceil_mode", False),
            count_include_pad=spec.get("count_include_pad", True),
        )
    if kind == "adaptive_avg_pool":
        return nn.AdaptiveAvgPool2d(pair(spec["output"]))
    if kind == "lrn":
        return nn.LocalResponseNorm(
            spec.get("size", 5),
            alpha=float(spec.get("alpha", 1e-4)),
            beta=float(spec.get("beta", 0.75)),
            k=float(spec.get("k", 1.0)),
        )
    if kind == "relu":
        return nn.ReLU()
    if kind == "flatten":
        return nn.Flatten()
    if kind == "dropout":
        return nn.Dropout(float(spec.get("p", 0.5)))
    if kind == "softmax":
        return nn.Softmax(dim=1)
    if kind == "fully_connected":
        linear = nn.Linear(features, spec["out_features"], bias=spec.get("bias", True))
        return nn.Sequential(nn.Flatten(), linear)
    raise ValueError(f"unknown layer type {kind!r}")


class Network(nn.Module):
    """A chain of layers read from a model file. `names` are halotile's: given, or type and number."""

    def __init__(self, model: dict[str, Any]) -> None:
        super().__init__()
        size = model["input"]
        x = torch.zeros(1, size["channels"], size["height"], size["width"])
        self.names: list[str] = []
        self.layers = nn.ModuleList()
        counts: dict[str, int] = {}
        for spec in model["layers"]:
            kind = spec["type"]
            counts[kind] = counts.get(kind, 0) + 1
            self.names.append(spec.get("name", f"{kind}{counts[kind]}"))
            layer = make_layer(spec, x.shape[1], x[0].numel())
            self.layers.append(layer)
            with torch.no_grad():
                x = layer(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x

    def outputs(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Every layer's output by the layer's name."""
        results = {}
        for name, layer in zip(self.names, self.layers, strict=True):
            x = layer(x)
            results[name] = x
        return results

    def weights(self) -> dict[str, torch.Tensor]:
        """Weights and biases under the names halotile looks for: `<layer>.weight`, `<layer>.bias`."""
        tensors = {}
        for name, layer in zip(self.names, self.layers, strict=True):
            for parameter, value in layer.named_parameters():
                tensors[f"{name}.{parameter.split('.')[-1]}"] = value.detach().contiguous()
        return tensors

    def load_weights(self, tensors: dict[str, torch.Tensor]) -> None:
        """The reverse of weights(). Missing, extra and wrongly shaped tensors are errors."""
        own = {
            f"{name}.{parameter.split('.')[-1]}": value
            for name, layer in zip(self.names, self.layers, strict=True)
            for parameter, value in layer.named_parameters()
        }
        if own.keys() != tensors.keys():
            raise ValueError(f"weights differ from the model's: {sorted(own.keys() ^ tensors.keys())}")
        with torch.no_grad():
            for name, value in own.items():
                if value.shape != tensors[name].shape:
                    raise ValueError(f"{name} is {tuple(tensors[name].shape)}, not {tuple(value.shape)}")
                value.copy_(tensors[name])
