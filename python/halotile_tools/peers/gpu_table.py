"""The table of a comparison on a GPU: a row a work, for people and for programs."""

from __future__ import annotations

from typing import Any

SHORT = 110  # characters of an error
KEPT = ("median_ms", "min_ms", "spread", "share_of_limit", "difference", "error_vs_float64", "device_bytes")


def float64_errors(
    contestants: dict[str, dict[str, Any]], precision: str, key: str = "rms_error_vs_float64"
) -> tuple[list[float], list[float]]:
    """Errors in this precision: those of halotile's ways but engine direct, and those of PyTorch's. `key` may name the
    largest errors instead, whose size among so many logits is much a matter of chance (tf32_rounding.py)."""
    same = {name: c for name, c in contestants.items() if c["precision"] == precision}
    own = [c[key] for name, c in same.items() if name.startswith("halotile") and c["keys"]["engine"] != "direct"]
    return own, [c[key] for name, c in same.items() if name.startswith("PyTorch")]


def row(name: str, work: dict[str, Any]) -> dict[str, Any]:
    """A work in numbers: times, ratio, share of the limit, errors, device memory."""
    made: dict[str, Any] = {"work": name, "limit_ms": work["limit"]["limit_ms"]}
    for who in ("best_peer", "best_halotile"):
        contestant = work["contestants"].get(work[who]) or {}
        made[who] = work[who]
        for key in KEPT:
            made[f"{who}_{key}"] = contestant.get(key)
    made["best_peer_against_halotile"] = work["best_peer_against_halotile"]
    made["not_tried"] = work["not_tried"]
    made["targets_met"] = all(t["met"] for t in work["targets"])
    return made


def rows(works: dict[str, Any]) -> list[dict[str, Any]]:
    return [row(name, work) for name, work in works.items() if "best_peer_against_halotile" in work]


def number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def mebibytes(value: float | None) -> str:
    return "-" if not value else f"{value / 2**20:.0f}"


def aligned(cells: list[list[str]]) -> str:
    """Columns as wide as they need to be, the first and the last to the left."""
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    lines = []
    for line in cells:
        inner = [c.rjust(w) for c, w in zip(line[1:-1], widths[1:-1], strict=True)]
        lines.append("  ".join([line[0].ljust(widths[0]), *inner, line[-1]]).rstrip())
    return "\n".join(lines)


def comparison(table: list[dict[str, Any]]) -> str:
    cells = [["work", "peer ms", "halotile", "ratio", "limit", "share", "peer's", "error64", "peer's", "best peer"]]
    for r in table:
        peer = (r["best_peer"] or "-").replace("PyTorch ", "").replace("channels_last", "cl")
        cells.append([
            r["work"],
            number(r["best_peer_median_ms"], ".3f"),
            number(r["best_halotile_median_ms"], ".3f"),
            number(r["best_peer_against_halotile"], ".2f"),
            number(r["limit_ms"], ".3f"),
            number(r["best_halotile_share_of_limit"], ".2f"),
            number(r["best_peer_share_of_limit"], ".2f"),
            number(r["best_halotile_error_vs_float64"], ".0e"),
            number(r["best_peer_error_vs_float64"], ".0e"),
            peer + (f" (no {', '.join(r['not_tried'])})" if r["not_tried"] else ""),
        ])  # fmt: skip
    return aligned(cells)


def patches(works: dict[str, Any]) -> str:
    """Every way of tiling the large image: time and memory over whole's."""
    cells = [["patched", "ms", "over whole", "MiB", "over whole", ""]]
    for name, work in works.items():
        for who, c in work.get("contestants", {}).items():
            if "time_over_whole" in c:
                values = [f"{c['median_ms']:.3f}", f"{c['time_over_whole']:.3f}"]
                values += [mebibytes(c["device_bytes"]), f"{c['memory_over_whole']:.2f}"]
                cells.append([f"{name} {who.removeprefix('halotile ')}", *values, "raced" if c["raced"] else ""])
            elif work.get("kind") == "image" and c.get("device_bytes"):
                cells.append([f"{name} {who}", f"{c['median_ms']:.3f}", "", mebibytes(c["device_bytes"]), "", ""])
    return aligned(cells) if len(cells) > 1 else ""


def troubles(works: dict[str, Any]) -> str:
    """Who failed or was skipped, shortly."""
    lines = []
    for name, work in works.items():
        lines += [f"  {name}, {who}: {error[:SHORT]}" for who, error in work.get("failures", {}).items()]
        lines += [f"  {name}: skipped for time: {', '.join(work['skipped'])}"[:200]] if work.get("skipped") else []
        lines += [f"  {name}: {work['error'][:SHORT]}"] if "error" in work else []
    return "\n".join(lines[:30])


def verdicts(works: dict[str, Any]) -> str:
    lines = []
    for work in works.values():
        for t in work.get("targets", []):
            value = "not measured" if t["value"] is None else f"{t['value']:.3f}"
            without = f", without {', '.join(t['peers_missing'])}" if t.get("peers_missing") else ""
            lines.append(f"  {t['target']}: {value} ({t['bound']}{without}): {'met' if t['met'] else 'MISSED'}")
    return "\n".join(lines)
