"""LiteRT's Python runtime behind the fake Interpreter of Java: it tells all tensors of the model in
the folder, then runs it once for each line, on the files `in-PLACE` there."""

import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

folder = Path(sys.argv[1])
interpreter = Interpreter(str(folder / "model.tflite"))


def tell(kind, details):
    for name, detail in details:
        scale, zero_point = detail["quantization"]
        print(
            kind, name.encode().hex(), np.dtype(detail["dtype"]).name.upper(),
            ",".join(map(str, detail["shape"])), scale, zero_point, sep="\t",
        )  # fmt: skip


def read(place, detail):
    content = (folder / f"in-{place}").read_bytes()
    return np.frombuffer(content, detail["dtype"]).reshape(detail["shape"])


signatures = {}
tell("inputs", [(detail["name"], detail) for detail in interpreter.get_input_details()])
tell("outputs", [(detail["name"], detail) for detail in interpreter.get_output_details()])
for key in interpreter.get_signature_list():
    code = key.encode().hex()
    runner = signatures[code] = interpreter.get_signature_runner(key)
    tell(f"inputs of {code}", runner.get_input_details().items())
    tell(f"outputs of {code}", runner.get_output_details().items())
print(flush=True)

for line in sys.stdin:
    if line.strip() in signatures:
        runner = signatures[line.strip()]
        details = runner.get_input_details()
        results = runner(**{name: read(i, details[name]) for i, name in enumerate(details)})
        values = [results[name] for name in runner.get_output_details()]
    else:
        interpreter.allocate_tensors()  # as late as Java does
        for i, detail in enumerate(interpreter.get_input_details()):
            interpreter.set_tensor(detail["index"], read(i, detail))
        interpreter.invoke()
        values = [
            interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()
        ]
    for i, value in enumerate(values):
        (folder / f"out-{i}").write_bytes(value.tobytes())
    print("done", flush=True)
