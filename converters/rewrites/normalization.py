"""Layer, RMS, group and instance normalization in the form that keeps most in integers.

The new form is (docs/decisions/0019):

    d = x - mean(x)                  (not for RMS normalization)
    e = d . d + N * epsilon          (a BATCH_MATMUL, if N values are along the last axis)
    r = rsqrt(e), then r * rsqrt(e * r * r)
    y = d * r * (gamma * sqrt(N)) + beta

or, along other axes, with `e = mean(d * d) + epsilon` and gamma.

`e * r * r` is 1: in integers it corrects the error of the first rsqrt, a table with interpolation
that is off by up to 90 % for small e. The writer computes these operators in INT16 (`find_inner`),
and the root of a sum of squares, too: in 255 steps, squares of less than a sixteenth of the largest
value are 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgeq.converters.rewrites.chains import find_sources, operators_between
from edgeq.converters.rewrites.editor import Editor
from edgeq.converters.rewrites.functions import LAYOUT
from edgeq.converters.rewrites.probing import ROOTS, Normalization, recognise
from edgeq.tflite import flatbuffer, kernels

# A value whose group varies this many times less than the widest one is lost in INT8 anyway.
_WIDEST = 256
_SUMMING = frozenset({"ADD", "MAXIMUM", "MEAN", "SUM"}) | LAYOUT  # between squares and their root


def rewrite_normalizations(editor: Editor) -> int:
    """Write every normalization in the form above: equal to 1e-5 of the largest value."""
    done = 0
    inner = find_written(editor).operators
    old = [op for place, op in enumerate(editor.operators) if place not in inner]
    for anchor in [operator for operator in old if editor.kind(operator) in ROOTS]:
        found = recognise(editor, anchor)
        if found is not None:
            _write(editor, found)
            editor.remove_unread()
            done += 1
    return done


# ---------------------------------------------------------------- writing


def _write(editor: Editor, found: Normalization) -> None:
    """Insert the new form, and let it compute the result."""
    last = editor.producer(found.result)
    small = [1 if axis in found.axes else size for axis, size in enumerate(found.shape)]
    stem = editor.tensor_name(found.result)

    def add(kind: str, *inputs: Any, name: str, shape: Sequence[int], activation: int = 0) -> int:
        made = editor.new_tensor(f"{stem}/{name}", shape, "float32")
        indices = [
            item if isinstance(item, int) else editor.new_constant(f"{stem}/{name}_with", item)
            for item in inputs
        ]
        editor.insert(last, kind, indices, [made], options=_options(kind, activation))
        return made

    def mean(index: int, name: str) -> int:
        return add("MEAN", index, np.array(found.axes, np.int32), name=name, shape=small)

    def reshape(index: int, name: str, shape: Sequence[int]) -> int:
        return add("RESHAPE", index, np.array(shape, np.int32), name=name, shape=shape)

    source = found.source
    if found.shape != editor.shape(source):
        source = reshape(source, "groups", found.shape)
    centred = source
    if found.is_centred:
        centred = add("SUB", source, mean(source, "mean"), name="centred", shape=found.shape)
    if found.axes == (len(found.shape) - 1,):
        count, rows = found.shape[-1], int(np.prod(small))
        row = reshape(centred, "rows", [rows, 1, count])
        product = add("BATCH_MATMUL", row, row, name="products", shape=[rows, 1, 1])
        energy = reshape(product, "energy", small)
    else:
        count = 1
        energy = mean(add("MUL", centred, centred, name="squares", shape=found.shape), "energy")
    # One positive factor for all values becomes part of the energy.
    gamma, beta = found.gamma * np.sqrt(count), found.beta
    weight, is_one = 1.0, gamma.size == 1 and 1e-3 < gamma.item() < 1e3
    if is_one:
        weight = float(np.float32(gamma.item() ** -2))
    if weight != 1:
        energy = add("MUL", energy, np.array(weight, np.float32), name="weighed", shape=small)
    least = np.array(count * found.epsilon * weight, np.float32)
    energy = add("ADD", energy, least, name="positive", shape=small)
    root = add("RSQRT", energy, name="first_root", shape=small)
    part = add("MUL", energy, root, name="part", shape=small)
    unity = add("MUL", part, root, name="unity", shape=small)
    correction = add("RSQRT", unity, name="correction", shape=small)
    factor = add("MUL", root, correction, name="factor", shape=small)
    steps: list[tuple[str, Any, str]] = [("MUL", factor, "normalized")]
    if not is_one:
        steps.append(("MUL", gamma.astype(np.float32), "scaled"))
    if beta.any():
        steps.append(("ADD", beta.astype(np.float32), "shifted"))
    result = centred
    for number, (kind, other, name) in enumerate(steps, 1):
        activation = editor.activation(last) if number == len(steps) else 0
        result = add(kind, result, other, name=name, shape=found.shape, activation=activation)
    shape = editor.shape(found.result) or ()
    if found.shape != shape:
        result = reshape(result, "whole", shape)
    editor.replace(found.result, result)


def _options(kind: str, activation: int) -> Any:
    kit = flatbuffer.schema()
    if kind == "MEAN":
        options = kit.ReducerOptionsT()
        options.keepDims = True
        return options
    if kind == "BATCH_MATMUL":
        options = kit.BatchMatMulOptionsT()
        options.adjY = True
        return options
    names = {"ADD": "Add", "MUL": "Mul", "SUB": "Sub"}
    if kind not in names:
        return None
    options = getattr(kit, f"{names[kind]}OptionsT")()
    options.fusedActivationFunction = activation
    return options


# ---------------------------------------------------------------- for the writer


@dataclass(frozen=True)
class Inner:
    """The inside of normalizations and of roots of squares, which an INT8 file computes in INT16.

    Attributes:
        operators: positions in the subgraph.
        roots: tensor of the reciprocal of a root to that of its energy.
        unities: tensors around the second rsqrt, to the range that they need: in float they are
            exactly 1, in integers they correct up to a factor of 4.
    """

    operators: frozenset[int]
    roots: dict[int, int]
    unities: dict[int, tuple[float, float]]

    def widen(self, spans: Mapping[int, tuple[float, float]]) -> dict[int, tuple[float, float]]:
        """The ranges that differ from the calibrated ones.

        Args:
            spans: tensor to lowest and highest value.
        """
        found = dict(self.unities)
        for root, energy in self.roots.items():
            if root in spans and energy in spans and spans[energy][1] > 0:
                most = _WIDEST / np.sqrt(spans[energy][1])
                found[root] = (0.0, float(min(spans[root][1], most)))
        return found


def find_inner(editor: Editor) -> Inner:
    """The operators of normalizations as `rewrite_normalizations` writes them, and of roots."""
    found = find_written(editor)
    roots = [item for root in editor.of_kind("SQRT") for item in _squares(editor, root)]
    return replace(found, operators=found.operators | _places(editor, roots))


def find_written(editor: Editor) -> Inner:
    """The operators of normalizations as `rewrite_normalizations` writes them."""
    found = list(each_written(editor))
    roots = {index: item.energy for item in found for index in item.roots}
    ones = {index: span for item in found for index, span in item.unities.items()}
    operators = [operator for item in found for operator in item.operators]
    return Inner(_places(editor, operators), roots, ones)


@dataclass(frozen=True)
class Written:
    """One normalization as `rewrite_normalizations` writes it.

    Attributes:
        source: the tensor that it normalizes.
        scaling: the MUL that makes the normalized tensor, before gamma and beta.
        is_prescaled: whether a MUL by a constant for each channel comes first.
        has_gamma: whether a MUL by constants follows.
        operators: all of them.
        energy, roots, unities: see `Inner`.
    """

    source: int
    scaling: Any
    is_prescaled: bool
    has_gamma: bool
    operators: tuple[Any, ...]
    energy: int
    roots: tuple[int, ...]
    unities: Mapping[int, tuple[float, float]]


def each_written(editor: Editor) -> Iterator[Written]:
    """The normalizations as `rewrite_normalizations` writes them, in execution order."""
    for second in editor.of_kind("RSQRT"):
        (unity,), (correction,) = editor.inputs(second), editor.outputs(second)
        part, root = _factors(editor, unity)
        energy, again = _factors(editor, part)
        first, product = editor.producer(root), editor.only_reader(correction)
        is_form = root >= 0 and root == again and editor.kind(first) == "RSQRT"
        if not is_form or editor.inputs(first) != (energy,) or editor.kind(product) != "MUL":
            continue
        (factor,) = editor.outputs(product)
        scaling = editor.only_reader(factor)
        if editor.kind(scaling) != "MUL":
            continue
        centred, _ = editor.inputs(scaling)
        centring, affine = _centring(editor, centred), _affine(editor, scaling)
        inside = [*(operators_between(editor, centred, factor) or []), *centring, scaling, *affine]
        source = editor.inputs(centring[-1])[0] if centring else centred
        before = _scaling_before(editor, source, inside)
        yield Written(
            source=editor.inputs(before)[0] if before else source,
            scaling=scaling,
            is_prescaled=before is not None,
            has_gamma=any(editor.kind(operator) == "MUL" for operator in affine),
            operators=(*([before] if before else []), *inside),
            energy=energy,
            roots=(root, factor),
            unities={unity: (0.0, 2.0), correction: (0.0, 4.0)},
        )


def _scaling_before(editor: Editor, source: int, inside: Sequence[Any]) -> Any | None:
    """The MUL by a constant for each channel that makes what only a normalization reads."""
    operator, own = editor.producer(source), {id(item) for item in inside}
    if editor.kind(operator) != "MUL" or source in editor.model_outputs:
        return None
    values, shape = editor.value(editor.inputs(operator)[1]), editor.shape(source)
    is_vector = values is not None and shape and values.size == values.shape[-1] == shape[-1]
    is_own = all(id(reader) in own for reader in editor.readers(source))
    return operator if is_vector and is_own else None


def _places(editor: Editor, operators: Sequence[Any]) -> frozenset[int]:
    """The positions of some operators in the subgraph."""
    places = {id(operator): place for place, operator in enumerate(editor.operators)}
    return frozenset(places[id(operator)] for operator in operators)


def _squares(editor: Editor, root: Any) -> list[Any]:
    """A root and the operators that compute the sum of squares under it; empty for another root.

    A function of one tensor becomes a table instead.
    """
    found, pending = [root], [*editor.inputs(root)]
    while pending:
        index = pending.pop()
        operator = editor.producer(index)
        if editor.value(index) is not None or operator in found:
            continue
        kind = editor.kind(operator)
        is_square = kind == "MUL" and len(set(editor.inputs(operator))) == 1
        if not (is_square or kind in _SUMMING) or not kernels.takes(kind, "int16"):
            return []
        found.append(operator)
        pending += [] if is_square else editor.inputs(operator)
    source = find_sources(editor).get(editor.outputs(root)[0])
    return found if source is None or editor.producer(source) in found else []


def _factors(editor: Editor, index: int) -> tuple[int, int]:
    """The operands of the MUL that computes a tensor; -1 for another operator."""
    operator = editor.producer(index) if index >= 0 else None
    if operator is None or editor.kind(operator) != "MUL":
        return -1, -1
    one, other = editor.inputs(operator)
    return one, other


def _centring(editor: Editor, index: int) -> list[Any]:
    """The operators that subtract the mean from a tensor."""
    operator = editor.producer(index)
    if editor.kind(operator) != "SUB":
        return []
    whole, mean = editor.inputs(operator)
    return [*(operators_between(editor, whole, mean) or []), operator]


def _affine(editor: Editor, operator: Any) -> list[Any]:
    """The MUL and the ADD of constants behind an operator."""
    found = []
    for kind in ("MUL", "ADD"):
        reader = editor.only_reader(editor.outputs(operator)[0])
        if editor.kind(reader) == kind and editor.value(editor.inputs(reader)[1]) is not None:
            found.append(reader)
            operator = reader
    return found
