"""Draws the study's six pictures from its kept data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from halotile_tools.common import RESULTS, ExperimentError
from halotile_tools.figures.study_data import (
    GROUP_NAMES,
    PARTS,
    by_group,
    conv_parts,
    family_resources,
    one,
    points,
)

# Okabe and Ito's palette: told apart with any colour vision.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#888888",
)
GROUP_COLORS = dict(zip(GROUP_NAMES, (BLUE, GREEN, ORANGE, PURPLE, GREY), strict=True))
PART_COLORS = dict(zip(PARTS, (RED, SKY, BLUE, ORANGE), strict=True))
STYLE: dict[str, Any] = {
    "font.size": 10,
    "axes.edgecolor": "#888888",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "legend.frameon": False,
}

Draw = Callable[[dict[str, Any], Any], None]


def time_label(ms: float, _: Any = None) -> str:
    """Microseconds, milliseconds or seconds, three digits at most."""
    for unit, factor in (("s", 1000.0), ("ms", 1.0)):
        if ms >= factor:
            return f"{ms / factor:.3g} {unit}"
    return f"{1000 * ms:.3g} µs"


def source(data: dict[str, Any], figure: str) -> str:
    """The GPU and CPU that a figure was measured on."""
    p = data["figures"][figure]["provenance"]
    gpu = p["gpus"][0]["name"] if p.get("gpus") else "no GPU"
    return f"{gpu}; host {p['cpu']}, {p['cores']} cores; fp32; medians"


def logarithmic(axes: Any, xs: list[int], label: str) -> None:
    """Both axes logarithmic, ticks at the given x alone."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(xs))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_major_locator(LogLocator(base=10))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(time_label))
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(label)


def stacked(axes: Any, labels: list[str], rows: list[dict[str, float]], colors: dict[str, str]) -> None:
    """One bar a label, made of a row's parts."""
    bottoms = [0.0] * len(rows)
    for part, color in colors.items():
        heights = [row[part] for row in rows]
        axes.bar(labels, heights, bottom=bottoms, color=color, label=part, width=0.75)
        bottoms = [b + h for b, h in zip(bottoms, heights, strict=True)]
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=len(colors), handlelength=1, columnspacing=1)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)


def cpu_series(data: dict[str, Any]) -> list[tuple[str, list[int], list[float]]]:
    """Lines of figure 1: this host's, then those kept of other machines."""
    host = f"{data['figures']['cpu_batch']['provenance']['cores']} cores"
    lines = []
    for series, name in (("naive", "naive, 1 thread"), ("fast", f"fast, {host}")):
        found = points(data, "cpu_batch", series=series)
        lines.append((name, [p["batch"] for p in found], [p["median_ms"] for p in found]))
    for file in sorted(RESULTS.glob("cpu-*/batch_figure.json")):
        other = json.loads(file.read_text(encoding="utf-8"))
        machine = file.parent.name.removeprefix("cpu-")
        for series in other["series"]:
            name = f"{series['name']} on {machine}"
            lines.append((name, [p["batch"] for p in series["points"]], [p["median_ms"] for p in series["points"]]))
    return [line for line in lines if line[1]]


def cpu_batch(data: dict[str, Any], figure: Any) -> None:
    axes = figure.subplots()
    for color, (name, xs, ys) in zip((RED, BLUE, ORANGE, SKY, GREEN, PURPLE), cpu_series(data)):
        axes.plot(xs, ys, color=color, marker="o", linewidth=2, label=f"{name}: {time_label(ys[-1])}")
    gpu = [p for p in points(data, "gpu_batch") if p["batch"] <= 32]
    if gpu:
        last = time_label(gpu[-1]["median_ms"])
        xs, ys = [p["batch"] for p in gpu], [p["median_ms"] for p in gpu]
        axes.plot(xs, ys, color="#000000", marker="^", linewidth=2, label=f"GPU, direct: {last}")
    logarithmic(axes, [1, 2, 4, 8, 16, 32], "batch size (images)")
    axes.set_ylabel("time for the batch")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="time at the largest batch")
    axes.set_title("2012 AlexNet on the CPU: time by batch size")


def gpu_batch(data: dict[str, Any], figure: Any) -> None:
    found = points(data, "gpu_batch")
    left, right = figure.subplots(1, 2)
    batches = [p["batch"] for p in found]
    left.plot(batches, [p["median_ms"] for p in found], color="#000000", marker="o", linewidth=2, label="all")
    for group in GROUP_NAMES[:-1]:
        times = [by_group(p)[group] for p in found]
        left.plot(batches, times, color=GROUP_COLORS[group], marker=".", label=group)
    per_image = found[-1]["median_ms"] / found[-1]["batch"]
    line = [per_image * b for b in batches]
    left.plot(batches, line, color=GREY, linestyle=":", label="linear in the batch")
    logarithmic(left, batches, "batch size (images)")
    left.set_title("time by batch size, input on the device")
    left.legend()
    stacked(
        right,
        [str(b) for b in batches],
        [{g: ms / p["batch"] for g, ms in by_group(p).items()} for p in found],
        GROUP_COLORS,
    )
    right.set_xlabel("batch size (images)")
    right.set_ylabel("kernel time an image, ms")
    right.set_title("what an image costs")


