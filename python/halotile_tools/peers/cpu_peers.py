"""Times PyTorch, ONNX Runtime and halotile in turn on the same networks, weights and inputs, and prints ratios.

Every timing is a process of its own, with nothing else started meanwhile; the contestants alternate (A B C A B C ...).
First all outputs are compared with PyTorch's: a difference ends the script before anything is timed. PyTorch runs in
whichever of its variants (memory layouts, eager, jit, compile) was fastest in a first pass. A ratio is the median of
the rounds' ratios, so that a drifting clock cancels. Each finished work is written at once; the others stay.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from halotile_tools.common import (
    CONFIGS,
    ExperimentError,
    add_halotile_option,
    cores,
    judge,
    keep_work,
    median,
    print_targets,
    results_folder,
    run_halotile,
)
from halotile_tools.machine_use import watched
from halotile_tools.model_file import read_model

PACKAGES = ("torch", "onnxruntime", "onnx", "numpy")
TORCH_VARIANTS = (
    "eager",
    "eager channels_last",
    "jit",
    "jit channels_last",
    "compile",
    "compile channels_last",
)
TOLERANCE = 1e-3  # of the largest logit
TOLERANCE_BF16 = 3e-2
MIB = 1 << 20
WHOLE: dict[str, Any] = {"patch": "whole", "streams": 1}
PER_CONV: dict[str, Any] = {"patch.grid": [4, 4], "patch.stages": "per_conv"}

Timing = dict[str, Any]  # samples_ms, peak_bytes, ... of one process


@dataclass(frozen=True)
class Target:
    """A ratio of two contestants' times, or a contestant's memory, and its bound. "peer" is the better peer."""

    text: str
    above: str
    below: str = ""
    at_least: float = 0.0
    at_most: float = float("inf")


@dataclass(frozen=True)
class Work:
    """One network and input, and who runs it: halotile's ways by name, each with its overrides."""

    name: str
    config: str
    halotile: dict[str, dict[str, Any]]
    targets: tuple[Target, ...] = ()
    runs: int = 10  # in each process; many for short ones, which take long to settle
    settings: dict[str, Any] = field(init=False)  # the config file's content

    def __post_init__(self) -> None:
        text = (CONFIGS / self.config).read_text(encoding="utf-8")
        object.__setattr__(self, "settings", yaml.safe_load(text))

    @property
    def model(self) -> Path:
        return CONFIGS / self.settings["model"]

    def shape(self) -> list[int]:
        """The input's (N, C, H, W)."""
        given, own = self.settings["input"], read_model(self.model)["input"]
        return [
            given["batch"],
            own["channels"],
            given.get("height", own["height"]),
            given.get("width", own["width"]),
        ]

    def peer_words(self) -> list[str]:
        """What a peer's process must know of the work."""
        words = ["--model", str(self.model), "--until", self.settings.get("until", "")]
        words += ["--weights-seed", str(self.settings.get("weights", {}).get("random", 7))]
        words += ["--input-seed", str(self.settings["input"]["random"])]
        return [*words, "--threads", str(cores()), "--shape", *(str(n) for n in self.shape())]


def works() -> list[Work]:
    """Everything that is timed, with the project's targets."""
    plain: dict[str, dict[str, Any]] = {"halotile": {}}
    with_bf16 = {**plain, "halotile bf16": {"precision": "bf16"}}
    bf16 = Target("bf16 against own fp32", "halotile", "halotile bf16", at_least=1.6)

    def against_peer(bound: float) -> Target:
        return Target("speed against the better peer", "peer", "halotile", at_least=bound)

    large: dict[str, dict[str, Any]] = {
        "halotile whole": WHOLE,
        "halotile per_conv 4x4": PER_CONV,
        "halotile fused 4x4": {},
    }
    return [
        Work("alexnet_batch32", "alexnet_batch32.yaml", with_bf16, (against_peer(1.5), bf16)),
        Work("single_tower_batch32", "single_tower_batch32.yaml", with_bf16, (against_peer(0.97), bf16)),
        Work("alexnet_batch1", "alexnet_batch1.yaml", plain, (against_peer(1.2),), runs=100),
        Work("single_tower_batch1", "single_tower_batch1.yaml", plain, (against_peer(1.0),), runs=100),
        Work(
            "large_image",
            "large_image.yaml",
            large,
            (
                Target("whole against the better peer, speed", "peer", "halotile whole", at_least=1.0),
                Target(
                    "per_conv 4x4 against whole, time",
                    "halotile per_conv 4x4",
                    "halotile whole",
                    at_most=1.05,
                ),
                Target("fused 4x4 against whole, time", "halotile fused 4x4", "halotile whole", at_most=1.2),
                Target("fused 4x4, peak memory in MiB", "halotile fused 4x4", at_most=450),
            ),
        ),
    ]


