"""Verifies that an image's logits have the same bits in batches of every size, however the batch is split.

Runs both AlexNets on the first images of one seeded sequence: batches from 1 to --largest (1024) as a whole, and the
largest in sub-batches of equal and growing sizes, on one and on several streams, in tiles, on a GPU with every
dispatch. The logits' bits are compared with those of the same images in the largest batch, run whole. Prints what
differs, writes verify_batches_<engine>_<precision>.json among this machine's results, and exits with 1 if anything
differed.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from halotile_tools.common import CONFIGS, run_halotile
from halotile_tools.studies.verifying import (
    GPU_ENGINES,
    Answer,
    Case,
    add_options,
    refuse_below_one,
    verify_networks,
)

NETWORKS = ("alexnet", "single_tower")
SIZES = (1, 2, 3, 7, 8, 9, 32, 33, 128, 500, 512, 513)  # around where layers choose other blocks of threads


def cases(largest: int, gpu: bool) -> list[Case]:
    """The overrides of every run; the first is the one that the others are compared with."""
    whole = {"patch.grid": [1, 1], "sub_batch": "all", "streams": 1, "dispatch": "graph" if gpu else "streams"}
    made = [{**whole, "input.batch": size} for size in (largest, *(s for s in SIZES if s < largest))]

    def split(sub_batch: int | list[int] | str, streams: int, dispatch: str, **more: Any) -> None:
        if gpu or dispatch == "streams":
            keys = {"input.batch": largest, "sub_batch": sub_batch, "streams": streams, "dispatch": dispatch}
            made.append({**whole, **keys, **more})

    growing = [max(largest * share // 1024, 1) for share in (48, 64, 96, 128, 176, 224, 288)]
    for dispatch in ("streams", "graph"):
        split(max(largest // 64, 1), 8, dispatch)
        split(max(largest // 10, 1), 4, dispatch)
        split(growing, 3, dispatch)
        split(max(largest // 4, 1), 2, dispatch, **{"patch.grid": [2, 2], "patch.stages": "per_conv"})
        split(max(largest // 4, 1), 2, dispatch, **{"patch.grid": [3, 2], "patch.stages": "fused"})
    split(max(largest // 3, 1), 1, "batched", **{"patch.grid": [2, 2], "patch.stages": "per_conv"})
    split(growing, 1, "batched", **{"patch.grid": [3, 2], "patch.stages": "fused"})
    split("all", 1, "batched", **{"patch.grid": [4, 4], "patch.stages": "fused"})
    return made


def logits(options: argparse.Namespace, network: str, case: Case) -> np.ndarray:
    """The last layer's outputs of a run, (images, classes) float32."""
    keys = {"engine": options.engine, "precision": options.precision, "device": options.device, "input.random": 1}
    keys |= {"measure.warmup": 0, "measure.min_runs": 2, "measure.max_seconds": 0, "output.save.logits": "logits.npy"}
    with tempfile.TemporaryDirectory() as folder:
        run_halotile(options.halotile, CONFIGS / f"{network}_batch32.yaml", {**keys, **case}, Path(folder))
        return np.load(Path(folder) / "logits.npy").reshape(case["input.batch"], -1)


def verify(options: argparse.Namespace, network: str, expected: np.ndarray, case: Case) -> Answer:
    found = logits(options, network, case)
    differing = int((found.view(np.uint32) != expected[: len(found)].view(np.uint32)).any(axis=1).sum())
    return {"overrides": case, "images": len(found), "differing_images": differing}


def difference(answer: Answer) -> str:
    differing = answer["differing_images"]
    return f"{differing} of {answer['images']} images differ" if differing else ""


def works(options: argparse.Namespace) -> Iterator[tuple[str, Callable[[Case], Answer], list[Case]]]:
    for network in NETWORKS:
        reference, *others = cases(options.largest, options.engine in GPU_ENGINES)
        yield network, functools.partial(verify, options, network, logits(options, network, reference)), others


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=int, default=1024, help="images of the largest batch (default: 1024)")
    add_options(parser)
    options = parser.parse_args()
    refuse_below_one(parser, options, "largest", "jobs")
    return options


def main() -> int:
    options = parse()
    claim = f"runs have the bits of {options.largest} at once"
    file = f"verify_batches_{options.engine}_{options.precision}.json"
    return verify_networks(options, works(options), claim, difference, file)
