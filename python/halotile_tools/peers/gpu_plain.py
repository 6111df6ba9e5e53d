"""The older works of gpu_peers.py: PyTorch and halotile's CUDA engine `direct` on one GPU, in plain fp32.

The 2012 AlexNet with the same weights and input everywhere, outputs compared with PyTorch's before anything is timed
(a difference ends the script):

  resident    batch 32, input on the device: PyTorch eager, channels_last, in a CUDA graph, compiled; halotile; both
              also with every convolution in a 2x2 grid of tiles with halos on 4 streams
  naive       the single-thread CPU pipeline (engine reference, one stream), once, bits compared with the GPU's
  sub_batches batch 256 of float images from host memory, in sub-batches on 1 and more streams, against copying alone
              and computing alone; sub_batches_tensor_core_fp32 (three tf32 products) and sub_batches_tensor_core_tf32
              on tensor cores; sub_batches_torchvision_fp32 there with torchvision's AlexNet, which computes about as
              long as its images are copied

Contestants alternate in rounds; a ratio is the median of the rounds' ratios. About three minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from halotile_tools.common import CONFIGS, ExperimentError, judge, median, print_targets, run_halotile
from halotile_tools.model_file import read_model
from halotile_tools.peers.gpu_race import relative_difference
from halotile_tools.peers.networks import torch_network
from halotile_tools.random import random_input

CONFIG = CONFIGS / "alexnet_batch32.yaml"  # weights: seed 7, input: seed 1
MODEL = CONFIGS / "models" / "alexnet.yaml"
TORCHVISION = CONFIGS / "models" / "alexnet_torchvision.yaml"  # less work for as large an image
BATCH = 32
LARGE_BATCH = 256
TOLERANCE = 1e-3  # of the largest logit
GRID = (2, 2)
STREAMS = 4

WHOLE: dict[str, Any] = {"streams": 1, "sub_batch": "all", "measure.input": "device"}
PATCHED: dict[str, Any] = {**WHOLE, "patch.grid": list(GRID), "streams": STREAMS}
GRAPH: dict[str, Any] = {"dispatch": "graph"}
RESIDENT = {
    "halotile": WHOLE,
    "halotile, graph": {**WHOLE, **GRAPH},
    "halotile 2x2": PATCHED,
    "halotile 2x2, graph": {**PATCHED, **GRAPH},
}
FROM_HOST: dict[str, dict[str, Any]] = {
    f"{streams} streams of {size}": {"streams": streams, "sub_batch": size, "measure.input": "host"}
    for streams, size in ((1, 256), (4, 64), (4, 32), (8, 32))
}
# Where computing takes longer, it had better begin early; where copying does, little had better be left behind it.
GROWING = [8, 12, 16, 24, 32, 44, 60, 60]
FROM_HOST |= {
    f"4 streams, {name}": {"streams": 4, "sub_batch": sizes, "measure.input": "host"}
    for name, sizes in (("growing", GROWING), ("shrinking", GROWING[::-1]))
}
FROM_HOST |= {f"{name}, graph": {**words, **GRAPH} for name, words in FROM_HOST.items()}
COMPUTE_ALONE = "computing alone"
TENSOR_CORE = {"engine": "tensor_core", "precision": "fp32"}

Timing = dict[str, Any]  # samples_ms and what else is kept of one turn
Turn = Callable[[], Timing]


class Bench:
    """What all works share: options, a folder, PyTorch's network and input on the device."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.folder = folder

    def halotile(
        self, overrides: dict[str, Any], runs: int = 20, warmup: int = 3, logits: bool = False
    ) -> dict[str, Any]:
        """One process."""
        measure = {"measure.warmup": warmup, "measure.min_runs": runs, "measure.max_seconds": 2, "measure.tightness": 1}
        words = {"device": self.options.device, "engine": self.options.engine, **overrides, **measure}
        if logits:
            words["output.save.logits"] = "logits.npy"
        return run_halotile(self.options.halotile, CONFIG, words, self.folder)

    def turn(self, overrides: dict[str, Any]) -> Timing:
        result = self.halotile(overrides)
        return {key: result[key] for key in ("samples_ms", "components") if key in result}