class Race:
    """One work: checks all contestants, then times them in turn."""

    def __init__(self, work: Work, options: argparse.Namespace, folder: Path) -> None:
        self.work = work
        self.options = options
        self.folder = folder
        self.onnx = folder / "network.onnx"
        self.variants: dict[str, Any] = {}
        self.variant = "eager channels_last"
        self.differences: dict[str, float] = {}
        self.rounds: dict[str, list[Timing]] = {name: [] for name in self.contestants()}

    def contestants(self) -> list[str]:
        return ["PyTorch", "ONNX Runtime", *self.work.halotile]

    def peer(self, what: str, *words: str) -> Timing:
        """One process of a peer."""
        command = [sys.executable, "-m", "halotile_tools.peers.peer_process", what, "--onnx", str(self.onnx)]
        command += [*self.work.peer_words(), *words]
        environment = {**os.environ, "OMP_NUM_THREADS": str(cores())}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode != 0:
            reason = done.stderr.strip().splitlines()[-1:] or ["no message"]
            failed = f"{self.work.name}: {what} {' '.join(words)}: exit status {done.returncode}: {reason[0]}"
            raise ExperimentError(failed)
        return json.loads(done.stdout.splitlines()[-1])

    def run(self, name: str, warmup: int, min_runs: int, max_seconds: float, logits: Path | None = None) -> Timing:
        """One process of a contestant."""
        if name in self.work.halotile:
            overrides = dict(self.work.halotile[name])
            if logits:
                overrides["output.save.logits"] = logits.name
            measure = {
                "measure.warmup": warmup,
                "measure.min_runs": min_runs,
                "measure.max_seconds": max_seconds,
                "measure.tightness": 1,  # as many runs as the peers make
            }
            config = CONFIGS / self.work.config
            result = run_halotile(self.options.halotile, config, {**overrides, **measure}, self.folder)
            kept = (
                "samples_ms",
                "layers",
                "stream_busy_share",
                "halo_flops_share",
                "map_bytes",
                "scratch_bytes",
            )
            return {**{k: result[k] for k in kept}, "peak_bytes": result["peak_memory_bytes"]}
        words = ["--warmup", str(warmup), "--min-runs", str(min_runs), "--max-seconds", str(max_seconds)]
        if logits:
            words += ["--logits", str(logits)]
        if name == "PyTorch":
            return self.peer("torch", "--variant", self.variant, *words)
        return self.peer("onnxruntime", *words)

    def compare(self, name: str, logits: Path) -> None:
        """Records the difference from the reference's logits; too large a one is an error."""
        expected = np.load(self.folder / "expected.npy")
        found = np.load(logits)
        if found.size != expected.size:
            raise ExperimentError(f"{self.work.name}: {name} gave {found.shape}, PyTorch {expected.shape}")
        largest = float(np.abs(expected).max())
        difference = float(np.abs(found.reshape(expected.shape) - expected).max()) / largest
        self.differences[name] = difference
        bound = TOLERANCE_BF16 if "bf16" in name else TOLERANCE
        if not difference <= bound:  # NaN, too, is a difference
            raise ExperimentError(
                f"{self.work.name}: {name} differs from PyTorch (eager) by {difference:.2e} of the largest logit; "
                f"at most {bound:g} is right, so nothing was timed"
            )

    def choose_variant(self) -> None:
        """Times PyTorch's variants, each checked; the fastest takes part. One that does not run says why."""
        runs, seconds = (2, 3.0) if self.options.quick else (self.work.runs // 2 + 1, 8.0)
        logits = self.folder / "variant.npy"
        for variant in TORCH_VARIANTS[:2] if self.options.quick else TORCH_VARIANTS:
            self.variant = variant
            try:
                timing = self.run("PyTorch", 1, runs, seconds, logits)
            except ExperimentError as error:
                self.variants[variant] = {"error": str(error)}
                print(f"    PyTorch {variant}: does not run ({error})", flush=True)
                continue
            self.compare(f"PyTorch {variant}", logits)
            self.variants[variant] = {"median_ms": median(timing["samples_ms"])}
            print(f"    PyTorch {variant}: {self.variants[variant]['median_ms']:.1f} ms", flush=True)
        ran = {name: v["median_ms"] for name, v in self.variants.items() if "median_ms" in v}
        if not ran:
            raise ExperimentError(f"{self.work.name}: PyTorch runs in no variant; see above")
        self.variant = min(ran, key=lambda name: ran[name])

    def check(self) -> None:
        """Runs everyone once and compares the outputs."""
        self.peer("export")
        self.variant = "eager"
        self.run("PyTorch", 0, 1, 0.0, self.folder / "expected.npy")
        for name in self.contestants()[1:]:
            logits = self.folder / "logits.npy"
            self.run(name, 0, 1, 0.0, logits)
            self.compare(name, logits)
            print(f"    {name}: differs by {self.differences[name]:.1e} of the largest logit", flush=True)

    def time_rounds(self) -> None:
        runs, seconds = (max(3, self.work.runs // 3), 3.0) if self.options.quick else (self.work.runs, 15.0)
        warmup = max(2, runs // 10)
        for number in range(self.options.rounds):
            for name in self.contestants():
                timing = watched(partial(self.run, name, warmup, runs, seconds))
                timing["median_ms"] = median(timing["samples_ms"])
                self.rounds[name].append(timing)
            times = "  ".join(f"{name} {self.rounds[name][-1]['median_ms']:.1f}" for name in self.contestants())
            print(f"    round {number + 1}: {times} ms", flush=True)

    def median_ms(self, name: str) -> float:
        return median([timing["median_ms"] for timing in self.rounds[name]])

    def better_peer(self) -> str:
        return min(("PyTorch", "ONNX Runtime"), key=self.median_ms)

    def ratio(self, above: str, below: str) -> float:
        """Median over the rounds of the ratio of two contestants' times."""
        pairs = zip(self.rounds[above], self.rounds[below], strict=True)
        return median([a["median_ms"] / b["median_ms"] for a, b in pairs])

    def peak_mib(self, name: str) -> float:
        return max(timing["peak_bytes"] for timing in self.rounds[name]) / MIB

    def judge(self, target: Target) -> dict[str, Any]:
        """A target's measured value, and whether it is met."""
        above = self.better_peer() if target.above == "peer" else target.above
        value = self.ratio(above, target.below) if target.below else self.peak_mib(above)
        return judge(target.text, value, target.at_least, target.at_most)

    def result(self) -> dict[str, Any]:
        """All of it, as it is kept."""
        peer = self.better_peer()
        return {
            "config": f"configs/{self.work.config}",
            "input_shape": self.work.shape(),
            "threads": cores(),
            "torch_variant": self.variant,
            "torch_variants": self.variants,
            "difference_of_largest_logit": self.differences,
            "better_peer": peer,
            "contestants": {
                name: {
                    "median_ms": self.median_ms(name),
                    "speed_against_better_peer": self.ratio(peer, name),
                    "peak_mib": self.peak_mib(name),
                    "overrides": self.work.halotile.get(name, {}),
                    "rounds": self.rounds[name],
                }
                for name in self.contestants()
            },
            "targets": [self.judge(target) for target in self.work.targets],
        }


def race(work: Work, options: argparse.Namespace) -> dict[str, Any]:
    """Checks and times one work."""
    print(f"{work.name}: input {'x'.join(str(n) for n in work.shape())}", flush=True)
    with tempfile.TemporaryDirectory(prefix="halotile_peers_") as folder:
        contest = Race(work, options, Path(folder))
        contest.check()
        contest.choose_variant()
        contest.time_rounds()
        result = contest.result()
    print_work(work.name, result)
    return result


def print_work(name: str, result: dict[str, Any]) -> None:
    """The table of one work."""
    print(f"\n{name} ({result['threads']} threads; better peer: {result['better_peer']})")
    print(f"  {'':29} {'ms':>9} {'x better peer':>14} {'peak MiB':>9} {'others used':>12}")
    for contestant, value in result["contestants"].items():
        shown = f"PyTorch {result['torch_variant']}" if contestant == "PyTorch" else contestant
        foreign = max(timing["foreign_cpu_share"] for timing in value["rounds"])
        print(
            f"  {shown:29} {value['median_ms']:9.2f} {value['speed_against_better_peer']:14.3f} "
            f"{value['peak_mib']:9.0f} {100 * foreign:10.1f} %"
        )
    print_targets(result["targets"])
    print(flush=True)


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    names = [work.name for work in works()]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=0, help="rounds of all contestants (default 5; 2 with --quick)")
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=f"one of {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="few runs, no jit or compile, nothing kept")
    parser.add_argument("--output", type=Path, help="file for the results (default: this machine's kept results)")
    add_halotile_option(parser)
    options = parser.parse_args(words)
    if options.rounds < 1:
        options.rounds = 2 if options.quick else 5
    return options


def main() -> int:
    options = parse()
    if os.getloadavg()[0] > 0.5:
        print(f"note: load average {os.getloadavg()[0]:.1f}: something else runs here, times will be off\n")
    path = options.output or (None if options.quick else results_folder() / "cpu_peers.json")
    missed = 0
    for work in works():
        if options.only and work.name not in options.only:
            continue
        result = race(work, options)
        missed += sum(not target["met"] for target in result["targets"])
        if path:
            keep_work(path, work.name, result, PACKAGES, options.halotile)
    print("all targets met" if missed == 0 else f"{missed} targets missed")
    return 0
