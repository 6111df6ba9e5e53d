"""Checks who includes whom: every room of src (DESIGN's layout) and the rooms that it may see, none else; that each arrow
that is allowed is used; that kernels are launched in .cu files alone; that the picture in docs shows these rooms.
`--arrows` prints what there is, `--picture FILE` draws it."""

import re
import sys
from pathlib import Path

from rooms_picture import picture

ROOT = Path(__file__).resolve().parents[2]
PICTURE = "docs/images/rooms.svg"
INCLUDE = re.compile(r'^\s*#\s*include\s*"([a-z_0-9/]+)\.')

MAPS, DEVICES, ENGINES = "kernels/maps", "kernels/devices", "kernels/engines"
CPU, CUDA, CUDA_DEVICE = "kernels/engines/cpu", "kernels/engines/cuda", "kernels/devices/cuda"
REGISTRY, CUDNN = "kernels/engines/registry", "kernels/engines/cuda/cudnn"
NETWORK, RUNNING, MEASURING, EXPERIMENT = "pipeline/network", "pipeline/running", "pipeline/measuring", "pipeline/experiment"
ROOMS = {
    "patching": [],
    MAPS: ["patching"],
    DEVICES: ["patching"],
    CUDA_DEVICE: ["patching", DEVICES],
    ENGINES: ["patching", MAPS, DEVICES],
    CPU: ["patching", MAPS, DEVICES, ENGINES],
    CUDA: ["patching", MAPS, CUDA_DEVICE, ENGINES],
    "kernels/engines/cuda/direct": [MAPS, CUDA_DEVICE, ENGINES, CUDA],
    "kernels/engines/cuda/tensor_core": ["patching", MAPS, CUDA_DEVICE, ENGINES, CUDA],
    CUDNN: ["patching", MAPS, CUDA_DEVICE, ENGINES, CUDA],
    REGISTRY: ["patching", ENGINES, CPU, CUDA, "kernels/engines/cuda/direct", "kernels/engines/cuda/tensor_core", CUDNN],
    "formats": ["patching", MAPS],
    NETWORK: ["patching", MAPS, ENGINES, "formats"],
    RUNNING: ["patching", MAPS, DEVICES, CUDA_DEVICE, ENGINES, "formats", NETWORK],
    MEASURING: [DEVICES],
    EXPERIMENT: ["patching", MAPS, DEVICES, ENGINES, CPU, REGISTRY, "formats", NETWORK, RUNNING, MEASURING],
    "sweeping": ["patching", DEVICES, ENGINES, "formats", RUNNING, MEASURING, EXPERIMENT],
    "program": ["patching", DEVICES, CUDA, REGISTRY, "formats", RUNNING, MEASURING, EXPERIMENT, "sweeping", "program/report"],
    "program/report": ["patching", REGISTRY, "formats", EXPERIMENT, "sweeping"],
}


def sources() -> list[Path]:
    return [p for p in sorted((ROOT / "src").rglob("*")) if p.suffix in {".hpp", ".cpp", ".cu", ".cuh"}]


def room_of(path: str) -> str | None:
    folder = path.rpartition("/")[0]
    while folder and folder not in ROOMS:
        folder = folder.rpartition("/")[0]
    return folder or None


def arrows() -> tuple[dict[tuple[str, str], list[str]], list[str]]:
    """Includes from room to room, each with the places where it is written; and launches outside .cu files."""
    found: dict[tuple[str, str], list[str]] = {}
    launches = []
    for path in sources():
        name = path.relative_to(ROOT / "src").as_posix()
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if path.suffix != ".cu" and "<<<" in line:
                launches.append(f"src/{name}:{number}: a kernel launch outside a .cu file")
            include = INCLUDE.match(line)
            to = room_of(include[1]) if include else None
            if to and to != room_of(name):
                found.setdefault((room_of(name), to), []).append(f"src/{name}:{number}")
    return found, launches


def problems() -> list[str]:
    found, wrong = arrows()
    for (room, to), places in found.items():
        if room is None:
            wrong += [f"{place}: a folder that is no room" for place in places]
        elif to not in ROOMS[room]:
            wrong += [f"{place}: {room} must not see {to}" for place in places]
    for room, seen in ROOMS.items():
        wrong += [f"{room} may see {to} and does not: take that out of the table" for to in seen if (room, to) not in found]
    drawn = ROOT / PICTURE
    if not drawn.is_file() or drawn.read_text(encoding="utf-8") != picture(ROOMS):
        wrong.append(f"{PICTURE} shows other rooms: tests/checks/layering.py --picture {PICTURE} draws it again")
    return wrong


if __name__ == "__main__":
    if "--arrows" in sys.argv:
        for (room, to), places in sorted(arrows()[0].items(), key=str):
            print(f"{room} -> {to}: {len(places)}")
        sys.exit(0)
    if "--picture" in sys.argv:
        Path(sys.argv[sys.argv.index("--picture") + 1]).write_text(picture(ROOMS), encoding="utf-8")
        sys.exit(0)
    lines = problems()
    meant = sum(len(seen) for seen in ROOMS.values())
    print("\n".join(lines) if lines else f"layering: fine, {len(ROOMS)} rooms, {meant} of {len(ROOMS) * (len(ROOMS) - 1)} arrows are meant")
    sys.exit(1 if lines else 0)
