"""halotile as a contestant: the one place where what is asked for becomes keys of a config."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from halotile_tools.common import CONFIGS, ROOT, ExperimentError, median, run_halotile, what_it_said
from halotile_tools.peers.gpu_race import Contestant, Prepared, Timing, plan_turn

CONFIG = CONFIGS / "alexnet_batch32.yaml"
DISPATCHES = ("graph", "batched", "streams")
STREAMS = 4
SECONDS = 1.0  # of timed runs at most


def arithmetic(precision: str, engine: str = "tensor_core") -> dict[str, Any]:
    """A precision on a CUDA engine; `auto` is for trying on the CPU, which has fewer precisions."""
    if engine == "auto":
        return {"device": "cpu", "engine": "auto", "precision": "bf16" if precision == "bf16" else "fp32"}
    return {"device": "cuda", "engine": engine, "precision": precision}


def network(model: Path, until: str, batch: int, extent: tuple[int, int]) -> dict[str, Any]:
    """The network on seeded weights and a seeded batch that lies on the device."""
    keys: dict[str, Any] = {"model": model, "weights.random": 7, "input.random": 1, "input.batch": batch}
    keys |= {"input.height": extent[0], "input.width": extent[1], "measure.input": "device", "measure.output": "device"}
    return {**keys, "until": until} if until else keys


def whole(dispatch: str) -> dict[str, Any]:
    return {"streams": 1, "sub_batch": "all", "dispatch": dispatch}


def patched(grid: int, stages: str, dispatch: str) -> dict[str, Any]:
    """Tiles: all of a stage in one launch when batched, else dealt to streams."""
    streams = 1 if dispatch == "batched" else STREAMS
    return {**whole(dispatch), "patch.grid": [grid, grid], "patch.stages": stages, "streams": streams}


def from_pixels(folder: Path, streams: int, sub_batch: int | list[int]) -> dict[str, Any]:
    """8-bit images from the host's memory, in sub-batches on streams; the keys come behind network()'s."""
    keys = {"input.images": folder, "input.upload": "uint8", "measure.input": "host"}
    return {**keys, "streams": streams, "sub_batch": sub_batch, "dispatch": "graph"}


def shown(value: Any) -> str:
    """A key's value for the record: files of the project from its root, temporary ones by their name."""
    if isinstance(value, Path) and not value.is_relative_to(ROOT):
        return value.name
    return str(value).removeprefix(f"{ROOT}/")


def write_images(folder: Path, pixels: np.ndarray, count: int) -> None:
    """PNG files whose order is the batch's: the given images over and over."""
    folder.mkdir()
    for number in range(count):
        path = folder / f"{number:05}.png"
        if number < len(pixels):
            Image.fromarray(pixels[number]).save(path, compress_level=1)
        else:
            path.hardlink_to(folder / f"{number % len(pixels):05}.png")


class MemoryWatch:
    """The device memory that comes into use in a block, as the driver tells it: another process's too."""

    def __init__(self) -> None:
        self.most = 0
        self.stop = threading.Event()

    @staticmethod
    def used() -> int:
        free, total = torch.cuda.mem_get_info()
        return total - free

    def watch(self, before: int) -> None:
        while not self.stop.wait(0.01):
            self.most = max(self.most, self.used() - before)

    def __enter__(self) -> MemoryWatch:
        if torch.cuda.is_available():
            self.thread = threading.Thread(target=self.watch, args=(self.used(),), daemon=True)
            self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        if torch.cuda.is_available():
            self.thread.join()


class HalotileContestant(Contestant):
    """One configuration; every turn is a process."""

    def __init__(
        self, program: Path, folder: Path, name: str, heat: str, precision: str, keys: dict[str, Any],
        weights: int = 0, watch_memory: bool = False, instead_of: str = "", raced: bool = True,
    ) -> None:  # fmt: skip
        self.program, self.folder = program, folder
        self.name, self.heat, self.precision = name, heat, precision
        self.keys = {key: value for key, value in keys.items() if value is not None}
        self.weight_bytes = weights * {"fp32": 4, "tf32": 4}.get(precision, 2)
        self.watch_memory = watch_memory
        self.instead_of, self.raced = instead_of, raced
        self.probe_ms = 1.0

    def run(self, warmup: int, runs: int, save: bool) -> dict[str, Any]:
        measure = {
            "measure.warmup": warmup,
            "measure.min_runs": runs,
            "measure.max_seconds": SECONDS,
            "measure.tightness": 1,
        }
        words = {**self.keys, **measure, **({"output.save.logits": "logits.npy"} if save else {})}
        try:
            return run_halotile(self.program, CONFIG, words, self.folder)
        except ExperimentError as error:  # the words of the command are known: what it said counts
            raise ExperimentError(what_it_said(error)) from error

    def prepare(self) -> Prepared:
        (self.folder / "logits.npy").unlink(missing_ok=True)
        watch = MemoryWatch()
        if self.watch_memory:
            with watch:
                result = self.run(3, 10, save=True)
        else:
            result = self.run(3, 10, save=True)
        # Outputs that are saved are copied to the host in every run, and are not when it counts.
        copied = result["components"]["device_to_host_ms"] if "until" in self.keys else 0.0
        self.probe_ms = max(median(result["samples_ms"]) - copied, 1e-3)
        facts = {
            "keys": {key: shown(value) for key, value in self.keys.items()},
            "device_bytes": result["map_bytes"] + result["scratch_bytes"] + self.weight_bytes,
            "halo_flops_share": result["halo_flops_share"],
            "engine_note": result.get("engine_note", ""),
        }
        if watch.most:
            facts["device_bytes_seen"] = watch.most  # with the process's context and modules
        return Prepared(np.load(self.folder / "logits.npy"), self.probe_ms, facts)

    def turn(self) -> Timing:
        result = self.run(*plan_turn(self.probe_ms), save=False)
        return {key: result[key] for key in ("samples_ms", "components") if key in result}
