"""model_file.py against PyTorch, which works out shapes by itself, and against the shipped model files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torchvision import models

from halotile_tools.common import CONFIGS, ROOT
from halotile_tools.model_file import (
    layer_names,
    normalization,
    read_model,
    renamed,
    shapes,
    tensor_shapes,
    window,
    write_model,
)
from halotile_tools.random import random_weights
from halotile_tools.torch import Network

GOLDEN = ROOT / "tests" / "golden"
CASES = [GOLDEN / case["model"] for case in json.loads((GOLDEN / "manifest.json").read_text())["cases"]]
SHIPPED = sorted((CONFIGS / "models").glob("*.yaml"))


@pytest.mark.parametrize("path", [*CASES, *SHIPPED], ids=lambda path: path.stem)
def test_shapes_and_tensors_are_pytorchs(path: Path) -> None:
    model = read_model(path)
    with torch.device("meta"):
        network = Network(model).eval()
        x = torch.zeros(1, *shapes(model)[0])
        outputs = network.outputs(x)
    assert list(outputs) == layer_names(model)
    found = [shape if output.dim() == 4 else shape[:1] for shape, output in zip(shapes(model)[1:], outputs.values())]
    flat = [shape[0] * shape[1] * shape[2] if len(shape) == 3 else shape[0] for shape in found]
    assert flat == [output[0].numel() for output in outputs.values()]
    assert [s for s in found if len(s) == 3] == [tuple(o.shape[1:]) for o in outputs.values() if o.dim() == 4]
    assert tensor_shapes(model) == {name: tuple(tensor.shape) for name, tensor in network.weights().items()}


@pytest.mark.parametrize("size", range(3, 12))
@pytest.mark.parametrize("padding", [0, 1])
def test_ceil_mode_is_pytorchs(size: int, padding: int) -> None:
    pool = {"type": "max_pool", "kernel": 3, "stride": 2, "padding": padding, "ceil_mode": True}
    expected = torch.nn.MaxPool2d(3, 2, padding, ceil_mode=True)(torch.zeros(1, 1, size, 7)).shape[2:]
    assert window(pool).outputs((size, 7)) == tuple(expected)


def test_defaults() -> None:
    assert window({"type": "max_pool", "kernel": [3, 2]}) == ((3, 2), (3, 2), (0, 0), (1, 1), False)
    assert window({"type": "conv", "kernel": 3}).stride == (1, 1)
    assert normalization({"type": "lrn", "alpha": "1e-3"}) == (5, 1e-3, 0.75, 1.0)


def test_until_ends_behind_a_layer_and_names_what_there_is() -> None:
    path = CONFIGS / "models" / "digits.yaml"
    assert layer_names(read_model(path, "relu2"))[-1] == "relu2"
    with pytest.raises(ValueError, match="has no layer pool9; there are conv1, relu1, lrn1"):
        read_model(path, "pool9")


def test_written_model_is_read_back(tmp_path: Path) -> None:
    for path in SHIPPED:
        model = {key: read_model(path)[key] for key in ("name", "input", "layers")}
        write_model(tmp_path / "net.yaml", model, "a comment\nof two lines")
        assert read_model(tmp_path / "net.yaml") == model


@pytest.mark.parametrize(("file", "name"), [("alexnet_torchvision", "alexnet"), ("vgg16", "vgg16")])
def test_shipped_models_rename_torchvisions_weights(file: str, name: str) -> None:
    model = read_model(CONFIGS / "models" / f"{file}.yaml")
    with torch.device("meta"):
        tensors = models.get_model(name).state_dict()
    assert {n: tuple(t.shape) for n, t in renamed(model, tensors).items()} == tensor_shapes(model)


def test_random_weights_leave_out_biases_that_are_not_there() -> None:
    conv = {"type": "conv", "name": "a", "out_channels": 2, "kernel": 3, "bias": False}
    model = {"input": {"channels": 3, "height": 5, "width": 4}, "layers": [conv, {"type": "flatten"}]}
    weights = random_weights({**model, "layers": [*model["layers"], {"type": "fully_connected", "out_features": 7}]}, 1)
    assert {name: value.shape for name, value in weights.items()} == {
        "a.weight": (2, 3, 3, 3),
        "fully_connected1.weight": (7, 12),
        "fully_connected1.bias": (7,),
    }
