"""Whether the model fits boards, and what accelerators would run of it."""

from __future__ import annotations

from collections.abc import Iterator

from edgeq.fit.kernel_code import SOURCE
from edgeq.reporting import cells
from edgeq.reporting.cells import short
from edgeq.reporting.gathered import CANDIDATE, Gathered
from edgeq.reporting.values import (
    Bar,
    BarGroup,
    BarPlot,
    Block,
    Cell,
    Facts,
    Prose,
    Section,
    Table,
)
from edgeq.values import EdgeTpuFit, EthosFit, Fit
from edgeq.values.fitting import ETHOS_FIGURES
from edgeq.wording import common_prefix, file_name, left_out, plural

_BARS = 16
_TONES = {"fits": "good", "tight": "doubt", "no": "bad"}
_BOARD_TITLES = cells.columns(
    "board", "verdict",
    (">flash left", "Bytes after the model and its code; negative where they are missing."),
    (">RAM left", "Bytes after the measured arena; negative where they are missing."), "why",
)  # fmt: skip


def section(gathered: Gathered) -> Section:
    """For each record: boards, needs, memory over time, operators, accelerators."""
    blocks: list[Block] = []
    for part in gathered.of("fit"):
        fit: Fit = part.value
        name = file_name(fit.model.path)
        if fit.boards:
            blocks += [
                _board_table(fit, name),
                Facts("Needs", tuple(_needs(fit))),
                Facts("Documents of the boards", tuple(_documents(fit))),
            ]
        if fit.memory:
            blocks.append(_memory_bars(fit))
        blocks.append(_operator_table(fit, name))
        if fit.ethos_u is not None:
            blocks.append(_ethos_facts(fit.ethos_u))
        if fit.edge_tpu is not None:
            blocks += _edge_tpu(fit.edge_tpu)
    lead = "By the memory of boards and the operators of accelerators; nothing ran on a board."
    return Section("fit", "Does it fit?", lead, tuple(blocks))


def _board_table(fit: Fit, name: str) -> Table:
    rows = []
    for item in fit.boards:
        rows.append(
            (
                Cell(item.board.title),
                Cell(item.verdict.upper(), None, _TONES[item.verdict]),
                cells.number(item.flash_left_bytes, "{:,}"),
                cells.number(item.ram_left_bytes, "{:,}"),
                Cell("; ".join(item.reasons)),
            )
        )
    return Table(f"{name} on microcontroller boards", _BOARD_TITLES, tuple(rows))


def _documents(fit: Fit) -> Iterator[tuple[str, Cell]]:
    for item in fit.boards:
        sources = [f"{own.title}, {own.page}, {own.date}" for own in item.board.sources]
        yield item.board.title, Cell("; ".join(sources) or "declared by the user")


def _needs(fit: Fit) -> Iterator[tuple[str, Cell]]:
    yield "flash of the model", Cell(f"{fit.model.size_bytes:,} bytes", fit.model.size_bytes)
    needs = fit.needs
    if needs is None:
        yield "arena", Cell(f"not known: {fit.refusal}", None, "bad")
        return
    yield (
        "flash of interpreter and kernels",
        Cell(f"about {needs.code_bytes:,} bytes, an estimate ({SOURCE.title})", needs.code_bytes),
    )
    yield (
        "arena",
        Cell(
            f"{needs.arena_bytes:,} bytes, with tflite-micro {needs.runtime} on 64 bits and "
            f"reference kernels; {needs.reserved_bytes:,} with the margin of a package",
            needs.arena_bytes,
        ),
    )
    yield (
        "kept free for your program",
        Cell(
            f"{fit.headroom_flash_bytes:,} bytes of flash, {fit.headroom_ram_bytes:,} bytes of RAM"
        ),
    )


def _memory_bars(fit: Fit) -> BarPlot:
    """The operators with most memory, in the order in which they run."""
    peak = fit.peak
    assert peak is not None
    prefix = common_prefix([step.output for step in fit.memory])
    groups = tuple(
        BarGroup(
            f"{step.index}: {short(step.output, prefix)} ({step.operator})",
            (Bar(CANDIDATE, float(step.alive_bytes), f"{step.alive_bytes:,}"),),
        )
        for step in fit.largest(_BARS)
    )
    return BarPlot(
        "Memory while each operator runs",
        f"It peaks at operator {peak.index}, {peak.operator}, with {peak.alive_bytes:,} bytes of "
        f"tensors; scratch memory of kernels is not included. {left_out(prefix)}".strip(),
        "bytes of tensors that exist at that time",
        ((CANDIDATE, file_name(fit.model.path)),),
        groups,
    )


def _operator_table(fit: Fit, name: str) -> Table:
    titles = cells.columns("operator", ">version", "precision", ">number", "kernel in tflite-micro")
    rows = []
    for item in fit.operators:
        word = Cell("yes")
        if item.lacks is not None:
            remedy = f": {item.remedy}" if item.remedy else ""
            word = Cell(f"no {item.lacks}{remedy}", None, "bad")
        rows.append(
            (
                Cell(item.name),
                cells.count(item.version),
                Cell(item.precision),
                cells.count(item.count),
                word,
            )
        )
    return Table(f"Operators of {name} on microcontrollers", titles, tuple(rows))


def _ethos_facts(ethos: EthosFit) -> Facts:
    rows = [
        ("system", Cell(f"{ethos.system_config}, {ethos.memory_mode}")),
        ("operators on the NPU", cells.count(ethos.npu_operators)),
        ("operators on the CPU", cells.count(ethos.cpu_operators)),
    ]
    rows += [(name, Cell(ethos.figures[name])) for name in ETHOS_FIGURES]
    caption = f"{ethos.accelerator}: columns of the summary of Vela {ethos.vela}; memory in KiB"
    return Facts(caption, tuple(rows))


def _edge_tpu(found: EdgeTpuFit) -> Iterator[Block]:
    """The operators that will probably not be mapped, and the documents of the prediction."""
    titles = cells.columns(">#", "operator", "place", "reason")
    rows = tuple(
        (cells.count(item.index), Cell(item.operator), Cell(item.place), Cell(item.reason))
        for item in found.operators
        if item.place != "edge tpu"
    )
    if rows:
        yield Table("Operators that a Coral Edge TPU will probably not run", titles, rows)
    sources = "; ".join(f"{item.title}, {item.page}, {item.date}" for item in found.sources)
    yield Prose(
        f"Coral Edge TPU: it will probably run {found.mapped_percent:.0f} % of "
        f"{plural(len(found.operators), 'operator')}, by the documented list; the compiler was not "
        f"run. {sources}."
    )
