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
from typing import Any

from halotile_tools.common import CONFIGS, ExperimentError, override_text
from halotile_tools.studies.verifying import (
    GPU_ENGINES,
    Answer,
    add_options,
    refuse_below_one,
    verify_networks,
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


def verify(options: argparse.Namespace, network: str, overrides: dict[str, Any]) -> Answer:
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


def difference(answer: Answer) -> str:
    if answer["equal_bits"]:
        return ""
    return f"up to {answer['max_abs']:.3g}, {answer['max_ulp']} ulp, from {answer['differing_stages'][0]}"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", action="append", choices=NETWORKS, help="only this one; may be repeated")
    parser.add_argument("--edge", type=int, help="one image of so many pixels down and across, of both AlexNets")
    add_options(parser)
    options = parser.parse_args()
    refuse_below_one(parser, options, "jobs", "edge")
    return options


def main() -> int:
    options = parse()
    gpu = options.engine in GPU_ENGINES
    networks = options.network or (LARGE_NETWORKS if options.edge else NETWORKS)
    wanted = large_cases(options.edge, gpu) if options.edge else cases(gpu)
    words = [options.engine, *([options.precision] if options.precision != "fp32" else [])]
    words += [str(options.edge)] if options.edge else []
    works = ((network, functools.partial(verify, options, network), wanted) for network in networks)
    return verify_networks(options, works, "patchings have equal bits", difference, f"verify_{'_'.join(words)}.json")
