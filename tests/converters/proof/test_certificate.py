from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq.converters.proof.certificate import certify, judge
from edgeq.converters.quantization.selectors import NO_MIX, Mix
from edgeq.render.conversion import quantization_rows
from edgeq.values import Certificate, FloatModel, OperatorReport, TensorSpec
from edgeq.values.schemes import SCHEMES
from tests.tiny_models import BOOL, FLOAT, INT8, Operator, graph, model, operator, schema, tensor


def test_mlperfs_own_int8_keyword_model_is_what_it_claims(shared: Path) -> None:
    proof = certify(shared / "kws" / "kws_ref_model.tflite")
    assert {op.precision for op in proof.operators} == {"int8"}
    assert proof.float_islands == 0
    assert proof.is_per_channel is True
    assert (proof.inputs[0].dtype, proof.outputs[0].dtype) == ("int8", "int8")
    assert proof.size_bytes == 53936


def test_a_float_model_is_one_island(float_cnn: FloatModel) -> None:
    proof = certify(Path(float_cnn.file.path))
    assert {op.precision for op in proof.operators} == {"float32"}
    assert proof.float_islands == 1
    assert proof.is_per_channel is None
    assert len(proof.unquantized_weights) >= 2


def test_the_uint8_model_of_2018_is_integer_and_per_tensor(shared: Path) -> None:
    proof = certify(shared / "mobilenet_v1_025" / "mobilenet_v1_0.25_224_quant.tflite")
    assert proof.inputs[0].dtype == "uint8"
    assert {op.precision for op in proof.operators} <= {"int8", "integer"}
    assert proof.is_per_channel is False


def test_a_float_file_sold_as_int8_is_found_out(float_cnn: FloatModel) -> None:
    proof = judge(
        certify(Path(float_cnn.file.path)),
        SCHEMES["int8"],
        "int8",
        "channel",
        float_cnn.inputs,
        float_cnn.outputs,
    )
    count = len(proof.operators)
    first, second, third, fourth = proof.problems
    assert first.startswith(f"{count} of {count} operators are float32 instead of int8: ")
    assert second == f"input {float_cnn.inputs[0].name!r} is float32 instead of int8."
    assert third == f"output {float_cnn.outputs[0].name!r} is float32 instead of int8."
    assert fourth.startswith(f"{len(proof.unquantized_weights)} weight tensors are still float32: ")


@pytest.mark.parametrize(
    ("granularity", "expected"),
    [
        ("channel", ()),
        ("tensor", ("weights are quantized per channel instead of per tensor.",)),
    ],
)
def test_granularity_is_checked(shared: Path, granularity: str, expected: tuple[str, ...]) -> None:
    proof = certify(shared / "kws" / "kws_ref_model.tflite")
    judged = judge(proof, SCHEMES["int8"], "int8", granularity, proof.inputs, proof.outputs)
    assert judged.problems == expected


# ---------------------------------------------------------------- files of a few operators

FLOAT16, INT16, INT32 = (getattr(schema.TensorType, name) for name in ("FLOAT16", "INT16", "INT32"))
UINT8, INT4 = schema.TensorType.UINT8, schema.TensorType.INT4
CERTIFIED = Callable[..., Certificate]


@pytest.fixture
def certified(tmp_path: Path) -> CERTIFIED:
    """The certificate of one subgraph."""

    def make(
        tensors: Sequence[Any],
        operators: Sequence[Any],
        codes: Sequence[int],
        constants: Sequence[np.ndarray] = (),
        outputs: Sequence[int] | None = None,
    ) -> Certificate:
        ends = [len(tensors) - 1] if outputs is None else outputs
        made = model([graph(tensors, [0], ends, operators)], [(c, 1) for c in codes], constants)
        path = tmp_path / "m.tflite"
        path.write_bytes(made)
        return certify(path)

    return make


def scaled(count: int, shape: Sequence[int], name: str = "w", *, buffer: int = 1) -> Any:
    """INT8 weights with this many scales."""
    made = tensor(name, shape, INT8, buffer=buffer, scale=0.5)
    made.quantization.scale, made.quantization.zeroPoint = [0.5] * count, [0] * count
    return made


