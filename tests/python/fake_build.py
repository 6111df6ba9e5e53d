#!/usr/bin/env python3
"""Answers like `halotile` with what the JSON file beside it says: for tests of what compares two builds."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from typing import Any

DEFAULTS: dict[str, Any] = {
    "ms": 10.0,
    "map_bytes": 100,
    "scratch_bytes": 10,
    "pool5": 1.0,
    "refuses": "precision=bf16",
}


def save(path: Path, value: float) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), }"
    header += b" " * (63 - (10 + len(header)) % 64) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + struct.pack("<3f", 0, 1, value))


def run(build: dict[str, Any], words: dict[str, str]) -> dict[str, Any]:
    folder = Path(words["output.directory"])
    folder.mkdir(exist_ok=True)
    saved = [folder / value for key, value in words.items() if key.startswith("output.save.")]
    for path in saved:
        save(path, build["pool5"] if path.name == "pool5.npy" else 1.0)
    runs = int(words["measure.min_runs"])
    fields = {key: build[key] for key in ("map_bytes", "scratch_bytes")}
    return {
        **fields,
        "samples_ms": [build["ms"]] * runs,
        "peak_memory_bytes": 1000,
        "predictions": [],
        "saved": [str(path) for path in saved],
    }


def main() -> None:
    build = {**DEFAULTS, **json.loads(Path(__file__).with_suffix(".json").read_text())}
    words = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    if build["refuses"] in sys.argv:
        sys.exit(f"halotile: {build['refuses']} is nothing for this build")
    if sys.argv[1] == "info":
        answer: dict[str, Any] = {"git_commit": build.get("commit", "0" * 40)}
    elif sys.argv[1] == "plan":
        stages = [{"layers": [{"name": "conv1"}, {"name": "pool5"}]}]
        answer = {"stages": stages, "input": {"channels": 1, "extent": [2, 3]}}
    else:
        answer = run(build, words)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
