"""The quantized graph on its way: tensors in the forms in which operators read and make them."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from edgeq.converters.writer.integers import Stored
from edgeq.converters.writer.parameters import (
    REAL,
    Affine,
    as_int8,
    as_uint8,
    set_parameters,
    set_scales,
)
from edgeq.tflite import flatbuffer, kernels, quantmath


class Rebuilding:
    """A copy of a float model's main subgraph that becomes the quantized one.

    A tensor keeps its number for the form in which it is made. Other forms are new tensors, with a
    QUANTIZE or DEQUANTIZE before their first reader.
    """

    def __init__(self, source: Any):
        self.tree = copy.copy(source)
        self.tree.buffers = list(source.buffers)
        self.tree.operatorCodes = list(source.operatorCodes)
        self.tree.metadata = [copy.copy(entry) for entry in source.metadata or ()]
        self.graph = copy.copy(source.subgraphs[0])
        self.tree.subgraphs = [self.graph, *source.subgraphs[1:]]
        self.graph.tensors = [copy.copy(tensor) for tensor in self.graph.tensors]
        self.graph.operators = []
        for tensor in self.graph.tensors:
            tensor.quantization = None
        self._made: dict[int, Affine] = {}
        self._forms: dict[tuple[int, Affine], int] = {}
        self._constants: dict[tuple[object, ...], int] = {}

    def make(self, index: int, form: Affine) -> None:
        """Fix the form in which a tensor is made: by the operator that comes next, or as input."""
        set_parameters(self.graph.tensors[index], form)
        self._made[index] = form
        self._forms[index, form] = index

    def read(self, index: int, form: Affine) -> int:
        """The number of a tensor in a form; converts it before the next operator if necessary."""
        found = self._forms.get((index, form))
        if found is not None:
            return found
        made = self._made[index]
        # Kernels convert between UINT8 and INT8 of the same scale only.
        if made.dtype == "uint8" and as_uint8(form) != made:
            made = as_int8(made)
        elif form.dtype == "uint8" and made.dtype != "float32":
            made = as_int8(form)
        source = self.read(index, made)
        suffix = "float" if form == REAL else form.dtype
        target = self._copy(index, f"{flatbuffer.tensor_name(self.graph, index)}_{suffix}", form)
        self._convert(source, target)
        self._forms[index, form] = target
        return target

    def finish(self, index: int, form: Affine) -> int:
        """A tensor in the form in which the model returns it, with the name of the output."""
        made = self.read(index, form)
        if made != index:
            name = self.graph.tensors[index].name
            self.graph.tensors[index].name = self.graph.tensors[made].name
            self.graph.tensors[made].name = name
        return made

    def constant(self, index: int, stored: Stored, key: tuple[object, ...]) -> int:
        """The number of a stored tensor as integers.

        Args:
            index: of the float constant.
            stored: the integers.
            key: equal for equal integers of this tensor, so that these are stored once.
        """
        key = (index, *key)
        if key not in self._constants:
            is_first = not any(known[0] == index for known in self._constants)
            name = flatbuffer.tensor_name(self.graph, index)
            own = self._copy(index, name if is_first else f"{name}_{len(self._constants)}", REAL)
            put_constant(self.tree, self.graph.tensors[own], stored)
            self._constants[key] = own
        return self._constants[key]

    def _copy(self, index: int, name: str, form: Affine) -> int:
        tensor = copy.copy(self.graph.tensors[index])
        tensor.name, tensor.buffer, tensor.isVariable = name.encode(), 0, False
        set_parameters(tensor, form)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def _convert(self, source: int, target: int) -> None:
        before, after = (flatbuffer.dtype(self.graph.tensors[i]) for i in (source, target))
        name = "DEQUANTIZE" if after == "float32" else "QUANTIZE"
        number = kernels.version(name, before if name == "DEQUANTIZE" else after)
        made = flatbuffer.make_operator(self.tree, name, [source], [target], version=number)
        self.graph.operators.append(made)


def put_constant(tree: Any, tensor: Any, stored: Stored) -> None:
    """Give a schema tensor integers in a new buffer, with their dtype and scales."""
    values = quantmath.pack_int4(stored.values) if stored.dtype == "int4" else stored.values
    tensor.type = flatbuffer.dtype_code(stored.dtype)
    tensor.buffer = flatbuffer.add_buffer(tree, values)
    zeros = np.full(len(stored.scales), stored.zero_point, np.int64)
    set_scales(tensor, stored.scales, zeros, stored.axis)
