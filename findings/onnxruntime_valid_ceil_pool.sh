#!/usr/bin/env bash
# One would guess: a MaxPool with auto_pad VALID and ceil_mode 1 has the size that ONNX's operator page writes for VALID,
# ceil((input - kernel + 1) / stride): 2 for 6 positions, kernel 3, stride 2. VALID means that no padding is made up.
# What happens: ONNX Runtime 1.32.0 gives 3 outputs; the last window hangs over the end of the map. onnx 1.23.2's shape
# inference says 3 too, onnx's own ReferenceEvaluator gives 2. So the same file has two sizes, and a reader that trusts
# one of them refuses or cuts what the other makes.
# Source: ONNX's operator page of MaxPool-22, attribute auto_pad, and the three programs below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q onnx==1.23.2 onnxruntime==1.32.0
"$folder/venv/bin/python" - <<'PY'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[1, 3], strides=[1, 2], auto_pad="VALID", ceil_mode=1)
graph = helper.make_graph(
    [node], "pool",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 1, 6])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
x = np.arange(6, dtype=np.float32).reshape(1, 1, 1, 6)
runtime = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
reference = ReferenceEvaluator(model).run(None, {"x": x})[0]
inferred = onnx.shape_inference.infer_shapes(model).graph.output[0].type.tensor_type.shape.dim[3].dim_value
print("ONNX Runtime:", runtime.ravel().tolist())
print("onnx reference:", reference.ravel().tolist())
print("shape inference:", inferred)
assert runtime.shape[3] == 3 and reference.shape[3] == 2 and inferred == 3
PY
echo "still so: one file, two sizes"
