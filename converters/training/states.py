"""States of recurrent Keras layers as inputs and outputs, for streams of steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgeq.converters.tracing.wrapping import wrap_keras
from edgeq.errors import DataError, UnsupportedLayerError

_LETTERS = {"LSTM": ("h", "c"), "GRU": ("h",), "SimpleRNN": ("h",)}
_OUT = "_out"


def expose_states(model: Any) -> Any:
    """Return a copy of a Keras 3 model whose stateful layers take their states and return them.

    An application passes the states on from call to call, and zeros at the beginning of a stream.

    Args:
        model: functional or sequential, with `stateful=True` in recurrent layers; left as it is.

    Returns:
        A `keras.Model` with a dict of inputs and one of outputs: those of `model` by name, and for
        each state `LAYER_state_h` (of an LSTM also `LAYER_state_c`) as an input and
        `LAYER_state_h_out` as an output, float32 [batch, units]. The batch size is not fixed.

    Raises:
        UnsupportedLayerError: no layer is stateful, or one is inside another layer.
    """
    known = wrap_keras(model, "keras")
    inside = [
        layer.name
        for layer in known.layers
        if _is_stateful(layer) and all(layer is not own for own in model.layers)
    ]
    if inside:
        raise UnsupportedLayerError(
            f"Layer {inside[0]!r} has stateful=True and is inside another layer.",
            hint="Build the model with this layer in it directly.",
        )
    if not any(map(_is_stateful, model.layers)):
        raise UnsupportedLayerError("No layer of the model has stateful=True.")
    given = {
        spec.name: keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=spec.name)
        for spec, tensor in zip(known.inputs, model.inputs, strict=True)
    }
    exposing = _Exposing()
    graph = keras.Model(model.inputs, model.outputs)
    made = graph._run_through_graph(list(given.values()), exposing.replace)
    results = dict(zip(known.output_names, keras.tree.flatten(made), strict=True))
    return keras.Model({**given, **exposing.inputs}, {**results, **exposing.outputs()})


class _Exposing:
    """The stateful layers that were replaced, with their states.

    Attributes:
        inputs: the states that come in, by name.
    """

    def __init__(self) -> None:
        self.inputs: dict[str, Any] = {}
        self._layers: dict[str, Any] = {}
        self._states: dict[str, list[Any]] = {}

    def replace(self, layer: Any) -> Callable[..., Any]:
        """Return what takes the place of a layer in the graph: other layers stay."""
        if not _is_stateful(layer):
            return layer  # type: ignore[no-any-return]

        def call(*args: Any, **options: Any) -> Any:
            own = self._layers.get(layer.name) or self._copy(layer)
            found, *states = own(*args, **options, initial_state=self._states[layer.name])
            self._states[layer.name] = states  # a second use of the layer begins with them
            if not self._layers.get(layer.name):
                own.cell.set_weights(layer.cell.get_weights())
                self._layers[layer.name] = own
            return [found, *states] if layer.return_state else found

        return call

    def outputs(self) -> dict[str, Any]:
        """Return the states that go out, by name."""
        states = [state for own in self._states.values() for state in own]
        return {name + _OUT: state for name, state in zip(self.inputs, states, strict=True)}

    def _copy(self, layer: Any) -> Any:
        """Return the layer without states between calls, and add inputs for them."""
        sizes = keras.tree.flatten(layer.cell.state_size)
        letters = _LETTERS.get(type(layer).__name__, tuple(map(str, range(len(sizes)))))
        names = [f"{layer.name}_state_{letter}" for letter in letters]
        entries = [keras.Input((size,), name=name) for size, name in zip(sizes, names, strict=True)]
        self.inputs |= dict(zip(names, entries, strict=True))
        self._states[layer.name] = entries
        plain = {"stateful": False, "return_state": True}
        return type(layer).from_config({**layer.get_config(), **plain})


def _is_stateful(layer: Any) -> bool:
    return hasattr(layer, "return_state") and bool(getattr(layer, "stateful", False))


def carry_states(
    model: Any, inputs: Mapping[str, NDArray[Any]], starts: Sequence[int] = (0,)
) -> dict[str, NDArray[Any]]:
    """Return samples of a model of `expose_states`, with the states that its own outputs give.

    The model runs over the samples in their order: each sample's states are those that the sample
    before it returned.

    Args:
        model: of `expose_states`.
        inputs: input name to [samples, ...], the states left out.
        starts: numbers of the samples that begin a stream, with states of zero.

    Returns:
        Input name to float32 [samples, ...], for `numpy.savez`.

    Raises:
        DataError: the inputs are not those of the model without its states.
    """
    known = wrap_keras(model, "keras")
    entries = {spec.name: spec for spec in known.inputs}
    states = [name for name in entries if name + _OUT in known.output_names]
    others = [name for name in entries if name not in states]
    if sorted(others) != sorted(inputs):
        raise DataError(
            f"The model's inputs without its states are {', '.join(others)}; the samples have "
            f"{', '.join(inputs) or 'none'}."
        )
    count = len(next(iter(inputs.values())))
    carried: dict[str, list[Any]] = {name: [] for name in states}
    first = {name: np.zeros((1, *entries[name].shape[1:]), np.float32) for name in states}
    now = first
    for number in range(count):
        now = first if number in starts else now
        sample = {name: values[number : number + 1] for name, values in inputs.items()}
        found = model.predict_on_batch({**sample, **now})
        for name in states:
            carried[name].append(now[name][0])
        now = {name: np.asarray(found[name + _OUT]) for name in states}
    return {**inputs, **{name: np.stack(values) for name, values in carried.items()}}
