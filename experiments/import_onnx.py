"""Turns a sequential ONNX network into a halotile model file and a safetensors file.

    import_onnx.py network.onnx                 writes network.yaml and network.safetensors beside it
    import_onnx.py network.onnx -o folder/net   writes folder/net.yaml and folder/net.safetensors

Understood: Conv, Relu, LRN, MaxPool, AveragePool, GlobalAveragePool, GlobalMaxPool, ReduceMean over a map, Flatten,
Reshape and Squeeze to (batch, features), Gemm, MatMul, Dropout, Softmax, Identity, and what is folded into its
neighbours: BatchNormalization, Add/Sub/Mul/Div with constants (in float64), Pad with zeros. Whatever else the network
has, or an attribute that halotile's layers cannot express exactly, is refused by the node's name with the reason.

Needs numpy, onnx, safetensors, pyyaml.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator
from safetensors.numpy import save_file

from model_file import write_model

Pads = tuple[int, int, int, int]  # top, left, bottom, right
NO_PADS: Pads = (0, 0, 0, 0)


class Inexpressible(Exception):
    """The network cannot be written as a halotile model file; says which node and why."""


def edge(values: Any) -> Any:
    """[h, w] as a model file has it: one number where both are equal."""
    h, w = (int(v) for v in values)
    return h if h == w else [h, w]


def add_pads(a: Pads, b: Pads) -> Pads:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]


def pooled_size(size: int, kernel: int, stride: int, dilation: int, before: int, after: int, ceil: bool) -> int:
    """Outputs along one axis: rounding down, or up where the last window begins in the map or the padding before."""
    span = size + before + after - (dilation * (kernel - 1) + 1)
    outputs = (-(-span // stride) if ceil else span // stride) + 1
    if ceil and (outputs - 1) * stride >= size + before:
        outputs -= 1
    return outputs


class Importer:
    """Follows the chain of nodes from input to output and collects layers and weights."""

    def __init__(self, model: onnx.ModelProto, name: str) -> None:
        try:
            model = shape_inference.infer_shapes(model, data_prop=True)
        except Exception as error:
            raise Inexpressible(f"the file is not a valid ONNX model: {error}") from error
        self.graph = model.graph
        self.constants = {init.name: numpy_helper.to_array(init) for init in self.graph.initializer}
        self.producers: dict[str, onnx.NodeProto] = {}
        for node in self.graph.node:
            for output in node.output:
                self.producers[output] = node
            self.fold(node, model)
        values = [*self.graph.input, *self.graph.value_info, *self.graph.output]
        self.dims = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
        self.name = name
        self.layers: list[dict[str, Any]] = []
        self.weights: dict[str, np.ndarray] = {}  # float64 until the end
        self.notes: list[str] = []
        self.shape: tuple[int, ...] = ()  # (channels, height, width), or (features,)
        self.pending: Pads = NO_PADS  # zeros of a Pad node, for the next layer
        self.node = onnx.NodeProto()

    # -- reading nodes ------------------------------------------------------------------------------------------------

    def label(self) -> str:
        node = self.node
        return f"node '{node.name or node.output[0]}' ({node.op_type})"

    def refuse(self, reason: str) -> Inexpressible:
        return Inexpressible(f"{self.label()} {reason}")

    def fold(self, node: onnx.NodeProto, model: onnx.ModelProto) -> None:
        """Works out a node that depends on constants alone: a Constant, the transpose of a weight, and the like."""
        if any(name and name not in self.constants for name in node.input) or node.op_type in ("Dropout", "If", "Loop"):
            return
        results = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        given = [numpy_helper.from_array(self.constants[name], name) for name in dict.fromkeys(node.input) if name]
        graph = helper.make_graph([node], "constant", [], results, given)
        alone = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
        try:
            values = ReferenceEvaluator(alone).run(None, {})
        except Exception:  # left as it is: refused by name if the chain needs it
            return
        for result, value in zip(results, values, strict=True):
            self.constants[result.name] = np.asarray(value)

    def attribute(self, name: str, default: Any = None) -> Any:
        for attribute in self.node.attribute:
            if attribute.name == name:
                value = helper.get_attribute_value(attribute)
                return value.decode() if isinstance(value, bytes) else value
        return default

    def constant(self, place: int, what: str) -> np.ndarray | None:
        """The node's input at this place, which must be a constant; None where there is none."""
        if place >= len(self.node.input) or not self.node.input[place]:
            return None
        name = self.node.input[place]
        if name not in self.constants:
            raise self.refuse(f"has a {what} that is computed ('{name}'); only constants can be written to a file")
        return self.constants[name]

    def needed(self, place: int, what: str) -> np.ndarray:
        value = self.constant(place, what)
        if value is None:
            raise self.refuse(f"lacks its {what}")
        return value.astype(np.float64)

    def attribute_or_input(self, name: str, place: int) -> Any:
        """What older operator sets have as an attribute and newer ones as an input."""
        value = self.attribute(name)
        if value is None and (given := self.constant(place, name)) is not None:
            value = given.tolist()
        return value

    # -- the chain ----------------------------------------------------------------------------------------------------

    def chain(self) -> tuple[str, list[onnx.NodeProto]]:
        """The graph's input and the nodes between it and the output, in order."""
        inputs = [v.name for v in self.graph.input if v.name not in self.constants]
        if len(inputs) != 1 or len(self.graph.output) != 1:
            raise Inexpressible(
                f"the network has the inputs {inputs} and the outputs {[v.name for v in self.graph.output]}; one of "
                "each is needed"
            )
        nodes: list[onnx.NodeProto] = []
        at = self.graph.output[0].name
        while at != inputs[0]:
            if at not in self.producers:
                raise Inexpressible(f"the output depends on '{at}', which nothing makes")
            self.node = self.producers[at]
            if at != self.node.output[0]:
                raise self.refuse(f"is used by its further output '{at}'")
            data = [name for name in self.node.input if name and name not in self.constants]
            if self.node.op_type == "Reshape":  # a computed shape is judged by what it comes to
                data = list(self.node.input[:1])
            if len(data) != 1:
                raise self.refuse(f"joins {data}; only a chain of layers can be written")
            nodes.append(self.node)
            at = data[0]
        return inputs[0], nodes[::-1]

    def run(self) -> dict[str, Any]:
        """The model file as a dictionary; self.weights and self.notes go with it."""
        start, nodes = self.chain()
        dims = self.dims.get(start, [])
        if len(dims) != 4 or min(dims[1:]) <= 0:
            raise Inexpressible(
                f"the input '{start}' has the shape {dims} (0: not fixed); (batch, channels, height, width) with the "
                "last three fixed is needed: export the network for one image size"
            )
        self.shape = tuple(dims[1:])
        size = dict(zip(("channels", "height", "width"), self.shape, strict=True))
        for self.node in nodes:
            handler = getattr(self, f"on_{self.node.op_type}", None)
            if handler is None or self.node.domain not in ("", "ai.onnx"):
                raise self.refuse("is of a kind that halotile has no layer for")
            if self.pending != NO_PADS and self.node.op_type not in ("Conv", "AveragePool", "Pad"):
                raise self.refuse("follows a Pad; only Conv and AveragePool can take its zeros in")
            handler()
            self.compare_shape()
        if self.pending != NO_PADS:
            raise self.refuse("ends the network with padding")
        if not self.layers:
            raise Inexpressible("the network has no layers")
        self.name_layers()
        return {"name": self.name, "input": size, "layers": self.layers}

    def compare_shape(self) -> None:
        """Holds our idea of the output's shape against ONNX's own, where ONNX knows it."""
        if self.pending != NO_PADS:
            return
        dims = self.dims.get(self.node.output[0], [])
        ours = self.shape
        if any(d > 0 and d != o for d, o in zip(dims[1:], ours, strict=False)) or len(dims) not in (0, len(ours) + 1):
            raise self.refuse(f"gives {dims} by ONNX's rules, where halotile's layers give {[0, *ours]} (0: any)")

    def need_map(self) -> tuple[int, int, int]:
        if len(self.shape) != 3:
            raise self.refuse(f"needs a map of channels, height and width, not {self.shape}")
        return self.shape[0], self.shape[1], self.shape[2]

    def add(self, layer: dict[str, Any]) -> None:
        self.layers.append(layer)

    def layer_name(self, weight: str) -> str:
        """After the weights (features.0.weight) or the node; made unique."""
        stem = weight.removesuffix(".weight") if weight.endswith(".weight") else self.node.name or self.node.output[0]
        stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", stem).strip("_.-") or "layer"
        taken = {layer.get("name") for layer in self.layers}
        name, number = stem, 2
        while name in taken:
            name, number = f"{stem}_{number}", number + 1
        return name

    def name_layers(self) -> None:
        """Nameless layers are called by type and number; gives a name to those whose number is taken."""
        taken = {layer["name"] for layer in self.layers if "name" in layer}
        counts: dict[str, int] = {}
        for layer in self.layers:
            counts[layer["type"]] = counts.get(layer["type"], 0) + 1
            default = f"{layer['type']}{counts[layer['type']]}"
            if "name" not in layer and default in taken:
                layer["name"] = next(n for i in range(1, 1 << 20) if (n := f"{default}_{i}") not in taken)
                taken.add(layer["name"])

    # -- windows ------------------------------------------------------------------------------------------------------

    def window(self, kernel: list[int]) -> tuple[list[int], list[int], Pads]:
        """Strides, dilations and paddings of a node, auto_pad worked out."""
        if len(kernel) != 2:
            raise self.refuse(f"has a kernel of {len(kernel)} axes, where two are needed")
        strides = list(self.attribute("strides", [1, 1]))
        dilations = list(self.attribute("dilations", [1, 1]))
        mode = self.attribute("auto_pad", "NOTSET")
        if mode in ("NOTSET", ""):
            pads = tuple(self.attribute("pads", NO_PADS))
        elif mode == "VALID":
            pads = NO_PADS
        elif mode in ("SAME_UPPER", "SAME_LOWER"):
            before, after = [], []
            for axis, size in enumerate(self.need_map()[1:]):
                reach = dilations[axis] * (kernel[axis] - 1) + 1
                total = max((-(-size // strides[axis]) - 1) * strides[axis] + reach - size, 0)
                small = total // 2
                before.append(small if mode == "SAME_UPPER" else total - small)
                after.append(total - before[-1])
            pads = (*before, *after)
            self.notes.append(f"{self.label()}: auto_pad worked out for this input size")
        else:
            raise self.refuse(f"has auto_pad '{mode}', which ONNX does not define")
        if min(pads) < 0:
            raise self.refuse(f"has the negative pads {list(pads)}")
        return strides, dilations, (pads[0], pads[1], pads[2], pads[3])

    @staticmethod
    def window_keys(layer: dict[str, Any], strides: list[int], padding: Any, dilations: list[int]) -> None:
        """Adds the keys that differ from the defaults; pools always name their stride."""
        if layer["type"] != "conv" or strides != [1, 1]:
            layer["stride"] = edge(strides)
        if list(padding) != [0, 0]:
            layer["padding"] = edge(padding)
        if dilations != [1, 1]:
            layer["dilation"] = edge(dilations)

    # -- layers with weights ------------------------------------------------------------------------------------------

    def on_Conv(self) -> None:
        channels, *sizes = self.need_map()
        weight = self.needed(1, "weight")
        if weight.ndim != 4:
            raise self.refuse(f"has a weight of shape {weight.shape}, where four axes are needed")
        groups = self.attribute("group", 1)
        if channels != weight.shape[1] * groups:
            raise self.refuse(f"has weights for {weight.shape[1] * groups} channels on a map of {channels}")
        kernel = list(weight.shape[2:])
        if self.attribute("kernel_shape", kernel) != kernel:
            raise self.refuse(f"has kernel_shape {self.attribute('kernel_shape')} and a weight of shape {weight.shape}")
        strides, dilations, pads = self.window(kernel)
        pads = add_pads(pads, self.pending)
        self.pending = NO_PADS
        out = [pooled_size(sizes[a], kernel[a], strides[a], dilations[a], pads[a], pads[a + 2], False) for a in (0, 1)]
        # Unequal paddings: a kernel with zeros on the side of the smaller one reads the same with equal paddings.
        widen = [(0, 0), (0, 0)]
        for axis in (0, 1):
            more = pads[axis + 2] - pads[axis]
            if more % dilations[axis] != 0:
                raise self.refuse(f"has the pads {list(pads)}, which differ by no multiple of the dilation")
            taps = abs(more) // dilations[axis]
            widen[axis] = (taps, 0) if more > 0 else (0, taps)
        if widen != [(0, 0), (0, 0)]:
            weight = np.pad(weight, [(0, 0), (0, 0), *widen])
            self.notes.append(f"{self.label()}: pads {list(pads)} are unequal; kernel widened with zeros")
        layer: dict[str, Any] = {"type": "conv", "name": self.layer_name(self.node.input[1])}
        layer["out_channels"] = weight.shape[0]
        layer["kernel"] = edge(weight.shape[2:])
        self.window_keys(layer, strides, [max(pads[0], pads[2]), max(pads[1], pads[3])], dilations)
        if groups != 1:
            layer["groups"] = groups
        bias = self.constant(2, "bias")
        self.add_weights(layer, weight, None if bias is None else bias.astype(np.float64))
        self.shape = (weight.shape[0], *out)

    def add_weights(self, layer: dict[str, Any], weight: np.ndarray, bias: np.ndarray | None) -> None:
        self.weights[f"{layer['name']}.weight"] = weight
        if bias is None:
            layer["bias"] = False
        else:
            self.weights[f"{layer['name']}.bias"] = bias.reshape(weight.shape[0])
        self.add(layer)

    def affine(self, scale: Any, shift: Any) -> None:
        """x * scale + shift for each channel or feature: into the layer before, or a 1x1 convolution of its own."""
        channels = self.shape[0]
        scale, shift = (np.broadcast_to(np.asarray(v, np.float64), channels) for v in (scale, shift))
        last: dict[str, Any] = self.layers[-1] if self.layers else {"type": "none"}
        if last["type"] in ("conv", "fully_connected"):
            name = last["name"]
            weight = self.weights[f"{name}.weight"]
            bias = self.weights.get(f"{name}.bias", np.zeros(channels))
            self.weights[f"{name}.weight"] = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
            if last.pop("bias", True) or np.any(shift != 0):
                self.weights[f"{name}.bias"] = bias * scale + shift
            else:
                last["bias"] = False
            return
        self.need_map()
        layer: dict[str, Any] = {"type": "conv", "name": self.layer_name(""), "out_channels": channels, "kernel": 1}
        layer["groups"] = channels
        if channels == 1:
            del layer["groups"]
        self.notes.append(f"{self.label()}: written as a 1x1 convolution of single channels")
        self.add_weights(layer, scale.reshape(channels, 1, 1, 1), np.array(shift))

    def on_BatchNormalization(self) -> None:
        if self.attribute("training_mode", 0) or not self.attribute("is_test", 1) or not self.attribute("spatial", 1):
            raise self.refuse("is in training mode; export the network for inference")
        scale, shift, mean, variance = (self.needed(i, "statistics") for i in range(1, 5))
        factor = scale / np.sqrt(variance + self.attribute("epsilon", 1e-5))
        self.affine(factor, shift - mean * factor)

    def per_channel(self, what: str) -> tuple[np.ndarray, bool]:
        """A binary node's constant as one number or one per channel, and whether it stands first."""
        first = self.node.input[0] in self.constants
        value = self.needed(0 if first else 1, what)
        if value.size == 1:
            return value.reshape(()), first
        wanted = [1] * (len(self.shape) + 1 - value.ndim) + list(value.shape)
        if wanted != [1, self.shape[0]] + [1] * (len(self.shape) - 1):
            raise self.refuse(f"has a constant of shape {value.shape}, which is not one number a channel")
        return value.reshape(-1), first

    def on_Add(self) -> None:
        self.affine(1.0, self.per_channel("summand")[0])

    def on_Sub(self) -> None:
        value, first = self.per_channel("subtrahend")
        if first:
            self.affine(-1.0, value)
        else:
            self.affine(1.0, -value)

    def on_Mul(self) -> None:
        self.affine(self.per_channel("factor")[0], 0.0)

    def on_Div(self) -> None:
        value, first = self.per_channel("divisor")
        if first or np.any(value == 0):
            raise self.refuse("divides by the map, or by zero")
        self.affine(1.0 / value, 0.0)

    def fully_connected(self, weight: np.ndarray, bias: np.ndarray | None) -> None:
        """`weight` is (out, in)."""
        if len(self.shape) != 1 or weight.ndim != 2 or weight.shape[1] != self.shape[0]:
            raise self.refuse(f"multiplies {self.shape} by a matrix of shape {weight.T.shape}")
        name = self.layer_name(self.node.input[1])
        layer: dict[str, Any] = {"type": "fully_connected", "name": name, "out_features": weight.shape[0]}
        self.add_weights(layer, weight, bias)
        self.shape = (weight.shape[0],)

    def on_Gemm(self) -> None:
        if self.attribute("transA", 0):
            raise self.refuse("has transA, which would mix the images of a batch")
        weight = self.needed(1, "matrix")
        weight = (weight if self.attribute("transB", 0) else weight.T) * self.attribute("alpha", 1.0)
        bias = self.constant(2, "summand")
        if bias is not None:
            if bias.ndim > 1 and bias.shape[0] != 1:
                raise self.refuse(f"has a summand of shape {bias.shape}, which differs from image to image")
            bias = bias.astype(np.float64).reshape(-1) * self.attribute("beta", 1.0)
            bias = np.broadcast_to(bias, weight.shape[:1]).copy()
        self.fully_connected(weight, bias)

    def on_MatMul(self) -> None:
        if self.node.input[0] in self.constants:
            raise self.refuse("has its constant first; only features times matrix can be written")
        self.fully_connected(self.needed(1, "matrix").T, None)

    # -- layers without weights ---------------------------------------------------------------------------------------

    def on_Relu(self) -> None:
        self.add({"type": "relu"})

    def on_Clip(self) -> None:
        low, high = self.attribute_or_input("min", 1), self.attribute_or_input("max", 2)
        if low != 0 or (high is not None and high < 3.4e38):
            raise self.refuse(f"clips to [{low}, {high}]; only [0, infinity), a Relu, can be written")
        self.on_Relu()

    def on_LRN(self) -> None:
        self.need_map()
        size = self.attribute("size")
        if size % 2 == 0:
            raise self.refuse(f"has the even size {size}, which ONNX centres one channel further than halotile")
        layer = {"type": "lrn", "size": size, "alpha": self.single("alpha", 1e-4), "beta": self.single("beta", 0.75)}
        self.add(layer | {"k": self.single("bias", 1.0)})

    def single(self, name: str, default: float) -> float:
        """A float32 attribute in its shortest form: 1e-4 and not 9.99999974e-05."""
        return float(str(np.float32(self.attribute(name, default))))

    def pool(self, kind: str, counted: bool | None) -> None:
        """Max and average pools. Where only positions inside the map count, the paddings matter by where the first
        window begins and how many windows there are; so unequal ones can be had by padding or by ceil_mode."""
        channels, *sizes = self.need_map()
        kernel = list(self.attribute("kernel_shape"))
        strides, dilations, pads = self.window(kernel)
        ceil = bool(self.attribute("ceil_mode", 0)) and self.attribute("auto_pad", "NOTSET") in ("NOTSET", "")
        if kind == "avg_pool" and dilations != [1, 1]:
            raise self.refuse("is a dilated average pool")
        if self.pending != NO_PADS:
            if pads != NO_PADS or ceil:
                raise self.refuse("pads, or has ceil_mode, behind a Pad")
            pads, self.pending, counted = self.pending, NO_PADS, True

        def outputs(after: tuple[int, int], ceiling: bool) -> list[int]:
            axes = zip(sizes, kernel, strides, dilations, pads[:2], after, strict=True)
            return [pooled_size(size, k, s, d, p, q, ceiling) for size, k, s, d, p, q in axes]

        wanted = outputs(pads[2:], ceil)
        if min(wanted) < 1:
            raise self.refuse(f"has a window larger than its padded {sizes[0]}x{sizes[1]} map")
        if counted and pads[:2] != pads[2:]:
            raise self.refuse(f"counts unequal pads {list(pads)} in its average")
        if pads[:2] != pads[2:]:
            fitting = [mode for mode in (False, True) if outputs(pads[:2], mode) == wanted]
            if not fitting:
                raise self.refuse(f"has the unequal pads {list(pads)}, which give {wanted[0]}x{wanted[1]} outputs that "
                                  "no equal padding gives")  # fmt: skip
            ceil = fitting[0]
            self.notes.append(f"{self.label()}: unequal pads {list(pads)} as ceil_mode, exact for this input size")
        if any(2 * p > k for p, k in zip(pads[:2], kernel, strict=True)):
            raise self.refuse(f"pads by more than half of its kernel {kernel}")
        layer: dict[str, Any] = {"type": kind, "kernel": edge(kernel)}
        self.window_keys(layer, strides, pads[:2], dilations)
        if ceil:
            layer["ceil_mode"] = True
        if kind == "avg_pool" and not counted:
            layer["count_include_pad"] = False
        self.add(layer)
        self.shape = (channels, *wanted)

    def on_MaxPool(self) -> None:
        self.pool("max_pool", None)

    def on_AveragePool(self) -> None:
        self.pool("avg_pool", bool(self.attribute("count_include_pad", 0)))

    def on_GlobalAveragePool(self) -> None:
        channels, _, _ = self.need_map()
        self.add({"type": "adaptive_avg_pool", "output": 1})
        self.shape = (channels, 1, 1)

    def on_GlobalMaxPool(self) -> None:
        channels, height, width = self.need_map()
        self.add({"type": "max_pool", "kernel": edge((height, width))})
        self.notes.append(f"{self.label()}: written as a {height}x{width} max pool, for this input size")
        self.shape = (channels, 1, 1)

    def on_ReduceMean(self) -> None:
        self.need_map()
        axes = self.attribute_or_input("axes", 1) or []
        if sorted(axis % 4 for axis in axes) != [2, 3]:
            raise self.refuse(f"takes the mean over the axes {axes}; only height and width can be written")
        self.on_GlobalAveragePool()
        if not self.attribute("keepdims", 1):
            self.flatten()

    def on_Pad(self) -> None:
        self.need_map()
        value = self.attribute("value") if self.attribute("value") is not None else self.constant(2, "value")
        pads = self.attribute_or_input("pads", 1)
        if self.attribute("mode", "constant") != "constant" or (value is not None and np.any(np.asarray(value) != 0)):
            raise self.refuse("pads with something else than zeros")
        if len(pads) != 8 or any(pads[i] for i in (0, 1, 4, 5)) or min(pads) < 0 or len(self.node.input) > 3:
            raise self.refuse(f"has the pads {pads}; only rows and columns can be added, and those of all axes given")
        more = (pads[2], pads[3], pads[6], pads[7])
        self.pending = add_pads(self.pending, more)

    def flatten(self) -> None:
        if len(self.shape) != 1:
            self.add({"type": "flatten"})
            self.shape = (math.prod(self.shape),)

    def on_Flatten(self) -> None:
        if self.attribute("axis", 1) % (len(self.shape) + 1) != 1:
            raise self.refuse(f"flattens from axis {self.attribute('axis')}; only 1 (all of an image) can be written")
        self.flatten()

    def on_Reshape(self) -> None:
        features = math.prod(self.shape)
        name = self.node.input[1] if len(self.node.input) > 1 else ""
        target = self.attribute("shape")
        if target is None and name in self.constants:
            target = self.constants[name].tolist()
        if target is None:  # computed: by the shape it comes to
            dims = self.dims.get(self.node.output[0], [])
            target = [-1, *dims[1:]] if len(dims) == 2 and dims[1] > 0 else None
        if target is None:
            raise self.refuse("has a computed shape that cannot be told; export the network with a fixed shape")
        batch = self.dims.get(self.node.input[0], [0])[0]
        whole = len(target) == 2 and (
            (target[0] in (0, -1) and target[1] == features)
            or (target[1] == -1 and (target[0] == 0 or (target[0] == batch and batch > 0)))
            or (target[1] == features and target[0] == batch)
        )
        if not whole:
            raise self.refuse(f"reshapes {self.shape} to {target}; only (batch, features) can be written")
        self.flatten()

    def on_Squeeze(self) -> None:
        axes = self.attribute_or_input("axes", 1)
        if axes is None or sorted(a % 4 for a in axes) != [2, 3] or self.shape[1:] != (1, 1):
            raise self.refuse(f"squeezes the axes {axes} of {self.shape}; only the two of a 1x1 map can be written")
        self.flatten()

    def on_Dropout(self) -> None:
        if self.attribute("is_test", 1) == 0 or bool(np.any(self.constant(2, "training_mode") or False)):
            raise self.refuse("is in training mode; export the network for inference")
        ratio = self.attribute_or_input("ratio", 1)
        self.add({"type": "dropout", "p": 0.5 if ratio is None else float(str(np.float32(ratio)))})

    def on_Softmax(self) -> None:
        if len(self.shape) != 1 or self.attribute("axis", 1) not in (1, -1):
            raise self.refuse(f"is over the axis {self.attribute('axis', 'by default')} of {self.shape}; only over the "
                              "features behind a Flatten it can be written")  # fmt: skip
        self.add({"type": "softmax"})

    def on_Identity(self) -> None:
        pass


def to_float32(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rounds once, at the end. Inexpressible where a number leaves float32."""
    result = {}
    for name, value in weights.items():
        with np.errstate(over="ignore"):
            result[name] = np.ascontiguousarray(value, dtype=np.float32)
        if not np.isfinite(result[name]).all():
            raise Inexpressible(f"the weights '{name}' hold infinite numbers or NaN after folding")
    return result


def import_onnx(path: Path, output: Path) -> tuple[dict[str, Any], list[str]]:
    """Writes `output`.yaml and `output`.safetensors; returns the model and the notes. Inexpressible when it cannot."""
    try:
        proto = onnx.load(path)
    except Exception as error:
        raise Inexpressible(f"{path} cannot be read as ONNX: {error}") from error
    importer = Importer(proto, output.name)
    model = importer.run()
    weights = to_float32(importer.weights)
    comment = "\n".join([f"Made from {path.name} by experiments/import_onnx.py.", *importer.notes])
    write_model(output.with_name(output.name + ".yaml"), model, comment)
    save_file(weights, output.with_name(output.name + ".safetensors"), metadata={"made_from": path.name})
    return model, importer.notes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("onnx", type=Path, metavar="MODEL.onnx", help="the network to import")
    parser.add_argument("-o", "--output", type=Path, help="where to write, without ending (default: beside the model)")
    args = parser.parse_args()
    output = args.output or args.onnx.with_suffix("")
    try:
        model, notes = import_onnx(args.onnx, output)
    except Inexpressible as error:
        sys.exit(f"import_onnx.py: {args.onnx}: {error}")
    for note in notes:
        print(f"note: {note}")
    print(f"{output}.yaml and {output}.safetensors: {len(model['layers'])} layers")


if __name__ == "__main__":
    main()
