"""What the fake Interpreter of Java asks: LiteRT's Python runtime, on files of a folder."""

import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

folder, command, *arguments = Path(sys.argv[1]), *sys.argv[2:]
interpreter = Interpreter(str(folder / "model.tflite"))
inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()


def read(place, detail):
    content = (folder / f"in-{place}").read_bytes()
    return np.frombuffer(content, detail["dtype"]).reshape(detail["shape"])


if command in {"input", "output"}:
    names = [detail["name"] for detail in (inputs if command == "input" else outputs)]
    sys.exit(names.index(arguments[0]))
if command == "signature":
    key, count = arguments[0], int(arguments[1])
    names, found = arguments[2 : 2 + count], arguments[2 + count :]
    runner = interpreter.get_signature_runner(key)
    details = runner.get_input_details()
    results = runner(**{name: read(i, details[name]) for i, name in enumerate(names)})
    values = [results[name] for name in found]
else:
    interpreter.allocate_tensors()
    for i, detail in enumerate(inputs):
        interpreter.set_tensor(detail["index"], read(i, detail))
    interpreter.invoke()
    values = [interpreter.get_tensor(detail["index"]) for detail in outputs]
for i, value in enumerate(values):
    (folder / f"out-{i}").write_bytes(value.tobytes())
