"""import_onnx.py against ONNX Runtime: the imported network, run by PyTorch, gives the same numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file

from halotile_torch import Network
from import_onnx import Inexpressible, import_onnx
from model_file import read_model
from onnx_test_graphs import GRAPHS, REFUSED


@pytest.mark.parametrize("name", GRAPHS)
def test_equals_onnxruntime(name: str, tmp_path: Path) -> None:
    graph = GRAPHS[name]()
    path = tmp_path / f"{name}.onnx"
    onnx.save(graph.model(), path)
    import_onnx(path, tmp_path / "imported.net")

    network = Network(read_model(tmp_path / "imported.net.yaml")).double().eval()
    network.load_weights(load_file(tmp_path / "imported.net.safetensors"))
    x = graph.x
    if x is None:
        x = np.random.default_rng(1).normal(0, 1, (graph.batch or 2, *graph.size)).astype(graph.dtype)
    size = [read_model(tmp_path / "imported.net.yaml")["input"][k] for k in ("channels", "height", "width")]
    with torch.no_grad():
        ours = network(torch.from_numpy(x).double().reshape(-1, *size)).numpy()
    theirs = graph.y
    if theirs is None:
        (theirs,) = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    assert ours.size == theirs.size
    np.testing.assert_allclose(ours.reshape(theirs.shape), theirs, rtol=2e-5, atol=2e-5)


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
