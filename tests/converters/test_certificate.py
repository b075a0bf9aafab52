from __future__ import annotations

from pathlib import Path

import pytest

from edgeq.converters.certificate import certify, judge
from edgeq.converters.schemes import SCHEMES
from edgeq.values import FloatModel


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
