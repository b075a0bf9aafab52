"""Keras' recurrent layers in many variants: right values in the file, or one clear sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgeq.conversion.convert import convert_model
from edgeq.converters.lowering.framework_process import TensorFlowProcess
from edgeq.converters.training.states import carry_states, expose_states
from edgeq.errors import DataError, LoweringError, UnsupportedLayerError
from edgeq.tflite import quantmath
from edgeq.values import Conversion, ConvertOptions, TensorSpec
from tests.conftest import make_once

NAMES = ("masked-lstm", "masked-two-way", "states-returned", "states-given", "stacked-cells",
         "reset-before", "dropout", "relu", "two-way")  # fmt: skip
# Of an output against Keras' own values, on samples that did not calibrate: drawn like those, and
# so small that no output leaves the range.
LEAST_DB = {"any": 20, "inside": 30}


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
    """The outputs of the file, called as applications call it: sample by sample, with no reset."""
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
    for kind, least_db in LEAST_DB.items():
        with np.load(models / f"{name}-{kind}.npz") as stored:
            inputs = {k.removeprefix("in_"): v for k, v in stored.items() if k.startswith("in_")}
            truth = [v for k, v in stored.items() if k.startswith("out_")]
        found = answers(tmp_path / "o.tflite", made, inputs)
        assert len(found) == len(truth)
        for own, wanted in zip(found, truth, strict=True):
            assert sqnr_db(own, wanted) > least_db


def test_the_code_that_refuses_a_stateful_layer_makes_a_model_of_steps(
    models: Path, tmp_path: Path, tensorflow: TensorFlowProcess
) -> None:
    """The printed command is run as it is; the file then gets the states that it returned."""
    import keras

    with pytest.raises(LoweringError, match="Layer 'memory' has stateful=True: it keeps") as told:
        convert("stateful", models, tmp_path, tensorflow)
    command = str(told.value.hint).partition("Run: ")[2]
    assert command.startswith("python -c '")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # of `python`
    subprocess.run(command, shell=True, check=True, env={**os.environ, "PATH": path})
    steps = keras.saving.load_model(models / "stateful_states.keras")
    with np.load(models / "stateful.npz") as stored:
        carried = carry_states(steps, {"x": stored["x"]}, starts=(0, 100))
    assert not carried["memory_state_c"][[0, 100]].any() and carried["memory_state_c"][99].any()
    np.savez(models / "stateful_states.npz", **carried)
    made = convert("stateful_states", models, tmp_path, tensorflow)
    proof = made.certificate
    states = {"gate_state_h", "memory_state_h", "memory_state_c"}
    assert {spec.name for spec in proof.inputs if spec.dtype == "float32"} == states
    assert {spec.name for spec in proof.outputs if spec.dtype == "float32"} == {
        f"{name}_out" for name in states
    }
    assert proof.float_islands == 0 and "convert.wide_inputs" in {i.code for i in made.issues}
    runner = Interpreter(str(tmp_path / "o.tflite")).get_signature_runner()
    entry = next(spec for spec in proof.inputs if spec.name == "x")
    (last,) = (spec for spec in proof.outputs if not spec.name.endswith("_out"))
    with np.load(models / "stateful-inside.npz") as stored:
        inputs, truth = stored["in_x"], stored["out_0"]
    given = {spec.name: np.zeros((1, *spec.shape[1:]), np.float32) for spec in proof.inputs}
    found = []
    for sample in inputs:
        results = runner(**{**given, "x": as_stored(sample[np.newaxis], entry)})
        given = {name: results[f"{name}_out"] for name in states}
        found.append(quantmath.dequantize(results[last.name], last)[0])
    assert sqnr_db(np.stack(found), truth) > LEAST_DB["inside"]


def test_states_are_exposed_of_layers_of_the_model_only() -> None:
    import keras

    layers = keras.layers
    entry = keras.Input((2, 3), batch_size=1)
    plain = keras.Model(entry, layers.LSTM(4)(entry))
    with pytest.raises(UnsupportedLayerError, match="No layer of the model has stateful=True"):
        expose_states(plain)
    both = layers.Bidirectional(layers.LSTM(4, stateful=True))
    with pytest.raises(UnsupportedLayerError, match="is inside another layer"):
        expose_states(keras.Model(entry, both(entry)))
    memory = layers.SimpleRNN(4, stateful=True, return_sequences=True, name="memory")
    steps = expose_states(keras.Sequential([entry, memory, layers.Dense(3)]))
    with pytest.raises(DataError, match=r"without its states are .*; the samples have y"):
        carry_states(steps, {"y": np.zeros((1, 2, 3), np.float32)})


def sqnr_db(found: Any, wanted: Any) -> float:
    error = np.sum((found - wanted) ** 2) / np.sum((wanted - wanted.mean(0)) ** 2)
    return float(-10 * np.log10(error))
