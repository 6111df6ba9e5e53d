"""What the GPU at hand can do at most, and what a network asks for: the least time of a work.

A work's limit is the larger of its multiplications at the measured rate of matrix products and its bytes at the
measured bandwidth.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from halotile_tools.model_file import shapes, weight_shape
from halotile_tools.peers import gpu_networks as gpu

BYTES = {"fp32": 4, "tf32": 4, "bf16": 2, "fp16": 2}


@dataclass(frozen=True)
class Cost:
    """What a forward pass asks for: floating-point operations, and elements of weights, input and output."""

    flops: float
    weights: int
    inputs: int
    outputs: int


def cost(model: dict[str, Any], batch: int, extent: tuple[int, int]) -> Cost:
    """The cost of a network on a batch of images of this height and width."""
    sizes = shapes(model, extent)
    multiplications = weights = 0
    for layer, before, after in zip(model["layers"], sizes[:-1], sizes[1:], strict=True):
        shape = weight_shape(layer, before)
        if shape:
            multiplications += math.prod(shape) * after[1] * after[2]
            weights += math.prod(shape) + (shape[0] if layer.get("bias", True) else 0)
    return Cost(2.0 * batch * multiplications, weights, batch * math.prod(sizes[0]), batch * math.prod(sizes[-1]))


def seconds_of(work: Callable[[], Any], runs: int = 10) -> float:
    """The least time of one of several runs."""
    device = torch.cuda.is_available()
    best = float("inf")
    for _ in range(runs + 2):
        if device:
            torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        if device:
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best


def product_rate(precision: str, edge: int, device: str) -> float:
    """FLOP/s of a product of square matrices of random numbers."""
    gpu.set_precision(precision)
    a, b = (torch.randn(edge, edge, device=device, dtype=gpu.TYPES[precision]) for _ in range(2))
    return 2.0 * edge**3 / seconds_of(lambda: torch.mm(a, b), 20 if precision != "fp32" else 5)


def copy_rates(size: int, device: str) -> dict[str, float]:
    """byte/s of a copy of `size` bytes within the device, both directions counted, and of an eighth to it."""
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    memory = 2.0 * size / seconds_of(lambda: target.copy_(source))
    host = torch.zeros(size // 8, dtype=torch.uint8, pin_memory=device == "cuda")
    part = target[: size // 8]
    return {"memory": memory, "host_to_device": size / 8 / seconds_of(lambda: part.copy_(host, non_blocking=True))}


def measure_limits(device: str) -> dict[str, float]:
    """Rates of products and of copies on this device, in FLOP/s and byte/s."""
    edge, size = (8192, 4 << 30) if device == "cuda" else (512, 1 << 24)
    rates = {f"{p}_flops": product_rate(p, edge, device) for p in ("bf16", "tf32", "fp32")}
    rates |= copy_rates(size, device)
    if device == "cuda":
        torch.cuda.empty_cache()
    return rates


def limit_of(
    rates: dict[str, float], precision: str, asked: Cost, maps: bool = False, host_bytes: int = 0
) -> dict[str, Any]:
    """The least time of a work. `maps`: its input and output count too; `host_bytes` are copied to the device."""
    rate = rates["bf16_flops" if precision == "fp16" else f"{precision}_flops"]
    if precision == "fp32":
        rate = max(rate, rates["tf32_flops"] / 3)  # a product in three of TF32
    moved = BYTES[precision] * (asked.weights + (asked.inputs + asked.outputs if maps else 0))
    ms = {
        "arithmetic_ms": 1e3 * asked.flops / rate,
        "memory_ms": 1e3 * moved / rates["memory"],
        "host_copy_ms": 1e3 * host_bytes / rates["host_to_device"],
    }
    return {"limit_ms": max(ms.values()), "flops": asked.flops, "bytes": moved, **ms}
