"""The first figure: time against batch size, for the naive single-thread pipeline and for streams of tiles.

Times the 2012 AlexNet at batch sizes 1 to 32 in three ways, each run a process of its own, all ways in turn:
the engine `reference` on one stream (plain loops, one thread), and the fast engine on one and on two streams of one
thread each. Two streams share a batch image by image, and a single image as an upper and a lower half of every
convolution. Writes batch_figure.json and .csv among this machine's results, and docs/images/batch_figure.png.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from halotile_tools.common import (
    CONFIGS,
    ROOT,
    ExperimentError,
    add_halotile_option,
    median,
    provenance,
    results_folder,
    run_halotile,
    write_json,
    write_text,
)

CONFIG = CONFIGS / "alexnet_batch32.yaml"
PICTURE = ROOT / "docs" / "images" / "batch_figure.png"
BATCHES = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Series:
    """One line of the figure."""

    name: str
    engine: str
    streams: int
    color: str  # Okabe and Ito's palette: told apart with any colour vision
    marker: str

    def overrides(self, batch: int) -> dict[str, Any]:
        """What turns the config into this way of running a batch."""
        words: dict[str, Any] = {
            "input.batch": batch,
            "engine": self.engine,
            "streams": self.streams,
            "threads": 1,
            "sub_batch": max(1, batch // self.streams),
        }
        if batch < self.streams:
            words["patch.grid"] = [self.streams, 1]
        return words


SERIES = (
    Series("naive (1 thread)", "reference", 1, "#D55E00", "s"),
    Series("fast (1 stream)", "onednn", 1, "#0072B2", "o"),
    Series("fast (2 streams)", "onednn", 2, "#009E73", "^"),
)


def time_point(series: Series, batch: int, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One process: one way of running one batch size."""
    slow = series.engine == "reference"
    measure = {
        "measure.warmup": 1 if slow or options.quick else 2,
        "measure.min_runs": 2 if options.quick else 3 if slow else 20,
        "measure.max_seconds": 2 if options.quick else 10,
    }
    result = run_halotile(options.halotile, CONFIG, {**series.overrides(batch), **measure}, folder)
    return {"median_ms": result["median_ms"], "samples_ms": result["samples_ms"]}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All points, `rounds` times in turn."""
    points: dict[str, dict[int, list[dict[str, Any]]]] = {s.name: {b: [] for b in BATCHES} for s in SERIES}
    with tempfile.TemporaryDirectory(prefix="halotile_figure_") as folder:
        for number in range(options.rounds):
            for batch in BATCHES:
                for series in SERIES:
                    points[series.name][batch].append(time_point(series, batch, options, Path(folder)))
                now = "  ".join(f"{s.name} {points[s.name][batch][-1]['median_ms']:.1f}" for s in SERIES)
                print(f"round {number + 1}, batch {batch}: {now} ms", flush=True)
    return {
        "network": "2012 AlexNet, 227 x 227, random input and weights, fp32",
        "provenance": provenance(("matplotlib",), options.halotile),
        "series": [
            {
                "name": s.name,
                "engine": s.engine,
                "streams": s.streams,
                "points": [
                    {
                        "batch": b,
                        "median_ms": median([p["median_ms"] for p in points[s.name][b]]),
                        "overrides": s.overrides(b),
                        "rounds": points[s.name][b],
                    }
                    for b in BATCHES
                ],
            }
            for s in SERIES
        ],
    }


def csv_text(data: dict[str, Any]) -> str:
    """The medians as a table: a row a batch size, a column a way."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["batch", *(f"{s['name']} ms" for s in data["series"])])
    for points in zip(*(s["points"] for s in data["series"]), strict=True):
        writer.writerow([points[0]["batch"], *(f"{p['median_ms']:.3f}" for p in points)])
    return text.getvalue()


def print_table(data: dict[str, Any]) -> None:
    """The medians, and how many times as fast as the naive pipeline each way is."""
    print(f"\n{'batch':>5}" + "".join(f"{s['name'] + ' ms':>22}" for s in data["series"]))
    for points in zip(*(s["points"] for s in data["series"]), strict=True):
        naive = points[0]["median_ms"]
        cells = [f"{p['median_ms']:.1f} ({naive / p['median_ms']:.1f}x)" for p in points]
        print(f"{points[0]['batch']:>5}" + "".join(f"{cell:>22}" for cell in cells))


