"""Makes the golden cases of tests/golden/: small networks, weights and inputs, and PyTorch's outputs in float64.

    make_golden.py                        writes tests/golden/{manifest.json, <case>.*, weights/}
    make_golden.py --torchvision DIR      writes torchvision's AlexNet (random weights) as such a case into DIR
    make_golden.py --torchvision DIR --network vgg16 --size 160

Each case is <case>.yaml (model file), <case>.safetensors or <case>.npz (float32 weights), <case>.input.npy (float32,
N,C,H,W) and <case>.outputs.npz: the float64 output of every layer that computes something, under the layer's name.
manifest.json lists the cases; it is also printed. All numbers follow from --seed.

The files in weights/ hold known values in every type, for the readers' own tests: element i of each array is
((37 i) mod 101 - 50) / 8.

Needs numpy, torch, safetensors, pyyaml (and torchvision for --torchvision).
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from halotile_tools.model_file import write_model
from halotile_tools.torch import Network

GOLDEN = Path(__file__).resolve().parent
SILENT = ("flatten", "dropout")  # layers that change no element
Layers = list[dict[str, Any]]


def conv(out_channels: int, kernel: Any, **more: Any) -> dict[str, Any]:
    return {"type": "conv", "out_channels": out_channels, "kernel": kernel, **more}


def max_pool(kernel: Any, stride: Any, **more: Any) -> dict[str, Any]:
    return {"type": "max_pool", "kernel": kernel, "stride": stride, **more}


def avg_pool(kernel: Any, stride: Any, **more: Any) -> dict[str, Any]:
    return {"type": "avg_pool", "kernel": kernel, "stride": stride, **more}


def adaptive(output: Any) -> dict[str, Any]:
    return {"type": "adaptive_avg_pool", "output": output}


def lrn(size: int, alpha: float, beta: float, k: float) -> dict[str, Any]:
    return {"type": "lrn", "size": size, "alpha": alpha, "beta": beta, "k": k}


def fully_connected(out_features: int, **more: Any) -> dict[str, Any]:
    return {"type": "fully_connected", "out_features": out_features, **more}


RELU: dict[str, Any] = {"type": "relu"}
FLATTEN: dict[str, Any] = {"type": "flatten"}

# Name, (channels, height, width), layers. Where several pools stand in one case they follow each other; the first
# layer of a pool case is the pool itself, so that it sees negative numbers.
CASES: list[tuple[str, tuple[int, int, int], Layers]] = [
    ("conv_same_3x3", (3, 13, 17), [conv(8, 3, padding=1), RELU, conv(5, 3, padding=1)]),
    ("conv_kernel_not_square", (4, 15, 14), [conv(6, [3, 5], padding=[1, 2]), conv(4, [1, 7]), conv(3, [4, 1])]),
    (
        "conv_stride_not_square",
        (3, 19, 16),
        [conv(6, [5, 3], stride=[3, 2], padding=[2, 0]), RELU, conv(4, 2, stride=[1, 3])],
    ),
    (
        "conv_dilation",
        (4, 21, 18),
        [conv(6, 3, dilation=[2, 3], padding=[2, 3]), RELU, conv(4, [2, 3], dilation=[4, 1], stride=2)],
    ),
    (
        "conv_groups",
        (6, 12, 11),
        [conv(8, 3, padding=1, groups=2), RELU, conv(12, [3, 2], groups=4), conv(6, 1, groups=3)],
    ),
    (
        "conv_depthwise",
        (5, 14, 13),
        [conv(5, 5, padding=2, groups=5), RELU, conv(10, 3, stride=2, groups=5), conv(4, 1)],
    ),
    ("conv_no_bias", (3, 10, 12), [conv(7, 3, bias=False), RELU, conv(5, 2, padding=1, bias=False)]),
    ("conv_pointwise_stride", (9, 11, 13), [conv(17, 1, stride=2), RELU, conv(3, 1, stride=[3, 1])]),
    ("conv_stride_over_kernel", (3, 23, 20), [conv(6, 2, stride=3), conv(4, [1, 2], stride=[3, 4], padding=[0, 1])]),
    ("conv_kernel_over_map", (3, 4, 6), [conv(5, [7, 9], padding=[3, 4]), RELU, conv(4, 5, padding=4)]),
    ("conv_padding_over_kernel", (2, 6, 5), [conv(4, 3, padding=[4, 5]), RELU, conv(3, 1, padding=2)]),
    (
        "conv_alexnet_first",
        (3, 39, 43),
        [conv(8, 11, stride=4, padding=2), RELU, max_pool(3, 2), conv(6, 5, padding=2)],
    ),
    ("conv_one_row", (3, 1, 19), [conv(4, [1, 5], padding=[0, 2]), RELU, conv(4, 3, padding=1)]),
    ("conv_to_one_element", (4, 7, 5), [conv(9, [7, 5]), RELU, conv(3, 1)]),
    ("max_pool_overlapping", (5, 15, 13), [max_pool(3, 2), max_pool(3, 2, padding=1), max_pool(2, 1)]),
    (
        "max_pool_ceil",
        (4, 16, 14),
        [max_pool(3, 2, ceil_mode=True), max_pool(2, 2, ceil_mode=True), max_pool(3, 3, padding=1, ceil_mode=True)],
    ),
    (
        "max_pool_ceil_padding",
        (3, 17, 12),
        [max_pool([3, 4], [3, 3], padding=[1, 2], ceil_mode=True), max_pool(2, 3, padding=1, ceil_mode=True)],
    ),
    ("max_pool_dilation", (3, 18, 15), [max_pool(3, 1, dilation=2, padding=1), max_pool([2, 3], 2, dilation=[3, 2])]),
    ("max_pool_not_square", (6, 13, 16), [max_pool([2, 5], [1, 3], padding=[1, 2]), max_pool([3, 1], [2, 4])]),
    ("avg_pool_counted", (4, 13, 15), [avg_pool(3, 2, padding=1), avg_pool([2, 3], [1, 2], padding=[1, 1])]),
    (
        "avg_pool_not_counted",
        (4, 13, 15),
        [
            avg_pool(3, 2, padding=1, count_include_pad=False),
            avg_pool([3, 4], 2, padding=[1, 2], count_include_pad=False),
        ],
    ),
    (
        "avg_pool_ceil_counted",
        (3, 14, 16),
        [
            avg_pool(3, 2, padding=1, ceil_mode=True),
            avg_pool(3, 2, ceil_mode=True),
            avg_pool(2, 3, padding=1, ceil_mode=True),
        ],
    ),
    (
        "avg_pool_ceil_not_counted",
        (3, 14, 16),
        [
            avg_pool(3, 2, padding=1, ceil_mode=True, count_include_pad=False),
            avg_pool(4, 3, padding=2, ceil_mode=True, count_include_pad=False),
        ],
    ),
    ("adaptive_not_dividing", (5, 13, 17), [adaptive([6, 5]), adaptive([4, 3])]),
    ("adaptive_larger_output", (3, 3, 4), [adaptive([7, 6]), adaptive(5)]),
    ("adaptive_global", (9, 11, 7), [conv(10, 3), RELU, adaptive(1), FLATTEN, fully_connected(4)]),
    ("lrn_size_1", (3, 6, 7), [lrn(1, 0.9, 0.75, 1.0)]),
    ("lrn_size_2", (6, 5, 7), [lrn(2, 1.1, 0.75, 2.0)]),
    ("lrn_size_3", (7, 6, 5), [lrn(3, 0.7, 1.0, 1.0), lrn(3, 2.0, 0.25, 0.5)]),
    ("lrn_size_4", (8, 5, 6), [lrn(4, 1.3, 0.5, 1.5)]),
    ("lrn_size_5", (16, 7, 6), [lrn(5, 1e-4, 0.75, 2.0), lrn(5, 3.0, 0.6, 1.0)]),
    ("lrn_size_over_channels", (4, 6, 6), [lrn(9, 1.5, 0.75, 1.0), lrn(8, 1.5, 1.75, 1.0)]),
    (
        "fully_connected",
        (3, 5, 7),
        [fully_connected(33), RELU, fully_connected(17, bias=False), fully_connected(5), {"type": "softmax"}],
    ),
    ("fully_connected_one", (1, 1, 1), [fully_connected(1)]),
    ("flatten_order", (7, 4, 3), [conv(5, 2), FLATTEN, fully_connected(9)]),
    (
        "small_alexnet",
        (3, 67, 67),
        [
            conv(12, 11, stride=4),
            RELU,
            lrn(5, 1e-4, 0.75, 2.0),
            max_pool(3, 2),
            conv(16, 5, padding=2, groups=2),
            RELU,
            lrn(5, 1e-4, 0.75, 2.0),
            max_pool(3, 2),
            conv(18, 3, padding=1),
            RELU,
            conv(18, 3, padding=1, groups=2),
            RELU,
            conv(12, 3, padding=1, groups=2),
            RELU,
            max_pool(3, 2, padding=1),
            FLATTEN,
            {"type": "dropout", "p": 0.5},
            fully_connected(24),
            RELU,
            {"type": "dropout", "p": 0.5},
            fully_connected(10),
            {"type": "softmax"},
        ],
    ),
    (
        "small_vgg",
        (3, 24, 20),
        [
            conv(6, 3, padding=1),
            RELU,
            conv(6, 3, padding=1),
            RELU,
            max_pool(2, 2),
            conv(10, 3, padding=1),
            RELU,
            conv(10, 3, padding=1),
            RELU,
            max_pool(2, 2),
            adaptive([4, 3]),
            FLATTEN,
            fully_connected(20),
            RELU,
            fully_connected(7),
        ],
    ),
    # With ceil_mode one window may be larger than the padded map.
    (
        "max_pool_ceil_over_map",
        (3, 2, 5),
        [max_pool(3, 2, ceil_mode=True), max_pool([2, 4], [2, 3], ceil_mode=True)],
    ),
    (
        "max_pool_ceil_over_padded_map",
        (4, 3, 2),
        [max_pool([7, 8], [4, 5], padding=[1, 2], ceil_mode=True), max_pool(2, 4, dilation=3, ceil_mode=True)],
    ),
    (
        "avg_pool_ceil_over_map",
        (3, 7, 5),
        [
            avg_pool([9, 4], [3, 2], ceil_mode=True),
            avg_pool(5, 3, padding=1, ceil_mode=True),
            avg_pool(1280, 1280, ceil_mode=True),
        ],
    ),
    (
        "avg_pool_ceil_over_map_not_counted",
        (3, 7, 5),
        [
            avg_pool([9, 4], [3, 2], ceil_mode=True, count_include_pad=False),
            avg_pool(5, 3, padding=1, ceil_mode=True, count_include_pad=False),
        ],
    ),
]


def random_layers(draw: np.random.Generator, shape: tuple[int, int, int]) -> Layers:
    """Three to six layers with windows drawn at random, each leaving a map."""
    layers: Layers = []
    channels, size = shape[0], np.array(shape[1:])

    def numbers(low: int, high: Any) -> list[int]:
        return [int(draw.integers(low, int(top) + 1)) for top in np.broadcast_to(high, 2)]

    for _ in range(int(draw.integers(3, 7))):
        kind = draw.choice(["conv", "conv", "conv", "max_pool", "avg_pool", "lrn", "relu"])
        kernel = numbers(1, np.minimum(5, size))
        stride = numbers(1, 3)
        if kind == "conv":
            groups = int(draw.choice([g for g in (1, 2, 3, 4, 6) if channels % g == 0]))
            dilation = [int(draw.integers(1, 4)) if (k - 1) * 3 < s else 1 for k, s in zip(kernel, size, strict=True)]
            padding = numbers(0, 3)
            layer = conv(groups * int(draw.integers(1, 4)), kernel, groups=groups, bias=bool(draw.integers(2)))
            layer |= {"stride": stride, "padding": padding, "dilation": dilation}
        elif kind == "relu":
            layer = dict(RELU)
        elif kind == "lrn":
            layer = lrn(int(draw.integers(1, 7)), round(float(draw.uniform(0.01, 2)), 3), 0.75, 1.0)
        else:
            layer = {"type": str(kind), "kernel": kernel, "stride": stride, "ceil_mode": bool(draw.integers(2))}
            layer["padding"] = [int(draw.integers(0, k // 2 + 1)) for k in kernel]
            if kind == "avg_pool":
                layer["count_include_pad"] = bool(draw.integers(2))
        model = {"input": dict(zip(("channels", "height", "width"), (channels, *map(int, size)), strict=True))}
        with torch.no_grad():
            out = Network(model | {"layers": [layer]})(torch.zeros(1, channels, *map(int, size)))
        if out.numel() > 6000:
            continue
        layers.append(layer)
        channels, size = out.shape[1], np.array(out.shape[2:])
    if draw.integers(2):
        layers += [FLATTEN, fully_connected(int(draw.integers(1, 12)))]
    return layers


def randomize(network: Network, generator: torch.Generator) -> None:
    """Normal weights that keep a map's magnitude, and biases of half that magnitude: all exact in float32."""
    for parameter in network.parameters():
        scale = 0.5 if parameter.dim() == 1 else (1.5 / parameter[0].numel()) ** 0.5
        parameter.data = (torch.randn(parameter.shape, generator=generator) * scale).to(parameter.dtype)


