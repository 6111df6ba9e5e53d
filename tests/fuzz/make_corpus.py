"""Writes the seed corpora of the fuzz targets: OUT/<target>/<file>, from files of the repository and a few made here.

Standard library only.
"""

from __future__ import annotations

import argparse
import json
import shutil
import struct
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
LARGEST = 24_000  # bytes of a seed: mutations of larger files are too slow

# Where a target's seeds lie in the repository.
SOURCES: dict[str, list[str]] = {
    "safetensors": ["tests/golden/*.safetensors", "tests/golden/weights/*.safetensors"],
    "npz": ["tests/golden/*.npz", "tests/golden/weights/*.npz"],
    "npy": ["tests/golden/*.npy", "tests/formats/golden/*.npy"],
    "image": ["tests/formats/golden/*.jpg", "tests/formats/golden/*.png", "data/digits/images/digit_144*.png"],
    "metadata": ["tests/formats/golden/png_orientation*.png", "tests/formats/golden/jpeg_orientation*.jpg"],
    "model": ["configs/models/*.yaml", "tests/golden/*.yaml"],
    "config": ["configs/*.yaml", "configs/sweeps/*.yaml"],
    "labels": ["data/*/classes.txt", "data/*/labels.csv"],
}


def safetensors(header: object, data: bytes = b"") -> bytes:
    text = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + data


def npy(kind: str, shape: str, data: bytes, version: int = 1, fortran: bool = False) -> bytes:
    header = f"{{'descr': '{kind}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n".encode()
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header + data


def archive(members: dict[str, bytes], deflate: bool) -> bytes:
    """A ZIP archive without dates and extras, smaller than Python's."""
    body = directory = b""
    for name, plain in members.items():
        raw = zlib.compress(plain, 9, -15) if deflate else plain
        common = struct.pack(
            "<HHHIIIIHH", 20, 0, 8 if deflate else 0, 0, zlib.crc32(plain), len(raw), len(plain), len(name), 0
        )
        directory += (
            b"PK\1\2" + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, len(body)) + name.encode()
        )
        body += b"PK\3\4" + common + name.encode() + raw
    end = struct.pack("<HHHHIIH", 0, 0, len(members), len(members), len(directory), len(body), 0)
    return body + directory + b"PK\5\6" + end


def made() -> dict[str, dict[str, bytes]]:
    """Seeds for what the repository's files do not hold."""
    sizes = {"BOOL": 8, "F4": 4, "F8_E4M3": 8, "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "I64": 64, "C64": 64}
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for kind, bits in sizes.items():
        size = 2 * 3 * bits // 8
        header[f"layer.{kind}"] = {"dtype": kind, "shape": [2, 3], "data_offsets": [at, at + size]}
        at += size
    arrays = {
        f"{i}": npy(kind, "(2, 3)", bytes(6 * size))
        for i, (kind, size) in enumerate([("<f4", 4), ("<f2", 2), ("<f8", 8), ("|u1", 1), ("<i4", 4), ("<i8", 8)])
    }
    members = {f"{name}.npy": value for name, value in arrays.items()}
    return {
        "safetensors": {"all_types": safetensors(header, bytes(at)), "empty": safetensors({})},
        "npz": {"stored": archive(members, False), "deflated": archive(members, True), "empty": archive({}, False)},
        "npy": arrays
        | {
            "version_2": npy("<f4", "(1,)", bytes(4), version=2),
            "version_3": npy("<f4", "()", bytes(4), version=3),
            "fortran": npy("<f8", "(2, 3, 2)", bytes(96), fortran=True),
        },
        "config": {
            "overrides": b"model: models/alexnet.yaml\ninput: {random: 1}\0patch.size=[32, 64]\0streams=8\0"
            b"patch.stages=[[a, b], [c]]",
            "all": (
                b"model: m.yaml\nweights: {file: w.npz, rename: {a: b}}\ninput: {images: [a, b], batch: 4}\n"
                b"preprocess: {resize: 256, crop: 227, mean: [0.5, 0.5, 0.5], std: [1, 1, 1]}\ndevice: cuda:1\n"
                b"engine: reference\nprecision: bf16\npatch: {size: 64, stages: fused, storage: packed}\nstreams: 4\n"
                b"sub_batch: 8\ndispatch: graph\noutput: {directory: r, save: {logits: l.npy}}\n"
                b"measure: {warmup: 2, min_runs: 10, max_seconds: 15}\nsweep: {streams: [1, 2]}\n"
            ),
            "sampling": (
                b"model: m.yaml\ninput: {images: a, labels: l.csv, on_error: skip, decoders: 2}\n"
                b"preprocess: {augment: {seed: 3}}\ndropout: {samples: 9, seed: 4}\n"
                b"\0preprocess.crops=ten\0input.labels=\0dropout.samples=2"
            ),
        },
        "labels": {
            "names": b"one\ntwo\n",
            "numbers": b"file,label\na.png,1\nb/c.png,4\n",
            "quoted": b'file,label\r\n"a, ""b"".png","great white shark"\r\na.png,tench\r\n',
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="folder of the corpora")
    args = parser.parse_args()
    extra = made()
    for target, patterns in SOURCES.items():
        folder = args.output / target
        folder.mkdir(parents=True, exist_ok=True)
        for path in (path for pattern in patterns for path in sorted(ROOT.glob(pattern))):
            if path.stat().st_size <= LARGEST:
                shutil.copyfile(path, folder / path.name)
        for name, data in extra.get(target, {}).items():
            (folder / f"made_{name}").write_bytes(data)
        print(f"{folder}: {len(list(folder.iterdir()))} seeds")


if __name__ == "__main__":
    main()
