"""The works that halotile and its peers are timed at on a GPU: networks, sizes, precisions, contestants, targets."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from halotile_tools.common import CONFIGS
from halotile_tools.model_file import read_model
from halotile_tools.peers import gpu_contestants as of_torch
from halotile_tools.peers import gpu_halotile as halotile
from halotile_tools.peers import gpu_networks as gpu
from halotile_tools.peers.gpu_halotile import DISPATCHES, HalotileContestant
from halotile_tools.peers.gpu_limits import Cost, cost, limit_of
from halotile_tools.peers.gpu_race import Budget, Contestant, Field, Reference
from halotile_tools.peers.gpu_table import float64_errors
from halotile_tools.peers.gpu_xla import XlaContestant, XlaProcess
from halotile_tools.peers.networks import torch_network
from halotile_tools.random import random_input

MODELS = {
    "2012": CONFIGS / "models" / "alexnet.yaml",
    "tower": CONFIGS / "models" / "alexnet_single_tower.yaml",
}
EXTENTS = {"2012": 227, "tower": 224}
LAST_MAP = "pool5"
BATCHES = (1, 32, 128, 1024)
IMAGE = 8192
EXACT_IMAGES = 32  # compared with float64
DISTINCT_IMAGES = 32  # of a batch of photographs
PATCHED_TIME, FUSED_MEMORY = 1.10, 1 / 3  # at most, against whole


@dataclass(frozen=True)
class Work:
    """One row of the table. `kind`: resident, image, host (8-bit images), tiles (cut by hand), plain (fp32)."""

    name: str
    network: str
    kind: str
    precision: str
    batch: int
    target: float | None = None  # best peer's time over halotile's, at least


def make_works() -> dict[str, Work]:
    """All works, the most telling first: a budget that ends cuts the rest."""
    least = {1: 1.5, 32: 2.0, 128: 2.0, 1024: 2.5}
    order = (32, 1024, 128, 1)
    nets = tuple(MODELS)
    works = [Work(f"{n}-bf16-b{b}", n, "resident", "bf16", b, least[b]) for b in order for n in nets]
    image = {("2012", "bf16"): 4.0, ("tower", "bf16"): 2.5, ("2012", "tf32"): 2.5, ("tower", "tf32"): 1.3}
    works += [Work(f"{n}-bf16-{IMAGE}", n, "image", "bf16", 1, image[n, "bf16"]) for n in nets]
    works += [Work(f"{n}-u8-b1024", n, "host", "bf16", 1024, 3.0) for n in nets]
    works += [Work("tower-tiles-b1", "tower", "tiles", "bf16", 1, 20.0)]
    works += [Work(f"{n}-tf32-{IMAGE}", n, "image", "tf32", 1, image[n, "tf32"]) for n in nets]
    works += [Work(f"{n}-fp32-b32", n, "plain", "fp32", 32) for n in nets]
    works += [Work(f"{n}-fp16-b32", n, "resident", "fp16", 32) for n in nets]
    works += [Work(f"{n}-tf32-b{b}", n, "resident", "tf32", b) for b in order for n in nets]
    return {work.name: work for work in works}


WORKS = make_works()


@dataclass(frozen=True)
class Sizes:
    """What the works' sizes become: themselves on a GPU, something small to try the script without one."""

    small: bool = False

    def batch(self, batch: int) -> int:
        return {1: 1, 32: 2, 128: 3, 1024: 4}[batch] if self.small else batch

    def edge(self, work: Work) -> int:
        if work.kind != "image":
            return EXTENTS[work.network]
        return 256 if self.small else IMAGE


