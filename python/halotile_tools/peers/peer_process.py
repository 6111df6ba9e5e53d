"""One process that times one peer on one network, or makes the ONNX model: cpu_peers.py starts it.

Prints one JSON object: the times, and the largest resident set before the input was made (imports, network) and at
the end.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from halotile_tools.model_file import read_model
from halotile_tools.peers.networks import onnx_network, torch_network
from halotile_tools.random import random_input

TORCH_VARIANTS = {
    "eager": (False, "eager"),
    "eager channels_last": (True, "eager"),
    "jit": (False, "jit"),
    "jit channels_last": (True, "jit"),
    "compile": (False, "compile"),
    "compile channels_last": (True, "compile"),
}

Outputs = list[np.ndarray]
Forward = Callable[[], Any]


def peak_bytes() -> int:
    """VmHWM: the largest resident set of this process so far."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmHWM")


def measure(work: Forward, warmup: int, min_runs: int, max_seconds: float) -> list[float]:
    """Milliseconds of each run: `min_runs` of them, or as many as begin within max_seconds (halotile's rule)."""
    for _ in range(warmup):
        work()
    samples: list[float] = []
    begin = time.perf_counter()
    while not samples or (len(samples) < min_runs and time.perf_counter() - begin < max_seconds):
        start = time.perf_counter()
        work()
        samples.append(1e3 * (time.perf_counter() - start))
    return samples


def prepare_torch(arguments: argparse.Namespace) -> tuple[Forward, Callable[[Any], Outputs], int]:
    """PyTorch's forward pass in the given variant, and how to read its outputs."""
    import torch

    torch.set_num_threads(arguments.threads)
    channels_last, how = TORCH_VARIANTS[arguments.variant]
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network: Any = torch_network(read_model(arguments.model, arguments.until), arguments.weights_seed)
    network = network.to(memory_format=layout)
    base = peak_bytes()
    x = torch.from_numpy(random_input(arguments.input_seed, tuple(arguments.shape))).contiguous(memory_format=layout)
    with torch.inference_mode():
        if how == "jit":
            network = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(network, x)))
        elif how == "compile":
            import torch._inductor.config

            torch._inductor.config.freezing = True  # weights are constants: oneDNN packs them, ReLU is fused
            network = torch.compile(network)

    def forward() -> Any:
        with torch.inference_mode():
            return network(x)

    return forward, lambda outputs: [value.contiguous().numpy() for value in outputs], base


def prepare_onnxruntime(arguments: argparse.Namespace) -> tuple[Forward, Callable[[Any], Outputs], int]:
    """ONNX Runtime's forward pass, and how to read its outputs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = arguments.threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(str(arguments.onnx), options, providers=["CPUExecutionProvider"])
    base = peak_bytes()
    x = random_input(arguments.input_seed, tuple(arguments.shape))
    return lambda: session.run(None, {"input": x}), lambda outputs: outputs, base


def export_onnx(arguments: argparse.Namespace) -> dict[str, Any]:
    """Writes the ONNX model."""
    model = read_model(arguments.model, arguments.until)
    made = onnx_network(model, arguments.weights_seed, tuple(arguments.shape))
    arguments.onnx.write_bytes(made.SerializeToString())
    return {"onnx_bytes": arguments.onnx.stat().st_size}


def time_peer(arguments: argparse.Namespace) -> dict[str, Any]:
    """Times the peer; with --logits also saves what it computed."""
    prepare = prepare_torch if arguments.what == "torch" else prepare_onnxruntime
    forward, read, base = prepare(arguments)
    if arguments.logits:
        np.save(arguments.logits, read(forward())[0])
    samples = measure(forward, arguments.warmup, arguments.min_runs, arguments.max_seconds)
    return {"samples_ms": samples, "base_bytes": base, "peak_bytes": peak_bytes()}


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["torch", "onnxruntime", "export"])
    parser.add_argument("--model", type=Path, required=True, help="halotile's model file")
    parser.add_argument("--until", default="", help="last layer; default: all")
    parser.add_argument("--weights-seed", type=int, default=7)
    parser.add_argument("--input-seed", type=int, default=1)
    parser.add_argument("--shape", type=int, nargs=4, required=True, metavar=("N", "C", "H", "W"), help="input")
    parser.add_argument("--onnx", type=Path, help="the ONNX model: export writes it, onnxruntime reads it")
    parser.add_argument("--variant", choices=list(TORCH_VARIANTS), default="eager", help="how PyTorch runs")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--logits", type=Path, help="save the logits here (.npy) before timing")
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--min-runs", type=int, default=10)
    parser.add_argument("--max-seconds", type=float, default=15.0)
    return parser.parse_args(words)


def main() -> None:
    arguments = parse()
    result = export_onnx(arguments) if arguments.what == "export" else time_peer(arguments)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
