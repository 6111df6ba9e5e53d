"""Small ONNX graphs of every kind, for test_import_onnx.py and make_onnx_cases.py: what the importer understands, and
what it refuses with a pattern of the reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Graph:
    """Builds a chain: each call adds a node on the last output."""

    def __init__(self, *size: Any, opset: int = 17, seed: int = 0, batch: int = 0, dtype: Any = np.float32) -> None:
        self.size = size
        self.opset = opset
        self.batch = batch  # 0: free
        self.dtype = dtype
        self.random = np.random.default_rng(seed)
        self.x: np.ndarray | None = None  # an input of its own
        self.y: np.ndarray | None = None  # what is right, where ONNX Runtime cannot tell
        self.stale: list[onnx.ValueInfoProto] = []
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.last = "x"
        self.outputs = 0

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def weight(self, *shape: int) -> str:
        return self.constant(self.random.normal(0, 1 / np.sqrt(np.prod(shape[1:]) or 1), shape))

    def node(self, op: str, *more: str, first: str | None = None, **attributes: Any) -> Graph:
        name = f"y{len(self.nodes)}"
        inputs = [first, self.last] if first else [self.last, *more]
        self.nodes.append(helper.make_node(op, inputs, [name], name=f"node_{name}", **attributes))
        self.last = name
        return self

    def conv(self, out_channels: int, in_channels: int, *kernel: int, bias: bool = True, **attributes: Any) -> Graph:
        weight = self.weight(out_channels, in_channels // attributes.get("group", 1), *kernel)
        return self.node("Conv", weight, *([self.weight(out_channels)] if bias else []), **attributes)

    def batch_norm(self, channels: int) -> Graph:
        statistics = [self.constant(self.random.uniform(0.5, 2, channels)) for _ in range(4)]
        return self.node("BatchNormalization", *statistics, epsilon=1e-3)

    def aside(self, op: str, *inputs: str, **attributes: Any) -> str:
        """A node that the chain does not pass; the name of its output."""
        name = f"a{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=f"node_{name}", **attributes))
        return name

    def says(self, *shape: int) -> Graph:
        """An inner value's shape as a file may have it: wrong."""
        self.stale.append(helper.make_tensor_value_info(self.last, TensorProto.FLOAT, shape))
        return self

    def model(self) -> onnx.ModelProto:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        x = helper.make_tensor_value_info("x", kind, [self.batch or "N", *self.size])
        y = onnx.ValueInfoProto(name=self.last)
        y.type.tensor_type.elem_type = TensorProto.FLOAT if kind == TensorProto.UINT8 else kind
        graph = helper.make_graph(self.nodes, "graph", [x], [y], self.constants, value_info=self.stale)
        imports = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=imports, ir_version=10 if self.opset > 21 else 8)


def alexnet_like() -> Graph:
    g = Graph(3, 67, 63).conv(8, 3, 11, 11, strides=[4, 4], pads=[2, 1, 2, 1]).node("Relu")
    g = g.node("LRN", size=5, alpha=0.3, beta=0.75, bias=2.0).node("MaxPool", kernel_shape=[3, 3], strides=[2, 2])
    g = g.conv(12, 8, 5, 5, pads=[2, 2, 2, 2], group=2).node("Relu").node("MaxPool", kernel_shape=[3, 2])
    g = g.node("Dropout", g.constant(0.25)).node("Flatten").node("Gemm", g.weight(20, 300), g.weight(20), transB=1)
    return g.node("Relu").node("Identity").node("Gemm", g.weight(20, 7)).node("Softmax", axis=1)


def normalized() -> Graph:
    g = Graph(3, 12, 14)
    g = g.node("Sub", g.constant([[[0.4]], [[0.5]], [[0.6]]])).node("Div", g.constant(np.full((1, 3, 1, 1), 0.25)))
    g = g.conv(6, 3, 3, 3, bias=False, pads=[1, 1, 1, 1]).batch_norm(6).node("Relu")
    g = g.conv(9, 6, 3, 3, dilations=[2, 1], group=3).batch_norm(9).node("Mul", g.weight(9, 1, 1)).node("Relu")
    return g.batch_norm(9).node("Add", g.constant(0.5))


def classifier_head(g: Graph, channels: int) -> Graph:
    g = g.node("GlobalAveragePool").node("Flatten", axis=-3 if g.opset >= 11 else 1)
    g = g.node("Gemm", g.weight(channels, 5), g.constant(0.5), alpha=0.5, beta=2.0)
    return g.node("MatMul", g.weight(5, 4)).node("Add", g.weight(4))


