"""The model out of generated sources again."""

from __future__ import annotations

import re

from edgeq.errors import PackageError
from edgeq.packaging.contract.values import Files
from edgeq.packaging.targets.c import literals

_SOURCE = re.compile(r"src/[^/]+_model\.cc")
_BEGIN, _END = "kModel[] = {\n", "\n};\n"


def find_models(files: Files) -> dict[str, bytes]:
    """The model in its source file.

    Raises:
        PackageError: there is not exactly one, or its form is not the one that edgeq writes.
    """
    # In a package of edgeq 0.1 whose name ends in _model, NAME.cc matches as well; only the
    # model's file has that one beside it.
    paths = [
        path
        for path in files
        if _SOURCE.fullmatch(path)
        and any(f"{path.removesuffix('_model.cc')}{end}" in files for end in ("_package.cc", ".cc"))
    ]
    if len(paths) != 1:
        raise PackageError(
            f"There are {len(paths)} files src/*_model.cc with the model instead of one."
        )
    (path,) = paths
    _, begin, rest = files[path].decode("latin-1").partition(_BEGIN)
    text, end, rest = rest.partition(_END)
    try:
        content = bytes.fromhex(text.replace("0x", "").replace(",", ""))
    except ValueError:
        content = b""
    # Writing it again proves that a compiler reads the same bytes: no comment, no other spelling.
    if not (begin and end) or _BEGIN in rest or not content or literals.octets(content) != text:
        raise PackageError(f"{path} has no model in the form that edgeq writes.")
    return {path: content}
