"""The scripts that make networks: torchvision's export, the golden cases, the trained digits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from make_golden import CASES, make_case
from safetensors import safe_open
from safetensors.torch import load_file
from torchvision import models

from halotile_tools.common import ROOT
from halotile_tools.export_torchvision import MODELS, describe
from halotile_tools.model_file import read_model, write_model
from halotile_tools.torch import Network
from halotile_tools.train_digits import evaluate

GOLDEN = ROOT / "tests" / "golden"


@pytest.mark.parametrize("name", ["alexnet", "vgg11"])
def test_model_file_of_torchvision(name: str, tmp_path: Path) -> None:
    """The written model file computes what torchvision's module does, dropout aside."""
    torch.manual_seed(3)
    theirs = models.get_model(name).eval()
    write_model(tmp_path / "net.yaml", describe(name, theirs, 96), "torchvision's")
    ours = Network(read_model(tmp_path / "net.yaml")).eval()
    ours.load_weights(dict(theirs.state_dict()))
    x = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))


def test_every_torchvision_model_can_be_described() -> None:
    for name in MODELS:
        with torch.device("meta"):
            layers = describe(name, models.get_model(name), 224)["layers"]
        assert layers[-1]["out_features"] == 1000


def test_export_torchvision(tmp_path: Path) -> None:
    path = tmp_path / "alexnet.safetensors"
    script = ROOT / "experiments" / "export_torchvision.py"
    subprocess.run([sys.executable, script, "alexnet", path, "--random", "4", "--dtype", "float16"], check=True)
    torch.manual_seed(4)
    expected = models.alexnet().state_dict()
    with safe_open(path, "pt") as file:
        assert set(file.keys()) == expected.keys()
        assert file.metadata() == {"model": "alexnet", "weights": "random, seed 4"}
        for name in file.keys():  # noqa: SIM118 (no iterator)
            assert torch.equal(file.get_tensor(name), expected[name].half())


def test_golden_cases_are_what_the_script_makes(tmp_path: Path) -> None:
    """The first cases again, to the last bits of float64 (which other processors may round otherwise)."""
    manifest = {case["name"]: case for case in json.loads((GOLDEN / "manifest.json").read_text())["cases"]}
    assert len(manifest) >= len(CASES)
    for place in (0, 3, 14, 23):
        entry = make_case(*CASES[place], 5 + place).write(tmp_path, npz=place % 4 == 0)
        assert entry == manifest[entry["name"]]
        assert (tmp_path / entry["model"]).read_bytes() == (GOLDEN / entry["model"]).read_bytes()
        assert (tmp_path / entry["input"]).read_bytes() == (GOLDEN / entry["input"]).read_bytes()
        with np.load(tmp_path / entry["outputs"]) as ours, np.load(GOLDEN / entry["outputs"]) as kept:
            assert sorted(ours) == sorted(kept)
            for name in ours:
                np.testing.assert_allclose(ours[name], kept[name], rtol=1e-12, atol=1e-12)


def test_golden_folder_is_small() -> None:
    files = [file for file in GOLDEN.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 5_000_000


def test_trained_digits() -> None:
    """The accuracy that the licence file names, from the files as they ship."""
    network = Network(read_model(ROOT / "configs/models/digits.yaml")).eval()
    network.load_weights(load_file(ROOT / "data/digits/digits.safetensors"))
    logits, labels = evaluate(network, ROOT / "data/digits")
    correct = int((logits.argmax(1) == labels).sum())
    assert f"classifies {correct} rightly" in (ROOT / "data/digits/LICENSE.md").read_text()
    np.testing.assert_allclose(logits, np.load(GOLDEN / "digits/logits.npy"), rtol=1e-9, atol=1e-9)
