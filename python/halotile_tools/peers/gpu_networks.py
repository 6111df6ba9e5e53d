"""Ways of running a network in PyTorch on one device: eager, in a CUDA graph, compiled, and cut into patches."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

Forward = Callable[[], torch.Tensor]  # computes the logits of a fixed input

VARIANTS = (
    "eager",
    "eager channels_last",
    "graph",
    "graph channels_last",
    "compile",
    "compile channels_last",
)
# In a comparison of reduced precisions; the last is compiled and captured in a graph.
PEER_VARIANTS = ("eager", "eager channels_last", "graph channels_last", "compile+graph channels_last")
TYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def set_precision(precision: str) -> None:
    """What float32 may become inside products; cuDNN may try its algorithms."""
    tf32 = precision != "fp32"
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = True


def plain_fp32() -> None:
    """No TF32 anywhere."""
    set_precision("fp32")


def captured(forward: Forward) -> Forward:
    """The same work replayed from a CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            forward()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        logits = forward()

    def replay(_keep: Forward = forward) -> torch.Tensor:  # the graph reads the weights and the input it was made of
        graph.replay()
        return logits

    return replay


def variant_and_pass(network: nn.Module, x: torch.Tensor, name: str) -> tuple[Forward, Forward]:
    """The network in one of VARIANTS or PEER_VARIANTS, on the device of `x`; and the same without the graph."""
    how, _, layout = name.partition(" ")
    run: Any = network
    if layout:
        x = x.contiguous(memory_format=torch.channels_last)
        run = copy.deepcopy(network).to(memory_format=torch.channels_last)
    if how.startswith("compile"):
        run = torch.compile(run)

    def forward() -> torch.Tensor:
        with torch.inference_mode():
            return run(x)[0]

    return (captured(forward) if how.endswith("graph") and x.is_cuda else forward), forward


def variant(network: nn.Module, x: torch.Tensor, name: str) -> Forward:
    """The network in one of VARIANTS or PEER_VARIANTS, on the device of `x`."""
    return variant_and_pass(network, x, name)[0]


def cut(length: int, parts: int) -> list[tuple[int, int]]:
    """`length` positions in `parts` stretches of nearly the same size."""
    edges = [length * i // parts for i in range(parts + 1)]
    return list(zip(edges[:-1], edges[1:], strict=True))


class PatchedConv(nn.Module):
    """A convolution computed in a grid of tiles, each with its halo, on streams of its own."""

    def __init__(self, conv: nn.Conv2d, grid: tuple[int, int], streams: list[Any]) -> None:
        super().__init__()
        self.conv = conv
        self.grid = grid
        self.streams = streams

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        conv = self.conv
        (kh, kw), (sh, sw), (ph, pw), (dh, dw) = conv.kernel_size, conv.stride, conv.padding, conv.dilation
        padded = functional.pad(x, (pw, pw, ph, ph)) if ph or pw else x
        height = (padded.shape[2] - dh * (kh - 1) - 1) // sh + 1
        width = (padded.shape[3] - dw * (kw - 1) - 1) // sw + 1
        out = x.new_empty((x.shape[0], conv.out_channels, height, width))
        tiles = [(r, c) for r in cut(height, self.grid[0]) for c in cut(width, self.grid[1])]
        main = torch.cuda.current_stream() if self.streams else None
        for number, ((r0, r1), (c0, c1)) in enumerate(tiles):
            stream = self.streams[number % len(self.streams)] if self.streams else None
            if stream is not None:
                stream.wait_stream(main)
            with torch.cuda.stream(stream) if stream is not None else contextlib.nullcontext():
                rows = slice(r0 * sh, (r1 - 1) * sh + dh * (kh - 1) + 1)
                columns = slice(c0 * sw, (c1 - 1) * sw + dw * (kw - 1) + 1)
                out[:, :, r0:r1, c0:c1] = functional.conv2d(
                    padded[:, :, rows, columns],
                    conv.weight,
                    conv.bias,
                    conv.stride,
                    dilation=conv.dilation,
                    groups=conv.groups,
                )
        for stream in self.streams:
            main.wait_stream(stream)
            out.record_stream(stream)
            padded.record_stream(stream)
        return out


def patched(network: nn.Module, grid: tuple[int, int], streams: int) -> nn.Module:
    """The network with every convolution patched; `streams` CUDA streams, 0 for none. Shares the weights."""
    made = [torch.cuda.Stream() for _ in range(streams)]
    layers = [PatchedConv(layer, grid, made) if isinstance(layer, nn.Conv2d) else layer for layer in network.body]

    class Patched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(*layers)
            self.head = network.head

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            logits = self.body(x)
            return logits, self.head(logits)

    return Patched().eval()


def synchronize(x: torch.Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize()


def timed(forward: Forward, warmup: int, runs: int, max_seconds: float) -> list[float]:
    """Milliseconds of runs, each waited for, as `halotile run` times its own."""
    for _ in range(warmup):
        synchronize(forward())
    samples: list[float] = []
    begin = time.perf_counter()
    while not samples or (len(samples) < runs and time.perf_counter() - begin < max_seconds):
        start = time.perf_counter()
        synchronize(forward())
        samples.append(1e3 * (time.perf_counter() - start))
    return samples
