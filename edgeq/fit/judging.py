"""From what a model needs and a board has to a verdict."""

from __future__ import annotations

from collections.abc import Sequence

from edgeq.values import Board, BoardFit, MicroNeeds, MicroOperator

# For the user's program: a small one without a network, and its stack, heap and buffers.
HEADROOM_FLASH_BYTES = 64 << 10
HEADROOM_RAM_BYTES = 16 << 10


def judge_board(
    board: Board,
    model_bytes: int,
    operators: Sequence[MicroOperator],
    needs: MicroNeeds | None,
    *,
    refusal: str | None = None,
    headroom_flash: int = HEADROOM_FLASH_BYTES,
    headroom_ram: int = HEADROOM_RAM_BYTES,
) -> BoardFit:
    """Compare a model with a board.

    Args:
        needs: None if the runtime does not run the model.
        refusal: why it does not.
        headroom_flash, headroom_ram: bytes for the user's program.

    Returns:
        "no" if the model with the code of its kernels, or the measured arena, is larger than the
        board's memory, or the runtime does not run the model; "tight" if only the margin of the
        arena or the headroom is missing.
    """
    code = 0 if needs is None else needs.code_bytes
    flash_left = board.flash_bytes - model_bytes - code
    ram_left = None if needs is None else board.ram_bytes - needs.arena_bytes
    missing = [f"no {item.lacks} for {item.name}" for item in operators if item.lacks is not None]
    reasons = list(dict.fromkeys(missing))
    if refusal is not None and not reasons:
        reasons.append(refusal)
    if flash_left < 0:
        what = f"the model has {model_bytes:,} bytes"
        if code:
            what += f", and the code about {code:,}"
        reasons.append(f"{-flash_left:,} bytes of flash are missing: {what}")
    if needs is not None and ram_left is not None and ram_left < 0:
        reasons.append(
            f"{-ram_left:,} bytes of RAM are missing: the arena has {needs.arena_bytes:,} bytes"
        )
    if reasons:
        return BoardFit(board, "no", tuple(reasons), flash_left, ram_left)
    assert needs is not None and ram_left is not None
    tight = []
    if flash_left < headroom_flash:
        tight.append(
            f"{flash_left:,} bytes of flash are left, {headroom_flash - flash_left:,} fewer than "
            "your program needs"
        )
    after = board.ram_bytes - needs.reserved_bytes - headroom_ram
    if after < 0:
        tight.append(
            f"{ram_left:,} bytes of RAM are left, {-after:,} fewer than the margin of the arena "
            f"({needs.reserved_bytes - needs.arena_bytes:,}) and your program need"
        )
    return BoardFit(board, "tight" if tight else "fits", tuple(tight), flash_left, ram_left)