def integer(name: str, shape: Sequence[int] = (1, 1, 1, 2)) -> Any:
    return tensor(name, shape, INT8, scale=0.1)


def per_tensor(kind: str) -> tuple[str, ...]:
    return (f"weights of {kind} (y) are quantized per tensor, not per channel.",)


PER_CHANNEL = ("weights are quantized per channel instead of per tensor.",)


@pytest.mark.parametrize(
    ("kind", "shape", "scales", "is_per_channel", "asked_channel", "asked_tensor"),
    [
        (Operator.CONV_2D, (3, 1, 1, 2), 1, False, per_tensor("CONV_2D"), ()),
        (Operator.CONV_2D, (3, 1, 1, 2), 3, True, (), PER_CHANNEL),
        (Operator.DEPTHWISE_CONV_2D, (1, 1, 1, 2), 1, False, per_tensor("DEPTHWISE_CONV_2D"), ()),
        (Operator.DEPTHWISE_CONV_2D, (1, 1, 1, 2), 2, True, (), PER_CHANNEL),
        (Operator.FULLY_CONNECTED, (3, 2), 1, False, per_tensor("FULLY_CONNECTED"), ()),
        # With one channel, a scale per tensor is one per channel.
        (Operator.CONV_2D, (1, 1, 1, 2), 1, False, (), ()),
        (Operator.DEPTHWISE_CONV_2D, (1, 2, 2, 1), 1, False, (), ()),
        (Operator.FULLY_CONNECTED, (1, 2), 1, False, (), ()),
        (Operator.FULLY_CONNECTED, (3, 2), 3, True, (), PER_CHANNEL),
        # Whose scales nobody expects per channel.
        (Operator.EMBEDDING_LOOKUP, (3, 2), 1, False, (), ()),
    ],
)
def test_weights_per_tensor_are_not_per_channel_nor_the_other_way_round(
    certified: CERTIFIED, kind: int, shape: tuple[int, ...], scales: int, is_per_channel: bool,
    asked_channel: tuple[str, ...], asked_tensor: tuple[str, ...],
) -> None:  # fmt: skip
    proof = certified(
        [integer("x"), scaled(scales, shape), integer("y")],
        [operator(0, [0, 1], [2])],
        [kind],
        [np.ones(shape, np.int8)],
    )
    assert proof.is_per_channel is is_per_channel
    for granularity, problems in (("channel", asked_channel), ("tensor", asked_tensor)):
        judged = judge(proof, SCHEMES["int8"], "int8", granularity, proof.inputs, proof.outputs)
        assert judged.problems == problems


def layers(certified: CERTIFIED, *kinds: tuple[int, int]) -> Certificate:
    """Layers of three channels in a row, each with this many scales."""
    count = len(kinds)
    tensors = [integer(f"t{place}", (1, 1, 1, 3)) for place in range(count + 1)]
    operators, constants, codes = [], [], []
    for place, (kind, scales) in enumerate(kinds):
        shapes = {Operator.CONV_2D: (3, 1, 1, 3), Operator.DEPTHWISE_CONV_2D: (1, 1, 1, 3)}
        shape = shapes.get(kind, (3, 3))
        constants.append(np.ones(shape, np.int8))
        tensors.append(scaled(scales, shape, buffer=place + 1))
        operators.append(operator(place, [place, len(tensors) - 1], [place + 1]))
        codes.append(kind)
    return certified(tensors, operators, codes, constants, [count])


CONV, DEPTHWISE = (Operator.CONV_2D, 3), (Operator.DEPTHWISE_CONV_2D, 3)
CONV_1, DEPTHWISE_1 = (Operator.CONV_2D, 1), (Operator.DEPTHWISE_CONV_2D, 1)
DENSE, DENSE_1 = (Operator.FULLY_CONNECTED, 3), (Operator.FULLY_CONNECTED, 1)


