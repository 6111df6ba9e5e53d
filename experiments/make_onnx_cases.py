"""Writes ONNX files with inputs and what ONNX Runtime makes of them, for tests/cli/onnx_test.py.

    make_onnx_cases.py                       the kept cases, into tests/golden/onnx
    make_onnx_cases.py FOLDER --all          also every layer and network of onnx_torch_cases.py, by both of PyTorch's
                                             exporters, with free and fixed batch, at old and new operator sets
    make_onnx_cases.py FOLDER --all --only 'lrn*'

Each case is NAME.onnx, NAME.x.npy, NAME.y.npy; manifest.json has the versions and, for what must be refused, a pattern
of the reason. The kept files were made with the versions in PINNED; others are refused unless --any-versions is given:

    pip install torch==2.15.0 onnx==1.23.2 onnxruntime==1.32.0 onnxscript==0.7.2 numpy==2.4.6
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import io
import json
import math
import sys
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from onnx_test_graphs import GRAPHS, REFUSED

PINNED = {
    "torch": "2.15.0",
    "onnx": "1.23.2",
    "onnxruntime": "1.32.0",
    "onnxscript": "0.7.2",
    "numpy": "2.4.6",
}
KEPT = Path(__file__).resolve().parent.parent / "tests" / "golden" / "onnx"
# Exporter, operator set, whether the batch is free.
VARIANTS = (("legacy", 11, False), ("legacy", 20, True), ("dynamo", 18, False), ("dynamo", 20, True))
# Of the exports, those that stay in the repository: the kinds that only exporters write.
KEPT_EXPORTS = (
    "lrn5__legacy20", "lrn4__dynamo20", "view_minus1__legacy20",
    "max_pool_k1_ceil__legacy20", "mean_3_2__legacy20", "mean_23__dynamo18", "index_00__legacy11", "squeeze__dynamo20",
    "batch_norm_1d_behind_relu__legacy11", "relu_maximum__legacy20", "softmax_c11__dynamo18",
)  # fmt: skip
# Of the graphs, those too large for the repository.
LARGE = (
    "alexnet_like",
    "max_dilated",
    "normalized",
    "same_lower",
    "unequal_pads",
    "unequal_pads_dilated",
    "valid",
)
TYPES = {"float": np.float32, "double": np.float64, "uint8": np.uint8}


class Writer:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cases: dict[str, dict[str, str]] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, name: str, model: bytes, x: np.ndarray, refused: str, y: np.ndarray | None = None) -> None:
        (self.folder / f"{name}.onnx").write_bytes(model)
        self.cases[name] = {"refused": refused} if refused else {}
        if refused:
            return
        if y is None:
            y = run(model, x)
        np.save(self.folder / f"{name}.x.npy", x)
        np.save(self.folder / f"{name}.y.npy", y)

    def finish(self, failed: dict[str, str]) -> None:
        manifest: dict[str, Any] = {
            "made_with": {name: metadata.version(name) for name in PINNED},
            "cases": self.cases,
        }
        if failed:
            manifest["not_exported"] = failed
        (self.folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
        size = sum(p.stat().st_size for p in self.folder.iterdir())
        print(f"{self.folder}: {len(self.cases)} cases, {size} bytes; {len(failed)} not exported")


def run(model: bytes, x: np.ndarray) -> np.ndarray:
    """What ONNX Runtime makes of x, which is kept as small integers."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    kind = session.get_inputs()[0].type.removeprefix("tensor(").removesuffix(")")
    (y,) = session.run(None, {session.get_inputs()[0].name: x.astype(TYPES[kind])})
    return y


def small_integers(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(-9, 10, shape).astype(np.int8)


def write_graphs(writer: Writer, only: str, kept: bool) -> None:
    for name, make in GRAPHS.items():
        if fnmatch.fnmatch(name, only):
            graph = make()
            images = graph.batch or (2 if math.prod(graph.size) <= 100 else 1)
            x = small_integers(images, *graph.size) if graph.x is None else graph.x
            if not kept or name not in LARGE:
                writer.write(name, graph.model().SerializeToString(), x, "", graph.y)
    for name, (make, refused) in REFUSED.items():
        if fnmatch.fnmatch(name, only):
            writer.write(f"refused_{name}", make().model().SerializeToString(), np.zeros(0), refused)


def export(case: Any, exporter: str, opset: int, free: bool) -> tuple[bytes, np.ndarray]:
    import torch

    module = case.make()
    torch.manual_seed(3)
    for layer in module.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
        if isinstance(layer, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)):
            torch.nn.init.uniform_(layer.running_mean, -0.5, 0.5)
            torch.nn.init.uniform_(layer.running_var, 0.5, 2)
    module.eval()
    values = small_integers(2 if free else 1, *case.shape)
    double = any(p.dtype == torch.float64 for p in module.parameters())
    x = torch.from_numpy(values).to(torch.float64 if double else torch.float32)
    file = io.BytesIO()
    if exporter == "legacy":
        torch.onnx.export(module, (x,), file, dynamo=False, opset_version=opset, input_names=["x"],
                          dynamic_axes={"x": {0: "N"}} if free else None)  # fmt: skip
    else:
        shapes = ({0: torch.export.Dim("N")},) if free else None
        program = torch.onnx.export(
            module, (x,), dynamo=True, opset_version=opset, dynamic_shapes=shapes, verbose=False
        )
        file.write(program.model_proto.SerializeToString())
    return file.getvalue(), values


def plain(model: bytes) -> bytes:
    """Without what exporters tell of the places in the code; shapes of inner values stay."""
    proto = onnx.load_from_string(model)
    graph = proto.graph
    values = (*graph.value_info, *graph.input, *graph.output)
    for part in (proto, graph, *graph.node, *graph.initializer, *values):
        del part.metadata_props[:]
        part.doc_string = ""
    return proto.SerializeToString()


def write_exports(writer: Writer, only: str, kept: bool) -> dict[str, str]:
    """Exports layers and networks; returns those that an exporter or ONNX Runtime refused."""
    from onnx_torch_cases import LAYERS

    failed = {}
    for name, case in LAYERS.items():
        for exporter, opset, free in VARIANTS:
            full = f"{name}__{exporter}{opset}"
            if not fnmatch.fnmatch(full, only) or (kept and full not in KEPT_EXPORTS):
                continue
            try:
                with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                    warnings.simplefilter("ignore")
                    model, x = export(case, exporter, opset, free)
                refused = case.refused or ("" if free else case.refused_fixed)
                y = None if refused else run(model, x)
            except Exception as error:  # whatever they raise
                failed[full] = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:150]}"
                continue
            writer.write(full, plain(model) if kept else model, x, refused, y)
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "folder", type=Path, nargs="?", default=KEPT, help="where to write (default: tests/golden/onnx)"
    )
    parser.add_argument("--all", action="store_true", help="every export, not only those that are kept")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="cases whose names match")
    parser.add_argument("--any-versions", action="store_true", help="also with other versions than the pinned ones")
    args = parser.parse_args()
    other = {name: metadata.version(name) for name, wanted in PINNED.items() if metadata.version(name) != wanted}
    if other and not args.any_versions:
        sys.exit(f"make_onnx_cases.py: {other} differ from the pinned {PINNED}; install those, or give --any-versions")
    writer = Writer(args.folder)
    write_graphs(writer, args.only, not args.all)
    writer.finish(write_exports(writer, args.only, not args.all))


if __name__ == "__main__":
    main()
