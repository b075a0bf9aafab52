"""Packages and their checks as terminal text."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.text import Text

from edgeq.packaging.targets import find_target
from edgeq.render.parts import grid, harmless, heading, render
from edgeq.wording import show_bytes

if TYPE_CHECKING:
    from edgeq.packaging.assembly.build import Package
    from edgeq.packaging.assembly.download_size import DownloadSize
    from edgeq.packaging.verification.verify import Verification

_STYLES = {"pass": "green", "fail": "red", "cannot-tell": "magenta", "skipped": "yellow"}
_WORDS = {"pass": "PASS", "fail": "FAIL", "cannot-tell": "CANNOT TELL", "skipped": "SKIPPED"}


@harmless
def show_package(
    package: Package, download: DownloadSize, output: Path, replaced: str | None
) -> str:
    """A new package: its contents, its size, what is missing, and the package that it replaced."""
    manifest = package.manifest
    model = manifest.contract.model
    total = sum(len(content) for content in package.files.values())
    gate = manifest.gate.word.replace("-", " ")
    rows: list[tuple[str, ...]] = [
        ("target", f"{manifest.target}: {find_target(manifest.target).title}"),
        ("model", f"{model.path}, {show_bytes(model.size_bytes)}, sha256 {model.sha256[:12]}"),
        ("gate", "not judged" if gate == "none" else f"{gate}, by {manifest.gate.policy}"),
        ("files", f"{len(package.files)}, {show_bytes(total)}"),
        *(("delivery", line) for line in _download_lines(download)),
    ]  # fmt: skip
    parts: list[RenderableType] = [heading(f"{manifest.name} {manifest.version}"), grid(rows)]
    for warning in package.warnings:
        parts.append(Text(f"  WARNING: {warning}", "bold red"))
    for note in package.notes:
        parts.append(Text(f"  note: {note}", "yellow"))
    parts += ["", *([f"Replaced the package {replaced}."] if replaced else [])]
    parts += [f"Wrote {output}; check it anywhere: edgeq verify {shlex.quote(str(output))}"]
    return render(*parts)


def _download_lines(download: DownloadSize) -> Iterator[str]:
    previous = download.previous
    for file in download.files:
        text = f"{file.path}: {show_bytes(file.size)}, {show_bytes(file.compressed)} compressed"
        if previous is not None and file.before is None:
            text += f", new since {previous}"
        elif previous is not None and file.before is not None:
            sign = "+" if file.compressed >= file.before else "-"
            text += f", {sign}{show_bytes(abs(file.compressed - file.before))} since {previous}"
            text += (
                ' (pip install "edgeq[patch]" shows the size of a patch)'
                if file.patch is None
                else f", a patch of {show_bytes(file.patch)}"
            )
        yield text
    for path in download.removed:
        yield f"{path} is gone since {previous}"


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
