"""Writes the tables of README, docs/tensor_core.md and docs/engines.md from the kept results: what the peers take, what
patches cost, on the CPU and on a GPU, and how cuDNN varies.

Reads cpu_peers.json, gpu_peers.json, gpu_precisions.json and cudnn_variance.json below experiments/results; a table
stands between `<!-- table: NAME -->` and `<!-- end of table -->`.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from halotile_tools.common import RESULTS, ROOT, ExperimentError, write_text
from halotile_tools.figures.study_tables import BLOCK, markdown
from halotile_tools.peers.gpu_table import float64_errors

PAGES = (ROOT / "README.md", ROOT / "docs" / "tensor_core.md", ROOT / "docs" / "engines.md")
NETWORKS = {
    "alexnet_batch32": "AlexNet 2012, batch 32",
    "single_tower_batch32": "single-tower AlexNet, batch 32",
    "alexnet_batch1": "AlexNet 2012, batch 1",
    "single_tower_batch1": "single-tower AlexNet, batch 1",
}
LARGE = {
    "PyTorch": "PyTorch",
    "ONNX Runtime": "ONNX Runtime",
    "halotile whole": "halotile, whole",
    "halotile per_conv 4x4": "halotile, every layer in 4x4 tiles",
    "halotile fused 4x4": "halotile, all layers fused, 4x4 tiles",
}
SUB_BATCHES = {
    "sub_batches": "AlexNet 2012, fp32 (`direct`)",
    "sub_batches_tensor_core_fp32": "AlexNet 2012, fp32 on tensor cores",
    "sub_batches_tensor_core_tf32": "AlexNet 2012, tf32",
    "sub_batches_torchvision_fp32": "torchvision's AlexNet, fp32 on tensor cores",
}
PRECISIONS = ("bf16", "fp16", "tf32", "fp32")
GPU = ("PyTorch eager", "PyTorch compile channels_last", "PyTorch eager 2x2", "halotile, graph", "halotile 2x2, graph")


def works(machine: str, name: str, key: str = "works") -> dict[str, Any]:
    """The kept works of one file."""
    path = RESULTS / machine / name
    if not path.is_file():
        raise ExperimentError(f"{path} does not exist: make it with the script of that name in experiments")
    return json.loads(path.read_text(encoding="utf-8"))[key]


def cpu_peers(options: argparse.Namespace) -> str:
    kept = works(options.cpu, "cpu_peers.json")
    rows = [
        ["network, fp32", "PyTorch, ms", "ONNX Runtime, ms", "halotile, ms", "against the better", "halotile bf16, ms"]
    ]
    for name, shown in NETWORKS.items():
        if name not in kept:
            continue
        times = {who: value["median_ms"] for who, value in kept[name]["contestants"].items()}
        ratio = kept[name]["contestants"]["halotile"]["speed_against_better_peer"]
        bf16 = f"{times['halotile bf16']:.0f}" if "halotile bf16" in times else "-"
        digits = 0 if times["PyTorch"] > 100 else 1
        cells = [f"{times[who]:.{digits}f}" for who in ("PyTorch", "ONNX Runtime", "halotile")]
        rows.append([shown, *cells, f"{ratio:.2f} times as fast", bf16])
    return markdown(rows)


def large_image(options: argparse.Namespace) -> str:
    kept = works(options.cpu, "cpu_peers.json").get("large_image")
    if kept is None:
        raise ExperimentError("cpu_peers.json has no large_image: experiments/peers/cpu_peers.py --only large_image")
    rows = [["one 4096 x 4096 image, conv layers", "s", "peak memory, MiB"]]
    for name, shown in LARGE.items():
        value = kept["contestants"][name]
        rows.append([shown, f"{value['median_ms'] / 1000:.2f}", f"{value['peak_mib']:.0f}"])
    return markdown(rows)


def gpu_peers(options: argparse.Namespace) -> str:
    resident = works(options.gpu, "gpu_peers.json")["resident"]["contestants"]
    rows = [["AlexNet 2012, batch 32, fp32 without TF32", "ms"]]
    rows += [[name.replace("2x2", "in 2x2 tiles on 4 streams"), f"{resident[name]['median_ms']:.2f}"] for name in GPU]
    return markdown(rows)


def raced(
    options: argparse.Namespace, file: str = "gpu_peers.json"
) -> list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]]:
    """Every work of which both halotile and a peer were timed: its name, itself, the best peer, the best of ours."""
    kept = works(options.gpu, file)
    return [
        (name, work, work["contestants"][work["best_peer"]], work["contestants"][work["best_halotile"]])
        for name, work in sorted(kept.items(), key=lambda item: gpu_order(item[1]))
        if work.get("best_peer_against_halotile") is not None
    ]


def gpu_works(options: argparse.Namespace) -> str:
    """All of them, with the share of the limit and the errors."""
    rows = [["work", "best peer", "ms", "halotile, ms", "times as fast", "of the limit", "error (peer's)"]]
    for name, work, peer, own in raced(options):
        errors = [c["error_vs_float64"] for c in (own, peer)]
        error = "-" if None in errors else f"{errors[0]:.0e} ({errors[1]:.0e})"
        ratio = f"{work['best_peer_against_halotile']:.2f}"
        cells = [work["best_peer"], short(peer), short(own), ratio, f"{own['share_of_limit']:.0%}", error]
        rows.append([gpu_work(name, work), *cells])
    return markdown(rows)


def gpu_short(options: argparse.Namespace) -> str:
    """Those in bf16 whose input is on the device."""
    rows = [["bf16 on tensor cores", "best of PyTorch and XLA, ms", "halotile, ms", "times as fast"]]
    for name, work, peer, own in raced(options):
        if work["precision"] == "bf16" and work["kind"] in ("resident", "image"):
            what = gpu_work(name, work).removesuffix(", bf16")
            rows.append([what, short(peer), short(own), f"{work['best_peer_against_halotile']:.2f}"])
    return markdown(rows)


def gpu_tiles(options: argparse.Namespace) -> str:
    """The large image whole, and for each grid and grouping of layers by its fastest dispatch."""
    kept = works(options.gpu, "gpu_peers.json")
    rows = [["one 8192 x 8192 image, bf16", "2012, ms", "of whole", "memory", "single tower, ms", "of whole", "memory"]]
    lines: dict[str, list[str]] = {}
    for network in ("2012", "tower"):
        work = kept[f"{network}-bf16-8192"]
        for name, c in work["contestants"].items():
            if name == work["best_halotile"]:
                cells = ["whole", f"{c['median_ms']:.2f}", "", f"{c['device_bytes'] / 2**20:.0f} MiB"]
            elif c["raced"] and "time_over_whole" in c:
                what, dispatch = name.removeprefix("halotile ").split(", ")
                what = what.replace("per_conv", "tiles, per convolution").replace("fused", "tiles, all fused")
                shares = [f"{c[key]:.2f}" for key in ("time_over_whole", "memory_over_whole")]
                cells = [what, f"{c['median_ms']:.2f}, {dispatch}", *shares]
            else:
                continue
            lines.setdefault(cells[0], [cells[0]]).extend(cells[1:])
    return markdown(rows + list(lines.values()))


def gpu_precisions(options: argparse.Namespace) -> str:
    """32 images in every precision: times, and errors as root mean squares (the largest) beside PyTorch's least."""
    rows = [["batch 32", "best peer", "ms", "halotile, ms", "times as fast", "rms error (largest)", "PyTorch's least"]]
    for name, work, peer, own in raced(options, "gpu_precisions.json"):
        errors, peers = float64_errors(work["contestants"], work["precision"])
        most, most_of_peers = float64_errors(work["contestants"], work["precision"], "error_vs_float64")
        cells = [gpu_work(name, work).replace(", batch 32", ""), work["best_peer"], short(peer), short(own)]
        cells += [f"{work['best_peer_against_halotile']:.2f}", f"{max(errors):.2e} ({max(most):.1e})"]
        rows.append([*cells, f"{min(peers):.2e} ({min(most_of_peers):.1e})"])
    return markdown(rows)


