"""Keras' recurrent layers in many variants: right values in the file, or one clear sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgeq.conversion.convert import convert_model
from edgeq.converters.lowering.framework_process import TensorFlowProcess
from edgeq.errors import LoweringError
from edgeq.tflite import quantmath
from edgeq.values import Conversion, ConvertOptions, TensorSpec
from tests.conftest import make_once

NAMES = ("masked-lstm", "masked-two-way", "states-returned", "states-given", "stacked-cells",
         "reset-before", "dropout")  # fmt: skip
LEAST_DB = 20  # of an output against Keras' own values, on samples that did not calibrate


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("tensorflow")
    script = Path(__file__).with_name("make_recurrent_models.py")
    return make_once(
        tmp_path_factory, "recurrent",
        lambda made: subprocess.run([sys.executable, script, made], check=True),
    )  # fmt: skip


def convert(name: str, models: Path, folder: Path, tensorflow: TensorFlowProcess) -> Conversion:
    return convert_model(
        models / f"{name}.keras", folder / "o.tflite", data=models / f"{name}.npz",
        test_data=None, preprocess=[], options=ConvertOptions(effort="fast"), verbose=False,
        on_progress=lambda step, done, total: None, tensorflow=tensorflow,
    )  # fmt: skip


def answers(path: Path, made: Conversion, inputs: dict[str, Any]) -> list[Any]:
    """What the file computes, as an application calls it: one sample after the other, no reset."""
    runner = Interpreter(str(path)).get_signature_runner()
    proof, found = made.certificate, []
    for number in range(len(next(iter(inputs.values())))):
        given = {
            spec.name: as_stored(inputs[spec.name][number : number + 1], spec)
            for spec in proof.inputs
        }
        results = runner(**given)
        found.append([quantmath.dequantize(results[one.name], one) for one in proof.outputs])
    return [np.concatenate(column) for column in zip(*found, strict=True)]


def as_stored(values: Any, spec: TensorSpec) -> Any:
    return quantmath.quantize(values, spec) if spec.scales else values


@pytest.mark.parametrize("name", NAMES)
def test_the_file_computes_what_keras_does(
    name: str, models: Path, tmp_path: Path, tensorflow: TensorFlowProcess
) -> None:
    made = convert(name, models, tmp_path, tensorflow)
    assert made.certificate.float_islands == 0
    with np.load(models / f"{name}-truth.npz") as stored:
        inputs = {k.removeprefix("in_"): v for k, v in stored.items() if k.startswith("in_")}
        truth = [v for k, v in stored.items() if k.startswith("out_")]
    found = answers(tmp_path / "o.tflite", made, inputs)
    assert len(found) == len(truth)
    for own, wanted in zip(found, truth, strict=True):
        error = np.sum((own - wanted) ** 2) / np.sum((wanted - wanted.mean(0)) ** 2)
        assert -10 * np.log10(error) > LEAST_DB


def test_a_stateful_layer_is_refused_with_what_to_do(
    models: Path, tmp_path: Path, tensorflow: TensorFlowProcess
) -> None:
    with pytest.raises(LoweringError, match="Layer 'memory' has stateful=True: it keeps") as told:
        convert("stateful", models, tmp_path, tensorflow)
    assert told.value.hint is not None and "initial_state=[keras.Input((units,))" in told.value.hint
