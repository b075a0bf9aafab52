"""`edgeq fit`: whether a model fits boards, and what accelerators would run of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeq.converters.proof.certificate import certify
from edgeq.errors import RefusedModelError, UsageError
from edgeq.files import storage
from edgeq.files.reading import listed
from edgeq.fit import edge_tpu, peaks, vela
from edgeq.fit.boards import choose, known_boards, own_boards, sized_board
from edgeq.fit.judging import HEADROOM_FLASH_BYTES, HEADROOM_RAM_BYTES, judge_board
from edgeq.fit.needs import measure_needs
from edgeq.fit.operators import list_operators
from edgeq.tflite.model_file import ModelFile, read_model
from edgeq.values import Board, Fit, MicroNeeds, MicroOperator


def fit_model(
    model: str | Path,
    *,
    boards: str | Sequence[str] = (),
    flash_bytes: int | None = None,
    ram_bytes: int | None = None,
    project: str | Path | None = None,
    headroom_flash_bytes: int = HEADROOM_FLASH_BYTES,
    headroom_ram_bytes: int = HEADROOM_RAM_BYTES,
    ethos_u: vela.EthosTarget | None = None,
    coral: bool = False,
) -> Fit:
    """Compare a model with boards: operators, arena, flash and memory over time.

    The arena is measured as `edgeq package --target c` measures it: tflite-micro runs the model on
    this machine, on 64 bits and with reference kernels.

    Args:
        model: the `.tflite`.
        boards: names of the table or of `project`; all of both without one, unless only an
            accelerator is requested.
        flash_bytes: of a board without a name.
        ram_bytes: of the same board; both or neither.
        project: an `edgeq.toml` with [boards.NAME].
        headroom_flash_bytes: to keep free for the user's program.
        headroom_ram_bytes: the same of its memory.
        ethos_u: also compile it with Vela for this accelerator.
        coral: also predict its placement on a Coral Edge TPU.

    Raises:
        SourceError: the file is damaged, or Vela refuses it.
        MissingExtraError: tflite-micro or Vela is not installed.
        PackageError: tflite-micro takes too long, or is broken.
        UsageError: an unknown board, one of two sizes, or a model that is an object.
    """
    file = read_model(model)
    chosen = _choose(boards, flash_bytes, ram_bytes, project, not (ethos_u or coral))
    reports = certify(file).operators
    operators = list_operators(reports)
    needs, refusal = _find_needs(file, operators) if chosen else (None, None)
    size = len(file.content)
    return Fit(
        model=storage.refer_bytes(file.content, str(model)),
        operators=operators,
        memory=peaks.list_steps(file, reports),
        headroom_flash_bytes=headroom_flash_bytes,
        headroom_ram_bytes=headroom_ram_bytes,
        needs=needs,
        refusal=refusal,
        boards=tuple(
            judge_board(
                board, size, operators, needs, refusal=refusal,
                headroom_flash=headroom_flash_bytes, headroom_ram=headroom_ram_bytes,
            )
            for board in chosen
        ),
        ethos_u=None if ethos_u is None else vela.compile_model(file, ethos_u),
        edge_tpu=edge_tpu.predict(file, reports) if coral else None,
    )  # fmt: skip


def _choose(
    names: str | Sequence[str],
    flash: int | None,
    ram: int | None,
    project: str | Path | None,
    takes_all: bool,
) -> tuple[Board, ...]:
    if (flash is None) != (ram is None):
        given, other = ("--ram", "--flash") if flash is None else ("--flash", "--ram")
        raise UsageError(f"{given} alone does not describe a board.", hint=f"Add {other}.")
    own = {} if project is None else own_boards(Path(project))
    found = list(choose(listed(names), own))
    if flash is not None and ram is not None:
        found.append(sized_board(flash, ram))
    if not found and takes_all:
        found = list({**known_boards(), **own}.values())
    return tuple(found)


def _find_needs(
    file: ModelFile, operators: Sequence[MicroOperator]
) -> tuple[MicroNeeds | None, str | None]:
    """The needs of the model; or the reason why the runtime does not run it."""
    missing = list(dict.fromkeys(item.name for item in operators if item.lacks is not None))
    if missing:
        return None, f"tflite-micro has no right kernel for {', '.join(missing)}"
    try:
        return measure_needs(file, operators), None
    except RefusedModelError as error:
        return None, str(error).rstrip(".")  # with the hint: what to do