def memory(data: dict[str, Any], figure: Any) -> None:
    for axes, mode in zip(figure.subplots(1, 2), ("per_layer", "arena"), strict=True):
        found = points(data, "memory", mode=mode)
        rows = [{part: ms / p["batch"] for part, ms in conv_parts(p).items()} for p in found]
        stacked(axes, [str(p["batch"]) for p in found], rows, PART_COLORS)
        axes.set_xlabel("batch size (images)")
        axes.set_ylabel("time an image, ms")
        axes.set_title(f"memory: {mode}")


def kernels(data: dict[str, Any], figure: Any) -> None:
    resources = family_resources(data)
    families = list(resources)
    panels: tuple[tuple[str, Callable[[dict[str, Any]], float]], ...] = (
        ("registers a thread, at most", lambda r: r["registers"][1]),
        ("shared memory a block, KiB, at most", lambda r: r["shared"][1] / 1024),
        ("constant memory of its module, KiB", lambda r: r["constant"] / 1024),
        ("global memory at batch 32, MB", lambda r: r["global"] / 1e6),
    )
    for axes, (title, value) in zip(figure.subplots(2, 2).flat, panels, strict=True):
        bars = axes.bar([f.replace("_", "\n") for f in families], [value(resources[f]) for f in families])
        for bar in bars:
            bar.set_color(BLUE)
        axes.bar_label(bars, fmt="{:.3g}", fontsize=8)
        axes.set_title(title)


def sub_batches(data: dict[str, Any], figure: Any) -> None:
    for axes, batch in zip(figure.subplots(1, 2), (32, 256), strict=True):
        for upload, color, marker in (("fp32", BLUE, "o"), ("uint8", GREEN, "^")):
            found = points(data, "sub_batches", batch=batch, upload=upload)
            if found:
                xs, ys = [p["streams"] for p in found], [p["median_ms"] for p in found]
                axes.plot(xs, ys, color=color, marker=marker, linewidth=2, label=f"upload {upload}")
        first = one(data, "sub_batches", batch=batch, upload="fp32", streams=1)
        alone = one(data, "sub_batches", batch=batch, upload="none")
        if first:
            copy = first["components"]["host_to_device_ms"]
            axes.axhline(copy, color=ORANGE, linestyle="--", label="copying alone (fp32)")
        if alone:
            axes.axhline(alone["median_ms"], color=RED, linestyle=":", label="computing alone")
        axes.set_xscale("log", base=2)
        axes.set_xticks([1, 2, 4, 8, 16], ["1", "2", "4", "8", "16"])
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", color="#DDDDDD", linewidth=0.8)
        axes.set_xlabel("streams, each with a sub-batch at a time")
        axes.set_ylabel("time for the batch, ms")
        axes.set_title(f"batch {batch} from host memory")
        axes.legend()


def patches(data: dict[str, Any], figure: Any) -> None:
    from matplotlib.colors import LogNorm

    for axes, pixels in zip(figure.subplots(1, 2), (227, 4096), strict=True):
        found = points(data, "patches", pixels=pixels, dispatch="streams")
        whole = one(data, "patches", pixels=pixels, size="whole")
        axes.set_title(f"{pixels} px, {'batch 32' if pixels == 227 else 'batch 1, conv layers'}")
        if not whole:
            continue
        sizes = list(dict.fromkeys(p["size"] for p in found))
        streams = sorted({p["streams"] for p in found})
        times = {(p["size"], p["streams"]): p["median_ms"] for p in found}
        for s in streams:  # a whole image is one tile: more streams find nothing to do
            times.setdefault(("whole", s), whole["median_ms"])
        grid = [[times.get((size, s), float("nan")) / whole["median_ms"] for s in streams] for size in sizes]
        axes.imshow(grid, cmap="RdYlBu_r", norm=LogNorm(0.5, 4), aspect="auto")
        for row, size in enumerate(sizes):
            for column, s in enumerate(streams):
                if (size, s) in times:
                    text = f"{grid[row][column]:.2f}x\n{time_label(times[size, s])}"
                    color = "black" if 0.65 < grid[row][column] < 2.8 else "white"
                    axes.text(column, row, text, ha="center", va="center", fontsize=9, color=color)
        axes.set_xticks(range(len(streams)), [str(s) for s in streams])
        axes.set_yticks(range(len(sizes)), [str(s) for s in sizes])
        axes.set_xlabel("streams")
        axes.set_ylabel("patch edge, image pixels")


PICTURES: dict[str, tuple[Draw, tuple[float, float]]] = {
    "cpu_batch": (cpu_batch, (9.5, 4.6)),
    "gpu_batch": (gpu_batch, (10, 4.6)),
    "memory": (memory, (10, 4.2)),
    "kernels": (kernels, (10, 6)),
    "sub_batches": (sub_batches, (10, 4.4)),
    "patches": (patches, (10, 4.4)),
}


def draw_all(data: dict[str, Any], folder: Path) -> None:
    """Draws every figure that has points."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ExperimentError(
            f"{error}: nothing was drawn; the data is kept, draw it with --from-kept where matplotlib is"
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    for name, (draw, size) in PICTURES.items():
        if not points(data, name):
            print(f"not drawn: {name} has no points")
            continue
        with mpl.rc_context(STYLE):
            figure = Figure(figsize=size, dpi=150, facecolor="white", layout="constrained")
            draw(data, figure)
            figure.supxlabel(source(data, name), fontsize=8, color="#555555")
            path = folder / f"study_{name}.png"
            figure.savefig(path, metadata={"Software": None})
        print(f"written: {path}")
