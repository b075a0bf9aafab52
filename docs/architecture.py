"""Draw `architecture.svg` from the code: rooms, flows, child processes, and what travels.

python docs/architecture.py

This file only places the rooms. It reads from the code which rooms exist, their docstrings, which
files are started as child processes, and which files travel to a board. A room without a place and
a flow through a room that its leader does not import are errors. A test compares the picture with
the code.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.house import FLOORS, INSIDE, SOURCES, edges, room  # noqa: E402

PICTURE = ROOT / "docs" / "architecture.svg"

# Column and row of each room. A band is a part of the way from a model to a release.
BANDS = {
    "What a user calls": 0,
    "Convert": 1,
    "Measure": 3,
    "Ship": 5,
    "Shared by all": 8,
}
PLACES = {
    "cli": (0, 0), "pipeline": (1, 0), "api": (2, 0), "models": (3, 0), "converters.graph": (4, 0),
    "converters.samples": (0, 1), "converters.lowering": (1, 1), "converters.rewrites": (2, 1),
    "converters.calibration": (3, 1), "converters.writer": (4, 1),
    "conversion": (0, 2), "converters.safe_reading": (1, 2), "converters.quantization": (2, 2),
    "converters.corrections": (3, 2), "converters.proof": (4, 2),
    "device_runners.devices": (0, 3), "device_runners.links": (1, 3),
    "device_runners.on_board": (2, 3),
    "device_runners.measuring": (3, 3), "accuracy": (4, 3),
    "devices": (0, 4), "profiling": (1, 4), "tuning": (2, 4), "debugging": (3, 4),
    "comparison": (4, 4),
    "gating": (0, 5), "history": (1, 5), "reporting": (2, 5), "render": (3, 5),
    "records": (4, 5),
    "packaging": (0, 6), "inspection": (1, 6), "converters.training": (2, 6),
    "metrics": (3, 6), "converters.tracing": (4, 6),
    "fit": (0, 7), "ci": (1, 7),
    "values": (0, 8), "tflite": (1, 8), "files": (2, 8), "children": (3, 8), "wording": (4, 8),
    "errors": (0, 9), "issues": (1, 9), "project": (2, 9), "provenance": (3, 9), "timing": (4, 9),
    "escaping": (0, 10), "progress": (1, 10), "version": (2, 10), "moved": (3, 10),
    "host": (4, 10), "keywords": (0, 11),
}  # fmt: skip

# The rooms that a model and a sample pass, in order; the second value is the room that calls them.
FLOWS = {
    "model": ("#0b7285", "conversion", (
        "converters.lowering", "converters.rewrites", "converters.calibration",
        "converters.writer", "converters.corrections", "converters.proof", "accuracy")),
    "sample": ("#c2255c", "conversion", (
        "converters.samples", "converters.calibration", "accuracy")),
}  # fmt: skip

WIDTH, CELL, HIGH, LEFT, TOP = 1180, 210, 92, 120, 60


def rooms() -> Iterator[str]:
    """Every room, from the ground up."""
    for names in FLOORS:
        yield from names


def says(name: str) -> str:
    """The first sentence of a room's docstring."""
    (face,) = (path for module, path in SOURCES.items() if module == f"edgeq.{name}")
    text = ast.get_docstring(ast.parse(face.read_text())) or ""
    return re.split(r"\.(?:\s|$)|\n\n|;", text)[0].replace("\n", " ").replace("`", "")


