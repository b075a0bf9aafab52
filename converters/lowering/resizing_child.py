"""The child that finds the shape of every tensor of a float `.tflite` after its inputs are resized.

    edgeq.converters.lowering.resizing_child MODEL RESULT.json SHAPES

SHAPES is a JSON list of the inputs' shapes; the result maps tensors to their shapes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgeq.children import sandbox


def main() -> None:
    """Resize, run once, because some shapes are computed, and write the shapes."""
    sandbox.confine_as_planned()
    model, result, shapes = sys.argv[1:]
    # XNNPACK hides the tensors inside it.
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        interpreter = Interpreter(model_path=model, experimental_op_resolver_type=plain)
        inputs = interpreter.get_input_details()
        for item, shape in zip(inputs, json.loads(shapes), strict=True):
            interpreter.resize_tensor_input(item["index"], shape)
        interpreter.allocate_tensors()
        for item in interpreter.get_input_details():
            interpreter.set_tensor(item["index"], np.zeros(item["shape"], item["dtype"]))
        interpreter.invoke()
    except (RuntimeError, ValueError) as error:
        sys.exit(str(error).splitlines()[-1] if str(error) else repr(error))
    found = {item["index"]: item["shape"].tolist() for item in interpreter.get_tensor_details()}
    Path(result).write_bytes(json.dumps(found).encode())
