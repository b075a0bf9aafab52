"""`c`: C++ sources for TensorFlow Lite for Microcontrollers, with the arena measured."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from edgeq.fit.operators import require_supported
from edgeq.packaging.contract.values import Files
from edgeq.packaging.targets.c.forms import FORMS
from edgeq.packaging.targets.c.reading import find_models
from edgeq.packaging.targets.c.writing import make_files
from edgeq.packaging.targets.target import APACHE, Target, library


def _find_libraries(made: Files) -> Iterator[dict[str, Any]]:
    """The runtime; its sources have no releases, so the version is the one that measured."""
    texts = [content.decode() for path, content in made.items() if path.endswith("README.md")]
    found = re.search(r"tflite-micro (\d[\w.]*\w)", "".join(texts))
    version = {} if found is None else {"version": found[1]}
    purl = "pkg:github/tensorflow/tflite-micro"
    yield library("tflite-micro", purl, licenses=APACHE, **version)


TARGET = Target(
    title="C++ for microcontrollers",
    make_files=make_files,
    find_models=find_models,
    find_libraries=_find_libraries,
    check_model=require_supported,
    takes_metadata=False,  # a microcontroller has no reader for it, and no flash to waste
    runs_model=True,
    forms=tuple(FORMS),
    unversioned_runtime="TensorFlow Lite for Microcontrollers",
)
