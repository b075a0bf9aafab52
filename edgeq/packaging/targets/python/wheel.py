"""A wheel (PEP 427) as bytes that depend on its contents alone: no pip, no setuptools, no clock."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeq.packaging.container import archive

_PRE = {"a": "a", "alpha": "a", "b": "b", "beta": "b", "c": "rc", "rc": "rc", "pre": "rc",
        "preview": "rc"}  # fmt: skip
_TAG = "py3-none-any"


@dataclass(frozen=True)
class Metadata:
    """The metadata of a wheel.

    Attributes:
        name: of the package; letters, digits and underscores.
        version: as `pep440` spells it.
        requires: of other distributions, with markers (PEP 508).
        python: versions that it runs on, e.g. ">=3.8".
        license: SPDX expression, or None.
        readme: Markdown.
    """

    name: str
    version: str
    summary: str
    requires: Sequence[str]
    python: str
    license: str | None
    readme: str

    @property
    def file_name(self) -> str:
        """Name of the wheel's file."""
        return f"{self.name}-{self.version}-{_TAG}.whl"


def pep440(version: str) -> str:
    """A release such as 1.4.0-rc1 as Python's packages spell it: 1.4.0rc1.

    What Python has no word for stays readable and, as a pre-release should, comes before the
    release itself: 1.4.0-nightly.7 is 1.4.0.dev0+nightly.7.
    """
    ((number, sign, suffix),) = re.findall(r"^([\d.]+)([-+]?)(.*)$", version)
    release = ".".join(str(int(part)) for part in number.split("."))
    if sign == "":
        return release
    suffix = suffix.lower()
    if sign == "-":
        known = re.fullmatch(r"([a-z]+)[.-]?(\d*)", suffix)
        if known is not None and known[1] in _PRE:
            return f"{release}{_PRE[known[1]]}{int(known[2] or 0)}"
        if known is not None and known[1] == "dev":
            return f"{release}.dev{int(known[2] or 0)}"
        release += ".dev0"
    parts = re.findall(r"[a-z0-9]+", suffix)
    local = ".".join(str(int(part)) if part.isdigit() else part for part in parts)
    return f"{release}+{local}" if local else release


def write_wheel(metadata: Metadata, package: Mapping[str, bytes]) -> bytes:
    """The wheel.

    Args:
        package: path below site-packages to content.
    """
    info = f"{metadata.name}-{metadata.version}.dist-info"
    entries = {
        **package,
        f"{info}/METADATA": _describe(metadata).encode(),
        f"{info}/WHEEL": (
            f"Wheel-Version: 1.0\nGenerator: edgeq\nRoot-Is-Purelib: true\nTag: {_TAG}\n"
        ).encode(),
    }
    lines = [f"{path},{_digest(entries[path])},{len(entries[path])}\n" for path in sorted(entries)]
    record = f"{info}/RECORD"
    entries[record] = ("".join(lines) + f"{record},,\n").encode()
    return archive.write_zip(entries)


def _digest(content: bytes) -> str:
    encoded = base64.urlsafe_b64encode(hashlib.sha256(content).digest())
    return f"sha256={encoded.decode().rstrip('=')}"


def _describe(metadata: Metadata) -> str:
    """METADATA; the name as PEP 503 writes it."""
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {re.sub(r'[-_.]+', '-', metadata.name).lower()}",
        f"Version: {metadata.version}",
        f"Summary: {metadata.summary}",
    ]
    if metadata.license is not None:
        lines.append(f"License-Expression: {' '.join(metadata.license.split())}")
    lines.append(f"Requires-Python: {metadata.python}")
    lines += [f"Requires-Dist: {requirement}" for requirement in metadata.requires]
    lines.append("Description-Content-Type: text/markdown; charset=UTF-8")
    return "\n".join(lines) + f"\n\n{metadata.readme}"
