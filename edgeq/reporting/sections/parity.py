"""Whether kernels and devices compute the same values."""

from __future__ import annotations

from edgeq.comparison.parity import meaning
from edgeq.reporting import cells
from edgeq.reporting.gathered import Gathered
from edgeq.reporting.values import Block, Cell, Prose, Section, Table
from edgeq.wording import file_name

_TITLES = cells.columns(
    "device", "kernels", "verdict", ">same samples", ">different values", ">largest difference",
    ">top-1 changed",
)  # fmt: skip
_TONES = {"exact": "good", "wrong": "bad", "failed": "bad"}


def section(gathered: Gathered) -> Section:
    """A row for each device and its kernels."""
    blocks: list[Block] = []
    for part in gathered.of("parity"):
        rows, model = [], part.value.model.path
        notes: list[Block] = []
        for row in part.value.rows:
            figures = [Cell("-")] * 4
            word = Cell(f"failed: {row.error}", None, "bad")
            if row.error is None:
                word = Cell(row.verdict, None, _TONES.get(row.verdict, ""))
                figures = [
                    Cell(f"{row.same_samples} of {part.value.sample_count}", row.same_samples),
                    cells.percent(row.different_share, 3),
                    cells.number(row.largest),
                    cells.count(row.top1_changes),
                ]
            rows.append((Cell(row.device), Cell(row.kernels), word, *figures))
            if (note := meaning(row, model)) is not None:
                notes.append(Prose(f"{row.device}, {row.kernels}: {note}"))
        caption = f"{file_name(model)} against XNNPACK on this machine"
        blocks += [Table(caption, _TITLES, tuple(rows)), *notes]
    lead = "The same inputs through each kernel and device."
    return Section("parity", "Same values everywhere?", lead, tuple(blocks))
