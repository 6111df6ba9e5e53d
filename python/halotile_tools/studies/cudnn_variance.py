"""How much cuDNN's results depend on how the work is cut, and what cuDNN takes for the same work.

On a GPU host with cuDNN. For each network and precision, `halotile verify` with `engine: cudnn` compares patchings
(grids, stages per_conv and fused) and single images of a batch with the whole run: how many have equal bits, how many
elements differ, by how much. Then `halotile run` times the whole network, input and logits on the device, replayed from
a graph, with cudnn and with the project's own engine of that precision, in turns. Writes cudnn_variance.json among this
GPU's results after every network, and keeps the other networks there if the same build measured them; --minutes ends it
early and says what was left out. Exit status 0: it measures, and promises nothing.
"""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from halotile_tools.common import (
    CONFIGS,
    ExperimentError,
    add_halotile_option,
    gpu_results_folder,
    halotile_info,
    median,
    override_text,
    provenance,
    run_halotile,
    what_it_said,
    write_json,
)

NETWORKS = ("single_tower", "alexnet", "torchvision", "digits", "vgg16")
PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
BATCH = 4
GRIDS = ((2, 2), (3, 2), (4, 4), (8, 8))
CASES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("whole, again", {"patch.grid": [1, 1]}),
    ("whole, image by image", {"patch.grid": [1, 1], "sub_batch": 1}),
    *(
        (f"{rows}x{columns} {stages}", {"patch.grid": [rows, columns], "patch.stages": stages, "streams": 2})
        for stages in ("per_conv", "fused")
        for rows, columns in GRIDS
    ),
)
TIMED_BATCHES = (1, 32, 256)
ROUNDS = 3


def fixed(precision: str, engine: str, batch: int) -> dict[str, Any]:
    """What all calls have in common: seeded images in a batch of this size."""
    return {"input.random": 1, "input.batch": batch, "device": "cuda", "engine": engine, "precision": precision}


