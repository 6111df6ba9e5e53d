"""A model file and its weights under construction: a chain of layers, with arithmetic folded into them in float64."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

Layer = dict[str, Any]
Shape = tuple[int, ...]

# A diagonal matrix for more features than this would take over a gigabyte.
MOST_DIAGONAL = 16384


class Unfit(Exception):
    """What cannot be written as layers; says what, and leaves the place to the caller."""


def edge(values: Any) -> Any:
    """[h, w] as a model file has it: one number where both are equal."""
    h, w = (int(v) for v in values)
    return h if h == w else [h, w]


@dataclass
class Affine:
    """x * scale + shift, not yet written. Both broadcast to the map or the features they stand behind."""

    scale: np.ndarray
    shift: np.ndarray
    name: str
    place: str  # for messages

    def after(self, before: Affine | None) -> Affine:
        if before is None:
            return self
        return replace(self, scale=before.scale * self.scale, shift=before.shift * self.scale + self.shift)

    def by_channel(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Scale and shift of each channel or feature, of one axis; None where places of a map differ."""
        both = []
        for value in (self.scale, self.shift):
            if value.ndim == 3 and value.shape[1:] != (1, 1):
                if np.any(value != value[:, :1, :1]):
                    return None
                value = value[:, :1, :1]
            both.append(value.reshape(-1))
        return both[0], both[1]

    def spread(self, at: Shape) -> Affine:
        """For every element, on one axis."""
        scale, shift = (np.broadcast_to(v, at).reshape(-1) for v in (self.scale, self.shift))
        return replace(self, scale=scale, shift=shift)


class ModelBuilder:
    """`at` is the shape of the last layer's output: (channels, height, width), or (features,)."""

    def __init__(self, at: Shape) -> None:
        self.at = at
        self.layers: list[Layer] = []
        self.weights: dict[str, np.ndarray] = {}  # float64 until the end
        self.notes: list[str] = []
        self.affine_behind: Affine | None = None

    # -- layers -------------------------------------------------------------------------------------------------------

    def add(self, layer: Layer, at: Shape | None = None) -> None:
        """A layer behind what there is; `at` where the shape changes."""
        self.settle()
        self.layers.append(layer)
        self.at = self.at if at is None else at

    def flatten(self) -> None:
        if len(self.at) == 3:
            affine, self.affine_behind = self.affine_behind, None
            before = self.at
            self.add({"type": "flatten"}, (math.prod(before),))
            if affine is not None:  # element by element: it stands behind flatten as before it
                self.affine_behind = affine.spread(before)

    def weighted(self, layer: Layer, weight: np.ndarray, bias: np.ndarray | None, at: Shape) -> None:
        """A layer with a name, a weight (outputs first) and a bias."""
        self.weights[f"{layer['name']}.weight"] = weight
        if bias is None:
            layer["bias"] = False
        else:
            self.weights[f"{layer['name']}.bias"] = np.array(bias, np.float64).reshape(weight.shape[0])
        self.add(layer, at)

    def fully_connected(self, name: str, weight: np.ndarray, bias: np.ndarray | None) -> None:
        """`weight` is (out, in), in float64. Takes in what waits before it."""
        self.flatten()
        if self.affine_behind is not None:
            affine = self.affine_behind.spread(self.at)
            bias = (0.0 if bias is None else bias) + weight @ affine.shift
            weight = weight * affine.scale
            self.affine_behind = None
        layer: Layer = {"type": "fully_connected", "name": name, "out_features": weight.shape[0]}
        self.weighted(layer, weight, bias, (weight.shape[0],))

    # -- arithmetic ---------------------------------------------------------------------------------------------------

    def affine(self, affine: Affine) -> None:
        """Into the layer before where that has weights; as a 1x1 convolution on a map; else it waits for the fully
        connected layer that takes it in."""
        last: Layer = self.layers[-1] if self.layers else {"type": "none"}
        values = affine.by_channel()
        waits = values is None or (len(self.at) == 1 and last["type"] != "fully_connected")
        if self.affine_behind is not None or waits:
            self.affine_behind = affine.after(self.affine_behind)
            return
        scale, shift = (np.broadcast_to(v, self.at[0]) for v in values or ())
        if last["type"] in ("conv", "fully_connected"):
            self.fold(last, scale, shift)
            return
        channels = self.at[0]
        layer = {"type": "conv", "name": self.name(affine.name), "out_channels": channels, "kernel": 1}
        if channels > 1:
            layer["groups"] = channels
        self.notes.append(f"{affine.place}: written as a 1x1 convolution of single channels")
        self.weighted(layer, scale.reshape(channels, 1, 1, 1), shift, self.at)

    def fold(self, layer: Layer, scale: np.ndarray, shift: np.ndarray) -> None:
        name = layer["name"]
        weight = self.weights[f"{name}.weight"]
        bias = self.weights.get(f"{name}.bias", np.zeros(weight.shape[0]))
        self.weights[f"{name}.weight"] = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
        if layer.pop("bias", True) or np.any(shift != 0):
            self.weights[f"{name}.bias"] = bias * scale + shift
        else:
            layer["bias"] = False

    def settle(self) -> None:
        """Writes waiting arithmetic as a fully connected layer of its own, a diagonal matrix."""
        affine, self.affine_behind = self.affine_behind, None
        if affine is None:
            return
        if len(self.at) == 3:
            raise Unfit(f"{affine.place} scales or shifts places of a map differently, which only a fully connected "
                        "layer right behind it could take in")  # fmt: skip
        if self.at[0] > MOST_DIAGONAL:
            raise Unfit(f"{affine.place} scales or shifts {self.at[0]} features with no fully connected layer behind "
                        f"it; a matrix for that can be written for at most {MOST_DIAGONAL}")  # fmt: skip
        self.notes.append(f"{affine.place}: written as a fully connected layer with a diagonal matrix")
        affine = affine.spread(self.at)
        layer = {"type": "fully_connected", "name": self.name(affine.name), "out_features": self.at[0]}
        self.weighted(layer, np.diag(affine.scale), affine.shift, self.at)

    def finish(self) -> None:
        """Behind the last layer."""
        if self.affine_behind is not None:
            self.flatten()
        self.settle()
        if not self.layers:
            raise Unfit("the network has no layers")
        self.name_layers()

    # -- names --------------------------------------------------------------------------------------------------------

    def name(self, wish: str) -> str:
        """The wish as a layer's name that none has yet."""
        stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", wish).strip("_.-") or "layer"
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
