"""Inside of unrolled recurrent layers, activations are INT16: errors add up over the steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq import api
from edgeq.accuracy.verdict import worst_sqnr_db
from edgeq.errors import UsageError
from edgeq.values import Conversion
from tests.recurrent_nets import sequences, unrolled

UNITS = np.array([60.0, 1.0, 1.0, 1.0])


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
    assert made.quality is not None and worst_sqnr_db(made.quality) > 30
    typed = convert(tmp_path, UNITS, io="int8")
    assert typed.certificate.inputs[0].dtype == "int8"
    (warning,) = [item.message for item in typed.issues if item.code == "convert.narrow_inputs"]
    assert "its step alone leaves" in warning
    assert typed.quality is not None and worst_sqnr_db(typed.quality) < 20


def test_an_unknown_dtype_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Unknown dtype 'int4' inside recurrent layers; use one"):
        convert(tmp_path, recurrent="int4")