def numpy_arrays(tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    return {name: value.numpy() for name, value in tensors.items()}


@dataclass
class Case:
    """A network with weights, an input, and what comes of it."""

    name: str
    model: dict[str, Any]
    weights: dict[str, torch.Tensor]
    x: torch.Tensor
    outputs: dict[str, torch.Tensor]  # float64, of every layer that computes something

    def lively(self) -> bool:
        """Whether no layer's output is all zero, which would test little."""
        return all(bool(output.any()) for output in self.outputs.values())

    def write(self, folder: Path, npz: bool = False) -> dict[str, str]:
        """Writes the files and returns the case's part of the manifest."""
        entry = {"name": self.name, "model": f"{self.name}.yaml"}
        entry["weights"] = f"{self.name}.{'npz' if npz else 'safetensors'}"
        entry |= {"input": f"{self.name}.input.npy", "outputs": f"{self.name}.outputs.npz"}
        write_model(folder / entry["model"], self.model)
        if npz:
            np.savez_compressed(folder / entry["weights"], **numpy_arrays(self.weights))
        else:
            save_file(self.weights, folder / entry["weights"])
        np.save(folder / entry["input"], self.x.numpy())
        np.savez_compressed(folder / entry["outputs"], **numpy_arrays(self.outputs))
        return entry


def make_case(name: str, shape: tuple[int, int, int], layers: Layers, seed: int) -> Case:
    """Draws weights and input, and computes in float64."""
    generator = torch.Generator().manual_seed(seed)
    model = {"name": name, "input": dict(zip(("channels", "height", "width"), shape, strict=True)), "layers": layers}
    network = Network(model).eval()
    randomize(network, generator)
    weights = network.weights()
    x = torch.randn((2, *shape), generator=generator)
    with torch.no_grad():
        results = network.double().outputs(x.double())
    kinds = dict(zip(network.names, (layer["type"] for layer in layers), strict=True))
    outputs = {key: value for key, value in results.items() if kinds[key] not in SILENT}
    return Case(name, model, weights, x, outputs)


def random_case(name: str, draw: np.random.Generator, seed: int) -> Case:
    """A network over random windows, drawn until it is lively."""
    while True:
        shape = (int(draw.integers(1, 9)), int(draw.integers(8, 22)), int(draw.integers(8, 22)))
        case = make_case(name, shape, random_layers(draw, shape), seed)
        if case.lively():
            return case


def write_weight_files(folder: Path) -> None:
    """Arrays of known values, as the Python packages write them."""
    folder.mkdir(parents=True, exist_ok=True)

    def known(*shape: int) -> np.ndarray:
        count = int(np.prod(shape))
        return ((np.arange(count) * 37 % 101 - 50) / 8).reshape(shape)

    tensors = {
        "f32.weight": torch.from_numpy(known(2, 3, 5, 7)).float(),
        "f16": torch.from_numpy(known(101)).half(),
        "bf16": torch.from_numpy(known(101)).bfloat16(),
        "f64": torch.from_numpy(known(3, 3)),
        "scalar": torch.tensor(float(known(1)[0])),
        "empty": torch.zeros(0, 4),
        "i64": torch.arange(5),
        "bool": torch.ones(3, dtype=torch.bool),
    }
    save_file(tensors, folder / "types.safetensors", metadata={"made_by": "make_golden.py", "note": "known values"})
    arrays: dict[str, Any] = {
        "conv1.weight": known(4, 3, 5, 2).astype(np.float32),
        "conv1.bias": known(4).astype(np.float16),
        "fortran": np.asfortranarray(known(3, 4, 5)),
        "scalar": np.float32(known(1)[0]),
        "empty": np.zeros((0, 4), np.float32),
        "zeros": np.zeros((100, 1000), np.float32),
        "words": np.array(["a", "bc"]),
    }
    np.savez(folder / "stored.npz", **{key: value for key, value in arrays.items() if key != "zeros"})
    np.savez_compressed(folder / "deflated.npz", **arrays)


def torchvision_case(name: str, size: int, seed: int) -> Case:
    """A whole torchvision network with random weights, computed by torchvision's own module in float64."""
    from halotile_tools.export_torchvision import describe, make_network

    network = make_network(name, seed, None)
    model = describe(name, network, size)
    weights = {key: value.detach().clone() for key, value in network.state_dict().items()}
    x = torch.randn((2, 3, size, size), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        logits = network.double()(x.double())
    return Case(name, model, weights, x, {model["layers"][-1]["name"]: logits})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=GOLDEN, help="folder of the small cases")
    parser.add_argument("--random-cases", type=int, default=24, help="how many networks to draw at random")
    parser.add_argument("--seed", type=int, default=5, help="of windows, weights and inputs")
    parser.add_argument("--torchvision", type=Path, metavar="DIR", help="write a torchvision network there instead")
    parser.add_argument("--network", default="alexnet", help="which, for --torchvision: alexnet, vgg11 ... vgg19")
    parser.add_argument("--size", type=int, default=224, help="height and width of its input")
    args = parser.parse_args()

    folder: Path = args.torchvision or args.output
    folder.mkdir(parents=True, exist_ok=True)
    if args.torchvision:
        entries = [torchvision_case(args.network, args.size, args.seed).write(folder)]
    else:
        draw = np.random.default_rng(args.seed)
        cases = [make_case(*case, args.seed + place) for place, case in enumerate(CASES)]
        cases += [random_case(f"random_{i:02d}", draw, args.seed + 1000 + i) for i in range(args.random_cases)]
        entries = [case.write(folder, npz=place % 4 == 0) for place, case in enumerate(cases)]
        write_weight_files(folder / "weights")
    manifest = json.dumps({"cases": entries}, indent=1)
    (folder / "manifest.json").write_text(manifest + "\n", encoding="utf-8")
    print(manifest)


if __name__ == "__main__":
    main()
