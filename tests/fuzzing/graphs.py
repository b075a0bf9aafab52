"""Small float models of every operator, and faults in their graphs: what a flatbuffer may claim."""

from __future__ import annotations

import copy
import io
import math
import random
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from edgeq.converters.rewrites.soundness import READABLE
from edgeq.tflite import flatbuffer
from tests.converters.rewrites.tiny_graphs import Builder, schema

Random = random.Random
Fault = Callable[[Any, Any, Random], None]  # of a model's tree and one of its subgraphs

SIZES = (-1, 0, 1, 2, 3, 7, 255, 1 << 16, 1 << 20, 1 << 30, 2**31 - 1, -(2**31))
NUMBERS = (-(2**31), -7, -1, 0, 1, 2, 3, 4, 100, 1 << 20, 2**31 - 1)
_MOST_BYTES = 1 << 22


@cache
def sources() -> tuple[bytes, ...]:
    """Sound models: one of each operator, and rare ones of several."""
    from benchmarks.kernels import forms
    from benchmarks.kernels.cases import CASES
    from tests.converters.writer.bad_models import ODD
    from tests.tiny_models import fused_lstm

    found = [build() for build in ODD.values()]
    found += [forms.build(case, "float32").content for case in CASES.values()]
    # Those of several operators and subgraphs have more to break.
    found += 8 * [fused_lstm(), branch(), loop(), sparse(), blocks(), half(), normalization()]
    return tuple(found)


def branch() -> bytes:
    """An IF whose branches are other subgraphs."""
    model = Builder()
    x = model.input([1, 4])
    is_large = model.add("GREATER", [x, model.constant(np.zeros((1, 4)))], [1, 4], "bool")
    reducer = schema.ReducerOptionsT()
    axes = model.constant([0, 1], "int32")
    condition = model.add("REDUCE_ANY", [is_large, axes], [], "bool", options=reducer)
    options = schema.IfOptionsT()
    options.thenSubgraphIndex, options.elseSubgraphIndex = 1, 2
    y = model.add("IF", [condition, x], [1, 4], options=options)
    for kind in ("MUL", "ADD"):
        model.subgraph()
        own = model.input([1, 4])
        model.finish(model.add(kind, [own, model.constant(np.full(4, 0.5))], [1, 4]))
    return model.content(y)


def loop() -> bytes:
    """A WHILE that doubles a tensor three times."""
    model = Builder()
    x, count = model.input([1, 4]), model.constant(np.zeros(1), "int32")
    options = schema.WhileOptionsT()
    options.condSubgraphIndex, options.bodySubgraphIndex = 1, 2
    number = model.tensor([1], "int32")
    y = model.add("WHILE", [count, x], [1, 4], options=options)
    model.graph.operators[-1].outputs = np.array([number, y], np.int32)
    model.subgraph()
    own = model.input([1], "int32")
    model.input([1, 4])
    model.finish(model.add("LESS", [own, model.constant([3], "int32")], [1], "bool"))
    model.subgraph()
    own, data = model.input([1], "int32"), model.input([1, 4])
    after = model.add("ADD", [own, model.constant([1], "int32")], [1], "int32")
    model.finish(after, model.add("ADD", [data, data], [1, 4]))
    return model.content(y)


def sparse() -> bytes:
    """A dense layer with sparse weights behind a DENSIFY."""
    made = schema.SparsityParametersT()
    made.traversalOrder, made.blockMap = np.array([0, 1], np.int32), None
    rows, columns = schema.DimensionMetadataT(), schema.DimensionMetadataT()
    rows.format, rows.denseSize = 0, 3
    columns.format = 1
    columns.arraySegmentsType = columns.arrayIndicesType = schema.SparseIndexVector.Int32Vector
    columns.arraySegments, columns.arrayIndices = (schema.Int32VectorT() for _ in range(2))
    columns.arraySegments.values = np.array([0, 2, 3, 4], np.int32)
    columns.arrayIndices.values = np.array([0, 2, 1, 3], np.int32)
    made.dimMetadata = [rows, columns]
    return _densified(3, made)


def blocks() -> bytes:
    """A dense layer with weights of sparse blocks of 1 x 2."""
    made = schema.SparsityParametersT()
    made.traversalOrder = np.array([0, 1, 2], np.int32)
    made.blockMap = np.array([1], np.int32)
    levels = [schema.DimensionMetadataT() for _ in range(3)]
    levels[0].denseSize, levels[2].denseSize = 2, 2
    levels[1].format = 1
    levels[1].arraySegmentsType = schema.SparseIndexVector.Uint8Vector
    levels[1].arrayIndicesType = schema.SparseIndexVector.Uint16Vector
    levels[1].arraySegments, levels[1].arrayIndices = schema.Uint8VectorT(), schema.Uint16VectorT()
    levels[1].arraySegments.values = np.array([0, 1, 2], np.uint8)
    levels[1].arrayIndices.values = np.array([1, 0], np.uint16)
    made.dimMetadata = levels
    return _densified(2, made)


