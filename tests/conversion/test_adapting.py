from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeq.conversion.adapting import adapt
from edgeq.converters.lowering import lower
from edgeq.errors import SourceError
from edgeq.tflite import flatbuffer
from edgeq.values import ConvertOptions, FloatModel
from edgeq.values.schemes import SCHEMES
from tests.tiny_models import dense


def adopt(folder: Path, dtype: str, last_weight: float | None = None) -> FloatModel:
    path = folder / "m.tflite"
    path.write_bytes(dense(dtype, last_weight))
    return lower.adopt(path, ConvertOptions())


@pytest.mark.parametrize("scheme", ["int8", "dynamic"])
def test_a_file_with_half_weights_is_a_float_model(scheme: str, tmp_path: Path) -> None:
    model = adopt(tmp_path, "float16")
    made = adapt(model, SCHEMES[scheme], ConvertOptions(), tmp_path)
    assert (made.source, made.inputs, made.outputs) == (model.source, model.inputs, model.outputs)
    assert made.rewrites == ("FP16 weights unpacked (2)",)
    tree = flatbuffer.read(Path(made.file.path))
    names = [flatbuffer.operator_name(tree, item) for item in tree.subgraphs[0].operators]
    assert names == ["RESHAPE", "FULLY_CONNECTED", "FULLY_CONNECTED"]


def test_a_file_with_plain_weights_is_used_as_it_is(tmp_path: Path) -> None:
    model = adopt(tmp_path, "float32")
    assert adapt(model, SCHEMES["int8"], ConvertOptions(), tmp_path) is model


def test_half_weights_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    model = adopt(tmp_path, "float16", np.nan)
    with pytest.raises(SourceError, match="The weights of layer 'y' hold NaN"):
        adapt(model, SCHEMES["int8"], ConvertOptions(), tmp_path)
