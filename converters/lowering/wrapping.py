"""Give live models of Keras 3, tf_keras and TensorFlow one calling convention."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from numpy.typing import NDArray

from edgeq.errors import LoweringError
from edgeq.values import TensorSpec

Arrays = Mapping[str, NDArray[Any]]

# Keras names the layer, and quotes what it raised.
_KERAS_ERROR = r"Exception encountered when calling (\S+)\.call\(\)\.\s+(.+?)\s+Arguments received"


@dataclass(frozen=True)
class Loaded:
    """A live model behind one calling convention.

    Attributes:
        framework: that read it, with its version.
        inputs: by name, batch dimension first (-1 where dynamic); those of `complete` have the
            shapes of the first call, or () if nothing is known.
        output_names: in the order `call` returns them.
        call: list of tensors in the order of `inputs` to list of output tensors.
        layers: all Keras layers, nested ones included; empty for SavedModels and functions.
        notes: sentences for the user about how it was read.
        complete: of a model that declares no inputs, which cannot be called before: the model
            with these inputs.
    """

    framework: str
    inputs: tuple[TensorSpec, ...]
    output_names: tuple[str, ...]
    call: Callable[[list[Any]], list[Any]]
    layers: tuple[Any, ...] = ()
    notes: tuple[str, ...] = ()
    complete: Callable[[Sequence[TensorSpec]], Loaded] | None = None


def wrap_keras(model: Any, framework: str, notes: tuple[str, ...] = ()) -> Loaded:
    """Give a Keras 3 or tf_keras model the calling convention of `Loaded`."""
    if not getattr(model, "inputs", None):
        return _wrap_undeclared(model, framework, notes)
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


def _wrap_undeclared(model: Any, framework: str, notes: tuple[str, ...]) -> Loaded:
    """A subclassed model, which declares no inputs; Keras stores the shapes of its first call."""
    parameters = inspect.signature(model.call).parameters
    required = [
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    if len(required) > 1:
        raise LoweringError(
            f"Model {model.name!r} declares no inputs, and its call takes {', '.join(required)}; "
            "Keras stores shapes of the first one only.",
            hint="Take one dict: def call(self, inputs), with inputs['NAME'] for each tensor. Or "
            "save keras.Model(inputs, model(*inputs)) with a keras.Input for each.",
        )
    known = (getattr(model, "_build_shapes_dict", None) or {}).get("input_shape", ())
    argument = next(iter(parameters), "inputs")
    if isinstance(known, dict):
        shapes = {str(name): known[name] for name in sorted(known)}
    elif known and isinstance(known[0], (list, tuple)):
        shapes = {f"{argument}_{index}": shape for index, shape in enumerate(known)}
    else:
        shapes = {argument: known}
    inputs = tuple(
        TensorSpec(name, (-1, *_shape(shape)[1:]) if shape else (), "float32")
        for name, shape in shapes.items()
    )

    def complete(specs: Sequence[TensorSpec]) -> Loaded:
        keras = importlib.import_module(framework.split(maxsplit=1)[0])
        made = {
            spec.name: keras.Input(
                batch_shape=[None if size == -1 else size for size in spec.shape],
                dtype=spec.dtype,
                name=spec.name,
            )
            for spec in specs
        }
        structure = made if isinstance(known, dict) else list(made.values())
        single = not isinstance(known, dict) and argument in made
        try:
            outputs = model(made[argument] if single else structure)
        except Exception as error:
            raise explain_call(error, [spec.shape for spec in specs]) from error
        return wrap_keras(keras.Model(structure, outputs), framework, notes)

    return Loaded(framework, inputs, (), _refuse_call, _layers_in_order(model), notes, complete)


def _refuse_call(_tensors: list[Any]) -> list[Any]:
    raise AssertionError("complete comes first")


def explain_call(error: Exception, shapes: Sequence[Any]) -> LoweringError:
    """The error for a model that cannot be called with tensors of these shapes."""
    text = re.sub(r"\x1b\[\d*m", "", str(error))
    raised = re.search(_KERAS_ERROR, text, re.DOTALL)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    where, cause = raised.groups() if raised else ("The model", (lines or [""])[-1])
    return LoweringError(
        f"{where} cannot be traced with inputs of shape {', '.join(map(str, shapes))}: "
        f"{type(error).__name__}: {' '.join(cause.split())[:300].rstrip('.')}.",
        hint="Set dynamic sizes that it refuses with --input-shape. The code of a custom layer "
        "must use TensorFlow's operations on tensors: no numpy() or float(), no Python loop.",
        details=text,
    )


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
            raise LoweringError(
                f"Input {name!r} of the signature has an unknown rank.",
                hint="Export it with a tf.TensorSpec that has a shape, None for unknown sizes.",
            )
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
