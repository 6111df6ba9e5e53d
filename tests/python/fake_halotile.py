#!/usr/bin/env python3
"""Answers like `halotile` on a GPU host, with made-up times: for tests of the scripts that call it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def word(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def trace(streams: int) -> dict[str, Any]:
    """Two copies and kernels a stream, copies of one beside kernels of another."""
    arguments = {
        "grid": "66x1x1",
        "block": "128x1x1",
        "registers per thread": 90,
        "static shared bytes": 0,
        "dynamic shared bytes": 40960,
    }
    events: list[dict[str, Any]] = [{"ph": "M", "name": "process_name", "pid": 2, "args": {"name": "cuda:0"}}]
    for s in range(streams):
        for i in range(2):
            begin = 20.0 * i + 10 * (s % 2)
            common = {"ph": "X", "pid": 2, "tid": s}
            events.append({**common, "cat": "copy", "name": "copy", "ts": begin, "dur": 10.0, "args": {"bytes": 9}})
            kernel = {"cat": "kernel", "name": "conv2d_slice", "ts": begin + 10, "dur": 10.0, "args": arguments}
            events.append({**common, **kernel})
            call = {"cat": "call", "name": "cudaLaunchKernel", "ts": begin, "dur": 2.0, "args": {}}
            events.append({"ph": "X", "pid": 1, "tid": 9, **call})
    return {"traceEvents": events}


def run(words: dict[str, Any]) -> dict[str, Any]:
    batch = words.get("input.batch", 32)
    streams = words.get("streams", 1)
    if words.get("dispatch") == "graph":
        sys.exit("halotile: command line 'dispatch=graph': dispatch: is 'graph'; streams is allowed")
    slow = 1000.0 if words.get("engine") == "reference" else 0.1
    ms = slow * batch / min(streams, 2)
    folder = Path(words["output.directory"])
    if "measure.trace" in words:
        (folder / words["measure.trace"]).write_text(json.dumps(trace(streams)))
    if "output.save.logits" in words:
        logits = folder / "expected.npy"  # what the caller holds for right
        (folder / words["output.save.logits"]).write_bytes(logits.read_bytes())
    kernel_ms = {"conv": 0.6 * ms, "max_pool": 0.1 * ms, "lrn": 0.1 * ms, "fully_connected": 0.2 * ms}
    return {
        "median_ms": ms,
        "min_ms": ms,
        "runs": 2,
        "samples_ms": [ms, ms],
        "halo_flops_share": 0.1,
        "map_bytes": 1,
        "scratch_bytes": 1,
        "layers": [
            {"name": "conv1", "kind": "conv", "stream_ms": 0.6 * ms},
            {"name": "upload", "kind": "host_to_device", "stream_ms": 0.5 * ms},
            {"name": "allocation", "kind": "allocation", "stream_ms": 0.3 * ms},
        ],
        "kinds": {},
        "components": {
            "allocation_ms": 0.3 * ms,
            "host_to_device_ms": 0.5 * ms,
            "device_to_host_ms": 0.01 * ms,
            "kernels_ms": kernel_ms,
            "pack_ms": 0.0,
            "place_ms": 0.0,
            "host_idle_ms": 0.0,
        },
    }


def info(kernels: bool) -> dict[str, Any]:
    answer: dict[str, Any] = {"git_commit": "0" * 40, "cuda": {"devices": [{"multiprocessors": 132}]}}
    if kernels:
        numbers = {"threads": 128, "registers": 64, "static_shared_bytes": 0, "dynamic_shared_bytes": 1024}
        answer["kernels"] = [
            {"family": family, "name": "x", "constant_bytes": 65536, "local_bytes": 0, **numbers}
            for family in ("conv", "fully_connected", "pool", "lrn", "softmax")
        ]
    return answer


def main() -> None:
    words = {key: word(value) for key, _, value in (w.partition("=") for w in sys.argv[1:]) if value}
    print(json.dumps(info("--kernels" in sys.argv) if sys.argv[1] == "info" else run(words)))


if __name__ == "__main__":
    main()
