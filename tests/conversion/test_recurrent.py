"""Inside of unrolled recurrent layers, activations are INT16: errors add up over the steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq import api
from edgeq.accuracy.verdict import worst_sqnr_db
from edgeq.errors import UsageError
from edgeq.values import Conversion, ConvertOptions, TuneOptions
from tests.converters.rewrites.tiny_graphs import Builder, schema
from tests.recurrent_nets import dense, one_step, sequences, unrolled

UNITS = np.array([15.0, 1.0, 1.0, 1.0])


def convert(folder: Path, units: Any = 1.0, **options: Any) -> Conversion:
    source = folder / "net.tflite"
    source.write_bytes(unrolled(units))
    data = sequences(units=units)
    return api.convert(source, folder / "o.tflite", data=data, effort="fast", **options)


def kinds(made: Conversion, precision: str) -> set[str]:
    return {item.name for item in made.certificate.operators if item.precision == precision}


def test_int16_inside_keeps_what_int8_loses(tmp_path: Path) -> None:
    wide, narrow = (convert(tmp_path, recurrent=dtype) for dtype in ("int16", "int8"))
    assert kinds(narrow, "int16x8") == set()
    steps = {"ADD", "FULLY_CONNECTED", "LOGISTIC", "MUL", "SLICE", "SUB", "TANH"}
    assert kinds(wide, "int16x8") == steps and kinds(wide, "float32") == set()
    for made in (wide, narrow):
        ends = (*made.certificate.inputs, *made.certificate.outputs)
        assert {end.dtype for end in ends} == {"int8"} and not made.certificate.problems
    figures = [worst_sqnr_db(made.quality) for made in (wide, narrow) if made.quality is not None]
    assert figures[0] > 30 and figures[0] > figures[1] + 6


def test_an_input_with_unlike_features_reaches_the_layer_in_int16(tmp_path: Path) -> None:
    made = convert(tmp_path, UNITS)
    proof = made.certificate
    assert (proof.inputs[0].dtype, proof.outputs[0].dtype) == ("float32", "int8")
    assert (kinds(made, "float32"), proof.problems, proof.float_islands) == (set(), (), 0)
    (note,) = [item.message for item in made.issues if item.code == "convert.wide_inputs"]
    assert note.startswith("input 'x' is float32, because its features have unlike ranges, and ")
    assert note.endswith("dB: the first layers get it in INT16")
    assert made.quality is not None and worst_sqnr_db(made.quality) > 20
    typed = convert(tmp_path, UNITS, io="int8")
    assert typed.certificate.inputs[0].dtype == "int8"
    (warning,) = [item.message for item in typed.issues if item.code == "convert.narrow_inputs"]
    assert "its step alone leaves" in warning
    assert typed.quality is not None and worst_sqnr_db(typed.quality) < 15


def test_states_that_are_inputs_and_outputs_are_float32_and_may_grow(tmp_path: Path) -> None:
    """In use, they are up to 1.8 times as large as in the representative dataset."""
    source = tmp_path / "step.tflite"
    source.write_bytes(one_step())
    random = np.random.default_rng(1)

    def samples(size: float) -> dict[str, Any]:
        states = {name: random.uniform(-size, size, (100, 8)) for name in ("hidden", "cell")}
        return {"x": random.uniform(-1, 1, (100, 4)), **states}

    made = api.convert(
        source, tmp_path / "o.tflite", data=samples(0.5), test_data=samples(0.9), effort="fast"
    )
    proof = made.certificate
    assert [spec.dtype for spec in proof.inputs] == ["int8", "float32", "float32"]
    assert [spec.dtype for spec in proof.outputs] == ["int8", "float32", "float32"]
    assert (proof.float_islands, proof.problems, kinds(made, "float32")) == (0, (), set())
    (note,) = [item.message for item in made.issues if item.code == "convert.wide_inputs"]
    assert note.startswith("states ('hidden', 'cell') are float32 in and out, because INT8 would")
    assert made.quality is not None
    assert min(output.sqnr_db for output in made.quality.outputs[1:]) > 35
    typed = api.convert(source, tmp_path / "o.tflite", data=samples(0.5), effort="fast", io="int8")
    assert {spec.dtype for spec in typed.certificate.inputs} == {"int8"}
    (warning,) = [item.message for item in typed.issues if item.code == "convert.narrow_inputs"]
    assert warning.startswith("states ('hidden', 'cell') are int8, as --io int8 requests, and")


def test_int8_inside_is_refused_where_it_has_no_effect(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--recurrent int8 requires --scheme int8 and edgeq's own"):
        convert(tmp_path, recurrent="int8", scheme="int16x8")
    source = tmp_path / "masked.tflite"
    source.write_bytes(masked())
    data = np.random.default_rng(0).uniform(-1, 1, (20, 4, 3)).astype("f4")
    with pytest.raises(UsageError, match=r"--recurrent int8 is for unrolled .* model: it has none"):
        api.convert(source, tmp_path / "o.tflite", data=data, effort="fast", recurrent="int8")


def test_tune_keeps_to_the_dtype_inside(tmp_path: Path) -> None:
    source = tmp_path / "net.tflite"
    source.write_bytes(unrolled())
    for dtype, wide in (("int8", False), ("int16", True)):
        options = TuneOptions(
            convert=ConvertOptions(recurrent=dtype, min_sqnr_db=1.0), max_trials=1, jobs=1
        )
        made = api.tune(source, tmp_path / "t.tflite", data=sequences(), options=options)
        precisions = {item.precision for item in made.certificate.operators}
        assert ("int16x8" in precisions) is wide


def test_an_unknown_dtype_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Unknown dtype 'int4' inside recurrent layers; use one"):
        convert(tmp_path, recurrent="int4")


MARK = -999.0


def masked() -> bytes:
    """A dense layer on the steps that are not MARK in all features, as Keras' Masking leaves."""
    net, random = Builder(), np.random.default_rng(0)
    source = net.input([1, 4, 3])
    differs = net.add("NOT_EQUAL", [source, net.constant(np.float32(MARK))], [1, 4, 3], "bool")
    options = schema.ReducerOptionsT()
    options.keepDims = True
    axis = net.constant([2], "int32")
    there = net.add("REDUCE_ANY", [differs, axis], [1, 4, 1], "bool", options=options)
    kept = net.add("SELECT_V2", [there, source, net.constant(np.float32(0))], [1, 4, 3])
    flat = net.add("RESHAPE", [kept, net.constant([1, 12], "int32")], [1, 12])
    return net.content(dense(net, flat, net.constant(random.normal(0, 1, (3, 12))), -1))


@pytest.mark.parametrize("scheme", ["int8", "int16x8"])
def test_the_value_of_masked_steps_does_not_widen_the_range(tmp_path: Path, scheme: str) -> None:
    random = np.random.default_rng(0)
    data = np.float32(random.normal(0, 1, (120, 4, 3)))
    data[random.random((120, 4)) < 0.5] = MARK
    (tmp_path / "net.tflite").write_bytes(masked())
    made = api.convert(
        tmp_path / "net.tflite", tmp_path / "o.tflite", data=data, effort="fast", scheme=scheme
    )
    assert made.certificate.inputs[0].scales[0] < 8 / 255
    assert made.quality is not None and worst_sqnr_db(made.quality) > 30
