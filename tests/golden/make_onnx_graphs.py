"""Writes ONNX files that only the reader in C++ takes, with inputs and what ONNX Runtime makes of them, for
tests/pipeline/network/onnx_test.cpp: NAME.onnx, NAME.x.npy and NAME.y.npy, and for what must be refused a pattern of the
reason in manifest.json. (Those that import_onnx.py takes as well are in tests/golden/onnx.)

    make_onnx_graphs.py        into tests/golden/onnx_graphs; needs onnx 1.23.2, onnxruntime 1.32.0, numpy
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

FOLDER = Path(__file__).resolve().parent / "onnx_graphs"
sys.path.insert(0, str(FOLDER.parents[2] / "experiments"))
from onnx_test_graphs import Graph, pool  # noqa: E402


def branches() -> Graph:
    """A value that two nodes read: it may not be folded into, and both see it."""
    g = Graph(3, 8, 9).conv(4, 3, 3, 3)
    of = g.last
    g.batch_norm(4).node("Relu")
    first = g.last
    g.last = of
    g.node("Relu").also = [first]
    return g


def scaled_size() -> Graph:
    """A kernel's worth of the map's size, worked out by a little subgraph; the map's size is free."""
    g = Graph(2, "H", "W").node("Relu")
    shape = g.aside("Shape", g.last)
    height = g.aside("Slice", shape, g.constant([2], np.int64), g.constant([3], np.int64))
    half = g.aside("Mul", g.aside("Cast", height, to=TensorProto.FLOAT), g.constant(0.5))
    rows = g.aside("Cast", g.aside("Floor", half), to=TensorProto.INT64)
    zeros = g.aside("ConstantOfShape", g.constant([1], np.int64),
                    value=numpy_helper.from_array(np.array([0], np.int64)))
    left = g.aside("Sub", rows, rows)
    target = g.aside("Concat", zeros, left, g.constant([-1], np.int64), axis=0)
    g.node("Reshape", target).node("ReduceMean", axes=[2], keepdims=0)
    g.x = g.random.normal(0, 1, (2, 2, 6, 5)).astype(np.float32)
    return g


def fully_convolutional() -> Graph:
    g = Graph(3, "H", "W").conv(4, 3, 3, 3, strides=[2, 2], auto_pad="SAME_UPPER").node("Relu")
    g = g.conv(5, 4, 2, 3, auto_pad="SAME_LOWER").node("GlobalAveragePool").node("Flatten").node("Gemm", g.weight(5, 3))
    g.x = g.random.normal(0, 1, (2, 3, 11, 14)).astype(np.float32)
    return g


def quantized() -> Graph:
    g = Graph(3, 8, 8).node("Relu")
    scale, zero = g.constant(0.1), g.constant(0, np.int8)
    return g.node("QuantizeLinear", scale, zero).node("DequantizeLinear", scale, zero)


def quantized_weights() -> Graph:
    g = Graph(3, 8, 8)
    weight = g.constant(g.random.integers(-9, 9, (4, 3, 3, 3)), np.int8)
    return g.node("Conv", g.aside("DequantizeLinear", weight, g.constant(0.1), g.constant(0, np.int8)))


def function() -> Graph:
    """A node whose operator is a function of the file, with an attribute of its own."""
    g = Graph(3, 8, 8)
    g.nodes.append(helper.make_node("Leaky", [g.last], ["y0"], name="node_y0", domain="own", slope=0.25))
    g.last = "y0"
    inner = helper.make_node("LeakyRelu", ["a"], ["b"])
    inner.attribute.append(helper.make_attribute_ref("alpha", onnx.AttributeProto.FLOAT))
    inner.attribute[0].ref_attr_name = "slope"
    g.functions = [helper.make_function("own", "Leaky", ["a"], ["c"], [inner, helper.make_node("Relu", ["b"], ["c"])],
                                        [helper.make_opsetid("", 17)], ["slope"])]  # fmt: skip
    return g.node("Add", g.constant([[[1.0]], [[2.0]], [[3.0]]]))


def external_data() -> Graph:
    g = Graph(3, 5, 6).conv(4, 3, 3, 3)
    data = b""
    for tensor in g.constants:
        raw = tensor.raw_data
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", "external_data.bin"), ("offset", len(data)), ("length", len(raw))):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, str(value)
        data += raw
    (FOLDER / "external_data.bin").write_bytes(data)
    return g


