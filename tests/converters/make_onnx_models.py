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


def grouped() -> Any:
    """A convolution and a GroupNormalization, which onnx2tf's first backend does not know."""
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("GroupNormalization", ["c1", "g", "b"], ["scores"], num_groups=2),
    ]
    constants = [weights("w1", 4, 3, 3, 3), positive("g", 4), weights("b", 4)]
    made = build(nodes, constants, [1, 3, 6, 5], ["scores"])
    made.opset_import[0].version = 21
    made.ir_version = 10
    return made


def quantized() -> Any:
    nodes = [helper.make_node("QuantizeLinear", ["image", "scale", "zero"], ["scores"])]
    scale = numpy_helper.from_array(np.float32(0.1), "scale")
    zero = numpy_helper.from_array(np.int8(0), "zero")
    made = build(nodes, [scale, zero], [1, 4], ["scores"])
    made.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT8
    return made


def with_pairs(kind: type) -> Any:
    """A convolution with Q/DQ nodes around it, as onnxruntime writes them."""

    def pair(source: str, target: str, scale: float, zero: int) -> list[Any]:
        for key, value in (("scale", np.float32(scale)), ("zero", kind(zero))):
            constants.append(numpy_helper.from_array(value, f"{target}_{key}"))
        ends = [f"{target}_scale", f"{target}_zero"]
        return [
            helper.make_node("QuantizeLinear", [source, *ends], [f"{target}_q"]),
            helper.make_node("DequantizeLinear", [f"{target}_q", *ends], [target]),
        ]

    constants: list[Any] = []
    codes = RANDOM.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8)
    constants += [
        numpy_helper.from_array(codes, "codes"),
        numpy_helper.from_array(RANDOM.uniform(0.001, 0.002, 4).astype(np.float32), "scales"),
        numpy_helper.from_array(np.zeros(4, np.int8), "zeros"),
    ]
    middle = 0 if kind is np.int8 else 128
    nodes = [
        *pair("image", "x", 1 / 32, middle),
        helper.make_node("DequantizeLinear", ["codes", "scales", "zeros"], ["w"], axis=0),
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        *pair("c", "scores", 1 / 64, middle - 10),
    ]
    return build(nodes, constants, [1, 3, 8, 8], ["scores"])


def integers() -> Any:
    """A node of QOperator format, whose inputs do not matter here."""
    names = ["image", "s", "z", "w", "s", "z", "s", "z"]
    node = helper.make_node("QLinearMatMul", names, ["scores"], name="first")
    return build([node], [], [1, 4], ["scores"])


def branches() -> Any:
    """Doubled at the rate 2 and tripled otherwise; an inner branch depends on the shape."""
    number = onnx.TensorProto.INT64

    def scaled(factor: float) -> Any:
        by = numpy_helper.from_array(np.float32(factor), "by")  # the same name in both branches
        node = helper.make_node("Mul", ["image", "by"], ["made"])
        made = helper.make_tensor_value_info("made", onnx.TensorProto.FLOAT, None)
        return helper.make_graph([node], "branch", [], [made], [by])

    def shaped(factor: float) -> Any:
        nodes = [
            helper.make_node("Shape", ["image"], ["sizes"]),
            helper.make_node("Size", ["sizes"], ["rank"]),
            helper.make_node("Equal", ["rank", "two"], ["flat"]),
            helper.make_node("If", ["flat"], ["made"], "inner",
                             then_branch=scaled(factor), else_branch=scaled(99)),
        ]  # fmt: skip
        two = numpy_helper.from_array(np.int64(2), "two")
        made = helper.make_tensor_value_info("made", onnx.TensorProto.FLOAT, None)
        return helper.make_graph(nodes, "branch", [], [made], [two])

    nodes = [
        helper.make_node("Equal", ["rate", "wanted"], ["is_two"]),
        helper.make_node("If", ["is_two"], ["scores"], "by_rate",
                         then_branch=shaped(2), else_branch=shaped(3)),
    ]  # fmt: skip
    made = build(nodes, [numpy_helper.from_array(np.int64(2), "wanted")], ["batch", 4], ["scores"])
    made.graph.input.append(helper.make_tensor_value_info("rate", number, []))
    made.graph.output[0].type.tensor_type.shape.dim.add().dim_param = "batch"
    made.graph.output[0].type.tensor_type.shape.dim.add().dim_value = 4
    return made


