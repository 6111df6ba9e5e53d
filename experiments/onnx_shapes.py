"""Shapes of ONNX values by the operators' own rules: what a file says about its inner values decides nothing.

ONNX's shape inference keeps windows of ceil_mode pools at operator sets 10 to 21 that every runtime drops, and a file's
`value_info` may be older than its nodes. A free batch is worked out as BATCH, so that shapes are always integers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import helper

Shape = tuple[int, ...]

# Stands for a free batch: a prime above the largest size of a model file (2^31 - 1), so that no product of sizes can
# be taken for it, and what is computed from it can be told.
BATCH = 2147483659

# What a damaged file makes of honest code.
DAMAGE = (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError)


class Malformed(Exception):
    """A node breaks ONNX's rules."""


def one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


class Rules:
    """What the rules below may ask of a node."""

    def __init__(self, node: onnx.NodeProto, opset: int, constants: dict[str, np.ndarray]) -> None:
        self.node, self.opset, self.constants = node, opset, constants

    def attribute(self, name: str, default: Any = None) -> Any:
        for attribute in self.node.attribute:
            if attribute.name == name:
                value = helper.get_attribute_value(attribute)
                return value.decode() if isinstance(value, bytes) else value
        return default

    def integers(self, name: str, place: int) -> list[int] | None:
        """What older operator sets have as an attribute and newer ones as a constant input; None where neither is."""
        value = self.attribute(name)
        if value is not None:
            return [int(v) for v in value]
        if place >= len(self.node.input) or not self.node.input[place]:
            return None
        given = self.node.input[place]
        if given not in self.constants:
            raise Malformed(f"has {name} that are computed ('{given}')")
        return [int(v) for v in np.asarray(self.constants[given]).reshape(-1)]


