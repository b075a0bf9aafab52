"""Runs the models of a folder in one runtime. A kernel may crash: then the caller starts it again.

    child.py RUNTIME FOLDER

It needs numpy and the runtime only. Of NAME.COUNT.tflite with COUNT results and NAME.COUNT.npz (the
inputs "0", "1"...) it makes NAME.COUNT.out.npz with the results, or NAME.COUNT.error with the
reason why there are none.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import numpy as np

_SECONDS = 20


def _litert(package, resolver):
    module = __import__(f"{package}.interpreter", fromlist=["interpreter"])
    kinds = module.OpResolverType

    def run(content, inputs, count):
        interpreter = module.Interpreter(
            model_content=content,
            num_threads=1,
            experimental_op_resolver_type=getattr(kinds, resolver),
        )
        interpreter.allocate_tensors()
        for detail, values in zip(interpreter.get_input_details(), inputs, strict=True):
            interpreter.set_tensor(detail["index"], values)
        interpreter.invoke()
        return [interpreter.get_tensor(item["index"]) for item in interpreter.get_output_details()]

    return run


def _micro():
    import tflite_micro

    def run(content, inputs, count):
        interpreter = tflite_micro.runtime.Interpreter.from_bytes(content, arena_size=1 << 20)
        for index, values in enumerate(inputs):
            interpreter.set_input(values, index)
        interpreter.invoke()
        return [interpreter.get_output(index) for index in range(count)]

    return run


_RUNNERS = {
    "litert": lambda: _litert("ai_edge_litert", "BUILTIN_WITHOUT_DEFAULT_DELEGATES"),
    "litert-reference": lambda: _litert("ai_edge_litert", "BUILTIN_REF"),
    "litert-xnnpack": lambda: _litert("ai_edge_litert", "AUTO"),
    "tflite-runtime": lambda: _litert("tflite_runtime", "BUILTIN_WITHOUT_DEFAULT_DELEGATES"),
    "tflite-runtime-reference": lambda: _litert("tflite_runtime", "BUILTIN_REF"),
    "tflite-runtime-xnnpack": lambda: _litert("tflite_runtime", "AUTO"),
    "micro": _micro,
}


def main() -> None:
    runtime, folder = sys.argv[1], Path(sys.argv[2])
    run = _RUNNERS[runtime]()
    for path in sorted(folder.glob("*.tflite")):
        if not path.with_suffix(".error").exists() and not path.with_suffix(".out.npz").exists():
            _one(run, path)


def _one(run, path) -> None:
    # It stays if this process ends here.
    path.with_suffix(".error").write_text("crashed")
    signal.alarm(_SECONDS)
    try:
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as stored:
            inputs = [stored[str(index)] for index in range(len(stored.files))]
        outputs = run(path.read_bytes(), inputs, int(path.stem.rpartition(".")[2]))
        np.savez(path.with_suffix(".out.npz"), **{str(n): item for n, item in enumerate(outputs)})
        path.with_suffix(".error").unlink()
    except Exception as error:  # noqa: BLE001 - any reason is a result
        path.with_suffix(".error").write_text(str(error))


if __name__ == "__main__":
    main()
