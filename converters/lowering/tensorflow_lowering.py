"""Lowering with TensorFlow: wrap a live model, trace it, convert it to float.

It runs in a child process (`tensorflow_worker.py`), so that a crash in native code becomes an error
message and the libraries' output stays out of the user's terminal. `edgeq.convert(keras_model)`
uses it in its own process, because a live model cannot be sent to another one.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.python.framework import convert_to_constants

from edgeq.children.serving import NO_MESSAGE
from edgeq.converters.graph import finite_weights
from edgeq.converters.graph.marked_lstm import replace_markers
from edgeq.converters.lowering.lstm_layers import marked
from edgeq.converters.lowering.recurrent_layers import (
    refuse_states,
    unrolled,
    without_dropout,
)
from edgeq.converters.lowering.size_limits import require_small_tensors
from edgeq.errors import EdgeqError, LoweringError
from edgeq.values import TensorSpec

Arrays = Mapping[str, NDArray[Any]]

# Keras names the layer, and quotes what it raised.
_KERAS_ERROR = r"Exception encountered when calling (\S+)\.call\(\)\.\s+(.+?)\s+Arguments received"


@dataclass(frozen=True)
class Loaded:
    """A live model behind one calling convention.

    Attributes:
        framework: that read it, with its version.
        inputs: by name, batch dimension first (-1 where dynamic).
        output_names: in the order `call` returns them.
        call: list of tensors in the order of `inputs` to list of output tensors.
        layers: all Keras layers, nested ones included; empty for SavedModels and functions.
        notes: sentences for the user about how it was read.
    """

    framework: str
    inputs: tuple[TensorSpec, ...]
    output_names: tuple[str, ...]
    call: Callable[[list[Any]], list[Any]]
    layers: tuple[Any, ...] = ()
    notes: tuple[str, ...] = ()


# ---------------------------------------------------------------- wrapping live models


def wrap_keras(model: Any, framework: str, notes: tuple[str, ...] = ()) -> Loaded:
    """Give a Keras 3 or tf_keras model the calling convention of `Loaded`.

    Raises:
        LoweringError: the model declares no inputs (a subclassed model).
    """
    if not getattr(model, "inputs", None):
        raise LoweringError(
            f"Model {model.name!r} declares no inputs, so its input shapes are unknown.",
            hint="Wrap it: keras.Model(inputs, model(inputs)) with keras.Input layers.",
        )
    structure = getattr(model, "_inputs_struct", None)
    if structure is None:
        structure = getattr(model, "_nested_inputs", model.inputs[0])
    if isinstance(structure, dict):
        names = sorted(structure)  # the order of tf.nest
    else:
        names = getattr(model, "input_names", None) or [tensor.name for tensor in model.inputs]
    inputs = tuple(
        TensorSpec(str(name), _shape(tensor.shape), tf.as_dtype(tensor.dtype).name)
        for name, tensor in zip(names, model.inputs, strict=True)
    )

    def call(tensors: list[Any]) -> list[Any]:
        packed = tf.nest.pack_sequence_as(structure, tensors)
        return _flatten(model(packed, training=False))

    return Loaded(framework, inputs, _output_names(model), call, _layers_in_order(model), notes)


def _layers_in_order(model: Any) -> tuple[Any, ...]:
    """All layers; nested ones are at the place of the layer that holds them.

    Keras 3's `_flatten_layers` gives nested ones from the last to the first; tf_keras's does not.
    """
    if type(model).__module__.startswith("tf_keras"):
        return tuple(model._flatten_layers())
    found: dict[int, Any] = {}
    waiting = [model]
    while waiting:
        layer = waiting.pop()
        if id(layer) not in found:
            found[id(layer)] = layer
            waiting += reversed(layer._layers)
    return tuple(found.values())


def _flatten(outputs: Any) -> list[Any]:
    return list(tf.nest.flatten(outputs))


def _output_names(model: Any) -> tuple[str, ...]:
    structure = getattr(model, "_outputs_struct", None)
    if structure is None:
        structure = getattr(model, "_nested_outputs", None)
    if isinstance(structure, dict):
        return tuple(str(name) for name in sorted(structure))
    names = getattr(model, "output_names", None)
    if not names and len(model.outputs) == 1:
        names = [model.layers[-1].name]  # a Sequential model
    if not names or len(names) != len(model.outputs):
        names = [f"output_{index}" for index in range(len(model.outputs))]
    seen: dict[str, int] = {}
    unique = []
    for name in map(str, names):
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name}_{seen[name] - 1}")
    return tuple(unique)


def _shape(shape: Any) -> tuple[int, ...]:
    return tuple(-1 if size is None else int(size) for size in shape)


def wrap_function(function: Any, framework: str, notes: tuple[str, ...] = ()) -> Loaded:
    """Give a concrete function (or a SavedModel signature) the calling convention of `Loaded`.

    Raises:
        LoweringError: an input has an unknown rank.
    """
    positional, named = function.structured_input_signature
    specs = {spec.name: spec for spec in tf.nest.flatten(positional)}
    specs.update(named)
    for name, spec in specs.items():
        if spec.shape.rank is None:
            raise LoweringError(f"Input {name!r} has an unknown rank; give it a shape.")
    inputs = tuple(
        TensorSpec(name, _shape(spec.shape), spec.dtype.name) for name, spec in specs.items()
    )
    outputs = function.structured_outputs
    if isinstance(outputs, dict):
        output_names = tuple(sorted(outputs))
    else:
        output_names = tuple(f"output_{index}" for index in range(len(_flatten(outputs))))

    def call(tensors: list[Any]) -> list[Any]:
        if named and not positional:
            return _flatten(function(**dict(zip(specs, tensors, strict=True))))
        return _flatten(function(*tensors))

    return Loaded(framework, inputs, output_names, call, (), notes)


def wrap_live(model: Any) -> Loaded:
    """Wrap the model of a Python caller: a Keras 3 or tf_keras model, or a concrete function.

    Raises:
        LoweringError: it is something else.
    """
    package = type(model).__module__.split(".")[0]
    bases = {base.__module__.split(".")[0] for base in type(model).__mro__}
    if "tf_keras" in bases and hasattr(model, "layers"):
        import tf_keras

        return wrap_keras(model, f"tf_keras {tf_keras.__version__}")
    if "keras" in bases and hasattr(model, "layers"):
        import keras

        return wrap_keras(model, f"keras {keras.__version__}")
    if hasattr(model, "structured_input_signature"):
        return wrap_function(model, f"tensorflow {tf.__version__}")
    raise LoweringError(
        f"Cannot convert a {package}.{type(model).__name__}.",
        hint="Pass a path, a keras.Model or a tf.function's get_concrete_function(...).",
    )


# ---------------------------------------------------------------- lowering


def fix_shapes(
    inputs: Sequence[TensorSpec], batch: int | None, shapes: Mapping[str, Sequence[int]]
) -> tuple[TensorSpec, ...]:
    """The shapes to trace with.

    Args:
        inputs: as the model declares them.
        batch: size of a dynamic first dimension, or None to keep it dynamic.
        shapes: whole shapes by input name, -1 for dynamic.
    """
    fixed = []
    for spec in inputs:
        shape = tuple(shapes.get(spec.name, spec.shape))
        if shape and shape[0] == -1 and batch is not None and spec.name not in shapes:
            shape = (batch, *shape[1:])
        fixed.append(replace(spec, shape=shape))
    return tuple(fixed)


@dataclass(frozen=True)
class Traced:
    """A traced model.

    Attributes:
        concrete: the function.
        unrolled: names of recurrent layers that were unrolled.
        fused: names of LSTM layers that become one operator each.
    """

    concrete: Any
    unrolled: tuple[str, ...]
    fused: tuple[str, ...] = ()


def trace(loaded: Loaded, inputs: Sequence[TensorSpec], *, fuses: bool = False) -> Traced:
    """Trace with the given shapes.

    This gives the same flatbuffer as exporting a SavedModel and loading it again, in a fraction of
    the time. The converter makes constants of the variables, which `loaded` keeps alive.

    Args:
        loaded: the model.
        inputs: with the shapes to trace, -1 for dynamic.
        fuses: make one operator of each LSTM layer for which that is possible.

    Raises:
        SourceError: weights hold NaN or infinity.
        LoweringError: the model refuses these shapes, its code needs values of tensors, or a tensor
            is larger than 2 GiB.
    """
    signature = [
        tf.TensorSpec(
            [None if size == -1 else size for size in spec.shape],
            tf.as_dtype(spec.dtype),
            # A layer's name can be invalid here: the flatbuffer gets its names afterwards.
            name=f"input_{index}",
        )
        for index, spec in enumerate(inputs)
    ]
    refuse_states(loaded.layers)
    with (
        marked(loaded.layers if fuses else ()) as fused,
        unrolled(loaded.layers) as names,
        without_dropout(loaded.layers),
    ):
        try:
            concrete = _trace(loaded, signature)
        except LoweringError:
            if not names:
                raise
            concrete = None
    if concrete is None:  # the number of time steps is unknown, so the loop must stay
        names, concrete = (), _trace(loaded, signature)
        fused.clear()
    require_small_tensors(concrete)
    finite_weights.require_finite_variables(concrete.variables, loaded.layers)
    return Traced(concrete, tuple(name for name in names if name not in fused), tuple(fused))


def _trace(loaded: Loaded, signature: list[Any]) -> Any:
    traced = tf.function(lambda *tensors: loaded.call(list(tensors)), input_signature=signature)
    try:
        return traced.get_concrete_function()
    except EdgeqError:
        raise
    except Exception as error:
        text = re.sub(r"\x1b\[\d*m", "", str(error))
        raised = re.search(_KERAS_ERROR, text, re.DOTALL)
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        where, cause = raised.groups() if raised else ("The model", (lines or [""])[-1])
        shapes = ", ".join(str(spec.shape) for spec in signature)
        raise LoweringError(
            f"{where} cannot be traced with inputs of shape {shapes}: "
            f"{type(error).__name__}: {' '.join(cause.split())[:300].rstrip('.')}.",
            hint="Set dynamic sizes that it refuses with --input-shape. The code of a custom layer "
            "must use TensorFlow's operations on tensors: no numpy() or float(), no Python loop.",
            details=text,
        ) from error


def lower(traced: Traced) -> bytes:
    """Convert a traced model to a float `.tflite`.

    Raises:
        LoweringError: TensorFlow Lite does not have some operators.
    """
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced.concrete])
    with _interface_only():
        if not traced.fused:
            return run_converter(converter)
        converter.allow_custom_ops = True
        return replace_markers(run_converter(converter))


@contextlib.contextmanager
def _interface_only() -> Iterator[None]:
    """Keep the converter from making a function of the frozen graph.

    Without quantization it reads only the names, shapes and dtypes of its inputs and outputs, which
    are those of the traced function. Making it takes a third of the time of a lowering.
    """

    def construct(function: Any, _graph: Any, constants: set[int]) -> Any:
        captured = {id(function.graph.internal_captures[index]) for index in constants}
        inputs = [tensor for tensor in function.inputs if id(tensor) not in captured]
        return SimpleNamespace(inputs=inputs, outputs=function.outputs)

    original = convert_to_constants._construct_concrete_function
    convert_to_constants._construct_concrete_function = construct
    try:
        yield
    finally:
        convert_to_constants._construct_concrete_function = original


def run_converter(converter: Any) -> bytes:
    """Run `converter.convert()` and explain its errors.

    Raises:
        LoweringError: the converter refused.
    """
    try:
        return bytes(converter.convert())
    except Exception as error:
        text = str(error)
        names = set(re.findall(r"'tf\.(\w+)' op is neither", text))
        listed = re.search(r"(?:TF Select|Custom|Flex) ops: ([\w, ]+)", text)
        if listed:
            names |= {name.strip() for name in listed.group(1).split(",")}
        if names:
            raise LoweringError(
                f"TensorFlow Lite has no operator for: {', '.join(sorted(names))}.",
                hint="Express them with supported layers, or remove them from the exported model.",
                details=text,
            ) from error
        changing = re.search(r"node (\S+)/AssignVariableOp", text)
        if changing:
            raise LoweringError(
                f"AssignVariableOp in {changing.group(1)!r} changes a variable in each inference, "
                "which is lost in a .tflite.",
                hint="Random layers and stateful=True keep such a state: leave them out.",
                details=text,
            ) from error
        first = next((line.strip() for line in text.splitlines() if line.strip()), NO_MESSAGE)
        raise LoweringError(
            f"TFLiteConverter refused the model: {first[:300]}", details=text
        ) from error


def predict(loaded: Loaded, arrays: Arrays) -> dict[str, NDArray[Any]]:
    """Outputs of the source model, the reference for the float `.tflite`.

    Args:
        loaded: the model.
        arrays: input name to [batch, ...] in the input's dtype.
    """
    tensors = [tf.constant(arrays[spec.name], tf.as_dtype(spec.dtype)) for spec in loaded.inputs]
    outputs = loaded.call(tensors)
    return {
        name: np.asarray(value) for name, value in zip(loaded.output_names, outputs, strict=True)
    }


def versions() -> dict[str, str]:
    """Versions of the libraries that lower and quantize, for the record."""
    import keras

    return {"tensorflow": tf.__version__, "keras": keras.__version__}


def write(path: Path, content: bytes) -> str:
    """Store bytes in a working file; the path travels back instead of the bytes."""
    path.write_bytes(content)
    return str(path)
