"""What two builds are compared at: cases for the bits, works for time and memory. Every one has a name for --only."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from halotile_tools.builds.sides import Keys

NETWORKS = ("alexnet", "single_tower", "torchvision", "vgg16", "vit_patch_embed", "digits")
SHIPPED = (*NETWORKS, "alexnet_batch1", "alexnet_batch32", "single_tower_batch1", "single_tower_batch32", "large_image")

Arithmetic = tuple[str, str]  # engine, precision
CPU: tuple[Arithmetic, ...] = (("reference", "fp32"), ("onednn", "fp32"), ("onednn", "bf16"))
CUDA: tuple[Arithmetic, ...] = (
    ("direct", "fp32"),
    *(("tensor_core", precision) for precision in ("bf16", "fp16", "tf32", "fp32")),
    *(("cudnn", precision) for precision in ("bf16", "fp16", "tf32", "fp32")),
)

# How a network is cut. Sub-batches of 2 leave one image of 3 over.
PATCHES: dict[str, Keys] = {
    "whole": {"patch.size": "whole", "streams": 2, "sub_batch": 1},
    "per_conv": {"patch.grid": [3, 2], "streams": 2},
    "per_conv-packed": {"patch.grid": [3, 2], "patch.storage": "packed", "streams": 2, "sub_batch": 2},
    "fused": {"patch.grid": [3, 2], "patch.stages": "fused", "streams": 2},
    "fused-packed": {"patch.grid": [3, 2], "patch.stages": "fused", "patch.storage": "packed", "sub_batch": 2},
}
# Maps that are saved share no memory with others; these runs save logits alone, so that memory is shared as ever.
SHARED: dict[str, Keys] = {
    "whole-logits": {"patch.size": "whole"},
    "per_conv-logits": {"patch.size": [50, 37], "streams": 2},
}
# The naive engine would take VGG-16 minutes.
SMALL: dict[tuple[str, str], tuple[int, int]] = {("vgg16", "reference"): (96, 80)}


@dataclass(frozen=True)
class Case:
    """One config whose outputs must have the same bits in both builds."""

    name: str
    config: str
    keys: Keys
    images: int = 0  # of random values from a file, a batch or more; 0: the config's own input
    extent: tuple[int, int] | None = None  # of the images, if not the model's
    maps: bool = True  # saves the map at each stage's end beside the logits


@dataclass(frozen=True)
class Work:
    """One config that is timed; its outputs are compared first."""

    name: str
    config: str
    keys: Keys
    heavy: bool = False  # seconds a run: fewer rounds

    def case(self) -> Case:
        return Case(self.name, self.config, self.keys, maps=False)


def arithmetics(device: str) -> tuple[Arithmetic, ...]:
    return CUDA if device == "cuda" else CPU


def dispatches(device: str) -> tuple[str, ...]:
    return ("streams", "graph", "batched") if device == "cuda" else ("streams",)


def bit_cases(device: str, quick: bool = False) -> Iterator[Case]:
    """Every network, arithmetic, way of cutting and dispatch, then the configs as they are."""
    for network in ("alexnet", "digits") if quick else NETWORKS:
        for engine, precision in arithmetics(device):
            for dispatch in dispatches(device):
                for patch, keys in {**PATCHES, **SHARED}.items():
                    yield bit_case(device, network, engine, precision, dispatch, patch, keys)
    for config in SHIPPED:
        for precision in ("fp32", "bf16"):
            yield Case(
                f"bits/shipped/{config}-{precision}", f"{config}.yaml", {"device": device, "precision": precision}
            )


def bit_case(device: str, network: str, engine: str, precision: str, dispatch: str, patch: str, keys: Keys) -> Case:
    batch = 1 if engine == "reference" else 3
    words = {"device": device, "engine": engine, "precision": precision, "dispatch": dispatch, **keys}
    words["input.batch"] = batch
    if dispatch == "batched":
        words["streams"] = 1
    # On a GPU the last run of the first batch's measuring is one whose pieces are timed, and never a replay; the
    # batches that are passed over behind it are replayed, and their outputs saved.
    images = 2 * batch if device == "cuda" else batch
    name = f"bits/{network}/{engine}-{precision}/{dispatch}/{patch}"
    return Case(name, f"{network}.yaml", words, images, SMALL.get((network, engine)), maps=patch in PATCHES)


def works(device: str) -> Iterator[Work]:
    yield from cuda_works() if device == "cuda" else cpu_works()


def cpu_works() -> Iterator[Work]:
    """Both AlexNets in small and large batches, and one large image through the convolutional layers."""
    ways: dict[str, tuple[int, Keys]] = {
        "b1-whole": (1, {"patch.size": "whole", "streams": 1}),
        "b1-patched": (1, {}),  # the config's own: an upper and a lower half
        "b32-whole": (32, {}),
        "b32-patched": (32, {"patch.grid": [2, 2], "sub_batch": "all"}),
    }
    for network in ("alexnet", "single_tower"):
        for precision in ("fp32", "bf16"):
            for way, (batch, keys) in ways.items():
                words = {"device": "cpu", "precision": precision, **keys}
                yield Work(f"time/{network}-{precision}-{way}", f"{network}_batch{batch}.yaml", words)
    image: dict[str, Keys] = {
        "whole": {"patch.size": "whole", "streams": 1},
        "per_conv-4x4": {"patch.grid": [4, 4], "patch.stages": "per_conv"},
        "fused-4x4": {},
    }
    for precision in ("fp32", "bf16"):
        for way, keys in image.items():
            words = {"device": "cpu", "precision": precision, **keys}
            yield Work(f"time/4096-{precision}-{way}", "large_image.yaml", words, heavy=True)


def cuda_works() -> Iterator[Work]:
    """Both AlexNets from the device's memory at four batches, and their convolutional layers on one large image: the
    works and keys of gpu_peers.py."""
    resident: Keys = {"device": "cuda", "sub_batch": "all", "measure.input": "device", "measure.output": "device"}
    arithmetic = {"bf16": "tensor_core", "tf32": "tensor_core", "fp32": "direct"}
    for network in ("alexnet", "single_tower"):
        for precision, engine in arithmetic.items():
            for batch in (1, 32, 128, 1024):
                words = {
                    **resident,
                    "engine": engine,
                    "precision": precision,
                    "input.batch": batch,
                    "dispatch": "graph",
                }
                words["streams"] = 1
                heavy = precision == "fp32" and batch == 1024
                yield Work(f"time/{network}-{precision}-b{batch}", f"{network}_batch32.yaml", words, heavy)
        image = {"until": "pool5", "input.height": 8192, "input.width": 8192, "input.batch": 1}
        for precision in ("bf16", "tf32"):
            words = {**resident, **image, "engine": "tensor_core", "precision": precision}
            for way, keys in image_ways(precision):
                yield Work(f"time/{network}-{precision}-8192-{way}", f"{network}_batch32.yaml", {**words, **keys})


def image_ways(precision: str) -> Iterator[tuple[str, Keys]]:
    """The large image whole and in tiles, every dispatch in bf16; tiles on streams have four, as in gpu_peers.py."""
    yield "whole", {"dispatch": "graph", "streams": 1}
    for grid in (4, 8):
        for stages in ("per_conv", "fused"):
            for dispatch in ("batched", "graph", "streams") if precision == "bf16" else ("batched",):
                keys: Keys = {"patch.grid": [grid, grid], "patch.stages": stages, "dispatch": dispatch}
                yield f"{grid}x{grid}-{stages}-{dispatch}", {**keys, "streams": 1 if dispatch == "batched" else 4}


Named = TypeVar("Named", Case, Work)


def chosen(named: Iterable[Named], only: list[str]) -> list[Named]:
    """Those whose name fits one of the patterns; all without patterns."""
    return [n for n in named if not only or any(fnmatch.fnmatch(n.name, pattern) for pattern in only)]


def quick_works(named: Iterable[Work]) -> list[Work]:
    """One network in bf16, and of the large image the ways of a 4x4 grid."""
    left_out = ("single_tower", "-fp32-", "-tf32-", "8x8", "-b128", "-b1024")
    return [work for work in named if not any(part in work.name for part in left_out)]
