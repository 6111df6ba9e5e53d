"""Writes tests/golden/sampling/: dropout samples of a small network, and crops of the sample photographs.

The reference is PyTorch in float64 with masks from halotile_tools.random, and Pillow with torchvision's order of
steps. Kept small: logits, mean and standard deviation of the probabilities as .npy, crops as the CRC-32 (zlib) of
each input map, (C, H, W) float32 with mean 0 and standard deviation 1.

    .venv/bin/python tests/golden/make_sampling_golden.py

Needs torch, numpy, pillow, safetensors, pyyaml.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from halotile_tools.common import ROOT
from halotile_tools.model_file import read_model, write_model
from halotile_tools.random import random_input
from halotile_tools.sampling import augmented, read_resized, sampled_logits, ten_crops
from halotile_tools.torch import Network

GOLDEN = Path(__file__).resolve().parent / "sampling"
SAMPLES = ROOT / "data" / "samples"
SEED, DRAWS, IMAGES = 11, 5, 3
RESIZE, CROP = 96, (64, 48)
AUGMENT_SEED = 23
MODEL = {
    "name": "sampling",
    "input": {"channels": 3, "height": 14, "width": 11},
    "layers": [
        {"type": "conv", "name": "conv1", "out_channels": 6, "kernel": 3, "padding": 1},
        {"type": "relu"},
        {"type": "dropout", "name": "drop1", "p": 0.3},
        {"type": "max_pool", "kernel": 3, "stride": 2},
        {"type": "conv", "name": "conv2", "out_channels": 8, "kernel": 3, "padding": 1, "groups": 2},
        {"type": "relu"},
        {"type": "dropout", "name": "drop2", "p": 0.5},
        {"type": "flatten"},
        {"type": "dropout", "name": "drop3", "p": 0.25},
        {"type": "fully_connected", "name": "fc3", "out_features": 12},
        {"type": "relu"},
        {"type": "dropout", "name": "drop4", "p": 0.5},
        {"type": "fully_connected", "name": "fc4", "out_features": 5},
    ],
}


def input_map(image: Image.Image) -> np.ndarray:
    """(C, H, W) float32 in [0, 1]."""
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1)).astype(np.float32) / np.float32(255)


def crc(image: Image.Image) -> int:
    return zlib.crc32(input_map(image).tobytes())


def photographs() -> list[Path]:
    return sorted(path for path in SAMPLES.iterdir() if path.suffix in (".jpg", ".png"))


def main() -> None:
    GOLDEN.mkdir(parents=True, exist_ok=True)
    write_model(GOLDEN / "model.yaml", MODEL, "Written by tests/golden/make_sampling_golden.py.")
    model = read_model(GOLDEN / "model.yaml")
    torch.manual_seed(5)
    network = Network(model)
    save_file(network.weights(), GOLDEN / "weights.safetensors")
    size = model["input"]
    x = random_input(3, (IMAGES, size["channels"], size["height"], size["width"]))
    np.save(GOLDEN / "input.npy", x)
    network.double()
    numbers = list(range(IMAGES))
    samples = [
        sampled_logits(network, model["layers"], torch.from_numpy(x).double(), SEED, s, numbers) for s in range(DRAWS)
    ]
    logits = torch.stack(samples, 1)  # (images, samples, classes)
    probabilities = logits.softmax(2)
    np.save(GOLDEN / "logits.npy", logits.reshape(-1, logits.shape[2]).float().numpy())
    np.save(GOLDEN / "mean.npy", probabilities.mean(1).float().numpy())
    np.save(GOLDEN / "deviation.npy", probabilities.std(1, unbiased=False).float().numpy())

    images = [read_resized(path, RESIZE) for path in photographs()]
    facts = {
        "dropout": {"seed": SEED, "samples": DRAWS},
        "resize": RESIZE,
        "crop": list(CROP),
        "ten": [[crc(c) for c in ten_crops(image, CROP)] for image in images],
        "augment_seed": AUGMENT_SEED,
        "augment": [crc(augmented(image, CROP, AUGMENT_SEED, i)) for i, image in enumerate(images)],
    }
    (GOLDEN / "facts.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
