"""Propose other options for a conversion that lost a part of its outputs, the cheapest first.

An output is lost if values of different ranges share one step, or if a range is far from zero. Both
happen at the ends of a model. A conversion keeps the operators there in float where that helps (see
`wide_ends`), unless `--io` says otherwise. So a conversion without `--io` is tried first, then the
layers at the ends stay in float, too, and at last the whole model gets more bits.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

from edgeq.converters.graph.ends import Ends
from edgeq.converters.writer.precisions import name_of
from edgeq.tflite import flatbuffer
from edgeq.tflite.flatbuffer import indices
from edgeq.values import ConvertOptions
from edgeq.values.schemes import SCHEMES

# A command with more operator names than this is too long to type.
_MOST_NAMED = 24


def selector(name: str, names: Sequence[str]) -> str:
    """Return a `--int16` or `--keep-float` selector that matches only the named operator.

    Args:
        names: names of all operators. A name may be a long list of fused operators; its first part
            is enough if no other operator has it.
    """
    short = f"^{re.escape(name.split(';', maxsplit=1)[0])}(;|$)"
    if sum(re.search(short, other) is not None for other in names) == 1:
        return short
    return f"^{re.escape(name)}$"


def propose(
    content: bytes, lost: Collection[str], options: ConvertOptions
) -> Iterator[ConvertOptions]:
    """Yield options that may lose less, each set once, the cheapest first.

    Args:
        content: the float flatbuffer.
        lost: names of the outputs with a lost part.
        options: options of the conversion that lost it.
    """
    seen = {options}
    wide = replace(options, weights="int8", int4=())
    for found in (wide, *_spare(content, lost, wide), *_with_more_bits(options)):
        if found not in seen:
            seen.add(found)
            yield found


def _spare(
    content: bytes, lost: Collection[str], options: ConvertOptions
) -> Iterator[ConvertOptions]:
    if SCHEMES[options.scheme].activations != "int8" or options.calibrator != "edgeq":
        return
    if options.io not in (None, "float32"):
        yield replace(options, io=None)  # the ends may stay in float then
    tree = flatbuffer.parse(content, "the float model")
    names = [name_of(tree, operator) for operator in tree.subgraphs[0].operators]
    behind, front = _last_layers(tree, lost), _first_layers(tree)
    for chosen in (behind, front, behind | front):
        if 0 < len(chosen) <= _MOST_NAMED:
            own = (selector(names[place], names) for place in sorted(chosen))
            kept = tuple(dict.fromkeys((*options.keep_float, *own)))
            yield replace(options, io="float32", keep_float=kept)


def _last_layers(tree: Any, lost: Collection[str]) -> frozenset[int]:
    """Return the last layers before the lost outputs, and the operators behind these."""
    ends = Ends(tree)
    _, outputs = flatbuffer.interface(tree)
    numbers = zip(outputs, indices(tree.subgraphs[0].outputs), strict=True)
    chosen = [index for spec, index in numbers if spec.name in lost]
    lead = ends.lead(chosen, "all")
    return lead | {ends.makers[index] for index in ends.before(lead, chosen)}


def _first_layers(tree: Any) -> frozenset[int]:
    """Return the first layers behind the inputs, and the operators in front of these."""
    ends = Ends(tree)
    front = ends.front("all")
    read = (*ends.behind(front), *indices(tree.subgraphs[0].inputs))
    return front | {reader for index in read for reader in ends.readers[index]}


def _with_more_bits(options: ConvertOptions) -> Iterator[ConvertOptions]:
    whole = replace(
        options, io=None, keep_float=(), int16=(), int4=(), weights="int8",
        calibrator="edgeq",
        granularity="channel",
    )  # fmt: skip
    plain = replace(whole, statistic="auto", corrections="auto")
    for scheme in (SCHEMES[name] for name in SCHEMES[options.scheme].more_bits):
        other = replace(whole if scheme.needs_data else plain, scheme=scheme.name)
        yield other
        if scheme.io[0] != "float32":
            yield replace(other, io="float32")