def stateful() -> Any:
    """A sum with the first of two states; the new states change places."""
    constants = [numpy_helper.from_array(np.array([1, 0], np.int64), "order"),
                 numpy_helper.from_array(np.int64(0), "first")]  # fmt: skip
    nodes = [
        helper.make_node("Gather", ["state", "first"], ["one"], axis=0),
        helper.make_node("Add", ["image", "one"], ["scores"]),
        helper.make_node("Gather", ["state", "order"], ["next"], axis=0),
    ]
    made = build(nodes, constants, [1, 4], ["scores", "next"])
    made.graph.input.append(
        helper.make_tensor_value_info("state", onnx.TensorProto.FLOAT, [2, "batch", 4])
    )
    return made


def reshaped() -> Any:
    """A reshape to sizes that are computed from the shape; onnx cannot infer the output's."""
    one = numpy_helper.from_array(np.array([1], np.int64), "one")
    nodes = [
        helper.make_node("Shape", ["image"], ["sizes"]),
        helper.make_node("ReduceProd", ["sizes"], ["count"], axes=[0], keepdims=1),
        helper.make_node("Div", ["count", "half"], ["rows"]),
        helper.make_node("Concat", ["one", "rows", "two"], ["target"], axis=0),
        helper.make_node("Reshape", ["image", "target"], ["r"]),
        helper.make_node("MatMul", ["r", "w"], ["scores"]),
    ]
    half, two = (numpy_helper.from_array(np.array([2], np.int64), name) for name in ("half", "two"))
    return build(nodes, [one, half, two, weights("w", 2, 5)], ["n", 3, 4, 4], ["scores"])


def recurrent(kind: str, before: int, opset: int) -> Any:
    """A layer of both directions, with given states, all of its outputs and another layer."""
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    names = ["first", "second"] if kind == "LSTM" else ["first"]
    constants = [numpy_helper.from_array(RANDOM.normal(0, 0.5, (2, 1, 3)).astype("f4"), name)
                 for name in names]  # fmt: skip
    constants += [weights("w", 2, gates * 3, 4), weights("r", 2, gates * 3, 3),
                  weights("b", 2, gates * 6), weights("w2", 1, gates * 2, 3),
                  weights("r2", 1, gates * 2, 2)]  # fmt: skip
    settings = {"linear_before_reset": before} if kind == "GRU" else {}
    made = ["all", "last", *(["cell"] if kind == "LSTM" else [])]
    nodes = [
        helper.make_node(kind, ["image", "w", "r", "b", "", *names], made, hidden_size=3,
                         direction="bidirectional", **settings),
        helper.make_node(kind, ["last", "w2", "r2"], ["", "scores"], hidden_size=2, name="small",
                         direction="reverse", **settings),
    ]  # fmt: skip
    model = build(nodes, constants, [5, 1, 4], [*made, "scores"])
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", opset))
    return model


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
    onnx.save(grouped(), folder / "grouped.onnx")
    onnx.save(quantized(), folder / "quantized.onnx")
    onnx.save(with_pairs(np.uint8), folder / "pairs.onnx")
    onnx.save(with_pairs(np.int8), folder / "pairs_int8.onnx")
    onnx.save(integers(), folder / "integers.onnx")
    onnx.save(branches(), folder / "branches.onnx")
    onnx.save(stateful(), folder / "stateful.onnx")
    onnx.save(reshaped(), folder / "reshaped.onnx")
    for kind, before, opset in (("LSTM", 0, 11), ("GRU", 0, 14), ("GRU", 1, 14), ("RNN", 0, 14)):
        onnx.save(recurrent(kind, before, opset), folder / f"{kind.lower()}{before}.onnx")
    onnx.save(half(), folder / "half.onnx")
    onnx.save(single("Det"), folder / "det.onnx")
    onnx.save(single("Relu", onnx.TensorProto.DOUBLE), folder / "double.onnx")
    onnx.save(single("MyOp", domain="acme"), folder / "custom.onnx")
    outside = {"save_as_external_data": True, "location": "outside.data", "size_threshold": 0}
    onnx.save(cnn(1), folder / "outside.onnx", **outside)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
