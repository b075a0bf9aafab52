"""A Python with a made-up release of a package."""

from __future__ import annotations

import sys
from pathlib import Path


def install(folder: Path, package: str, *options: str) -> Path:
    """Return a Python, started with these options, that has release 99 of a package in a folder."""
    words = " ".join((f'"{sys.executable}"', *options))
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{folder}" exec {words} "$@"\n')
    python.chmod(0o755)
    about = folder / f"{package.replace('-', '_')}-99.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 99\n")
    return python
