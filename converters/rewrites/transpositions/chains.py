"""Writes a chain of transpositions and reshapes as one transposition between two reshapes.

The channel shuffle of PyTorch is such a chain: channels first, split, exchanged, joined, channels
last.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeq.converters.rewrites.editor import Editor
from edgeq.tflite import flatbuffer

# A part of an axis of the source: its place there, then 0 or 1 for each time that it was split.
Part = tuple[int, ...]

_KINDS = ("TRANSPOSE", "RESHAPE")
_MOST_AXES = 5  # of TRANSPOSE in tflite-micro


def join_transpositions(editor: Editor) -> int:
    """Replace chains with several transpositions by shorter ones with the same result."""
    done = 0
    for operator in editor.of_kind(*_KINDS):
        source = editor.inputs(operator)[0]
        before = editor.producer(source)
        is_inside = before is not None and editor.kind(before) in _KINDS
        if not (is_inside and editor.only_reader(source)):
            done += _join(editor, _follow(editor, operator))
    return done


def _follow(editor: Editor, operator: Any) -> list[Any]:
    """The chain that begins with an operator, as far as nothing else reads it."""
    chain = [operator]
    while True:
        after = editor.only_reader(editor.outputs(chain[-1])[0])
        if after is None or editor.kind(after) not in _KINDS:
            return chain
        chain.append(after)


def _join(editor: Editor, chain: Sequence[Any]) -> bool:
    source, result = editor.inputs(chain[0])[0], editor.outputs(chain[-1])[0]
    shape, last = editor.shape(source), editor.shape(result)
    if (
        sum(editor.kind(item) == "TRANSPOSE" for item in chain) < 2
        or not shape
        or not last
        or 0 in shape
    ):
        return False
    sizes: dict[Part, int] = {(place,): size for place, size in enumerate(shape)}
    axes: list[list[Part]] = [[part] for part in sizes]
    for item in chain:
        made = editor.shape(editor.outputs(item)[0])
        if editor.kind(item) == "TRANSPOSE":
            permutation = editor.value(editor.inputs(item)[1])
            axes = [] if permutation is None else [axes[place] for place in permutation]
        else:
            axes = [] if not made else _regroup(axes, sizes, made)
        if not axes:
            return False
    blocks = _find_blocks([part for axis in axes for part in axis if sizes[part] > 1])
    if len(blocks) > _MOST_AXES:
        return False
    _write(editor, chain[-1], source, [math.prod(sizes[part] for part in one) for one in blocks],
           [sorted(blocks).index(one) for one in blocks])  # fmt: skip
    return True


def _regroup(
    axes: Sequence[Sequence[Part]], sizes: dict[Part, int], shape: Sequence[int]
) -> list[list[Part]]:
    """The parts of each axis after a reshape, which may split parts; empty if it cuts one."""
    left = [part for axis in axes for part in axis]
    found: list[list[Part]] = []
    for size in shape:
        found.append([])
        need = size
        while need > 1:
            part = left.pop(0)  # the sizes have the same product
            own = sizes[part]
            if need % own and own % need:
                return []
            if own > need:
                one, other = (*part, 0), (*part, 1)
                sizes[one], sizes[other] = need, own // need
                left.insert(0, other)
                part, own = one, need
            found[-1].append(part)
            need //= own
    return found


def _find_blocks(parts: Sequence[Part]) -> list[list[Part]]:
    """Parts in the order of the result, joined where they are neighbours in the source."""
    place = {part: number for number, part in enumerate(sorted(parts))}
    found: list[list[Part]] = []
    for part in parts:
        if found and place[part] == place[found[-1][-1]] + 1:
            found[-1].append(part)
        else:
            found.append([part])
    return found


def _write(
    editor: Editor, last: Any, source: int, sizes: Sequence[int], order: Sequence[int]
) -> None:
    """Write the operators for blocks of axes: their sizes and source places, as in the result."""
    (result,) = editor.outputs(last)
    stem, dtype, kit = editor.tensor_name(result), editor.dtype(source), flatbuffer.schema()

    def reshape(index: int, shape: Sequence[int], *, always: bool = False) -> int:
        if editor.shape(index) == tuple(shape) and not always:
            return index
        made = editor.new_tensor(f"{stem}/shaped", shape, dtype)
        wanted = editor.new_constant(f"{stem}/shape", np.array(shape, np.int32))
        options = kit.ReshapeOptionsT()
        options.newShape = np.array(shape, np.int32)
        editor.insert(last, "RESHAPE", [index, wanted], [made], options=options)
        return made

    if list(order) == sorted(order):
        made = reshape(source, editor.shape(result) or (), always=True)
    else:
        split = [size for _, size in sorted(zip(order, sizes, strict=True))]
        turned = editor.new_tensor(f"{stem}/turned", sizes, dtype)
        permutation = editor.new_constant(f"{stem}/order", np.array(order, np.int32))
        given = [reshape(source, split), permutation]
        editor.insert(last, "TRANSPOSE", given, [turned], options=kit.TransposeOptionsT())
        made = reshape(turned, editor.shape(result) or ())
    editor.replace(result, made)
