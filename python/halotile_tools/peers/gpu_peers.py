"""Times PyTorch, XLA and halotile in turn on one GPU, on the same networks, weights and inputs; prints ratios.

NETWORK is 2012 (AlexNet, 227 pixels, groups, LRN) or tower (one tower, 224 pixels). Works are called

  NETWORK-bf16-bN, NETWORK-tf32-bN   a batch of N = 1, 32, 128, 1024 that lies on the device, the whole forward pass
  NETWORK-bf16-8192, -tf32-8192      the convolutional layers on one 8192 x 8192 image: halotile whole and in tiles
  NETWORK-u8-b1024                   1024 8-bit images from host memory; PyTorch from pinned floats and pixels
  tower-tiles-b1                     every convolution in 4x4 tiles: PyTorch's on 4 streams, halotile's
  NETWORK-fp32-b32, -fp16-b32        float32 without TF32, and fp16
  resident, naive, sub_batches       the older comparison of engine direct in plain fp32 (gpu_plain.py)

Outputs are compared with PyTorch's in fp32 (and in float64 on the first 32 images) before anything is timed. Every
variant is probed, the fastest race in alternating rounds; a ratio is the median of the rounds' ratios. A contestant
that fails stays out with its error. A work's limit is the larger of its arithmetic at the rate of matrix products and
its bytes at the bandwidth, both measured in the same run. Each finished work is written at once. Without --only: all
but the older ones.
"""

from __future__ import annotations

import argparse
import datetime
import fnmatch
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from halotile_tools.common import add_halotile_option, gpu_results_folder, keep_work, provenance, write_json
from halotile_tools.peers import gpu_plain
from halotile_tools.peers.gpu_plain import check, fastest, race, ratio
from halotile_tools.peers.gpu_race import Budget

__all__ = ["check", "fastest", "parse", "race", "ratio"]  # tests call them by this module's name

PACKAGES = ("torch", "triton", "nvidia-cudnn-cu13", "jax", "jaxlib", "jax-cuda13-plugin", "numpy")
SLOW_PEERS = ("none", "small", "all")
LEAST_SECONDS = 10.0  # with less of the budget left no work is begun


def work_names() -> list[str]:
    """All works. PyTorch, which takes seconds to import, is only imported for them."""
    from halotile_tools.peers.gpu_works import WORKS

    return [*WORKS, *gpu_plain.WORKS]


def chosen(patterns: Sequence[str], names: Sequence[str]) -> list[str]:
    """The names that match any of the patterns, which may be lists with commas; all new works without patterns."""
    words = [word for pattern in patterns for word in pattern.split(",") if word]
    for word in words:
        if not fnmatch.filter(names, word):
            raise ValueError(f"no work is called {word}; there are {', '.join(names)}")
    if not words:
        return [name for name in names if name not in gpu_plain.WORKS]
    return [name for name in names if any(fnmatch.fnmatch(name, word) for word in words)]


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--rounds", type=int, default=3, help="rounds of all contestants (default 3)")
    add("--only", action="append", default=[], metavar="WORK[,WORK]", help="works, or patterns such as '*-bf16-*'")
    add("--list", action="store_true", help="list the works and end")
    add("--missing", action="store_true", help="leave out works that the output has from start to end")
    add("--budget-seconds", type=float, default=450, help="start nothing after this time (default 450)")
    add("--contestant-seconds", type=float, default=120, help="longest preparation or turn (default 120)")
    slow = "where a target judges it (small, the default), nowhere, or everywhere"
    add("--compile", choices=SLOW_PEERS, help=f"torch.compile: {slow}")
    add("--xla", choices=SLOW_PEERS, default="small", help=f"XLA: {slow}")
    add("--patches", choices=("none", "bf16", "all"), default="bf16", help="precisions whose every tiling is timed")
    add("--tensor-engine", default="tensor_core", help="halotile's engine (default tensor_core)")
    add("--xla-python", default=sys.executable, metavar="PATH", help="the Python that has JAX (default: this one)")
    add("--output", type=Path, help="file for the results (default: this GPU's kept results)")
    add("--without-gpu", action="store_true", help="try the script on the CPU, small: its times mean nothing")
    add_halotile_option(parser)
    options = parser.parse_args(words)
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    options.torch_device = "cpu" if options.without_gpu else "cuda"
    options.device, options.engine = ("cpu", "auto") if options.without_gpu else ("cuda", "direct")
    if options.without_gpu:
        options.tensor_engine = "auto"
    options.compile = options.compile or ("none" if options.without_gpu else "small")
    try:
        options.works = chosen(options.only, work_names())
    except ValueError as error:
        parser.error(str(error))
    if not options.list:
        options.output = options.output or gpu_results_folder() / "gpu_peers.json"
    return options


