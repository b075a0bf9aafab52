"""A TensorFlow Lite model behind the runtime there is: ai-edge-litert or tflite-runtime."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from .results import Boxes, Join, Letterbox, find_results
from .tensors import Array, Input, Output

_MODULES = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")


class Runner:
    """A loaded model; its class says what goes in and what comes out.

    Of several threads that call it, one waits for another. Nothing has to be closed.

    Args:
        threads: that the kernels use.
        model: another file with the same inputs and outputs, such as a newer one; the package's
            own without one.

    Attributes:
        runtime: the module that runs it.

    Raises:
        ImportError: no runtime is installed.
        ValueError: the file is another model than this code was made for.
    """

    NAME: ClassVar[str]
    VERSION: ClassVar[str]
    SHA256: ClassVar[str]
    SIGNATURE: ClassVar[str | None]
    INPUTS: ClassVar[tuple[Input, ...]]
    OUTPUTS: ClassVar[tuple[Output, ...]]
    JOINS: ClassVar[tuple[Join, ...]] = ()
    BOXES: ClassVar[Boxes | None] = None
    LETTERBOX: ClassVar[Letterbox | None] = None

    def __init__(self, threads: int = 1, model: str | Path | None = None) -> None:
        module = _import_runtime()
        self.runtime = module.__name__.split(".")[0].replace("_", "-")
        path = str(self.file() if model is None else model)
        self._lock = threading.Lock()
        self._interpreter = module.Interpreter(model_path=path, num_threads=threads)
        try:
            self._inputs, self._outputs = self._find_tensors()
        except ValueError as error:
            raise ValueError(
                f"{path} is not the model that this code was made for: {error}"
            ) from error
        self._interpreter.allocate_tensors()

    def _find_tensors(self) -> tuple[dict[str, int], dict[str, int]]:
        """Index of each input and output. With other scales, the same bytes are other numbers."""
        own = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        if tuple(map(len, own)) != (len(self.INPUTS), len(self.OUTPUTS)):
            raise ValueError("it has another number of inputs or outputs.")
        inputs, outputs = ({item["name"]: item for item in side} for side in own)
        if self.SIGNATURE is not None:  # its names may be others than the tensors' own
            signature = self._interpreter.get_signature_runner(self.SIGNATURE)
            inputs.update(signature.get_input_details())
            outputs.update(signature.get_output_details())
        return (
            {item.name: _require_tensor(item, inputs) for item in self.INPUTS},
            {item.name: _require_tensor(item, outputs) for item in self.OUTPUTS},
        )

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
        interpreter = self._interpreter
        with self._lock:  # another thread's sample must not come between
            for name, index in self._inputs.items():
                tensor = np.asarray(tensors[name])
                # The runtime would copy the bytes of another order as they are.
                native = tensor.astype(tensor.dtype.newbyteorder("="), copy=False)
                interpreter.set_tensor(index, native)
            interpreter.reset_all_variables()  # no call depends on the previous one
            interpreter.invoke()
            return {name: interpreter.get_tensor(index) for name, index in self._outputs.items()}

    def results(self, tensors: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs that the file gives in parts, and boxes, by name; from the output tensors."""
        real = {item.name: item.real(tensors[item.name]) for item in self.OUTPUTS}
        return find_results(real, self.JOINS, self.BOXES)


def _require_tensor(wanted: Input | Output, details: Mapping[str, Any]) -> int:
    """Its index, if type, shape and quantization are those that the code has."""
    if wanted.name not in details:
        raise ValueError(f"it has no {wanted.name!r}.")
    found = details[wanted.name]
    own = _show(np.dtype(found["dtype"]).name, found["shape"], *found["quantization"])
    made_for = _show(wanted.dtype, wanted.shape, wanted.scale or 0.0, wanted.zero_point)
    if own != made_for:
        raise ValueError(f"{wanted.name!r} is {own}, not {made_for}.")
    return int(found["index"])


def _show(dtype: str, shape: Any, scale: float, zero_point: int) -> str:
    text = f"{dtype} {tuple(int(size) for size in shape)}"
    if not scale:
        return text
    return f"{text} with scale {np.float32(scale)!s} and zero point {zero_point}"


def _import_runtime() -> Any:
    for name in _MODULES:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not name.startswith(error.name):
                raise  # it is installed, and lacks something else
    raise ImportError("No runtime is installed: pip install ai-edge-litert (or tflite-runtime).")
