"""The origin of all figures: records, files, data, options and tools."""

from __future__ import annotations

import dataclasses

from edgeq.converters.samples.preprocessing import format_preprocessing
from edgeq.records.reading import find_files
from edgeq.reporting import cells
from edgeq.reporting.gathered import Gathered
from edgeq.reporting.values import Block, Cell, Facts, Section, Table
from edgeq.values import ConvertOptions, FileRef, Provenance
from edgeq.wording import plural


def section(gathered: Gathered) -> Section:
    """Records, files, data, options and tools."""
    blocks: list[Block] = [_record_table(gathered), _file_table(gathered)]
    default = ConvertOptions()
    for value in gathered.made():
        options = getattr(value.options, "convert", value.options)
        changed = []
        for field in dataclasses.fields(options):
            own = getattr(options, field.name)
            if own != getattr(default, field.name):
                shown = ", ".join(map(str, own)) if isinstance(own, tuple) else str(own)
                changed.append((field.name, Cell(shown)))
        if changed:
            blocks.append(Facts("Conversion options other than the defaults", tuple(changed)))
    environments: dict[str, Provenance] = {}
    for record in gathered.records:
        if record.provenance is not None:
            environments.setdefault(record.provenance.environment_sha256, record.provenance)
    for digest, origin in environments.items():
        tools = [("Python", origin.python), *origin.tools]
        rows = tuple((name, Cell(version)) for name, version in tools)
        blocks.append(Facts(f"Environment {digest[:12]}, {origin.system}", rows))
    lead = "Enough to make every figure again."
    return Section("provenance", "Provenance", lead, tuple(blocks))


def _record_table(gathered: Gathered) -> Table:
    rows = []
    for record in gathered.records:
        origin = record.provenance
        made = [Cell("-")] * 3
        if origin is not None:
            texts = (
                origin.created.replace("T", " "),
                origin.edgeq,
                f"{origin.system} {origin.machine}",
            )
            made = list(map(Cell, texts))
        trust = Cell(record.validity, None, cells.VALIDITY_TONES[record.validity])
        rows.append((Cell(record.path), Cell(record.kind), *made, trust, Cell(record.sha256[:16])))
    titles = cells.columns("record", "kind", "made", "edgeq", "on", "trust", "sha256")
    return Table(plural(len(rows), "record"), titles, tuple(rows))


def _file_table(gathered: Gathered) -> Table:
    roles = {"candidate": "candidate", "baseline": "FP32 model", "other": "model"}
    names: dict[str, list[str]] = {}
    rows: dict[str, tuple[Cell, ...]] = {}
    for part in gathered.parts:
        for item in find_files(part.value):
            if isinstance(item, FileRef):
                name, size, fed = item.path, cells.size(item.size_bytes), "-"
                what = "policy" if name.endswith(".toml") else roles[gathered.role(item.sha256)]
            else:
                name, what, count = item.source, "data", item.sample_count
                size = Cell("-") if count is None else Cell(plural(count, "sample"), count)
                fed = "; ".join(map(format_preprocessing, item.preprocessing)) or "as it is"
            names.setdefault(item.sha256, []).append(name)
            rows.setdefault(item.sha256, (Cell(what), size, Cell(fed), Cell(item.sha256[:16])))
    return Table(
        "Models and data",
        cells.columns("file", "is", ">size or samples", "preprocessing", "sha256"),
        tuple(
            (Cell(", also ".join(dict.fromkeys(names[digest]))), *own)
            for digest, own in rows.items()
        ),
    )
