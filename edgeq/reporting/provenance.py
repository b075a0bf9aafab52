"""Where everything comes from: the gate's rules, kernels held against each other, machines,
records, and what is in doubt.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from edgeq.comparison.parity import meaning
from edgeq.converters.samples.preprocessing import format_preprocessing
from edgeq.records.reading import find_files
from edgeq.render.parts import plural
from edgeq.reporting import text
from edgeq.reporting.gathered import Material, part_issues
from edgeq.reporting.values import (
    Block,
    Cell,
    Column,
    Doubt,
    Facts,
    Section,
    Table,
)
from edgeq.values import ConvertOptions, FileRef, GateResult

_SEVERITIES = ("error", "warning", "note")
_TONES = {"pass": "good", "cannot-tell": "doubt", "fail": "bad"}

Row = tuple[Cell, ...]


# ---------------------------------------------------------------- doubts


def find_doubts(material: Material) -> tuple[Doubt, ...]:
    """All issues, the gravest first, with the records that have them."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for part in material.parts:
        for issue in part_issues(part):
            key = (issue.severity, issue.code, issue.message)
            found.setdefault(key, []).append(text.base(part.record.path))
    for part in material.parts:
        if part.error is not None:
            key = ("error", "", f"{part.device} gave no result: {part.error}")
            found.setdefault(key, []).append(text.base(part.record.path))
    for issue in material.subject.notes:
        found.setdefault((issue.severity, issue.code, issue.message), [])
    ordered = sorted(found, key=lambda key: _SEVERITIES.index(key[0]))
    return tuple(Doubt(*key, tuple(dict.fromkeys(found[key]))) for key in ordered)


# ---------------------------------------------------------------- the gate


def gate_section(material: Material) -> Section | None:
    """Each rule with its figure."""
    gates: list[GateResult] = [part.value for part in material.of("gate")]
    if not gates:
        return None
    columns = (
        Column("rule"), Column("verdict"), Column("figure"), Column("limit"), Column("why"),
    )  # fmt: skip
    blocks: list[Block] = []
    for gate in gates:
        base = gate.baseline
        against = "" if base is None else f", against {base.path} ({base.sha256[:12]})"
        rows = []
        for rule in gate.rules:
            first = rule.findings[0]
            why = first.reason if first.remedy is None else f"{first.reason}. {first.remedy}"
            word = Cell(rule.verdict.replace("-", " "), None, _TONES[rule.verdict])
            figure = Cell(first.figure or "-", first.value)
            rows.append((Cell(rule.rule), word, figure, Cell(rule.limit), Cell(why)))
        blocks.append(Table(f"By {gate.policy.path}{against}", columns, tuple(rows)))
    return Section("gate", "Gate", "The policy, rule by rule.", tuple(blocks))


# ---------------------------------------------------------------- kernels and machines


def parity_section(material: Material) -> Section | None:
    """Whether kernels and devices compute the same values."""
    parts = material.of("parity")
    if not parts:
        return None
    columns = (
        Column("device"), Column("kernels"), Column("verdict"), Column("same samples", True),
        Column("different values", True), Column("largest difference", True),
        Column("top-1 changed", True),
    )  # fmt: skip
    tones = {"exact": "good", "wrong": "bad", "failed": "bad"}
    blocks: list[Block] = []
    for part in parts:
        count = part.value.sample_count
        rows = []
        for row in part.value.rows:
            if row.error is not None:
                word = Cell(f"failed: {row.error}", None, "bad")
                rows.append((Cell(row.device), Cell(row.kernels), word, *[Cell("-")] * 4))
                continue
            changes = row.top1_changes
            rows.append(
                (
                    Cell(row.device), Cell(row.kernels),
                    Cell(row.verdict, None, tones.get(row.verdict, "")),
                    Cell(f"{row.same_samples} of {count}", row.same_samples),
                    Cell(f"{row.different_share:.3%}", row.different_share),
                    text.number(row.largest),
                    Cell("-") if changes is None else Cell(str(changes), changes),
                )
            )  # fmt: skip
        model = part.value.model.path
        caption = f"{text.base(model)} against XNNPACK on this machine"
        noted = [(row, meaning(row, model)) for row in part.value.rows]
        notes = [f"{row.device}, {row.kernels}: {note}" for row, note in noted if note is not None]
        blocks.append(Table(caption, columns, tuple(rows), "\n".join(notes)))
    lead = "The same inputs through each kernel and device."
    return Section("parity", "Same values everywhere", lead, tuple(blocks))


