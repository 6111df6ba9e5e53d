"""What the studies share: where things are, what machine this is, how halotile is called."""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]  # the repository: the package is used where it lies
CONFIGS = ROOT / "configs"
HALOTILE = ROOT / "build" / "halotile"
RESULTS = ROOT / "experiments" / "results"


class ExperimentError(Exception):
    """Something that the user can put right; the message says what and how."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def cpu_field(name: str) -> str:
    """The first value of a field of /proc/cpuinfo; empty where there is none."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def vector_unit() -> str:
    """The widest vector instructions of the CPU, as a word for file names."""
    flags = set((cpu_field("flags") or cpu_field("Features")).split())
    widest = {
        "avx512f": "avx512",
        "avx2": "avx2",
        "avx": "avx",
        "sve": "sve",
        "asimd": "neon",
        "sse2": "sse2",
    }
    return next((word for flag, word in widest.items() if flag in flags), platform.machine())


def machine_name() -> str:
    """The folder that holds this machine's results, such as cpu-2core-avx512."""
    return f"cpu-{cores()}core-{vector_unit()}"


def gpus() -> list[dict[str, str]]:
    """Name, driver and memory of each NVIDIA GPU; empty where there is none."""
    fields = ("name", "driver_version", "memory.total", "clocks.max.sm")
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    rows = [line.split(", ") for line in done.stdout.strip().splitlines()]
    return [dict(zip(fields, row, strict=True)) for row in rows if len(row) == len(fields)]


def gpu_results_folder() -> Path:
    """Where results measured on this machine's first GPU lie, such as results/h200."""
    found = gpus()
    if not found:
        raise ExperimentError(
            "nvidia-smi shows no GPU: run this on a GPU host, or name a folder of kept results with --output"
        )
    return RESULTS / found[0]["name"].removeprefix("NVIDIA ").lower().replace(" ", "-")


def results_folder() -> Path:
    """Where this machine's kept results lie."""
    return RESULTS / machine_name()


def git(*arguments: str) -> str:
    """The output of a git command in the repository; empty if it fails."""
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def package_version(name: str) -> str | None:
    """The version of an installed Python package."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def provenance(packages: Iterable[str] = (), halotile: Path = HALOTILE) -> dict[str, Any]:
    """What a result needs to be judged later: machine, versions, commit, time."""
    changed = [line for line in git("status", "--porcelain").splitlines() if "experiments/results/" not in line]
    return {
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": machine_name(),
        "cpu": cpu_field("model name"),
        "cpu_family": cpu_field("cpu family"),
        "cpu_model": cpu_field("model"),
        "cores": cores(),
        "vector_unit": vector_unit(),
        "load_average": os.getloadavg()[0],
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: package_version(name) for name in packages},
        "git_commit": git("rev-parse", "HEAD"),
        "git_dirty": bool(changed),
        "gpus": gpus(),
        "halotile": halotile_info(halotile),
    }


def halotile_info(halotile: Path = HALOTILE) -> dict[str, Any]:
    """What the program says of its build."""
    return json.loads(call_halotile(halotile, ["info", "--json"]))


def call_halotile(halotile: Path, arguments: list[str]) -> str:
    """Calls the program and returns its standard output."""
    if not halotile.is_file():
        raise ExperimentError(f"{halotile} does not exist: build it with ./run, or name it with --halotile")
    done = subprocess.run([str(halotile), *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        message = done.stderr.strip() or done.stdout.strip()
        raise ExperimentError(f"halotile {' '.join(arguments)}: exit status {done.returncode}: {message}")
    return done.stdout


def what_it_said(error: ExperimentError) -> str:
    """The program's own words in an error of a call, for records: the command has paths of the machine in it."""
    return str(error).partition("halotile: ")[2] or str(error)


def run_halotile(halotile: Path, config: Path, overrides: dict[str, Any], folder: Path) -> dict[str, Any]:
    """`halotile run --json` of a config, results to `folder`."""
    words = [f"{key}={override_text(value)}" for key, value in overrides.items()]
    arguments = ["run", str(config), "--json", f"output.directory={folder}", *words]
    return json.loads(call_halotile(halotile, arguments))


def override_text(value: Any) -> str:
    """A value of an override as it stands on the command line."""
    return json.dumps(value) if isinstance(value, list) else str(value)


def median(values: list[float]) -> float:
    """The middle value, or the mean of the two in the middle."""
    ordered = sorted(values)
    if not ordered:
        return math.nan
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def write_text(path: Path, text: str) -> None:
    """Writes to a temporary name and renames: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        file.write(text)
    Path(file.name).chmod(0o644)
    Path(file.name).replace(path)


def write_json(path: Path, value: Any) -> None:
    """A value as indented JSON, short lists of numbers on one line."""
    write_text(path, json_text(value) + "\n")


def json_text(value: Any, indent: int = 0) -> str:
    """JSON with two spaces of indentation, in which lists without lists or objects inside stay on one line."""
    space = " " * (indent + 2)
    if isinstance(value, dict) and value:
        items = [f"{space}{json.dumps(str(k))}: {json_text(v, indent + 2)}" for k, v in value.items()]
        return "{\n" + ",\n".join(items) + "\n" + " " * indent + "}"
    if isinstance(value, list) and any(isinstance(v, (list, dict)) for v in value):
        items = [space + json_text(v, indent + 2) for v in value]
        return "[\n" + ",\n".join(items) + "\n" + " " * indent + "]"
    return json.dumps(value)


def judge(text: str, value: float, at_least: float = 0.0, at_most: float = math.inf) -> dict[str, Any]:
    """A target's measured value, its bound, and whether it is met."""
    bound = f"at least {at_least:g}" if at_least else f"at most {at_most:g}"
    return {"target": text, "value": value, "bound": bound, "met": at_least <= value <= at_most}


def print_targets(targets: list[dict[str, Any]]) -> None:
    """A line a target."""
    for target in targets:
        verdict = "met" if target["met"] else "MISSED"
        print(f"  {target['target']}: {target['value']:.3f} ({target['bound']}): {verdict}")


def keep_work(path: Path, name: str, result: dict[str, Any], packages: Iterable[str], halotile: Path) -> None:
    """Puts one work's result into the file, beside those of other works and runs."""
    kept: dict[str, Any] = {"works": {}}
    if path.exists():
        kept = json.loads(path.read_text(encoding="utf-8"))
    kept["works"][name] = {"provenance": provenance(packages, halotile), **result}
    write_json(path, kept)
    print(f"written: {path}\n", flush=True)


def add_halotile_option(parser: argparse.ArgumentParser) -> None:
    """The option that names the program."""
    parser.add_argument(
        "--halotile",
        type=Path,
        default=HALOTILE,
        metavar="PATH",
        help="the program (default: build/halotile)",
    )


def guarded(main: Any) -> None:
    """Runs main(); a known error ends with one line and status 2, Ctrl-C with 130."""
    try:
        sys.exit(main())
    except ExperimentError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; files already reported as written are complete", file=sys.stderr)
        sys.exit(130)
