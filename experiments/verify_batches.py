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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from common import (
    CONFIGS,
    add_halotile_option,
    guarded,
    override_text,
    provenance,
    results_folder,
    run_halotile,
    write_json,
)

NETWORKS = ("alexnet", "single_tower")
SIZES = (1, 2, 3, 7, 8, 9, 32, 33, 128, 500, 512, 513)  # around where layers choose other blocks of threads
Case = dict[str, Any]


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


def verify(options: argparse.Namespace, network: str, expected: np.ndarray, case: Case) -> dict[str, Any]:
    found = logits(options, network, case)
    differing = int((found.view(np.uint32) != expected[: len(found)].view(np.uint32)).any(axis=1).sum())
    return {"overrides": case, "images": len(found), "differing_images": differing}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="onednn", help="as in configs (default: onednn)")
    parser.add_argument("--precision", default="fp32", help="as in configs (default: fp32)")
    parser.add_argument("--device", default="auto", help="as in configs (default: auto)")
    parser.add_argument("--largest", type=int, default=1024, help="images of the largest batch (default: 1024)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time (default: 1)")
    parser.add_argument("--output", type=Path, help="folder for the result (default: this machine's kept results)")
    add_halotile_option(parser)
    options = parser.parse_args()
    for name in ("largest", "jobs"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} {getattr(options, name)}: at least 1")
    return options


def main() -> int:
    options = parse()
    gpu = options.engine in ("direct", "tensor_core", "cudnn")
    result: dict[str, Any] = {"provenance": provenance((), options.halotile), "networks": {}}
    different = 0
    for network in NETWORKS:
        reference, *others = cases(options.largest, gpu)
        expected = logits(options, network, reference)
        with ThreadPoolExecutor(options.jobs) as pool:
            answers = list(pool.map(functools.partial(verify, options, network, expected), others))
        unequal = [answer for answer in answers if answer["differing_images"]]
        different += len(unequal)
        print(f"{network}: {len(answers) - len(unequal)} of {len(answers)} runs have the bits of {options.largest} at once")
        for answer in unequal:
            words = " ".join(f"{key}={override_text(value)}" for key, value in answer["overrides"].items())
            print(f"    {words}: {answer['differing_images']} of {answer['images']} images differ")
        result["networks"][network] = {"equal": len(answers) - len(unequal), "cases": answers}
    path = (options.output or results_folder()) / f"verify_batches_{options.engine}_{options.precision}.json"
    write_json(path, result)
    print(f"written: {path}")
    return 1 if different else 0


if __name__ == "__main__":
    guarded(main)
