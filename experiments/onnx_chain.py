"""The chain of an ONNX network's nodes: what of a node can be read, and where the chain is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from model_builder import ModelBuilder, Unfit
from onnx_graph import FLOATS, Graph, Inexpressible, is_standard, label
from onnx_patterns import join_patterns
from onnx_shapes import DAMAGE, Malformed, Rules, one_line

Pads = tuple[int, int, int, int]  # top, left, bottom, right
NO_PADS: Pads = (0, 0, 0, 0)
# Kinds that only give other names to the axes of a value, or refuse.
VIEWS = ("Flatten", "Gather", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")


class Chain:
    """Follows the nodes from input to output; a subclass has a method on_KIND for each kind of node."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = Graph(model)
        self.shape = self.graph.shapes[self.graph.input][1:]  # as ONNX has it, without the batch
        size = self.shape if len(self.shape) == 3 else (*self.shape, 1, 1)
        self.model = ModelBuilder(size)
        self.pending: Pads = NO_PADS  # zeros of a Pad node, for the next layer
        self.node = onnx.NodeProto()

    # -- reading nodes ------------------------------------------------------------------------------------------------

    def refuse(self, reason: Any) -> Inexpressible:
        return Inexpressible(f"{label(self.node)} {reason}")

    def note(self, text: str) -> None:
        self.model.notes.append(f"{label(self.node)}: {text}")

    @property
    def rules(self) -> Rules:
        return Rules(self.node, self.graph.opset, self.graph.constants)

    def attribute(self, name: str, default: Any = None) -> Any:
        return self.rules.attribute(name, default)

    def constant(self, place: int, what: str) -> np.ndarray | None:
        """The node's input at this place, which must be a constant; None where there is none."""
        if place >= len(self.node.input) or not self.node.input[place]:
            return None
        name = self.node.input[place]
        if name not in self.graph.constants:
            raise self.refuse(f"has a {what} that is computed ('{name}'); only constants can be written to a file")
        return self.graph.constants[name]

    def needed(self, place: int, what: str) -> np.ndarray:
        value = self.constant(place, what)
        if value is None:
            raise self.refuse(f"lacks its {what}")
        return value.astype(np.float64)

    def number(self, name: str, place: int) -> float | None:
        """What older operator sets have as an attribute and newer ones as an input of one element."""
        value = self.attribute(name)
        if value is None and (given := self.constant(place, name)) is not None:
            if given.size != 1:
                raise self.refuse(f"has a {name} of shape {given.shape}, where one number is needed")
            value = given.reshape(-1)[0]
        return None if value is None else float(value)

    def single(self, name: str, default: float) -> float:
        """A float32 attribute in its shortest form: 1e-4 and not 9.99999974e-05."""
        return float(str(np.float32(self.attribute(name, default))))

    # -- the chain ----------------------------------------------------------------------------------------------------

    def chain(self) -> list[onnx.NodeProto]:
        """The nodes between input and output, in order; refuses the first that is no layer or joins several values."""
        nodes = join_patterns(self.graph)
        for self.node in nodes:
            if self.node.op_type == "LogSoftmax" and is_standard(self.node):
                raise self.refuse(
                    "takes the logarithm of a softmax, which no layer does; export the network without it (its logits) "
                    "or with Softmax"
                )
            if not hasattr(self, f"on_{self.node.op_type}") or not is_standard(self.node):
                raise self.refuse("is of a kind that halotile has no layer for")
            data = self.graph.data(self.node)
            if not data:
                raise self.refuse("has no input that depends on the network's")
            if len(data) > 1:
                raise self.refuse(f"joins {data}; only a chain of layers can be written")
            if data[0] in self.graph.reasons:
                raise Inexpressible(self.graph.reasons[data[0]])
            if self.node.output[0] not in self.graph.shapes:
                raise Inexpressible(
                    self.graph.reasons.get(self.node.output[0], label(self.node) + " has no known shape")
                )
        at = self.graph.input
        for self.node in nodes:
            if self.graph.data(self.node) != [at]:
                made = next((n for n in nodes if at in n.output), self.node)
                read = self.graph.data(self.node)[0]
                raise self.refuse(f"reads '{read}', which is not the first output of {label(made)}")
            at = self.node.output[0]
        return nodes

    def run(self, name: str) -> dict[str, Any]:
        """The model file as a dictionary; self.model has the weights and notes that go with it."""
        nodes = self.chain()
        size = dict(zip(("channels", "height", "width"), self.model.at, strict=True))
        if len(self.shape) == 1:
            self.model.notes.append(f"the input's {self.shape[0]} features are channels of a map of one pixel")
        if self.graph.types.get(self.graph.input) != TensorProto.FLOAT:
            kind = TensorProto.DataType.Name(self.graph.types.get(self.graph.input, 0)).lower()
            self.model.notes.append(f"the input is {kind} in the file; halotile takes float32")
        try:
            for self.node in nodes:
                self.layer()
            if self.pending != NO_PADS:
                raise self.refuse("ends the network with padding")
            if len(self.shape) == 1:
                self.model.flatten()
            self.model.finish()
        except Unfit as error:
            raise Inexpressible(str(error)) from error
        return {"name": name, "input": size, "layers": self.model.layers}

    def layer(self) -> None:
        """One node."""
        kind = self.node.op_type
        if self.graph.types.get(self.graph.data(self.node)[0], 0) not in (*FLOATS, 0) and kind not in (
            "Cast",
            *VIEWS,
        ):
            raise self.refuse("computes with integers; halotile computes with floating-point numbers")
        if self.pending != NO_PADS and kind not in ("Conv", "AveragePool", "Pad", "Cast"):
            raise self.refuse("follows a Pad; only Conv and AveragePool can take its zeros in")
        try:
            getattr(self, f"on_{kind}")()
        except (Inexpressible, Unfit):
            raise
        except Malformed as error:
            raise self.refuse(error) from error
        except DAMAGE as error:
            raise self.refuse(f"breaks ONNX's rules for its kind ({one_line(error)})") from error
        self.shape = self.output()

    def output(self) -> tuple[int, ...]:
        """The shape of the node's output, without the batch."""
        name = self.node.output[0]
        batch, out = self.graph.shapes[self.graph.input][0], self.graph.shapes[name]
        if not out or out[0] != batch:
            raise self.refuse(f"makes {self.graph.shown(name)}, in which the batch does not stand first")
        return out[1:]

    def need_map(self) -> tuple[int, int, int]:
        if len(self.shape) != 3 or (self.shape != self.model.at and self.pending == NO_PADS):
            raise self.refuse(f"needs a map of channels, height and width, not {self.shown()}")
        return self.model.at[0], self.shape[1], self.shape[2]

    def shown(self) -> str:
        came = "" if self.shape == self.model.at else f" that came from {self.model.at}"
        return f"{self.shape}{came}"

    def layer_name(self, weight: str) -> str:
        """After the weights (features.0.weight) or the node."""
        named = weight.endswith(".weight")
        return self.model.name(weight.removesuffix(".weight") if named else self.node.name or self.node.output[0])
