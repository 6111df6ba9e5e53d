"""PyTorch's contestants: a network on the device, fed from host memory, or with its convolutions in tiles."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from halotile_tools.common import median
from halotile_tools.peers import gpu_networks as gpu
from halotile_tools.peers.gpu_race import Contestant, Prepared, Timing, plan_turn

# ImageNet's, of red, green, blue: what halotile's preprocessing has when a config says nothing.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def free_memory() -> None:
    """Forgets what compilers and allocators keep."""
    torch._dynamo.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def peak_over(forward: gpu.Forward, before: int) -> int:
    """Device memory at its peak in a forward pass, over what was in use `before`."""
    if not torch.cuda.is_available():
        return 0
    gc.collect()
    torch.cuda.reset_peak_memory_stats()
    forward()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def in_use() -> int:
    return torch.cuda.memory_allocated() if torch.cuda.is_available() else 0


class TorchContestant(Contestant):
    """Something of PyTorch's that computes outputs of a fixed input when called."""

    def __init__(self, name: str, heat: str, precision: str, make: Callable[[], tuple[gpu.Forward, Any]]) -> None:
        self.name, self.heat, self.precision = name, heat, precision
        self.make = make  # the forward pass, and how to run it alone (without a graph) to see its memory, or None
        self.forward: gpu.Forward | None = None

    def prepare(self) -> Prepared:
        gpu.set_precision(self.precision)
        before = in_use()
        self.forward, alone = self.make()
        facts: dict[str, Any] = {}
        outputs = self.forward().float().cpu().numpy()
        if alone is not None:
            facts["device_bytes"] = peak_over(alone, before)
        return Prepared(outputs, median(gpu.timed(self.forward, 3, 10, 0.3)), facts)

    def turn(self) -> Timing:
        assert self.forward is not None
        probe = median(gpu.timed(self.forward, 1, 3, 0.1))
        return {"samples_ms": gpu.timed(self.forward, *plan_turn(probe), 1.0)}

    def close(self) -> None:
        self.forward = None
        free_memory()


def resident(network: nn.Module, images: torch.Tensor, precision: str, variant: str) -> TorchContestant:
    """The network in one of gpu.VARIANTS or PEER_VARIANTS, on images that lie on the device.

    The contestant has its own copies of weights and input, so what it takes of the device's memory is whole.
    """

    def make() -> tuple[gpu.Forward, Any]:
        kind = gpu.TYPES[precision]
        return gpu.variant_and_pass(copy.deepcopy(network).to(kind), images.to(kind, copy=True), variant)

    return TorchContestant(f"PyTorch {variant}", "peer", precision, make)


def tiles(network: nn.Module, images: torch.Tensor, precision: str, variant: str, grid: int) -> TorchContestant:
    """Every convolution cut in grid x grid tiles with halos, on 4 streams."""

    def make() -> tuple[gpu.Forward, Any]:
        kind = gpu.TYPES[precision]
        how, _, layout = variant.partition(" ")
        order = torch.channels_last if layout else torch.contiguous_format
        mine = copy.deepcopy(network).to(kind).to(memory_format=order)
        cut = gpu.patched(mine, (grid, grid), 4 if images.is_cuda else 0)
        return gpu.variant(cut, images.to(kind).contiguous(memory_format=order), how), None

    heat = "tiles graph" if variant.startswith("graph") else "tiles"
    return TorchContestant(f"PyTorch {variant} tiles {grid}x{grid}", heat, precision, make)


class FromHost(nn.Module):
    """Images as they come from the host, floats or 8-bit pixels (N, H, W, C), through a network of another type."""

    def __init__(self, network: nn.Module, kind: torch.dtype) -> None:
        super().__init__()
        self.network = network
        self.kind = kind
        scale = [1 / (255 * s) for s in STD]
        shift = [-m / s for m, s in zip(MEAN, STD, strict=True)]
        self.register_buffer("scale", torch.tensor(scale).view(1, 3, 1, 1))
        self.register_buffer("shift", torch.tensor(shift).view(1, 3, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = images.permute(0, 3, 1, 2)  # a view in channels_last
        if images.dtype == torch.uint8:
            x = x.float() * self.scale + self.shift
        return self.network(x.to(self.kind))[0]


class HostPipeline:
    """Copies chunks of pinned images on one stream while another computes the chunk before."""

    def __init__(self, model: nn.Module, host: torch.Tensor, chunks: int, compiled: bool) -> None:
        self.host = host.chunk(chunks)
        self.copies = torch.cuda.Stream()
        count = min(chunks, 2)
        run: Any = torch.compile(model, dynamic=False) if compiled else model
        self.staging = [torch.empty_like(self.host[0], device="cuda") for _ in range(count)]
        self.graphs = [gpu.captured(lambda images=images: self.inferred(run, images)) for images in self.staging]
        self.copied = [torch.cuda.Event() for _ in range(count)]
        self.computed = [torch.cuda.Event() for _ in range(count)]
        self.logits = torch.cat([self.graphs[0]() for _ in self.host])

    @staticmethod
    def inferred(run: Any, images: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return run(images)

    def __call__(self) -> torch.Tensor:
        main = torch.cuda.current_stream()
        self.copies.wait_stream(main)
        rows = 0
        for number, images in enumerate(self.host):
            place = number % len(self.staging)
            with torch.cuda.stream(self.copies):
                if number >= len(self.staging):
                    self.copies.wait_event(self.computed[place])
                self.staging[place].copy_(images, non_blocking=True)
                self.copied[place].record(self.copies)
            main.wait_event(self.copied[place])
            logits = self.graphs[place]()
            with torch.inference_mode():
                self.logits[rows : rows + len(logits)].copy_(logits)
            self.computed[place].record(main)
            rows += len(logits)
        return self.logits


def from_host(
    network: nn.Module, pixels: np.ndarray, batch: int, what: str, chunks: int, compiled: bool
) -> TorchContestant:
    """The network in bf16 on a batch of pinned host images, `pixels` (N, H, W, C) over and over.

    `what` is "float" (normalized on the host, beforehand) or "uint8".
    """

    def make() -> tuple[gpu.Forward, Any]:
        kind = torch.bfloat16
        images = torch.from_numpy(normalized(pixels) if what == "float" else pixels)
        images = images[torch.arange(batch) % len(images)]
        mine = copy.deepcopy(network).to(kind).to(memory_format=torch.channels_last)
        model = FromHost(mine, kind).to(next(network.parameters()).device).eval()
        if not next(network.parameters()).is_cuda:  # to try the script
            return lambda: HostPipeline.inferred(model, images), None
        return HostPipeline(model, images.pin_memory(), chunks, compiled), None

    how = f"{chunks} chunks" if chunks > 1 else "one copy"
    name = f"PyTorch pinned {what}, {how}{', compiled' if compiled else ''}"
    return TorchContestant(name, f"pinned {what}", "bf16", make)


def normalized(pixels: np.ndarray) -> np.ndarray:
    """8-bit pixels (N, H, W, C) as the floats that networks take, in the same order."""
    values = pixels.astype(np.float32) / np.float32(255)
    return (values - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
