"""Writes torchvision's AlexNet or VGG weights as safetensors, under torchvision's own names (features.0.weight).

Without further options the trained ImageNet weights are fetched (or taken from PyTorch's cache). Where they cannot be
had, --checkpoint takes a .pth file fetched elsewhere, and --random makes weights of the same names and shapes.
--model-file also writes the network as a halotile model file whose layers bear the same names, so that no
`weights.rename` is needed.

Needs torch, torchvision, safetensors, pyyaml.
"""

from __future__ import annotations

import argparse
import sys
import urllib.error
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from halotile_tools.model_file import write_model

MODELS = ("alexnet", "vgg11", "vgg13", "vgg16", "vgg19")
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def size2(value: Any) -> Any:
    """A torch size of one or two integers as a model file has it."""
    if isinstance(value, (tuple, list)):
        return value[0] if value[0] == value[1] else list(value)
    return value


def describe_layer(name: str, module: nn.Module) -> dict[str, Any]:
    """The model file's entry of a torch module. ValueError for a module that halotile has no layer for."""
    layer: dict[str, Any]
    if isinstance(module, nn.Conv2d) and module.padding_mode == "zeros" and not isinstance(module.padding, str):
        layer = {"type": "conv", "name": name, "out_channels": module.out_channels, "kernel": size2(module.kernel_size)}
        defaults: dict[str, Any] = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
        values = {key: size2(getattr(module, key)) for key in defaults}
        layer |= {key: value for key, value in values.items() if value != defaults[key]}
        return layer if module.bias is not None else layer | {"bias": False}
    if isinstance(module, nn.MaxPool2d):
        layer = {"type": "max_pool", "name": name, "kernel": size2(module.kernel_size), "stride": size2(module.stride)}
        defaults = {"padding": 0, "dilation": 1, "ceil_mode": False}
        values = {key: size2(getattr(module, key)) for key in defaults}
        return layer | {key: value for key, value in values.items() if value != defaults[key]}
    if isinstance(module, nn.AdaptiveAvgPool2d):
        output: Any = module.output_size
        return {"type": "adaptive_avg_pool", "name": name, "output": size2(output)}
    if isinstance(module, nn.Linear):
        layer = {"type": "fully_connected", "name": name, "out_features": module.out_features}
        return layer if module.bias is not None else layer | {"bias": False}
    if isinstance(module, nn.ReLU):
        return {"type": "relu"}
    if isinstance(module, nn.Dropout):
        return {"type": "dropout", "p": module.p}
    raise ValueError(f"{name} is a {type(module).__name__}, which halotile has no layer for")


def describe(name: str, network: Any, size: int) -> dict[str, Any]:
    """torchvision's features, avgpool, flatten, classifier as a model file for size x size images."""
    layers = [describe_layer(f"features.{key}", module) for key, module in network.features.named_children()]
    layers.append(describe_layer("avgpool", network.avgpool))
    layers.append({"type": "flatten"})
    layers += [describe_layer(f"classifier.{key}", module) for key, module in network.classifier.named_children()]
    return {"name": name, "input": {"channels": 3, "height": size, "width": size}, "layers": layers}


def make_network(name: str, seed: int | None, checkpoint: Path | None) -> nn.Module:
    """The torchvision network with weights of the seed, of the file, or trained ones."""
    if seed is not None:
        torch.manual_seed(seed)
        return models.get_model(name).eval()
    if checkpoint is not None:
        with torch.device("meta"):
            network = models.get_model(name)
        network.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True), assign=True)
        return network.eval()
    return models.get_model(name, weights="DEFAULT").eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=MODELS, help="which network")
    parser.add_argument("output", type=Path, help="the .safetensors file to write")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--random", type=int, metavar="SEED", help="random weights (torchvision's initialization)")
    source.add_argument("--checkpoint", type=Path, metavar="FILE.pth", help="a state dict fetched elsewhere")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="element type to write")
    parser.add_argument("--model-file", type=Path, metavar="FILE.yaml", help="also write a halotile model file")
    args = parser.parse_args()
    try:
        network = make_network(args.network, args.random, args.checkpoint)
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        sys.exit(
            f"export_torchvision.py: cannot get weights for {args.network}: {error}; fetch the .pth file elsewhere "
            "and pass it with --checkpoint, or take --random SEED"
        )
    tensors = {name: value.to(DTYPES[args.dtype]).contiguous() for name, value in network.state_dict().items()}
    origin = f"random, seed {args.random}" if args.random is not None else str(args.checkpoint or "torchvision DEFAULT")
    save_file(tensors, args.output, metadata={"model": args.network, "weights": origin})
    print(f"{args.output}: {len(tensors)} tensors, {args.output.stat().st_size} bytes ({origin})")
    if args.model_file:
        write_model(args.model_file, describe(args.network, network, 224), f"torchvision's {args.network}")
        print(f"{args.model_file}: model file")
