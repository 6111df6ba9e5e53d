"""What the study's data say, as sentences with numbers: the part of the conclusions that needs no judgement."""

from __future__ import annotations

from typing import Any

from halotile_tools.figures.study_data import Point, by_group, conv_parts, one, points


def times(ratio: float) -> str:
    """A ratio for a sentence."""
    return f"{ratio:,.0f} times" if ratio >= 100 else f"{ratio:.3g} times"


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def cpu_and_gpu(data: dict[str, Any]) -> list[str]:
    naive = one(data, "cpu_batch", series="naive", batch=32)
    fast = one(data, "cpu_batch", series="fast", batch=32)
    gpu = one(data, "gpu_batch", batch=32)
    if not (naive and fast and gpu):
        return []
    n, f, g = (p["median_ms"] for p in (naive, fast, gpu))
    return [
        f"32 images take the naive pipeline {n / 1e3:.3g} s, the fast one on all cores of that host {f:.3g} ms, the "
        f"GPU {g:.3g} ms: the GPU is {times(n / g)} as fast as the naive pipeline (the original: 90) and "
        f"{times(f / g)} as fast as the fast one."
    ]


def growth(data: dict[str, Any]) -> list[str]:
    found = points(data, "gpu_batch")
    if len(found) < 2:
        return []
    small, large = found[0], found[-1]
    more = large["batch"] / small["batch"]
    longer = large["median_ms"] / small["median_ms"]
    split = by_group(large)
    share = split["convolution"] / sum(split.values())
    sentences = [
        f"From batch {small['batch']} to {large['batch']}, {more:g} times the images take {times(longer)} the time; "
        f"convolution has {percent(share)} of the kernel time at batch {large['batch']}."
    ]
    before = found[-2]
    step = large["median_ms"] / before["median_ms"]
    sentences.append(f"The last step, from {before['batch']} to {large['batch']} images, takes {times(step)} the time.")
    return sentences


def memory(data: dict[str, Any]) -> list[str]:
    sentences = []
    for arena in points(data, "memory", mode="arena"):
        slow = one(data, "memory", mode="per_layer", batch=arena["batch"])
        if not slow:
            continue
        parts = conv_parts(slow)
        order = sorted(parts, key=lambda part: -parts[part])
        shares = ", ".join(f"{part} {percent(parts[part] / sum(parts.values()))}" for part in order)
        sentences.append(
            f"Batch {arena['batch']}: `per_layer` takes {times(slow['median_ms'] / arena['median_ms'])} the time of "
            f"`arena`; its convolution layers split into {shares}."
        )
    return sentences


def sub_batches(data: dict[str, Any]) -> list[str]:
    sentences = []
    for batch in (32, 256):
        found = points(data, "sub_batches", batch=batch, upload="fp32")
        alone = one(data, "sub_batches", batch=batch, upload="none")
        first = next((p for p in found if p["streams"] == 1), None)
        if not (first and alone):
            continue
        best = min(found, key=lambda p: p["median_ms"])
        bound = max(first["components"]["host_to_device_ms"], alone["median_ms"])
        text = (
            f"Batch {batch} from host memory: {best['streams']} streams are best, "
            f"{times(first['median_ms'] / best['median_ms'])} as fast as 1, "
            f"{times(best['median_ms'] / bound)} the larger of copying and computing alone"
        )
        hidden = best.get("trace", {}).get("copy_hidden_share")
        sentences.append(text + (f"; {percent(hidden)} of the copying is hidden." if hidden is not None else "."))
    return sentences


def describe(p: Point) -> str:
    return f"{p['size']} px on {p['streams']} stream{'s' if p['streams'] > 1 else ''} ({p['dispatch']})"


def patches(data: dict[str, Any]) -> list[str]:
    sentences = []
    for pixels in (227, 4096):
        whole = one(data, "patches", pixels=pixels, size="whole", dispatch="streams")
        cut = [p for p in points(data, "patches", pixels=pixels) if p["size"] != "whole"]
        if not whole or not cut:
            continue
        best = min(cut, key=lambda p: p["median_ms"])
        worst = max(cut, key=lambda p: p["median_ms"])
        faster = sum(p["median_ms"] < whole["median_ms"] for p in cut)
        sentences.append(
            f"{pixels} px: {faster} of {len(cut)} ways of cutting are faster than whole; the best, {describe(best)}, "
            f"takes {times(best['median_ms'] / whole['median_ms'])} the whole's time and repeats "
            f"{percent(best['halo_flops_share'])} of the work, the worst, {describe(worst)}, "
            f"{times(worst['median_ms'] / whole['median_ms'])} and "
            f"{percent(worst['halo_flops_share'])}."
        )
    return sentences


def findings(data: dict[str, Any]) -> list[str]:
    """All sentences that the data at hand allow."""
    parts = (cpu_and_gpu, growth, memory, sub_batches, patches)
    return [sentence for part in parts for sentence in part(data)]