def check(name: str, found: np.ndarray, expected: np.ndarray) -> float:
    """The difference; too large a one is an error."""
    d = relative_difference(found, expected)
    if not d <= TOLERANCE:
        raise ExperimentError(
            f"{name} differs from PyTorch (eager) by {d:.2e} of the largest logit; at most {TOLERANCE:g} is right, "
            "so nothing was timed"
        )
    print(f"  {name}: differs by {d:.1e} of the largest logit", flush=True)
    return d


def race(turns: dict[str, Turn], rounds: int) -> dict[str, list[Timing]]:
    """All contestants in turn, `rounds` times."""
    timings: dict[str, list[Timing]] = {name: [] for name in turns}
    for number in range(rounds):
        for name, turn in turns.items():
            timing = turn()
            timing["median_ms"] = median(timing["samples_ms"])
            timings[name].append(timing)
        shown = "  ".join(f"{name} {timings[name][-1]['median_ms']:.3f}" for name in turns)
        print(f"  round {number + 1}: {shown} ms", flush=True)
    return timings


def ratio(timings: dict[str, list[Timing]], above: str, below: str) -> float:
    """Median over the rounds of the ratio of two contestants' times."""
    pairs = zip(timings[above], timings[below], strict=True)
    return median([a["median_ms"] / b["median_ms"] for a, b in pairs])


def time_of(timings: dict[str, list[Timing]], name: str) -> float:
    return median([t["median_ms"] for t in timings[name]])


def fastest(timings: dict[str, list[Timing]], names: Sequence[str]) -> str:
    return min((n for n in names if n in timings), key=lambda n: time_of(timings, n))


def summary(timings: dict[str, list[Timing]]) -> dict[str, Any]:
    return {name: {"median_ms": time_of(timings, name), "rounds": t} for name, t in timings.items()}


def torch_turns(bench: Bench, expected: np.ndarray, x: Any, network: Any) -> tuple[dict[str, Turn], dict[str, Any]]:
    """PyTorch's ways that run here and give the right logits, and what came of each."""
    from halotile_tools.peers import gpu_networks as gpu

    turns: dict[str, Turn] = {}
    outcomes: dict[str, Any] = {}

    def add(name: str, make: Callable[[], gpu.Forward]) -> None:
        try:
            forward = make()
            logits = forward().float().cpu().numpy()
        except Exception as error:  # a variant that does not run says why and stays out
            outcomes[name] = {"error": str(error).splitlines()[0][:300] if str(error) else repr(error)}
            print(f"  {name}: does not run ({outcomes[name]['error']})", flush=True)
            return
        outcomes[name] = {"difference": check(name, logits, expected)}
        turns[name] = lambda: {"samples_ms": gpu.timed(forward, 5, 30, 1.0)}

    for name in gpu.VARIANTS:
        if x.is_cuda or name.startswith("eager"):
            add(f"PyTorch {name}", lambda name=name: gpu.variant(network, x, name))
    cut = gpu.patched(network, GRID, STREAMS if x.is_cuda else 0)
    add("PyTorch eager 2x2", lambda: gpu.variant(cut, x, "eager"))
    if x.is_cuda:
        add("PyTorch graph 2x2", lambda: gpu.variant(cut, x, "graph"))
    return turns, outcomes


def resident(bench: Bench) -> dict[str, Any]:
    """Works `resident` and `patches`: whole and 2x2, PyTorch and halotile, input on the device."""
    import torch

    from halotile_tools.peers import gpu_networks as gpu

    gpu.plain_fp32()
    device = bench.options.torch_device
    x = torch.from_numpy(random_input(1, (BATCH, 3, 227, 227))).to(device)
    network = torch_network(read_model(MODEL), 7).to(device)
    expected = gpu.variant(network, x, "eager")().cpu().numpy()
    np.save(bench.folder / "expected.npy", expected)

    differences, errors = {}, {}
    turns: dict[str, Turn] = {}
    for name, overrides in RESIDENT.items():
        try:
            bench.halotile(overrides, runs=1, warmup=0, logits=True)
        except ExperimentError as error:
            if "dispatch" not in overrides:
                raise
            errors[name] = str(error)
            print(f"  {name}: does not run ({error})", flush=True)
            continue
        differences[name] = check(name, np.load(bench.folder / "logits.npy"), expected)
        turns[name] = lambda overrides=overrides: bench.turn(overrides)
    of_torch, outcomes = torch_turns(bench, expected, x, network)
    timings = race({**of_torch, **turns}, bench.options.rounds)

    whole = fastest(timings, ("halotile", "halotile, graph"))
    cut = fastest(timings, ("halotile 2x2", "halotile 2x2, graph"))
    best = fastest(timings, [n for n in of_torch if "2x2" not in n])
    torch_cut = fastest(timings, [n for n in of_torch if "2x2" in n])
    return {
        "batch": BATCH,
        "pytorch": outcomes,
        "difference_of_largest_logit": differences,
        "errors": errors,
        "contestants": summary(timings),
        "best_pytorch": best,
        "best_pytorch_against_halotile": ratio(timings, best, whole),
        "pytorch_2x2_against_whole": ratio(timings, torch_cut, best),
        "targets": [
            judge(f"PyTorch eager against {whole}, speed", ratio(timings, "PyTorch eager", whole), at_least=1.0),
            judge(f"{cut} against {whole}, time", ratio(timings, cut, whole), at_most=1.5),
        ],
    }


