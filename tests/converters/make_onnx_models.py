"""Small ONNX models: `python make_onnx_models.py FOLDER`, run by a Python with onnx.

It knows nothing of edgeq or pytest, which that Python need not have.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

RANDOM = np.random.default_rng(0)


def weights(name: str, *shape: int) -> Any:
    values = RANDOM.standard_normal(shape) / np.sqrt(np.prod(shape[1:]) or 1)
    return numpy_helper.from_array(values.astype(np.float32), name)


def positive(name: str, size: int) -> Any:
    return numpy_helper.from_array(RANDOM.uniform(0.5, 2, size).astype(np.float32), name)


def build(nodes: list[Any], constants: list[Any], image: list[Any], outputs: list[str]) -> Any:
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("image", kind, image)],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        constants,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    return made


def cnn(batch: int | str) -> Any:
    """Convolution, batch norm, pooling and a dense layer; the map of the last convolution too."""
    node = helper.make_node
    nodes = [
        node("Conv", ["image", "w1"], ["c1"], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["c1", "g", "b", "m", "v"], ["n1"]),
        node("Relu", ["n1"], ["r1"]),
        node("Conv", ["r1", "w2"], ["features"], pads=[1, 1, 1, 1], strides=[2, 2]),
        node("GlobalAveragePool", ["features"], ["pooled"]),
        node("Flatten", ["pooled"], ["flat"]),
        node("Gemm", ["flat", "w3", "b3"], ["scores"], transB=1),
    ]
    constants = [
        weights("w1", 16, 3, 3, 3), weights("w2", 24, 16, 3, 3), weights("w3", 10, 24),
        weights("b3", 10), positive("g", 16), weights("b", 16), weights("m", 16),
        positive("v", 16),
    ]  # fmt: skip
    return build(nodes, constants, [batch, 3, 32, 32], ["scores", "features"])


def upsampling() -> Any:
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Resize", ["c1", "", "factors"], ["large"], mode="linear"),
    ]
    factors = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "factors")
    return build(nodes, [weights("w1", 4, 3, 3, 3), factors], [1, 3, 2, 2], ["large"])


def quantized() -> Any:
    nodes = [helper.make_node("QuantizeLinear", ["image", "scale", "zero"], ["scores"])]
    scale = numpy_helper.from_array(np.float32(0.1), "scale")
    zero = numpy_helper.from_array(np.int8(0), "zero")
    made = build(nodes, [scale, zero], [1, 4], ["scores"])
    made.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT8
    return made


def single(name: str, kind: int = onnx.TensorProto.FLOAT, **settings: Any) -> Any:
    """One operator on an input of one dtype."""
    node = helper.make_node(name, ["image"], ["scores"], **settings)
    given = helper.make_tensor_value_info("image", kind, [1, 4, 4])
    made = helper.make_tensor_value_info("scores", kind, None)
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("acme", 1)]
    graph = helper.make_graph([node], "graph", [given], [made])
    return helper.make_model(graph, opset_imports=domains, ir_version=8)


def half() -> Any:
    """Weights of 16 bits, calculated with in 32."""
    nodes = [
        helper.make_node("Cast", ["w"], ["wide"], to=onnx.TensorProto.FLOAT),
        helper.make_node("MatMul", ["image", "wide"], ["scores"]),
    ]
    return build(nodes, [numpy_helper.from_array(np.ones((4, 2), np.float16), "w")], [1, 4],
                 ["scores"])  # fmt: skip


def main(folder: Path) -> None:
    onnx.save(cnn(1), folder / "cnn.onnx")
    onnx.save(cnn("batch"), folder / "dynamic.onnx")
    onnx.save(upsampling(), folder / "upsampling.onnx")
    onnx.save(quantized(), folder / "quantized.onnx")
    onnx.save(half(), folder / "half.onnx")
    onnx.save(single("Det"), folder / "det.onnx")
    onnx.save(single("Relu", onnx.TensorProto.DOUBLE), folder / "double.onnx")
    onnx.save(single("MyOp", domain="acme"), folder / "custom.onnx")
    outside = {"save_as_external_data": True, "location": "outside.data", "size_threshold": 0}
    onnx.save(cnn(1), folder / "outside.onnx", **outside)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