def axis_of(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise Malformed(f"names the axis {axis} of {rank}")
    return axis % rank


def axes_of(axes: list[int], rank: int) -> set[int]:
    return {axis_of(axis, rank) for axis in axes}


def reshaped(shape: Shape, target: list[int], allow_zero: bool) -> Shape:
    """What Reshape gives: 0 copies a size (unless allow_zero), -1 takes what is left."""
    out = [shape[i] if v == 0 and not allow_zero and i < len(shape) else v for i, v in enumerate(target)]
    total = math.prod(shape)
    if out.count(-1) == 1:
        rest = math.prod(v for v in out if v != -1)
        out[out.index(-1)] = total // rest if rest else 0
    if min(out, default=1) < 0 or math.prod(out) != total:
        raise Malformed(f"reshapes {shown(shape)} to {target}, which have not the same number of elements")
    return tuple(out)


def shown(shape: Shape) -> str:
    """For messages: a free batch has no number."""
    return f"[{', '.join('batch' if d == BATCH else str(d) for d in shape)}]"


def pooled_size(size: int, kernel: int, stride: int, dilation: int, before: int, after: int, ceil: bool) -> int:
    """Outputs along one axis: rounding down, or up where the last window begins in the map or the padding before.
    0 or less where the window is larger than the padded map."""
    span = size + before + after - (dilation * (kernel - 1) + 1)
    if span < 0:
        return 0
    outputs = (-(-span // stride) if ceil else span // stride) + 1
    if ceil and (outputs - 1) * stride >= size + before:
        outputs -= 1
    return outputs


class Windows:
    """Kernel, strides, dilations and paddings of a Conv or pool over a map with the sizes `sizes`."""

    def __init__(self, rules: Rules, sizes: Shape, kernel: list[int]) -> None:
        rank = len(sizes)
        self.sizes, self.kernel = sizes, list(kernel)
        self.strides = list(rules.attribute("strides", [1] * rank))
        self.dilations = list(rules.attribute("dilations", [1] * rank))
        self.mode = rules.attribute("auto_pad", "NOTSET") or "NOTSET"
        # SAME says itself how many outputs there are; VALID is no padding (ONNX Runtime rounds up there too).
        self.ceil = bool(rules.attribute("ceil_mode", 0)) and self.mode in ("NOTSET", "VALID")
        pads = list(rules.attribute("pads", [0] * (2 * rank))) if self.mode == "NOTSET" else [0] * (2 * rank)
        lengths = (len(self.kernel), len(self.strides), len(self.dilations), len(pads) // 2)
        if set(lengths) != {rank} or len(pads) % 2 or min(self.kernel + self.strides + self.dilations) < 1:
            raise Malformed(
                f"has the kernel {self.kernel}, strides {self.strides}, dilations {self.dilations} and pads {pads} on "
                f"a map of {rank} axes"
            )
        self.before, self.after = pads[:rank], pads[rank:]
        if self.mode in ("SAME_UPPER", "SAME_LOWER"):
            self.pad_to_same()
        elif self.mode not in ("NOTSET", "VALID"):
            raise Malformed(f"has auto_pad '{self.mode}', which ONNX does not define")

    def pad_to_same(self) -> None:
        for axis, size in enumerate(self.sizes):
            reach = self.dilations[axis] * (self.kernel[axis] - 1) + 1
            total = max((-(-size // self.strides[axis]) - 1) * self.strides[axis] + reach - size, 0)
            small = total // 2
            self.before[axis] = small if self.mode == "SAME_UPPER" else total - small
            self.after[axis] = total - self.before[axis]

    def outputs(self, before: list[int], after: list[int], ceil: bool) -> Shape:
        axes = zip(self.sizes, self.kernel, self.strides, self.dilations, before, after, strict=True)
        return tuple(pooled_size(*axis, ceil) for axis in axes)

    def output(self) -> Shape:
        out = self.outputs(self.before, self.after, self.ceil)
        if min(out, default=1) < 1:
            raise Malformed(
                f"has a window of {self.kernel} (dilations {self.dilations}, pads {self.before + self.after}) on a map "
                f"of {list(self.sizes)}, which it does not fit in"
            )
        return out


# -- rules: the shape of the first output from the shapes of the inputs ----------------------------------------------

Rule = Callable[[Rules, list[Shape]], Shape]


def same(_: Rules, shapes: list[Shape]) -> Shape:
    return shapes[0]


def broadcast(rules: Rules, shapes: list[Shape]) -> Shape:
    if rules.opset < 7 and rules.attribute("broadcast", 0):
        return shapes[0]
    rank = max(len(s) for s in shapes)
    padded = [(1,) * (rank - len(s)) + s for s in shapes]
    out = tuple(max(sizes) if min(sizes) else 0 for sizes in zip(*padded, strict=True))
    if any(size not in (1, o) for s in padded for size, o in zip(s, out, strict=True)):
        raise Malformed(f"joins {' and '.join(map(shown, shapes))}, which do not fit together")
    return out


def conv(rules: Rules, shapes: list[Shape]) -> Shape:
    x, weight = shapes[0], shapes[1]
    if len(x) != len(weight) or len(x) < 3:
        raise Malformed(f"has a weight of shape {list(weight)} on {shown(x)}")
    kernel = rules.attribute("kernel_shape", list(weight[2:]))
    if list(kernel) != list(weight[2:]):
        raise Malformed(f"has kernel_shape {kernel} and a weight of shape {list(weight)}")
    groups = rules.attribute("group", 1)
    if groups < 1 or x[1] != weight[1] * groups or weight[0] % groups:
        raise Malformed(f"has {groups} groups and a weight of shape {list(weight)} on a map of {x[1]} channels")
    return (x[0], weight[0], *Windows(rules, x[2:], kernel).output())


def pool(rules: Rules, shapes: list[Shape]) -> Shape:
    kernel = rules.attribute("kernel_shape")
    if kernel is None:
        raise Malformed("lacks its kernel_shape")
    return (*shapes[0][:2], *Windows(rules, shapes[0][2:], kernel).output())


def global_pool(_: Rules, shapes: list[Shape]) -> Shape:
    return (*shapes[0][:2], *[1] * (len(shapes[0]) - 2))


def reduced_axes(rules: Rules, rank: int) -> set[int]:
    axes = rules.integers("axes", 1)
    if not axes:
        return set() if axes is not None and rules.attribute("noop_with_empty_axes", 0) else set(range(rank))
    return axes_of(axes, rank)


def reduce(rules: Rules, shapes: list[Shape]) -> Shape:
    axes = reduced_axes(rules, len(shapes[0]))
    if rules.attribute("keepdims", 1):
        return tuple(1 if i in axes else d for i, d in enumerate(shapes[0]))
    return tuple(d for i, d in enumerate(shapes[0]) if i not in axes)


def flatten(rules: Rules, shapes: list[Shape]) -> Shape:
    rank = len(shapes[0])
    axis = rules.attribute("axis", 1)
    axis = rank if axis == rank else axis_of(axis, rank)
    return math.prod(shapes[0][:axis]), math.prod(shapes[0][axis:])


def reshape(rules: Rules, shapes: list[Shape]) -> Shape:
    target = rules.integers("shape", 1)
    if target is None:
        raise Malformed("lacks its shape")
    return reshaped(shapes[0], target, bool(rules.attribute("allowzero", 0)))


def squeeze(rules: Rules, shapes: list[Shape]) -> Shape:
    axes = rules.integers("axes", 1)
    chosen = {i for i, d in enumerate(shapes[0]) if d == 1} if axes is None else axes_of(axes, len(shapes[0]))
    if any(shapes[0][i] != 1 for i in chosen):
        raise Malformed(f"squeezes the axes {axes} of {shown(shapes[0])}, which are not all 1")
    return tuple(d for i, d in enumerate(shapes[0]) if i not in chosen)


def unsqueeze(rules: Rules, shapes: list[Shape]) -> Shape:
    axes = rules.integers("axes", 1)
    if axes is None:
        raise Malformed("lacks its axes")
    rank = len(shapes[0]) + len(axes)
    chosen = axes_of(axes, rank)
    left = iter(shapes[0])
    return tuple(1 if i in chosen else next(left) for i in range(rank))


def transpose(rules: Rules, shapes: list[Shape]) -> Shape:
    rank = len(shapes[0])
    order = rules.attribute("perm", list(range(rank))[::-1])
    if sorted(order) != list(range(rank)):
        raise Malformed(f"has the order {order} for {rank} axes")
    return tuple(shapes[0][i] for i in order)


def pads_by_axis(rules: Rules, rank: int) -> list[tuple[int, int]]:
    """(before, behind) for each axis of a Pad node."""
    pads = rules.integers("pads", 1) or rules.attribute("paddings")
    axes = rules.integers("axes", 3)
    named = list(range(rank)) if axes is None else [axis_of(axis, rank) for axis in axes]
    if pads is None or len(pads) != 2 * len(named):
        raise Malformed(f"has the pads {pads} for {len(named)} axes")
    result = [(0, 0)] * rank
    for place, axis in enumerate(named):
        result[axis] = (pads[place], pads[place + len(named)])
    return result


def pad(rules: Rules, shapes: list[Shape]) -> Shape:
    return tuple(d + a + b for d, (a, b) in zip(shapes[0], pads_by_axis(rules, len(shapes[0])), strict=True))


def gather(rules: Rules, shapes: list[Shape]) -> Shape:
    axis = axis_of(rules.attribute("axis", 0), len(shapes[0]))
    return (*shapes[0][:axis], *shapes[1], *shapes[0][axis + 1 :])


def slices(rules: Rules, rank: int) -> dict[int, tuple[int, int, int]]:
    """(start, end, step) of each sliced axis, as the file has them."""
    starts, ends = rules.integers("starts", 1), rules.integers("ends", 2)
    if starts is None or ends is None:
        raise Malformed("lacks its starts or ends")
    axes = rules.integers("axes", 3) or list(range(len(starts)))
    steps = rules.integers("steps", 4) or [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise Malformed(f"has the starts {starts}, ends {ends}, axes {axes} and steps {steps}")
    return {axis_of(a, rank): s for a, s in zip(axes, zip(starts, ends, steps, strict=True), strict=True)}


def slice_shape(rules: Rules, shapes: list[Shape]) -> Shape:
    out = list(shapes[0])
    for axis, (start, end, step) in slices(rules, len(out)).items():
        out[axis] = len(range(*slice(start, end, step).indices(out[axis])))
    return tuple(out)


def gemm(rules: Rules, shapes: list[Shape]) -> Shape:
    if rules.attribute("transA", 0):
        raise Malformed("has transA, which would mix the images of a batch")
    a = shapes[0]
    b = shapes[1][::-1] if rules.attribute("transB", 0) else shapes[1]
    if len(a) != 2 or len(b) != 2 or a[1] != b[0]:
        raise Malformed(f"multiplies {shown(a)} by {shown(b)}")
    return a[0], b[1]


def matmul(_: Rules, shapes: list[Shape]) -> Shape:
    a, b = shapes[0], shapes[1]
    if len(a) < 2 or len(b) != 2 or a[-1] != b[0]:
        raise Malformed(f"multiplies {shown(a)} by {shown(b)}")
    return (*a[:-1], b[1])


RULES: dict[str, Rule] = {
    "AveragePool": pool,
    "Conv": conv,
    "Flatten": flatten,
    "Gather": gather,
    "Gemm": gemm,
    "GlobalAveragePool": global_pool,
    "GlobalMaxPool": global_pool,
    "MatMul": matmul,
    "MaxPool": pool,
    "Pad": pad,
    "ReduceMax": reduce,
    "ReduceMean": reduce,
    "ReduceSum": reduce,
    "Reshape": reshape,
    "Slice": slice_shape,
    "Squeeze": squeeze,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
    **dict.fromkeys(("Add", "Div", "Max", "Min", "Mul", "Pow", "Sub", "Sum"), broadcast),
    **dict.fromkeys(
        (
            "BatchNormalization", "Cast", "Clip", "Dropout", "Elu", "Exp", "HardSigmoid", "HardSwish", "Identity",
            "InstanceNormalization", "LRN", "LeakyRelu", "LogSoftmax", "Neg", "PRelu", "Relu", "Sigmoid", "Softmax",
            "Softplus", "Sqrt", "Tanh",
        ),
        same,
    ),
}  # fmt: skip


def output_shape(
    node: onnx.NodeProto, opset: int, shapes: list[Shape], constants: dict[str, np.ndarray]
) -> Shape | None:
    """The first output's shape; None for operators without a rule here. Malformed where the node breaks its rule."""
    rule = RULES.get(node.op_type)
    if rule is None or node.domain not in ("", "ai.onnx"):
        return None
    try:
        return rule(Rules(node, opset, constants), shapes)
    except DAMAGE as error:
        raise Malformed(f"breaks ONNX's rules for its kind ({one_line(error)})") from error
