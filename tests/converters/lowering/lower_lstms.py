"""Lower live Keras models with `--lstm fused` and print what they became, as JSON."""

import json
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
import tf_keras
from ai_edge_litert.interpreter import Interpreter

from edgeq.converters.lowering.live import LiveReader
from edgeq.tflite import flatbuffer
from edgeq.values import ConvertOptions


def models(kit):
    layers = kit.layers
    rows = kit.Input((5, 3))
    chains = {
        "last": [layers.LSTM(4), layers.Dense(2)],
        "two-way": [layers.Bidirectional(layers.LSTM(4, return_sequences=True)), layers.LSTM(3)],
        "backwards": [layers.LSTM(4, go_backwards=True, use_bias=False, return_sequences=True)],
        "relu": [layers.LSTM(4, activation="relu")],
        "masked": [layers.Masking(), layers.LSTM(4)],
        "after a GRU": [layers.GRU(4, return_sequences=True), layers.LSTM(3)],
    }
    for name, chain in chains.items():
        result = rows
        for layer in chain:
            result = layer(result)
        yield name, kit.Model(rows, result)
    _, *state = layers.LSTM(4, return_state=True)(rows)
    yield "given state", kit.Model(rows, layers.LSTM(4)(rows, initial_state=state))


def lower(model, folder):
    generator = np.random.default_rng(0)
    model.set_weights([generator.normal(size=item.shape) for item in model.get_weights()])
    reader = LiveReader(model)
    made = reader.lower(ConvertOptions(lstm="fused", batch=2), folder)
    content = Path(made.file.path).read_bytes()
    values = generator.normal(size=(2, 5, 3)).astype(np.float32)
    (expected,) = reader.predict({made.inputs[0].name: values}).values()
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values)
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    tree = flatbuffer.parse(content, "it")
    kinds = [flatbuffer.operator_name(tree, item) for item in tree.subgraphs[0].operators]
    return {
        "fused": len(made.fused_layers),
        "unrolled": len(made.unrolled_layers),
        "lstms": kinds.count("UNIDIRECTIONAL_SEQUENCE_LSTM"),
        "loops": kinds.count("WHILE"),
        "deviation": float(np.abs(found - expected).max()),
    }


with tempfile.TemporaryDirectory() as scratch:
    sys.stdout.write(
        json.dumps(
            {
                kit.__name__: {name: lower(model, Path(scratch)) for name, model in models(kit)}
                for kit in (keras, tf_keras)
            }
        )
    )
