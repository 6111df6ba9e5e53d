"""The process that runs XLA's contestants: gpu_xla.py starts it and speaks to it in lines of JSON.

Requests: {"do": "prepare", ...} compiles a network for one input, saves the outputs and tells the compiler's count of
memory; {"do": "time", ...} times it; {"do": "drop"} forgets it. Every answer is a line that begins with MARK.
"""

from __future__ import annotations

import json
import os
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from halotile_tools.model_file import normalization, pair, read_model
from halotile_tools.peers.networks import plain_window
from halotile_tools.random import random_input, random_weights

MARK = "@@ "
TYPES = {"fp32": jnp.float32, "tf32": jnp.float32, "bf16": jnp.bfloat16, "fp16": jnp.float16}
Parameters = dict[str, Any]


@cache
def model_and_weights(path: str, until: str, seed: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    model = read_model(Path(path), until)
    return model, random_weights(model, seed)


@cache
def images(seed: int, shape: tuple[int, int, int, int]) -> np.ndarray:
    return random_input(seed, shape)


def place(weights: dict[str, np.ndarray], kind: Any) -> Parameters:
    """Weights on the device in the layouts of NHWC: convolutions (H, W, I, O), matrices (in, out)."""
    placed = {}
    for name, value in weights.items():
        array = jnp.asarray(value).astype(kind)
        if value.ndim == 4:
            array = array.transpose(2, 3, 1, 0)
        elif value.ndim == 2:
            array = array.transpose()
        placed[name] = array
    return placed


def window(layer: dict[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...], list[tuple[int, int]]]:
    """Kernel, stride and padding of a layer along height and width."""
    kernel, stride, padding, _, _ = plain_window(layer)
    return kernel, stride, [(p, p) for p in padding]


def normalize(x: jax.Array, layer: dict[str, Any]) -> jax.Array:
    """Local response normalization as PyTorch defines it."""
    size, alpha, beta, k = normalization(layer)
    pads = [(0, 0)] * 3 + [(size // 2, (size - 1) // 2)]
    sums = lax.reduce_window(x * x, jnp.zeros((), x.dtype), lax.add, (1, 1, 1, size), (1, 1, 1, 1), pads)
    scale = k + alpha / size * sums
    return x * scale ** jnp.asarray(-beta, x.dtype)


def flat(x: jax.Array) -> jax.Array:
    """A map (N, H, W, C) as vectors in PyTorch's order."""
    return x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1) if x.ndim == 4 else x


def apply(x: jax.Array, layer: dict[str, Any], parameters: Parameters, precision: Any) -> jax.Array:
    """One layer."""
    kind = layer["type"]
    if kind == "relu":
        return jax.nn.relu(x)
    if kind == "lrn":
        return normalize(x, layer)
    if kind == "flatten":
        return flat(x)
    if kind == "dropout":
        return x
    if kind == "softmax":
        return jax.nn.softmax(x, axis=-1)
    if kind == "max_pool":
        kernel, stride, padding = window(layer)
        lowest = jnp.asarray(-jnp.inf, x.dtype)
        pads = [(0, 0), *padding, (0, 0)]
        return lax.reduce_window(x, lowest, lax.max, (1, *kernel, 1), (1, *stride, 1), pads)
    weight, bias = (parameters[f"{layer['name']}.{part}"] for part in ("weight", "bias"))
    if kind == "fully_connected":
        return jnp.matmul(flat(x), weight, precision=precision) + bias
    if kind != "conv":
        raise ValueError(f"layer type {kind} has no form here")
    _, stride, padding = window(layer)
    return bias + lax.conv_general_dilated(
        x,
        weight,
        stride,
        padding,
        rhs_dilation=pair(layer.get("dilation", 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=layer.get("groups", 1),
        precision=precision,
    )


class Prepared:
    """A compiled network with its input."""

    def __init__(self, request: dict[str, Any]) -> None:
        model, weights = model_and_weights(request["model"], request["until"], request["weights_seed"])
        kind = TYPES[request["precision"]]
        # DEFAULT lets XLA use TF32 in products of float32.
        exactly = lax.Precision.HIGHEST if request["precision"] == "fp32" else lax.Precision.DEFAULT
        parameters = place(weights, kind)
        batch, channels, height, width = request["shape"]
        nchw = images(request["input_seed"], (request["input_batch"], channels, height, width))[:batch]
        x = jnp.asarray(nchw).transpose(0, 2, 3, 1).astype(kind)

        def forward(parameters: Parameters, x: jax.Array) -> tuple[jax.Array, jax.Array]:
            logits = x
            for layer in model["layers"]:
                if layer["type"] != "softmax":
                    x = logits = apply(x, layer, parameters, exactly)
                else:
                    x = apply(x, layer, parameters, exactly)
            return logits, x

        start = time.perf_counter()
        compiled = jax.jit(forward).lower(parameters, x).compile()
        self.facts: dict[str, Any] = {"compile_s": round(time.perf_counter() - start, 2)}
        memory = compiled.memory_analysis()
        if memory is not None:
            parts = (memory.argument_size_in_bytes, memory.output_size_in_bytes, memory.temp_size_in_bytes)
            self.facts["device_bytes"] = sum(parts)
        self.run = lambda: jax.block_until_ready(compiled(parameters, x))

    def outputs(self) -> np.ndarray:
        logits = self.run()[0].astype(jnp.float32)
        return np.asarray(logits.transpose(0, 3, 1, 2) if logits.ndim == 4 else logits)

    def time(self, warmup: int, runs: int, max_seconds: float) -> list[float]:
        """Milliseconds of runs, each waited for."""
        for _ in range(warmup):
            self.run()
        samples: list[float] = []
        begin = time.perf_counter()
        while not samples or (len(samples) < runs and time.perf_counter() - begin < max_seconds):
            start = time.perf_counter()
            self.run()
            samples.append(1e3 * (time.perf_counter() - start))
        return samples


class Worker:
    """Answers requests; holds one network at a time for each name."""

    def __init__(self) -> None:
        self.held: dict[str, Prepared] = {}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["do"] == "prepare":
            made = Prepared(request)
            np.save(request["save"], made.outputs())
            self.held[request["name"]] = made
            return made.facts
        if request["do"] == "time":
            times = self.held[request["name"]].time(request["warmup"], request["runs"], request["max_seconds"])
            return {"samples_ms": times}
        self.held.pop(request["name"], None)
        return {}


def main() -> None:
    worker = Worker()
    devices = {"device": str(jax.devices()[0]), "jax": jax.__version__}
    print(MARK + json.dumps(devices), flush=True)
    for line in sys.stdin:
        try:
            answer = worker.answer(json.loads(line))
        except Exception as error:  # the other side decides what it means
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:600]}"}
        print(MARK + json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
