"""An ONNX graph made plain: constants worked out, branches taken, no-ops left out, the shape of every value.

What depends on constants and on shapes alone becomes a constant (`x.view(x.size(0), -1)` is Shape, Gather, Unsqueeze,
Concat; weights are transposed, cast, shared), an If whose condition is then known becomes its branch, and Identity and
casts that change nothing vanish. What is left are the nodes through which data flows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from onnx_shapes import BATCH, Malformed, Shape, one_line, output_shape, shown

FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}

# Worked out where all inputs are constants. Nothing random, nothing with a state.
FOLDED = frozenset(
    """Abs Add And Cast CastLike Ceil Concat Constant ConstantOfShape Div Equal Exp Expand Flatten Floor Gather Greater
    GreaterOrEqual Identity Less LessOrEqual Log MatMul Max Min Mod Mul Neg Not Or Pad Pow Range Reciprocal ReduceMax
    ReduceMin ReduceProd ReduceSum Reshape ScatterND Shape Size Slice Split Sqrt Squeeze Sub Sum Tile Transpose
    Unsqueeze Where Xor
    """.split()
)
# These can make much of little: more elements than this are left alone, and so refused by name where they are needed.
GROWING = frozenset({"ConstantOfShape", "Expand", "Pad", "Range", "Tile"})
MOST_ELEMENTS = 1 << 24


class Inexpressible(Exception):
    """The network cannot be written as a halotile model file; says which node and why."""


def label(node: onnx.NodeProto) -> str:
    name, kind = (printable(text) for text in (node.name or next(iter(node.output), ""), node.op_type))
    return f"node '{name}' ({kind})"


def printable(text: str) -> str:
    """Notes stand in model files, which take no control characters."""
    return "".join(c if c.isprintable() else "?" for c in text)


def is_standard(node: onnx.NodeProto) -> bool:
    return node.domain in ("", "ai.onnx")


class Graph:
    """`nodes` in order, each with constants and values by their final names; `constants`; `shapes` and `types` of
    what flows; `reasons`: why a value has no shape."""

    def __init__(self, model: onnx.ModelProto) -> None:
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        self.opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)
        self.imports, self.ir_version = model.opset_import, model.ir_version
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.shapes: dict[str, Shape] = {}
        self.types: dict[str, int] = {}
        self.reasons: dict[str, str] = {}
        self.alias: dict[str, str] = {}
        self.known: set[str] = set()
        self.read_constants(model.graph)
        self.input = self.read_input(model.graph)
        self.walk(model.graph.node)
        outputs = [v.name for v in model.graph.output]
        if len(outputs) != 1:
            raise Inexpressible(f"the network has the outputs {outputs}; one is needed")
        self.output = self.alias.get(outputs[0], outputs[0])

    # -- reading ------------------------------------------------------------------------------------------------------

    def read_constants(self, graph: onnx.GraphProto) -> None:
        for tensor in graph.initializer:
            try:
                self.constants[tensor.name] = numpy_helper.to_array(tensor)
            except Exception as error:  # onnx raises whatever its parts raise
                raise Inexpressible(f"the weights '{tensor.name}' cannot be read: {one_line(error)}") from error
            self.known.add(tensor.name)
        for sparse in graph.sparse_initializer:
            self.reasons[sparse.values.name] = f"the weights '{sparse.values.name}' are sparse, which is not supported"

    def read_input(self, graph: onnx.GraphProto) -> str:
        inputs = [v for v in graph.input if v.name not in self.constants]
        if len(inputs) != 1:
            raise Inexpressible(f"the network has the inputs {[v.name for v in inputs]}; one is needed")
        value = inputs[0]
        dims = [d.dim_value for d in value.type.tensor_type.shape.dim]
        place = f"the input '{printable(value.name)}' has the shape {dims}"
        if len(dims) not in (2, 4):
            raise Inexpressible(f"{place}; (batch, channels, height, width) or (batch, features) is needed")
        if min(dims[1:]) <= 0:
            raise Inexpressible(
                f"{place} (0: not fixed); all but the batch must be: export the network for one image size"
            )
        self.shapes[value.name] = (dims[0] if dims[0] > 0 else BATCH, *dims[1:])
        self.types[value.name] = value.type.tensor_type.elem_type
        self.known.add(value.name)
        return value.name

    # -- the walk -----------------------------------------------------------------------------------------------------

    def walk(self, nodes: Iterable[onnx.NodeProto]) -> None:
        for original in nodes:
            node = onnx.NodeProto()
            node.CopyFrom(original)
            del node.input[:]
            node.input.extend(self.alias.get(name, name) for name in original.input)
            self.visit(node)
            self.known.update(name for name in node.output if name)

    def visit(self, node: onnx.NodeProto) -> None:
        missing = [name for name in node.input if name and name not in self.known]
        if missing:
            self.keep(node, f"{label(node)} needs '{missing[0]}', which nothing before it makes")
        elif not self.fold(node) and not self.take_branch(node) and not self.pass_through(node):
            self.infer(node)

    def keep(self, node: onnx.NodeProto, reason: str | None = None) -> None:
        self.nodes.append(node)
        if reason is not None:
            for name in node.output:
                self.reasons[name] = reason

    def fold(self, node: onnx.NodeProto) -> bool:
        """Works out a node that depends on constants or shapes alone."""
        if not is_standard(node) or node.op_type not in FOLDED or not node.output:
            return False
        names = [name for name in node.input if name]
        values = {name: self.constants[name] for name in names if name in self.constants}
        if node.op_type in ("Shape", "Size") and names and names[0] in self.shapes:
            self.constants[node.output[0]] = self.measured(node, self.shapes[names[0]])
            return True
        if len(values) != len(set(names)) or (node.op_type in GROWING and self.size_of(node) > MOST_ELEMENTS):
            return False
        try:
            results = self.evaluate(node, values)
        except Exception:  # left as it is: refused by name if the network needs it
            return False
        for name, value in zip(node.output, results, strict=False):
            self.constants[name] = np.asarray(value)
        return True

    @staticmethod
    def measured(node: onnx.NodeProto, shape: Shape) -> np.ndarray:
        if node.op_type == "Size":
            return np.asarray(math.prod(shape), np.int64)
        bounds = {a.name: a.i for a in node.attribute}
        return np.asarray(shape[slice(bounds.get("start"), bounds.get("end"))], np.int64)

    def size_of(self, node: onnx.NodeProto) -> int:
        """At most so many elements come from a growing node; from its last inputs, which are sizes."""
        given = [self.constants.get(name) for name in node.input if name]
        if node.op_type == "Range":
            numbers = [float(np.max(np.abs(v), initial=0)) for v in given if v is not None]
            return int(min(sum(numbers), 1e18))
        sizes = [1.0 + float(np.abs(v).sum()) if node.op_type == "Pad" else float(np.prod(np.abs(v), dtype=np.float64))
                 for v in given[-1:] if v is not None and v.dtype.kind in "iu"]  # fmt: skip
        return int(min(max(given[0].size if given and given[0] is not None else 1, 1) * max(sizes, default=1.0), 1e18))

    def evaluate(self, node: onnx.NodeProto, values: dict[str, np.ndarray]) -> list[np.ndarray]:
        """By ONNX's own reference."""
        inputs = [onnx.ValueInfoProto(name=name) for name in values]
        outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        graph = helper.make_graph([node], "constant", inputs, outputs)
        alone = helper.make_model(graph, opset_imports=self.imports, ir_version=self.ir_version)
        with np.errstate(all="ignore"):
            return ReferenceEvaluator(alone).run(None, values)

    def take_branch(self, node: onnx.NodeProto) -> bool:
        if node.op_type != "If" or not is_standard(node) or node.input[0] not in self.constants:
            return False
        wanted = "then_branch" if bool(np.any(self.constants[node.input[0]])) else "else_branch"
        branch = next((a.g for a in node.attribute if a.name == wanted), None)
        if branch is None or len(branch.output) != len(node.output):
            self.keep(node, f"{label(node)} has no whole {wanted}")
            return True
        self.read_constants(branch)
        self.walk(branch.node)
        for outer, inner in zip(node.output, branch.output, strict=True):
            self.alias[outer] = self.alias.get(inner.name, inner.name)
        return True

    def pass_through(self, node: onnx.NodeProto) -> bool:
        """Leaves out Identity, and casts from floating-point numbers to the type they have."""
        if not is_standard(node) or len(node.input) < 1 or len(node.output) != 1:
            return False
        source = node.input[0]
        to = next((a.i for a in node.attribute if a.name == "to"), None)
        if node.op_type != "Identity" and not (node.op_type == "Cast" and to == self.types.get(source)):
            return False
        self.alias[node.output[0]] = source
        return True

    def infer(self, node: onnx.NodeProto) -> None:
        """The shape and the type of what flows out of a node."""
        known = dict(self.shapes)
        unknown = next((n for n in node.input if n and n not in self.shapes and n not in self.constants), None)
        if unknown is not None:
            self.keep(node, self.reasons.get(unknown))
            return
        known = [self.shapes[n] if n in self.shapes else self.constants[n].shape for n in node.input if n]
        try:
            shape = output_shape(node, self.opset, known, self.constants) if known else None
        except Malformed as error:
            self.keep(node, f"{label(node)} {error}")
            return
        self.keep(node)
        if shape is None or not node.output:
            return
        self.shapes[node.output[0]] = shape
        source = next((n for n in node.input if n in self.types), "")
        self.types[node.output[0]] = next((a.i for a in node.attribute if a.name == "to"), self.types.get(source, 0))

    # -- what the output needs ----------------------------------------------------------------------------------------

    def needed(self) -> list[onnx.NodeProto]:
        """The nodes that the output depends on, in order. Inexpressible where something is missing."""
        wanted, result = {self.output}, []
        for node in reversed(self.nodes):
            if wanted & set(node.output):
                result.append(node)
                wanted |= {name for name in node.input if name and name not in self.constants}
        made = {name for node in result for name in node.output} | {self.input}
        missing = sorted(wanted - made - self.constants.keys())
        if missing:
            raise Inexpressible(
                self.reasons.get(missing[0], f"the output depends on '{missing[0]}', which nothing makes")
            )
        if self.output in self.constants:
            raise Inexpressible("the output does not depend on the input")
        return result[::-1]

    def data(self, node: onnx.NodeProto) -> list[str]:
        """The inputs through which data flows."""
        return [name for name in node.input if name and name not in self.constants]

    def shown(self, name: str) -> str:
        return shown(self.shapes[name]) if name in self.shapes else "of unknown shape"
