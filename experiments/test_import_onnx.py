"""import_onnx.py against ONNX Runtime: the imported network, run by PyTorch, gives the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file

from halotile_torch import Network
from import_onnx import Inexpressible, import_onnx
from model_file import read_model


class Graph:
    """Builds a chain: each call adds a node on the last output."""

    def __init__(self, *size: Any, opset: int = 17, seed: int = 0) -> None:
        self.size = size
        self.opset = opset
        self.random = np.random.default_rng(seed)
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

    def model(self) -> onnx.ModelProto:
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *self.size])
        y = helper.make_tensor_value_info(self.last, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "graph", [x], [y], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        inferred = onnx.shape_inference.infer_shapes(model).graph.output[0].type.tensor_type
        model.graph.output[0].type.tensor_type.CopyFrom(inferred)
        return model


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


def pool(op: str, *size: int, **attributes: Any) -> Callable[[], Graph]:
    return lambda: Graph(*size).node(op, **attributes)


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
    "softmax_map": lambda: Graph(3, 8, 8).node("Softmax", axis=1),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_equals_onnxruntime(name: str, tmp_path: Path) -> None:
    graph = GRAPHS[name]()
    path = tmp_path / f"{name}.onnx"
    onnx.save(graph.model(), path)
    import_onnx(path, tmp_path / "imported.net")

    network = Network(read_model(tmp_path / "imported.net.yaml")).double().eval()
    network.load_weights(load_file(tmp_path / "imported.net.safetensors"))
    x = np.random.default_rng(1).normal(0, 1, (2, *graph.size)).astype(np.float32)
    with torch.no_grad():
        ours = network(torch.from_numpy(x).double()).numpy()
    (theirs,) = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5)


def joined() -> Graph:
    g = Graph(3, 8, 8).conv(3, 3, 3, 3, pads=[1, 1, 1, 1])
    return g.node("Add", "x")


REFUSED: dict[str, tuple[Callable[[], Graph], str]] = {
    "residual": (joined, r"node 'node_y1' \(Add\) joins \['y0', 'x'\]; only a chain"),
    "other_layer": (lambda: Graph(3, 8, 8).node("LeakyRelu"), r"node 'node_y0' \(LeakyRelu\) is of a kind"),
    "even_lrn": (lambda: Graph(4, 8, 8).node("LRN", size=4), "even size 4"),
    "relu6": (lambda: (g := Graph(3, 8, 8)).node("Clip", g.constant(0), g.constant(6)), r"clips to \[0.0, 6.0\]"),
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
    "free_size": (lambda: Graph(3, "H", "W").node("Relu"), "export the network for one image size"),
    "softmax_rows": (lambda: Graph(3, 8, 8).node("Softmax", axis=2), r"over the axis 2 of \(3, 8, 8\); only over all"),
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


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_by_name(name: str, tmp_path: Path) -> None:
    make, message = REFUSED[name]
    path = tmp_path / f"{name}.onnx"
    onnx.save(make().model(), path)
    with pytest.raises(Inexpressible, match=message):
        import_onnx(path, tmp_path / "imported")
    assert not (tmp_path / "imported.yaml").exists()


def test_refuses_what_is_not_onnx(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_bytes(b"this is not ONNX")
    with pytest.raises(Inexpressible, match=r"text\.onnx"):
        import_onnx(path, tmp_path / "imported")
