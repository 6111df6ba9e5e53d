"""What a trace of one run on a GPU says: overlap achieved, share of the GPU filled, idle time, launches."""

from __future__ import annotations

from typing import Any

Interval = tuple[float, float]


def union(intervals: list[Interval]) -> list[Interval]:
    """The intervals' union as ascending intervals that do not touch."""
    merged: list[Interval] = []
    for begin, end in sorted(intervals):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((begin, end))
    return merged


def length(intervals: list[Interval]) -> float:
    return sum(end - begin for begin, end in intervals)


def intersection(a: list[Interval], b: list[Interval]) -> list[Interval]:
    """What two unions share."""
    shared = []
    i = j = 0
    while i < len(a) and j < len(b):
        begin, end = max(a[i][0], b[j][0]), min(a[i][1], b[j][1])
        if begin < end:
            shared.append((begin, end))
        if a[i][1] < b[j][1]:
            i += 1
        else:
            j += 1
    return shared


def blocks(grid: str) -> int:
    """Blocks of a grid such as 64x2x1."""
    product = 1
    for part in grid.split("x"):
        product *= int(part)
    return product


def summarize(trace: dict[str, Any], multiprocessors: int) -> dict[str, Any]:
    """Times in milliseconds. `in_flight` is how many slices ran at a time, on average, while any did; `filled` the
    share of the multiprocessors that the kernels' blocks could occupy, weighted by time."""
    slices = [event for event in trace["traceEvents"] if event["ph"] == "X"]

    def intervals(*categories: str) -> list[Interval]:
        return [(s["ts"], s["ts"] + s["dur"]) for s in slices if s["cat"] in categories]

    work = intervals("kernel", "copy", "memset")
    if not work:
        return {}
    kernels, copies = union(intervals("kernel")), union(intervals("copy"))
    kernel_slices = [s for s in slices if s["cat"] == "kernel"]
    launches = [s for s in slices if s["cat"] == "call" and "Launch" in s["name"]]
    kernel_time = sum(s["dur"] for s in kernel_slices)
    filled = sum(s["dur"] * min(1.0, blocks(s["args"]["grid"]) / multiprocessors) for s in kernel_slices)
    both = length(intersection(kernels, copies))
    busy = length(union(work))
    span = max(end for _, end in work) - min(begin for begin, _ in work)
    return {
        "span_ms": span / 1e3,
        "busy_ms": busy / 1e3,
        "idle_share": 1 - busy / span if span else 0.0,
        "kernel_ms": kernel_time / 1e3,
        "copy_ms": length(copies) / 1e3,
        "copy_hidden_share": both / length(copies) if copies else 0.0,
        "in_flight": length(work) / busy,
        "kernels": len(kernel_slices),
        "filled": filled / kernel_time if kernel_time else 0.0,
        "launches": len(launches),
        "launch_us": sum(s["dur"] for s in launches) / len(launches) if launches else 0.0,
    }


FAMILIES = {
    "conv2d": "conv",
    "pool": "pool",
    "lrn": "lrn",
    "vector_sums": "fully_connected",
    "tile_sums": "fully_connected",
    "add_segments": "fully_connected",
    "softmax": "softmax",
    "pointwise": "pointwise",
}


def family(kernel: str) -> str:
    """A kernel's family by its name."""
    return next((name for start, name in FAMILIES.items() if kernel.startswith(start)), "other")


def launched(trace: dict[str, Any]) -> list[dict[str, Any]]:
    """Every kind of launch of a trace once: kernel, family, registers, shared memory, count, time."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for event in trace["traceEvents"]:
        if event["ph"] != "X" or event["cat"] != "kernel":
            continue
        a = event["args"]
        keys = ("grid", "block", "registers per thread", "static shared bytes", "dynamic shared bytes")
        entry = found.setdefault(
            (event["name"], *(a[k] for k in keys)),
            {
                "kernel": event["name"],
                "family": family(event["name"]),
                "grid": a["grid"],
                "block": a["block"],
                "registers": a["registers per thread"],
                "static_shared_bytes": a["static shared bytes"],
                "dynamic_shared_bytes": a["dynamic shared bytes"],
                "count": 0,
                "ms": 0.0,
            },
        )
        entry["count"] += 1
        entry["ms"] += event["dur"] / 1e3
    return list(found.values())
