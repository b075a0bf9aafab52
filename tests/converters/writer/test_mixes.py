from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgeq import models
from edgeq.converters.calibration import calibrate
from edgeq.converters.calibration.statistics import choose_ranges, make_ranges
from edgeq.converters.proof import certificate
from edgeq.converters.quantization import quantize as quantization
from edgeq.converters.quantization.selectors import Mix, select_mix
from edgeq.errors import QuantizationError, UsageError
from edgeq.tflite import flatbuffer, quantmath
from edgeq.values import FloatModel, Ranges
from edgeq.values.schemes import SCHEMES
from tests import tiny_models

Quantize = Callable[..., bytes]
PIXELS = np.load(models.path("fashion_mnist_test.npz"))["x"][:40].astype(np.float32) / 255


def fed() -> Iterator[dict[str, np.ndarray]]:
    return ({"image": image} for image in PIXELS)


@pytest.fixture(scope="module")
def ranges(float_mobilenet: FloatModel, tmp_path_factory: pytest.TempPathFactory) -> Ranges:
    folder = tmp_path_factory.mktemp("ranges")
    run = calibrate.run_float_model(float_mobilenet, fed(), folder, 1)
    return choose_ranges(run.statistics, "minmax")


@pytest.fixture(scope="module")
def quantize(float_mobilenet: FloatModel, ranges: Ranges) -> Quantize:
    def make(scheme: str, io: str, mix: Mix) -> bytes:
        source = content(float_mobilenet)
        return quantization.quantize(source, ranges, SCHEMES[scheme], io, "channel", mix)

    return make


def content(model: FloatModel) -> bytes:
    return Path(model.file.path).read_bytes()


def run(content: bytes) -> np.ndarray:
    """Outputs in real units."""
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    tree = flatbuffer.parse(content, "it")
    (given,), (wanted,) = flatbuffer.interface(tree)
    own = interpreter.get_input_details()[0]["index"]
    results = []
    for image in PIXELS:
        interpreter.set_tensor(own, quantmath.quantize(image[np.newaxis], given))
        interpreter.invoke()
        values = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        results.append(quantmath.dequantize(values, wanted))
    return np.concatenate(results)


def operators(content: bytes) -> list[str]:
    tree = flatbuffer.parse(content, "it")
    return [flatbuffer.operator_name(tree, op) for op in tree.subgraphs[0].operators]


@pytest.mark.parametrize("io", ["int8", "uint8", "float32"])
@pytest.mark.parametrize(("side", "precision"), [("keep_float", "float32"), ("int16", "int16x8")])
def test_just_the_named_operators_change_precision(
    side: str, precision: str, io: str, float_mobilenet: FloatModel, quantize: Quantize,
    tmp_path: Path,
) -> None:  # fmt: skip
    selectors = {"keep_float": (), "int16": (), side: ("type:MEAN", "type:SOFTMAX", "conv2d_1")}
    mix = select_mix(content(float_mobilenet), **selectors)
    path = tmp_path / "mixed.tflite"
    path.write_bytes(quantize("int8", io, mix))
    proof = certificate.judge(
        certificate.certify(path), SCHEMES["int8"], io, "channel", float_mobilenet.inputs,
        float_mobilenet.outputs, mix,
    )  # fmt: skip
    assert proof.problems == ()
    chosen = {op.output for op in proof.operators if op.precision == precision}
    assert chosen == set(getattr(mix, side)) and len(chosen) > 2
    kinds = {op.precision for op in proof.operators if op.output not in chosen}
    assert kinds == {"int8", "convert"}
    assert (
        np.mean(run(path.read_bytes()).argmax(1) == run(content(float_mobilenet)).argmax(1)) > 0.9
    )


def test_all_operators_in_float_are_the_float_model(
    float_mobilenet: FloatModel, quantize: Quantize
) -> None:
    mix = select_mix(content(float_mobilenet), (".",), ())
    made = quantize("int8", "float32", mix)
    assert operators(made) == operators(content(float_mobilenet))
    np.testing.assert_array_equal(run(made), run(content(float_mobilenet)))


def test_all_operators_in_int16_are_the_16x8_model(
    float_mobilenet: FloatModel, quantize: Quantize
) -> None:
    made = quantize("int8", "float32", select_mix(content(float_mobilenet), (), (".",)))
    whole = quantize("int16x8", "float32", Mix())
    assert operators(made) == operators(whole)
    np.testing.assert_array_equal(run(made), run(whole))


def test_neighbours_of_one_precision_meet_without_a_conversion(
    float_mobilenet: FloatModel, quantize: Quantize
) -> None:
    """An INT16 softmax behind a float dense layer: what is float is not rounded to INT8 first."""
    mix = select_mix(content(float_mobilenet), ("type:FULLY_CONNECTED",), ("type:SOFTMAX",))
    last = operators(quantize("int8", "int8", mix))[-5:]
    assert last == ["DEQUANTIZE", "FULLY_CONNECTED", "QUANTIZE", "SOFTMAX", "QUANTIZE"]


def test_int16_raises_the_oldest_runtime(float_mobilenet: FloatModel, quantize: Quantize) -> None:
    plain, mixed = (
        flatbuffer.parse(quantize("int8", "int8", Mix(int16=names)), "it")
        for names in ((), select_mix(content(float_mobilenet), (), ("type:MEAN",)).int16)
    )
    assert flatbuffer.min_runtime_version(mixed) == "2.6.0"
    assert flatbuffer.release(flatbuffer.min_runtime_version(plain) or "") < (2, 6)


def test_both_for_one_operator_contradict_each_other(float_mobilenet: FloatModel) -> None:
    with pytest.raises(UsageError) as caught:
        select_mix(content(float_mobilenet), ("type:SOFTMAX",), (".",))
    (name,) = select_mix(content(float_mobilenet), ("type:SOFTMAX",), ()).keep_float
    assert caught.value.message == (
        f"--keep-float and --int16 contradict each other: both select {name!r}."
    )


def test_an_operator_without_a_16x8_kernel_is_named(tmp_path: Path) -> None:
    path = tmp_path / "swish.tflite"
    graph = tiny_models.graph(
        [tiny_models.tensor("image", (1, 4)), tiny_models.tensor("swish", (1, 4))],
        [0], [1], [tiny_models.operator(0, [0], [1], tiny_models.schema.HardSwishOptionsT())],
    )  # fmt: skip
    path.write_bytes(tiny_models.model([graph], [(tiny_models.Operator.HARD_SWISH, 1)]))
    ranges = make_ranges("minmax", 1, ())
    with pytest.raises(QuantizationError) as caught:
        quantization.quantize(
            path.read_bytes(), ranges, SCHEMES["int8"], "int8", "channel", Mix(int16=("swish",))
        )
    assert caught.value.message == "TensorFlow Lite has no 16x8 kernel for HARD_SWISH (swish)."
