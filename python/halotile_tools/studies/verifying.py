"""What the scripts that verify equal bits share: many runs at a time, what is printed and kept of them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from halotile_tools.common import add_halotile_option, override_text, provenance, results_folder, write_json

Case = dict[str, Any]  # overrides
Answer = dict[str, Any]  # "overrides" among it
GPU_ENGINES = ("direct", "tensor_core", "cudnn")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Engine, precision, device, how many calls at a time, where the result goes, the program."""
    parser.add_argument("--engine", default="onednn", help="onednn (default), reference, direct, tensor_core, cudnn")
    parser.add_argument("--precision", default="fp32", help="as in configs (default: fp32)")
    parser.add_argument("--device", default="auto", help="as in configs (default: auto)")
    parser.add_argument("--output", type=Path, help="folder for the result (default: this machine's kept results)")
    parser.add_argument("--jobs", type=int, default=1, help="calls at a time (default: 1)")
    add_halotile_option(parser)


def refuse_below_one(parser: argparse.ArgumentParser, options: argparse.Namespace, *names: str) -> None:
    for name in names:
        value = getattr(options, name)
        if value is not None and value < 1:
            parser.error(f"--{name} {value}: at least 1")


def verify_networks(
    options: argparse.Namespace,
    works: Iterable[tuple[str, Callable[[Case], Answer], list[Case]]],
    claim: str,
    difference: Callable[[Answer], str],
    file: str,
) -> int:
    """Asks for every case of every network, prints and keeps the answers. `difference` says what is wrong with one, or
    nothing. Exit status: 1 if anything differed."""
    result: dict[str, Any] = {"provenance": provenance((), options.halotile), "networks": {}}
    different = 0
    for network, verify, cases in works:
        with ThreadPoolExecutor(options.jobs) as pool:
            answers = list(pool.map(verify, cases))
        unequal = [answer for answer in answers if difference(answer)]
        different += len(unequal)
        equal = len(answers) - len(unequal)
        print(f"{network}: {equal} of {len(answers)} {claim}", flush=True)
        for answer in unequal:
            words = " ".join(f"{key}={override_text(value)}" for key, value in answer["overrides"].items())
            print(f"    {words}: {difference(answer)}")
        result["networks"][network] = {"equal": equal, "cases": answers}
    path = (options.output or results_folder()) / file
    write_json(path, result)
    print(f"written: {path}")
    return 1 if different else 0