@pytest.mark.parametrize(
    ("kinds", "named"),
    [
        ([CONV, DEPTHWISE, DENSE], None),
        ([CONV, CONV, DENSE_1], None),  # as older converters leave a dense layer
        ([CONV, CONV_1], "CONV_2D (t2)"),
        ([CONV_1, CONV], "CONV_2D (t1)"),
        ([CONV, DEPTHWISE_1, DENSE], "DEPTHWISE_CONV_2D (t2)"),
        ([CONV_1, CONV, DENSE_1], "CONV_2D (t1), FULLY_CONNECTED (t3)"),
        ([DENSE, DENSE_1], None),
        ([DENSE_1, DENSE_1], "FULLY_CONNECTED (t1), FULLY_CONNECTED (t2)"),
        ([CONV_1] * 5, ", ".join(f"CONV_2D (t{n})" for n in range(1, 6))),
        ([CONV_1] * 7, ", ".join(f"CONV_2D (t{n})" for n in range(1, 6)) + " and 2 more"),
    ],
)
def test_one_convolution_per_tensor_among_others_per_channel_is_named(
    certified: CERTIFIED, kinds: list[tuple[int, int]], named: str | None
) -> None:
    proof = layers(certified, *kinds)
    judged = judge(proof, SCHEMES["int8"], "int8", "channel", proof.inputs, proof.outputs)
    assert judged.problems == (
        () if named is None else (f"weights of {named} are quantized per tensor, not per channel.",)
    )
    asked = judge(proof, SCHEMES["int8"], "int8", "tensor", proof.inputs, proof.outputs)
    is_mixed = any(scales > 1 for _, scales in kinds)
    assert asked.problems == (PER_CHANNEL if is_mixed else ())


def test_without_weights_there_is_no_granularity(certified: CERTIFIED) -> None:
    proof = certified([integer("x"), integer("y")], [operator(0, [0], [1])], [Operator.RELU])
    assert proof.is_per_channel is None
    judged = judge(proof, SCHEMES["int8"], "int8", "channel", proof.inputs, proof.outputs)
    assert judged.problems == ()


# Dtypes of the inputs and of the output, and what that operator computes in.
PRECISIONS = [
    (Operator.ADD, [INT8, INT8], INT8, "int8"),
    (Operator.ADD, [UINT8, UINT8], UINT8, "int8"),
    (Operator.ADD, [INT16, INT16], INT16, "int16x8"),
    (Operator.ADD, [INT8, INT16], INT8, "int8"),
    (Operator.ADD, [INT32, INT32], INT32, "integer"),
    (Operator.ADD, [FLOAT, FLOAT], FLOAT, "float32"),
    (Operator.ADD, [FLOAT16, FLOAT16], FLOAT16, "float32"),
    (Operator.ARG_MAX, [FLOAT, INT32], INT32, "float32"),
    (Operator.ARG_MAX, [INT8, INT32], INT32, "int8"),
    (Operator.ARG_MAX, [INT16, INT32], INT32, "int16x8"),
    (Operator.GATHER, [FLOAT, INT32], FLOAT, "float32"),
    (Operator.GATHER, [INT8, INT32], INT8, "int8"),
    (Operator.LESS, [FLOAT, FLOAT], BOOL, "float32"),
    (Operator.SHAPE, [INT32], INT32, "integer"),
    (Operator.CAST, [FLOAT], INT32, "convert"),
    (Operator.QUANTIZE, [FLOAT], INT8, "convert"),
    (Operator.DEQUANTIZE, [INT8], FLOAT, "convert"),
]


@pytest.mark.parametrize(("kind", "inputs", "output", "precision"), PRECISIONS)
def test_the_dtypes_of_inputs_count_as_those_of_the_result(
    certified: CERTIFIED, kind: int, inputs: list[int], output: int, precision: str
) -> None:
    tensors = [tensor(f"t{n}", [4], dtype) for n, dtype in enumerate([*inputs, output])]
    proof = certified(tensors, [operator(0, range(len(inputs)), [len(inputs)])], [kind])
    (found,) = proof.operators
    assert found.precision == precision
    assert proof.float_islands == (precision == "float32")
    judged = judge(proof, SCHEMES["int8"], "int8", "channel", (), ())
    assert any("instead of int8: " in problem for problem in judged.problems) == (
        precision not in ("int8", "integer", "convert")
    )


def test_constants_and_inputs_that_are_left_out_do_not_count(certified: CERTIFIED) -> None:
    tensors = [integer("x"), tensor("c", [4], FLOAT, buffer=1), integer("y"), tensor("z", [4])]
    left_out, with_constant = operator(0, [0, 1, -1], [2]), operator(1, [0, 1], [2])
    constants = [np.ones(4, np.float32)]
    for one in (left_out, with_constant):
        proof = certified(tensors, [one], [Operator.FULLY_CONNECTED, Operator.ADD], constants)
        assert [op.precision for op in proof.operators] == ["int8"]


