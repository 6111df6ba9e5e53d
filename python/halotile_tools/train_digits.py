"""Trains configs/models/digits.yaml on scikit-learn's handwritten digits and writes data/digits/.

The 1797 images (8 x 8, 17 grey levels) are enlarged to 32 x 32 with Pillow's bicubic filter. The last 360 are held
out: written as PNG files with labels, never trained on. A writer's digits stand together in the set, so they are
mostly the hands of people the network has not seen. The weights are those after the last epoch: the held-out images
choose nothing. Prints the accuracy on the held-out files as they were written, read back and prepared as
`halotile run` prepares them.

Needs torch, scikit-learn, pillow, safetensors, pyyaml. One CPU core takes a few minutes.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import nn

from halotile_tools.common import ROOT
from halotile_tools.model_file import read_model
from halotile_tools.torch import Network

SIDE = 32
HELD_OUT = 360
MEAN, STD = 0.5, 0.5  # of every colour; the experiment config names the same


def enlarge(digit: np.ndarray) -> Image.Image:
    """A digit of 0 to 16 as a 32 x 32 grey image of 0 to 255."""
    grey = np.rint(digit.reshape(8, 8) * (255.0 / 16.0)).astype(np.uint8)
    return Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def to_tensor(images: list[Image.Image]) -> torch.Tensor:
    """Images as (N, 3, H, W): grey copied to three colours, scaled and normalized as torchvision does it."""
    pixels = np.stack([np.asarray(image.convert("RGB")) for image in images])
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().to(torch.float32).div(255)
    return x.sub(MEAN).div(STD)


def augment(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each image turned by up to 12 degrees, scaled by up to 12% and moved by up to 2 pixels."""
    n = x.shape[0]
    angle, scale, dx, dy = (torch.rand(4, n, generator=generator) * 2 - 1).unbind()
    angle, scale = angle * (12 * torch.pi / 180), 1 + 0.12 * scale
    move = 4.0 / SIDE
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    rows = [torch.stack([cos, -sin, dx * move], 1), torch.stack([sin, cos, dy * move], 1)]
    grid = nn.functional.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    return nn.functional.grid_sample(x, grid, padding_mode="border", align_corners=False)


def train(network: Network, x: torch.Tensor, y: torch.Tensor, epochs: int, seed: int) -> None:
    """AdamW with a one-cycle learning rate; prints the loss of every fifth epoch."""
    generator = torch.Generator().manual_seed(seed)
    batch = 64
    steps = -(-len(x) // batch)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=epochs * steps)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.02)
    network.train()
    for epoch in range(epochs):
        total = 0.0
        for chosen in torch.randperm(len(x), generator=generator).split(batch):
            optimizer.zero_grad()
            loss = loss_of(network(augment(x[chosen], generator)), y[chosen])
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(chosen)
        if epoch % 5 == 4 or epoch + 1 == epochs:
            print(f"epoch {epoch + 1:3d}: loss {total / len(x):.4f}", flush=True)
    network.eval()


def write_held_out(directory: Path, images: list[Image.Image], labels: np.ndarray, indices: np.ndarray) -> list[Path]:
    """The held-out images as PNG files named after their place in the data set, and labels.csv."""
    (directory / "images").mkdir(parents=True, exist_ok=True)
    paths = []
    with (directory / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["file", "label"])
        for index in indices:
            path = directory / "images" / f"digit_{index:04d}.png"
            images[index].save(path, optimize=True)
            rows.writerow([f"images/{path.name}", labels[index]])
            paths.append(path)
    return paths


def evaluate(network: Network, directory: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Float64 logits and labels of the images that labels.csv names."""
    with (directory / "labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    x = to_tensor([Image.open(directory / row["file"]) for row in rows])
    with torch.no_grad():
        logits = network.double()(x.double())
    return logits, torch.tensor([int(row["label"]) for row in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "configs/models/digits.yaml", help="model file")
    parser.add_argument("--output", type=Path, default=ROOT / "data/digits", help="folder to write")
    parser.add_argument("--golden", type=Path, help="also write the held-out images' float64 logits to this .npy")
    parser.add_argument("--epochs", type=int, default=60, help="passes over the training images")
    parser.add_argument("--seed", type=int, default=20120930, help="of the weights and the batches")
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    digits = load_digits()
    images = [enlarge(digit) for digit in digits.data]
    kept, held_out = np.split(np.arange(len(images)), [len(images) - HELD_OUT])
    network = Network(read_model(args.model))
    train(network, to_tensor([images[i] for i in kept]), torch.from_numpy(digits.target[kept]), args.epochs, args.seed)

    write_held_out(args.output, images, digits.target, held_out)
    (args.output / "classes.txt").write_text("".join(f"{name}\n" for name in digits.target_names))
    weights = args.output / "digits.safetensors"
    save_file(network.weights(), weights, metadata={"model": "digits", "made_by": "experiments/train_digits.py"})

    logits, labels = evaluate(network, args.output)
    if args.golden:
        np.save(args.golden, logits.numpy())
    best = logits.topk(2, dim=1).values
    correct = int((logits.argmax(1) == labels).sum())
    print(f"{weights}: {weights.stat().st_size} bytes")
    print(f"accuracy: {correct} of {len(labels)} held-out images ({100 * correct / len(labels):.2f}%)")
    print(f"closest decision: the two largest logits differ by {float((best[:, 0] - best[:, 1]).min()):.4f}")
