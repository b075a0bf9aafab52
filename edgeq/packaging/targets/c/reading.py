"""The model out of generated sources again."""

from __future__ import annotations

import re

from edgeq.errors import PackageError
from edgeq.packaging.values import Files

_SOURCE = re.compile(r"src/[^/]+_model\.cc")
_ARRAY = re.compile(rb"\bkModel\[\] = \{\n((?:0x[0-9a-f]{2},[ \n])+)\};\n")


def find_models(files: Files) -> dict[str, bytes]:
    """See `edgeq.packaging.targets.Target`."""
    paths = [path for path in files if _SOURCE.fullmatch(path)]
    if len(paths) != 1:
        raise PackageError(f"There is not one src/*_model.cc with the model, but {len(paths)}.")
    (path,) = paths
    arrays = _ARRAY.findall(files[path])
    if len(arrays) != 1:
        raise PackageError(f"{path} holds no model in the form that edgeq writes.")
    return {path: bytes(int(text, 16) for text in re.findall(rb"0x(..)", arrays[0]))}