def gpu_sub_batches(options: argparse.Namespace) -> str:
    """Batches from host memory: on one stream, and in sub-batches on four or more."""
    kept = works(options.gpu, "gpu_peers.json")
    rows = [
        [
            "256 images from host memory",
            "copying, ms",
            "computing, ms",
            "1 stream, ms",
            "best way",
            "ms",
            "times as fast",
        ]
    ]
    for name, shown in SUB_BATCHES.items():
        work = kept[name]
        times = {way: value["median_ms"] for way, value in work["contestants"].items()}
        one = min(time for way, time in times.items() if way.startswith("1 streams"))
        alone = [f"{work[key]:.2f}" for key in ("copy_alone_ms", "compute_alone_ms")]
        best, speed = times[work["best"]], work["targets"][0]["value"]
        rows.append([shown, *alone, f"{one:.2f}", work["best"], f"{best:.2f}", f"{speed:.2f}"])
    return markdown(rows)


def cudnn_variance(options: argparse.Namespace) -> str:
    """Patchings with equal bits, the largest difference of a map, and the time over the project's own engine."""
    rows = [["network", *(f"{precision}" for precision in PRECISIONS)]]
    for network, found in works(options.gpu, "cudnn_variance.json", "networks").items():
        cells = []
        for kept in (found[precision] for precision in PRECISIONS):
            times = kept["times"]["batch 32"]
            own = "direct" if "direct" in times else "tensor_core"
            equal = f"{kept['patchings_with_equal_bits']} of {kept['patchings']}"
            off = f", off by {kept['max_abs']:.0e}" if kept["max_abs"] else ""
            cells.append(f"{equal}{off}; {times['cudnn']['median_ms'] / times[own]['median_ms']:.1f} times")
        rows.append([network, *cells])
    return markdown(rows)


