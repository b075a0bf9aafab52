"""What a package is for: a table of targets, each made from the same ingredients.

A target turns `Ingredients` into files and finds the model in them again, so that `verify` can
prove that every copy is the model that was measured. It reads no disk, and runs nothing; but `c`
runs the model, whose arena only the runtime can tell.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from edgeq.packaging.contract.values import Files, Ingredients


@dataclass(frozen=True)
class Target:
    """One of them.

    Attributes:
        title: what comes out.
        make_files: path inside the package to content.

            Raises `PackageError` when the model cannot be packaged for it.
        find_models: path of each place where the model lies, e.g. "x.aar!assets/x.tflite", to the
            model's bytes there.

            Raises `PackageError` when a file that should hold it is missing or damaged.
    """

    name: str
    title: str
    make_files: Callable[[Ingredients], dict[str, bytes]]
    find_models: Callable[[Files], dict[str, bytes]]


TITLES = {
    "android": "an AAR, and the same as a Gradle module",
    "ios": "a Swift package",
    "c": "C++ for microcontrollers",
    "python": "a wheel and a folder for a Raspberry Pi",
}
NAMES = tuple(TITLES)


def target(name: str) -> Target:
    """A target by name, imported when it is used."""
    module = importlib.import_module(f"edgeq.packaging.targets.{name}")
    return Target(name, TITLES[name], module.make_files, module.find_models)
