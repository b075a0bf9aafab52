"""Writes the fused LSTM in float, and with INT8 weights and activations and an INT16 cell."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.kernels.cases import Case
from edgeq.tflite import flatbuffer, lstm, quantmath
from edgeq.tflite.versions import needed_version
from edgeq.values import TensorSpec

CELLS = 6
_CELL_STEP = 2.0**-12  # covers -8 to 8
_TANH = 4


def model(
    case: Case, given: TensorSpec | None, result: TensorSpec, shape: tuple[int, ...]
) -> tuple[Any, int]:
    """The tree, and the operator's version.

    Args:
        case: its one operand is the input, [batch, steps, inputs].
        given: the input's INT8 parameters; None for the float model.
        result: the result's.
        shape: the result's.
    """
    kit, generator = flatbuffer.schema(), np.random.default_rng(0)
    tree, graph = kit.ModelT(), kit.SubGraphT()
    tree.version, tree.operatorCodes, tree.buffers = 3, [], [kit.BufferT()]
    tree.subgraphs, graph.tensors, graph.operators = [graph], [], []
    data = case.values[0]
    assert data is not None

    def add(name: str, shape: tuple[int, ...], spec: TensorSpec, stored: Any = None) -> int:
        buffer = 0 if stored is None else flatbuffer.add_buffer(tree, stored)
        index = flatbuffer.add_tensor(graph, name, shape, spec.dtype, buffer)
        if spec.scales:
            made = graph.tensors[index].quantization = kit.QuantizationParametersT()
            made.scale = np.array(spec.scales, np.float32)
            made.zeroPoint = np.array(spec.zero_points, np.int64)
        return index

    def matrix(name: str, width: int) -> tuple[int, float]:
        values = generator.normal(0, 0.5, (CELLS, width)).astype(np.float32)
        if given is None:
            return add(name, values.shape, _FLOAT, values), 1.0
        stored, scales = quantmath.quantize_weights(values, None)
        spec = TensorSpec("", (), "int8", (float(scales[0]),), (0,))
        return add(name, values.shape, spec, stored), spec.scales[0]

    def bias(name: str, scale: float) -> int:
        values: NDArray[Any] = generator.normal(0, 0.3, CELLS).astype(np.float32)
        if given is None:
            return add(name, values.shape, _FLOAT, values)
        step = given.scales[0] * scale
        stored = np.rint(values / step).astype(np.int32)
        return add(name, values.shape, TensorSpec("", (), "int32", (step,), (0,)), stored)

    inputs = [-1] * lstm.INPUTS
    inputs[0] = add("in0", data.shape, given or _FLOAT)
    weights = [matrix(f"weights{gate}", data.shape[2]) for gate in range(4)]
    inputs[1:5] = [index for index, _ in weights]
    inputs[5:9] = [matrix(f"recurrent{gate}", CELLS)[0] for gate in range(4)]
    inputs[12:16] = [bias(f"bias{gate}", weights[gate][1]) for gate in range(4)]
    inputs[18] = add("hidden", (data.shape[0], CELLS), result)
    cell = _FLOAT if given is None else TensorSpec("", (), "int16", (_CELL_STEP,), (0,))
    inputs[19] = add("cell", (data.shape[0], CELLS), cell)
    for index in inputs[18:20]:
        graph.tensors[index].isVariable = True
    output = add("out0", shape, result)
    options = kit.UnidirectionalSequenceLSTMOptionsT()
    options.fusedActivationFunction = _TANH
    made = flatbuffer.make_operator(tree, lstm.NAME, inputs, [output], options=options)
    if given is not None:  # of the intermediates, only the last one's scale counts here
        between = [add(f"between{n}", (0,), result) for n in range(5)]
        made.intermediates = np.array(between, np.int32)
    graph.operators.append(made)
    graph.inputs, graph.outputs = np.array([inputs[0]], "i4"), np.array([output], "i4")
    version = tree.operatorCodes[0].version = needed_version(tree, graph, made)
    return tree, version


_FLOAT = TensorSpec("", (), "float32")