def share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def verify(options: argparse.Namespace, network: str, precision: str, overrides: dict[str, Any]) -> dict[str, Any]:
    """One `halotile verify --json`: 0 and 1 are answers, anything else is trouble."""
    words = {**fixed(precision, "cudnn", BATCH), **overrides}
    command = [str(options.halotile), "verify", str(CONFIGS / f"{network}.yaml"), "--json"]
    command += [f"{key}={override_text(value)}" for key, value in words.items()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise ExperimentError(f"{' '.join(command)}: {done.stderr.strip()}")
    answer = json.loads(done.stdout)
    maps = [*answer["stages"], answer["logits"]]
    return {
        "overrides": {key: str(value) for key, value in overrides.items()},
        "equal_bits": answer["equal_bits"],
        "logits_equal": answer["logits"]["equal_bits"],
        "differing_share": share(sum(m["different"] for m in maps), sum(m["elements"] for m in maps)),
        "max_abs": max(float(m["max_abs"]) for m in maps),  # "inf" where a NaN stands on one side
        "max_ulp": max(m["max_ulp"] for m in maps),
        "logits_max_abs": float(answer["logits"]["max_abs"]),
        "logits_max_rel": answer["logits"]["max_rel"],
        "logits_max_ulp": answer["logits"]["max_ulp"],
        "differing_stages": [m["layer"] for m in answer["stages"] if not m["equal_bits"]],
    }


def case_answer(
    options: argparse.Namespace, network: str, precision: str, deadline: float, case: tuple[str, dict[str, Any]]
) -> dict[str, Any] | None:
    """One case's answer, or null when the time is up; cuDNN's refusals are results, too."""
    if time.monotonic() > deadline:
        return None
    name, overrides = case
    try:
        return verify(options, network, precision, overrides)
    except ExperimentError as error:
        said = what_it_said(error)
        print(f"  {network} {precision} {name}: {said}", flush=True)
        return {"failed": said}


def variance(options: argparse.Namespace, network: str, precision: str, deadline: float) -> dict[str, Any]:
    """Every case's answer, or the cases left out because the time is up."""
    with ThreadPoolExecutor(options.jobs) as pool:
        found = list(pool.map(functools.partial(case_answer, options, network, precision, deadline), CASES))
    cases = {name: answer for (name, _), answer in zip(CASES, found, strict=True) if answer is not None}
    left_out = [name for name, _ in CASES if name not in cases]
    answers = [case for case in cases.values() if "failed" not in case]
    patchings = [case for name, case in cases.items() if "failed" not in case and not name.startswith("whole")]
    summary = {
        "patchings": len(patchings),
        "patchings_with_equal_bits": sum(case["equal_bits"] for case in patchings),
        "max_abs": max((case["max_abs"] for case in answers), default=None),
        "max_ulp": max((case["max_ulp"] for case in answers), default=None),
        "logits_max_abs": max((case["logits_max_abs"] for case in answers), default=None),
        "logits_max_ulp": max((case["logits_max_ulp"] for case in answers), default=None),
    }
    print(
        f"{network} {precision}: {summary['patchings_with_equal_bits']} of {summary['patchings']} patchings have "
        f"equal bits; maps up to {summary['max_abs']}, logits up to {summary['logits_max_abs']} "
        f"({summary['logits_max_ulp']} ulp)",
        flush=True,
    )
    return {**summary, "cases": cases, "left_out": left_out}


def own_engine(precision: str) -> str:
    return "direct" if precision == "fp32" else "tensor_core"


def timed(options: argparse.Namespace, network: str, precision: str, engine: str, batch: int) -> dict[str, Any]:
    """The whole network, replayed from a graph."""
    keys = {**fixed(precision, engine, batch), "patch.grid": [1, 1], "streams": 1, "dispatch": "graph"}
    keys |= {"measure.input": "device", "measure.output": "device"}
    keys |= {"measure.warmup": 3, "measure.min_runs": 10, "measure.max_seconds": 0.5}
    with tempfile.TemporaryDirectory() as folder:
        return run_halotile(options.halotile, CONFIGS / f"{network}.yaml", keys, Path(folder))


def times(options: argparse.Namespace, network: str, precision: str, deadline: float) -> dict[str, Any]:
    """Medians of rounds in which the engines take turns."""
    result: dict[str, Any] = {}
    engines = ("cudnn", own_engine(precision))
    for batch in TIMED_BATCHES:
        runs: dict[str, list[dict[str, Any]]] = {engine: [] for engine in engines}
        failed: dict[str, str] = {}
        for _ in range(ROUNDS):
            for engine in engines:
                if engine in failed or time.monotonic() > deadline:
                    continue
                try:
                    runs[engine].append(timed(options, network, precision, engine, batch))
                except ExperimentError as error:
                    failed[engine] = what_it_said(error)
                    print(f"  {network} {precision} batch {batch} {engine}: {failed[engine]}", flush=True)
        row: dict[str, Any] = {
            engine: {
                "median_ms": median([run["median_ms"] for run in made]),
                "rounds_ms": [run["median_ms"] for run in made],
                "scratch_bytes": made[-1]["scratch_bytes"],
                "engine_note": made[-1]["engine_note"],
            }
            for engine, made in runs.items()
            if made
        }
        if failed:
            row["failed"] = failed
        result[f"batch {batch}"] = row
        if all(engine in row for engine in engines):
            ours, theirs = row[engines[1]]["median_ms"], row["cudnn"]["median_ms"]
            print(
                f"  batch {batch}: cudnn {theirs:.3f} ms, {engines[1]} {ours:.3f} ms ({theirs / ours:.2f} times)",
                flush=True,
            )
    return result


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", action="append", choices=NETWORKS, help="only this one; may be repeated")
    parser.add_argument("--precision", action="append", choices=PRECISIONS, help="only this one; may be repeated")
    parser.add_argument("--minutes", type=float, default=60.0, help="begin nothing new after so long (default: 60)")
    parser.add_argument("--no-times", action="store_true", help="only what differs")
    parser.add_argument("--jobs", type=int, default=1, help="verify calls at a time (default: 1); times are alone")
    parser.add_argument("--output", type=Path, help="folder for the result (default: this GPU's kept results)")
    add_halotile_option(parser)
    options = parser.parse_args()
    if options.jobs < 1:
        parser.error(f"--jobs {options.jobs}: at least 1 call at a time")
    return options


def kept_networks(path: Path, halotile: dict[str, Any]) -> dict[str, Any]:
    """What the same clean build measured before on this kind of GPU."""
    if not path.is_file() or halotile["git_dirty"]:
        return {}
    kept = json.loads(path.read_text(encoding="utf-8"))
    same = all(kept["provenance"]["halotile"][key] == halotile[key] for key in ("git_commit", "git_dirty", "cudnn"))
    return kept["networks"] if same else {}


def main() -> int:
    options = parse()
    deadline = time.monotonic() + 60 * options.minutes
    info = halotile_info(options.halotile)
    if info["cudnn"] is None:
        raise ExperimentError(info["cudnn_obstacle"])
    path = (options.output or gpu_results_folder()) / "cudnn_variance.json"
    result: dict[str, Any] = {"provenance": provenance((), options.halotile), "batch": BATCH}
    result["networks"] = kept_networks(path, info)
    for network in options.network or NETWORKS:
        found = result["networks"][network] = {}
        for precision in options.precision or PRECISIONS:
            found[precision] = variance(options, network, precision, deadline)
            if not options.no_times:
                found[precision]["times"] = times(options, network, precision, deadline)
        write_json(path, result)
    print(f"written: {path}")
    return 0
