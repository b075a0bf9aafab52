"""Boxes as the templates need them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeq.metrics.boxes import Table
from edgeq.metrics.decoding import show_decoding
from edgeq.packaging.contract import naming
from edgeq.packaging.contract.results import plan_boxes
from edgeq.packaging.contract.values import Contract, Vector
from edgeq.packaging.targets.c import literals
from edgeq.values import JoinedOutput

Described = dict[str, Any]


def describe_boxes(contract: Contract, vectors: Sequence[Vector]) -> Described | None:
    """How boxes are read, and the golden ones; None without a decoding."""
    plan = plan_boxes(contract)
    if plan is None:
        return None
    found, behind = plan.decoding, int(plan.decoding.objectness == "yes")
    kind = found.scores
    is_listed = kind == "listed"
    used = dict.fromkeys((plan.boxes.output, plan.scores.output))
    functions = {name: f"Real{number}" for number, name in enumerate(used)}
    golden = [vector.results[contract.boxes].ravel() for vector in vectors]
    return {
        "text": show_decoding(found),
        "count": plan.count,
        "classes": 1 if is_listed else plan.classes,
        "most": found.at_most,
        "form": found.boxes,
        "is_pixels": found.unit == "pixels",
        "width": float(plan.width),
        "height": float(plan.height),
        "kind": kind,
        "objectness": bool(behind),
        "behind": behind,
        "columns": plan.scores.columns,
        "skipped": 0 if is_listed else behind + plan.first,
        "least": literals.number(np.float64(found.least)),
        "iou": literals.number(np.float64(found.iou)),
        "boxes": _table(plan.boxes, functions),
        "scores": _table(plan.scores, functions),
        "sources": [_source(contract, name, of) for name, of in functions.items()],
        "golden": [literals.values(row) for row in golden],
    }


def field(identifier: str) -> str:
    """An output among the tensors."""
    return f"{identifier.rstrip('_')}_tensor"


def _table(table: Table, functions: dict[str, str]) -> Described:
    return {
        "function": functions[table.output],
        "offset": table.offset,
        "row": table.row,
        "column": table.column,
    }


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
