"""The study of streams and patches on a GPU: measures six figures' data, draws them, writes the text's tables.

On a GPU host it calls the `halotile` program (about four minutes), and keeps everything it measured in study.json
among that GPU's results, a figure at a time, so that what is finished stays. --from-kept draws docs/images/study_*.png
and writes the tables of docs/study.md from kept results, on any machine. A point that cannot run is kept with its
reason and left out of the pictures.

  1 cpu_batch    CPU time by batch size: naive (reference, one stream) and fast (onednn, all cores)
  2 gpu_batch    GPU time by batch size, split into convolution, pooling, GEMM, LRN
  3 memory       convolution layers split into allocation, copies and kernels, for memory: per_layer and arena
  4 kernels      registers, shared, constant and global memory of each kernel family
  5 sub_batches  time by number of streams for sub-batches of 32 and 256 images from host memory
  6 patches      patch size x streams, for 227 and 4096 pixel images
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from halotile_tools.common import (
    CONFIGS,
    ROOT,
    ExperimentError,
    add_halotile_option,
    call_halotile,
    cores,
    gpu_results_folder,
    halotile_info,
    provenance,
    run_halotile,
    write_json,
)
from halotile_tools.figures.trace_summary import launched, summarize

CONFIG = CONFIGS / "alexnet_batch32.yaml"
LARGE_CONFIG = CONFIGS / "large_image.yaml"
DIGITS = ROOT / "data" / "digits" / "images"
NAIVE_BATCHES = (1, 2, 8, 32)
FAST_BATCHES = (1, 2, 4, 8, 16, 32)
GPU_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
MEMORY_BATCHES = (1, 4, 16, 64, 256)
STREAMS = (1, 2, 4, 8, 16)
PATCH_STREAMS = (1, 2, 4, 8)
PATCHES_227 = ("whole", 128, 64, 32)
PATCHES_4096 = ("whole", 2048, 1024, 512)
KEPT = (
    "median_ms",
    "min_ms",
    "runs",
    "samples_ms",
    "components",
    "kinds",
    "layers",
    "halo_flops_share",
    "map_bytes",
    "scratch_bytes",
)
GPU: dict[str, Any] = {"device": "cuda", "engine": "direct", "streams": 1, "sub_batch": "all"}

Point = dict[str, Any]  # what was asked for, and what came of it


class Bench:
    """Calls the program, and keeps what a point needs of its answer."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.halotile: Path = options.halotile
        self.folder = folder
        self.multiprocessors = find(halotile_info(self.halotile), "multiprocessors")
        self.traces = True  # until the program says that it cannot

    def point(
        self,
        overrides: dict[str, Any],
        runs: int = 8,
        warmup: int = 2,
        config: Path = CONFIG,
        trace: bool = False,
        **names: Any,
    ) -> Point:
        """One process. `names` say where the point belongs; with `trace` a summary of a trace comes along."""
        measure = {"measure.warmup": warmup, "measure.min_runs": runs, "measure.max_seconds": 1}
        words = {**overrides, **measure}
        point: Point = {**names, "overrides": overrides}
        try:
            point.update(self.run(config, words, trace and self.traces))
        except ExperimentError as error:
            point["error"] = str(error)
        shown = ", ".join(f"{key} {value}" for key, value in names.items())
        print(f"  {shown}: {point.get('error') or format(point['median_ms'], '.3f') + ' ms'}", flush=True)
        return point

    def run(self, config: Path, words: dict[str, Any], trace: bool) -> Point:
        if trace:
            try:
                result = run_halotile(self.halotile, config, {**words, "measure.trace": "trace.json"}, self.folder)
                recorded = json.loads((self.folder / "trace.json").read_text(encoding="utf-8"))
                return {
                    **kept(result),
                    "trace": summarize(recorded, self.multiprocessors or 1),
                    "launched": launched(recorded),
                }
            except ExperimentError as error:
                if "measure.trace" not in str(error):
                    raise
                print(f"  note: no traces here: {error}")
                self.traces = False
        return kept(run_halotile(self.halotile, config, words, self.folder))


def kept(result: dict[str, Any]) -> Point:
    """The parts of a run's result that the figures use."""
    return {key: result[key] for key in KEPT if key in result}


def find(value: Any, key: str) -> Any:
    """The first value of a key anywhere in nested dictionaries and lists, or None."""
    if isinstance(value, dict):
        if key in value:
            return value[key]
        value = list(value.values())
    if isinstance(value, list):
        return next((v for v in (find(item, key) for item in value) if v is not None), None)
    return None


