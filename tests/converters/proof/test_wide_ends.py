"""The certificate finds float operators at the ends of a file, and those inside, in its bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeq.converters.proof.certificate import certify, judge
from edgeq.converters.quantization.selectors import Mix, WideEnds
from edgeq.tflite import flatbuffer
from edgeq.values import Certificate
from edgeq.values.schemes import SCHEMES
from tests.converters.rewrites.tiny_graphs import Builder, schema


class File(Builder):
    """A quantized file: integers have the scale 0.1."""

    def convert(self, source: int, dtype: str) -> int:
        kind = "DEQUANTIZE" if dtype == "float32" else "QUANTIZE"
        result = self.add(kind, [source], [1, 4], dtype)
        self._scale(*([result] if dtype == "int8" else [source]))
        return result

    def layer(self, source: int, dtype: str = "int8") -> int:
        weights = self.constant([[1] * 4] * 4, dtype)
        result = self.add("FULLY_CONNECTED", [source, weights], [1, 4], dtype, version=4)
        if dtype == "int8":
            self._scale(weights, result, source)
        return result

    def _scale(self, *tensors: int) -> None:
        for index in tensors:
            own = self.graph.tensors[index].quantization = schema.QuantizationParametersT()
            own.scale, own.zeroPoint = [0.1], [0]

    def certify(self, folder: Path, *outputs: int) -> Certificate:
        path = folder / "m.tflite"
        path.write_bytes(self.content(*outputs))
        flatbuffer.read(path)
        return certify(path)


def found(proof: Certificate) -> tuple[int, int, int]:
    return len(proof.wide_inputs), len(proof.wide_outputs), proof.float_islands


def test_operators_between_integers_and_outputs_are_wide(tmp_path: Path) -> None:
    net = File()
    real = net.convert(net.layer(net.input([1, 4], "int8")), "float32")
    scaled = net.add("MUL", [real, net.constant([640.0])], [1, 4])
    last = net.add("LOGISTIC", [scaled], [1, 4])
    proof = net.certify(tmp_path, last)
    assert found(proof) == (0, 2, 0)
    assert proof.wide_outputs == ("t5", "t6")


def test_operators_between_inputs_and_integers_are_wide(tmp_path: Path) -> None:
    net = File()
    scaled = net.add("MUL", [net.input([1, 4]), net.constant([0.1])], [1, 4])
    proof = net.certify(tmp_path, net.layer(net.convert(scaled, "int8")))
    assert found(proof) == (1, 0, 0)


@pytest.mark.parametrize(
    "kind", ["read again", "layer", "behind a layer", "two ways", "by a layer"]
)
def test_what_is_inside_is_an_island(kind: str, tmp_path: Path) -> None:
    net = File()
    source = net.input([1, 4], "int8")
    real = net.convert(net.layer(source), "float32")
    if kind == "read again":
        outputs = [net.convert(net.add("TANH", [real], [1, 4]), "int8")]
    elif kind == "layer":
        outputs = [net.layer(real, "float32")]
    elif kind == "behind a layer":
        outputs = [net.add("TANH", [net.layer(real, "float32")], [1, 4])]
    elif kind == "two ways":
        middle = net.add("TANH", [real], [1, 4])
        outputs = [middle, net.layer(net.convert(middle, "int8"))]
    else:
        outputs = [net.layer(net.add("TANH", [real], [1, 4]), "float32")]
    assert found(net.certify(tmp_path, *outputs)) == (0, 0, 1)


def test_a_float_file_has_an_island_and_no_ends(tmp_path: Path) -> None:
    net = File()
    proof = net.certify(tmp_path, net.add("TANH", [net.input([1, 4])], [1, 4]))
    assert found(proof) == (0, 0, 1)


def judged(proof: Certificate, wide: WideEnds) -> tuple[str, ...]:
    specs = [tuple(replace(item, dtype="float32") for item in side)
             for side in (proof.inputs, proof.outputs)]  # fmt: skip
    return judge(proof, SCHEMES["int8"], "int8", "tensor", *specs, Mix(wide=wide)).problems


def test_only_the_decided_ends_may_be_float(tmp_path: Path) -> None:
    net = File()
    real = net.convert(net.layer(net.input([1, 4], "int8")), "float32")
    proof = net.certify(tmp_path, net.add("TANH", [real], [1, 4]))
    (operator,), (output,) = proof.wide_outputs, (spec.name for spec in proof.outputs)
    assert judged(proof, WideEnds((operator,), (), (output,))) == ()
    refused: Any = judged(proof, WideEnds())
    assert "1 of 3 operators are float32 instead of int8: TANH" in refused[0]
    assert refused[1] == f"output {output!r} is float32 instead of int8."
    inside = judged(proof, WideEnds(("t1",), (), (output,)))
    assert inside[0] == "1 float operators are not at the model's ends: t1."