def time_label(value: float) -> str:
    """Milliseconds below one second, seconds from there, three digits at most."""
    seconds = value >= 1000
    return f"{value / 1000 if seconds else value:.3g} {'s' if seconds else 'ms'}"


def machine_label(data: dict[str, Any]) -> str:
    """The machine in a few words."""
    p = data["provenance"]
    return f"{p['cpu']}, {p['cores']} cores, {p['vector_unit'].upper().replace('AVX', 'AVX-')}"


def draw(data: dict[str, Any], path: Path) -> None:
    """The picture: both axes logarithmic, each line named at its end."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
        from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator
    except ImportError as error:
        raise ExperimentError(f"{error}: run experiments/python_env.sh, then use .venv/bin/python") from error

    style: Any = {
        "font.size": 11,
        "axes.edgecolor": "#888888",
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(8, 4.8), dpi=160, facecolor="white", layout="constrained")
        axes = figure.subplots()
        colors = {s.name: (s.color, s.marker) for s in SERIES}
        for series in data["series"]:
            batches = [p["batch"] for p in series["points"]]
            times = [p["median_ms"] for p in series["points"]]
            color, marker = colors[series["name"]]
            axes.loglog(batches, times, color=color, marker=marker, markersize=6, linewidth=2)
            for position, offset, alignment in ((0, (-8, 0), "right"), (-1, (10, 0), "left")):
                text = time_label(times[position])
                if position == -1:
                    text = f"{series['name']}: {text}"
                axes.annotate(
                    text,
                    (batches[position], times[position]),
                    xytext=offset,
                    textcoords="offset points",
                    color=color,
                    ha=alignment,
                    va="center",
                    fontsize=10,
                    annotation_clip=False,
                )
        axes.set_xlim(0.55, 140)
        fastest = min(p["median_ms"] for series in data["series"] for p in series["points"])
        axes.set_ylim(bottom=10 ** math.floor(math.log10(fastest * 0.9)))
        axes.xaxis.set_major_locator(FixedLocator(list(BATCHES)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_major_locator(LogLocator(base=10))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: time_label(value)))
        axes.grid(axis="y", color="#DDDDDD", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.set_xlabel("batch size (images)")
        axes.set_ylabel("time for the batch")
        axes.text(0, 1.10, "2012 AlexNet: time against batch size", transform=axes.transAxes, fontsize=14)
        axes.text(
            0,
            1.035,
            f"{machine_label(data)}; fp32; median; lower is better",
            transform=axes.transAxes,
            fontsize=10,
            color="#555555",
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Software": None})
    print(f"written: {path}")


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="rounds over all points (default 3)")
    parser.add_argument("--quick", action="store_true", help="one round of few runs, to results/ unless told otherwise")
    parser.add_argument("--from-data", action="store_true", help="draw the kept data again, without timing")
    parser.add_argument("--output", type=Path, help="folder for the data (default: this machine's kept results)")
    parser.add_argument("--picture", type=Path, help="default: docs/images/batch_figure.png")
    add_halotile_option(parser)
    options = parser.parse_args(words)
    options.output = options.output or (ROOT / "results" if options.quick else results_folder())
    options.picture = options.picture or (options.output / "batch_figure.png" if options.quick else PICTURE)
    if options.quick:
        options.rounds = 1
    return options


def main() -> int:
    options = parse()
    file = options.output / "batch_figure.json"
    if options.from_data:
        if not file.is_file():
            raise ExperimentError(f"{file} does not exist: run without --from-data, or name its folder with --output")
        data = json.loads(file.read_text(encoding="utf-8"))
    else:
        data = measure(options)
        write_json(file, data)
        write_text(options.output / "batch_figure.csv", csv_text(data))
        print(f"written: {file}")
    print_table(data)
    draw(data, options.picture)
    return 0