def naive(bench: Bench) -> dict[str, Any]:
    """The single-thread CPU pipeline, once: it takes half a minute."""
    gpu = bench.halotile(WHOLE, logits=True)
    from_gpu = np.load(bench.folder / "logits.npy")
    cpu = {"device": "cpu", "engine": "reference", "streams": 1, "sub_batch": "all"}
    result = bench.halotile(cpu, runs=1, warmup=0, logits=True)
    from_cpu = np.load(bench.folder / "logits.npy")
    equal = from_gpu.dtype == from_cpu.dtype and from_gpu.tobytes() == from_cpu.tobytes()
    print(f"  naive {result['median_ms'] / 1e3:.2f} s, GPU {gpu['median_ms']:.3f} ms, equal bits: {equal}")
    return {
        "batch": BATCH,
        "naive_ms": result["median_ms"],
        "gpu_ms": gpu["median_ms"],
        "equal_bits": equal,
        "targets": [
            judge("naive CPU pipeline against halotile, speed", result["median_ms"] / gpu["median_ms"], 5000),
            judge("logits with the CPU's bits (1: all)", float(equal), 1.0),
        ],
    }


def sub_batches(bench: Bench, arithmetic: dict[str, Any] | None = None) -> dict[str, Any]:
    """Batch 256 from host memory; `arithmetic`: keys that replace the engine `direct`, plain fp32."""
    from_host = {
        name: words for name, words in FROM_HOST.items() if bench.options.device == "cuda" or "dispatch" not in words
    }
    ways = {**from_host, COMPUTE_ALONE: WHOLE}
    turns: dict[str, Turn] = {
        name: lambda overrides=overrides: bench.turn({**overrides, **(arithmetic or {}), "input.batch": LARGE_BATCH})
        for name, overrides in ways.items()
    }
    timings = race(turns, bench.options.rounds)
    one = fastest(timings, [name for name, words in from_host.items() if words["streams"] == 1])
    best = fastest(timings, [name for name, words in from_host.items() if words["streams"] >= 4])
    copy = median([t["components"]["host_to_device_ms"] for t in timings[one]])
    compute = time_of(timings, COMPUTE_ALONE)
    return {
        "batch": LARGE_BATCH,
        "copy_alone_ms": copy,
        "compute_alone_ms": compute,
        "best": best,
        "contestants": summary(timings),
        "targets": [
            judge(f"{one} against {best}, speed", ratio(timings, one, best), at_least=1.5),
            judge(
                f"{best} against the larger of copying ({copy:.2f} ms) and computing ({compute:.2f} ms), time",
                time_of(timings, best) / max(copy, compute),
                at_most=1.25,
            ),
        ],
    }


WORKS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "resident": resident,
    "naive": naive,
    "sub_batches": sub_batches,
    "sub_batches_tensor_core_fp32": partial(sub_batches, arithmetic=TENSOR_CORE),
    "sub_batches_torchvision_fp32": partial(sub_batches, arithmetic={**TENSOR_CORE, "model": TORCHVISION}),
    "sub_batches_tensor_core_tf32": partial(sub_batches, arithmetic={**TENSOR_CORE, "precision": "tf32"}),
}


def print_work(name: str, result: dict[str, Any]) -> None:
    print(f"\n{name} (batch {result['batch']})")
    for contestant, value in result.get("contestants", {}).items():
        print(f"  {contestant:28} {value['median_ms']:10.3f} ms")
    print_targets(result["targets"])
    print(flush=True)
