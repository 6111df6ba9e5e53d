"""Reads and writes halotile's model files (YAML, one layer a line): names, windows, shapes, renamed weights.

The one place in Python that knows what a model file leaves out: default values, names, sizes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml

Layer = dict[str, Any]
Model = dict[str, Any]
Pair = tuple[int, int]  # height, width
Shape = tuple[int, int, int]  # channels, height, width; (features, 1, 1) behind a flatten or fully connected layer
Tensor = TypeVar("Tensor")

SAME_SHAPE = ("relu", "leaky_relu", "lrn", "dropout", "softmax")
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_RESERVED = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


def read_model(path: Path, until: str = "") -> Model:
    """A model file as a dictionary, up to and with the layer named `until`; the file's own input size stays.

    YAML 1.1 reads 1e-4, without a point, as a word: use float() on numbers.
    """
    with path.open(encoding="utf-8") as file:
        model: Model = yaml.safe_load(file)
    if until:
        names = layer_names(model)
        if until not in names:
            raise ValueError(f"{path} has no layer {until}; there are {', '.join(names)}")
        model["layers"] = model["layers"][: names.index(until) + 1]
    return model


def layer_names(model: Model) -> list[str]:
    """halotile's names of the layers: given, or type and number."""
    names = []
    counts: dict[str, int] = {}
    for layer in model["layers"]:
        kind = layer["type"]
        counts[kind] = counts.get(kind, 0) + 1
        names.append(layer.get("name", f"{kind}{counts[kind]}"))
    return names


def layer_inputs(model: Model) -> list[list[str]]:
    """What each layer reads: names of layers before it, or `input`."""
    inputs = []
    before = "input"
    for name, layer in zip(layer_names(model), model["layers"], strict=True):
        given = layer.get("from", before)
        inputs.append([given] if isinstance(given, str) else list(given))
        before = name
    return inputs


def pair(value: int | list[int]) -> Pair:
    """One integer for both axes, or [height, width]."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


class Window(NamedTuple):
    """A convolution's or a pool's window along height and width."""

    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    ceil_mode: bool

    def outputs(self, extent: Pair) -> Pair:
        """Height and width behind the layer: rounded down, or up where a window begins before the padding behind."""
        made = []
        for size, kernel, stride, padding, dilation in zip(extent, *self[:4], strict=True):
            span = size + 2 * padding - dilation * (kernel - 1) - 1
            outputs = (-(-span // stride) if self.ceil_mode else span // stride) + 1
            if self.ceil_mode and (outputs - 1) * stride >= size + padding:
                outputs -= 1
            made.append(outputs)
        return made[0], made[1]


def window(layer: Layer) -> Window:
    """The window of a conv, max_pool or avg_pool, with defaults."""
    return Window(
        pair(layer["kernel"]),
        pair(layer.get("stride", 1 if layer["type"] == "conv" else layer["kernel"])),
        pair(layer.get("padding", 0)),
        pair(layer.get("dilation", 1)),
        layer.get("ceil_mode", False),
    )


class Normalization(NamedTuple):
    """A local response normalization as PyTorch defines it: alpha is divided by the size."""

    size: int
    alpha: float
    beta: float
    k: float


def normalization(layer: Layer) -> Normalization:
    """The numbers of an lrn, with defaults."""
    alpha, beta, k = (float(layer.get(key, value)) for key, value in (("alpha", 1e-4), ("beta", 0.75), ("k", 1)))
    return Normalization(layer.get("size", 5), alpha, beta, k)


def output_shape(layer: Layer, size: Shape) -> Shape:
    """What a layer makes of an input of this shape."""
    kind = layer["type"]
    if kind in SAME_SHAPE:
        return size
    if kind == "conv":
        return (layer["out_channels"], *window(layer).outputs(size[1:]))
    if kind in ("max_pool", "avg_pool"):
        return (size[0], *window(layer).outputs(size[1:]))
    if kind == "adaptive_avg_pool":
        return (size[0], *pair(layer["output"]))
    if kind == "flatten":
        return (math.prod(size), 1, 1)
    if kind == "fully_connected":
        return (layer["out_features"], 1, 1)
    raise ValueError(f"unknown layer type {kind!r}")


def shapes(model: Model, extent: Pair | None = None) -> list[Shape]:
    """The shapes of the input and of every layer's output; `extent` instead of the file's own height and width."""
    size = model["input"]
    found: list[Shape] = [(size["channels"], *(extent or (size["height"], size["width"])))]
    for layer in model["layers"]:
        found.append(output_shape(layer, found[-1]))
    return found


def weight_shape(layer: Layer, size: Shape) -> tuple[int, ...]:
    """The shape of a layer's weight, as PyTorch stores it, for an input of shape `size`; () where it has none."""
    if layer["type"] == "conv":
        return (layer["out_channels"], size[0] // layer.get("groups", 1), *pair(layer["kernel"]))
    if layer["type"] == "fully_connected":
        return (layer["out_features"], math.prod(size))
    return ()


def tensor_shapes(model: Model) -> dict[str, tuple[int, ...]]:
    """The shapes of all weights and biases, under the names that halotile looks for: <layer>.weight, <layer>.bias."""
    found: dict[str, tuple[int, ...]] = {}
    for name, layer, size in zip(layer_names(model), model["layers"], shapes(model)[:-1], strict=True):
        weight = weight_shape(layer, size)
        if weight:
            found[f"{name}.weight"] = weight
        if weight and layer.get("bias", True):
            found[f"{name}.bias"] = weight[:1]
    return found


def renamed(model: Model, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A weight file's tensors under the model's names, by its `weights.rename`: layers there to layers here."""
    rename = model.get("weights", {}).get("rename", {})
    made = {}
    for name, tensor in tensors.items():
        layer, dot, part = name.rpartition(".")
        made[f"{rename.get(layer, layer)}{dot}{part}"] = tensor
    return made


def format_value(value: Any) -> str:
    """A value as it stands in a flow mapping: words bare where they can be, lists as [h, w]."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(format_value(v) for v in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {format_value(v)}' for key, v in value.items())}}}"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _RESERVED:
        return value
    return json.dumps(value)


def format_model(model: Model, comment: str = "") -> str:
    """The text of a model file: name, input, layers."""
    lines = [f"# {line}" for line in comment.splitlines()]
    lines += [f"name: {format_value(model['name'])}", f"input: {format_value(model['input'])}", "layers:"]
    lines += [f"  - {format_value(layer)}" for layer in model["layers"]]
    return "\n".join(lines) + "\n"


def write_model(path: Path, model: Model, comment: str = "") -> None:
    """Writes a model file that read_model gives back."""
    path.write_text(format_model(model, comment), encoding="utf-8")
