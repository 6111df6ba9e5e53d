"""Compares two builds of halotile: have outputs the same bits, is the new one as fast, does it take as little memory?

Both read this repository's configs. First every shipped network runs in every engine, precision, dispatch and way of
cutting that the machine has, and the shipped configs as they are: logits, and maps at the end of each stage, must have
equal bits. What both builds refuse is no difference. Then works are timed in rounds, A B then B A, each in a process of
its own, after their bits were compared; a ratio is the median of the rounds' ratios, new over base. Preparation is a
process's time but for its only run. Memory is what was planned for maps and for tiles in flight, each by itself, in
every case and work.

Without programs the commits are built, in worktrees that go away again, with --build-folder in ones that stay:

    python3 experiments/compare_builds.py --base 38f450e --only 'bits/*'
    python3 experiments/compare_builds.py --base-program old/halotile --program new/halotile --device cuda --jobs 8

PYTHONPATH=python and the standard library are all that this needs. Exit status: 0 equal bits and within the limits,
1 otherwise, 2 trouble.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from halotile_tools.builds.bits import BitComparison
from halotile_tools.builds.cases import bit_cases, chosen, quick_works, works
from halotile_tools.builds.sides import Sides, Wanted, made_sides
from halotile_tools.builds.table import Limits, judged, print_table
from halotile_tools.builds.times import compare_work
from halotile_tools.common import ExperimentError, provenance, write_json

BASE_COMMIT = "38f450e"
FILE = "compare_builds.json"


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default=BASE_COMMIT, metavar="COMMIT", help=f"default: {BASE_COMMIT}")
    parser.add_argument("--commit", metavar="COMMIT", help="the new one (default: the working tree as it is)")
    parser.add_argument(
        "--base-program", type=Path, metavar="PATH", help="a ready program instead of building the base"
    )
    parser.add_argument("--program", type=Path, metavar="PATH", help="a ready program instead of building the new one")
    parser.add_argument("--build-folder", type=Path, help="keeps worktrees and builds there, for the next time")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu; builds are made for it")
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN", help="of names; may be repeated")
    parser.add_argument("--list", action="store_true", help="prints the names of cases and works, and ends")
    parser.add_argument("--quick", action="store_true", help="two networks, few works, short runs")
    parser.add_argument("--rounds", type=int, help="of each work (default: 7; 3 with --quick); heavy ones take half")
    parser.add_argument("--jobs", type=int, default=1, help="cases of bits, and compilers, at a time (default: 1)")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help=f"keeps all samples in FOLDER/{FILE}")
    parser.add_argument("--limit-time", type=float, default=1.02, help="ratio at most (default: 1.02)")
    parser.add_argument("--limit-preparation", type=float, default=1.1, help="ratio at most (default: 1.1)")
    parser.add_argument("--limit-memory", type=float, default=1.0, help="ratio at most (default: 1)")
    options = parser.parse_args(words)
    options.rounds = options.rounds if options.rounds is not None else (3 if options.quick else 7)
    for name in ("rounds", "jobs"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} {getattr(options, name)}: at least 1")
    return options


def selection(options: argparse.Namespace) -> tuple[list[Any], list[Any]]:
    """Cases and works that were asked for."""
    timed = list(works(options.device))
    timed = chosen(quick_works(timed) if options.quick else timed, options.only)
    cases = chosen(bit_cases(options.device, options.quick), options.only)
    if not cases and not timed:
        raise ExperimentError(f"--only {' '.join(options.only)}: fits no case or work; --list prints their names")
    return cases, timed


def compare(options: argparse.Namespace, sides: Sides) -> int:
    """Everything, kept as soon as a part is finished."""
    cases, timed = selection(options)
    result: dict[str, Any] = {
        "provenance": {**provenance((), sides.new), "programs": sides.info(), "device": options.device},
        "rounds": options.rounds,
        "cases": [],
        "works": [],
    }

    def keep() -> None:
        if options.output:
            write_json(options.output / FILE, result)

    with tempfile.TemporaryDirectory(prefix="halotile_builds_") as folder:
        comparison = BitComparison(sides, Path(folder))
        result["cases"] = comparison.compare_all(cases, options.jobs)
        keep()
        for work in timed:
            answer = compare_work(comparison, work, options.rounds, 0.3 if options.quick else 1.5)
            result["works"].append(answer)
            if "time_ms" in answer:
                print(f"  {work.name}: {answer['time_ms']['ratio']:.3f}", flush=True)
            keep()
    compared = [a for a in (*result["cases"], *result["works"]) if not a.get("refused")]
    if not compared:
        said = next(iter((*result["cases"], *result["works"])))["refused"]
        raise ExperimentError(f"nothing could be compared; the first case: {next(iter(said.values()))}")
    limits = Limits(options.limit_time, options.limit_preparation, options.limit_memory)
    result["verdict"] = judged(result, limits)
    keep()
    print_table(result, limits)
    if options.output:
        print(f"written: {options.output / FILE}")
    return 0 if result["verdict"]["good"] else 1


def main() -> int:
    options = parse()
    if options.list:
        for named in (item for part in selection(options) for item in part):
            print(named.name)
        return 0
    selection(options)  # before minutes of building
    keep = options.build_folder is not None
    with tempfile.TemporaryDirectory(prefix="halotile_builds_") as temporary:
        folder = options.build_folder.resolve() if keep else Path(temporary)
        base = Wanted(options.base_program, options.base)
        new = Wanted(options.program, options.commit)
        with made_sides(base, new, folder, keep, options.device == "cuda", options.jobs) as sides:
            sys.stdout.flush()
            return compare(options, sides)
