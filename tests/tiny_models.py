"""TensorFlow Lite models of one or two operators, built by hand: bytes, in microseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

FLOAT, INT8, BOOL = schema.TensorType.FLOAT32, schema.TensorType.INT8, schema.TensorType.BOOL
INT16 = schema.TensorType.INT16
Operator = schema.BuiltinOperator


def tensor(
    name: str,
    shape: Sequence[int],
    dtype: int = FLOAT,
    *,
    buffer: int = 0,
    scale: float | None = None,
) -> Any:
    """A tensor; -1 is a dynamic dimension, and a scale makes it quantized with zero point 0."""
    made = schema.TensorT()
    made.name, made.type, made.buffer = name, dtype, buffer
    made.shape = [max(size, 1) for size in shape]
    if -1 in shape:
        made.shapeSignature = list(shape)
    if scale is not None:
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale, made.quantization.zeroPoint = [scale], [0]
    return made


def operator(kind: int, inputs: Sequence[int], outputs: Sequence[int], options: Any = None) -> Any:
    """An operator of the code at position `kind`."""
    made = schema.OperatorT()
    made.opcodeIndex, made.inputs, made.outputs = kind, list(inputs), list(outputs)
    if options is not None:
        kind_name = type(options).__name__.removesuffix("T")
        made.builtinOptionsType = getattr(schema.BuiltinOptions, kind_name)
        made.builtinOptions = options
    return made


def graph(
    tensors: Sequence[Any], inputs: Sequence[int], outputs: Sequence[int], operators: Sequence[Any]
) -> Any:
    """A subgraph."""
    made = schema.SubGraphT()
    made.tensors, made.operators = list(tensors), list(operators)
    made.inputs, made.outputs = list(inputs), list(outputs)
    return made


def model(
    graphs: Sequence[Any],
    codes: Sequence[tuple[int, int] | str],
    constants: Sequence[np.ndarray] = (),
    signature: tuple[Mapping[str, int], Mapping[str, int]] | None = None,
) -> bytes:
    """The file.

    Args:
        codes: (builtin operator, version), or the name of a custom operator.
        constants: of buffers 1, 2...; buffer 0 is the empty one.
        signature: input and output names to tensors of the main subgraph.
    """
    made = schema.ModelT()
    made.version, made.subgraphs = 3, list(graphs)
    made.operatorCodes, made.buffers = [], [schema.BufferT()]
    for code in codes:
        entry = schema.OperatorCodeT()
        if isinstance(code, str):
            entry.builtinCode, entry.customCode = Operator.CUSTOM, code
        else:
            entry.builtinCode, entry.version = code
        entry.deprecatedBuiltinCode = min(entry.builtinCode, 127)
        made.operatorCodes.append(entry)
    for values in constants:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        made.buffers.append(buffer)
    if signature is not None:
        made.signatureDefs = [_signature(*signature)]
    builder = flatbuffers.Builder(1024)
    builder.Finish(made.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _signature(inputs: Mapping[str, int], outputs: Mapping[str, int]) -> Any:
    made = schema.SignatureDefT()
    made.signatureKey, made.subgraphIndex = "serving_default", 0
    for side, names in (("inputs", inputs), ("outputs", outputs)):
        entries = []
        for name, index in names.items():
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = name, index
            entries.append(entry)
        setattr(made, side, entries)
    return made


def add_one(batch: int = 1, version: int = 1) -> bytes:
    """`y = x + 1`, float, [batch, 3], no signature."""
    tensors = [tensor("x", [batch, 3]), tensor("one", [1], buffer=1), tensor("y", [batch, 3])]
    main = graph(tensors, [0], [2], [operator(0, [0, 1], [2], schema.AddOptionsT())])
    return model([main], [(Operator.ADD, version)], [np.ones(1, np.float32)])


def dense(weights_dtype: str, last_weight: float | None = None) -> bytes:
    """Two dense layers, [1, 8, 8] to 64 values to 8; their "float16" weights are unpacked first."""
    generator = np.random.default_rng(0)
    constants = [
        generator.normal(size=shape).astype(weights_dtype) for shape in ((64, 64), (8, 64))
    ]
    if last_weight is not None:
        constants[1][-1, -1] = last_weight
    dtype = schema.TensorType.FLOAT16 if weights_dtype == "float16" else FLOAT
    tensors = [
        tensor("x", [1, 8, 8]), tensor("y", [1, 8]),
        tensor("one/weights", [64, 64], dtype, buffer=1),
        tensor("two/weights", [8, 64], dtype, buffer=2),
        tensor("flat/shape", [2], schema.TensorType.INT32, buffer=3),
        tensor("flat", [1, 64]), tensor("one", [1, 64]),
        tensor("one/unpacked", [64, 64]), tensor("two/unpacked", [8, 64]),
    ]  # fmt: skip
    unpacked = (7, 8) if weights_dtype == "float16" else (2, 3)
    unpacking = [operator(0, [2], [7]), operator(0, [3], [8])]
    options = schema.FullyConnectedOptionsT
    operators = [
        *(unpacking if weights_dtype == "float16" else []),
        operator(1, [0, 4], [5], schema.ReshapeOptionsT()),
        operator(2, [5, unpacked[0], -1], [6], options()),
        operator(2, [6, unpacked[1], -1], [1], options()),
    ]  # fmt: skip
    codes = [(Operator.DEQUANTIZE, 1), (Operator.RESHAPE, 1), (Operator.FULLY_CONNECTED, 1)]
    reshape = np.array([1, 64], np.int32)
    return model([graph(tensors, [0], [1], operators)], codes, [*constants, reshape])


def fused_lstm(
    *,
    cells: int = 2,
    batch: int = 1,
    time_major: bool = False,
    coupled: bool = False,
    peepholes: bool = False,
    projected: int = 0,
    normalized: bool = False,
    gain: float = 1.0,
) -> bytes:
    """A float UNIDIRECTIONAL_SEQUENCE_LSTM with its state, [batch, 4, 3] to [batch, 4, cells].

    Args:
        time_major: steps come before the batch.
        coupled: the input gate is 1 - the forget gate.
        projected: size of the projected result, 0 for none.
        normalized: with layer normalization.
        gain: of all weights but those of the normalization.
    """
    generator, size = np.random.default_rng(0), projected or cells
    tensors: list[Any] = []
    constants: list[np.ndarray] = []

    def stored(name: str, *shape: int, is_there: bool = True, middle: float = 0.0) -> int:
        if not is_there:
            return -1
        values = generator.normal(middle, gain if middle == 0 else 0.3, size=shape)
        constants.append(values.astype(np.float32))
        tensors.append(tensor(f"{name}-{len(tensors)}", shape, buffer=len(constants)))
        return len(tensors) - 1

    def computed(name: str, *shape: int) -> int:
        tensors.append(tensor(name, shape))
        return len(tensors) - 1

    gates = (not coupled, True, True, True)
    inputs = [
        *(stored("weights", cells, 3, is_there=gate) for gate in gates),
        *(stored("weights", cells, size, is_there=gate) for gate in gates),
        *(stored("peephole", cells, is_there=peepholes and gates[n]) for n in (0, 1, 3)),
        *(stored("bias", cells, is_there=gate) for gate in gates),
        stored("projection", size, cells, is_there=projected > 0),
        stored("projection-bias", size, is_there=projected > 0),
    ]
    norms = [stored("norm", cells, is_there=normalized and gate, middle=1.0) for gate in gates]
    first = (4, batch) if time_major else (batch, 4)
    x, y = computed("x", *first, 3), computed("y", *first, size)
    states = [computed("output state", batch, size), computed("cell state", batch, cells)]
    for index in states:
        tensors[index].isVariable = True
    options = schema.UnidirectionalSequenceLSTMOptionsT()
    options.fusedActivationFunction = schema.ActivationFunctionType.TANH
    options.timeMajor = time_major
    made = operator(0, [x, *inputs, *states, *norms], [y], options)
    main = graph(tensors, [x], [y], [made])
    return model([main], [(Operator.UNIDIRECTIONAL_SEQUENCE_LSTM, 1)], constants)


def subtract() -> bytes:
    """`difference = minuend - subtrahend`, float [1, 2]; the subgraph lists the subtrahend first,
    and the signature's names are not the tensors'."""
    tensors = [tensor("a", [1, 2]), tensor("b", [1, 2]), tensor("c", [1, 2])]
    main = graph(tensors, [1, 0], [2], [operator(0, [0, 1], [2], schema.SubOptionsT())])
    names = {"subtrahend": 1, "minuend": 0}, {"difference": 2}
    return model([main], [(Operator.SUB, 1)], signature=names)


def double_int8() -> bytes:
    """`y = x + x`, INT8 [1, 4]: scale 0.5 in and 1.0 out, so the integers stay what they are."""
    tensors = [tensor("x", [1, 4], INT8, scale=0.5), tensor("y", [1, 4], INT8, scale=1.0)]
    main = graph(tensors, [0], [1], [operator(0, [0, 0], [1], schema.AddOptionsT())])
    return model([main], [(Operator.ADD, 2)])


def rows() -> bytes:
    """A [1, 6] input as an output of shape [3, 2]: no batch dimension, as detectors have it."""
    tensors = [tensor("x", [1, 6]), tensor("shape", [2], schema.TensorType.INT32, buffer=1),
               tensor("y", [3, 2])]  # fmt: skip
    main = graph(tensors, [0], [2], [operator(0, [0, 1], [2], schema.ReshapeOptionsT())])
    return model([main], [(Operator.RESHAPE, 1)], [np.array([3, 2], np.int32)])


def mystery() -> bytes:
    """A custom operator that no runtime knows."""
    main = graph([tensor("x", [1]), tensor("y", [1])], [0], [1], [operator(0, [0], [1])])
    return model([main], ["Mystery"])


def endless() -> bytes:
    """`while True: pass`: an inference that never ends."""
    options = schema.WhileOptionsT()
    options.condSubgraphIndex, options.bodySubgraphIndex = 1, 2
    main = graph([tensor("x", [1]), tensor("y", [1])], [0], [1], [operator(0, [0], [1], options)])
    # x <= x, so that nothing about it is known beforehand
    always = graph([tensor("x", [1]), tensor("go", [1], BOOL)], [0], [1],
                   [operator(1, [0, 0], [1], schema.LessEqualOptionsT())])  # fmt: skip
    body = graph([tensor("x", [1]), tensor("z", [1])], [0], [1],
                 [operator(2, [0, 0], [1], schema.MaximumMinimumOptionsT())])  # fmt: skip
    codes = [(Operator.WHILE, 1), (Operator.LESS_EQUAL, 1), (Operator.MAXIMUM, 1)]
    return model([main, always, body], codes)


def bottomless() -> bytes:
    """An IF whose branches hold the same IF: preparing it overflows the native stack."""
    tensors = [tensor("c", [1], BOOL, buffer=1), tensor("x", [1]), tensor("y", [1])]
    options = schema.IfOptionsT()
    options.thenSubgraphIndex = options.elseSubgraphIndex = 1
    calls = [operator(0, [0, 1], [2], options)]
    graphs = [graph(tensors, [1], [2], calls) for _ in range(2)]
    return model(graphs, [(Operator.IF, 1)], [np.ones(1, np.bool_)])


def passing(shape_in: tuple[int, ...], shape_out: tuple[int, ...], scale: float | None) -> bytes:
    """A model whose output has the values of its input, in INT8 if there is a scale."""
    dtype = FLOAT if scale is None else INT8
    tensors = [
        tensor("x", shape_in, dtype, scale=scale),
        tensor("shape", [len(shape_out)], schema.TensorType.INT32, buffer=1),
        tensor("y", shape_out, dtype, scale=scale),
    ]
    main = graph(tensors, [0], [2], [operator(0, [0, 1], [2], schema.ReshapeOptionsT())])
    names = ({"x": 0}, {"y": 2})
    return model([main], [(Operator.RESHAPE, 1)], [np.array(shape_out, np.int32)], names)