def _densified(rows: int, sparsity: Any) -> bytes:
    """A dense layer whose weights of 4 stored values are behind a DENSIFY."""
    model = Builder()
    x = model.input([1, 4])
    packed = model.constant(np.array([1, 2, 3, 4], np.float32))
    tensor = model.graph.tensors[packed]
    tensor.shape, tensor.sparsity = np.array([rows, 4], np.int32), sparsity
    weights = model.add("DENSIFY", [packed], [rows, 4])
    return model.content(model.add("FULLY_CONNECTED", [x, weights], [1, rows]))


def half() -> bytes:
    """Two dense layers with FP16 weights behind DEQUANTIZE."""
    model = Builder()
    y = model.input([1, 4])
    for _ in range(2):
        packed = model.constant(np.arange(16).reshape(4, 4) / 8 - 1, "float16")
        weights = model.add("DEQUANTIZE", [packed], [4, 4])
        y = model.add("FULLY_CONNECTED", [y, weights], [1, 4])
    return model.content(y)


def normalization() -> bytes:
    """A layer normalization in its parts, between two dense layers."""
    model = Builder()
    x = model.input([1, 4])
    own = model.constant(np.arange(16).reshape(4, 4) / 8 - 1)
    x = model.add("FULLY_CONNECTED", [x, own], [1, 4])
    options = schema.ReducerOptionsT()
    options.keepDims = True
    axes = model.constant([1], "int32")
    mean = model.add("MEAN", [x, axes], [1, 1], options=options)
    squares = model.add("SQUARED_DIFFERENCE", [x, mean], [1, 4])
    variance = model.add("MEAN", [squares, axes], [1, 1], options=options)
    variance = model.add("ADD", [variance, model.constant([1e-3])], [1, 1])
    root = model.add("RSQRT", [variance], [1, 1])
    centred = model.add("SUB", [x, mean], [1, 4])
    scaled = model.add("MUL", [centred, root], [1, 4])
    scaled = model.add("MUL", [scaled, model.constant([1, 2, 3, 4])], [1, 4])
    y = model.add("ADD", [scaled, model.constant([0, 1, 0, 1])], [1, 4])
    return model.content(model.add("FULLY_CONNECTED", [y, own], [1, 4]))


# ---------------------------------------------------------------- faults


def change_graph(random: Random) -> bytes:
    """One of the models with one to three faults."""
    while True:
        tree = flatbuffer.parse(random.choice(sources()), "model")
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            graph = random.choice(tree.subgraphs)
            if graph.operators and graph.tensors:
                random.choice(FAULTS)(tree, graph, random)
        try:
            return flatbuffer.serialize(tree)
        except Exception:  # noqa: BLE001 - the schema does not take such a value
            continue


def data_for(content: bytes, random: Random, count: int = 8) -> bytes | None:
    """An `.npz` with samples for the inputs of a model; None if it is too damaged to have some."""
    try:
        inputs, _ = flatbuffer.interface(flatbuffer.parse(content, "model"))
        generator = np.random.default_rng(random.randrange(1 << 30))
        arrays = {}
        for spec in inputs:
            shape = count, *(max(size, 1) for size in spec.shape[1:])
            if np.prod(shape, dtype=np.float64) * 8 > _MOST_BYTES:
                return None
            values = generator.standard_normal(shape)
            arrays[spec.name] = values.astype(np.dtype(spec.dtype))
        target = io.BytesIO()
        np.savez(target, **arrays)
    except Exception:  # noqa: BLE001 - whatever it is
        return None
    return target.getvalue()


def _pick(items: Sequence[Any], random: Random) -> Any:
    return random.choice(list(items))


def _flip_end(tree: Any, graph: Any, random: Random) -> None:
    operator, side = _pick(graph.operators, random), random.choice(("inputs", "inputs", "outputs"))
    known = list(flatbuffer.indices(getattr(operator, side)))
    if known:
        known[random.randrange(len(known))] = random.randrange(-1, len(graph.tensors))
        setattr(operator, side, np.array(known, np.int32))


