"""Whether a model fits a board, and what an accelerator would run of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from edgeq.values.bounds import SOME, Count, Percent, Positive, require
from edgeq.values.files import FileRef
from edgeq.values.showing import Shown, bounded

# Areas of memory and numbers in Vela's summary that are shown; memory is in KiB.
ETHOS_AREAS = ("sram", "dram", "on_chip_flash", "off_chip_flash")
ETHOS_FIGURES = (
    "cycles_total",
    "cycles_npu",
    "inference_time",
    "core_clock",
    *(f"{area}_memory_used" for area in ETHOS_AREAS),
)

FitVerdict = Annotated[str, Meta(pattern=r"^(fits|tight|no)$(?!\n)")]


@bounded
@dataclass(frozen=True)
class Document:
    """A public document that a figure is from.

    Attributes:
        title: of the document.
        page: or section with the figure.
        date: of the document, as it states it; without one, the revision that was read.
        url: where it is published.
    """

    title: str
    page: str
    date: str
    url: str


@bounded
@dataclass(frozen=True)
class Board:
    """A microcontroller board.

    Attributes:
        name: the value of `--board`.
        title: as its vendor calls it.
        core: of the processor that runs the model; "" when not declared.
        flash_bytes: for program and model.
        ram_bytes: in one piece, as the linker of the vendor's tools uses it.
        note: what limits the memory; "" when nothing is known to.
        sources: that the figures are from; none for a board that the user declared.
    """

    name: str
    title: str
    core: str
    flash_bytes: Positive
    ram_bytes: Positive
    note: str
    sources: tuple[Document, ...]


@bounded
@dataclass(frozen=True)
class MicroOperator:
    """A kind of operator of a model, and its kernel in TensorFlow Lite for Microcontrollers.

    Attributes:
        name: in the schema, or of a custom operator.
        version: of the operator in the file.
        precision: as in `OperatorReport`.
        count: how many operators of this kind the model has.
        lacks: "kernel", or the integer kernel that rejects or computes it wrong, e.g.
            "INT16 kernel"; None when nothing is known to be missing.
        remedy: what to do, None when nothing is missing or no replacement is known.
    """

    name: str
    version: int
    precision: str
    count: Positive
    lacks: str | None
    remedy: str | None


@bounded
@dataclass(frozen=True)
class MemoryStep:
    """The tensors that are needed while an operator runs.

    Attributes:
        index: of the operator, in the order of execution.
        operator: its name in the schema.
        output: name of its first output tensor.
        alive_bytes: of all computed tensors that exist at that time, each rounded up to 16 bytes.
    """

    index: Count
    operator: str
    output: str
    alive_bytes: Count


@bounded
@dataclass(frozen=True)
class MicroNeeds:
    """The needs of a model on a microcontroller.

    Attributes:
        runtime: version of tflite-micro that measured the arena, on 64 bits with reference kernels.
        arena_bytes: the smallest arena with which it ran there.
        reserved_bytes: the arena that a package declares, with its margin for optimised kernels.
        recorded_bytes: what the interpreter itself reports.
        persistent_bytes: of these, what stays as long as the interpreter exists.
        code_bytes: an estimate of the code of the interpreter and of the model's kernels.
        unknown_code: operators whose kernels are not in the estimate.
    """

    runtime: str
    arena_bytes: Positive
    reserved_bytes: Positive
    recorded_bytes: Count
    persistent_bytes: Count
    code_bytes: Count
    unknown_code: tuple[str, ...]


@bounded
@dataclass(frozen=True)
class BoardFit:
    """A board, and whether the model fits it.

    Attributes:
        verdict: "fits"; "tight" when it fits without the margin and the user's program only; "no".
        reasons: of the verdict, each a sentence with the bytes; none for "fits".
        flash_left_bytes: after model and code; negative when this many are missing.
        ram_left_bytes: after the measured arena; negative when this many are missing. None when
            the arena is not known.
    """

    board: Board
    verdict: FitVerdict
    reasons: tuple[str, ...]
    flash_left_bytes: int
    ram_left_bytes: int | None


@bounded
@dataclass(frozen=True)
class EthosFit:
    """A model compiled for an Arm Ethos-U by Vela; figures as Vela states them.

    Attributes:
        vela: its version.
        accelerator: the configuration, e.g. "ethos-u55-128".
        system_config: in Vela's configuration file, e.g. "Ethos_U55_High_End_Embedded".
        memory_mode: the same, e.g. "Shared_Sram".
        npu_operators: number of operators for the accelerator, after Vela's optimizations.
        cpu_operators: number of operators for the processor.
        on_cpu: name of each operator for the processor.
        figures: every column of Vela's summary, by its name; `ETHOS_FIGURES` are numbers.
    """

    vela: str
    accelerator: str
    system_config: str
    memory_mode: str
    npu_operators: Count
    cpu_operators: Count
    on_cpu: tuple[str, ...]
    figures: dict[str, str]

    def __post_init__(self) -> None:
        for name in ETHOS_FIGURES:
            require(
                _is_number(self.figures.get(name, "")),
                f"{name} of Vela's summary must be a number",
            )


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


@bounded
@dataclass(frozen=True)
class EdgeTpuOperator:
    """The place that the compiler of the Edge TPU will probably choose for an operator.

    Attributes:
        index: in the order of execution.
        operator: its name in the schema.
        output: name of its first output tensor.
        place: "edge tpu", "cpu" or "unknown".
        reason: of the place; "" for the Edge TPU.
    """

    index: Count
    operator: str
    output: str
    place: Annotated[str, Meta(pattern=r"^(edge tpu|cpu|unknown)$(?!\n)")]
    reason: str


@bounded
@dataclass(frozen=True)
class EdgeTpuFit:
    """A prediction by the documented list of operators; the compiler is not run.

    Attributes:
        sources: of the list.
        mapped_percent: share of the operators that the Edge TPU will probably run.
    """

    sources: Annotated[tuple[Document, ...], SOME]
    operators: tuple[EdgeTpuOperator, ...]
    mapped_percent: Percent


@bounded
@dataclass(frozen=True)
class Fit(Shown):
    """Whether a model fits boards.

    Attributes:
        operators: kinds of operators of the model.
        memory: a step for each operator of the main graph.
        headroom_flash_bytes, headroom_ram_bytes: kept free for the user's program.
        needs: None when no board was requested, or the runtime cannot run the model.
        refusal: why the runtime does not run the model; None when it does.
        boards: in the order of the table.
        ethos_u, edge_tpu: None when not requested.
    """

    model: FileRef
    operators: tuple[MicroOperator, ...]
    memory: tuple[MemoryStep, ...]
    headroom_flash_bytes: Count
    headroom_ram_bytes: Count
    needs: MicroNeeds | None
    refusal: str | None
    boards: tuple[BoardFit, ...]
    ethos_u: EthosFit | None = None
    edge_tpu: EdgeTpuFit | None = None

    @property
    def peak(self) -> MemoryStep | None:
        """The operator at which most memory is in use, the first of equal ones."""
        return max(self.memory, key=lambda step: step.alive_bytes, default=None)

    def largest(self, most: int) -> tuple[MemoryStep, ...]:
        """The operators at which most memory is in use, at most `most`, in the order of running."""
        chosen = sorted(self.memory, key=lambda step: -step.alive_bytes)[:most]
        return tuple(step for step in self.memory if step in chosen)
