"""Dropout samples and crops of photographs as PyTorch and Pillow make them, with halotile's seeded masks and places."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from halotile_tools.random import dropout_mask, random_crop
from halotile_tools.torch import Network


def sampled_logits(
    network: Network, layers: list[dict[str, Any]], x: torch.Tensor, seed: int, sample: int, images: list[int]
) -> torch.Tensor:
    """Logits of one dropout sample; image i of `x` is number images[i] of the input."""
    with torch.no_grad():
        for spec, name, layer in zip(layers, network.names, network.layers, strict=True):
            if spec["type"] == "dropout":
                p = float(spec.get("p", 0.5))
                masks = [dropout_mask(seed, name, sample, i, tuple(x.shape[1:]), p) for i in images]
                x = x * torch.from_numpy(np.stack(masks)).to(x.dtype)
            else:
                x = layer(x)
    return x


def read_resized(path: Path, side: int) -> Image.Image:
    """A photograph with the shorter side `side`, resized as every Pillow before 13 does it: rows first."""
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    width, height = image.size
    size = (side, side * height // width) if width <= height else (side * width // height, side)
    bilinear = Image.Resampling.BILINEAR
    return image.resize((size[0], height), bilinear).resize(size, bilinear)


def center(have: int, want: int) -> int:
    """torchvision's offset of a centre crop (round() goes to even)."""
    return int(round((have - want) / 2.0))


def ten_crops(image: Image.Image, crop: tuple[int, int]) -> list[Image.Image]:
    """torchvision's TenCrop."""
    crops = []
    for side in (image, ImageOps.mirror(image)):
        bottom, right = side.height - crop[0], side.width - crop[1]
        corners = [(0, 0), (0, right), (bottom, 0), (bottom, right)]
        for top, left in [*corners, (center(side.height, crop[0]), center(side.width, crop[1]))]:
            crops.append(side.crop((left, top, left + crop[1], top + crop[0])))
    return crops


def augmented(image: Image.Image, crop: tuple[int, int], seed: int, photograph: int) -> Image.Image:
    """The random crop of a photograph, mirrored or not."""
    top, left, mirror = random_crop(seed, photograph, (image.height, image.width), crop)
    part = image.crop((left, top, left + crop[1], top + crop[0]))
    return ImageOps.mirror(part) if mirror else part
