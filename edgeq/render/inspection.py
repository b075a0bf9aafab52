"""The contents of a `.tflite` as terminal text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from edgeq.render.parts import (
    float_counts,
    grid,
    harmless,
    heading,
    indented,
    operator_counts,
    render,
    runtime_row,
    tensor_rows,
)
from edgeq.render.tables import FittingTable
from edgeq.values import Inspection, OperatorReport, TensorReport
from edgeq.wording import common_prefix, first_name, left_out, plural, show_bytes

_LONGEST = 10


@harmless
def show_inspection(result: Inspection, *, show_all: bool = False) -> str:
    """Summary of `edgeq inspect`."""
    proof = result.certificate
    weights = sum(result.operator_bytes)
    rows = [
        *tensor_rows(proof),
        ("operators", f"{operator_counts(proof)}; {float_counts(proof)}"),
        runtime_row(proof),
        (
            "size",
            f"{show_bytes(result.model.size_bytes)}: constants {show_bytes(weights)}, "
            f"unused {show_bytes(result.unused_bytes)}, structure and names "
            f"{show_bytes(result.structure_bytes)}",
        ),
    ]
    made = f" ({result.description})" if result.description else ""
    parts: list[RenderableType] = [heading(f"{result.model.path}{made}"), grid(rows)]
    parts += ["", _type_table(proof.operators, result.operator_bytes), ""]
    prefix = common_prefix([operator.output for operator in proof.operators])
    if prefix:
        parts.append(Text(left_out(prefix), "dim"))
    parts += _operator_parts(result, prefix, show_all)
    if show_all:
        parts += ["", _tensor_table(result.tensors, prefix)]
    named = []
    for signature in result.signatures:
        sides = (signature.inputs, signature.outputs)
        given, made = (", ".join(name for name, _ in side) for side in sides)
        named.append(("signature", f"{signature.key}({given}) -> {made}"))
    for entry in result.metadata:
        text = f": {entry.text}" if entry.text else ""
        named.append(("metadata", f"{entry.name}, {show_bytes(entry.size_bytes)}{text}"))
    parts += ["", grid(named)] if named else []
    return render(*parts)


def _type_table(operators: Sequence[OperatorReport], sizes: Sequence[int]) -> Padding:
    table = FittingTable("type", ">operators", ">constants", "precision")
    names = Counter(operator.name for operator in operators)
    totals: Counter[str] = Counter()
    for operator, size in zip(operators, sizes, strict=True):
        totals[operator.name] += size
    for name in sorted(names, key=lambda name: (-totals[name], -names[name], name)):
        kinds = dict.fromkeys(op.precision for op in operators if op.name == name)
        cells = (name, str(names[name]), show_bytes(totals[name]), ", ".join(kinds))
        table.add_row(*cells)
    return indented(table)


def _operator_parts(result: Inspection, prefix: str, show_all: bool) -> list[RenderableType]:
    """Operators, by default only the largest."""
    rows = list(zip(result.certificate.operators, result.operator_bytes, strict=True))
    chosen = rows
    if not show_all:
        largest = sorted(rows, key=lambda row: -row[1])[:_LONGEST]
        chosen = [row for row in largest if row[1]]
    table = FittingTable(
        ">#", "operator", "<result", ">constants", "precision", "weights", ">version"
    )
    for operator, size in chosen:
        shape = "x".join(map(str, operator.weight_shape))
        weights = f"{operator.weight_dtype} {shape}" if operator.weight_dtype else ""
        granularity = f" per {operator.granularity}" if operator.granularity else ""
        cells = (
            str(operator.index), operator.name, first_name(operator.output, prefix),
            show_bytes(size), operator.precision, f"{weights}{granularity}",
            str(operator.version),
        )  # fmt: skip
        table.add_row(*cells)
    parts: list[RenderableType] = [indented(table)]
    if len(chosen) < len(rows):
        rest = plural(len(rows) - len(chosen), "operator")
        parts.append(Text(f"  and {rest} with fewer constants: --all", "dim"))
    return parts


def _tensor_table(tensors: Sequence[TensorReport], prefix: str) -> Padding:
    table = FittingTable(">#", "<tensor", "dtype", "shape", "scale", "zero point", ">constant")
    for item in tensors:
        scale = "" if item.lowest_scale is None else f"{item.lowest_scale:.4g}"
        if item.lowest_scale != item.highest_scale:
            scale = f"{item.scales}: {scale}..{item.highest_scale:.4g}"
        zero = ", ".join(map(str, item.zero_points[:3])) + (", ..." * (len(item.zero_points) > 3))
        number = f"{item.subgraph}/{item.index}" if item.subgraph else str(item.index)
        shape = "x".join("?" if size == -1 else str(size) for size in item.shape)
        size = "" if item.constant_bytes is None else show_bytes(item.constant_bytes)
        cells = (
            number,
            first_name(item.name, prefix),
            item.dtype,
            shape,
            scale,
            zero,
            size,
        )
        table.add_row(*cells)
    return indented(table)
