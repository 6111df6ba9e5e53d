"""Measures how well decoding hides behind compute, and that memory stays flat, on a folder of photographs.

Two cases, each with one decoder and one compute thread, so that neither takes the other's core: small photographs
through AlexNet (compute takes longer) and large ones through its first layers (decoding takes longer). For each:

  decode   the same folder through a network of one pooling layer, which costs next to nothing
  compute  the same network and batch on seeded random values, times the number of batches
  stream   both at once: `halotile run` on the folder

and the ratio of stream to the slower of the two. Memory: the largest resident set with all images and with a tenth
of them, saving one layer's maps. Photographs are data/samples, resized with Pillow and hard-linked to many names.

    .venv/bin/python experiments/stream_overlap.py     about 2 minutes; keeps results/<machine>/stream_overlap.json

Needs Pillow. Times mean something only on a quiet machine with at least two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from halotile_tools.common import (
    CONFIGS,
    ROOT,
    ExperimentError,
    add_halotile_option,
    provenance,
    results_folder,
    run_halotile,
    write_json,
)

BATCH = 25
ONE_CORE_EACH = {"streams": 1, "threads": 1, "input.decoders": 1, "input.batch": BATCH, "preprocess.resize": 256}
TARGET = 1.10  # largest ratio of the stream to the slower of the two alone
FLAT = 8 << 20  # bytes that the largest resident set may grow with ten times the images
CASES = {
    # longer side of the photographs, images, config, what else is set
    "compute-bound": (400, 800, "torchvision.yaml", {"patch": "whole"}),
    "decode-bound": (1000, 400, "torchvision.yaml", {"patch": "whole", "until": "pool1"}),
}


def make_photographs(folder: Path, side: int, count: int) -> None:
    """`count` JPEG files, hard links to as many different photographs as data/samples has."""
    folder.mkdir()
    originals = []
    for path in sorted((ROOT / "data" / "samples").glob("*.[jp][pn]g")):
        image = Image.open(path).convert("RGB")
        scale = side / max(image.size)
        name = folder / f"{len(originals):05}.jpg"
        image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS).save(
            name, quality=90
        )
        originals.append(name)
    for i in range(len(originals), count):
        os.link(originals[i % len(originals)], folder / f"{i:05}.jpg")


def peak_bytes(halotile: Path, words: list[str]) -> int:
    """The largest resident set of a run that must succeed."""
    process = subprocess.Popen([str(halotile), "run", *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise ExperimentError(f"halotile run {' '.join(words)}: exit status {process.returncode}")
    return usage.ru_maxrss * 1024


def measure_case(halotile: Path, folder: Path, name: str) -> dict[str, Any]:
    side, count, config, extra = CASES[name]
    photographs = folder / name
    make_photographs(photographs, side, count)
    pool = folder / "pool.yaml"
    pool.write_text("input: {channels: 3, height: 224, width: 224}\nlayers: [{type: max_pool, kernel: 224}]\n")
    once = {"measure.warmup": 0, "measure.min_runs": 1}
    images = {"input.images": [str(photographs)]}
    results = folder / "results"
    # In turn, several times: other work on the machine then meets all of them.
    rounds = []
    for _ in range(3):
        decode = run_halotile(
            halotile,
            CONFIGS / config,
            {**ONE_CORE_EACH, **images, **once, "model": str(pool), "patch": "whole"},
            results,
        )
        compute = run_halotile(
            halotile, CONFIGS / config, {**ONE_CORE_EACH, **extra, "input.random": 1, "measure.max_seconds": 5}, results
        )
        stream = run_halotile(halotile, CONFIGS / config, {**ONE_CORE_EACH, **extra, **images, **once}, results)
        compute_seconds = compute["median_ms"] / 1e3 * (count / BATCH)
        rounds.append(
            {
                "decode_seconds": decode["stream"]["seconds"],
                "compute_seconds": compute_seconds,
                "stream": stream["stream"],
                "ratio_to_slower": stream["stream"]["seconds"] / max(decode["stream"]["seconds"], compute_seconds),
            }
        )
    best = min(rounds, key=lambda r: r["stream"]["seconds"])
    middle = sorted(r["ratio_to_slower"] for r in rounds)[1]
    print(
        f"{name}: {count} images, decode alone {best['decode_seconds']:.2f} s, "
        f"compute alone {best['compute_seconds']:.2f} s, "
        f"together {best['stream']['seconds']:.2f} s; median ratio to the slower {middle:.3f}",
        flush=True,
    )
    return {
        "images": count,
        "longer_side": side,
        "config": config,
        "overrides": {**ONE_CORE_EACH, **extra},
        "rounds": rounds,
        "median_ratio_to_slower": middle,
        "within_target": middle <= TARGET,
    }


def measure_memory(halotile: Path, folder: Path) -> dict[str, Any]:
    """Largest resident sets with 200 and with 2000 images, pool2 saved."""
    make_photographs(folder / "many", 400, 2000)
    photographs = sorted((folder / "many").iterdir())
    base = [
        str(CONFIGS / "torchvision.yaml"),
        f"input.batch={BATCH}",
        "measure.warmup=0",
        "measure.min_runs=1",
        "until=pool2",
        "preprocess.resize=256",
        f"output.directory={folder / 'results'}",
        "output.save={pool2: p.npy}",
    ]
    few = peak_bytes(halotile, [*base, f"input.images={json.dumps([str(p) for p in photographs[:200]])}"])
    many = peak_bytes(halotile, [*base, f"input.images=[{folder / 'many'}]"])
    saved = (folder / "results" / "p.npy").stat().st_size
    print(
        f"memory: {few / 2**20:.1f} MiB with 200 images, {many / 2**20:.1f} MiB with {len(photographs)}; "
        f"{saved / 2**20:.0f} MiB of maps saved",
        flush=True,
    )
    return {
        "images": [200, len(photographs)],
        "peak_bytes": [few, many],
        "saved_bytes": saved,
        "flat": many - few <= FLAT,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_halotile_option(parser)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="halotile_stream_") as temporary:
        folder = Path(temporary)
        cases = {name: measure_case(args.halotile, folder, name) for name in CASES}
        memory = measure_memory(args.halotile, folder)
    file = results_folder() / "stream_overlap.json"
    write_json(
        file,
        {"cases": cases, "memory": memory, "target_ratio": TARGET, "provenance": provenance(["pillow"], args.halotile)},
    )
    print(f"written: {file}")
    return 0 if memory["flat"] and all(c["within_target"] for c in cases.values()) else 1
