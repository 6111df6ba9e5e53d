"""Two builds compared, with programs that answer as told."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from halotile_tools.builds.bits import difference, write_random_npy
from halotile_tools.builds.cases import Case, Work, bit_cases, works
from halotile_tools.builds.table import Limits, faults
from halotile_tools.builds.times import order, ratios
from halotile_tools.common import CONFIGS, ROOT

FAKE = Path(__file__).resolve().with_name("fake_build.py")
SCRIPT = ROOT / "experiments" / "compare_builds.py"
BITS, TIME = "bits/digits/onednn-fp32/streams/whole", "time/alexnet-fp32-b1-whole"


def program(folder: Path, name: str, build: dict[str, Any]) -> Path:
    path = folder / f"{name}.py"
    shutil.copy(FAKE, path)
    path.with_suffix(".json").write_text(json.dumps(build))
    return path


def compare(folder: Path, new: dict[str, Any], *words: str) -> tuple[int, dict[str, Any], str]:
    """Exit status, what was kept, and what was printed."""
    given = ["--base-program", program(folder, "base", {}), "--program", program(folder, "new", new)]
    # Preparation is a real time, here that of Python's start.
    given += [
        "--output",
        folder,
        "--rounds",
        "1",
        "--limit-preparation",
        "1000",
        *(words or ("--only", BITS, "--only", TIME)),
    ]
    # The fake program is to run in this interpreter.
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = [sys.executable, SCRIPT, *given]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    kept = folder / "compare_builds.json"
    return done.returncode, json.loads(kept.read_text()) if kept.exists() else {}, done.stdout + done.stderr


def test_equal_builds_are_good(tmp_path: Path) -> None:
    status, kept, printed = compare(tmp_path, {"commit": "1" * 40})
    assert status == 0, printed
    assert kept["verdict"]["good"] and not kept["verdict"]["faults"]
    assert [case["files"] for case in kept["cases"]] == [2], "a stage's last map, and the logits"
    assert kept["works"][0]["time_ms"]["ratio"] == 1
    assert kept["provenance"]["programs"]["new"]["git_commit"] == "1" * 40
    assert "bits: 2 of 2 equal" in printed


@pytest.mark.parametrize(
    ("new", "name", "words"),
    [
        ({"pool5": 1.0000001}, BITS, "bits: pool5: 1 of 3 elements, the first is 2"),
        ({"ms": 10.5}, TIME, "time 1.050"),
        ({"scratch_bytes": 11}, BITS, "memory 1.100"),
        ({"map_bytes": 101, "scratch_bytes": 1}, BITS, "memory 1.010"),
        (
            {"refuses": "engine=onednn"},
            BITS,
            "bits: new alone does not run it: engine=onednn is nothing for this build",
        ),
    ],
)
def test_what_is_worse_is_named(tmp_path: Path, new: dict[str, Any], name: str, words: str) -> None:
    status, kept, printed = compare(tmp_path, new)
    assert status == 1, printed
    assert kept["verdict"]["faults"][name] == [words]
    assert words in printed


def test_what_both_refuse_is_no_difference(tmp_path: Path) -> None:
    refused = BITS.replace("fp32", "bf16")
    status, _, printed = compare(tmp_path, {}, "--only", BITS, "--only", refused)
    assert status == 0, printed
    assert "1 refused by both" in printed and "refused by both: precision=bf16 is nothing" in printed
    status, _, printed = compare(tmp_path, {}, "--only", refused)
    assert status == 2 and "nothing could be compared" in printed


def test_trouble_is_told(tmp_path: Path) -> None:
    status, _, printed = compare(tmp_path, {}, "--only", "bits/nothing")
    assert status == 2 and "fits no case or work" in printed
    status, _, printed = compare(tmp_path, {}, "--program", str(tmp_path / "none"))
    assert status == 2 and "does not exist" in printed


def test_differences_of_saved_arrays(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    write_random_npy(path, (2, 3), seed=1)
    a = path.read_bytes()
    assert len(a) % 64 == 24, "elements begin at a multiple of 64 bytes"
    values = struct.unpack("<6f", a[-24:])
    assert all(-1 <= value < 1 for value in values) and len(set(values)) == 6
    assert difference(a, a) == ""
    nan = a[:-4] + struct.pack("<f", float("nan"))
    assert difference(nan, nan) == "", "equal bits are equal, NaN or not"
    assert difference(a, nan) == "1 of 6 elements, the first is 5; 1 are NaN in new alone"
    write_random_npy(path, (3, 2), seed=1)
    assert difference(a, path.read_bytes()) == "other shape or type"


def test_a_ratio_is_the_rounds_median() -> None:
    rounds = [{"base": {"ms": base}, "new": {"ms": new}} for base, new in ((1.0, 1.0), (2.0, 4.0), (10.0, 11.0))]
    found = ratios(rounds, "ms")
    assert found["ratio"] == pytest.approx(1.1)
    assert (found["low"], found["high"], found["base"], found["new"]) == (1, 2, 2, 4)
    some = [{"base": {"s": 2.0}, "new": {"s": 3.0}}, {"base": {}, "new": {}}]
    assert ratios(some, "s")["rounds"] == [1.5], "what a round has not measured takes no part"
    assert order(0) == ("base", "new") and order(1) == ("new", "base")


def test_a_limit_itself_is_allowed() -> None:
    at_limit = {"time_ms": {"ratio": 1.02}, "preparation_s": {"ratio": 1.1}, "memory_ratio": 1.0, "differences": []}
    assert not faults(at_limit, Limits())
    assert faults({"memory_ratio": 1.0001}, Limits()) == ["memory 1.000"]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_names_are_distinct_and_configs_there(device: str) -> None:
    named: list[Case | Work] = [*bit_cases(device), *works(device)]
    assert len({n.name for n in named}) == len(named)
    assert all((CONFIGS / n.config).is_file() for n in named)
