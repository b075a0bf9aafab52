"""Running a flatbuffer one operator at a time, over a group of samples at once.

Each operator becomes a separate model, so the real kernels do the work, and between two of them the
caller may look at every tensor, or change the weights of the next operator. A tensor is kept until
its last reader has run.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from edgeq.tflite import flatbuffer, quantmath

Array = NDArray[Any]


class Stepper:
    """The main subgraph of a model, stopped before an operator.

    Args:
        tree: the model; its constants are read when their operator runs.
        inputs: input name to [samples, ...] with the tensor's own shape, in real units.
        threads: per operator.

    Attributes:
        position: of the operator that runs next.
        values: tensor index to [samples, ...] with the tensor's own shape and dtype, of tensors
            that a later operator reads.
    """

    def __init__(self, tree: Any, inputs: Mapping[str, Array], threads: int = 1):
        self.tree, self.graph, self._threads = tree, tree.subgraphs[0], threads
        self.position, self.values = 0, dict[int, Array]()
        operators = self.graph.operators
        # Tensor index to the position of the operator that reads it last; outputs are kept.
        self._last = {
            index: position
            for position, operator in enumerate(operators)
            for index in flatbuffer.indices(operator.inputs)
        }
        self._last |= dict.fromkeys(flatbuffer.indices(self.graph.outputs), len(operators))
        specs, _ = flatbuffer.interface(tree)
        for index, spec in zip(flatbuffer.indices(self.graph.inputs), specs, strict=True):
            self.values[index] = quantmath.quantize(inputs[spec.name], spec)
        self.count = len(next(iter(self.values.values())))

    @property
    def is_finished(self) -> bool:
        """Whether all operators have run."""
        return self.position == len(self.graph.operators)

    def step(self) -> None:
        """Run one operator on every sample.

        Raises:
            RuntimeError, ValueError: the interpreter refused it.
        """
        operator = self.graph.operators[self.position]
        returned = flatbuffer.indices(operator.outputs)
        results = run_operators(
            self.tree, [operator], returned, self.values, self.count, self._threads
        )
        self.values.update(results)
        for index in {*flatbuffer.indices(operator.inputs), *results}:
            if self._last.get(index, -1) <= self.position:
                self.values.pop(index, None)
        self.position += 1

    def run_to(self, position: int) -> None:
        """Run the operators before `position`."""
        while self.position < position:
            self.step()

    def real(self, index: int) -> NDArray[np.float32]:
        """The values of a tensor in real units, [samples, ...]."""
        spec = flatbuffer.tensor_spec(self.graph.tensors[index], "")
        return np.asarray(quantmath.dequantize(self.values[index], spec), np.float32)


def run_operators(
    tree: Any,
    operators: Sequence[Any],
    returned: Sequence[int],
    values: Mapping[int, Array],
    count: int,
    threads: int = 1,
) -> dict[int, Array]:
    """Run some operators alone, one after the other.

    Args:
        returned: tensors that they compute.
        values: index of each tensor that they read and do not compute, to [count, ...].

    Returns:
        Index of each returned tensor to [count, ...].
    """
    content, inputs = isolate(tree, operators, returned)
    tensors = tree.subgraphs[0].tensors
    has_state = any(
        index >= 0 and tensors[index].isVariable
        for operator in operators
        for index in flatbuffer.indices(operator.inputs)
    )
    interpreter = Interpreter(model_content=content, num_threads=threads)
    own_inputs = [detail["index"] for detail in interpreter.get_input_details()]
    own_outputs = [detail["index"] for detail in interpreter.get_output_details()]
    for own, index in zip(own_inputs, inputs, strict=True):
        interpreter.resize_tensor_input(own, values[index].shape[1:])
    interpreter.allocate_tensors()
    results: dict[int, Array] = {}
    for number in range(count):
        for own, index in zip(own_inputs, inputs, strict=True):
            interpreter.set_tensor(own, values[index][number])
        if has_state:
            interpreter.reset_all_variables()  # no sample depends on the previous one
        interpreter.invoke()
        for own, index in zip(own_outputs, returned, strict=True):
            view = interpreter.tensor(own)()
            if number == 0:
                results[index] = np.empty((count, *view.shape), view.dtype)
            results[index][number] = view
            del view  # the interpreter refuses to run while one is alive
    return results


def isolate(
    tree: Any, operators: Sequence[Any], returned: Sequence[int]
) -> tuple[bytes, tuple[int, ...]]:
    """Some operators as a separate model.

    Args:
        returned: tensors that they compute; the new model's outputs.

    Returns:
        The flatbuffer, and the tensors of the whole model that are its inputs.
    """
    kit, graph = flatbuffer.schema(), tree.subgraphs[0]
    alone, own = kit.ModelT(), kit.SubGraphT()
    alone.version, alone.buffers, alone.operatorCodes = 3, [kit.BufferT()], tree.operatorCodes
    alone.subgraphs = [own]
    own.tensors, own.operators = [], []
    place: dict[int, int] = {-1: -1}
    made: set[int] = set()
    computed: dict[int, None] = {}
    for operator in operators:
        inputs, outputs = flatbuffer.indices(operator.inputs), flatbuffer.indices(operator.outputs)
        between = flatbuffer.indices(operator.intermediates)  # scales inside of a fused LSTM
        for index in (*inputs, *outputs, *between):
            if index not in place:
                place[index] = len(own.tensors)
                tensor = copy.copy(graph.tensors[index])
                own.tensors.append(tensor)
                if flatbuffer.is_constant(tree, tensor):
                    alone.buffers.append(tree.buffers[tensor.buffer])
                    tensor.buffer = len(alone.buffers) - 1
                else:
                    tensor.buffer = 0
        for index in inputs:
            tensor = graph.tensors[index]
            is_empty = 0 in flatbuffer.indices(tensor.shape)  # such as the shape of a scalar
            is_fed = index >= 0 and not tensor.isVariable and not is_empty
            if is_fed and index not in made and not flatbuffer.is_constant(tree, tensor):
                computed[index] = None
        made.update(outputs)
        moved = copy.copy(operator)
        moved.inputs = np.array([place[index] for index in inputs], np.int32)
        moved.outputs = np.array([place[index] for index in outputs], np.int32)
        if between:
            moved.intermediates = np.array([place[index] for index in between], np.int32)
        own.operators.append(moved)
    own.inputs = np.array([place[index] for index in computed], np.int32)
    own.outputs = np.array([place[index] for index in returned], np.int32)
    return flatbuffer.serialize(alone), tuple(computed)
