"""Runs a case with both builds and compares what they saved, bit by bit, and the memory that they planned."""

from __future__ import annotations

import functools
import random
import sys
import tempfile
from array import array
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from halotile_tools.builds.cases import Case
from halotile_tools.builds.sides import BASE, NEW, Keys, Sides
from halotile_tools.common import ExperimentError, what_it_said

Answer = dict[str, Any]
MAGIC = b"\x93NUMPY\x01\x00"
NAN_ABOVE = 0x7F800000  # bits of infinity, without the sign: above are the NaNs


def write_random_npy(path: Path, shape: tuple[int, ...], seed: int) -> None:
    """float32 values in [-1, 1). Without NumPy, which a GPU host may lack."""
    source, count = random.Random(seed), 1
    for n in shape:
        count *= n
    values = array("f", (2 * source.random() - 1 for _ in range(count)))
    if sys.byteorder == "big":
        values.byteswap()
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(MAGIC) + 2 + len(header) + 1) % 64) + b"\n"
    path.write_bytes(MAGIC + len(header).to_bytes(2, "little") + header + values.tobytes())


def npy_parts(content: bytes) -> tuple[bytes, memoryview]:
    """Header and elements, as 32-bit words, of a file of format 1."""
    begin = len(MAGIC) + 2 + int.from_bytes(content[len(MAGIC) : len(MAGIC) + 2], "little")
    return content[:begin], memoryview(content)[begin:].cast("I")


def difference(base: bytes, new: bytes) -> str:
    """How two saved float32 arrays differ, in words; empty where all bits are equal."""
    if base == new:
        return ""
    (base_header, a), (new_header, b) = npy_parts(base), npy_parts(new)
    if base_header != new_header:
        return "other shape or type"
    unequal = [i for i in range(len(a)) if a[i] != b[i]]
    lost = sum((a[i] & 0x7FFFFFFF) <= NAN_ABOVE < (b[i] & 0x7FFFFFFF) for i in unequal)
    words = f"{len(unequal)} of {len(a)} elements, the first is {unequal[0]}"
    return f"{words}; {lost} are NaN in new alone" if lost else words


class Inputs:
    """Files of random images, one a shape; made at their first use, which is before cases run beside each other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def file(self, shape: tuple[int, ...]) -> Path:
        path = self.folder / f"input-{'x'.join(map(str, shape))}.npy"
        if not path.exists():
            write_random_npy(path, shape, seed=1)
        return path


class BitComparison:
    """Both builds on cases; what they are asked to save is what a plan has."""

    def __init__(self, sides: Sides, folder: Path) -> None:
        self.sides = sides
        self.folder = folder
        self.inputs = Inputs(folder)
        self.plan = functools.cache(self._plan)

    def _plan(self, config: str, keys: tuple[tuple[str, str], ...]) -> dict[str, Any]:
        try:
            plan = self.sides.plan(NEW, config, dict(keys))
        except ExperimentError:  # what the new build alone refuses is a difference, which its run will tell
            plan = self.sides.plan(BASE, config, dict(keys))
        ends = [stage["layers"][-1]["name"] for stage in plan["stages"]]
        return {"ends": ends, "input": plan["input"]}

    def planned(self, case: Case) -> dict[str, Any]:
        """The last layers of stages and the input's shape; grids do not matter for that."""
        asked = {"device", "engine", "precision", "patch.stages"}
        keys = tuple((key, str(value)) for key, value in case.keys.items() if key in asked)
        return self.plan(case.config, keys)

    def keys(self, case: Case) -> Keys:
        """The case's keys, with its input and what is saved. The second run is the one that finds memory used."""
        keys: Keys = {"measure.warmup": 1, "measure.min_runs": 1, "measure.max_seconds": 0, **case.keys}
        if case.keys.get("engine") == "reference":
            keys["measure.warmup"] = 0
        planned = self.planned(case)
        if case.extent:
            keys["input.height"], keys["input.width"] = case.extent
        if case.images:
            extent = case.extent or tuple(planned["input"]["extent"])
            keys["input.file"] = self.inputs.file((case.images, planned["input"]["channels"], *extent))
        for layer in planned["ends"] if case.maps else []:
            keys[f"output.save.{layer}"] = f"{layer}.npy"
        return {**keys, "output.save.logits": "logits.npy"}

    def compare(self, case: Case) -> Answer:
        """One case. A config that both builds refuse is no difference; one that only one of them takes is."""
        try:
            keys = self.keys(case)
        except ExperimentError as error:
            return {"name": case.name, "refused": {"both": what_it_said(error)}}
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            runs, refused = {}, {}
            for side in (BASE, NEW):
                try:
                    runs[side] = self.sides.run(side, case.config, keys, Path(folder) / side)
                except ExperimentError as error:
                    refused[side] = what_it_said(error)
            answer: Answer = {"name": case.name, "keys": {k: str(v) for k, v in case.keys.items()}}
            if refused:
                one = [f"{side} alone does not run it: {said}" for side, said in refused.items()]
                return {**answer, "refused": refused, "differences": one if runs else []}
            results = {side: run.result for side, run in runs.items()}
            saved = [Path(path).name for path in results[NEW]["saved"]]
            answer["files"] = len(saved)
            answer["differences"] = self.differences(Path(folder), saved)
        if results[BASE]["predictions"] != results[NEW]["predictions"]:
            answer["differences"].append("predictions")
        return {**answer, "sample_ms": results[NEW]["samples_ms"][-1], **memory(results)}

    @staticmethod
    def differences(folder: Path, saved: list[str]) -> list[str]:
        found = []
        for name in saved:
            words = difference((folder / BASE / name).read_bytes(), (folder / NEW / name).read_bytes())
            if words:
                found.append(f"{name.removesuffix('.npy')}: {words}")
        return found

    def compare_all(self, cases: list[Case], jobs: int) -> list[Answer]:
        """Every case, several at a time; prints what differs as soon as it is known."""
        for case in cases:
            try:
                self.keys(case)  # makes the inputs
            except ExperimentError:
                continue  # compare() tells
        answers = []
        with ThreadPoolExecutor(jobs) as pool:
            for answer in pool.map(self.compare, cases):
                for words in answer.get("differences", []):
                    print(f"  {answer['name']}: {words}", flush=True)
                answers.append(answer)
        return answers


def memory(results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Bytes of both builds; new over base, the larger ratio of those planned for maps and for tiles in flight."""
    fields = {"maps": "map_bytes", "scratch": "scratch_bytes", "peak": "peak_memory_bytes"}
    bytes_of = {side: {name: result[key] for name, key in fields.items()} for side, result in results.items()}
    ratios = [max(bytes_of[NEW][part], 1) / max(bytes_of[BASE][part], 1) for part in ("maps", "scratch")]
    return {"bytes": bytes_of, "memory_ratio": max(ratios)}
