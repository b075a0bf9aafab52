"""Whether a model fits boards, as terminal text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from edgeq.fit.kernel_code import SOURCE
from edgeq.render.parts import grid, harmless, heading, indented, render
from edgeq.render.tables import FittingTable
from edgeq.values import (
    BoardFit,
    Document,
    EdgeTpuFit,
    EthosFit,
    Fit,
    MemoryStep,
    MicroOperator,
)
from edgeq.values.fitting import ETHOS_AREAS
from edgeq.wording import common_prefix, first_name, left_out, list_some, plural

_STYLES = {"fits": "green", "tight": "yellow", "no": "red"}
_MOST_STEPS = 20
_BAR = 28  # no longer than a word that a table leaves whole
_MOST_NAMES = 12


@harmless
def show_fit(result: Fit) -> str:
    """The verdict on each board, what the model needs, and where memory peaks."""
    size = result.model.size_bytes
    parts: list[RenderableType] = [heading(f"{result.model.path}: {size:,} bytes"), ""]
    if len(result.boards) == 1:
        parts += _one_board(result.boards[0])
    elif result.boards:
        parts += [_board_table(result.boards), ""]
    if result.boards:
        parts += [grid(_need_rows(result)), ""]
    if result.operators:
        parts += [_operator_table(result.operators), ""]
    if result.peak is not None:
        parts += _memory_parts(result, result.peak)
    if result.ethos_u is not None:
        parts += ["", *_ethos_parts(result.ethos_u)]
    if result.edge_tpu is not None:
        parts += ["", *_edge_tpu_parts(result.edge_tpu)]
    return render(*parts)


def _one_board(fit: BoardFit) -> list[RenderableType]:
    line = Text(fit.verdict.upper(), f"bold {_STYLES[fit.verdict]}")
    line.append(f": {fit.board.title}", "bold")
    parts: list[RenderableType] = [line]
    parts += [indented(Text(f"{reason}.")) for reason in fit.reasons]
    board = fit.board
    rows = [
        ("flash", _left(board.flash_bytes, fit.flash_left_bytes)),
        ("RAM", _left(board.ram_bytes, fit.ram_left_bytes)),
    ]
    if board.note:
        rows.append(("note", board.note))
    return [*parts, grid(rows), *_source_lines(board.sources), ""]


def _source_lines(sources: Sequence[Document]) -> list[RenderableType]:
    """Separate lines, which stay whole, so that an address can be copied."""
    return [
        Text(f"  {line}", "dim")
        for item in sources
        for line in (f"{item.title}: {item.page} ({item.date})", item.url)
    ]


def _left(total: int, left: int | None) -> str:
    if left is None:
        return f"{total:,} bytes"
    what = f"{left:,} left" if left >= 0 else f"{-left:,} missing"
    return f"{total:,} bytes, {what}"


def _board_table(boards: Sequence[BoardFit]) -> Padding:
    table = FittingTable("<board", "verdict", ">flash", ">left", ">RAM", ">left")
    for fit in boards:
        board, left = fit.board, fit.ram_left_bytes
        table.add_row(
            Text(board.name),
            Text(fit.verdict.upper(), _STYLES[fit.verdict]),
            Text(f"{board.flash_bytes >> 10:,} K"),
            Text(_kibibytes(fit.flash_left_bytes)),
            Text(f"{board.ram_bytes >> 10:,} K"),
            Text("-" if left is None else _kibibytes(left)),
        )
    return indented(table)


def _kibibytes(count: int) -> str:
    """Rounded down, so that nothing seems to be left where bytes are missing."""
    return f"{count // 1024:,} K"


def _need_rows(result: Fit) -> Iterator[tuple[str, str]]:
    needs = result.needs
    yield "flash", f"{result.model.size_bytes:,} bytes for the model, exactly"
    if needs is None:
        yield "arena", f"not known: {result.refusal}"
        return
    yield (
        "",
        f"about {needs.code_bytes:,} for interpreter and kernels: an estimate, from the x86-64 "
        f"code of tflite-micro and the share for a Cortex-M in the {SOURCE.title}",
    )
    if needs.unknown_code:
        yield "", f"without the kernels of {', '.join(needs.unknown_code)}, which are not known"
    yield (
        "arena",
        f"{needs.arena_bytes:,} bytes ({needs.persistent_bytes:,} of them stay), measured with "
        f"tflite-micro {needs.runtime} on 64 bits with reference kernels",
    )
    yield "", f"{needs.reserved_bytes:,} with the margin that a package declares"
    yield (
        "your program",
        f"{result.headroom_flash_bytes:,} bytes of flash and {result.headroom_ram_bytes:,} of RAM "
        "are kept free (--headroom-flash, --headroom-ram)",
    )


def _operator_table(operators: Sequence[MicroOperator]) -> Padding:
    table = FittingTable("<operator", ">version", "precision", ">number", "kernel in tflite-micro")
    for item in operators:
        word = Text("yes") if item.lacks is None else Text(f"no {item.lacks}", "red")
        if item.remedy:
            word.append(f": {item.remedy}")
        table.add_row(
            Text(item.name), Text(str(item.version)), Text(item.precision), Text(str(item.count)),
            word,
        )  # fmt: skip
    return indented(table)


def _memory_parts(result: Fit, peak: MemoryStep) -> list[RenderableType]:
    """A bar for each operator, the largest marked."""
    shown = result.largest(_MOST_STEPS)
    prefix = common_prefix([step.output for step in result.memory])
    table = FittingTable(">#", "<operator", ">bytes", "tensors in memory while it runs", "<result")
    for step in shown:
        width = round(_BAR * step.alive_bytes / peak.alive_bytes) if peak.alive_bytes else 0
        table.add_row(
            Text(str(step.index)),
            Text(step.operator),
            Text(f"{step.alive_bytes:,}"),
            Text("#" * width, "bold yellow" if step == peak else ""),
            Text(first_name(step.output, prefix)),
        )
    title = f"Memory peaks at operator {peak.index}, {peak.operator}: {peak.alive_bytes:,} bytes"
    parts: list[RenderableType] = [heading(title), indented(table)]
    notes = [left_out(prefix)] if prefix else []
    if left := len(result.memory) - len(shown):
        notes.append(f"and {plural(left, 'operator')} with less")
    return [*parts, *(Text(f"  {note}", "dim") for note in notes)]


def _ethos_parts(result: EthosFit) -> list[RenderableType]:
    figures = result.figures
    total = result.npu_operators + result.cpu_operators
    rows = [
        ("configuration", f"{result.system_config}, {result.memory_mode}"),
        ("operators", f"{result.npu_operators} of {total} NPU, {result.cpu_operators} CPU"),
        ("cycles", f"{figures['cycles_total']} ({figures['cycles_npu']} of the NPU)"),
        ("inference", f"{1e3 * float(figures['inference_time']):.4g} ms at "
         f"{float(figures['core_clock']) / 1e6:g} MHz"),
    ]  # fmt: skip
    for area in ETHOS_AREAS:
        used = float(figures[f"{area}_memory_used"])
        if used:
            rows.append((area.replace("_", " "), f"{used:,.2f} KiB"))
    if result.on_cpu:
        rows.append(("on the CPU", list_some(result.on_cpu, _MOST_NAMES)))
    return [heading(f"{result.accelerator}, as Vela {result.vela} states it"), grid(rows)]


def _edge_tpu_parts(result: EdgeTpuFit) -> list[RenderableType]:
    title = (
        f"Coral Edge TPU: {result.mapped_percent:.0f} % of "
        f"{plural(len(result.operators), 'operator')}; a "
        "prediction by the documented list, the compiler was not run"
    )
    others = [item for item in result.operators if item.place != "edge tpu"]
    table = FittingTable(">#", "<operator", "place", "reason")
    for item in others[:_MOST_NAMES]:
        table.add_row(*map(Text, (str(item.index), item.operator, item.place, item.reason)))
    parts: list[RenderableType] = [heading(title)]
    if others:
        parts.append(indented(table))
    if len(others) > _MOST_NAMES:
        parts.append(Text(f"  and {len(others) - _MOST_NAMES} more: --json", "dim"))
    return [*parts, *_source_lines(result.sources)]
