"""Measure what INT8 costs at the ends of a float model: the operators there alone, on samples."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.accuracy.columns import find_columns
from edgeq.accuracy.inference import read_interface
from edgeq.accuracy.paired_runs import run_pairs
from edgeq.accuracy.parts import PartMeter
from edgeq.accuracy.quality_meter import QualityMeter
from edgeq.conversion.calibration_pass import KEPT_SAMPLES
from edgeq.conversion.input_ranges import find_mask_limits
from edgeq.conversion.plan import Job, SamplePlan, choose_mix
from edgeq.conversion.range_candidates import CalibratedModel, range_sets
from edgeq.converters.calibration.calibrate import FloatRun
from edgeq.converters.calibration.channel_scales import Units, can_split, find_units
from edgeq.converters.calibration.input_rounding import round_input
from edgeq.converters.graph.ends import ARRANGING, LEVELS, Ends
from edgeq.converters.graph.recurrence import find_passed_states
from edgeq.converters.quantization.selectors import Mix
from edgeq.converters.rewrites.editor import Editor
from edgeq.converters.samples.open_samples import spread
from edgeq.converters.writer.parameters import Affine, from_range
from edgeq.converters.writer.precisions import choose_precisions, choose_tables, name_of
from edgeq.converters.writer.write import Target, Writer
from edgeq.tflite import flatbuffer, kernels, quantmath
from edgeq.tflite.model_file import read_model, shared_tree
from edgeq.tflite.operators import having
from edgeq.values import FloatModel, PartQuality, TensorSpec

# Rounding alone leaves a part an error of a tenth of its variation.
RUINED_DB = 20.0
# Float at an end has to gain the first, and more operators than necessary the second.
_LEAST_GAIN_DB, _ALIKE_DB = 3.0, 1.0
_UNLIKE = 2.0  # times as wide: a bit less for the narrow operand
_JOINING = having("joins")
_HARMLESS = ARRANGING | having("fixed_range") | having("converts")


Loss = tuple[float, str]  # SQNR in dB, and where


def worst(parts: Sequence[PartQuality]) -> Loss:
    """Return the lowest SQNR of an output's parts and lost columns, and its place.

    Parts that do not vary, or too few values to know, do not count.
    """
    known = [part for part in parts if part.is_known and part.sqnr_db is not None]
    found = [(part.sqnr_db, part.where) for part in known if part.sqnr_db is not None]
    found += [(column.sqnr_db, column.where) for part in known for column in part.lost]
    return min(found, default=(np.inf, ""))


@dataclass(frozen=True)
class Tail:
    """The decision about the outputs, which are named by their numbers.

    Attributes:
        losses: of each output with the ends in INT8.
        ruined: those below `RUINED_DB`.
        places: operators behind the last layers that should stay in float.
        left: outputs that stay ruined.
    """

    losses: Mapping[int, Loss]
    ruined: frozenset[int] = frozenset()
    places: frozenset[int] = frozenset()
    left: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Front:
    """The decision about the inputs: operators that should stay in float, and the loss if not."""

    places: frozenset[int] = frozenset()
    loss: Loss = (np.inf, "")


@dataclass(frozen=True)
class FineInputs:
    """Inputs that layers in INT16 should get in INT16, too.

    Attributes:
        names: of the inputs.
        places: operators that only arrange values between them and the layers.
        loss: if the inputs are INT8.
    """

    names: tuple[str, ...] = ()
    places: frozenset[int] = frozenset()
    loss: Loss = (np.inf, "")


class EndLosses:
    """Measures the ends of one float model."""

    def __init__(self, job: Job, model: FloatModel, plan: SamplePlan, run: FloatRun):
        assert plan.samples is not None
        self.job, self.model, self._run, self._samples = job, model, run, plan.samples
        self._used = spread(plan.chosen, KEPT_SAMPLES)
        self._content = Path(model.file.path).read_bytes()
        self._tree = shared_tree(self._content, "the float model")
        graph = self._tree.subgraphs[0]
        mix = choose_mix(job, model)
        self._selected = {*mix.keep_float, *mix.int16, *mix.int4}
        self._int16 = frozenset(mix.int16)
        self.names = [name_of(self._tree, operator) for operator in graph.operators]
        self.ends = Ends(self._tree, _barred(self._tree, mix))
        self.inputs = flatbuffer.indices(graph.inputs)
        item = CalibratedModel(model, run, False, find_mask_limits(model, plan))
        self._ranges = range_sets(job.scheme, item, ("minmax",), (), [])[0]
        self._spans = {item.index: (item.minimum, item.maximum) for item in self._ranges.tensors}
        self.outputs = {
            number: index
            for number, index in enumerate(flatbuffer.indices(graph.outputs))
            if index in self._spans
        }

    def passed_states(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the inputs and outputs that hold states of layers computed in INT16."""
        inputs, outputs = find_passed_states(self._tree)
        readers = {self.names[place] for index in inputs for place in self.ends.readers[index]}
        if not readers <= self._int16:
            return (), ()
        specs = self.model.inputs, self.model.outputs
        numbers = self.inputs, flatbuffer.indices(self._tree.subgraphs[0].outputs)
        first, second = (
            tuple(spec.name for spec, index in zip(own, places, strict=True) if index in found)
            for own, places, found in zip(specs, numbers, (inputs, outputs), strict=True)
        )
        return first, second

    def _tensors(self, outputs: Iterable[int]) -> list[int]:
        return [self.outputs[number] for number in outputs]

    def _write(
        self,
        narrow: Collection[int],
        real_inputs: frozenset[str] = frozenset(),
        real_outputs: frozenset[str] = frozenset(),
    ) -> bytes:
        """Return the float model with some operators, inputs and outputs in INT8."""
        kept = tuple(name for place, name in enumerate(self.names) if place not in narrow)
        target = Target(
            "int8", "int8", keep_float=kept, real_inputs=real_inputs, real_outputs=real_outputs
        )
        return Writer(self._content, target).write(self._ranges)

    def _run_files(self, contents: Sequence[bytes]) -> list[dict[int, Loss]]:
        """Run files beside the float model and return the loss of each output."""
        files = []
        for number, content in enumerate((self._content, *contents)):
            path = self.job.folder / f"end-{number}.tflite"
            path.write_bytes(content)
            files.append(read_model(path))
        leader = read_interface(files[0])
        models = [(file, read_interface(file, leader)) for file in files]
        meters = [QualityMeter(leader.outputs, leader.columns) for _ in contents]
        pairs = ((sample.inputs, None) for sample in self._samples.iterate(self._used))
        for found, _ in run_pairs(models, pairs, self.job.device):
            for meter, own in zip(meters, found[1:], strict=True):
                meter.add(found[0], own, None)
        results = [meter.result(is_held_out=True).outputs for meter in meters]
        return [{n: worst(outputs[n].parts) for n in self.outputs} for outputs in results]

    # ------------------------------------------------------------ outputs

    def find_tail(self) -> Tail:
        """Find the fewest operators behind the last layers that save the ruined outputs."""
        inputs = frozenset(spec.name for spec in self.model.inputs)
        whole = self.ends.tail(self.outputs.values(), "all")
        if {self.ends.kinds[place] for place in whole} <= _HARMLESS:
            losses = self._round_outputs()
        else:
            (losses,) = self._run_files([self._write(whole, inputs)])
        ruined = frozenset(number for number, (db, _) in losses.items() if db < RUINED_DB)
        if not ruined:
            return Tail(losses)
        tails = [self.ends.tail(self._tensors(ruined), level) for level in LEVELS]
        tails = list(dict.fromkeys(tail for tail in tails if tail))
        names = frozenset(self.model.outputs[number].name for number in ruined)
        files = [
            self._round_before(tail, self._write(whole - tail, inputs, names)) for tail in tails
        ]
        tried = [losses, *(self._run_files(files) if files else [])]
        level = _fewest(tried, ruined)
        saved = [n for n in ruined if tried[level][n][0] >= losses[n][0] + _LEAST_GAIN_DB]
        places = tails[level - 1] & self.ends.tail(self._tensors(saved), "all") if saved else ()
        left = frozenset(number for number in ruined if tried[level][number][0] < RUINED_DB)
        return Tail(losses, ruined, frozenset(places), left)

    def _round_before(self, tail: Collection[int], content: bytes) -> bytes:
        """Return a file of `_write` whose layers before a float tail round what they make."""
        graph = shared_tree(content, "the rounded model").subgraphs[0]
        own = self._tree.subgraphs[0]
        places = {
            flatbuffer.text(tensor.name): place
            for place, tensor in enumerate(graph.tensors)
            if flatbuffer.dtype(tensor) == "float32"
        }
        for index in self.ends.before(tail, ()):
            if (place := places.get(flatbuffer.tensor_name(own, index))) is not None:
                content = round_input(content, place, self._spans[index])
        return content

    def _round_outputs(self) -> dict[int, Loss]:
        """Return the loss of each output if its own step is all that INT8 costs."""
        columns, found = find_columns(self._tree), {}
        for number, index in self.outputs.items():
            name = self.model.outputs[number].name
            form = self._form(index)
            spec = TensorSpec(name, (), form.dtype, (form.scale,), (form.zero_point,))
            values = self._run.outputs[name]
            meter = PartMeter(name, columns.get(name))
            meter.add(values, quantmath.dequantize(quantmath.quantize(values, spec), spec))
            found[number] = worst(meter.result())
        return found

    def _form(self, index: int) -> Affine:
        """Return the INT8 form of an output that is behind operators without harm only."""
        source, place = index, self.ends.makers.get(index)
        while place is not None and self.ends.kinds[place] in ARRANGING:
            source = self.ends.reads(place)[0]
            place = self.ends.makers.get(source)
        fixed = None if place is None else kernels.FIXED.get((self.ends.kinds[place], "int8"))
        return from_range(*self._spans[index], "int8") if fixed is None else Affine("int8", *fixed)

    def find_units(self, outputs: Collection[int]) -> dict[int, Units]:
        """Return the last layers of outputs that one range does not fit, with their real units.

        Layers that the options select by name stay as they are.
        """
        tensors = self._tensors(outputs)
        whole = self.ends.lead(tensors, "all")
        editor = Editor(flatbuffer.parse(self._content, "the float model"))
        layers = [
            index
            for index in self.ends.before(whole, tensors)
            if can_split(editor, index)
            and set(self.ends.readers[index]) <= whole
            and self.names[self.ends.makers[index]] not in self._selected
        ]
        found = {index: find_units(own, RUINED_DB) for index, own in self._values(layers).items()}
        return {index: own for index, own in found.items() if own is not None}

    def _values(self, tensors: Sequence[int]) -> dict[int, NDArray[Any]]:
        """Return what the float model computes in some tensors, [samples, ...] each."""
        if not tensors:
            return {}
        tree = flatbuffer.parse(self._content, "the float model")
        tree.subgraphs[0].outputs = np.array(tensors, np.int32)
        names = [f"tensor_{index}" for index in tensors]
        flatbuffer.set_interface(tree, [spec.name for spec in self.model.inputs], names)
        path = self.job.folder / "layers.tflite"
        path.write_bytes(flatbuffer.serialize(tree))
        pairs = ((sample.inputs, None) for sample in self._samples.iterate(self._used))
        runs = run_pairs([(path, read_interface(path))], pairs, self.job.device)
        chunks = [found for (found,), _ in runs]
        return {
            index: np.concatenate([chunk[name] for chunk in chunks])
            for index, name in zip(tensors, names, strict=True)
        }

    # ------------------------------------------------------------ inputs

    def find_front(self) -> Front:
        """Find the fewest operators in front of the first layers that save ruined outputs."""
        fronts = [self.ends.front(level) for level in LEVELS[1:]]
        fronts = list(dict.fromkeys(front for front in fronts if front))
        if not fronts or not (self._unlike_inputs() or self._joins_unlike(fronts[-1])):
            return Front()
        outputs = frozenset(spec.name for spec in self.model.outputs)
        files = [self._write(fronts[-1], real_outputs=outputs), *map(self._round_behind, fronts)]
        tried = self._run_files(files)
        losses = tried[0]
        ruined = frozenset(number for number, (db, _) in losses.items() if db < RUINED_DB)
        level = _fewest(tried, ruined)
        if all(tried[level][n][0] < losses[n][0] + _LEAST_GAIN_DB for n in ruined):
            return Front()
        return Front(fronts[level - 1], min(losses[number] for number in ruined))

    def find_fine_inputs(self) -> FineInputs:
        """Find the inputs whose INT8 step ruins outputs, and whose first layers are in INT16."""
        found: dict[str, frozenset[int]] = {}
        for spec, index in zip(self.model.inputs, self.inputs, strict=True):
            way = self._way_to_int16(index)
            if way is not None and self._unlike_inputs(spec.name):
                found[spec.name] = way
        if not found:
            return FineInputs()
        content = self._content
        for spec, index in zip(self.model.inputs, self.inputs, strict=True):
            if spec.name in found:
                content = round_input(content, index, self._spans[index])
        (losses,) = self._run_files([content])
        least = min(losses.values(), default=(np.inf, ""))
        if least[0] >= RUINED_DB:
            return FineInputs()
        return FineInputs(tuple(found), frozenset().union(*found.values()), least)

    def _way_to_int16(self, index: int) -> frozenset[int] | None:
        """Return what arranges an input for layers in INT16; None if others read it."""
        found: set[int] = set()
        waiting = [index] if index in self._spans else []
        while waiting:
            for place in self.ends.readers[waiting.pop()]:
                if self.names[place] in self._int16 or place in found:
                    continue
                kind = self.ends.kinds[place]
                if kind not in ARRANGING or not kernels.takes(kind, "int16"):
                    return None
                found.add(place)
                waiting += self.ends.makes(place)
        return frozenset(found) if self.ends.readers[index] else None

    def _unlike_inputs(self, *names: str) -> bool:
        """Return whether the step of an input, of any or of these, is too large for a feature."""
        for spec in self.model.inputs:
            if spec.dtype == "float32" and spec.shape and spec.name in (names or (spec.name,)):
                samples = self._samples.iterate(self._used)
                values = np.stack([sample.inputs[spec.name] for sample in samples])
                if find_units(values, RUINED_DB) is not None:
                    return True
        return False

    def _joins_unlike(self, front: Collection[int]) -> bool:
        """Return whether an operator puts operands of unlike ranges under one scale."""
        for place in front:
            if self.ends.kinds[place] in _JOINING:
                spans = (self._spans.get(index) for index in self.ends.reads(place))
                widths = [span[1] - span[0] for span in spans if span is not None]
                if max(widths, default=0.0) > _UNLIKE * min(widths, default=0.0):
                    return True
        return False

    def _round_behind(self, front: Collection[int]) -> bytes:
        """Return the float model with only the tensors behind a front rounded to INT8."""
        content = self._content
        for index in self.ends.behind(front):
            content = round_input(content, index, self._spans[index])
        return content


def _barred(tree: Any, mix: Mix) -> set[int]:
    """Return the operators that belong to no end: those that INT8 computes in another way."""
    precisions = choose_precisions(tree, "int8", mix.keep_float, mix.int16)
    tables = choose_tables(tree, "int8", {*mix.keep_float, *mix.int16})
    found = {place for place, precision in enumerate(precisions) if precision != "int8"}
    return found | {place for one in tables if len(one.operators) > 1 for place in one.operators}


def _fewest(tried: Sequence[Mapping[int, Loss]], outputs: Collection[int]) -> int:
    """Return the number of the first file that is at most `_ALIKE_DB` below the best one.

    Args:
        tried: the losses of the outputs with each file.
        outputs: that count, up to `RUINED_DB`.
    """
    gains = [
        sum(float(np.clip(own[number][0], -RUINED_DB, RUINED_DB)) for number in outputs)
        for own in tried
    ]
    return next(n for n, gain in enumerate(gains) if gain >= max(gains) - _ALIKE_DB)
