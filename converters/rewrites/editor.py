"""Changes of one subgraph's operators and tensors, with a view of who computes and reads what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.converters.rewrites.soundness import READABLE, require_sound
from edgeq.tflite import flatbuffer

# Operators that do something beside computing their results.
ACTING = {"ASSIGN_VARIABLE", "CALL", "CALL_ONCE", "HASHTABLE_IMPORT", "IF", "VAR_HANDLE",
          "WHILE"}  # fmt: skip


class Editor:
    """One subgraph of a parsed model.

    Tensors are named by their index, operators are the schema's `OperatorT`. All changes of
    operators' inputs go through the editor, so that `producer` and `readers` stay right.

    Args:
        tree: the schema's `ModelT`; changed in place.
        number: of the subgraph.

    Raises:
        SourceError: it is damaged, see `require_sound`.
    """

    def __init__(self, tree: Any, number: int = 0) -> None:
        self.tree, self.number, self.graph = tree, number, tree.subgraphs[number]
        self.operators: list[Any] = list(self.graph.operators)
        self.graph.operators = self.operators
        self.model_inputs = set(flatbuffer.indices(self.graph.inputs))
        self.model_outputs = set(flatbuffer.indices(self.graph.outputs))
        for signature in tree.signatureDefs or ():
            if signature.subgraphIndex == number:
                entries = signature.outputs or ()
                self.model_outputs |= {int(entry.tensorIndex) for entry in entries}
        self._names = {flatbuffer.text(tensor.name) for tensor in self.graph.tensors}
        self._producers: dict[int, Any] = {}
        self._readers: dict[int, list[Any]] = {}
        require_sound(tree, self.graph)
        for operator in self.operators:
            self._register(operator)

    def _register(self, operator: Any) -> None:
        for index in self.outputs(operator):
            if index >= 0:
                self._producers[index] = operator
        for index in self.inputs(operator):
            self._readers.setdefault(index, []).append(operator)

    # ------------------------------------------------------------ operators

    def kind(self, operator: Any) -> str:
        """The operator's name, e.g. "CONV_2D"; "" for None, so that `kind(producer(x))` works."""
        return "" if operator is None else flatbuffer.operator_name(self.tree, operator)

    def inputs(self, operator: Any) -> tuple[int, ...]:
        """Tensors that it reads; -1 for an absent one."""
        return flatbuffer.indices(operator.inputs)

    def outputs(self, operator: Any) -> tuple[int, ...]:
        """Tensors that it computes."""
        return flatbuffer.indices(operator.outputs)

    def activation(self, operator: Any) -> int:
        """Code of its fused activation; 0 if it has none."""
        return int(getattr(operator.builtinOptions, "fusedActivationFunction", 0) or 0)

    def of_kind(self, *kinds: str) -> list[Any]:
        """The operators of some kinds, in execution order; the list may be walked while editing."""
        return [operator for operator in self.operators if self.kind(operator) in kinds]

    def producer(self, index: int) -> Any | None:
        """The operator that computes a tensor; None for constants, inputs and variables."""
        return self._producers.get(index)

    def readers(self, index: int) -> list[Any]:
        """The operators that read a tensor, one that reads it twice twice."""
        return list(self._readers.get(index, ()))

    def only_reader(self, index: int) -> Any | None:
        """The operator that alone reads a tensor, which is not an output of the model."""
        found = self._readers.get(index, ())
        return found[0] if len(found) == 1 and index not in self.model_outputs else None

    # ------------------------------------------------------------ tensors

    def tensor(self, index: int) -> Any:
        """The schema's `TensorT`."""
        return self.graph.tensors[index]

    def tensor_name(self, index: int) -> str:
        """Its name."""
        return flatbuffer.tensor_name(self.graph, index)

    def dtype(self, index: int) -> str:
        """Its dtype, numpy's name; "" for an absent tensor."""
        return "" if index < 0 else flatbuffer.dtype(self.graph.tensors[index])

    def shape(self, index: int) -> tuple[int, ...] | None:
        """Its shape; None if a size is dynamic, the file does not state it, or it is absent."""
        if index < 0:
            return None
        tensor = self.graph.tensors[index]
        shape = flatbuffer.indices(tensor.shape)
        if min((*flatbuffer.indices(tensor.shapeSignature), *shape), default=0) < 0:
            return None
        is_stored = flatbuffer.is_constant(self.tree, tensor)
        return shape if shape or tensor.hasRank or is_stored else None

    def value(self, index: int) -> NDArray[Any] | None:
        """The values of a constant, in its shape and dtype (read-only); None for other tensors."""
        if index < 0 or index in self._producers or index in self.model_inputs:
            return None
        tensor, shape = self.graph.tensors[index], self.shape(index)
        if tensor.isVariable or tensor.sparsity is not None or shape is None:
            return None
        dtype = flatbuffer.dtype(tensor)
        if dtype not in READABLE:
            return None
        data = self.tree.buffers[tensor.buffer].data
        raw = np.asarray([] if data is None else data, np.uint8)
        if raw.size != np.prod(shape, dtype=np.float64) * np.dtype(dtype).itemsize:
            return None  # a computed tensor, or damaged: the interpreter will report it
        return raw.view(dtype).reshape(shape)

    def scalar(self, index: int) -> float | None:
        """The value that all elements of a constant have; None for other tensors."""
        values = self.value(index)
        if values is None or not values.size or (values != values.flat[0]).any():
            return None
        return float(values.flat[0])

    # ------------------------------------------------------------ changes

    def fresh_name(self, stem: str) -> str:
        """A name that no tensor has."""
        name, number = stem, 1
        while name in self._names:
            name, number = f"{stem}_{number}", number + 1
        self._names.add(name)
        return name

    def new_tensor(self, stem: str, shape: Sequence[int], dtype: str) -> int:
        """Index of a new computed tensor, with a name that begins with `stem`."""
        index = flatbuffer.add_tensor(self.graph, self.fresh_name(stem), shape, dtype)
        self.graph.tensors[index].hasRank = True
        return index

    def new_like(self, index: int, stem: str | None = None) -> int:
        """Index of a new computed tensor with the shape (even dynamic) and dtype of another one."""
        old = self.graph.tensors[index]
        made = self.new_tensor(stem or self.tensor_name(index), (), self.dtype(index))
        tensor = self.graph.tensors[made]
        tensor.shape, tensor.shapeSignature = old.shape, old.shapeSignature
        tensor.hasRank = old.hasRank
        return made

    def new_constant(self, stem: str, values: NDArray[Any]) -> int:
        """Index of a new constant."""
        return flatbuffer.add_constant(self.tree, self.graph, self.fresh_name(stem), values)

    def insert(
        self,
        before: Any,
        kind: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        *,
        options: Any = None,
        version: int = 1,
    ) -> Any:
        """Put a new operator before another one; its outputs are new tensors.

        Args:
            before: an operator of the subgraph, or None for the end.
            options: the schema's, e.g. `schema().AddOptionsT()`.
        """
        operator = flatbuffer.make_operator(
            self.tree, kind, inputs, outputs, version=version, options=options
        )
        self.put(before, operator)
        return operator

    def put(self, before: Any, operator: Any) -> None:
        """Put an operator of the schema before another one; `insert` makes one first."""
        place = len(self.operators) if before is None else self.operators.index(before)
        self.operators.insert(place, operator)
        self._register(operator)

    def set_inputs(self, operator: Any, inputs: Sequence[int]) -> None:
        """Let an operator read other tensors."""
        for index in self.inputs(operator):
            self._readers[index].remove(operator)
        operator.inputs = np.array(inputs, np.int32)
        for index in self.inputs(operator):
            self._readers.setdefault(index, []).append(operator)

    def replace_input(self, operator: Any, old: int, new: int) -> None:
        """Let one operator read another tensor wherever it reads the old one."""
        inputs = self.inputs(operator)
        self.set_inputs(operator, [new if index == old else index for index in inputs])

    def replace(self, old: int, new: int) -> bool:
        """Let everything that reads a tensor read another one, which is computed before.

        If `old` is an output of the model, it stays one under its name: the operator that computes
        `new` then writes it. `old` and `new` have the same dtype and shape.

        Returns:
            False, and nothing is changed, if `old` is an output and `new` an input, a constant or
            another output.
        """
        is_output = old in self.model_outputs
        source = self.producer(new)
        if old == new or (is_output and (source is None or new in self.model_outputs)):
            return False
        self._move_readers(old, new)
        if is_output:
            self._move_readers(new, old)
            former = self._producers.pop(old, None)
            if former is not None:  # nobody reads what it computes: `clean` removes it
                unread = self.new_like(old)
                self.move_output(former, old, unread)
            self._producers.pop(new)
            self.move_output(source, new, old)
        return True

    def _move_readers(self, old: int, new: int) -> None:
        for operator in dict.fromkeys(self.readers(old)):
            self.replace_input(operator, old, new)

    def move_output(self, operator: Any, old: int, new: int) -> None:
        """Let an operator compute another tensor, which nothing else computes."""
        outputs = [new if index == old else index for index in self.outputs(operator)]
        operator.outputs = np.array(outputs, np.int32)
        self._producers[new] = operator

    def remove(self, operator: Any) -> None:
        """Take an operator out, whose results nobody reads."""
        self.operators.remove(operator)
        for index in self.inputs(operator):
            self._readers[index].remove(operator)
        for index in self.outputs(operator):
            self._producers.pop(index, None)

    def remove_unread(self) -> None:
        """Remove the operators whose results nobody reads, and those that only they read."""
        for operator in reversed(list(self.operators)):
            if self.kind(operator) not in ACTING and not any(
                self._readers.get(index) or index in self.model_outputs
                for index in self.outputs(operator)
            ):
                self.remove(operator)
