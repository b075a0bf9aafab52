"""Files of published wheels, which pip fetches by exact versions."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


def unpack(
    folder: Path, requirements: Mapping[str, Sequence[str]], is_needed: Callable[[str], bool]
) -> Path:
    """Download wheels once, and unpack some of their files.

    Args:
        folder: receives `wheels` and `unpacked`.
        requirements: each with its own options of pip.
        is_needed: whether to unpack a file, by its path in the wheel.

    Returns:
        The folder `unpacked`.
    """
    wheels, unpacked = folder / "wheels", folder / "unpacked"
    wheels.mkdir(parents=True, exist_ok=True)
    for requirement, options in requirements.items():
        stem = requirement.partition("==")[0].replace("-", "_")
        if not list(wheels.glob(f"{stem}-*.whl")):
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            command += ["--only-binary", ":all:", "--dest", str(wheels), *options, requirement]
            subprocess.run(command, check=True)
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as opened:
            for item in opened.namelist():
                # Another run may have a library open.
                if is_needed(item) and not (unpacked / item).exists():
                    opened.extract(item, unpacked)
    return unpacked