@pytest.mark.parametrize(
    ("stored", "is_widened", "precision"),
    [
        (INT8, False, "dynamic"),
        (INT4, False, "dynamic"),
        (FLOAT, False, "float32"),
        (UINT8, False, "float32"),
        (FLOAT16, True, "fp16"),
        (INT8, True, "weight-only"),
        (INT4, True, "weight-only"),
    ],
)
def test_float_activations_are_told_apart_by_their_weights(
    certified: CERTIFIED, stored: int, is_widened: bool, precision: str
) -> None:
    weights = tensor("w", [3, 2], stored, buffer=1, scale=0.5)
    tensors = [tensor("x", [1, 2]), weights, tensor("wide", [3, 2]), tensor("y", [1, 3])]
    operators = [operator(1, [0, 2 if is_widened else 1], [3])]
    if is_widened:
        operators.insert(0, operator(0, [1], [2]))
    codes = [Operator.DEQUANTIZE, Operator.FULLY_CONNECTED]
    proof = certified(tensors, operators, codes, [np.ones(24, np.int8)])
    assert proof.operators[-1].precision == precision
    assert proof.float_islands == 1


def islands(
    certified: CERTIFIED, *operators: tuple[list[int], list[int]], integers: str = ""
) -> int:
    """A file of sums with these inputs and outputs; all tensors are float except those named."""
    count = 1 + max(index for inputs, outputs in operators for index in inputs + outputs)
    kept = {int(digit) for digit in integers}
    tensors = [integer(f"t{n}") if n in kept else tensor(f"t{n}", [1]) for n in range(count)]
    made = [operator(0, inputs, outputs) for inputs, outputs in operators]
    return certified(tensors, made, [Operator.ADD_N]).float_islands


def test_islands_are_float_operators_that_touch(certified: CERTIFIED) -> None:
    chain = ([0], [1]), ([1], [2]), ([2], [3])
    assert islands(certified, *chain) == 1
    assert islands(certified, ([0], [1]), ([1], [2]), ([1], [3])) == 1  # a trunk with two heads
    assert islands(certified, ([0], [1]), ([0], [2])) == 2  # they share an input of the model
    assert islands(certified, ([0], [1]), ([0], [2]), ([1, 2], [3])) == 1  # joined at last
    assert islands(certified, ([0], [1]), ([0], [2]), ([1], [3]), ([2], [4])) == 2
    # Two islands that two operators join, of which the second joins what is joined already.
    assert islands(certified, ([0], [1]), ([0], [2]), ([1, 2], [3]), ([1, 2], [4])) == 1
    # INT8 between two float operators.
    assert islands(certified, ([0], [1]), ([2], [3]), ([4], [5]), integers="23") == 2
    assert islands(certified, *chain, integers="0123") == 0


# ---------------------------------------------------------------- the whole certificate


