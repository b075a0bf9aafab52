"""From ranges to the parameters of every computed tensor: some operators share scales.

A range counts where an operator can choose the scale of its result; operators that only move
values, or choose among them, share one scale with what they read (one operand) or with their result
(several); where two of them disagree, a QUANTIZE in between changes the scale. INT8 has the result
of TensorFlow's quantization driver (quantization_driver.cc and `RemoveRedundantStatsOps` in
quantization_utils.cc), INT16 that of its `Calibrator` (tools/optimize/quantize_model.cc).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from edgeq.converters.writer.parameters import Affine

# A tensor with other readers takes a scale that is at most this much larger than its own. A limit
# of 2 gains 17 dB for the other readers where joined values are ten times as large, but the
# unrolled LSTM of the oracle then differs from TensorFlow's and loses 0.1 dB per tensor.
_MOST_COARSE = 16


@dataclass(frozen=True)
class Node:
    """An operator as the propagation sees it: its tensors that hold real values.

    Attributes:
        reads: inputs of the operator that are float tensors, without weights and biases.
        makes: its float results.
        operands: number of all of its inputs, integers too.
        is_same_scale: whether all of them share one scale.
        fixed: the parameters of the results that its kernel prescribes.
    """

    reads: tuple[int, ...]
    makes: tuple[int, ...]
    operands: int = 1
    is_same_scale: bool = False
    fixed: Affine | None = None


@dataclass
class Forms:
    """The parameters of every tensor and where they differ from it.

    Attributes:
        own: tensor to the parameters that its readers find.
        made: tensor to those that its operator computes, where they differ.
        wanted: (number of the node, tensor) to those that a reader needs, where they differ.
    """

    own: dict[int, Affine] = field(default_factory=dict)
    made: dict[int, Affine] = field(default_factory=dict)
    wanted: dict[tuple[int, int], Affine] = field(default_factory=dict)

    def of_result(self, tensor: int) -> Affine | None:
        """The parameters that the operator of a tensor computes."""
        return self.made.get(tensor, self.own.get(tensor))

    def of_operand(self, node: int, tensor: int) -> Affine | None:
        """The parameters in which an operator reads a tensor."""
        return self.wanted.get((node, tensor), self.own.get(tensor))


def propagate_int16(
    nodes: Sequence[Node], ranges: Mapping[int, Affine], constants: set[int]
) -> Forms:
    """Parameters of the tensors that INT16 operators read and make, from the inputs forward.

    Args:
        nodes, ranges, constants: as in `propagate`.
    """
    forms = Forms(own=dict(ranges))
    for place, node in enumerate(nodes):
        shared = node.fixed
        if node.is_same_scale:
            sides = node.reads + node.makes if len(node.reads) == 1 else node.makes + node.reads
            found = (forms.own.get(index) for index in sides if index not in constants)
            shared = next(filter(None, found), None)
            if shared is not None:
                forms.wanted |= {
                    (place, index): shared
                    for index in node.reads
                    if index in constants or forms.own.get(index) != shared
                }
        if shared is not None:
            forms.own |= dict.fromkeys(node.makes, shared)
    return forms


def propagate(
    nodes: Sequence[Node],
    ranges: Mapping[int, Affine],
    constants: set[int],
    outputs: Collection[int] = (),
) -> Forms:
    """Parameters of the tensors that INT8 operators read and make.

    Args:
        nodes: the operators in execution order.
        ranges: tensor to the parameters of its calibrated range.
        constants: tensors that are stored; those that same-scale operators read are quantized with
            what these share, so every reader has its own copy.
        outputs: tensors that the model returns.
    """
    kept = _ranges_that_count(nodes, ranges, outputs)
    return _Driver(nodes, kept, constants).run()


def _ranges_that_count(
    nodes: Sequence[Node], ranges: Mapping[int, Affine], outputs: Collection[int]
) -> dict[int, Affine]:
    """The ranges without those of tensors whose parameters follow from others."""
    maker = {index: node for node in nodes for index in node.makes}
    readers: defaultdict[int, list[Node]] = defaultdict(list)
    for node in nodes:
        for index in dict.fromkeys(node.reads):
            readers[index].append(node)
    redundant: set[int] = set()
    pending = list(ranges)
    while pending:  # forward, through operators with one operand
        index = pending.pop()
        if index in maker and maker[index].fixed is not None:
            redundant.add(index)
        for node in readers[index]:
            if node.is_same_scale and len(node.reads) == 1:
                found = [item for item in node.makes if item in ranges and item not in redundant]
                redundant.update(found)
                pending += found
    pulled = [(index, own) for index, own in ranges.items() if index not in redundant]
    seen: set[int] = set()
    while pulled:  # backward, through those with several
        index, shared = pulled.pop()
        if index not in maker or not maker[index].is_same_scale:
            continue
        for item in maker[index].reads:
            is_read_elsewhere = len(readers[item]) > 1 or item in outputs
            # TensorFlow's driver ruins the other readers: SELECT(x > 0, x, 0) clips x.
            if item in ranges and item not in seen and not (
                is_read_elsewhere and _loses(ranges[item], shared)
            ):  # fmt: skip
                pulled.append((item, shared))
                redundant.add(item)
                seen.add(item)
    return {index: own for index, own in ranges.items() if index not in redundant}


def _loses(own: Affine, other: Affine) -> bool:
    """Whether the parameters of another tensor clip the values of one, or cost it four bits."""
    spans = [
        ((low - item.zero_point) * item.scale, (high - item.zero_point) * item.scale)
        for item in (own, other)
        for low, high in [(-128, 127)]
    ]
    (low, high), (least, most) = spans
    clips = low < least - own.scale or high > most + own.scale
    return clips or other.scale > _MOST_COARSE * own.scale


class _Driver:
    """Propagates parameters until nothing changes."""

    def __init__(self, nodes: Sequence[Node], kept: dict[int, Affine], constants: set[int]):
        self._nodes, self._kept, self._constants = nodes, kept, constants
        self._forms = Forms(own=dict(kept))
        self._maker = {index: place for place, node in enumerate(nodes) for index in node.makes}
        self._readers: defaultdict[int, list[int]] = defaultdict(list)
        for place, node in enumerate(nodes):
            for index in dict.fromkeys(node.reads):
                self._readers[index].append(place)
        self._work = list(range(len(nodes)))
        self._done: set[int] = set()

    def run(self) -> Forms:
        while self._work:
            place = self._work.pop()
            if place in self._done:
                continue
            self._done.add(place)
            node = self._nodes[place]
            if node.is_same_scale:
                shared = self._shared(place, node)
                if shared is None:
                    self._done.discard(place)
                    continue
                for index in node.reads:
                    self._set_operand(place, index, shared)
                for index in node.makes:
                    self._set_result(index, shared)
            if node.fixed is not None:
                for index in node.makes:
                    self._set_result(index, node.fixed)
        return self._forms

    def _operand(self, place: int, index: int) -> Affine | None:
        """The state of an operand; each reader of a constant has a separate one."""
        if index in self._constants:
            return self._forms.wanted.get((place, index))
        return self._forms.own.get(index)

    def _shared(self, place: int, node: Node) -> Affine | None:
        """The parameters that a same-scale operator takes; None while nothing is known.

        Calibrated ranges come first: a single operand's, a single result's, the first of several;
        then, in the same order, parameters that were propagated.
        """
        reads = [(index, self._operand(place, index)) for index in node.reads]
        makes = [(index, self._forms.own.get(index)) for index in node.makes]
        for is_kept in (True, False):
            sides = [
                [own for index, own in side
                 if own is not None and (index in self._kept) == is_kept]
                for side in (reads, makes)
            ]  # fmt: skip
            if node.operands == 1 and sides[0]:
                return sides[0][0]
            if len(node.makes) == 1 and sides[1]:
                return sides[1][0]
            if found := [*sides[0], *sides[1]]:
                return found[0]
        return None

    def _set_operand(self, place: int, index: int, own: Affine) -> None:
        if index in self._constants:
            self._forms.wanted[place, index] = own
            return
        known = self._forms.own.get(index)
        if known is None:
            self._forms.own[index] = own
            # TensorFlow's driver asks only the producer, and leaves other readers in float.
            self._work += self._readers[index]
            if index in self._maker:
                self._work.append(self._maker[index])
        elif known != own:
            self._forms.wanted[place, index] = own

    def _set_result(self, index: int, own: Affine) -> None:
        known = self._forms.own.get(index)
        if known is None:
            self._forms.own[index] = own
            self._work += self._readers[index]
        elif known != own:
            self._forms.made[index] = own
