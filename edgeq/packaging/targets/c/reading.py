"""The model out of generated sources again."""

from __future__ import annotations

import re

from edgeq.errors import PackageError
from edgeq.packaging.contract.values import Files
from edgeq.packaging.targets.c import literals

_SOURCE = re.compile(r"src/[^/]+_model\.cc")
_BEGIN, _END = "kModel[] = {\n", "\n};\n"


def find_models(files: Files) -> dict[str, bytes]:
    """See `edgeq.packaging.targets.Target`."""
    # Of a package of edgeq 0.1 whose own name ends in _model, NAME.cc looks like it as well; the
    # model's file has that one beside it.
    paths = [
        path
        for path in files
        if _SOURCE.fullmatch(path)
        and any(f"{path.removesuffix('_model.cc')}{end}" in files for end in ("_package.cc", ".cc"))
    ]
    if len(paths) != 1:
        raise PackageError(f"There is not one src/*_model.cc with the model, but {len(paths)}.")
    (path,) = paths
    return {path: _read_array(files[path].decode("latin-1"), path)}


def _read_array(source: str, path: str) -> bytes:
    _, begin, rest = source.partition(_BEGIN)
    text, end, rest = rest.partition(_END)
    try:
        content = bytes.fromhex(text.replace("0x", "").replace(",", ""))
    except ValueError:
        content = b""
    # Written again, it shows that a compiler reads the same bytes: no comment, no other spelling.
    if not (begin and end) or _BEGIN in rest or not content or literals.octets(content) != text:
        raise PackageError(f"{path} holds no model in the form that edgeq writes.")
    return content
