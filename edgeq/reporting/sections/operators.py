"""The time of each operator in an inference."""

from __future__ import annotations

from edgeq.reporting import cells
from edgeq.reporting.cells import short
from edgeq.reporting.gathered import BASELINE, CANDIDATE, Gathered
from edgeq.reporting.values import (
    Bar,
    BarGroup,
    BarPlot,
    Block,
    Cell,
    Column,
    Prose,
    Section,
    Share,
    Table,
)
from edgeq.values import OperatorTime, Profile
from edgeq.wording import common_prefix, file_name, left_out, plural, show_ms

_BARS = 12
Twins = dict[int | None, OperatorTime]  # the second model's operators, by the first one's positions


def section(gathered: Gathered) -> Section:
    """Each profile: bars of the longest operators, all of them in a table, and why."""
    blocks: list[Block] = []
    for part in gathered.of("profile"):
        profile: Profile = part.value
        own = profile.models[0]
        twins: Twins = {}
        if len(profile.models) > 1:
            theirs = {op.index: op for op in profile.models[1].operators}
            twins = {ours: theirs[other] for ours, other in profile.pairs}
        prefix = common_prefix([op.name for op in own.operators])
        operators = sorted((*own.operators, *own.unmapped), key=lambda op: -(op.time_ms or 0.0))
        role = gathered.role(own.model.sha256)
        first = BASELINE if role == BASELINE else CANDIDATE
        blocks += [
            _time_bars(profile, first, operators, twins, prefix),
            _operator_table(profile, operators, twins, prefix),
            _type_table(profile),
        ]
        blocks += [Prose(reason) for reason in profile.reasons]
    lead = "Time per operator of one inference, the profiler's own cost apart."
    return Section("operators", "Latency by operator", lead, tuple(blocks))


def _time_bars(
    profile: Profile, first: str, operators: list[OperatorTime], twins: Twins, prefix: str
) -> BarPlot:
    second = CANDIDATE if first == BASELINE else BASELINE
    longest = [op for op in operators if op.time_ms is not None][:_BARS]
    groups = []
    for op in longest:
        bars = [Bar(first, op.time_ms or 0.0, show_ms(op.time_ms))]
        twin = twins.get(op.index)
        if twin is not None and twin.time_ms is not None:
            bars.append(Bar(second, twin.time_ms, show_ms(twin.time_ms)))
        groups.append(BarGroup(f"{short(op.name, prefix)} ({op.operator})", tuple(bars)))
    own = profile.models[0]
    legend = tuple(
        (role, file_name(item.model.path))
        for role, item in zip((first, second), profile.models, strict=False)
    )
    shown = sum(op.share for op in longest)
    return BarPlot(
        f"The longest operators on {profile.facts.device}",
        f"{plural(len(groups), 'operator')} with {100 * shown:.0f} % of the time of all. "
        f"Whole inference {show_ms(own.latency_ms)}.",
        "milliseconds per inference",
        legend,
        tuple(groups),
    )


def _operator_table(
    profile: Profile, operators: list[OperatorTime], twins: Twins, prefix: str
) -> Table:
    own = profile.models[0]
    rows = []
    for op in operators:
        precision = f"{op.precision} (island)" if op.is_island else op.precision or "-"
        row = [
            Cell(short(op.name, prefix)),
            cells.number(op.time_ms, "{:.4f}"),
            cells.percent(op.share, figure=Share(op.share)),
        ]
        if twins:
            twin = twins.get(op.index)
            theirs = None if twin is None else twin.time_ms
            gain = theirs / op.time_ms if theirs is not None and op.time_ms else None
            tone = "" if gain is None or gain >= 0.95 else "bad"
            row += [cells.number(theirs, "{:.4f}"), cells.times(gain, tone)]
        kernel = " + ".join(dict.fromkeys(op.kernels)) or "inside another"
        row += [
            Cell(op.operator),
            cells.count(op.index),
            Cell(precision, None, "doubt" if op.is_island else ""),
        ]
        rows.append((*row, Cell(kernel)))
    others: list[Column] = []
    if twins:
        other = file_name(profile.models[1].model.path)
        others = [Column(f"ms in {other}", True), Column("gain", True)]
    titles = (
        *cells.columns(
            "layer", ">ms", (">share", "Share of the sum of all operators' times.")
        ),
        *others,
        *cells.columns(
            "operator", (">#", "Position in execution order."), "precision",
            ("kernel", "The kernel that the runtime used."),
        ),
    )  # fmt: skip
    caption = f"Operators of {file_name(own.model.path)} on {profile.facts.device}"
    note = f"{left_out(prefix)} {plural(own.runs, 'inference')}.".strip()
    return Table(caption, titles, tuple(rows), note, by_layer=True)


def _type_table(profile: Profile) -> Table:
    titles = cells.columns("type", ">operators", ">ms", ">share")
    rows = [
        (
            Cell(item.operator),
            cells.count(item.count),
            cells.number(item.time_ms, "{:.4f}"),
            cells.percent(item.share, figure=Share(item.share)),
        )
        for item in profile.models[0].types
    ]
    if len(profile.models) == 1:
        return Table("By type of operator", titles, tuple(rows))
    title = Column(f"ms in {file_name(profile.models[1].model.path)}", True)
    theirs = {item.operator: item.time_ms for item in profile.models[1].types}
    return Table(
        "By type of operator",
        (*titles, title),
        tuple((*row, cells.number(theirs.get(row[0].text), "{:.4f}")) for row in rows),
    )
