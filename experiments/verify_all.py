"""Verifies every shipped network in many patchings: does the patched pipeline have the unpatched one's bits?

Calls `halotile verify` on each config's network with one synthetic image, for grids from 1x1 to 8x8 and uneven patch
sizes, stages `per_conv` and `fused`, 1 to 8 streams, both storages; on a GPU also every dispatch, and sub-batches.
--edge N instead verifies the convolutional layers of both AlexNets on one image of N x N pixels, in 4x4 and 8x8 tiles,
with every dispatch. Prints what differs, writes verify_<engine>.json (verify_<engine>_<precision>.json but for fp32;
..._<N>.json) among this machine's results, and exits with 1 if anything differed: the measured part of docs/engines.md.
"""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from common import (
    CONFIGS,
    ExperimentError,
    add_halotile_option,
    guarded,
    override_text,
    provenance,
    results_folder,
    write_json,
)

NETWORKS = ("alexnet", "single_tower", "torchvision", "vgg16", "vit_patch_embed", "digits")
LARGE_NETWORKS = ("alexnet", "single_tower")
PATCHES: tuple[dict[str, Any], ...] = (
    *({"patch.grid": [rows, columns]} for rows, columns in ((1, 1), (2, 2), (3, 2), (1, 5), (4, 4), (8, 8))),
    {"patch.size": 29},
    {"patch.size": [50, 37]},
)


def cases(gpu: bool) -> list[dict[str, Any]]:
    """The overrides of every case; what else varies goes round so that each patching meets several."""
    made = []
    for stages in ("per_conv", "fused"):
        for number, patch in enumerate(PATCHES):
            for storage in ("view", "packed"):
                streams = (1, 2, 4, 8)[(number + (storage == "packed")) % 4]
                case = {**patch, "patch.stages": stages, "patch.storage": storage, "streams": streams}
                if gpu:
                    case["dispatch"] = ("streams", "graph", "batched")[len(made) % 3]
                    case["input.batch"], case["sub_batch"] = ((1, "all"), (5, 2), (3, 1), (4, "all"))[len(made) % 4]
                    if case["dispatch"] == "batched":
                        case["streams"] = 1
                made.append(case)
    return made


def large_cases(edge: int, gpu: bool) -> list[dict[str, Any]]:
    """The overrides of every case of one large image."""
    image = {"until": "pool5", "input.height": edge, "input.width": edge, "sub_batch": "all"}
    return [
        {**image, "patch.grid": [grid, grid], "patch.stages": stages, "dispatch": dispatch, "streams": streams}
        for grid in (4, 8)
        for stages in ("per_conv", "fused")
        for dispatch, streams in ((("graph", 4), ("batched", 1), ("streams", 4)) if gpu else (("streams", 2),))
    ]


def verify(options: argparse.Namespace, network: str, overrides: dict[str, Any]) -> dict[str, Any]:
    """One `halotile verify --json`; exit status 1 is an answer too."""
    fixed = {"input.random": 1, "input.batch": 1, "engine": options.engine, "device": options.device}
    fixed["precision"] = options.precision
    words = [f"{key}={override_text(value)}" for key, value in {**fixed, **overrides}.items()]
    command = [str(options.halotile), "verify", str(CONFIGS / f"{network}.yaml"), "--json", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise ExperimentError(f"{' '.join(command)}: {done.stderr.strip()}")
    answer = json.loads(done.stdout)
    stages = answer["stages"]
    return {
        "overrides": overrides,
        "equal_bits": answer["equal_bits"],
        "max_abs": max([answer["logits"]["max_abs"], *(s["max_abs"] for s in stages)]),
        "max_ulp": max([answer["logits"]["max_ulp"], *(s["max_ulp"] for s in stages)]),
        "differing_stages": [s["layer"] for s in stages if not s["equal_bits"]],
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", default="onednn", help="onednn (default), reference, direct, tensor_core, cudnn")
    parser.add_argument("--precision", default="fp32", help="as in configs (default: fp32)")
    parser.add_argument("--device", default="auto", help="as in configs (default: auto)")
    parser.add_argument("--network", action="append", choices=NETWORKS, help="only this one; may be repeated")
    parser.add_argument("--edge", type=int, help="one image of so many pixels down and across, of both AlexNets")
    parser.add_argument("--output", type=Path, help="folder for the result (default: this machine's kept results)")
    parser.add_argument("--jobs", type=int, default=1, help="calls at a time (default: 1)")
    add_halotile_option(parser)
    options = parser.parse_args()
    if options.jobs < 1:
        parser.error(f"--jobs {options.jobs}: at least 1 call at a time")
    if options.edge is not None and options.edge < 1:
        parser.error(f"--edge {options.edge}: at least one pixel")
    return options


def main() -> int:
    options = parse()
    networks = options.network or (LARGE_NETWORKS if options.edge else NETWORKS)
    gpu = options.engine in ("direct", "tensor_core", "cudnn")
    result: dict[str, Any] = {"provenance": provenance((), options.halotile), "networks": {}}
    different = 0
    for network in networks:
        with ThreadPoolExecutor(options.jobs) as pool:
            wanted = large_cases(options.edge, gpu) if options.edge else cases(gpu)
            answers = list(pool.map(functools.partial(verify, options, network), wanted))
        unequal = [answer for answer in answers if not answer["equal_bits"]]
        different += len(unequal)
        print(f"{network}: {len(answers) - len(unequal)} of {len(answers)} patchings have equal bits", flush=True)
        for answer in unequal:
            words = " ".join(f"{key}={override_text(value)}" for key, value in answer["overrides"].items())
            print(f"    {words}: up to {answer['max_abs']:.3g}, {answer['max_ulp']} ulp, from {answer['differing_stages'][0]}")
        result["networks"][network] = {"equal": len(answers) - len(unequal), "cases": answers}
    words = [options.engine, *([options.precision] if options.precision != "fp32" else [])]
    words += [str(options.edge)] if options.edge else []
    path = (options.output or results_folder()) / f"verify_{'_'.join(words)}.json"
    write_json(path, result)
    print(f"written: {path}")
    return 1 if different else 0


if __name__ == "__main__":
    guarded(main)
