"""halotile's model files as PyTorch modules: the reference that tests and training scripts share."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from halotile_tools.model_file import layer_inputs, layer_names, normalization, pair, window


class Join(nn.Module):
    """A layer of several inputs: add, subtract, multiply, concat."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        if self.kind == "concat":
            return torch.cat(inputs, dim=1)
        operator = {"add": torch.add, "subtract": torch.sub, "multiply": torch.mul}[self.kind]
        return operator(inputs[0], inputs[1])


def make_layer(spec: dict[str, Any], channels: int, features: int) -> nn.Module:
    """The PyTorch module of one layer of a model file, for `channels` channels or `features` numbers in."""
    kind = spec["type"]
    if kind == "conv":
        kernel, stride, padding, dilation, _ = window(spec)
        groups, bias = spec.get("groups", 1), spec.get("bias", True)
        return nn.Conv2d(channels, spec["out_channels"], kernel, stride, padding, dilation, groups, bias)
    if kind == "max_pool":
        kernel, stride, padding, dilation, ceil = window(spec)
        return nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=ceil)
    if kind == "avg_pool":
        kernel, stride, padding, _, ceil = window(spec)
        return nn.AvgPool2d(kernel, stride, padding, ceil, count_include_pad=spec.get("count_include_pad", True))
    if kind == "adaptive_avg_pool":
        return nn.AdaptiveAvgPool2d(pair(spec["output"]))
    if kind == "lrn":
        size, alpha, beta, k = normalization(spec)
        return nn.LocalResponseNorm(size, alpha=alpha, beta=beta, k=k)
    if kind == "relu":
        return nn.ReLU()
    if kind == "leaky_relu":
        return nn.LeakyReLU(float(spec.get("slope", 0.01)))
    if kind in ("add", "subtract", "multiply", "concat"):
        return Join(kind)
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
    """The layers of a model file, each reading what `from` names or the layer before. `names` are halotile's; shapes are what PyTorch makes of zeros."""

    def __init__(self, model: dict[str, Any]) -> None:
        super().__init__()
        size = model["input"]
        x = torch.zeros(1, size["channels"], size["height"], size["width"])
        self.names = layer_names(model)
        self.inputs = layer_inputs(model)
        self.layers = nn.ModuleList()
        values = {"input": x}
        for name, spec, inputs in zip(self.names, model["layers"], self.inputs, strict=True):
            read = [values[v] for v in inputs]
            layer = make_layer(spec, read[0].shape[1], read[0][0].numel())
            self.layers.append(layer)
            with torch.no_grad():
                values[name] = layer(*read)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.outputs(x)[self.names[-1]]

    def outputs(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Every layer's output by the layer's name."""
        values = {"input": x}
        for name, layer, inputs in zip(self.names, self.layers, self.inputs, strict=True):
            values[name] = layer(*[values[v] for v in inputs])
        del values["input"]
        return values

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
