"""Real records made as large as those of a large model."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any


def enlarge(path: Path, target: Path, count: int) -> Path:
    """A record with as many layers, operators, tensors and histograms as a large model has."""
    plain = json.loads(path.read_text())
    _grow(plain, count)
    target.write_text(json.dumps(plain))
    return target


def _grow(plain: dict[str, Any], count: int) -> None:
    for keys in (("layers",), ("certificate", "operators"), ("model", "ranges", "tensors"),
                 ("model", "histograms"), ("model", "corrections")):  # fmt: skip
        parent: Any = plain
        for key in keys[:-1]:
            parent = parent.get(key) or {}
        if isinstance(parent, dict) and isinstance(parent.get(keys[-1]), list):
            parent[keys[-1]] = _repeat(parent[keys[-1]], 128 if "histograms" in keys else count)
    if "pairs" in plain:
        for model in plain["models"]:
            model["operators"] = _repeat(model["operators"], count)
        plain["pairs"] = [[number, number] for number in range(count)]


def _repeat(items: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    found = []
    for number in range(count if items else 0):
        item = copy.deepcopy(items[number % len(items)])
        for key in ("name", "layer", "output"):
            if key in item:
                item[key] = f"features/stage_{number // 20}/block_{number}/{item[key]}"
        for key in ("index", "position"):
            if key in item:
                item[key] = number
        found.append(item)
    return found
