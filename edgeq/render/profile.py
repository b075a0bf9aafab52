"""Time per operator as terminal text."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from edgeq.render.parts import grid, harmless, heading, indented, issue_parts, make_table, render
from edgeq.values import OperatorTime, Profile
from edgeq.wording import file_name, first_name, plural, show_ms

_LONGEST = 10
_LAYER_WIDTH = 20


@harmless
def show_profile(profile: Profile, *, show_all: bool = False) -> str:
    """Summary of `edgeq profile`."""
    model = profile.models[0]
    names = " against ".join(item.model.path for item in profile.models)
    timed = sorted(
        (op for op in (*model.operators, *model.unmapped) if op.time_ms is not None),
        key=lambda op: -(op.time_ms or 0.0),
    )
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
        _operator_table(profile, shown),
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
            parts.append(Text("  why: " + "\n       ".join(textwrap.wrap(reason, 92))))
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


def _operator_table(profile: Profile, shown: Sequence[OperatorTime]) -> Padding:
    twins: dict[int | None, OperatorTime] = {}
    if len(profile.models) == 2:
        theirs = {op.index: op for op in profile.models[1].operators}
        twins = {ours: theirs[other] for ours, other in profile.pairs}
    table = make_table(
        ">#", "layer", "operator", ">ms", ">share", *_second_titles(profile), "kernel"
    )
    # Names give way on a narrow terminal.
    for column, width in zip((1, 2, -1), (12, 12, 6), strict=True):
        table.columns[column].min_width = width
    for op in shown:
        cells = ["" if op.index is None else str(op.index), _short(op), op.operator]
        cells += [f"{op.time_ms:.4f}", f"{op.share:.1%}"]
        if len(profile.models) == 2:
            twin = twins.get(op.index)
            cells += _against(op.time_ms, None if twin is None else twin.time_ms)
        # The runtime's names without their dtypes, marked if float or not of a delegate.
        names = dict.fromkeys(re.sub(r" *\(.*\)", "", kernel) for kernel in op.kernels)
        kernel = " + ".join(names) if op.is_delegated else "TensorFlow Lite's own"
        room = 40 - 16 * (len(profile.models) - 1)
        cells.append(_cut(f"float: {kernel}" if op.is_island else kernel, room))
        table.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in cells))
    return indented(table)


def _type_table(profile: Profile) -> Padding:
    table = make_table("type", ">operators", ">ms", ">share", *_second_titles(profile))
    table.columns[0].no_wrap = True
    theirs: dict[str, float] = {}
    if len(profile.models) == 2:
        theirs = {item.operator: item.time_ms for item in profile.models[1].types}
    for item in profile.models[0].types:
        cells = [item.operator, str(item.count), f"{item.time_ms:.4f}", f"{item.share:.1%}"]
        if len(profile.models) == 2:
            cells += _against(item.time_ms, theirs.get(item.operator))
        table.add_row(*map(Text, cells))
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


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1] + "…"


def _short(op: OperatorTime) -> str:
    if op.index is None:
        return "of no operator"
    return _cut("/".join(first_name(op.name).split("/")[-2:]), _LAYER_WIDTH)


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
    wrapped = ("\n  ".join(textwrap.wrap(line, 98)) for line in lines)
    return ["", *(Text(f"  {line}", "dim") for line in wrapped)] if lines else []