class Bench:
    """What works share: options, networks and inputs on the device, references, XLA's process, the limits."""

    def __init__(self, options: Any, folder: Path, works: list[Work], rates: dict[str, float], budget: Budget) -> None:
        self.options = options
        self.folder = folder
        self.rates = rates
        self.device = options.torch_device
        self.sizes = Sizes(options.without_gpu)
        self.budget = budget
        self.xla = XlaProcess(folder, options.xla_python)
        self.largest = {n: max([self.sizes.batch(w.batch) for w in works if w.network == n] + [1]) for n in MODELS}
        self.kept: dict[Any, Any] = {}

    def once(self, key: Any, make: Any) -> Any:
        """Something made at its first use."""
        if key not in self.kept:
            self.kept[key] = make()
        return self.kept[key]

    def until(self, work: Work) -> str:
        return LAST_MAP if work.kind == "image" else ""

    def network(self, work: Work) -> torch.nn.Module:
        model = read_model(MODELS[work.network], self.until(work))
        return self.once(("network", work.network, self.until(work)), lambda: torch_network(model, 7).to(self.device))

    def input_batch(self, work: Work) -> int:
        return 1 if work.kind == "image" else self.largest[work.network]

    def images(self, work: Work) -> torch.Tensor:
        """The batch of random images; smaller batches are the first images of the largest."""
        shape = (self.input_batch(work), 3, self.sizes.edge(work), self.sizes.edge(work))
        made = self.once(("input", shape), lambda: torch.from_numpy(random_input(1, shape)).to(self.device))
        return made[: self.sizes.batch(work.batch)]

    def pixels(self, work: Work) -> np.ndarray:
        """Distinct 8-bit images (N, H, W, C)."""
        edge = self.sizes.edge(work)
        shape = (min(DISTINCT_IMAGES, self.sizes.batch(work.batch)), edge, edge, 3)
        return self.once(("pixels", shape), lambda: np.random.default_rng(1).integers(0, 256, shape, np.uint8))

    def reference(self, work: Work) -> Reference:
        """Outputs in fp32 without TF32, of all images, and in float64, of the first."""
        network, batch = self.network(work), self.sizes.batch(work.batch)
        if work.kind == "host":
            x = torch.from_numpy(of_torch.normalized(self.pixels(work))).permute(0, 3, 1, 2).contiguous()
            plain, exact = self.once(("host", work.network), lambda: references(network, x.to(self.device)))
            return Reference(repeated(plain, batch), repeated(exact, batch)[:EXACT_IMAGES])
        if work.kind == "image":
            plain = self.once(("image", work.network), lambda: outputs(network, self.images(work)))
            return Reference(plain)
        whole = torch_images(self, work)
        plain, exact = self.once(("batch", work.network), lambda: references(network, whole))
        return Reference(plain[:batch], exact[:batch])


def torch_images(bench: Bench, work: Work) -> torch.Tensor:
    """The largest batch of the work's network."""
    bench.images(work)
    edge = bench.sizes.edge(work)
    return bench.kept["input", (bench.input_batch(work), 3, edge, edge)]


def repeated(values: np.ndarray, count: int) -> np.ndarray:
    """The rows over and over."""
    return values[np.arange(count) % len(values)]


def outputs(network: torch.nn.Module, x: torch.Tensor, step: int = 128) -> np.ndarray:
    """PyTorch's outputs without TF32, and without trying cuDNN's algorithms."""
    gpu.set_precision("fp32")
    torch.backends.cudnn.benchmark = False
    with torch.inference_mode():
        return np.concatenate([network(part)[0].cpu().numpy() for part in x.split(step)])


