"""Checks who includes whom: patching <- kernels <- formats <- pipeline <- sweeping <- experiments, each also all to its left; and
that kernels are launched in .cu files alone."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ["patching", "kernels", "formats", "pipeline", "sweeping"]
INCLUDE = re.compile(r'^\s*#\s*include\s*["<]([a-z_]+)/')


def sources(folder: Path) -> list[Path]:
    return [p for p in sorted(folder.rglob("*")) if p.suffix in {".hpp", ".cpp", ".cu", ".cuh"}]


def problems() -> list[str]:
    found = []
    for rank, layer in enumerate(LAYERS):
        for path in sources(ROOT / "src" / layer):
            for number, line in enumerate(path.read_text().splitlines(), 1):
                where = f"{path.relative_to(ROOT)}:{number}"
                include = INCLUDE.match(line)
                if include and include[1] in LAYERS[rank + 1 :]:
                    found.append(f"{where}: {layer} must not include {include[1]}")
                if layer == "patching" and include and include[1] in {"cuda", "cub", "thrust"}:
                    found.append(f"{where}: patching must not include {include[1]}")
                if path.suffix != ".cu" and "<<<" in line:
                    found.append(f"{where}: a kernel launch outside a .cu file")
    return found


if __name__ == "__main__":
    lines = problems()
    print("\n".join(lines) if lines else "layering: fine")
    sys.exit(1 if lines else 0)