def test_a_certificate_counts_what_is_in_all_subgraphs(tmp_path: Path) -> None:
    """QUANTIZE, RELU, a custom one and two DEQUANTIZE; a Flex one and a RELU in another."""
    tensors = [tensor("x", [1, 4]), tensor("q", [1, 4], INT8, scale=0.5), integer("r", [1, 4]),
               integer("s", [1, 4]), tensor("y", [1, 4]), tensor("z", [1, 4])]  # fmt: skip
    first = graph(tensors, [0], [4], [
        operator(0, [0], [1]), operator(1, [1], [2]), operator(3, [2], [3]),
        operator(2, [3], [4]), operator(2, [2], [5]),
    ])  # fmt: skip
    second = graph([tensor("a", [1]), tensor("b", [1]), tensor("c", [1])], [0], [2],
                   [operator(4, [0], [1]), operator(1, [1], [2])])  # fmt: skip
    codes = [(Operator.QUANTIZE, 1), (Operator.RELU, 2), (Operator.DEQUANTIZE, 3), "Mystery",
             "FlexErf"]  # fmt: skip
    path = tmp_path / "m.tflite"
    path.write_bytes(model([first, second], codes))
    proof = certify(path)
    assert [(op.index, op.name, op.output, op.precision, op.version) for op in proof.operators] == [
        (0, "QUANTIZE", "q", "convert", 1),
        (1, "RELU", "r", "int8", 2),
        (2, "Mystery", "y", "int8", 1),
        (3, "DEQUANTIZE", "y", "convert", 3),
        (4, "DEQUANTIZE", "z", "convert", 3),
        (5, "FlexErf", "b", "float32", 1),
        (6, "RELU", "c", "float32", 2),
    ]
    assert (proof.quantize_ops, proof.dequantize_ops, proof.float_islands) == (1, 2, 1)
    assert (proof.custom_ops, proof.flex_ops) == (("Mystery",), ("FlexErf",))
    assert (proof.is_per_channel, proof.weights_symmetric) == (None, None)
    assert proof.activation_dtypes == proof.symmetric_activation_dtypes == ("int8",)
    assert proof.size_bytes == len(path.read_bytes())
    assert ([spec.name for spec in proof.inputs], [spec.name for spec in proof.outputs]) == (
        ["x"], ["y"])  # fmt: skip


def shifted(name: str, dtype: int, zero: int) -> Any:
    made = tensor(name, [1, 4], dtype, scale=0.5)
    made.quantization.zeroPoint = [zero]
    return made


@pytest.mark.parametrize(
    ("zeros", "is_symmetric", "symmetric"),
    [((0, 0, 0), True, ("int16", "int8")), ((1, 0, 0), False, ("int16",)),
     ((0, 0, 1), False, ("int8",)), ((3, 3, 3), False, ())],
)  # fmt: skip
def test_activations_are_symmetric_dtype_by_dtype(
    certified: CERTIFIED, zeros: tuple[int, ...], is_symmetric: bool, symmetric: tuple[str, ...]
) -> None:
    tensors = [shifted(name, dtype, zero) for name, dtype, zero in
               zip("abc", (INT8, INT8, INT16), zeros, strict=True)]  # fmt: skip
    proof = certified(tensors, [operator(0, [0], [1]), operator(0, [1], [2])], [Operator.RELU])
    assert proof.activation_dtypes == ("int16", "int8")
    assert (proof.activations_symmetric, proof.symmetric_activation_dtypes) == (
        is_symmetric, symmetric)  # fmt: skip


@pytest.mark.parametrize(("elements", "bare"), [(1024, ("w",)), (1023, ())])
def test_float_weights_of_1024_elements_are_bare(
    certified: CERTIFIED, elements: int, bare: tuple[str, ...]
) -> None:
    weights = tensor("w", [1, elements], FLOAT, buffer=1)
    tensors = [tensor("x", [1, elements]), weights, tensor("y", [1, 1]), tensor("z", [1, 1])]
    operators = [operator(0, [0, 1], [2]), operator(0, [0, 1], [3])]
    proof = certified(tensors, operators, [Operator.FULLY_CONNECTED],
                      [np.ones(elements, np.float32)])  # fmt: skip
    assert proof.unquantized_weights == bare  # once, though two use it
    assert {(op.weight_dtype, op.weight_shape, op.granularity) for op in proof.operators} == {
        ("float32", (1, elements), None)
    }


def test_integers_that_no_kernel_takes_as_weights_have_no_granularity(certified: CERTIFIED) -> None:
    table = tensor("w", [3, 2], INT16, buffer=1, scale=0.5)
    tensors = [integer("x"), table, integer("y")]
    proof = certified(tensors, [operator(0, [0, 1], [2])], [Operator.FULLY_CONNECTED],
                      [np.ones((3, 2), np.int16)])  # fmt: skip
    (found,) = proof.operators
    assert (found.weight_dtype, found.granularity, found.is_per_channel) == ("int16", None, None)


def test_some_weights_per_channel_make_it_per_channel(certified: CERTIFIED) -> None:
    tensors = [integer("x"), scaled(3, (3, 1, 1, 2)), integer("y"), scaled(1, (3, 1, 1, 2), "v"),
               integer("z")]  # fmt: skip
    operators = [operator(0, [0, 1], [2]), operator(0, [2, 3], [4])]
    proof = certified(tensors, operators, [Operator.CONV_2D], [np.ones((3, 1, 1, 2), np.int8)])
    assert [(op.granularity, op.is_per_channel) for op in proof.operators] == [
        ("channel", True), ("tensor", False)]  # fmt: skip
    assert (proof.is_per_channel, proof.weights_symmetric) == (True, True)


