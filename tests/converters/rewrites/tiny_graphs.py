"""Float models of a few operators, built by hand, and their results in the interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from edgeq.tflite import flatbuffer

schema = flatbuffer.schema()


class Builder:
    """A model that grows operator by operator; tensors are indices."""

    def __init__(self) -> None:
        self.tree = schema.ModelT()
        self.tree.version, self.tree.operatorCodes = 3, []
        self.tree.buffers, self.tree.subgraphs = [schema.BufferT()], []
        self.graph = self.subgraph()

    def subgraph(self) -> Any:
        """Start another subgraph, into which the following tensors and operators go."""
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators, self.graph.inputs = [], [], []
        self.tree.subgraphs.append(self.graph)
        return self.graph

    def input(self, shape: Sequence[int], dtype: str = "float32", name: str = "x") -> int:
        index = flatbuffer.add_tensor(self.graph, name, [abs(size) for size in shape], dtype)
        if min(shape, default=0) < 0:
            self.graph.tensors[index].shapeSignature = np.array(shape, np.int32)
        self.graph.tensors[index].hasRank = True
        self.graph.inputs.append(index)
        return index

    def constant(self, values: Any, dtype: str = "float32") -> int:
        name = f"constant{len(self.graph.tensors)}"
        return flatbuffer.add_constant(self.tree, self.graph, name, np.asarray(values, dtype))

    def tensor(self, shape: Sequence[int], dtype: str = "float32") -> int:
        name = f"t{len(self.graph.tensors)}"
        index = flatbuffer.add_tensor(self.graph, name, [abs(size) for size in shape], dtype)
        if min(shape, default=0) < 0:
            self.graph.tensors[index].shapeSignature = np.array(shape, np.int32)
        self.graph.tensors[index].hasRank = True
        return index

    def add(
        self,
        kind: str,
        inputs: Sequence[int],
        shape: Sequence[int],
        dtype: str = "float32",
        *,
        options: Any = None,
        version: int = 1,
    ) -> int:
        """An operator of one result; its options are the schema's default ones unless given."""
        result = self.tensor(shape, dtype)
        made = flatbuffer.make_operator(
            self.tree, kind, inputs, [result], version=version, options=options or _options(kind)
        )
        self.graph.operators.append(made)
        return result

    def finish(self, *outputs: int, graph: Any = None) -> None:
        """Set a subgraph's outputs."""
        (graph or self.graph).outputs = list(outputs)

    def content(self, *outputs: int) -> bytes:
        """The file, of which these are the main subgraph's outputs."""
        self.finish(*outputs, graph=self.tree.subgraphs[0])
        return flatbuffer.serialize(self.tree)


def _options(kind: str) -> Any:
    """Empty options: many kernels read them without a check."""
    special = {"SELECT_V2": "SelectV2", "MAXIMUM": "MaximumMinimum", "MINIMUM": "MaximumMinimum",
               "MAX_POOL_2D": "Pool2D", "AVERAGE_POOL_2D": "Pool2D", "PADV2": "PadV2",
               "MEAN": "Reducer", "SUM": "Reducer", "BATCH_MATMUL": "BatchMatMul",
               "CONV_2D": "Conv2D", "DEPTHWISE_CONV_2D": "DepthwiseConv2D"}  # fmt: skip
    name = special.get(kind, "".join(part.capitalize() for part in kind.split("_")))
    made = getattr(schema, f"{name}OptionsT", None)
    options = made() if made else None
    if kind == "SOFTMAX":
        options.beta = 1.0
    return options


def run(content: bytes, *inputs: Any) -> list[NDArray[Any]]:
    """The outputs of one inference, in their order."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    details = interpreter.get_input_details()
    for detail, values in zip(details, inputs, strict=True):
        interpreter.set_tensor(detail["index"], np.asarray(values, detail["dtype"]))
    interpreter.invoke()
    return [interpreter.get_tensor(item["index"]) for item in interpreter.get_output_details()]


def kinds(content: bytes, number: int = 0) -> list[str]:
    """Names of a subgraph's operators, in execution order."""
    tree = flatbuffer.parse(content, "m")
    return [flatbuffer.operator_name(tree, item) for item in tree.subgraphs[number].operators]
