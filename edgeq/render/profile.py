"""Time per operator as terminal text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from edgeq.render.parts import grid, harmless, heading, indented, issue_parts, render, wrapped
from edgeq.render.tables import FittingTable
from edgeq.values import OperatorTime, Profile
from edgeq.wording import common_prefix, file_name, first_name, left_out, plural, show_ms

_LONGEST = 10


@harmless
def show_profile(profile: Profile, *, show_all: bool = False) -> str:
    """Summary of `edgeq profile`."""
    model = profile.models[0]
    names = " against ".join(item.model.path for item in profile.models)
    timed = sorted(
        (op for op in (*model.operators, *model.unmapped) if op.time_ms is not None),
        key=lambda op: -(op.time_ms or 0.0),
    )
    prefix = common_prefix([op.name for op in model.operators])
    shown = timed if show_all else timed[:_LONGEST]
    parts: list[RenderableType] = [
        heading(f"{names}, {plural(model.runs, 'inference')} of each"),
        Text(
            f"{profile.facts.device}: {profile.facts.processor}; {model.runtime.name} "
            f"{model.runtime.version}, {plural(profile.threads, 'thread')}"
        ),
        "",
        grid(_total_rows(profile)),
        "",
        *([Text(left_out(prefix), "dim")] if prefix else []),
        _operator_table(profile, shown, prefix),
    ]
    if len(shown) < len(timed):
        rest = sum(op.share for op in timed[len(shown) :])
        count = plural(len(timed) - len(shown), "operator")
        parts.append(Text(f"  and {count} with {rest:.1%} of the time: --all", "dim"))
    parts += ["", _type_table(profile)]
    parts += _remarks(profile)
    if profile.reasons:
        parts += ["", heading("Why INT8 gains no more")]
        for reason in profile.reasons:
            parts.append(wrapped(f"why: {reason}", 2, hanging=5))
    return render(*parts, *issue_parts(profile.issues))


def _total_rows(profile: Profile) -> list[tuple[str, str]]:
    """Whole inference, operators, and the time between them, for each model."""
    rows = []
    for model in profile.models:
        between = round(max(0.0, model.latency_ms - model.operators_ms), 6)
        text = (
            f"latency p50 {show_ms(model.latency_ms)}, operators {show_ms(model.operators_ms)}, "
            f"between them {show_ms(between)}"
        )
        rows.append((file_name(model.model.path), text))
        parts = [
            f"{label} {show_ms(time)} ({time / model.operators_ms:.1%})"
            for label, time in (
                ("QUANTIZE and DEQUANTIZE", model.conversion_ms),
                ("float islands", model.island_ms),
            )
            if time
        ]
        if parts:
            rows.append(("", ", ".join(parts)))
    return rows


def _operator_table(profile: Profile, shown: Sequence[OperatorTime], prefix: str) -> Padding:
    twins: dict[int | None, OperatorTime] = {}
    if len(profile.models) == 2:
        theirs = {op.index: op for op in profile.models[1].operators}
        twins = {ours: theirs[other] for ours, other in profile.pairs}
    table = FittingTable(
        ">#", "<layer", "operator", ">ms", ">share", *_second_titles(profile), "<kernel"
    )
    for op in shown:
        cells = ["" if op.index is None else str(op.index), _layer(op, prefix), op.operator]
        cells += [f"{op.time_ms:.4f}", f"{op.share:.1%}"]
        if len(profile.models) == 2:
            twin = twins.get(op.index)
            cells += _against(op.time_ms, None if twin is None else twin.time_ms)
        # The runtime's names without their dtypes, marked if float or not of a delegate.
        names = dict.fromkeys(re.sub(r" *\(.*\)", "", kernel) for kernel in op.kernels)
        kernel = " + ".join(names) if op.is_delegated else "TensorFlow Lite's own"
        cells.append(f"float: {kernel}" if op.is_island else kernel)
        table.add_row(*cells)
    return indented(table)


def _type_table(profile: Profile) -> Padding:
    table = FittingTable("type", ">operators", ">ms", ">share", *_second_titles(profile))
    theirs: dict[str, float] = {}
    if len(profile.models) == 2:
        theirs = {item.operator: item.time_ms for item in profile.models[1].types}
    for item in profile.models[0].types:
        cells = [item.operator, str(item.count), f"{item.time_ms:.4f}", f"{item.share:.1%}"]
        if len(profile.models) == 2:
            cells += _against(item.time_ms, theirs.get(item.operator))
        table.add_row(*cells)
    return indented(table)


def _second_titles(profile: Profile) -> list[str]:
    """Columns for the second model; none without one."""
    if len(profile.models) < 2:
        return []
    precisions = {op.precision for op in profile.models[1].operators}
    name = "FP32" if precisions <= {"float32", "integer"} else "second"
    return [f">ms {name}", ">gain"]


def _against(own: float | None, other: float | None) -> list[str]:
    if own is None or other is None:
        return ["-", "-"]
    return [f"{other:.4f}", f"{other / own:.2f}x" if own else "-"]


def _layer(op: OperatorTime, prefix: str) -> str:
    return "of no operator" if op.index is None else first_name(op.name, prefix)


def _remarks(profile: Profile) -> list[RenderableType]:
    """Facts that the figures do not show."""
    model, lines = profile.models[0], []
    if len(profile.models) == 2:
        paired = [ours for ours, _ in profile.pairs]
        alone = [op.operator for op in model.operators if op.index not in paired]
        rest = f"; without a counterpart: {', '.join(dict.fromkeys(alone))}" if alone else ""
        count = plural(len(model.operators), "operator")
        lines.append(f"{len(paired)} of {count} paired with the second model's{rest}")
    gone = [op for op in model.operators if op.time_ms is None]
    if gone:
        kinds = ", ".join(dict.fromkeys(op.operator for op in gone))
        count = plural(len(gone), "operator")
        lines.append(f"{count} without a time, computed inside another or not at all: {kinds}")
    if model.unmapped:
        kinds = ", ".join(dict.fromkeys(op.operator for op in model.unmapped))
        count = plural(len(model.unmapped), "step")
        lines.append(f"{count} of the runtime that belong to no operator of the file: {kinds}")
    return ["", *(wrapped(line, 2, style="dim") for line in lines)] if lines else []
