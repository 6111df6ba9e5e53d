#!/usr/bin/env python3
"""Answers like `per_layer` on a GPU host, with made-up times: for tests of the scripts that call it."""

from __future__ import annotations

import argparse
import json


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--until", required=True)
    for name in ("batch", "runs", "warmup"):
        parser.add_argument(f"--{name}", type=int, required=True)
    batch = parser.parse_args().batch
    parts = {"conv": 0.1, "allocation": 0.3, "host_to_device": 0.5, "device_to_host": 0.2}
    lines = [{"name": "conv1", "kind": kind, "flops": 0, "stream_ms": ms * batch} for kind, ms in parts.items()]
    ms = sum(parts.values()) * batch
    print(json.dumps({"median_ms": ms, "min_ms": ms, "runs": 2, "samples_ms": [ms, ms], "layers": lines}))


if __name__ == "__main__":
    main()
