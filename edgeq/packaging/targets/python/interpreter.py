"""A TensorFlow Lite model behind the runtime there is: ai-edge-litert or tflite-runtime."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from .tensors import Array, Input, Output

_MODULES = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")


class Runner:
    """A loaded model; its class says what goes in and what comes out.

    It is for one thread at a time. Nothing has to be closed.

    Args:
        threads: that the kernels use.

    Attributes:
        runtime: the module that runs it.

    Raises:
        ImportError: no runtime is installed.
    """

    NAME: ClassVar[str]
    VERSION: ClassVar[str]
    SHA256: ClassVar[str]
    SIGNATURE: ClassVar[str | None]
    INPUTS: ClassVar[tuple[Input, ...]]
    OUTPUTS: ClassVar[tuple[Output, ...]]

    def __init__(self, threads: int = 1) -> None:
        module = _import_runtime()
        self.runtime = module.__name__.split(".")[0].replace("_", "-")
        self._interpreter = module.Interpreter(model_path=str(self.file()), num_threads=threads)
        self._interpreter.allocate_tensors()
        inputs = {item["name"]: item for item in self._interpreter.get_input_details()}
        outputs = {item["name"]: item for item in self._interpreter.get_output_details()}
        if self.SIGNATURE is not None:  # its names may be others than the tensors' own
            signature = self._interpreter.get_signature_runner(self.SIGNATURE)
            inputs.update(signature.get_input_details())
            outputs.update(signature.get_output_details())
        self._inputs = {item.name: int(inputs[item.name]["index"]) for item in self.INPUTS}
        self._outputs = {item.name: int(outputs[item.name]["index"]) for item in self.OUTPUTS}

    @classmethod
    def file(cls) -> Path:
        """The model."""
        return Path(__file__).with_name(f"{cls.NAME}.tflite")

    def prepare(self, raw: Mapping[str, Any]) -> dict[str, Array]:
        """Input tensors of a raw sample, by input name.

        Raises:
            ValueError: an input is missing, or does not fit.
        """
        missing = [item.name for item in self.INPUTS if item.name not in raw]
        if missing:
            raise ValueError(f"There is no {', '.join(missing)} in the sample.")
        return {item.name: item.prepare(raw[item.name]) for item in self.INPUTS}

    def run(self, tensors: Mapping[str, Array]) -> dict[str, Array]:
        """Output tensors of input tensors, by name, in the model's own numbers."""
        for name, index in self._inputs.items():
            self._interpreter.set_tensor(index, tensors[name])
        self._interpreter.reset_all_variables()  # no call depends on the one before
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}


def _import_runtime() -> Any:
    for name in _MODULES:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not name.startswith(error.name):
                raise  # it is there, and lacks something else
    raise ImportError("No runtime is installed: pip install ai-edge-litert (or tflite-runtime).")
