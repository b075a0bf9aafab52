"""JSON with limits on size and depth, and without names that occur twice."""

from __future__ import annotations

import json
from typing import Any

# The configurations of the largest models of keras.applications are below 1 MB.
MAX_BYTES = 32 << 20
# A model in a model in a model is 16 levels deep.
MAX_DEPTH = 200


def parse(content: bytes | str) -> Any:
    """Parse a JSON text to the value that Keras gets from `json.loads`.

    Raises:
        ValueError: it is not JSON, too large, too deep, or has a name twice in one object.
    """
    if len(content) > MAX_BYTES:
        raise ValueError(f"its JSON has {len(content)} bytes, and {MAX_BYTES} are allowed")
    try:
        value = json.loads(content, object_pairs_hook=_unique)
    except RecursionError as error:
        raise ValueError("its JSON is nested too deep") from error
    if _is_deeper(value, MAX_DEPTH):
        raise ValueError(f"its JSON is nested more than {MAX_DEPTH} levels deep")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object without equal names: parsers disagree on which of two values counts."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"its JSON has {twice[:80]!r} twice in one object")
    return found


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects are nested more than this number of levels."""
    level = [value]
    for _ in range(levels + 1):
        level = [
            inner
            for item in level
            if isinstance(item, (dict, list))
            for inner in (item.values() if isinstance(item, dict) else item)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return False
    return True
