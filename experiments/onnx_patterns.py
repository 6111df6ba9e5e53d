"""Layers that PyTorch's exporters spell out in smaller nodes, put together again.

LocalResponseNorm, x / (k + alpha * mean of x^2 over a window of channels)^beta, arrives as
    Mul(x, x), Reshape to (N, 1, C, H, W), Pad, AveragePool over C, Squeeze or Reshape, Mul alpha, Add k, Pow beta, Div
eight nodes from the newer exporter (dynamo), twenty and an If from the older (TorchScript).

Softmax over the channels of a map arrives as Transpose, Softmax over the last axis, Transpose back from the older one
below operator set 13, which had no other.
"""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import helper

from onnx_graph import Graph
from onnx_shapes import DAMAGE, Malformed, Rules, Windows, pads_by_axis

VIEWS = ("Reshape", "Squeeze", "Unsqueeze")


class Matcher:
    """Walks from a node to those that make its inputs."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.producers = {name: node for node in graph.nodes for name in node.output}

    def rules(self, node: onnx.NodeProto) -> Rules:
        return Rules(node, self.graph.opset, self.graph.constants)

    def made_by(self, name: str, *kinds: str) -> onnx.NodeProto | None:
        node = self.producers.get(name)
        return node if node is not None and node.op_type in kinds and node.domain in ("", "ai.onnx") else None

    def scalar(self, name: str) -> float | None:
        value = self.graph.constants.get(name)
        return float(value.reshape(-1)[0]) if value is not None and value.size == 1 else None

    def behind_views(self, name: str) -> str:
        while (node := self.made_by(name, *VIEWS)) is not None:
            name = node.input[0]
        return name

    def with_scalar(self, name: str, kind: str, absent: float, swapped: bool = True) -> tuple[str, float]:
        """The other input of a node with a number, and the number; where there is none, what changes nothing."""
        node = self.made_by(name, kind)
        if node is not None:
            for data, number in ((0, 1), (1, 0)) if swapped else ((0, 1),):
                value = self.scalar(node.input[number])
                if value is not None:
                    return node.input[data], value
        return name, absent

    def is_square(self, name: str, x: str) -> bool:
        node = self.made_by(name, "Mul", "Pow")
        if node is None or node.input[0] != x:
            return False
        return node.input[1] == x if node.op_type == "Mul" else self.scalar(node.input[1]) == 2

    def channel_window(self, node: onnx.NodeProto, x: str) -> int | None:
        """The size of the window, where an AveragePool and the Pad before it take PyTorch's window of channels."""
        rules = self.rules(node)
        size = rules.attribute("kernel_shape")[0]
        padded, before = self.graph.shapes[node.input[0]], [0, 0]
        pad = self.made_by(node.input[0], "Pad")
        source = node.input[0] if pad is None else pad.input[0]
        shape = self.graph.shapes[source]
        if pad is not None:
            padding = self.rules(pad)
            amounts = pads_by_axis(padding, len(shape))
            given = len(pad.input) > 2 and pad.input[2]
            value = self.scalar(pad.input[2]) if given else padding.attribute("value", 0.0)
            others = [a for i, a in enumerate(amounts) if i != 2]
            if padding.attribute("mode", "constant") != "constant" or value != 0 or any(map(any, others)):
                return None
            before = list(amounts[2])
        windows = Windows(rules, padded[2:], rules.attribute("kernel_shape"))
        own = any(windows.before + windows.after)
        if own and not rules.attribute("count_include_pad", 0):
            return None
        begin, end = before[0] + windows.before[0], before[1] + windows.after[0]
        batch, channels, *sizes = self.graph.shapes[x]
        fits = (
            shape[:3] == (batch, 1, channels)
            and math.prod(shape[3:]) == math.prod(sizes)
            and windows.kernel == [size, *[1] * (len(shape) - 3)]
            and {*windows.strides, *windows.dilations} == {1}
            and not any(windows.before[1:] + windows.after[1:])
            and (begin, end) == (size // 2, (size - 1) // 2)
        )
        return size if fits and self.is_square(self.behind_views(source), x) else None

    def local_response_norm(self, div: onnx.NodeProto) -> onnx.NodeProto | None:
        """One node for the whole, or None where this Div ends no such layer."""
        if div.op_type != "Div" or len(div.input) != 2 or len(self.graph.shapes.get(div.input[0], ())) != 4:
            return None
        x = div.input[0]
        at, beta = self.with_scalar(div.input[1], "Pow", 1.0, swapped=False)
        at, k = self.with_scalar(at, "Add", 0.0)
        at, alpha = self.with_scalar(at, "Mul", 1.0)
        pool = self.made_by(self.behind_views(at), "AveragePool")
        if pool is None or self.graph.shapes.get(at) != self.graph.shapes[x]:
            return None
        try:
            size = self.channel_window(pool, x)
        except (Malformed, *DAMAGE):
            return None
        if size is None:
            return None
        numbers = {name: float(np.float32(v)) for name, v in (("alpha", alpha), ("beta", beta), ("k", k))}
        return helper.make_node("LocalResponseNorm", [x], list(div.output), name=div.name, size=size, **numbers)

    def channel_softmax(self, back: onnx.NodeProto) -> onnx.NodeProto | None:
        """One node for the three, or None where this Transpose ends no such softmax."""
        softmax = self.made_by(back.input[0], "Softmax") if back.op_type == "Transpose" and back.input else None
        there = self.made_by(softmax.input[0], "Transpose") if softmax is not None else None
        if softmax is None or there is None or len(self.graph.shapes.get(there.input[0], ())) != 4:
            return None
        order, inverse = (list(self.rules(node).attribute("perm", [])) for node in (there, back))
        axis = self.rules(softmax).attribute("axis", 1 if self.graph.opset < 13 else -1)
        if len(order) != 4 or len(inverse) != 4 or [order[i] for i in inverse] != [0, 1, 2, 3]:
            return None
        if axis not in (3, -1) or order[3] != 1:
            return None
        return helper.make_node("ChannelSoftmax", [there.input[0]], list(back.output), name=softmax.name)


def join_patterns(graph: Graph) -> list[onnx.NodeProto]:
    """The nodes that the output needs, with patterns as one node each."""
    matcher = Matcher(graph)
    graph.nodes = [matcher.local_response_norm(n) or matcher.channel_softmax(n) or n for n in graph.nodes]
    return graph.needed()
