"""Lowering with TensorFlow: trace a model, convert it to float.

It runs in a child process (`tensorflow_worker.py`), so that a crash in native code becomes an error
message and the libraries' output stays out of the user's terminal. `edgeq.convert(keras_model)`
uses it in its own process, because a live model cannot be sent to another one.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
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
from edgeq.converters.lowering import expressions, float32, preprocessing_layers, sign_bits
from edgeq.converters.lowering.lstm_layers import marked
from edgeq.converters.lowering.rebuilding import rebuild
from edgeq.converters.lowering.recurrent_layers import (
    refuse_states,
    unrolled,
    without_dropout,
)
from edgeq.converters.lowering.size_limits import require_small_tensors
from edgeq.converters.lowering.wrapping import Arrays, Loaded, explain_call
from edgeq.errors import EdgeqError, LoweringError
from edgeq.values import TensorSpec


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
        loaded: the model.
        concrete: the function.
        unrolled: names of recurrent layers that were unrolled.
        fused: names of LSTM layers that become one operator each.
        other_dtypes: float dtypes of the model that became float32.
    """

    loaded: Loaded
    concrete: Any
    unrolled: tuple[str, ...]
    fused: tuple[str, ...] = ()
    other_dtypes: tuple[str, ...] = ()


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
    preprocessing_layers.require_numbers(loaded)
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
    other_dtypes = float32.find_other_dtypes(concrete)
    if other_dtypes:
        concrete = float32.read_in_float32(concrete)
    if sign_bits.reads_sign_bits(concrete):
        concrete = rebuild(concrete, sign_bits.compare_signs)
    steps = tuple(name for name in names if name not in fused)
    return Traced(loaded, concrete, steps, tuple(fused), other_dtypes)


def _trace(loaded: Loaded, signature: list[Any]) -> Any:
    traced = tf.function(lambda *tensors: loaded.call(list(tensors)), input_signature=signature)
    try:
        return traced.get_concrete_function()
    except EdgeqError:
        raise
    except Exception as error:
        raise explain_call(error, [spec.shape for spec in signature]) from error


def lower(traced: Traced) -> bytes:
    """Convert a traced model to a float `.tflite`.

    Raises:
        LoweringError: TensorFlow Lite does not have some operators.
    """
    try:
        return _convert(traced.concrete, traced.fused)
    except MissingOperatorsError as error:
        if preprocessing_layers.is_preprocessing(traced.loaded, frozenset(error.names)):
            raise preprocessing_layers.explain(traced.loaded, error.message.rstrip(".")) from error
        known = expressions.KNOWN.intersection(error.names)
        if not known:
            raise
        return _convert(rebuild(traced.concrete, expressions.express(known)), traced.fused)


def _convert(concrete: Any, fused: Sequence[str]) -> bytes:
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    with _interface_only():
        if not fused:
            return run_converter(converter)
        converter.allow_custom_ops = True
        return replace_markers(run_converter(converter))


class MissingOperatorsError(LoweringError):
    """TensorFlow Lite does not have some operators.

    Attributes:
        names: of TensorFlow.
        kind: what it is to the parent process.
    """

    names: Collection[str] = ()
    kind = LoweringError.__name__


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


_CUT_CHOOSING = (
    "It suppresses overlapping boxes. Save the model without it: keras.Model(model.input, "
    "[model.get_layer(NAME).output for NAME in (BOXES, SCORES)]).save('cut.keras'). Then state "
    "with --decode how boxes are read; eval and the code of packages suppress them "
    "(docs/tasks.md)."
)


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
            missing = MissingOperatorsError(
                f"TensorFlow Lite has no operator for: {', '.join(sorted(names))}.",
                hint=_CUT_CHOOSING
                if any("NonMaxSuppression" in name for name in names)
                else "Express them with supported layers, or remove them from the exported model.",
                details=text,
            )
            missing.names = names
            raise missing from error
        changing = re.search(r"node (\S+)/AssignVariableOp", text)
        if changing:
            raise LoweringError(
                f"AssignVariableOp in {changing.group(1)!r} changes a variable in each inference, "
                "which is lost in a .tflite.",
                hint="Random layers and stateful=True keep such a state: leave them out. In a "
                ".keras file, augmentation is off.",
                details=text,
            ) from error
        first = next((line.strip() for line in text.splitlines() if line.strip()), NO_MESSAGE)
        raise LoweringError(
            f"TFLiteConverter refused the model: {first[:300]}", details=text
        ) from error


def predict(loaded: Loaded, arrays: Arrays, *, in_float32: bool = False) -> dict[str, NDArray[Any]]:
    """Outputs of the source model, the reference for the float `.tflite`.

    Args:
        loaded: the model.
        arrays: input name to [batch, ...].
        in_float32: compute in float32 what the model computes in other float dtypes.

    Raises:
        LoweringError: in float32 the model computes a different function.
    """
    tensors = [tf.constant(arrays[spec.name], tf.as_dtype(spec.dtype)) for spec in loaded.inputs]
    own = _named(loaded, loaded.call(tensors))
    if not in_float32:
        return own
    concrete = float32.read_in_float32(
        _trace(loaded, [tf.TensorSpec.from_tensor(tensor) for tensor in tensors])
    )
    fed = [tf.constant(arrays[spec.name], own.dtype)
           for spec, own in zip(loaded.inputs, concrete.inputs, strict=True)]  # fmt: skip
    found = _named(loaded, concrete(*fed))
    float32.require_same(own, found)
    return found


def _named(loaded: Loaded, outputs: Sequence[Any]) -> dict[str, NDArray[Any]]:
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
