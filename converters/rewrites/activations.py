"""Activations of several operators become the builtin operator, whose INT8 kernel is a table.

They are recognised by their values, so it does not matter which operators a tool wrote. A value
differs by at most 1e-5, or by 1e-5 of the input if that is larger than 1; approximations of erf
differ by 1e-6. The two forms of GELU differ from each other by 4.7e-4 and are told apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeq.converters.rewrites import functions
from edgeq.converters.rewrites.chains import (
    find_sources,
    is_closed,
    operators_between,
    run_chain,
)
from edgeq.converters.rewrites.editor import Editor
from edgeq.converters.rewrites.functions import Array
from edgeq.tflite import flatbuffer

_TOLERANCE = 1e-5
# Dense where activations bend, and far out, where formulas may switch to another branch.
_FAR = np.geomspace(12, 1000, 40)
_PROBES = np.concatenate([-_FAR[::-1], np.linspace(-12, 12, 2401), _FAR])
_LAST = frozenset({"ADD", "MAXIMUM", "MUL", "SELECT", "SELECT_V2", "SUB"})


def restore_activations(editor: Editor) -> int:
    """Replace the operators of GELU, HARD_SWISH, ELU and LEAKY_RELU by that operator."""
    done = 0
    sources = find_sources(editor)
    for last in editor.of_kind(*_LAST):
        (result,) = editor.outputs(last)
        found = _recognise(editor, sources[result], result) if result in sources else None
        if found is not None:
            source, kind, options = found
            made = editor.new_like(result)
            editor.insert(last, kind, [source], [made], options=options)
            editor.replace(result, made)
            editor.remove_unread()
            sources = find_sources(editor)
            done += 1
    return done


def _recognise(editor: Editor, first: int, result: int) -> tuple[int, str, Any] | None:
    """The source, name and options of the activation that ends in `result`."""
    whole = operators_between(editor, first, result) or []
    candidates = dict.fromkeys([first, *(i for op in whole for i in editor.outputs(op))])
    for source in candidates:
        own = operators_between(editor, source, result)
        if own is None or len(own) < 2 or not is_closed(editor, own, result):
            continue
        if editor.dtype(source) != "float32" or editor.dtype(result) != "float32":
            continue
        known = _name(run_chain(editor, own, source, _PROBES))
        if known is not None:
            return source, *known
    return None


def _name(values: Array) -> tuple[str, Any] | None:
    """The operator that has these values at `_PROBES`, with its options."""
    kit = flatbuffer.schema()
    plain, approximate, leaky = kit.GeluOptionsT(), kit.GeluOptionsT(), kit.LeakyReluOptionsT()
    approximate.approximate = True
    leaky.alpha = float(-np.interp(-1, _PROBES, values))
    known = [
        ("GELU", plain, functions.gelu(_PROBES)),
        ("GELU", approximate, functions.gelu(_PROBES, approximate=True)),
        ("HARD_SWISH", kit.HardSwishOptionsT(), functions.hard_swish(_PROBES)),
        ("ELU", None, functions.elu(_PROBES)),
    ]
    if 0 < leaky.alpha < 1:
        known.append(("LEAKY_RELU", leaky, np.where(_PROBES < 0, leaky.alpha * _PROBES, _PROBES)))
    margin = _TOLERANCE * np.maximum(1, np.abs(_PROBES))
    for kind, options, expected in known:
        if (np.abs(values - expected) <= margin).all():
            return kind, options
    return None
