"""halotile's model files, with halotile's seeded weights, as networks of the peers: PyTorch and ONNX.

Every network returns two values: the logits (the input of a final softmax, or the last output where there is none)
and the last output. PyTorch and onnx are imported where they are used, so that a process timing the one does not
carry the other in its memory.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from halotile_random import random_layer
from model_file import read_model

if TYPE_CHECKING:
    import onnx
    import torch

Shape = tuple[int, int, int]  # channels, height, width


def load_model(path: Path, until: str = "") -> dict[str, Any]:
    """A model file, up to and with the layer named `until`. The file's own input size stays."""
    model = read_model(path)
    if until:
        names = [layer.get("name", "") for layer in model["layers"]]
        if until not in names:
            raise ValueError(f"{path} has no layer {until}")
        model["layers"] = model["layers"][: names.index(until) + 1]
    return model


def both(value: int | list[int]) -> list[int]:
    """One integer for both axes, or [height, width]."""
    return [value, value] if isinstance(value, int) else list(value)


def windowed(layer: dict[str, Any], size: Shape) -> tuple[int, int]:
    """Height and width behind a convolution or a pool."""
    kernel, padding, dilation = (
        both(layer.get(k, d)) for k, d in [("kernel", 1), ("padding", 0), ("dilation", 1)]
    )
    stride = both(layer.get("stride", 1 if layer["type"] == "conv" else layer["kernel"]))
    if layer.get("ceil_mode", False):
        raise ValueError("ceil_mode is not among what the peers are timed with")
    extent = [
        (size[1 + a] + 2 * padding[a] - dilation[a] * (kernel[a] - 1) - 1) // stride[a] + 1 for a in range(2)
    ]
    return extent[0], extent[1]


def weight_shapes(model: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shape of each layer's weight, as PyTorch stores it."""
    size: Shape = (model["input"]["channels"], model["input"]["height"], model["input"]["width"])
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in model["layers"]:
        kind = layer["type"]
        if kind == "conv":
            out = layer["out_channels"]
            shapes[layer["name"]] = (out, size[0] // layer.get("groups", 1), *both(layer["kernel"]))
            size = (out, *windowed(layer, size))
        elif kind in ("max_pool", "avg_pool"):
            size = (size[0], *windowed(layer, size))
        elif kind == "adaptive_avg_pool":
            height, width = both(layer["output"])
            size = (size[0], height, width)
        elif kind == "fully_connected":
            shapes[layer["name"]] = (layer["out_features"], size[0] * size[1] * size[2])
            size = (layer["out_features"], 1, 1)
    return shapes


def random_weights(model: dict[str, Any], seed: int) -> dict[str, np.ndarray]:
    """halotile's seeded weights by PyTorch's names."""
    weights: dict[str, np.ndarray] = {}
    for name, shape in weight_shapes(model).items():
        weights[f"{name}.weight"], weights[f"{name}.bias"] = random_layer(seed, name, shape)
    return weights


def torch_network(model: dict[str, Any], seed: int) -> torch.nn.Module:
    """The network as a PyTorch module for inference: ReLU in place, dropout left out."""
    import torch
    from halotile_torch import Network

    class WithLogits(torch.nn.Module):
        def __init__(self, body: torch.nn.Sequential, head: torch.nn.Module) -> None:
            super().__init__()
            self.body = body
            self.head = head

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            logits = self.body(x)
            return logits, self.head(logits)

    network = Network(model)
    network.load_weights(
        {name: torch.from_numpy(value) for name, value in random_weights(model, seed).items()}
    )
    layers = [layer for layer in network.layers if not isinstance(layer, torch.nn.Dropout)]
    for layer in layers:
        if isinstance(layer, torch.nn.ReLU):
            layer.inplace = True
    head = layers.pop() if isinstance(layers[-1], torch.nn.Softmax) else torch.nn.Identity()
    return WithLogits(torch.nn.Sequential(*layers), head).eval().requires_grad_(False)


def floats(layer: dict[str, Any], *keys: str) -> dict[str, float]:
    """Some of a layer's values as numbers (YAML 1.1 reads 1e-4, without a point, as a word)."""
    return {key: float(layer[key]) for key in keys}


def onnx_node(layer: dict[str, Any], weights: list[str]) -> tuple[str, list[str], dict[str, Any]]:
    """ONNX's operator, further inputs and attributes for a layer of a model file."""
    kind = layer["type"]
    if kind == "relu":
        return "Relu", [], {}
    if kind == "flatten":
        return "Flatten", [], {}
    if kind == "softmax":
        return "Softmax", [], {"axis": 1}
    if kind == "fully_connected":
        return "Gemm", weights, {"transB": 1}
    if kind == "lrn":
        return "LRN", [], {"size": layer["size"], "bias": float(layer["k"]), **floats(layer, "alpha", "beta")}
    if kind in ("conv", "max_pool"):
        window = {
            "kernel_shape": both(layer["kernel"]),
            "strides": both(layer.get("stride", 1 if kind == "conv" else layer["kernel"])),
            "pads": both(layer.get("padding", 0)) * 2,
            "dilations": both(layer.get("dilation", 1)),
        }
        if kind == "max_pool":
            return "MaxPool", [], window
        return "Conv", weights, {**window, "group": layer.get("groups", 1)}
    raise ValueError(f"layer type {kind} has no ONNX form here")


def onnx_network(model: dict[str, Any], seed: int, shape: tuple[int, int, int, int]) -> onnx.ModelProto:
    """The network as an ONNX model with weights inside, for inputs of one shape."""
    import onnx
    from onnx import helper, numpy_helper

    weights = random_weights(model, seed)
    nodes = []
    value = logits = "input"
    for layer in model["layers"]:
        if layer["type"] == "dropout":
            continue
        name = layer.get("name", layer["type"])
        operator, inputs, attributes = onnx_node(layer, [f"{name}.weight", f"{name}.bias"])
        nodes.append(helper.make_node(operator, [value, *inputs], [f"{name}.out"], name=name, **attributes))
        value = f"{name}.out"
        if operator != "Softmax":
            logits = value
    rank = 2 if any(layer["type"] in ("flatten", "fully_connected") for layer in model["layers"]) else 4
    results = dict.fromkeys((logits, value))  # one where there is no softmax
    outputs = [helper.make_tensor_value_info(v, onnx.TensorProto.FLOAT, [None] * rank) for v in results]
    graph = helper.make_graph(
        nodes,
        model["name"],
        [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, shape)],
        outputs,
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    return made