def _count_ends(tree: Any, graph: Any, random: Random) -> None:
    """More or fewer inputs or outputs."""
    operator, side = _pick(graph.operators, random), random.choice(("inputs", "inputs", "outputs"))
    known = list(flatbuffer.indices(getattr(operator, side)))
    way = random.randrange(4)
    if way == 0:
        known = known[:-1]
    elif way == 1:
        known = known[1:]
    elif way == 2:
        known = []
    else:
        known.append(random.choice((-1, *known, random.randrange(len(graph.tensors)))))
    setattr(operator, side, np.array(known, np.int32))


def _shape(tree: Any, graph: Any, random: Random) -> None:
    """Another size, rank or none: with or without values for it."""
    tensor = _pick(graph.tensors, random)
    shape = list(flatbuffer.indices(tensor.shape))
    way = random.randrange(6)
    if way == 0:
        shape = []
    elif way == 1:
        shape = shape[1:]
    elif way == 2:
        shape = [*shape, random.choice((1, 2, 0))]
    elif way == 3:
        shape = [1] * random.choice((5, 6, 9, 40)) + shape
    elif shape:
        shape[random.randrange(len(shape))] = random.choice(SIZES)
    tensor.shape = None if way == 5 and random.random() < 0.3 else np.array(shape, np.int32)
    _fill(tree, tensor, random)


def _fill(tree: Any, tensor: Any, random: Random) -> None:
    """Often give a constant as many bytes as its new shape has."""
    if not flatbuffer.is_constant(tree, tensor) or random.random() < 0.3:
        return
    count = math.prod(flatbuffer.indices(tensor.shape))
    name = flatbuffer.dtype(tensor)
    if name not in READABLE or not 0 <= count < 100_000:
        return
    buffer = schema.BufferT()
    values = np.resize(np.asarray(tree.buffers[tensor.buffer].data, np.uint8), (64,)).astype("f4")
    made = np.resize(values / 256, (count,)).astype(name)
    buffer.data = np.frombuffer(made.tobytes(), np.uint8)
    tree.buffers.append(buffer)
    tensor.buffer = len(tree.buffers) - 1


def _rearrange(tree: Any, graph: Any, random: Random) -> None:
    """Another shape of as many values, or of a signature."""
    tensor = _pick(graph.tensors, random)
    count = math.prod(flatbuffer.indices(tensor.shape))
    shape = random.choice([(count,), (1, count), (count, 1, 1), (1, 1, 1, count)])
    if random.random() < 0.3:
        tensor.shapeSignature = np.array([random.choice((-1, 2)) for _ in shape], np.int32)
    else:
        tensor.shape = np.array(shape, np.int64).clip(-(2**31), 2**31 - 1).astype(np.int32)


def _dtype(tree: Any, graph: Any, random: Random) -> None:
    tensor = _pick(graph.tensors, random)
    tensor.type = _pick(flatbuffer.dtype_names(), random)
    _fill(tree, tensor, random)