def children() -> list[str]:
    """The files that run as a child process: another module names them as a string."""
    named = {
        node.value
        for path in SOURCES.values()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    own = [
        module
        for module, path in SOURCES.items()
        if (module in named and "\ndef main(" in path.read_text()) or path.stem.endswith("_child")
    ]
    agent = "edgeq.device_runners.on_board.agent"  # it starts its own children
    return sorted([*own, f"{agent}.worker", f"{agent}.profiler"])


def corner(name: str) -> tuple[int, int]:
    """The left upper corner of a room's box."""
    column, row = PLACES[name]
    return LEFT + column * CELL, TOP + row * HIGH


def draw_box(name: str) -> Iterator[str]:
    """A room: its name and its first sentence."""
    x, y = corner(name)
    package, _, short = name.rpartition(".")
    yield f"<g><title>{escape(says(name))}</title>"
    yield f'<rect x="{x}" y="{y}" width="{CELL - 20}" height="{HIGH - 22}" rx="6"/>'
    yield f'<text class="name" x="{x + 9}" y="{y + 17}">{escape(short)}</text>'
    if package:
        yield f'<text class="says" x="{x + CELL - 29}" y="{y + 17}" text-anchor="end">'
        yield f"{package}</text>"
    lines = wrap(says(name), 32)
    if len(lines) > 3:
        lines[2] += " …"
    for number, line in enumerate(lines[:3]):
        yield f'<text class="says" x="{x + 9}" y="{y + 32 + 12 * number}">{escape(line)}</text>'
    yield "</g>"


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most so many characters."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def draw_flow(number: int, name: str) -> Iterator[str]:
    """The way of a sample or of a model, through the middle of the rooms."""
    color, leader, stops = FLOWS[name]
    found = {room(target) for module, targets in edges().items()
             if room(module) == leader for target in targets}  # fmt: skip
    for stop in stops:
        if stop not in found:
            raise SystemExit(f"{leader} does not import {stop}: FLOWS is out of date")
    points: list[tuple[int, int]] = []
    dots = []
    for stop in stops:
        x, y = corner(stop)
        middle, gap = x + CELL // 2 - 16 + 12 * number, y + HIGH - 17 + 7 * number
        if points and points[-1][1] != gap:  # down beside the rooms, not through them
            side = x + CELL - 14 + 6 * number
            points += [(side, points[-1][1]), (side, gap)]
        points.append((middle, gap))
        dots.append((middle, gap))
    yield (
        f'<polyline points="{" ".join(f"{x},{y}" for x, y in points)}" fill="none" '
        f'stroke="{color}" stroke-width="2.5" marker-end="url(#{name})" stroke-linejoin="round"/>'
    )
    for x, y in dots[:-1]:
        yield f'<circle cx="{x}" cy="{y}" r="4" fill="{color}"/>'


def draw() -> str:
    """The whole picture as SVG."""
    missing = {r for r in rooms() if "runners." not in r or r.count(".") < 1 or r in PLACES} ^ set(
        PLACES
    )
    if missing:
        raise SystemExit(f"rooms and PLACES differ by {sorted(missing)}: place them in {__file__}")
    height = TOP + HIGH * (1 + max(row for _, row in PLACES.values())) + 250
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="system-ui, sans-serif" role="img" aria-label="The rooms of edgeq">',
        "<style>rect{fill:#fff;stroke:#868e96}.name{font-size:13px;font-weight:600}"
        ".says{font-size:10px;fill:#495057}"
        ".band{font-size:13px;font-weight:600;fill:#495057}.key{font-size:12px}</style>",
        f'<rect width="{WIDTH}" height="{height}" style="fill:#f8f9fa;stroke:none"/>',
    ]
    for name, (color, _, _) in FLOWS.items():
        out.append(
            f'<marker id="{name}" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="6" '
            f'markerHeight="6" orient="auto"><path d="M0 0L8 4L0 8z" fill="{color}"/></marker>'
        )
    x = LEFT
    for name, (color, _, stops) in FLOWS.items():
        text = f"the path of a {name}: {' → '.join(stop.split('.')[-1] for stop in stops)}"
        out.append(f'<line x1="{x}" y1="30" x2="{x + 26}" y2="30" stroke="{color}" '
                   'stroke-width="3"/>')  # fmt: skip
        out.append(f'<text class="key" x="{x + 34}" y="34">{text}</text>')
        x += 660
    for name, row in BANDS.items():
        for number, line in enumerate(wrap(name, 14)):
            out.append(f'<text class="band" x="14" y="{TOP + row * HIGH + 20 + 16 * number}">'
                       f"{line}</text>")  # fmt: skip
    for name in PLACES:
        out += draw_box(name)
    for number, name in enumerate(FLOWS):
        out += draw_flow(number, name)
    y = height - 235
    room_on_board = "device_runners.on_board"
    travels = [
        name
        for name in INSIDE
        if room(name) == room_on_board and "__init__" not in name and not name.endswith(".bundle")
    ]
    for left, title, names in (
        (LEFT, "Child processes, each in a sandbox",
         [name.removeprefix("edgeq.") for name in children()]),
        (LEFT + 520, "Travels to a board: the agent and the keeper, each as one file",
         [name.removeprefix(f"edgeq.{room_on_board}.") for name in travels
          if not SOURCES[name].name.startswith("__init__")]),
    ):  # fmt: skip
        out.append(f'<text class="name" x="{left}" y="{y}">{escape(title)}</text>')
        for index, item in enumerate(names):
            column, line = divmod(index, 14)
            out.append(f'<text class="says" x="{left + 170 * column}" y="{y + 16 + 14 * line}">'
                       f"{escape(item)}</text>")  # fmt: skip
    return "\n".join([*out, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(draw())