def reshaped(shape: list[int]) -> Graph:
    g = Graph(4, 3, 5)
    g = g.node("Reshape", g.constant(shape, np.int64))
    return g.node("Gemm", g.weight(60, 3))


def reshaped_by_shape() -> Graph:
    """What older exporters make of x.view(x.size(0), -1)."""
    g = Graph(4, 3, 5).node("Relu")
    of = g.last
    g.nodes.append(helper.make_node("Shape", [of], ["shape"]))
    g.nodes.append(helper.make_node("Gather", ["shape", g.constant(0, np.int64)], ["batch"], axis=0))
    g.nodes.append(helper.make_node("Unsqueeze", ["batch", g.constant([0], np.int64)], ["batch_1"]))
    g.nodes.append(helper.make_node("Concat", ["batch_1", g.constant([60], np.int64)], ["target"], axis=0))
    return g.node("Reshape", "target").node("Gemm", g.weight(60, 3))


def folded_constants() -> Graph:
    """Weights that other nodes make from constants, as exporters share and transpose them."""
    g = Graph(4, 3, 5).conv(4, 4, 1, 1, bias=False)
    g.nodes.append(helper.make_node("Transpose", [g.weight(7, 60)], ["matrix"], perm=[1, 0]))
    g.nodes.append(helper.make_node("Identity", [g.weight(7)], ["shared"]))
    return g.node("Flatten").node("Gemm", "matrix", "shared")


def zero_windows() -> Graph:
    """LRN with bias 0: 0 / 0 where a window holds zeros alone, ordinary numbers elsewhere."""
    g = Graph(4, 3, 3).node("LRN", size=3, alpha=1.0, beta=0.75, bias=0.0)
    g.x = g.random.normal(0, 1, (2, 4, 3, 3)).astype(np.float32)
    g.x[0, :, 0, 0] = g.x[1, :2, 1, 1] = 0
    return g


def spatial_0() -> Graph:
    """Statistics for every element of an image, taken in by the matrix behind them."""
    g = Graph(3, 4, 5, opset=7).node("Relu")
    statistics = [g.constant(g.random.uniform(0.5, 2, (3, 4, 5))) for _ in range(4)]
    g = g.node("BatchNormalization", *statistics, spatial=0).node("Flatten")
    return g.node("Gemm", g.weight(60, 3), g.weight(3))


def opset_6_add() -> Graph:
    """`broadcast: 1, axis: 1` adds one number a channel; ONNX Runtime runs no such files any more."""
    g = Graph(4, 3, 5, opset=6).node("Relu")
    values = g.random.normal(0, 1, 4).astype(np.float32)
    g = g.node("Add", g.constant(values), broadcast=1, axis=1)
    g.x = g.random.normal(0, 1, (2, 4, 3, 5)).astype(np.float32)
    g.y = np.maximum(g.x, 0) + values.reshape(4, 1, 1)
    return g


def cast_weights(dtype: int) -> Callable[[], Graph]:
    """Weights kept in another type and cast where they are used."""

    def make() -> Graph:
        g = Graph(3, 5, 5)
        weight = helper.make_tensor("half", dtype, (4, 3, 3, 3), g.random.normal(0, 0.3, 108))
        g.constants.append(weight)
        return g.node("Conv", g.aside("Cast", "half", to=TensorProto.FLOAT)).node("Cast", to=TensorProto.FLOAT)

    return make


def double() -> Graph:
    g = Graph(3, 2, 2, dtype=np.float64).node("Flatten")
    return g.node("MatMul", g.constant(g.random.normal(0, 0.3, (12, 4)), np.float64)).node("Relu")


def pixels() -> Graph:
    """8-bit pixels, cast and scaled inside of the network."""
    g = Graph(3, 5, 5)
    g.x = g.random.integers(0, 256, (2, 3, 5, 5)).astype(np.uint8)
    g.dtype = np.uint8
    g = g.node("Cast", to=TensorProto.FLOAT)
    return g.node("Div", g.constant(255)).conv(2, 3, 3, 3)


