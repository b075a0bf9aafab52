"""Packages and their checks as terminal text."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.text import Text

from edgeq.packaging.targets import TITLES
from edgeq.render.parts import grid, harmless, heading, render
from edgeq.wording import show_bytes

if TYPE_CHECKING:
    from edgeq.packaging.assembly.build import Package
    from edgeq.packaging.assembly.download_size import Delivery
    from edgeq.packaging.verification.verify import Verification

_STYLES = {"pass": "green", "fail": "red", "cannot-tell": "magenta", "skipped": "yellow"}
_WORDS = {"pass": "PASS", "fail": "FAIL", "cannot-tell": "CANNOT TELL", "skipped": "SKIPPED"}


@harmless
def show_package(package: Package, delivery: Delivery, output: Path) -> str:
    """What was made, how large it is, and what is missing."""
    manifest = package.manifest
    model = manifest.contract.model
    total = sum(len(content) for content in package.files.values())
    gate = manifest.gate.word.replace("-", " ")
    rows: list[tuple[str, ...]] = [
        ("target", f"{manifest.target}: {TITLES[manifest.target]}"),
        ("model", f"{model.path}, {show_bytes(model.size_bytes)}, sha256 {model.sha256[:12]}"),
        ("gate", "not judged" if gate == "none" else f"{gate}, by {manifest.gate.policy}"),
        ("files", f"{len(package.files)}, {show_bytes(total)}"),
        *_delivery_rows(delivery),
    ]  # fmt: skip
    parts: list[RenderableType] = [heading(f"{manifest.name} {manifest.version}"), grid(rows)]
    for warning in package.warnings:
        parts.append(Text(f"  WARNING: {warning}", "bold red"))
    for note in package.notes:
        parts.append(Text(f"  note: {note}", "yellow"))
    parts += ["", f"Wrote {output}; check it anywhere: edgeq verify {shlex.quote(str(output))}"]
    return render(*parts)


def _delivery_rows(delivery: Delivery) -> Iterator[tuple[str, str]]:
    for part in delivery.parts:
        text = f"{part.path}: {show_bytes(part.size)}, {show_bytes(part.compressed)} compressed"
        if delivery.previous is not None:
            text += _against(part.compressed, part.before, part.patch, delivery)
        yield "delivery", text
    for path in delivery.removed:
        yield "delivery", f"{path} is gone since {delivery.previous}"


def _against(now: int, before: int | None, patch: int | None, delivery: Delivery) -> str:
    if before is None:
        return f", new since {delivery.previous}"
    sign = "+" if now >= before else "-"
    found = f", {sign}{show_bytes(abs(now - before))} since {delivery.previous}"
    if patch is not None:
        return f"{found}, a patch of {show_bytes(patch)}"
    return f"{found} (pip install 'edgeq[patch]' tells the size of a patch)"


@harmless
def show_verification(result: Verification) -> str:
    """One line per check, and the verdict."""
    manifest = result.manifest
    title = f"{manifest.name} {manifest.version} for {manifest.target}, by edgeq {manifest.edgeq}"
    parts: list[RenderableType] = [heading(title), ""]
    width = max(len(check.name) for check in result.checks)
    for check in result.checks:
        for number, line in enumerate(check.detail):
            word = _WORDS[check.verdict] if number == 0 else ""
            name = check.name if number == 0 else ""
            shown = f"  {name:{width}}  {line}"
            parts.append(Text.assemble((f"{word:11}", _STYLES[check.verdict]), shown))
    end = f"{_WORDS[result.verdict]}: {result.conclusion}"
    return render(*parts, "", Text(end, _STYLES[result.verdict]))
