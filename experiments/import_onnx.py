"""Turns a sequential ONNX network into a halotile model file and a safetensors file.

    import_onnx.py network.onnx                 writes network.yaml and network.safetensors beside it
    import_onnx.py network.onnx -o folder/net   writes folder/net.yaml and folder/net.safetensors

Understood: Conv, Relu (as Clip or Max too), LRN (also as PyTorch's exporters spell it), MaxPool, AveragePool,
GlobalAveragePool, GlobalMaxPool, ReduceMean and ReduceMax over height, width or both, whatever makes (batch, features)
of a map (Flatten, Reshape, Squeeze, Gather), Gemm, MatMul, Dropout, Softmax, and what is folded into its neighbours:
BatchNormalization, Add/Sub/Mul/Div with constants (in float64), Pad with zeros. Whatever else the network has, or an
attribute that halotile's layers cannot express exactly, is refused by the node's name with the reason.

Needs numpy, onnx, safetensors, pyyaml.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto
from safetensors.numpy import save_file

from model_builder import Affine, edge
from model_file import write_model
from onnx_chain import NO_PADS, Chain, Pads
from onnx_graph import FLOATS, Inexpressible, label
from onnx_shapes import DAMAGE, Windows, axis_of, one_line, pads_by_axis, reduced_axes

MOST_WEIGHTS = 1 << 28  # a widened convolution's


def grouped(own: tuple[int, ...], shape: tuple[int, ...]) -> list[list[int]] | None:
    """The axes of `own` that each axis of `shape` is made of, in order; those of one element belong to none. None where
    an axis would have to be split."""
    left = [axis for axis, size in enumerate(own) if size != 1]
    groups: list[list[int]] = []
    for size in shape:
        group: list[int] = []
        while math.prod(own[axis] for axis in group) < size and left:
            group.append(left.pop(0))
        if math.prod(own[axis] for axis in group) != size:
            return None
        groups.append(group)
    return None if left else groups


class Importer(Chain):
    """Makes layers of nodes."""

    # -- layers with weights ------------------------------------------------------------------------------------------

    @staticmethod
    def window_keys(layer: dict[str, Any], strides: list[int], padding: Any, dilations: list[int]) -> None:
        """Adds the keys that differ from the defaults; pools always name their stride."""
        if layer["type"] != "conv" or strides != [1, 1]:
            layer["stride"] = edge(strides)
        if list(padding) != [0, 0]:
            layer["padding"] = edge(padding)
        if dilations != [1, 1]:
            layer["dilation"] = edge(dilations)

    def windows(self, kernel: list[int]) -> tuple[Windows, Pads]:
        """The node's windows, and their paddings with the zeros of a Pad before."""
        _, *sizes = self.need_map()
        windows = Windows(self.rules, tuple(sizes), kernel)
        if windows.mode.startswith("SAME"):
            self.note("auto_pad worked out for this input size")
        if min(windows.before + windows.after) < 0:
            raise self.refuse(f"has the negative pads {windows.before + windows.after}")
        own = (*windows.before, *windows.after)
        top, left, bottom, right = (a + b for a, b in zip(own, self.pending, strict=True))
        return windows, (top, left, bottom, right)

    def on_Conv(self) -> None:
        weight, bias = self.needed(1, "weight"), self.constant(2, "bias")
        groups = self.attribute("group", 1)
        if len(self.model.at) == 1 and weight.shape[2:] == (1, 1) and groups == 1 and self.shape[1:] == (1, 1):
            self.pointwise(weight, bias)
            return
        windows, pads = self.windows(list(weight.shape[2:]))
        # Unequal paddings: a kernel with zeros on the side of the smaller one reads the same with equal paddings.
        widen = [(0, 0), (0, 0)]
        for axis, dilation in enumerate(windows.dilations):
            more = pads[axis + 2] - pads[axis]
            if more % dilation != 0:
                raise self.refuse(f"has the pads {list(pads)}, which differ by no multiple of the dilation")
            taps = abs(more) // dilation
            widen[axis] = (taps, 0) if more > 0 else (0, taps)
        if widen != [(0, 0), (0, 0)]:
            taps = [k + sum(w) for k, w in zip(windows.kernel, widen, strict=True)]
            if math.prod((*weight.shape[:2], *taps)) > MOST_WEIGHTS:
                raise self.refuse(f"has the pads {list(pads)}, which would make a kernel of {taps[0]}x{taps[1]}")
            weight = np.pad(weight, [(0, 0), (0, 0), *widen])
            self.note(f"pads {list(pads)} are unequal; kernel widened with zeros")
        layer: dict[str, Any] = {"type": "conv", "name": self.layer_name(self.node.input[1])}
        layer["out_channels"] = weight.shape[0]
        layer["kernel"] = edge(weight.shape[2:])
        self.window_keys(layer, windows.strides, [max(pads[0], pads[2]), max(pads[1], pads[3])], windows.dilations)
        if groups != 1:
            layer["groups"] = groups
        self.pending = NO_PADS
        self.model.weighted(layer, weight, bias, self.output())

    def pointwise(self, weight: np.ndarray, bias: np.ndarray | None) -> None:
        """A 1x1 convolution of one pixel behind fully connected layers is one of them."""
        windows = Windows(self.rules, (1, 1), [1, 1])
        if max(windows.before + windows.after) > 0:
            raise self.refuse("pads a map of one pixel behind a fully connected layer")
        self.model.fully_connected(self.layer_name(self.node.input[1]), weight[:, :, 0, 0], bias)

    def on_Gemm(self) -> None:
        weight = self.needed(1, "matrix")
        weight = (weight if self.attribute("transB", 0) else weight.T) * self.attribute("alpha", 1.0)
        bias = self.constant(2, "summand")
        if bias is not None:
            if bias.ndim > 1 and bias.shape[0] != 1:
                raise self.refuse(f"has a summand of shape {bias.shape}, which differs from image to image")
            bias = bias.astype(np.float64).reshape(-1) * self.attribute("beta", 1.0)
            bias = np.broadcast_to(bias, weight.shape[:1])
        self.features()
        self.model.fully_connected(self.layer_name(self.node.input[1]), weight, bias)

    def on_MatMul(self) -> None:
        if self.node.input[0] in self.graph.constants:
            raise self.refuse("has its constant first; only features times matrix can be written")
        self.features()
        self.model.fully_connected(self.layer_name(self.node.input[1]), self.needed(1, "matrix").T, None)

    def features(self) -> None:
        if len(self.shape) != 1:
            raise self.refuse(f"multiplies {self.shown()} by a matrix; only the features of a whole image can be")

    # -- arithmetic with constants ------------------------------------------------------------------------------------

    def aligned(self, value: np.ndarray) -> np.ndarray:
        """A constant that broadcasts over the value, as one that broadcasts over the layers' own shape."""
        rank = len(self.shape) + 1
        value = value.reshape(value.shape[max(value.ndim - rank, 0) :]) if value.ndim > rank else value
        dims = (1,) * (rank - value.ndim) + value.shape
        if dims[0] != 1:
            raise self.refuse(f"has a constant of shape {value.shape}, which differs from image to image")
        if any(d not in (1, size) for d, size in zip(dims[1:], self.shape, strict=True)):
            raise self.refuse(f"has a constant of shape {value.shape}, which does not fit {self.shown()}")
        own = [1] * len(self.model.at)
        for d, group in zip(dims[1:], self.groups(), strict=True):
            for axis in group if d != 1 else []:
                own[axis] = self.model.at[axis]
        return value.reshape(own)

    def groups(self) -> list[list[int]]:
        return grouped(self.model.at, self.shape) or []

    def affine(self, scale: np.ndarray, shift: np.ndarray) -> None:
        """x * scale + shift, aligned."""
        name = self.node.name or self.node.output[0]
        self.model.affine(Affine(scale, shift, name, label(self.node)))

    def operand(self, what: str) -> tuple[np.ndarray, bool]:
        """A binary node's constant, aligned, and whether it stands first."""
        first = self.node.input[0] in self.graph.constants
        value = self.needed(0 if first else 1, what)
        axis = self.attribute("axis")
        if self.graph.opset < 7 and self.attribute("broadcast", 0) and axis is not None:
            axis = axis_of(axis, len(self.shape) + 1)
            value = value.reshape(*value.shape, *[1] * (len(self.shape) + 1 - axis - value.ndim))
        return self.aligned(value), first

    def zero(self) -> np.ndarray:
        return np.zeros([1] * len(self.model.at))

    def on_BatchNormalization(self) -> None:
        if self.attribute("training_mode", 0) or not self.attribute("is_test", 1):
            raise self.refuse("is in training mode; export the network for inference")
        scale, shift, mean, variance = (self.needed(i, "statistics") for i in range(1, 5))
        factor = scale / np.sqrt(variance + self.attribute("epsilon", 1e-5))
        by_channel = (-1, *[1] * (len(self.shape) - 1))
        # Up to operator set 8, spatial: 0 keeps statistics for every element of an image.
        shape = by_channel if self.attribute("spatial", 1) else self.shape
        factor, offset = factor.reshape(shape), (shift - mean * factor).reshape(shape)
        self.affine(self.aligned(factor), self.aligned(offset))

    def on_Add(self) -> None:
        self.affine(self.zero() + 1, self.operand("summand")[0])

    def on_Sum(self) -> None:
        if len(self.node.input) > 2:
            raise self.refuse(f"adds {len(self.node.input)} values; two can be written")
        if len(self.node.input) == 2:
            self.on_Add()

    def on_Sub(self) -> None:
        value, first = self.operand("subtrahend")
        self.affine(self.zero() + (-1 if first else 1), value if first else -value)

    def on_Neg(self) -> None:
        self.affine(self.zero() - 1, self.zero())

    def on_Mul(self) -> None:
        self.affine(self.operand("factor")[0], self.zero())

    def on_Div(self) -> None:
        value, first = self.operand("divisor")
        if first or np.any(value == 0):
            raise self.refuse("divides by the map, or by zero")
        self.affine(1.0 / value, self.zero())

    # -- layers without weights ---------------------------------------------------------------------------------------

    def on_Relu(self) -> None:
        self.model.add({"type": "relu"})

    def on_Clip(self) -> None:
        low, high = self.number("min", 1), self.number("max", 2)
        largest = float(np.finfo(np.float32).max)
        open_above, open_below = high is None or high >= largest, low is None or low <= -largest
        if not open_above or not (open_below or low == 0):
            raise self.refuse(f"clips to [{low}, {high}]; only [0, infinity), a Relu, can be written")
        if not open_below:
            self.on_Relu()

    def on_Max(self) -> None:
        """With 0: a Relu."""
        if len(self.node.input) == 2:
            value, _ = self.operand("bound")
            if np.any(value != 0):
                raise self.refuse("takes the maximum with something else than 0, which would be a Relu")
            self.on_Relu()
        elif len(self.node.input) > 2:
            raise self.refuse(
                f"takes the maximum of {len(self.node.input)} values; that with 0, a Relu, can be written"
            )

    def on_LRN(self) -> None:
        self.need_map()
        size = self.attribute("size")
        if size % 2 == 0:
            raise self.refuse(
                f"has the even size {size}: ONNX's window begins {size // 2 - 1} channels before its own and ends "
                f"{size // 2} behind, halotile's (PyTorch's) begins {size // 2} before and ends {size // 2 - 1} behind"
            )
        self.add_lrn(size, "bias")

    def on_LocalResponseNorm(self) -> None:
        """PyTorch's, put together by onnx_patterns; even sizes are halotile's too."""
        self.need_map()
        self.add_lrn(self.attribute("size"), "k")

    def add_lrn(self, size: int, offset: str) -> None:
        layer = {
            "type": "lrn",
            "size": size,
            "alpha": self.single("alpha", 1e-4),
            "beta": self.single("beta", 0.75),
        }
        self.model.add(layer | {"k": self.single(offset, 1.0)})

    def pool(self, kind: str, counted: bool | None) -> None:
        """Max and average pools. Where only positions inside the map count, the paddings matter by where the first
        window begins and how many windows there are; so unequal ones can be had by padding or by ceil_mode."""
        kernel = list(self.attribute("kernel_shape"))
        windows, pads = self.windows(kernel)
        ceil = windows.ceil
        before, after = list(pads[:2]), list(pads[2:])
        if kind == "avg_pool" and windows.dilations != [1, 1]:
            raise self.refuse("is a dilated average pool")
        if self.pending != NO_PADS:
            if pads != self.pending or ceil:
                raise self.refuse("pads, or has ceil_mode, behind a Pad")
            windows.sizes, counted = self.model.at[1:], True
        wanted = self.output()[1:]
        if counted and before != after:
            raise self.refuse(f"counts unequal pads {list(pads)} in its average")
        if before != after:
            fitting = [mode for mode in (False, True) if windows.outputs(before, before, mode) == wanted]
            if not fitting:
                raise self.refuse(f"has the unequal pads {list(pads)}, which give {wanted[0]}x{wanted[1]} outputs that "
                                  "no equal padding gives")  # fmt: skip
            ceil = fitting[0]
            self.note(f"unequal pads {list(pads)} as ceil_mode, exact for this input size")
        if any(2 * p > k for p, k in zip(before, kernel, strict=True)):
            raise self.refuse(f"pads by more than half of its kernel {kernel}")
        layer: dict[str, Any] = {"type": kind, "kernel": edge(kernel)}
        self.window_keys(layer, windows.strides, before, windows.dilations)
        if ceil:
            layer["ceil_mode"] = True
        if kind == "avg_pool" and not counted:
            layer["count_include_pad"] = False
        self.pending = NO_PADS
        self.model.add(layer, (self.model.at[0], *wanted))

    def on_MaxPool(self) -> None:
        self.pool("max_pool", None)

    def on_AveragePool(self) -> None:
        self.pool("avg_pool", bool(self.attribute("count_include_pad", 0)))

    def on_GlobalAveragePool(self) -> None:
        channels, _, _ = self.need_map()
        self.model.add({"type": "adaptive_avg_pool", "output": 1}, (channels, 1, 1))

    def on_GlobalMaxPool(self) -> None:
        channels, height, width = self.need_map()
        self.model.add({"type": "max_pool", "kernel": edge((height, width))}, (channels, 1, 1))
        self.note(f"written as a {height}x{width} max pool, for this input size")

    def reduced(self) -> tuple[int, int]:
        """The window of the map, (1, 1) or whole rows or columns, that a Reduce node takes together."""
        axes = reduced_axes(self.rules, len(self.shape) + 1)
        window = [1, 1, 1]
        for axis, group in enumerate(self.groups(), 1):
            for own in group if axis in axes else []:
                window[own] = self.model.at[own]
        if 0 in axes or window[0] != 1:
            raise self.refuse(
                f"reduces the axes {sorted(axes)} of {self.shown()}; only height and width can be written"
            )
        return window[1], window[2]

    def on_ReduceMean(self) -> None:
        window = self.reduced()
        if window == (1, 1):
            return
        if window == self.model.at[1:]:
            self.model.add({"type": "adaptive_avg_pool", "output": 1}, (self.model.at[0], 1, 1))
        else:
            self.reduce_by("avg_pool", window)

    def on_ReduceMax(self) -> None:
        window = self.reduced()
        if window != (1, 1):
            self.reduce_by("max_pool", window)

    def reduce_by(self, kind: str, window: tuple[int, int]) -> None:
        channels, height, width = self.model.at
        self.model.add({"type": kind, "kernel": edge(window)}, (channels, height // window[0], width // window[1]))
        self.note(f"written as a {window[0]}x{window[1]} pool, for this input size")

    def on_Pad(self) -> None:
        self.need_map()
        value = self.number("value", 2)
        (batch, channels, rows, columns), mode = (
            pads_by_axis(self.rules, 4),
            self.attribute("mode", "constant"),
        )
        if not any((*batch, *channels, *rows, *columns)):
            return
        if mode != "constant" or value:
            raise self.refuse(f"pads with something else than zeros (mode {mode}, value {value or 0})")
        more = (rows[0], columns[0], rows[1], columns[1])
        if any((*batch, *channels)) or min(more) < 0:
            raise self.refuse(f"pads by {[batch, channels, rows, columns]}; only rows and columns can be added")
        top, left, bottom, right = (a + b for a, b in zip(self.pending, more, strict=True))
        self.pending = (top, left, bottom, right)

    # -- other names for the same values ------------------------------------------------------------------------------

    def view(self) -> None:
        """(batch, features), axes of one element more or less, or several as one; the values keep their order."""
        out = self.output()
        if len(out) == 1:
            self.model.flatten()
        elif grouped(self.model.at, out) is None:
            raise self.refuse(f"reshapes {self.shape} to {list(out)}; only (batch, features) can be written")

    def on_Flatten(self) -> None:
        if self.attribute("axis", 1) % (len(self.shape) + 1) != 1:
            raise self.refuse(f"flattens from axis {self.attribute('axis')}; only 1 (all of an image) can be written")
        self.view()

    def on_Reshape(self) -> None:
        self.view()

    def on_Squeeze(self) -> None:
        self.view()

    def on_Unsqueeze(self) -> None:
        self.view()

    def on_Transpose(self) -> None:
        rank = len(self.shape) + 1
        order = self.attribute("perm", list(range(rank))[::-1])
        moved = [axis for axis in order if axis > 0 and self.shape[axis - 1] != 1]
        if order[0] != 0 or moved != sorted(moved):
            raise self.refuse(
                f"moves the axes of {self.shape} to {order}, which there is no layer for: maps stay (channels, height, "
                "width)"
            )
        self.view()

    def on_Gather(self) -> None:
        """x[:, :, 0, 0] of a map of one pixel."""
        axis = axis_of(self.attribute("axis", 0), len(self.shape) + 1)
        index = self.needed(1, "index")
        if axis == 0 or self.shape[axis - 1] != 1 or index.size != 1 or index.reshape(-1)[0] not in (0, -1):
            raise self.refuse(
                f"picks from the axis {axis} of {self.shown()}; only the one pixel of a 1x1 map can be picked"
            )
        self.view()

    def on_Slice(self) -> None:
        if self.output() != self.shape or -1 in self.attribute("steps", [1]):
            raise self.refuse(f"cuts {self.graph.shown(self.node.output[0])} out of {self.shape}, which no layer does")

    def on_Dropout(self) -> None:
        if self.attribute("is_test", 1) == 0 or bool(np.any(self.constant(2, "training_mode") or False)):
            raise self.refuse("is in training mode; export the network for inference")
        ratio = self.number("ratio", 1)
        self.model.add({"type": "dropout", "p": 0.5 if ratio is None else float(str(np.float32(ratio)))})

    def on_Softmax(self) -> None:
        """Over all numbers of an image, or at each place of a map over its channels."""
        older = self.graph.opset < 13  # takes all axes from the named one together
        axis = axis_of(self.attribute("axis", 1 if older else -1), len(self.shape) + 1)
        before = math.prod(self.shape[: max(axis - 1, 0)])
        together = math.prod(self.shape[axis - 1 :]) if older else self.shape[axis - 1]
        if axis > 0 and together == math.prod(self.shape):
            self.model.flatten()
        elif axis == 0 or older or before != 1 or len(self.model.at) == 1 or together != self.model.at[0]:
            named = self.attribute("axis", "by default")
            raise self.refuse(
                f"is over the axis {named} of {self.shown()}; only over all numbers of an image or over channels it "
                "can be written"
            )
        self.model.add({"type": "softmax"})

    def on_ChannelSoftmax(self) -> None:
        """At each place of a map, put together by onnx_patterns."""
        self.need_map()
        self.model.add({"type": "softmax"})

    def on_Cast(self) -> None:
        to = self.attribute("to")
        if to not in FLOATS:
            raise self.refuse(f"makes {TensorProto.DataType.Name(to).lower()} of the values, which no layer does")
        if to in (TensorProto.FLOAT16, TensorProto.BFLOAT16):
            self.note("rounds to 16 bits in the file; halotile keeps the precision it runs in")


def to_float32(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rounds once, at the end. Inexpressible where a number leaves float32."""
    result = {}
    for name, value in weights.items():
        with np.errstate(over="ignore"):
            result[name] = np.ascontiguousarray(value, dtype=np.float32)
        if not np.isfinite(result[name]).all():
            raise Inexpressible(f"the weights '{name}' hold infinite numbers or NaN after folding")
    return result


def translate(path: Path, name: str) -> tuple[dict[str, Any], dict[str, np.ndarray], list[str]]:
    """The model file, the weights and the notes."""
    try:
        proto = onnx.load(path)
    except Exception as error:  # whatever protobuf and the operating system raise
        raise Inexpressible(f"cannot be read as ONNX: {one_line(error)}") from error
    if not proto.graph.node:
        raise Inexpressible("holds no nodes; it is no ONNX network")
    try:
        with np.errstate(all="ignore"):  # what is no number is told at the end, by the weight's name
            importer = Importer(proto)
            model = importer.run(name)
    except DAMAGE as error:  # in what stands around the nodes; theirs are told with their names
        raise Inexpressible(f"is damaged: {one_line(error)}") from error
    return model, to_float32(importer.model.weights), importer.model.notes


def import_onnx(path: Path, output: Path) -> tuple[dict[str, Any], list[str]]:
    """Writes `output`.yaml and `output`.safetensors; returns the model and the notes. Inexpressible when it cannot."""
    try:
        model, weights, notes = translate(path, output.name)
    except Inexpressible as error:
        raise Inexpressible(f"{path}: {one_line(error)}") from error
    comment = "\n".join([f"Made from {path.name} by experiments/import_onnx.py.", *notes])
    write_model(output.with_name(output.name + ".yaml"), model, comment)
    save_file(weights, output.with_name(output.name + ".safetensors"), metadata={"made_from": path.name})
    return model, notes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("onnx", type=Path, metavar="MODEL.onnx", help="the network to import")
    parser.add_argument("-o", "--output", type=Path, help="where to write, without ending (default: beside the model)")
    args = parser.parse_args()
    output = args.output or args.onnx.with_suffix("")
    try:
        model, notes = import_onnx(args.onnx, output)
    except Inexpressible as error:
        sys.exit(f"import_onnx.py: {error}")
    for note in notes:
        print(f"note: {note}")
    print(f"{output}.yaml and {output}.safetensors: {len(model['layers'])} layers")


if __name__ == "__main__":
    main()