def devices_section(material: Material) -> Section | None:
    """The machines that the figures come from, and what ails them."""
    facts = material.facts()
    if not facts:
        return None
    columns = (
        Column("device"), Column("processor"), Column("cores", True), Column("memory", True),
        Column("system"), Column("governor"), Column("temperature", True), Column("runtimes"),
    )  # fmt: skip
    rows = []
    for name, item in facts.items():
        heat = item.temperature_celsius
        emulated = f", emulated by {item.emulator}" if item.emulator else ""
        rows.append(
            (
                Cell(name),
                Cell(f"{item.cpu_model or item.machine}{emulated}", None,
                     "bad" if emulated else ""),
                Cell(str(item.core_count), item.core_count),
                text.size(item.memory_bytes),
                Cell(item.release or item.system),
                Cell(item.governor or "-"),
                Cell("-") if heat is None else Cell(f"{heat:.0f} °C", heat),
                Cell(", ".join(f"{run.name} {run.version}" for run in item.runtimes) or "-"),
            )
        )  # fmt: skip
    blocks: list[Block] = [Table("Where it ran", columns, tuple(rows))]
    for part in material.of("doctor"):
        found = part.value.problems
        if found:
            problems = tuple(
                (Cell(item.severity), Cell(item.message), Cell(item.remedy or "-"))
                for item in found
            )
            caption = f"What edgeq doctor says of {part.value.facts.device}"
            heads = (Column("severity"), Column("what"), Column("what helps"))
            blocks.append(Table(caption, heads, problems))
    lead = "The machines behind the figures."
    return Section("devices", "Devices", lead, tuple(blocks))


# ---------------------------------------------------------------- provenance


def provenance_section(material: Material) -> Section:
    """Records, files, data and tools."""
    blocks: list[Block] = [_record_table(material), _file_table(material)]
    for value in material.made():
        changed = tuple(_changed_options(getattr(value.options, "convert", value.options)))
        if changed:
            blocks.append(Facts("Conversion options other than the defaults", changed))
    blocks += _tools(material)
    lead = "Enough to make every figure again."
    return Section("provenance", "Provenance", lead, tuple(blocks))


def _record_table(material: Material) -> Table:
    columns = (
        Column("record"), Column("kind"), Column("made"), Column("edgeq"), Column("on"),
        Column("trust"), Column("sha256"),
    )  # fmt: skip
    tones = {"valid": "good", "degraded": "doubt", "invalid": "bad"}
    rows = []
    for record in material.records:
        origin = record.provenance
        rows.append(
            (
                Cell(record.path),
                Cell(record.kind),
                Cell("-" if origin is None else origin.created),
                Cell("-" if origin is None else origin.edgeq),
                Cell("-" if origin is None else f"{origin.system} {origin.machine}"),
                Cell(record.validity, None, tones[record.validity]),
                Cell(record.sha256[:16]),
            )
        )
    return Table(plural(len(rows), "record"), columns, tuple(rows))


def _file_table(material: Material) -> Table:
    columns = (
        Column("file"), Column("is"), Column("size or samples", True), Column("preprocessing"),
        Column("sha256"),
    )  # fmt: skip
    names: dict[str, list[str]] = {}
    rows: dict[str, Row] = {}
    for part in material.parts:
        for item in find_files(part.value):
            if isinstance(item, FileRef):
                name, size = item.path, text.size(item.size_bytes)
                what, fed = _role(material, item), "-"
            else:
                name, what, count = item.source, "data", item.sample_count
                size = Cell("-") if count is None else Cell(plural(count, "sample"), count)
                fed = "; ".join(map(format_preprocessing, item.preprocessing)) or "as it is"
            names.setdefault(item.sha256, []).append(name)
            cells = (Cell(what), size, Cell(fed), Cell(item.sha256[:16]))
            rows.setdefault(item.sha256, cells)
    shown = {digest: ", also ".join(dict.fromkeys(found)) for digest, found in names.items()}
    return Table(
        "Models and data",
        columns,
        tuple((Cell(shown[digest]), *cells) for digest, cells in rows.items()),
    )


def _role(material: Material, item: FileRef) -> str:
    if item.path.endswith(".toml"):
        return "policy"
    return {"candidate": "candidate", "baseline": "FP32 model"}.get(
        material.role(item.sha256), "model"
    )


def _changed_options(options: ConvertOptions) -> Iterator[tuple[str, Cell]]:
    default = ConvertOptions()
    for field in dataclasses.fields(options):
        own = getattr(options, field.name)
        if own != getattr(default, field.name):
            yield field.name, Cell(", ".join(map(str, own)) if isinstance(own, tuple) else str(own))


def _tools(material: Material) -> Iterator[Facts]:
    seen = set()
    for record in material.records:
        origin = record.provenance
        if origin is not None and origin.environment_sha256 not in seen:
            seen.add(origin.environment_sha256)
            rows = (("Python", Cell(origin.python)),
                    *((name, Cell(version)) for name, version in origin.tools))  # fmt: skip
            caption = f"Environment {origin.environment_sha256[:12]}, {origin.system}"
            yield Facts(caption, rows)
