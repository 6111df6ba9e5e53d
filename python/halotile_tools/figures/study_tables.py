"""Writes the study's numbers into its text: tables between markers, never typed by hand.

A table stands between `<!-- table: NAME -->` and `<!-- end of table -->`; what was there before is replaced.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from halotile_tools.common import ExperimentError, write_text
from halotile_tools.figures.study_data import (
    GROUP_NAMES,
    PARTS,
    by_group,
    conv_parts,
    errors,
    family_resources,
    one,
    points,
)
from halotile_tools.figures.study_findings import findings

Rows = list[list[str]]
MISSING = "-"
BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def number(value: float | None, digits: int = 3) -> str:
    """A number with some significant digits, no exponent."""
    if value is None:
        return MISSING
    if value == 0:
        return "0"
    shown = f"{value:.{digits}g}"
    return f"{value:,.0f}" if "e" in shown or abs(value) >= 10**digits else shown


def markdown(rows: Rows) -> str:
    """A table of which the first row is the head."""
    head, *body = rows
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in body])


def machine(data: dict[str, Any]) -> str:
    """Where and with what the figures were measured."""
    sources = [figure["provenance"] for figure in data["figures"].values()]
    if not sources:
        return "Nothing is measured yet."
    lines = []
    for p in sources:
        gpu = p["gpus"][0] if p.get("gpus") else {"name": "no GPU", "driver_version": MISSING}
        commit = p["halotile"].get("git_commit") or p["git_commit"]
        lines.append(
            f"{gpu['name']} (driver {gpu['driver_version']}), host {p['cpu']} with {p['cores']} cores; "
            f"halotile {commit[:10]}, {p['time'][:10]}."
        )
    return "\n".join(dict.fromkeys(lines))


def cpu_batch(data: dict[str, Any]) -> Rows:
    rows = [["batch", "naive, ms", "fast, ms", "GPU, ms", "naive / fast", "naive / GPU"]]
    batches = sorted({p["batch"] for p in points(data, "cpu_batch")})
    for batch in batches:
        naive, fast = (one(data, "cpu_batch", series=s, batch=batch) for s in ("naive", "fast"))
        gpu = one(data, "gpu_batch", batch=batch)
        times = [p["median_ms"] if p else None for p in (naive, fast, gpu)]
        ratios = [times[0] / t if times[0] and t else None for t in times[1:]]
        rows.append([str(batch), *(number(t, 4) for t in times), *(number(r) for r in ratios)])
    return rows


def gpu_batch(data: dict[str, Any]) -> Rows:
    rows = [["batch", "ms", "ms an image", *(f"{g}, ms" for g in GROUP_NAMES), "convolution's share", "GPU filled"]]
    for p in points(data, "gpu_batch"):
        split = by_group(p)
        total = sum(split.values())
        share = f"{100 * split['convolution'] / total:.0f} %" if total else MISSING
        filled = p.get("trace", {}).get("filled")
        rows.append(
            [
                str(p["batch"]),
                number(p["median_ms"], 4),
                number(p["median_ms"] / p["batch"]),
                *(number(split[g]) for g in GROUP_NAMES),
                share,
                f"{100 * filled:.0f} %" if filled is not None else MISSING,
            ]
        )
    return rows


def memory(data: dict[str, Any]) -> Rows:
    rows = [["memory", "batch", "whole run, ms", *(f"{part}, ms" for part in PARTS), "largest part"]]
    for p in points(data, "memory"):
        parts = conv_parts(p)
        largest = max(parts, key=lambda part: parts[part])
        rows.append(
            [
                p["mode"],
                str(p["batch"]),
                number(p["median_ms"], 4),
                *(number(parts[part]) for part in PARTS),
                largest,
            ]
        )
    return rows


def kernels(data: dict[str, Any]) -> Rows:
    rows = [
        ["family", "kernels", "registers a thread", "shared, KiB a block", "constant, KiB", "local, B a thread"]
        + ["global at batch 32, MB"]
    ]
    for family, r in family_resources(data).items():
        low, high = r["registers"]
        shared = [number(value / 1024) for value in r["shared"]]
        rows.append(
            [
                family,
                str(r["kernels"]),
                str(low) if low == high else f"{low} to {high}",
                shared[0] if shared[0] == shared[1] else f"{shared[0]} to {shared[1]}",
                number(r["constant"] / 1024),
                str(r["local"]),
                number(r["global"] / 1e6),
            ]
        )
    return rows


def sub_batches(data: dict[str, Any]) -> Rows:
    rows = [["batch", "upload", "streams", "ms", "against 1 stream", "copy, ms", "compute alone, ms"]]
    rows[0] += ["against the larger of the two", "copy hidden", "in flight", "idle"]
    for p in points(data, "sub_batches"):
        if p["upload"] == "none":
            continue
        first = one(data, "sub_batches", batch=p["batch"], upload=p["upload"], streams=1)
        alone = one(data, "sub_batches", batch=p["batch"], upload="none")
        copy = first["components"]["host_to_device_ms"] if first else None
        compute = alone["median_ms"] if alone else None
        trace = p.get("trace", {})
        rows.append(
            [
                str(p["batch"]),
                p["upload"],
                str(p["streams"]),
                number(p["median_ms"], 4),
                number(first["median_ms"] / p["median_ms"]) if first else MISSING,
                number(copy),
                number(compute),
                number(p["median_ms"] / max(copy, compute)) if copy and compute else MISSING,
                f"{100 * trace['copy_hidden_share']:.0f} %" if trace else MISSING,
                number(trace.get("in_flight")),
                f"{100 * trace['idle_share']:.0f} %" if trace else MISSING,
            ]
        )
    return rows


def patches(data: dict[str, Any]) -> Rows:
    rows = [["image", "patch", "streams", "dispatch", "ms", "against whole", "halo work", "kernels", "in flight"]]
    rows[0] += ["GPU filled", "idle", "one launch, us"]
    for p in points(data, "patches"):
        whole = one(data, "patches", pixels=p["pixels"], size="whole")
        t = p.get("trace", {})
        rows.append(
            [
                str(p["pixels"]),
                str(p["size"]),
                str(p["streams"]),
                p["dispatch"],
                number(p["median_ms"], 4),
                number(p["median_ms"] / whole["median_ms"]) if whole else MISSING,
                f"{100 * p.get('halo_flops_share', 0):.1f} %",
                str(t.get("kernels", MISSING)),
                number(t.get("in_flight")),
                f"{100 * t['filled']:.0f} %" if t else MISSING,
                f"{100 * t['idle_share']:.0f} %" if t else MISSING,
                number(t.get("launch_us")),
            ]
        )
    return rows


TABLES: dict[str, Callable[[dict[str, Any]], Rows]] = {
    "cpu_batch": cpu_batch,
    "gpu_batch": gpu_batch,
    "memory": memory,
    "kernels": kernels,
    "sub_batches": sub_batches,
    "patches": patches,
}


def table_text(data: dict[str, Any], name: str) -> str:
    """What belongs between the markers."""
    if name == "machine":
        return machine(data)
    if name == "findings":
        return "\n".join(f"- {sentence}" for sentence in findings(data)) or "Nothing is measured yet."
    if name not in TABLES:
        raise ExperimentError(f"the text asks for a table {name}; there are machine, findings, {', '.join(TABLES)}")
    if not points(data, name):
        text = "Not measured yet."
    else:
        text = markdown(TABLES[name](data))
    missing = errors(data, name)
    if missing:
        text += "\n\nPoints left out: " + "; ".join(missing) + "."
    return text


def write_tables(data: dict[str, Any], file: Path) -> None:
    """Replaces every table of the text."""
    if not file.is_file():
        raise ExperimentError(f"{file} does not exist: name the text with --text")
    old = file.read_text(encoding="utf-8")
    new = BLOCK.sub(lambda m: f"{m[1]}{table_text(data, m[2])}\n{m[3]}", old)
    write_text(file, new)
    print(f"written: {file}")