def test_weights_are_told_kind_by_kind(certified: CERTIFIED) -> None:
    """A table has zero points other than 0, and a layer has zero points 0."""
    table = scaled(1, (3, 1, 1, 2), "v")
    table.quantization.zeroPoint = [3]
    tensors = [integer("x"), scaled(3, (3, 1, 1, 2)), integer("y"), table, integer("z")]
    operators = [operator(0, [0, 1], [2]), operator(0, [2, 3], [4])]
    proof = certified(tensors, operators, [Operator.CONV_2D], [np.ones((3, 1, 1, 2), np.int8)])
    assert [op.is_symmetric for op in proof.operators] == [True, False]
    assert proof.weights_symmetric is False
    assert quantization_rows(proof)[0] == (
        "weights",
        "INT8 symmetric per channel (1 operator), INT8 asymmetric per tensor (1 operator)",
    )
    old = replace(proof, operators=tuple(replace(op, is_symmetric=None) for op in proof.operators))
    assert quantization_rows(old)[0][1].count("asymmetric") == 2  # all that edgeq 0.1 recorded


def test_results_have_the_names_of_the_models_outputs(certified: CERTIFIED) -> None:
    # ADD -> q -> DEQUANTIZE -> y: what is called y outside is the ADD's.
    tensors = [integer("x"), integer("q"), tensor("y", [1, 1, 1, 2])]
    operators = [operator(0, [0, 0], [1]), operator(1, [1], [2])]
    codes = [Operator.ADD, Operator.DEQUANTIZE]
    proof = certified(tensors, operators, codes)
    assert [op.output for op in proof.operators] == ["y", "y"]
    # An output of the model keeps its own name, and so does what goes on to a real operator.
    proof = certified(tensors, operators, codes, outputs=[1, 2])
    assert [op.output for op in proof.operators] == ["q", "y"]
    further = [*tensors, tensor("z", [1, 1, 1, 2])]
    proof = certified(further, [*operators, operator(0, [2, 2], [3])], codes)
    assert [op.output for op in proof.operators] == ["q", "y", "z"]
    # Through two conversions.
    twice = [integer("x"), integer("q"), integer("r"), tensor("y", [1, 1, 1, 2])]
    operators = [operator(0, [0, 0], [1]), operator(2, [1], [2]), operator(1, [2], [3])]
    proof = certified(twice, operators, [*codes, Operator.QUANTIZE])
    assert [op.output for op in proof.operators] == ["y", "y", "y"]


# ---------------------------------------------------------------- judging it


def reports(*kinds: str, weight_dtype: str | None = None, **fields: Any) -> Certificate:
    """Reports of operators that write a, b, c...; each is "NAME" in float, or "NAME precision"."""
    operators = []
    for number, kind in enumerate(kinds):
        name, _, precision = kind.partition(" ")
        operators.append(
            OperatorReport(
                number, name, chr(97 + number), precision or "float32", weight_dtype, None, 1
            )
        )
    return Certificate((), (), tuple(operators), 0, 0, 0, (), (), None, (), None, 1, **fields)


def problems(proof: Certificate, scheme: str = "int8", granularity: str = "channel",
             mix: Mix = NO_MIX) -> tuple[str, ...]:  # fmt: skip
    return judge(proof, SCHEMES[scheme], "int8", granularity, (), (), mix).problems


def test_five_operators_are_named_and_the_others_counted() -> None:
    left = "the quantizer left them, because an operand has no range or no integer kernel fits"
    assert problems(reports(*["ADD"] * 5)) == (
        "5 of 5 operators are float32 instead of int8: ADD (a), ADD (b), ADD (c), ADD (d), ADD "
        f"(e); {left}.",
    )
    assert problems(reports(*["ADD"] * 6)) == (
        "6 of 6 operators are float32 instead of int8: ADD (a), ADD (b), ADD (c), ADD (d), ADD "
        f"(e) and 1 more; {left}.",
    )
    assert problems(reports(*["ADD"] * 7)) == (
        "7 of 7 operators are float32 instead of int8: ADD (a), ADD (b), ADD (c), ADD (d), ADD "
        f"(e) and 2 more; {left}.",
    )


