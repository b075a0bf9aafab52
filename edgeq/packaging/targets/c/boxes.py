"""Boxes as the templates need them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeq.packaging.contract import naming
from edgeq.packaging.contract.values import Contract, Vector
from edgeq.packaging.targets import box_values
from edgeq.packaging.targets.c import literals
from edgeq.values import JoinedOutput

Described = dict[str, Any]


def describe_boxes(contract: Contract, vectors: Sequence[Vector]) -> Described | None:
    """How boxes are read, and the golden ones; None without a decoding."""
    found = box_values.describe_boxes(contract)
    if found is None:
        return None
    tables = found["boxes"], found["scores"]
    used = dict.fromkeys(table["output"] for table in tables)
    functions = {name: f"Real{number}" for number, name in enumerate(used)}
    golden = [vector.results[contract.boxes].ravel() for vector in vectors]
    boxes, scores = ({**table, "function": functions[table["output"]]} for table in tables)
    return {
        **found,
        "labels": list(map(literals.string, found["labels"])),
        "boxes": boxes,
        "scores": scores,
        "sources": [_source(contract, name, of) for name, of in functions.items()],
        "golden": [literals.values(row) for row in golden],
    }


def describe_letterbox(contract: Contract, vectors: Sequence[Vector]) -> Described | None:
    """The size of a letterboxed input, and where golden pictures and boxes are; None without."""
    found = box_values.describe_letterbox(contract)
    if found is None:
        return None
    arrays = {
        name: [literals.values(vector.picture[name]) for vector in vectors]
        for name in vectors[0].picture
    }
    return {**found, **arrays}


def field(identifier: str) -> str:
    """An output among the tensors."""
    return f"{identifier.rstrip('_')}_tensor"


def _source(contract: Contract, name: str, function: str) -> Described:
    outputs = {
        item.spec.name: {
            "struct": naming.pascal(item.identifier) + "Output",
            "field": field(item.identifier),
        }
        for item in contract.outputs
    }
    made: Described = {"function": function, "shown": literals.string(name)}
    join = next((item for item in contract.joins if item.name == name), None)
    if join is None:
        return {**made, **outputs[name], "blocks": []}
    return {**made, "blocks": _blocks(join, outputs)}


def _blocks(join: JoinedOutput, outputs: dict[str, Described]) -> list[Described]:
    found = []
    for block in join.blocks:
        start, parts = 0, []
        for name, run in block.parts:
            parts.append({**outputs[name], "run": run, "start": start, "end": start + run})
            start += run
        found.append({"size": block.repeat * start, "turn": start, "parts": parts})
    return found
