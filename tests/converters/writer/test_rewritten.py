"""Normalizations and tables in the file that the writer makes of a rewritten model."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from edgeq.converters.quantization.quantize import quantize
from edgeq.converters.rewrites.apply import rewrite
from edgeq.converters.writer.write import Target, Writer
from edgeq.tflite import flatbuffer, quantmath
from edgeq.values import Ranges, TensorRange
from edgeq.values.schemes import SCHEMES
from tests.converters.rewrites.normal_forms import keras
from tests.converters.rewrites.tiny_graphs import Builder, kinds, run

RANDOM = np.random.default_rng(0)


def calibrate(content: bytes, samples: NDArray[np.float32]) -> Ranges:
    """The lowest and highest value of each tensor."""
    interpreter = Interpreter(
        model_content=content,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    graph = flatbuffer.parse(content, "m").subgraphs[0]
    found: dict[int, list[float]] = {}
    for x in samples:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
        interpreter.invoke()
        for index, tensor in enumerate(graph.tensors):
            if flatbuffer.dtype(tensor) == "float32":
                values = interpreter.get_tensor(index)
                found.setdefault(index, []).extend((float(values.min()), float(values.max())))
    tensors = tuple(
        TensorRange(index, flatbuffer.tensor_name(graph, index), min(seen), max(seen))
        for index, seen in found.items()
    )
    return Ranges("edgeq", "minmax", len(samples), tensors, "")


def compare(source: bytes, written: bytes, samples: NDArray[np.float32]) -> tuple[float, Any]:
    """SQNR of an INT8 file on the INT8 values of samples, and the largest difference in steps."""
    (given,), (result,) = flatbuffer.interface(flatbuffer.parse(written, "m"))
    signal = error = steps = 0.0
    for x in samples:
        stored = quantmath.quantize(x, given)
        expected = run(source, quantmath.dequantize(stored, given))[0]
        integers = run(written, stored)[0]
        signal += float((expected**2).sum())
        error += float(((quantmath.dequantize(integers, result) - expected) ** 2).sum())
        ideal = quantmath.quantize(expected, result).astype(int)
        steps = max(steps, float(np.abs(integers - ideal).max()))
    return quantmath.sqnr_db(signal, error), steps


def tokens(count: int) -> NDArray[np.float32]:
    """Samples of [1, 6, 8], whose six tokens differ in size by a factor of up to 10."""
    sizes = 10 ** RANDOM.uniform(-1, 0, (count, 1, 6, 1))
    return (RANDOM.standard_normal((count, 1, 6, 8)) * sizes).astype(np.float32)


def test_the_inside_of_a_normalization_loses_nothing_in_int16() -> None:
    build = Builder()
    source = build.content(keras(build, build.input([1, 6, 8])))
    content = rewrite(source).content
    ranges, samples = calibrate(content, tokens(64)), tokens(16)
    written = quantize(content, ranges, SCHEMES["int8"], "int8", "channel")
    assert [kind for kind in kinds(written) if "QUANTIZE" in kind] == ["QUANTIZE"] * 2
    sqnr, steps = compare(source, written, samples)
    assert sqnr > 40
    assert steps <= 1
    plain = Writer(content, Target("int8", "int8")).write(ranges)  # all of it in INT8
    assert compare(source, plain, samples)[0] < sqnr - 10


def test_a_chain_of_operators_is_read_from_a_table() -> None:
    build = Builder()
    x = build.input([1, 6, 8])
    total = build.add("ADD", [build.add("EXP", [x], [1, 6, 8]), build.constant(1.0)], [1, 6, 8])
    source = build.content(build.add("LOG", [total], [1, 6, 8]))
    samples = (RANDOM.standard_normal((32, 1, 6, 8)) * 8).astype(np.float32)
    written = quantize(source, calibrate(source, samples), SCHEMES["int8"], "int8", "channel")
    assert kinds(written) == ["CAST", "ADD", "GATHER"]
    assert compare(source, written, samples)[1] == 0


def amplitude(build: Builder, x: int) -> int:
    """The amplitude of the complex numbers whose parts are the rows 0 to 2 and 3 to 5."""
    shape = [1, 3, 8]
    squares = []
    for row in (0, 3):
        corner = build.constant([0, row, 0], "int32")
        part = build.add("SLICE", [x, corner, build.constant(shape, "int32")], shape)
        squares.append(build.add("MUL", [part, part], shape))
    largest = build.add("MAXIMUM", [build.add("ADD", squares, shape), build.constant(1e-7)], shape)
    return build.add("SQRT", [largest], shape)


def test_the_root_of_squares_keeps_small_values() -> None:
    build = Builder()
    content = build.content(amplitude(build, build.input([1, 6, 8])))
    ranges, samples = calibrate(content, tokens(64)), tokens(16) / 8
    written = quantize(content, ranges, SCHEMES["int8"], "int8", "channel")
    assert [kind for kind in kinds(written) if "QUANTIZE" in kind] == ["QUANTIZE"] * 3
    sqnr, steps = compare(content, written, samples)
    assert steps <= 1
    plain = Writer(content, Target("int8", "int8")).write(ranges)  # all of it in INT8
    assert compare(content, plain, samples)[0] < sqnr - 10
