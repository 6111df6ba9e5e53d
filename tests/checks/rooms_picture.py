"""The picture of the rooms for docs/architecture.md: a box a room, above all that it may see. An arrow is left out
where others lead to the same room: one that sees engines mostly sees the maps that engines see, too."""

from __future__ import annotations

from functools import cache
from html import escape

# Where a room stands from left to right, in columns, and who lives there. From bottom to top follows from the arrows.
ROOMS = {
    "patching": (2, "geometry, plan, keys, accounts"),
    "kernels/maps": (1, "views of maps in memory"),
    "kernels/devices": (3, "devices, streams, buffers"),
    "kernels/devices/cuda": (5, "the same in CUDA"),
    "formats": (0, "images, arrays, weight files"),
    "kernels/engines": (2, "operations, what engines are"),
    "kernels/engines/cpu": (1, "reference, onednn"),
    "kernels/engines/cuda": (4, "what CUDA engines share"),
    "kernels/engines/cuda/direct": (3, "fp32, the reference's bits"),
    "kernels/engines/cuda/tensor_core": (4, "bf16, fp16, tf32, fp32"),
    "kernels/engines/cuda/cudnn": (5, "for comparison"),
    "kernels/engines/registry": (1.5, "which engines there are"),
    "pipeline/network": (0, "layers, model files, weights"),
    "pipeline/running": (0, "lowering, program, executor"),
    "pipeline/measuring": (3, "runs, medians, disturbances"),
    "pipeline/experiment": (1, "configs, sessions, runs"),
    "sweeping": (1, "sweeps, stores, comparing"),
    "program/report": (1, "the page of a sweep"),
    "program": (1, "commands of halotile"),
}
COLORS = {
    "patching": "#e3e9f1",
    "kernels": "#e2f0e2",
    "formats": "#f6ecd5",
    "pipeline": "#f4dfdc",
    "sweeping": "#e9e2f2",
    "program": "#ececec",
}
COLUMN, ROW, WIDTH, HEIGHT, MARGIN = 230, 84, 216, 44, 12  # pixels
INK = "#333333"


def levels(rooms: dict[str, list[str]]) -> dict[str, int]:
    """0 for rooms that see none; one above the highest that they see for others."""

    @cache
    def level(room: str) -> int:
        return 1 + max((level(to) for to in rooms[room]), default=-1)

    return {room: level(room) for room in rooms}


def shown_arrows(rooms: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Those that do not follow from others."""

    @cache
    def below(room: str) -> frozenset[str]:
        return frozenset(rooms[room]).union(*(below(to) for to in rooms[room]))

    return [
        (room, to) for room, seen in rooms.items() for to in seen if not any(to in below(between) for between in seen)
    ]


def box(room: str, x: float, y: float) -> str:
    name, text = escape(room), escape(ROOMS[room][1])
    color = COLORS[room.partition("/")[0]]
    return (
        f'<rect x="{x - WIDTH / 2:g}" y="{y - HEIGHT / 2:g}" width="{WIDTH}" height="{HEIGHT}" rx="5" '
        f'fill="{color}" stroke="{INK}"/>\n'
        f'<text x="{x:g}" y="{y - 4:g}" font-size="11" font-weight="bold">{name}</text>\n'
        f'<text x="{x:g}" y="{y + 13:g}" font-size="12">{text}</text>'
    )


def arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    """From a box's lower edge to another's upper one."""
    (x1, y1), (x2, y2) = start, end
    return (
        f'<line x1="{x1:g}" y1="{y1 + HEIGHT / 2:g}" x2="{x2:g}" y2="{y2 - HEIGHT / 2 - 2:g}" '
        f'stroke="{INK}" marker-end="url(#head)"/>'
    )


def picture(rooms: dict[str, list[str]]) -> str:
    """As SVG. Rooms that this file does not know are an error: give them a place and a line here."""
    if unknown := set(rooms) ^ set(ROOMS):
        raise SystemExit(f"rooms_picture.py and layering.py differ in {', '.join(sorted(unknown))}")
    height_of = levels(rooms)
    top = max(height_of.values())
    place = {
        room: (MARGIN + WIDTH / 2 + COLUMN * ROOMS[room][0], MARGIN + HEIGHT / 2 + ROW * (top - height_of[room]))
        for room in rooms
    }
    width = max(x for x, _ in place.values()) + WIDTH / 2 + MARGIN
    height = max(y for _, y in place.values()) + HEIGHT / 2 + MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
            f'height="{height:g}" font-family="sans-serif" text-anchor="middle" fill="{INK}">',
            "<title>The rooms of src and who includes whom</title>",
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
            'orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>',
            '<rect width="100%" height="100%" fill="white"/>',
            *(arrow(place[room], place[to]) for room, to in shown_arrows(rooms)),
            *(box(room, *place[room]) for room in rooms),
            "</svg>\n",
        ]
    )