def taken_branch() -> Graph:
    """An If whose condition is known from the shape, as older exporters write squeeze(1)."""
    g = Graph(4, 3, 5).node("GlobalAveragePool")
    size = g.aside("Gather", g.aside("Shape", g.last), g.constant(3, np.int64))
    condition = g.aside("Equal", size, g.constant(1, np.int64))
    branches = []
    for op, more in (("Flatten", []), ("Identity", [])):
        node = helper.make_node(op, [g.last, *more], [f"{op}_out"])
        branches.append(helper.make_graph([node], op, [], [onnx.ValueInfoProto(name=f"{op}_out")]))
        branches[-1].output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    g.nodes.append(helper.make_node("If", [condition], ["taken"], then_branch=branches[0], else_branch=branches[1]))
    g.last = "taken"
    return g.node("Gemm", g.weight(4, 3))


def constant_nodes() -> Graph:
    g = Graph(3, 5, 5)
    weight = g.aside(
        "Constant", value=numpy_helper.from_array(g.random.normal(0, 0.3, (4, 3, 3, 3)).astype(np.float32))
    )
    g = g.node("Conv", weight).node("Add", g.aside("Constant", value_float=0.5))
    return g.node("Max", g.aside("Constant", value_floats=[0.0]))


def flat_batch_norm(*behind: str) -> Graph:
    """BatchNormalization of features behind a Relu: no layer before takes it in."""
    g = Graph(4, 1, 3).node("Flatten").node("Relu").batch_norm(12)
    for op in behind:
        g = g.node(op)
    return g if behind else g.node("Gemm", g.weight(12, 3))


def pool(op: str, *size: int, opset: int = 17, **attributes: Any) -> Callable[[], Graph]:
    return lambda: Graph(*size, opset=opset).node(op, **attributes)