def test_operators_without_an_integer_kernel_are_the_reason() -> None:
    assert problems(reports("SIN", "ADD", "COS")) == (
        "3 of 3 operators are float32 instead of int8: SIN (a), ADD (b), COS (c); TensorFlow Lite "
        "has no INT8 kernel for COS, SIN.",
    )
    assert problems(reports("SIN int16x8"))[0].startswith(
        "1 of 1 operators are int16x8 instead of int8: SIN (a); "
    )


def test_operators_that_were_to_be_something_else_are_judged_by_that() -> None:
    mixed = reports("ADD", "MUL int16x8", "SUB int8")
    assert problems(mixed, mix=Mix(keep_float=("a",), int16=("b",))) == ()
    assert problems(mixed, mix=Mix(keep_float=("a", "c"), int16=("b",))) == (
        "1 operators are not float32, as requested: c.",
    )
    assert problems(mixed, mix=Mix(keep_float=("a",), int16=("b", "c"))) == (
        "1 operators are not int16x8, as requested: c.",
    )
    assert problems(mixed, mix=Mix(keep_float=("b", "c"), int16=("a",))) == (
        "3 operators are not int16x8, as requested: a.",
    )


def test_layers_that_were_to_be_int4_and_are_not_are_named() -> None:
    wide = reports("CONV_2D int8", weight_dtype="int8")
    narrow = reports("CONV_2D int8", weight_dtype="int4")
    asked = Mix(int4=("a",))
    assert problems(narrow, mix=asked) == ()
    assert problems(wide, mix=asked) == ("1 layers have no INT4 weights, as requested: a.",)
    assert problems(wide, mix=Mix(int4=("b", "a"))) == (
        "2 layers have no INT4 weights, as requested: a.",
    )


def test_float_weights_are_named_unless_they_were_to_stay() -> None:
    bare = tuple(f"w{number}" for number in range(7))
    proof = reports("CONV_2D int8", weight_dtype="float32")
    assert problems(proof) == ()
    proof = replace(proof, unquantized_weights=bare[:5])
    assert problems(proof) == ("5 weight tensors are still float32: w0, w1, w2, w3, w4.",)
    proof = replace(proof, unquantized_weights=bare)
    named = ("7 weight tensors are still float32: w0, w1, w2, w3, w4 and 2 more.",)
    assert problems(proof) == named
    floats = reports("CONV_2D", weight_dtype="float32")
    floats = replace(floats, unquantized_weights=bare)
    assert problems(floats, "fp32") == ()
    assert problems(floats, "fp16") == named
    assert problems(floats, mix=Mix(keep_float=("a",))) == ()


def test_a_dynamic_file_has_an_operator_that_is() -> None:
    nothing = ("no weights are INT8: none of its filters has 1024 elements or more.",)
    assert problems(reports("CONV_2D"), "dynamic") == nothing
    assert problems(reports("ADD", "CONV_2D dynamic"), "dynamic") == ()


def test_an_interface_is_of_the_dtype_that_was_asked_for() -> None:
    def spec(name: str, dtype: str) -> TensorSpec:
        return TensorSpec(name, (1,), dtype)

    inputs, outputs = (spec("x", "int8"), spec("n", "int32")), (spec("y", "uint8"),)
    proof = replace(reports("ADD int8"), inputs=inputs, outputs=outputs)
    ours, theirs = [spec("x", "float32"), spec("n", "int32")], [spec("y", "float32")]
    assert judge(proof, SCHEMES["int8"], "int8", "channel", ours, theirs).problems == (
        "output 'y' is uint8 instead of int8.",
    )
    assert judge(proof, SCHEMES["int8"], "uint8", "channel", ours, theirs).problems == (
        "input 'x' is int8 instead of uint8.",
    )
    assert judge(proof, SCHEMES["int8"], "int8", "channel", [spec("n", "int64")], []).problems == (
        "input 'n' is int32 instead of int64.", "output 'y' is uint8 instead of int8.",
    )  # fmt: skip
