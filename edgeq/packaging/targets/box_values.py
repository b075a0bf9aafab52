"""The facts of decoded boxes that the templates of all languages need."""

from __future__ import annotations

from typing import Any

from edgeq.metrics.boxes import Table
from edgeq.metrics.decoding import show_decoding
from edgeq.packaging.contract.results import plan_boxes
from edgeq.packaging.contract.values import Contract

Described = dict[str, Any]


def describe_boxes(contract: Contract) -> Described | None:
    """How boxes are read; None without a decoding. Tables name their output."""
    plan = plan_boxes(contract)
    if plan is None:
        return None
    found, behind = plan.decoding, int(plan.decoding.objectness == "yes")
    is_listed = found.scores == "listed"
    return {
        "name": contract.boxes,
        "text": show_decoding(found),
        "count": plan.count,
        "classes": plan.classes or 1,
        "labels": contract.box_labels,
        "most": found.at_most,
        "form": found.boxes,
        "is_pixels": found.unit == "pixels",
        "width": float(plan.width),
        "height": float(plan.height),
        "kind": found.scores,
        "objectness": bool(behind),
        "behind": behind,
        "columns": plan.scores.columns,
        "skipped": 0 if is_listed else behind + plan.first,
        "least": repr(float(found.least)),
        "iou": repr(float(found.iou)),
        "boxes": _table(plan.boxes),
        "scores": _table(plan.scores),
    }


def describe_letterbox(contract: Contract) -> Described | None:
    """Height and width of the letterboxed input; None without one."""
    if contract.letterboxed is None:
        return None
    _, (height, width) = contract.letterboxed
    return {"height": height, "width": width}


def _table(table: Table) -> Described:
    return {
        "output": table.output,
        "offset": table.offset,
        "row": table.row,
        "column": table.column,
    }