def read_kept(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"works": {}}


def complete(work: dict[str, Any]) -> bool:
    """Whether a kept work was timed to its end."""
    return work.get("best_peer_against_halotile") is not None and not work.get("skipped")


def keep(path: Path, name: str, work: dict[str, Any], rates: dict[str, float]) -> None:
    """Puts a work, the measured rates and the table of all works into the file."""
    from halotile_tools.peers.gpu_table import rows

    kept = read_kept(path)
    kept["works"][name] = work
    write_json(path, {**kept, "limits": rates, "table": rows(kept["works"])})


def run_plain(options: argparse.Namespace, name: str) -> int:
    """One of the older works; the number of missed targets."""
    with tempfile.TemporaryDirectory(prefix="halotile_gpu_peers_") as folder:
        result = gpu_plain.WORKS[name](gpu_plain.Bench(options, Path(folder)))
    gpu_plain.print_work(name, result)
    keep_work(options.output, name, result, PACKAGES, options.halotile)
    return sum(not target["met"] for target in result["targets"])


def run_works(options: argparse.Namespace, names: list[str], budget: Budget) -> dict[str, Any]:
    """Runs and keeps works, as many as the budget allows; gives them all, those left out with a word why."""
    from halotile_tools.peers.gpu_limits import measure_limits
    from halotile_tools.peers.gpu_works import WORKS, Bench, run_work

    about = provenance(PACKAGES, options.halotile)
    rates = measure_limits(options.torch_device)
    print("measured: " + ", ".join(f"{key} {value:.3g}" for key, value in rates.items()), flush=True)
    done: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="halotile_gpu_peers_") as folder:
        bench = Bench(options, Path(folder), [WORKS[name] for name in names], rates, budget)
        for name in names:
            if budget.left < LEAST_SECONDS:
                done[name] = {"error": "left out: the budget of time is spent"}
                continue
            print(f"{name} ({budget.left:.0f} s left)", flush=True)
            now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
            try:
                done[name] = {"provenance": {**about, "time": now}, "limits": rates, **run_work(bench, WORKS[name])}
            except Exception as error:  # a work that cannot even begin; the others go on
                done[name] = {"error": f"{type(error).__name__}: {error}"}
                print(f"  {done[name]['error']}", flush=True)
                continue
            keep(options.output, name, done[name], rates)
        bench.xla.end()
    return done


def report(done: dict[str, Any]) -> None:
    """The table, last of all that is printed: of a long output the end is what one sees."""
    from halotile_tools.peers.gpu_table import comparison, patches, rows, troubles, verdicts

    parts = [troubles(done), patches(done), comparison(rows(done)), verdicts(done)]
    print("\n" + "\n\n".join(part for part in parts if part), flush=True)


def main() -> int:
    options = parse()
    budget = Budget(options.budget_seconds)
    if options.list:
        print("\n".join(options.works if options.only else work_names()))
        return 0
    kept = read_kept(options.output)["works"] if options.missing else {}
    names = [name for name in options.works if not complete(kept.get(name, {}))]
    missed = sum(run_plain(options, name) for name in names if name in gpu_plain.WORKS)
    names = [name for name in names if name not in gpu_plain.WORKS]
    done = run_works(options, names, budget) if names else {}
    report(done)
    missed += sum(not t["met"] for work in done.values() for t in work.get("targets", []))
    untimed = sum("error" in work for work in done.values())
    print("all targets met" if missed == 0 else f"{missed} targets missed", end="")
    print(f", {untimed} works not timed; written: {options.output}" if untimed else f"; written: {options.output}")
    return 0
