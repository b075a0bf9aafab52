"""Which builtin operators the installed tflite-micro knows: python micro_operators_child.py.

It gives the interpreter a model of each; what it then says of missing inputs is of no interest, and
a crash in a kernel means that there is one.
"""

from __future__ import annotations

import os
import tempfile

import flatbuffers
from tflite_micro.python.tflite_micro import runtime
from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema


def build(code: int, custom: str | None = None) -> bytes:
    model, graph, entry = schema.ModelT(), schema.SubGraphT(), schema.OperatorCodeT()
    entry.builtinCode, entry.deprecatedBuiltinCode, entry.version = code, min(code, 127), 1
    entry.customCode = custom
    graph.tensors = [schema.TensorT(), schema.TensorT()]
    for tensor in graph.tensors:
        tensor.shape, tensor.name = [1, 1], "x"
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = [0], [1]
    if code == schema.BuiltinOperator.VAR_HANDLE:
        operator.builtinOptionsType = schema.BuiltinOptions.VarHandleOptions
        operator.builtinOptions = schema.VarHandleOptionsT()
        operator.builtinOptions.sharedName = "x"
    graph.inputs, graph.outputs, graph.operators = [0], [1], [operator]
    model.version, model.subgraphs, model.operatorCodes = 3, [graph], [entry]
    model.buffers = [schema.BufferT()]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def is_known(content: bytes) -> bool:
    with tempfile.TemporaryFile() as log:
        child = os.fork()
        if child == 0:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            try:
                runtime.Interpreter.from_bytes(content, arena_size=100_000)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        log.seek(0)
        return b"Failed to get registration" not in log.read()


for name, number in vars(schema.BuiltinOperator).items():
    if name.isupper() and name != "CUSTOM" and is_known(build(number)):
        print(name)
for name in ("TFLite_Detection_PostProcess", "NoSuchOperator"):
    if is_known(build(schema.BuiltinOperator.CUSTOM, name)):
        print(name)