def references(network: torch.nn.Module, x: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    plain = outputs(network, x)
    exact = outputs(copy.deepcopy(network).double(), x[:EXACT_IMAGES].double(), 8)
    of_torch.free_memory()
    return plain, exact


def entrants(bench: Bench, work: Work) -> Iterator[Contestant]:
    """All contestants of a work; halotile's first, since without them nothing else tells much."""
    yield from of_halotile(bench, work)
    network = bench.network(work)
    if work.kind == "host":
        ways = [(1, False), (4, False)] + ([(4, True)] if wanted(bench.options.compile, work) else [])
        for what in ("float", "uint8"):
            for chunks, compiled in ways:
                pixels, batch = bench.pixels(work), bench.sizes.batch(work.batch)
                yield of_torch.from_host(network, pixels, batch, what, chunks, compiled)
        return
    images = bench.images(work)
    if work.kind == "tiles":
        for variant in ("eager", "eager channels_last", "graph"):
            yield of_torch.tiles(network, images, work.precision, variant, 4)
    for variant in gpu.PEER_VARIANTS:
        if not variant.startswith("compile") or wanted(bench.options.compile, work):
            yield of_torch.resident(network, images, work.precision, variant)
    if wanted(bench.options.xla, work):
        request = {"model": str(MODELS[work.network]), "until": bench.until(work), "shape": list(images.shape)}
        request["input_batch"] = bench.input_batch(work)
        yield XlaContestant(bench.xla, work.precision, request, bench.options.contestant_seconds)


def wanted(choice: str, work: Work) -> bool:
    """Whether a peer that is slow to prepare takes part: everywhere, nowhere, or where a target judges it."""
    return choice == "all" or (choice == "small" and work.target is not None and work.kind != "tiles")


def of_halotile(bench: Bench, work: Work) -> Iterator[Contestant]:
    """halotile's ways of a work. Of dispatches that do the same, the first that works."""
    edge, engine = bench.sizes.edge(work), bench.options.tensor_engine
    batch = bench.sizes.batch(work.batch)
    base = halotile.network(MODELS[work.network], bench.until(work), batch, (edge, edge))
    asked = cost(read_model(MODELS[work.network], bench.until(work)), batch, (edge, edge))

    def way(name: str, heat: str, keys: dict[str, Any], precision: str = "", engine: str = engine, **more: Any) -> Any:
        precision = precision or work.precision
        words = {**base, **halotile.arithmetic(precision, engine), **keys}
        more = {"weights": asked.weights, **more}
        return HalotileContestant(bench.options.halotile, bench.folder, name, heat, precision, words, **more)

    def whole(name: str, **more: Any) -> Iterator[Contestant]:
        for dispatch, instead_of in (("graph", ""), ("streams", f"{name}, graph")):
            yield way(f"{name}, {dispatch}", "halotile", halotile.whole(dispatch), instead_of=instead_of, **more)

    if work.kind == "host":
        yield from photographs(bench, work, way)
        return
    if work.kind == "plain":
        yield from whole("halotile direct", engine="auto" if engine == "auto" else "direct")
        yield from whole("halotile tensor_core")
        return
    yield from whole("halotile", watch_memory=work.kind == "image")
    if work.kind == "image":
        yield from patched_ways(bench, work, way)
    if work.kind == "tiles":
        for dispatch in DISPATCHES:
            yield way(f"halotile 4x4 per_conv, {dispatch}", "4x4", halotile.patched(4, "per_conv", dispatch))
    if work.kind == "resident" and work.precision == "bf16":
        yield way("halotile fp16", "fp16", halotile.whole("graph"), precision="fp16", raced=False)


def patched_ways(bench: Bench, work: Work, way: Any) -> Iterator[Contestant]:
    """Tiles of the large image: every way in bf16, in other precisions one dispatch of one grid."""
    if bench.options.patches == "none":
        return
    every = work.precision == "bf16" or bench.options.patches == "all"
    for grid in (4, 8) if every else (4,):
        for stages in ("per_conv", "fused"):
            before = ""
            for dispatch in DISPATCHES:
                name = f"halotile {grid}x{grid} {stages}, {dispatch}"
                keys = halotile.patched(grid, stages, dispatch)
                heat = f"{grid}x{grid} {stages}"
                yield way(name, heat, keys, watch_memory=True, instead_of="" if every else before)
                before = name


def photographs(bench: Bench, work: Work, way: Any) -> Iterator[Contestant]:
    """8-bit images from host memory, copied and computed in sub-batches on streams."""
    folder = bench.folder / f"images_{work.network}"
    batch = bench.sizes.batch(work.batch)
    if not folder.exists():
        halotile.write_images(folder, bench.pixels(work), batch)
    for words, streams, sub_batch in (
        ("2 streams, quarters", 2, max(batch // 4, 1)),
        ("4 streams, eighths", 4, max(batch // 8, 1)),
        ("4 streams, growing sub-batches", 4, growing(batch)),
    ):
        name = f"halotile u8, {words}"
        keys = halotile.from_pixels(folder, streams, sub_batch)
        yield way(f"{name}, graph", "halotile", keys)
        yield way(f"{name}, streams", "halotile", {**keys, "dispatch": "streams"}, instead_of=f"{name}, graph")


def growing(batch: int) -> list[int]:
    """Sub-batches that let computing begin early: each is copied while the one before it is computed. The last is for
    all images that are left."""
    return [max(batch * share // 1024, 1) for share in (48, 64, 96, 128, 176, 224, 288)]


def run_work(bench: Bench, work: Work) -> dict[str, Any]:
    """Prepares, checks and races a work's contestants."""
    reference = bench.reference(work)
    if bench.options.without_gpu:  # for a program that only plays halotile
        np.save(bench.folder / "expected.npy", reference.plain)
    # The two fastest peers race; in plain fp32 both engines of halotile do.
    field = Field(reference, {"peer": 2, "halotile": 2 if work.kind == "plain" else 1})
    for contestant in entrants(bench, work):
        field.enter(contestant, bench.budget, bench.options.contestant_seconds)
    field.race(bench.options.rounds, bench.budget, bench.options.contestant_seconds)
    of_torch.free_memory()
    return judged(bench, work, field)


def judged(bench: Bench, work: Work, field: Field) -> dict[str, Any]:
    """The work's entry in the results."""
    edge, batch = bench.sizes.edge(work), bench.sizes.batch(work.batch)
    asked = cost(read_model(MODELS[work.network], bench.until(work)), batch, (edge, edge))
    limit = limit_of(bench.rates, work.precision, asked, work.kind == "image", pixel_bytes(work, asked))
    contestants = field.summary(limit["limit_ms"])
    own = field.fastest("4x4" if work.kind == "tiles" else "halotile")
    raced = [p for p in map(field.fastest, peer_heats(work)) if p]
    peer = min(raced, key=lambda p: contestants[p]["median_ms"], default=None)
    slow = {"compile": bench.options.compile, "XLA": bench.options.xla}
    result: dict[str, Any] = {
        "network": work.network,
        "kind": work.kind,
        "precision": work.precision,
        "batch": batch,
        "extent": [edge, edge],
        "limit": limit,
        "contestants": contestants,
        "failures": field.failures,
        "skipped": field.skipped,
        "not_tried": [who for who, choice in slow.items() if work.kind in with_slow(who) and not wanted(choice, work)],
        "best_peer": peer,
        "best_halotile": own,
        "best_peer_against_halotile": field.ratio(peer, own),
        "targets": [],
    }
    if work.target is not None:
        text = f"{work.name}: {peer_words(work)} against halotile, speed"
        result["targets"].append(against_all(target(text, field.ratio(peer, own), at_least=work.target), field))
    if work.kind == "host":
        result["pinned_uint8_against_halotile"] = field.ratio(field.fastest("pinned uint8"), own)
    if work.kind == "tiles":
        result["best_whole_peer_against_halotile_4x4"] = field.ratio(field.fastest("peer"), own)
        result["halotile_4x4_against_whole"] = field.ratio(own, field.fastest("halotile"))
    if work.kind == "image":
        result["targets"] += against_whole(work, field, contestants, field.fastest("halotile"))
    else:
        result["targets"].append(error_target(work, contestants))
    return result


def peer_heats(work: Work) -> tuple[str, ...]:
    """The heats whose fastest is the peer that the target means."""
    return {"host": ("pinned float",), "tiles": ("tiles",)}.get(work.kind, ("peer",))


def against_all(judgement: dict[str, Any], field: Field) -> dict[str, Any]:
    """Names the peers that are missing from a judgement; one left out for time is no peer beaten."""
    cut = [name for name in field.skipped if name.startswith(("PyTorch", "XLA"))]
    failed = [name for name in field.failures if name.startswith(("PyTorch", "XLA"))]
    return {**judgement, "met": judgement["met"] and not cut, "peers_missing": cut + failed}


def with_slow(who: str) -> tuple[str, ...]:
    """The kinds of work that a peer which is slow to prepare is made for."""
    return ("resident", "image", "plain", "host") if who == "compile" else ("resident", "image", "plain")


def peer_words(work: Work) -> str:
    words = {"host": "PyTorch from pinned floats", "tiles": "PyTorch's tiles (eager)"}
    return words.get(work.kind, "best peer")


def pixel_bytes(work: Work, asked: Cost) -> int:
    """What has to be copied from the host at least."""
    return asked.inputs if work.kind == "host" else 0


def against_whole(
    work: Work, field: Field, contestants: dict[str, dict[str, Any]], whole: str | None
) -> list[dict[str, Any]]:
    """Puts time and memory over whole's into every patched way; the targets of patches (bf16): of each grid and
    grouping into stages the fastest dispatch, which of fused stages must do with little memory, too."""
    if whole is None:
        return []
    patched = {n: c for n, c in contestants.items() if c["heat"].endswith(("per_conv", "fused"))}
    for name, kept in patched.items():
        by_probe = kept["probe_ms"] / contestants[whole]["probe_ms"]
        kept["time_over_whole"] = field.ratio(name, whole) or by_probe
        kept["memory_over_whole"] = kept["device_bytes"] / contestants[whole]["device_bytes"]
    if work.precision != "bf16":
        return []
    judgements = []
    for heat in dict.fromkeys(c["heat"] for c in patched.values()):
        best = patched.get(field.fastest(heat) or "", {})
        text = f"{work.name}: {heat} against whole"
        judgements.append(target(f"{text}, time", best.get("time_over_whole"), at_most=PATCHED_TIME))
        if heat.endswith("fused"):
            memory = best.get("memory_over_whole")
            judgements.append(target(f"{text}, device memory", memory, at_most=FUSED_MEMORY))
    return judgements


def error_target(work: Work, contestants: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The largest of tensor_core's ways' errors over the least of PyTorch's: root mean squares, in its precision."""
    own, peers = float64_errors(contestants, work.precision)
    value = max(own) / min(peers) if own and peers else None
    return target(f"{work.name}: rms error against float64 over PyTorch's", value, at_most=1.0)


def target(
    text: str, value: float | None, at_least: float | None = None, at_most: float | None = None
) -> dict[str, Any]:
    """A target; a value that could not be measured misses it."""
    bound = f"at least {at_least:g}" if at_least is not None else f"at most {at_most:.3g}"
    met = value is not None and (value >= at_least if at_least is not None else value <= (at_most or 0))
    return {"target": text, "value": value, "bound": bound, "met": met}
