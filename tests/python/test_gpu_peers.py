"""The GPU peers' script without a GPU: PyTorch's patched convolutions, ratios, targets, and a whole run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from halotile_tools.common import ROOT, ExperimentError
from halotile_tools.peers import gpu_peers
from halotile_tools.peers.gpu_networks import PatchedConv, cut, patched, variant
from halotile_tools.peers.networks import torch_network

FAKE = Path(__file__).resolve().with_name("fake_halotile.py")
SCRIPT = ROOT / "experiments" / "peers" / "gpu_peers.py"

MODEL = {
    "name": "small",
    "input": {"channels": 4, "height": 29, "width": 23},
    "layers": [
        {"type": "conv", "name": "conv1", "out_channels": 8, "kernel": 5, "stride": 2, "padding": 2},
        {"type": "relu"},
        {"type": "max_pool", "kernel": 3, "stride": 2},
        {"type": "conv", "name": "conv2", "out_channels": 6, "kernel": 3, "padding": 1, "groups": 2},
        {"type": "fully_connected", "name": "fc", "out_features": 5},
        {"type": "softmax"},
    ],
}


def test_cut_covers_all_once() -> None:
    assert cut(7, 3) == [(0, 2), (2, 4), (4, 7)]


@pytest.mark.parametrize("grid", [(1, 1), (2, 2), (3, 4)])
@pytest.mark.parametrize("dilation", [1, 2])
def test_patched_convolution_is_the_whole_one(grid: tuple[int, int], dilation: int) -> None:
    torch.manual_seed(1)
    conv = torch.nn.Conv2d(4, 6, (5, 3), stride=(2, 1), padding=(2, 1), dilation=dilation, groups=2)
    x = torch.randn(2, 4, 31, 22)
    with torch.no_grad():
        torch.testing.assert_close(PatchedConv(conv, grid, [])(x), conv(x))


def test_patched_network_and_layouts_agree() -> None:
    network = torch_network(MODEL, 3)
    x = torch.randn(2, 4, 29, 23)
    expected = variant(network, x, "eager")()
    for other in (variant(network, x, "eager channels_last"), variant(patched(network, (2, 2), 0), x, "eager")):
        torch.testing.assert_close(other(), expected)


def test_ratios_are_medians_of_rounds() -> None:
    turns = iter([[2.0], [1.0], [8.0], [2.0], [9.0], [3.0]])
    timings = gpu_peers.race({n: lambda: {"samples_ms": next(turns)} for n in ("a", "b")}, 3)
    assert gpu_peers.ratio(timings, "a", "b") == 3
    assert gpu_peers.fastest(timings, ("a", "b")) == "b"


def test_wrong_outputs_end_the_script() -> None:
    right = np.ones((2, 3), np.float32)
    with pytest.raises(ExperimentError, match="nothing was timed"):
        gpu_peers.check("x", right * 1.1, right)
    with pytest.raises(ExperimentError, match="nothing was timed"):
        gpu_peers.check("x", right * np.nan, right)


def test_whole_script(tmp_path: Path) -> None:
    output = tmp_path / "peers.json"
    words = ["--without-gpu", "--rounds", "1", "--output", output, "--halotile", FAKE]
    works = ["--only", "resident", "--only", "sub_batches"]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        [sys.executable, SCRIPT, *words, *works],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    kept = json.loads(output.read_text())["works"]
    assert list(kept) == ["resident", "sub_batches"]
    assert "halotile, graph" in kept["resident"]["errors"], "the program refused it, and the rest went on"
    assert kept["resident"]["contestants"]["halotile"]["median_ms"] == pytest.approx(3.2)
    assert [t["met"] for t in kept["sub_batches"]["targets"]] == [True, True]
    assert "MISSED" not in done.stdout.split("sub_batches")[-1]
