"""The table of targets: what packages are made for.

A target is a folder here whose `TARGET` is a `Target`, and its name in `NAMES`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeq.packaging.targets.target import Target

NAMES = ("android", "ios", "c", "python")


def find_target(name: str) -> Target:
    """A target by name, imported when it is used."""
    found: Target = importlib.import_module(f"edgeq.packaging.targets.{name}").TARGET
    return found