def short(contestant: dict[str, Any]) -> str:
    ms = contestant["median_ms"]
    return f"{ms:.2f}" if ms >= 1 else f"{ms:.3f}"


def gpu_order(work: dict[str, Any]) -> tuple[Any, ...]:
    """Kind, precision, network, batch."""
    kinds = ("resident", "image", "host", "tiles", "plain")
    kind = work.get("kind", "")
    precision = PRECISIONS.index(work["precision"]) if "precision" in work else len(PRECISIONS)
    network = work.get("network", "")
    return kinds.index(kind) if kind in kinds else 9, precision, network, work.get("batch", 0)


def gpu_work(name: str, work: dict[str, Any]) -> str:
    """A work in words."""
    network = {"2012": "AlexNet 2012", "tower": "single tower"}.get(work["network"], name)
    if work["kind"] == "image":
        return f"{network}, conv layers, one {work['extent'][0]} x {work['extent'][1]} image, {work['precision']}"
    more = {"host": ", 8-bit images from the host", "tiles": ", convolutions in 4x4 tiles"}.get(work["kind"], "")
    return f"{network}, batch {work['batch']}{more}, {work['precision']}"


TABLES = {
    "cpu_peers": cpu_peers,
    "large_image": large_image,
    "gpu_peers": gpu_peers,
    "gpu_short": gpu_short,
    "gpu_works": gpu_works,
    "gpu_tiles": gpu_tiles,
    "gpu_precisions": gpu_precisions,
    "gpu_sub_batches": gpu_sub_batches,
    "cudnn_variance": cudnn_variance,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpu", default="cpu-2core-avx512", help="folder of the CPU machine's results")
    parser.add_argument("--gpu", default="h200", help="folder of the GPU host's results")
    options = parser.parse_args()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        write_text(page, BLOCK.sub(lambda m: f"{m[1]}{TABLES[m[2]](options)}\n{m[3]}", text))
        print(f"written: {page}")
    return 0