def outside() -> Graph:
    g = external_data()
    g.constants[0].external_data[0].value = "../manifest.json"
    return g


def string_weights() -> Graph:
    g = Graph(3, 5, 5)
    g.constants.append(helper.make_tensor("words", TensorProto.STRING, [1], [b"no"]))
    return g.node("Add", "words")


def two_inputs() -> Graph:
    g = Graph(3, 5, 5).node("Relu")
    g.more_inputs = [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 3, 5, 5])]
    return g.node("Add", "z")


def missing_value() -> Graph:
    return Graph(3, 5, 5).node("Relu").node("Conv", "nowhere")


GRAPHS = {
    "leaky_relu": lambda: Graph(3, 8, 8).node("LeakyRelu").node("LeakyRelu", alpha=0.3),
    "counted_unequal": pool("AveragePool", 3, 8, 8, kernel_shape=[3, 3], pads=[0, 0, 1, 1], count_include_pad=1),
    "average_unequal": pool("AveragePool", 3, 8, 9, kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 0, 1]),
    "counted_ceil": pool("AveragePool", 3, 6, 7, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1,
                         count_include_pad=1),
    "counted_ceil_10": pool("AveragePool", 3, 6, 7, opset=10, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1],
                            ceil_mode=1, count_include_pad=1),
    "max_unequal": pool("MaxPool", 3, 8, 8, kernel_shape=[3, 3], pads=[0, 0, 1, 1]),
    "max_unequal_ceil": pool("MaxPool", 3, 8, 9, kernel_shape=[3, 3], strides=[2, 3], pads=[1, 0, 0, 1], ceil_mode=1),
    "conv_unequal": lambda: Graph(4, 9, 8).conv(6, 4, 3, 2, pads=[0, 2, 3, 1], group=2, strides=[2, 1], dilations=[2, 3]),
    "conv_relu_twice": branches,
    "squeeze_and_back": lambda: (
        (g := Graph(3, 4, 5)).node("GlobalAveragePool").node("Flatten").node("Relu")
        .node("Unsqueeze", g.constant([2, 3], np.int64)).conv(4, 3, 1, 1)
    ),
    "scaled_behind_relu": lambda: (g := Graph(3, 4, 5)).node("Relu").batch_norm(3).node("Flatten").node("Gemm", g.weight(60, 2)),
    "scaled_size": scaled_size,
    "fully_convolutional": fully_convolutional,
    "function": function,
    "external_data": external_data,
}  # fmt: skip
REFUSED = {
    "quantized": (quantized, r"node 'node_y1' \(QuantizeLinear\) is of a quantized network \(QDQ\), which is not supported yet"),
    "quantized_weights": (quantized_weights, r"\(DequantizeLinear\) is of a quantized network"),
    "outside": (outside, "a file in the model's folder is needed"),
    "string_weights": (string_weights, "are of the type string, which is not supported yet"),
    "two_inputs": (two_inputs, r"has the inputs \['x', 'z'\]; one is needed"),
    "missing_value": (missing_value, r"node 'node_y1' \(Conv\) needs 'nowhere', which nothing before it makes"),
}


def model_of(graph: Graph) -> onnx.ModelProto:
    model = graph.model()
    for name in getattr(graph, "also", []):
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    model.graph.input.extend(getattr(graph, "more_inputs", []))
    model.functions.extend(getattr(graph, "functions", []))
    if model.functions:
        model.opset_import.append(helper.make_opsetid("own", 1))
    return model


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    cases: dict[str, dict[str, str]] = {}
    for name, make in GRAPHS.items():
        graph = make()
        path = FOLDER / f"{name}.onnx"
        path.write_bytes(model_of(graph).SerializeToString())
        x = graph.x
        if x is None:
            x = np.random.default_rng(1).integers(-9, 10, (2, *graph.size)).astype(np.float32)
        y = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        np.save(FOLDER / f"{name}.x.npy", x)
        np.save(FOLDER / f"{name}.y.npy", y)
        cases[name] = {}
    for name, (make, reason) in REFUSED.items():
        (FOLDER / f"{name}.onnx").write_bytes(model_of(make()).SerializeToString())
        cases[name] = {"refused": reason}
    external_data()
    versions = {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__, "numpy": np.__version__}
    (FOLDER / "manifest.json").write_text(json.dumps({"made_with": versions, "cases": cases}, indent=1) + "\n")


if __name__ == "__main__":
    main()
