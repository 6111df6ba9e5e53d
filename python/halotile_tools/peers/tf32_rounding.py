"""How far tf32's rounding alone takes both AlexNets' logits from float64's, on the CPU.

Everything but the inputs and weights of convolutions and fully connected layers is float32. Three ways: those rounded
to nearest, as engine tensor_core and PyTorch do on a Hopper GPU; weights to nearest and inputs cut off, as tensor
cores do with values that nobody rounded; and, in many trials, to nearest behind noise as large as float32's own
rounding, as another order of sums would make it. Errors are relative: the largest to the largest logit, the root mean
square to the logits'. Keeps results/<machine>/tf32_rounding.json.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from halotile_tools.common import CONFIGS, provenance, results_folder, write_json
from halotile_tools.model_file import read_model
from halotile_tools.peers.gpu_race import relative_difference, relative_rms
from halotile_tools.peers.networks import torch_network
from halotile_tools.random import random_input

NETWORKS = {"2012": ("alexnet", 227), "tower": ("alexnet_single_tower", 224)}
LOW_BITS = 0x1FFF  # of float32's mantissa, that tf32 lacks
NOISE = 3e-7

Change = Callable[[torch.Tensor], torch.Tensor]


def cut(x: torch.Tensor) -> torch.Tensor:
    return (x.contiguous().view(torch.int32) & ~LOW_BITS).view(torch.float32)


def nearest(x: torch.Tensor) -> torch.Tensor:
    """To nearest, ties to even."""
    bits = x.contiguous().view(torch.int32)
    return cut((bits + LOW_BITS // 2 + (bits >> 13 & 1)).view(torch.float32))


def noisy(x: torch.Tensor) -> torch.Tensor:
    """Every value but zeros off by NOISE of itself and of the average magnitude."""
    noise = x * torch.randn_like(x) + x.abs().mean() * torch.randn_like(x) * (x != 0)
    return nearest(x + NOISE * noise)


def rounded(network: torch.nn.Module, inputs: Change) -> torch.nn.Module:
    """A copy with weights rounded to nearest, whose products change their inputs so."""
    made = copy.deepcopy(network)
    for module in made.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.weight.data = nearest(module.weight.data)
            module.register_forward_pre_hook(lambda _, x: (inputs(x[0]),))
    return made


def errors_of(name: str, images: int, trials: int) -> dict[str, Any]:
    model, edge = NETWORKS[name]
    network = torch_network(read_model(CONFIGS / "models" / f"{model}.yaml"), 7)
    x = torch.from_numpy(random_input(1, (images, 3, edge, edge)))
    exact = copy.deepcopy(network).double()(x.double())[0].numpy()

    def errors(inputs: Change) -> dict[str, float]:
        found = rounded(network, inputs)(x)[0].numpy()
        return {"largest": relative_difference(found, exact), "rms": relative_rms(found, exact)}

    return {"nearest": errors(nearest), "inputs_cut": errors(cut), "noisy": [errors(noisy) for _ in range(trials)]}


def show(name: str, found: dict[str, Any]) -> None:
    for way, shown in (("nearest", "to nearest"), ("inputs_cut", "inputs cut off")):
        print(f"{name}, {shown}: largest {found[way]['largest']:.2e}, root mean square {found[way]['rms']:.2e}")
    for key, shown in (("largest", "largest"), ("rms", "root mean square")):
        values = [trial[key] for trial in found["noisy"]]
        print(f"{name}, {len(values)} trials with noise: {shown} {min(values):.2e} to {max(values):.2e}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=32, help="default 32, as in gpu_peers.py")
    parser.add_argument("--trials", type=int, default=32, help="trials with noise (default 32)")
    parser.add_argument("--output", type=Path, help="file for the result (default: this machine's kept results)")
    options = parser.parse_args()
    if min(options.images, options.trials) < 1:
        parser.error("--images and --trials must be at least 1")
    torch.manual_seed(0)
    result: dict[str, Any] = {"provenance": provenance(("torch", "numpy")), "noise": NOISE, "networks": {}}
    with torch.inference_mode():
        for name in NETWORKS:
            result["networks"][name] = errors_of(name, options.images, options.trials)
            show(name, result["networks"][name])
    path = options.output or results_folder() / "tf32_rounding.json"
    write_json(path, result)
    print(f"written: {path}")
    return 0