def cpu_batch(bench: Bench) -> list[Point]:
    """Figure 1. The naive pipeline takes a second an image: one run each, unwarmed."""
    naive: dict[str, Any] = {"device": "cpu", "engine": "reference", "streams": 1, "sub_batch": "all"}
    points = [
        bench.point({**naive, "input.batch": b}, runs=1, warmup=0, series="naive", batch=b) for b in NAIVE_BATCHES
    ]
    for batch in FAST_BATCHES:
        streams = min(batch, cores())
        fast = {"device": "cpu", "engine": "onednn", "streams": streams, "sub_batch": max(1, batch // streams)}
        points.append(bench.point({**fast, "input.batch": batch}, series="fast", batch=batch))
    return points


def gpu_batch(bench: Bench) -> list[Point]:
    """Figure 2."""
    resident = {**GPU, "measure.input": "device"}
    return [bench.point({**resident, "input.batch": b}, batch=b, trace=True) for b in GPU_BATCHES]


def memory(bench: Bench) -> list[Point]:
    """Figure 3: the network up to its last pooling, from host memory."""
    given = {**GPU, "measure.input": "host", "until": "pool5"}
    return [
        bench.point({**given, "memory": mode, "input.batch": b}, mode=mode, batch=b)
        for mode in ("per_layer", "arena")
        for b in MEMORY_BATCHES
    ]


def kernels(bench: Bench) -> list[Point]:
    """Figure 4: what the driver says of every kernel, and what one run at batch 32 launched."""
    listed = json.loads(call_halotile(bench.halotile, ["info", "--kernels", "--json"]))["kernels"]
    run = bench.point({**GPU, "measure.input": "device", "input.batch": 32}, runs=1, batch=32, trace=True)
    return [{"kernels": listed, "launched": run.get("launched", [])}]


def sub_batches(bench: Bench) -> list[Point]:
    """Figure 5: from host memory; and computing alone, from device memory, on one stream. Pixels as uint8 come from
    files: small ones, of which there are enough, enlarged to the network's input."""
    points = []
    pixels = {"input.images": [str(DIGITS)], "preprocess.resize": 256, "preprocess.crop": 227}
    for batch in (32, 256):
        for upload in ("fp32", "uint8"):
            host = {**GPU, "measure.input": "host", "input.upload": upload, "input.batch": batch}
            if upload == "uint8":
                host.update(pixels)
            for streams in STREAMS if upload == "fp32" else (1, 4):
                cut = {**host, "streams": streams, "sub_batch": batch // streams}
                points.append(bench.point(cut, batch=batch, upload=upload, streams=streams, trace=True))
        resident = {**GPU, "measure.input": "device", "input.batch": batch}
        points.append(bench.point(resident, batch=batch, upload="none", streams=1))
    return points


def patches(bench: Bench) -> list[Point]:
    """Figure 6: the whole image has one tile a stage, so its row is measured on one stream alone."""
    points = []
    for pixels, sizes in ((227, PATCHES_227), (4096, PATCHES_4096)):
        config = CONFIG if pixels == 227 else LARGE_CONFIG
        base: dict[str, Any] = {**GPU, "measure.input": "device", "patch.stages": "per_conv"}
        base["input.batch"] = 32 if pixels == 227 else 1
        for size in sizes:
            for streams in PATCH_STREAMS if size != "whole" else (1,):
                for dispatch in ("streams", "graph") if streams == 4 else ("streams",):
                    words = {**base, "patch.size": size, "streams": streams, "dispatch": dispatch}
                    names = {"pixels": pixels, "size": size, "streams": streams, "dispatch": dispatch}
                    traced = streams in (1, 4) and dispatch == "streams"
                    points.append(bench.point(words, runs=4, config=config, trace=traced, **names))
    return points


FIGURES: dict[str, Callable[[Bench], list[Point]]] = {
    "cpu_batch": cpu_batch,
    "gpu_batch": gpu_batch,
    "memory": memory,
    "kernels": kernels,
    "sub_batches": sub_batches,
    "patches": patches,
}


def measure(options: argparse.Namespace, file: Path) -> None:
    """Measures the chosen figures and keeps each as soon as it is finished."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="halotile_study_") as folder:
        bench = Bench(options, Path(folder))
        for name in options.only or FIGURES:
            print(f"{name} ({time.perf_counter() - begin:.0f} s)", flush=True)
            points = FIGURES[name](bench)
            data = read(file) if file.exists() else {"figures": {}}
            data["figures"][name] = {
                "provenance": provenance(("numpy",), options.halotile),
                "multiprocessors": bench.multiprocessors,
                "points": points,
            }
            write_json(file, data)
    print(f"written: {file} ({time.perf_counter() - begin:.0f} s)")


def read(file: Path) -> dict[str, Any]:
    """Kept data."""
    if not file.is_file():
        raise ExperimentError(
            f"{file} does not exist: measure on a GPU host first, or name the kept folder with --output"
        )
    return json.loads(file.read_text(encoding="utf-8"))


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--from-kept", "--draw", action="store_true", help="measure nothing: pictures and tables from kept data"
    )
    parser.add_argument("--only", action="append", choices=list(FIGURES), metavar="NAME", help="one figure")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="folder of study.json (default: this GPU's kept results; with --from-kept results/h200)",
    )
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="default: docs/images")
    parser.add_argument("--text", type=Path, metavar="FILE", help="text with tables (default: docs/study.md)")
    parser.add_argument("--no-draw", action="store_true", help="measure only")
    add_halotile_option(parser)
    options = parser.parse_args(words)
    options.pictures = options.pictures or ROOT / "docs" / "images"
    options.text = options.text or ROOT / "docs" / "study.md"
    if not options.output:
        options.output = ROOT / "experiments" / "results" / "h200" if options.from_kept else gpu_results_folder()
    return options


def main() -> int:
    options = parse()
    file = options.output / "study.json"
    if not options.from_kept:
        measure(options, file)
    if options.no_draw:
        return 0
    from halotile_tools.figures.study_pictures import draw_all
    from halotile_tools.figures.study_tables import write_tables

    data = read(file)
    write_tables(data, options.text)
    draw_all(data, options.pictures)
    return 0