def _values(tree: Any, graph: Any, random: Random) -> None:
    """Other numbers in a constant: axes, shapes, indices, paddings."""
    stored = [item for item in graph.tensors if flatbuffer.is_constant(tree, item)]
    if not stored:
        return
    tensor = _pick(stored, random)
    name = flatbuffer.dtype(tensor)
    if name not in ("int32", "int64", "float32", "bool", "float16", "uint8", "int8"):
        return
    raw = np.asarray(tree.buffers[tensor.buffer].data, np.uint8)
    values = raw[: len(raw) // np.dtype(name).itemsize * np.dtype(name).itemsize].view(name).copy()
    if len(values):
        odd: Any = random.choice(NUMBERS)
        if values.dtype.kind == "f":
            odd = random.choice((0, 1e-45, -1e-30, 3e38, -3e38, np.nan, np.inf, 1e9, 65504))
        place = random.choice((slice(None), random.randrange(len(values))))
        with np.errstate(all="ignore"):
            values[place] = np.array(odd).astype(name)
        tensor.buffer = flatbuffer.add_buffer(tree, values)


def _bytes(tree: Any, graph: Any, random: Random) -> None:
    """Fewer or more bytes than the shape has."""
    buffer = copy.copy(_pick(tree.buffers, random))
    raw = np.asarray([] if buffer.data is None else buffer.data, np.uint8)
    number = random.choice((0, 1, len(raw) // 2, len(raw) - 1, len(raw) + 1, 2 * len(raw)))
    buffer.data = np.resize(raw, max(number, 0)) if len(raw) else np.zeros(max(number, 0), np.uint8)
    tensor = _pick(graph.tensors, random)
    stored = [item for item in graph.tensors if flatbuffer.is_constant(tree, item)] or [tensor]
    tree.buffers.append(buffer)
    _pick(stored, random).buffer = len(tree.buffers) - 1


def _share(tree: Any, graph: Any, random: Random) -> None:
    one, two = _pick(graph.tensors, random), _pick(graph.tensors, random)
    if random.random() < 0.5:
        one.buffer = two.buffer
    else:
        one.buffer, two.buffer = two.buffer, one.buffer


def _option(tree: Any, graph: Any, random: Random) -> None:
    """Another number in an operator's options."""
    having = [item for item in graph.operators if item.builtinOptions is not None]
    fields = [(item.builtinOptions, name) for item in having for name in vars(item.builtinOptions)]
    if fields:
        options, name = _pick(fields, random)
        old = getattr(options, name)
        odd: Any = random.choice(NUMBERS)
        if isinstance(old, (list, np.ndarray)) or name in ("newShape", "squeezeDims"):
            odd = random.choice((None, np.array([odd], np.int32), np.array([], np.int32)))
        elif isinstance(old, bool):
            odd = not old
        elif name.startswith(("fused", "padding", "inData", "outData", "weightsF", "mode", "comb")):
            odd = random.choice((0, 1, 2, 3, 4, 5, 6, 9, 17, 100, 127, -1, -128))
        setattr(options, name, odd)


def _other_options(tree: Any, graph: Any, random: Random) -> None:
    """No options, or those of another operator."""
    operator, other = _pick(graph.operators, random), _pick(graph.operators, random)
    kinds = [name for name in vars(schema) if name.endswith("OptionsT")]
    way = random.randrange(3)
    if way == 0:
        operator.builtinOptions, operator.builtinOptionsType = None, 0
    elif way == 1:
        operator.builtinOptions = copy.copy(other.builtinOptions)
        operator.builtinOptionsType = other.builtinOptionsType
    else:
        kind = random.choice(kinds)
        number = getattr(schema.BuiltinOptions, kind.removesuffix("T"), None)
        if number is not None:
            operator.builtinOptions = getattr(schema, kind)()
            operator.builtinOptionsType = number


def _kind(tree: Any, graph: Any, random: Random) -> None:
    """Another operator with the same inputs, or of another version, or a custom one."""
    operator = _pick(graph.operators, random)
    code = copy.copy(tree.operatorCodes[operator.opcodeIndex])
    way = random.randrange(5)
    if way == 0:
        code.version = random.choice((-1, 0, 2, 99, 2**31 - 1))
    elif way == 1:
        code.customCode = random.choice((b"Mystery", b"FlexAdd", b"", b"\xff\xfe\x1b[2J"))
        code.builtinCode = code.deprecatedBuiltinCode = 32
    else:
        number = random.choice((random.randrange(0, 210), random.choice(_MANY_NUMBERS)))
        code.builtinCode, code.deprecatedBuiltinCode = number, min(number, 127)
    tree.operatorCodes.append(code)
    operator.opcodeIndex = len(tree.operatorCodes) - 1


_MANY_NUMBERS = tuple(
    code for name, code in vars(schema.BuiltinOperator).items() if name.isupper() and code < 126
)


def _call(tree: Any, graph: Any, random: Random) -> None:
    """An operator that calls another subgraph than it did: itself, the caller or none."""
    places = [
        (item.builtinOptions, name)
        for own in tree.subgraphs
        for item in own.operators
        for name in vars(item.builtinOptions or object)
        if name.endswith("SubgraphIndex") or name == "subgraph"
    ]
    if places:
        options, name = _pick(places, random)
        setattr(options, name, random.choice((*range(len(tree.subgraphs)), -1, 99)))


def _interface(tree: Any, graph: Any, random: Random) -> None:
    side = random.choice(("inputs", "outputs"))
    known = list(flatbuffer.indices(getattr(graph, side)))
    other = random.randrange(len(graph.tensors))
    made = random.choice(([other], [*known, other], [*known, *known], known[1:], known[::-1]))
    setattr(graph, side, np.array(made, np.int32))


def _signature(tree: Any, graph: Any, random: Random) -> None:
    """A signature whose names, tensors or subgraph are odd."""
    made = schema.SignatureDefT()
    made.signatureKey = random.choice((b"serving_default", b"", None, b"\xff\x1b[2J"))
    made.subgraphIndex = random.choice((0, 0, 0, len(tree.subgraphs) - 1, 7))
    for side in ("inputs", "outputs"):
        entries = []
        for index in flatbuffer.indices(getattr(graph, side)):
            entry = schema.TensorMapT()
            entry.name = random.choice((b"a", b"b", b"", None, b"../../x", b"\xff", b"a" * 3000))
            entry.tensorIndex = random.choice((index, index, random.randrange(-1, 60)))
            entries.append(entry)
        setattr(made, side, random.choice((entries, entries, None, entries[1:], entries * 2)))
    tree.signatureDefs = random.choice(([made], [made], [made, *(tree.signatureDefs or [])]))


def _sparsity(tree: Any, graph: Any, random: Random) -> None:
    """Sparse weights that contradict themselves."""
    having = [item for item in graph.tensors if item.sparsity is not None]
    if not having:
        stored = [item for item in graph.tensors if flatbuffer.is_constant(tree, item)]
        if stored:
            donor = flatbuffer.parse(random.choice((sparse(), blocks())), "model")
            own = next(item for item in donor.subgraphs[0].tensors if item.sparsity is not None)
            _pick(stored, random).sparsity = own.sparsity
        return
    own = _pick(having, random).sparsity
    level = _pick(own.dimMetadata, random)
    way = random.randrange(7)
    if way == 0:
        level.denseSize = random.choice(SIZES)
    elif way == 1:
        level.format = random.choice((0, 1, 2, -1))
    elif way == 2 and level.arraySegments is not None:
        values = np.array(level.arraySegments.values, np.int64)
        values[random.randrange(len(values))] = random.choice(NUMBERS)
        level.arraySegments.values = values.clip(0, 255).astype(level.arraySegments.values.dtype)
    elif way == 3 and level.arrayIndices is not None:
        values = np.array(level.arrayIndices.values, np.int64)
        values[random.randrange(len(values))] = random.choice(NUMBERS)
        level.arrayIndices.values = values.clip(0, 255).astype(level.arrayIndices.values.dtype)
    elif way == 4:
        order = random.choice((None, [0], [1, 0], [0, 0, 1], []))
        own.traversalOrder = None if order is None else np.array(order, np.int32)
    elif way == 5:
        own.blockMap = random.choice((None, np.array([9], "i4"), np.array([0, 1], "i4")))
    else:
        own.dimMetadata = random.choice((own.dimMetadata[:1], own.dimMetadata * 2, []))


def _quantization(tree: Any, graph: Any, random: Random) -> None:
    made = schema.QuantizationParametersT()
    count = random.choice((0, 1, 1, 3, 4, 1000))
    made.scale = np.full(count, random.choice((1, 0, -1, np.nan, np.inf, 1e-45)), np.float32)
    made.zeroPoint = np.zeros(count, np.int64)
    made.quantizedDimension = random.choice((0, 0, 1, 7, -1))
    _pick(graph.tensors, random).quantization = made


def _variable(tree: Any, graph: Any, random: Random) -> None:
    tensor = _pick(graph.tensors, random)
    tensor.isVariable = not tensor.isVariable
    if random.random() < 0.5:
        tensor.buffer = 0


def _order(tree: Any, graph: Any, random: Random) -> None:
    random.shuffle(graph.operators)


def _repeat(tree: Any, graph: Any, random: Random) -> None:
    """A copy of an operator, with results of its own."""
    made = copy.copy(_pick(graph.operators, random))
    results = []
    for index in flatbuffer.indices(made.outputs):
        graph.tensors.append(copy.copy(graph.tensors[index]))
        results.append(len(graph.tensors) - 1)
    made.outputs = np.array(results, np.int32)
    graph.operators.append(made)
    if results and random.random() < 0.5:
        graph.outputs = np.array([*flatbuffer.indices(graph.outputs), *results], np.int32)


def _name(tree: Any, graph: Any, random: Random) -> None:
    names = (None, b"", b"\xff\xfe", b"a" * 3000, b"\x1b[2J", graph.tensors[0].name)
    _pick(graph.tensors, random).name = random.choice(names)


def _intermediates(tree: Any, graph: Any, random: Random) -> None:
    count = random.choice((0, 1, 4, 5, 9))
    ends = [random.randrange(-1, len(graph.tensors)) for _ in range(count)]
    _pick(graph.operators, random).intermediates = np.array(ends, np.int32)


FAULTS: tuple[Fault, ...] = (
    _flip_end, _flip_end, _count_ends, _count_ends, _shape, _shape, _shape, _rearrange, _dtype,
    _values, _values, _values, _bytes, _share, _option, _option, _other_options, _kind, _kind,
    _call, _interface, _signature, _sparsity, _quantization, _variable, _order, _repeat, _name,
    _intermediates,
)  # fmt: skip