GRAPHS: dict[str, Callable[[], Graph]] = {
    "alexnet_like": alexnet_like,
    "normalized": normalized,
    "head": lambda: classifier_head(Graph(6, 5, 7), 6),
    "head_opset_9": lambda: classifier_head(Graph(6, 5, 7, opset=9), 6),
    "same_upper": lambda: Graph(3, 13, 16).conv(5, 3, 3, 4, strides=[2, 3], auto_pad="SAME_UPPER"),
    "same_lower": lambda: Graph(3, 14, 16).conv(5, 3, 3, 4, strides=[2, 3], auto_pad="SAME_LOWER"),
    "valid": lambda: Graph(3, 14, 16).conv(5, 3, 3, 4, auto_pad="VALID"),
    "unequal_pads": lambda: Graph(4, 9, 8).conv(6, 4, 3, 2, pads=[0, 2, 3, 1], group=2, strides=[2, 1]),
    "unequal_pads_dilated": lambda: Graph(2, 9, 8).conv(6, 2, 3, 2, pads=[0, 2, 4, 0], dilations=[2, 2]),
    "max_same_upper": pool("MaxPool", 3, 14, 17, kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
    "max_unequal_pads": pool("MaxPool", 3, 14, 16, kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]),
    "max_ceil": pool("MaxPool", 3, 14, 15, kernel_shape=[3, 2], strides=[2, 2], ceil_mode=1),
    "max_dilated": pool("MaxPool", 3, 14, 15, kernel_shape=[3, 2], dilations=[2, 3], pads=[1, 1, 1, 1]),
    "average": pool("AveragePool", 3, 14, 15, kernel_shape=[3, 4], strides=[2, 2], pads=[1, 2, 1, 2]),
    "average_counted": pool(
        "AveragePool", 3, 14, 15, kernel_shape=[3, 4], strides=[2, 2], pads=[1, 2, 1, 2], count_include_pad=1
    ),
    "average_ceil": pool("AveragePool", 3, 14, 15, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    "average_same": pool("AveragePool", 3, 14, 16, kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
    "global_max": pool("GlobalMaxPool", 3, 14, 15),
    "mean": pool("ReduceMean", 3, 14, 15, axes=[2, 3]),
    "mean_flat": pool("ReduceMean", 3, 14, 15, axes=[-1, -2], keepdims=0),
    "squeeze": lambda: (g := Graph(3, 4, 5)).node("GlobalAveragePool").node("Squeeze", g.constant([2, 3], np.int64)),
    "clip": lambda: (g := Graph(3, 4, 5)).node("Clip", g.constant(0)),
    "pad_conv": lambda: (
        (g := Graph(3, 8, 9)).node("Pad", g.constant([0, 0, 1, 2, 0, 0, 1, 0], np.int64)).conv(4, 3, 3, 3)
    ),
    "pad_average": lambda: (
        (g := Graph(3, 8, 9))
        .node("Pad", g.constant([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
        .node("AveragePool", kernel_shape=[3, 3], strides=[2, 2])
    ),
    "constant_minus": lambda: (g := Graph(3, 4, 5)).node("Sub", first=g.constant(1.0)),
    "folded_constants": folded_constants,
    "reshape_0": lambda: reshaped([0, -1]),
    "reshape_1": lambda: reshaped([-1, 60]),
    "reshape_shape": reshaped_by_shape,
    "lrn_bias_0": zero_windows,
    "spatial_0": spatial_0,
    "opset_6_add": opset_6_add,
    "float16_weights": cast_weights(TensorProto.FLOAT16),
    "bfloat16_weights": cast_weights(TensorProto.BFLOAT16),
    "double": double,
    "pixels": pixels,
    "taken_branch": taken_branch,
    "constant_nodes": constant_nodes,
    "stale_value_info": lambda: Graph(3, 9, 9).conv(2, 3, 3, 3).says(1, 2, 30, 30).node("Relu"),
    "flat_batch_norm": flat_batch_norm,
    "flat_batch_norm_last": lambda: flat_batch_norm("Relu"),
    "valid_ceil": pool(
        "MaxPool", 1, 6, 6, opset=22, kernel_shape=[3, 3], strides=[2, 2], auto_pad="VALID", ceil_mode=1
    ),
    "dropped_window": pool("MaxPool", 2, 6, 8, kernel_shape=[1, 2], strides=[2, 3], ceil_mode=1),
    "dropped_window_10": pool("MaxPool", 2, 6, 8, opset=10, kernel_shape=[1, 2], strides=[2, 3], ceil_mode=1),
    "dropped_average": pool(
        "AveragePool", 2, 6, 9, kernel_shape=[1, 2], strides=[2, 3], ceil_mode=1, count_include_pad=1
    ),
    "max_same_lower": pool("MaxPool", 2, 7, 9, kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_LOWER"),
    "clip_1": lambda: (g := Graph(3, 4, 5)).node("Clip", g.constant([0.0]), g.constant([np.inf])),
    "clip_opset_6": lambda: Graph(3, 4, 5, opset=6).node("Clip", min=0.0),
    "clip_nothing": lambda: Graph(3, 4, 5).node("Clip").node("Relu"),
    "max_zero_first": lambda: (g := Graph(3, 4, 5)).node("Max", first=g.constant([[0.0]])),
    "mean_input": lambda: (g := Graph(3, 4, 5, opset=18)).node("ReduceMean", g.constant([3, 2], np.int64), keepdims=0),
    "mean_3_2": lambda: (
        Graph(3, 4, 5).node("ReduceMean", axes=[3], keepdims=0).node("ReduceMean", axes=[2], keepdims=0)
    ),
    "mean_of_places": lambda: (
        (g := Graph(3, 4, 5)).node("Reshape", g.constant([0, 3, -1], np.int64)).node("ReduceMean", axes=[2], keepdims=0)
    ),
    "scaled_places": lambda: (
        (g := Graph(3, 4, 5))
        .node("Reshape", g.constant([0, 3, 20], np.int64))
        .node("Mul", g.weight(20))
        .node("Flatten")
        .node("Gemm", g.weight(60, 2))
    ),
    "max_rows": pool("ReduceMax", 3, 4, 5, axes=[2], keepdims=0),
    "pixel_of_one": lambda: (
        (g := Graph(3, 4, 5))
        .node("GlobalAveragePool")
        .node("Gather", g.constant(0, np.int64), axis=2)
        .node("Gather", g.constant(-1, np.int64), axis=2)
    ),
    "pointwise_behind_gemm": lambda: (
        (g := Graph(3, 1, 2))
        .node("Flatten")
        .node("Gemm", g.weight(6, 4))
        .node("Reshape", g.constant([-1, 4, 1, 1], np.int64))
        .conv(3, 4, 1, 1)
        .node("Flatten")
    ),
    "softmax_opset_11": lambda: Graph(3, 2, 2, opset=11).node("Softmax", axis=1),
    "softmax_one_pixel": lambda: Graph(3, 4, 5).node("GlobalAveragePool").node("Softmax", axis=1),
    "batch_1": lambda: Graph(4, 3, 5, batch=1).node("Relu").node("Flatten"),
    "features": lambda: (g := Graph(6)).node("Gemm", g.weight(6, 4), g.weight(4)).node("Relu"),
    "softmax_map": lambda: Graph(3, 8, 8).node("Softmax", axis=1),
}


def joined() -> Graph:
    g = Graph(3, 8, 8).conv(3, 3, 3, 3, pads=[1, 1, 1, 1])
    return g.node("Add", "x")


REFUSED: dict[str, tuple[Callable[[], Graph], str]] = {
    "residual": (joined, r"node 'node_y1' \(Add\) joins \['y0', 'x'\]; only a chain"),
    "other_layer": (lambda: Graph(3, 8, 8).node("LeakyRelu"), r"node 'node_y0' \(LeakyRelu\) is of a kind"),
    "even_lrn": (lambda: Graph(4, 8, 8).node("LRN", size=4), "even size 4"),
    "relu6": (
        lambda: (g := Graph(3, 8, 8)).node("Clip", g.constant(0), g.constant(6)),
        r"clips to \[0.0, 6.0\]",
    ),
    "counted_unequal": (
        pool("AveragePool", 3, 8, 8, kernel_shape=[3, 3], pads=[0, 0, 1, 1], count_include_pad=1),
        "counts unequal pads",
    ),
    "max_unequal": (
        pool("MaxPool", 3, 8, 8, kernel_shape=[3, 3], pads=[0, 0, 1, 1]),
        r"unequal pads \[0, 0, 1, 1\], which give 7x7 outputs that no equal padding gives",
    ),
    "pad_max": (
        lambda: (
            (g := Graph(3, 8, 8))
            .node("Pad", g.constant([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
            .node("MaxPool", kernel_shape=[3, 3])
        ),
        "follows a Pad",
    ),
    "log_softmax": (
        lambda: Graph(3, 2, 2).node("Flatten").node("LogSoftmax"),
        "takes the logarithm of a softmax",
    ),
    "mean_channels": (pool("ReduceMean", 3, 4, 5, axes=[1]), "only height and width can be written"),
    "corner": (
        lambda: (g := Graph(3, 4, 5)).node("Gather", g.constant(0, np.int64), axis=2),
        r"picks from the axis 2 of \(3, 4, 5\)",
    ),
    "integers": (
        lambda: (g := Graph(3, 4, 5, dtype=np.int32)).node("Add", g.constant(1, np.int32)),
        "computes with integers",
    ),
    "spatial_0_map": (
        lambda: (g := Graph(3, 4, 5)).node("Mul", g.weight(3, 4, 5)).node("Relu"),
        r"node 'node_y0' \(Mul\) scales or shifts places of a map differently",
    ),
    "shapes_do_not_fit": (
        lambda: Graph(3, 8, 8).conv(4, 5, 3, 3),
        r"weight of shape \[4, 5, 3, 3\] on a map of 3",
    ),
    "window_too_large": (pool("MaxPool", 3, 4, 5, kernel_shape=[5, 2]), "which it does not fit in"),
    "random_weights": (
        lambda: (g := Graph(3, 4, 5)).node("Conv", g.aside("RandomNormal", shape=[2, 3, 1, 1])),
        r"\(RandomNormal\) is of a kind",
    ),
    "free_size": (lambda: Graph(3, "H", "W").node("Relu"), "export the network for one image size"),
    "softmax_rows": (
        lambda: Graph(3, 8, 8).node("Softmax", axis=2),
        r"over the axis 2 of \(3, 8, 8\); only over all",
    ),
    "transpose": (lambda: Graph(3, 8, 8).node("Transpose", perm=[0, 2, 3, 1]), "no layer for"),
    "trans_a": (
        lambda: (g := Graph(3, 1, 1)).node("Flatten").node("Gemm", g.weight(2, 4), transA=1),
        "would mix the images of a batch",
    ),
    "flatten_2": (lambda: Graph(3, 8, 8).node("Flatten", axis=2), "flattens from axis 2"),
    "reshape_map": (
        lambda: (g := Graph(4, 8, 8)).node("Reshape", g.constant([0, 2, 16, 8], np.int64)),
        "only \\(batch, features\\) can be written",
    ),
    "infinite": (
        lambda: (g := Graph(1, 8, 8)).conv(1, 1, 1, 1).node("Mul", g.constant(3e38)).node("Mul", g.constant(3e38)),
        "infinite numbers",
    ),
}
