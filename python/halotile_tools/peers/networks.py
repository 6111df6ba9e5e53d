"""halotile's model files, with halotile's seeded weights, as networks of the peers: PyTorch and ONNX.

Every network returns two values: the logits (the input of a final softmax, or the last output where there is none)
and the last output. PyTorch and onnx are imported where they are used, so that a process timing the one does not
carry the other in its memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from halotile_tools.model_file import Window, layer_names, normalization, window
from halotile_tools.random import random_weights

if TYPE_CHECKING:
    import onnx
    import torch


def torch_network(model: dict[str, Any], seed: int) -> torch.nn.Module:
    """The network as a PyTorch module for inference: ReLU in place, dropout left out."""
    import torch

    from halotile_tools.torch import Network

    class WithLogits(torch.nn.Module):
        def __init__(self, body: torch.nn.Sequential, head: torch.nn.Module) -> None:
            super().__init__()
            self.body = body
            self.head = head

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            logits = self.body(x)
            return logits, self.head(logits)

    network = Network(model)
    network.load_weights({name: torch.from_numpy(value) for name, value in random_weights(model, seed).items()})
    layers = [layer for layer in network.layers if not isinstance(layer, torch.nn.Dropout)]
    for layer in layers:
        if isinstance(layer, torch.nn.ReLU):
            layer.inplace = True
    head = layers.pop() if isinstance(layers[-1], torch.nn.Softmax) else torch.nn.Identity()
    return WithLogits(torch.nn.Sequential(*layers), head).eval().requires_grad_(False)


def plain_window(layer: dict[str, Any]) -> Window:
    """A layer's window; refuses what ONNX and XLA are not told of."""
    made = window(layer)
    if made.ceil_mode:
        raise ValueError("ceil_mode is not among what the peers are timed with")
    return made


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
        size, alpha, beta, k = normalization(layer)
        return "LRN", [], {"size": size, "bias": k, "alpha": alpha, "beta": beta}
    if kind in ("conv", "max_pool"):
        kernel, stride, padding, dilation, _ = plain_window(layer)
        attributes = {"kernel_shape": kernel, "strides": stride, "pads": padding * 2, "dilations": dilation}
        if kind == "max_pool":
            return "MaxPool", [], attributes
        return "Conv", weights, {**attributes, "group": layer.get("groups", 1)}
    raise ValueError(f"layer type {kind} has no ONNX form here")


def onnx_network(model: dict[str, Any], seed: int, shape: tuple[int, int, int, int]) -> onnx.ModelProto:
    """The network as an ONNX model with weights inside, for inputs of one shape."""
    import onnx
    from onnx import helper, numpy_helper

    weights = random_weights(model, seed)
    nodes = []
    value = logits = "input"
    for name, layer in zip(layer_names(model), model["layers"], strict=True):
        if layer["type"] == "dropout":
            continue
        own = [tensor for tensor in (f"{name}.weight", f"{name}.bias") if tensor in weights]
        operator, inputs, attributes = onnx_node(layer, own)
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
