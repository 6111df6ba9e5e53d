"""What pictures and tables of the study both read out of its kept points."""

from __future__ import annotations

from typing import Any

Point = dict[str, Any]

# Layer kinds by what the original study calls them.
GROUPS = {
    "conv": "convolution",
    "max_pool": "pooling",
    "avg_pool": "pooling",
    "adaptive_avg_pool": "pooling",
    "fully_connected": "GEMM",
    "lrn": "LRN",
}
GROUP_NAMES = ("convolution", "pooling", "GEMM", "LRN", "other")
PARTS = ("allocation", "host to device", "kernels", "device to host")
FAMILIES = ("conv", "fully_connected", "pool", "lrn", "softmax")


def points(data: dict[str, Any], figure: str, **names: Any) -> list[Point]:
    """The measured points of a figure that bear these names; those that could not run are left out."""
    found = data["figures"].get(figure, {}).get("points", [])
    return [p for p in found if "error" not in p and all(p.get(key) == value for key, value in names.items())]


def errors(data: dict[str, Any], figure: str) -> list[str]:
    """Why points of a figure are missing, each reason once."""
    found = data["figures"].get(figure, {}).get("points", [])
    return list(dict.fromkeys(p["error"] for p in found if "error" in p))


def one(data: dict[str, Any], figure: str, **names: Any) -> Point | None:
    """The first such point."""
    return next(iter(points(data, figure, **names)), None)


def by_group(point: Point) -> dict[str, float]:
    """Kernel milliseconds of a run by group."""
    split = dict.fromkeys(GROUP_NAMES, 0.0)
    for kind, ms in point["components"]["kernels_ms"].items():
        split[GROUPS.get(kind, "other")] += ms
    return split


def conv_parts(point: Point) -> dict[str, float]:
    """Milliseconds of the convolution layers by part: lines of the run's times, without those that bear the name of
    another layer. Allocations and copies of the whole run, which bear none, count."""
    kinds = dict(zip(PARTS, ("allocation", "host_to_device", "conv", "device_to_host"), strict=True))
    lines = point["layers"]
    others = {line["name"] for line in lines if line["kind"] not in kinds.values()}
    return {
        part: sum(line["stream_ms"] for line in lines if line["kind"] == kind and line["name"] not in others)
        for part, kind in kinds.items()
    }


def family_resources(data: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Per kernel family: the range of registers, shared and constant memory over its kernels, and what the launches
    of one run at batch 32 took. Bytes; registers per thread."""
    found = points(data, "kernels")
    if not found:
        return {}
    resources = {}
    for family in FAMILIES:
        kernels = [k for k in found[0]["kernels"] if k["family"] == family]
        if not kernels:
            continue
        used = [k for k in found[0]["launched"] if k["family"] == family]
        # Without a trace the launches are unknown; patch kernels then lack their input patch.
        shared = [k["static_shared_bytes"] + k["dynamic_shared_bytes"] for k in (used or kernels)]
        registers = [k["registers"] for k in kernels]
        resources[family] = {
            "kernels": len(kernels),
            "registers": (min(registers), max(registers)),
            "registers_used": max((k["registers"] for k in used), default=None),
            "shared": (min(shared), max(shared)),
            "constant": max(k["constant_bytes"] for k in kernels),
            "local": max(k["local_bytes"] for k in kernels),
            "global": GLOBAL_BYTES[family],
        }
    return resources


def _global_bytes() -> dict[str, int]:
    """Bytes of global memory that each family reads and writes in one forward pass of the 2012 AlexNet at batch 32:
    weights, biases, and the maps in and out of its layers, each once."""
    batch = 32
    # (family, maps in, maps out, weights): elements of an image; conv5's output is pooled to 6 x 6.
    layers = (
        ("conv", 3 * 227**2, 96 * 55**2, 96 * (363 + 1)),
        ("lrn", 96 * 55**2, 96 * 55**2, 0),
        ("pool", 96 * 55**2, 96 * 27**2, 0),
        ("conv", 96 * 27**2, 256 * 27**2, 256 * (1200 + 1)),
        ("lrn", 256 * 27**2, 256 * 27**2, 0),
        ("pool", 256 * 27**2, 256 * 13**2, 0),
        ("conv", 256 * 13**2, 384 * 13**2, 384 * (2304 + 1)),
        ("conv", 384 * 13**2, 384 * 13**2, 384 * (1728 + 1)),
        ("conv", 384 * 13**2, 256 * 13**2, 256 * (1728 + 1)),
        ("pool", 256 * 13**2, 256 * 6**2, 0),
        ("fully_connected", 9216, 4096, 4096 * (9216 + 1)),
        ("fully_connected", 4096, 4096, 4096 * (4096 + 1)),
        ("fully_connected", 4096, 1000, 1000 * (4096 + 1)),
        ("softmax", 1000, 1000, 0),
    )
    total = dict.fromkeys(FAMILIES, 0)
    for family, read, written, weights in layers:
        total[family] += 4 * (batch * (read + written) + weights)
    return total


GLOBAL_BYTES = _global_bytes()
