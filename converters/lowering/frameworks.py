"""Read model files with Keras 3, with tf_keras, or with TensorFlow itself, in the child process.

Loading a model file must never run code from it: its content is checked before a framework opens it
(`safe_reading`), unless the user trusts it.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edgeq.converters.lowering import tensorflow_lowering
from edgeq.converters.lowering.size_limits import limited_weights
from edgeq.converters.safe_reading import keras_file, saved_model
from edgeq.converters.safe_reading.keras_file import KerasFile, first_line
from edgeq.converters.safe_reading.keras_names import QAT_PREFIX, REFUSED
from edgeq.converters.tracing import wrapping
from edgeq.converters.tracing.wrapping import Arrays, Loaded
from edgeq.errors import SourceError, UsageError
from edgeq.tflite import flatbuffer

_KERAS = ("keras", "tf_keras")


def load(
    path: Path,
    kind: str,
    *,
    custom_objects: Sequence[str] = (),
    trusted: bool = False,
    signature: str | None = None,
) -> Loaded:
    """Load a model from a file.

    Args:
        path: file or folder.
        kind: "keras", "h5" or "saved_model", from `model_kinds.identify`.
        custom_objects: "module:NAME" each.
        trusted: run code that the file holds (Lambda layers).
        signature: name, if a SavedModel has several.

    Raises:
        SourceError: the file is damaged, untrusted, or has layers that cannot be loaded.
        UsageError: a custom object or signature that does not exist.
    """
    named = {}
    for text in custom_objects:
        module, _, name = text.partition(":")
        try:
            named[name] = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise UsageError(
                f"--custom-objects {text!r} cannot be imported: {error}.",
                hint="Write module:NAME, with the module importable from the current folder.",
            ) from error
    # The modules of the user's objects may have registered others.
    objects = {
        name: item
        for package in _KERAS
        if package in sys.modules
        for name, item in sys.modules[package].saving.get_custom_objects().items()
        if not _is_of_keras(item)
    }
    objects.update(named)
    # Naming an object of Keras itself that no file may hold does not allow it.
    known = frozenset(
        name for name, item in objects.items() if not (name in REFUSED and _is_of_keras(item))
    )
    if kind == "saved_model":
        return _load_saved_model(path, objects, known, trusted=trusted, signature=signature)
    file = keras_file.read(path, kind)
    if not trusted:
        keras_file.refuse_code(file, known)
    with tempfile.TemporaryDirectory() as folder:
        return _load_keras(file, Path(folder), objects, trusted=trusted)


def _is_of_keras(item: Any) -> bool:
    return str(getattr(item, "__module__", "")).partition(".")[0] in _KERAS


# ---------------------------------------------------------------- Keras files


def _load_keras(file: KerasFile, folder: Path, objects: dict[str, Any], *, trusted: bool) -> Loaded:
    import keras

    if QAT_PREFIX in json.dumps(file.config):
        importlib.import_module("edgeq.converters.training.qat_layers")  # registers them with Keras
    try:
        with limited_weights(file.path, keras):
            model = keras.models.load_model(
                keras_file.prepare(file, folder),
                custom_objects=objects,
                compile=False,
                safe_mode=not trusted,
            )
        return wrapping.wrap_keras(model, f"keras {keras.__version__}")
    except SourceError:
        raise
    except Exception as error:
        saved = file.version
        if saved.startswith("2."):
            refused_by = f"keras {keras.__version__}"
            source = keras_file.prepare(file, folder)
            return _load_with_tf_keras(
                file.path, source, objects, refused_by, error, trusted=trusted
            )
        if file.kind == "h5" or flatbuffer.release(saved) <= flatbuffer.release(keras.__version__):
            raise _explain_load(file.path, error) from error
        return _load_newer(file, folder, objects, trusted=trusted)


def _load_newer(file: KerasFile, folder: Path, objects: dict[str, Any], *, trusted: bool) -> Loaded:
    """Load a `.keras` file from a newer Keras without the arguments that this Keras does not know.

    Only arguments with the value None or False are dropped, and those that belong to them: new
    features that the model does not use.
    """
    import keras

    here = keras.__version__
    try:
        with limited_weights(file.path, keras):
            model = keras.models.load_model(
                keras_file.prepare(file, folder, _without_unknown),
                custom_objects=objects,
                compile=False,
                safe_mode=not trusted,
            )
    except SourceError:
        raise
    except Exception as error:
        explained = _explain_load(file.path, error)
        explained.message += f" It was saved with Keras {file.version}; here is {here}."
        explained.hint = explained.hint or "Upgrade Keras (3.13 and newer need Python 3.11)."
        raise explained from error
    note = (
        f"The model was saved with Keras {file.version}; Keras {here} ignored newer arguments of "
        "layers that the model does not use."
    )
    return wrapping.wrap_keras(model, f"keras {here}", (note,))


def _without_unknown(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_unknown(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {key: _without_unknown(item) for key, item in value.items()}
    known = _known_arguments(str(value.get("module")), str(value.get("class_name")))
    if known is not None and isinstance(kept.get("config"), dict):
        config = kept["config"]
        off = [key for key in config if key not in known and config[key] in (None, False)]
        # such as renorm_momentum=0.99, which belongs to renorm=False
        companions = tuple(f"{key}_" for key in off)
        kept["config"] = {
            key: item
            for key, item in config.items()
            if key in known or not (key in off or key.startswith(companions))
        }
    return kept


def _known_arguments(module: str, name: str) -> set[str] | None:
    """Constructor arguments of a class of this Keras, None when it is another class."""
    import keras

    if not module.startswith("keras.") or module.count(".") != 1:
        return None
    found = getattr(getattr(keras, module.split(".")[1], None), name, None)
    if not isinstance(found, type):
        return None
    return {
        argument
        for base in found.__mro__
        for argument in inspect.signature(base.__init__).parameters  # type: ignore[misc]
    }


def _load_with_tf_keras(
    path: Path,
    source: Path,
    objects: dict[str, Any],
    refused_by: str,
    refusal: Exception,
    *,
    trusted: bool,
) -> Loaded:
    import tf_keras

    try:
        with limited_weights(path, tf_keras):
            model = tf_keras.models.load_model(
                source, custom_objects=objects, compile=False, safe_mode=not trusted
            )
    except SourceError:
        raise
    except Exception as error:
        raise _explain_load(path, error) from error
    note = (
        f"{refused_by} cannot read this file ({_reason(refusal)}); "
        f"it was read with tf_keras {tf_keras.__version__}."
    )
    return wrapping.wrap_keras(model, f"tf_keras {tf_keras.__version__}", (note,))


def _reason(error: Exception) -> str:
    """The reason in a Keras error, which also holds the layer's whole config."""
    text = str(error)
    unknown = re.search(r"Unrecognized keyword arguments passed to (\w+): \{'(\w+)'", text)
    if unknown:
        return f"{unknown.group(1)} has the argument {unknown.group(2)!r}"
    added = re.search(r"no attribute '(\w+)'", text)
    if added:
        return f"missing {added.group(1)!r}"
    return first_line(error)[:160].rstrip(". ")


def _explain_load(path: Path, error: Exception) -> SourceError:
    text = str(error)
    missing = re.search(r"Could not locate (?:class|function) '(\w+)'", text) or re.search(
        r"Unknown (?:layer|object|activation function|loss function): '?(\w+)'?", text
    )
    if missing:
        return SourceError(
            f"{path} uses the custom object {missing.group(1)!r}, which Keras cannot find.",
            hint=f"Pass --custom-objects module:{missing.group(1)} naming where it is defined.",
            details=text,
        )
    return SourceError(f"{path} cannot be loaded: {_reason(error)}.", details=text)


# ---------------------------------------------------------------- SavedModels


def _load_saved_model(
    path: Path,
    objects: dict[str, Any],
    known: frozenset[str],
    *,
    trusted: bool,
    signature: str | None,
) -> Loaded:
    try:
        message = tf.__internal__.saved_model.parse_saved_model(str(path))
    except Exception as error:
        raise SourceError(
            f"{path} is not a whole SavedModel: {first_line(error)}.",
            hint="Export or copy the model again.",
        ) from error
    if not trusted:
        saved_model.refuse_code(path, message, signature)
    try:
        restored = tf.saved_model.load(str(path))
    except Exception as error:  # noqa: BLE001 -- loading raises bare and private types
        if not trusted:
            saved_model.refuse_all_code(path, message)
            saved_model.refuse_metadata(path, _metadata(path, message), known)
        refused_by = f"tensorflow {tf.__version__}"
        return _load_with_tf_keras(path, path, objects, refused_by, error, trusted=trusted)
    names = sorted(restored.signatures)
    chosen = saved_model.choose_signature(names, signature)
    if chosen not in names:
        raise UsageError(
            f"{path} has no signature {signature or 'serving_default'!r}; it has: "
            f"{', '.join(names) or 'none'}.",
            hint="Choose one with --signature NAME." if names else "Export it with signatures.",
        )
    function = restored.signatures[chosen]
    loaded = wrapping.wrap_function(function, f"tensorflow {tf.__version__}")
    # The variables live as long as the restored object does.
    object.__setattr__(loaded.call, "__wrapped__", restored)
    return loaded


def _metadata(path: Path, message: Any) -> list[str]:
    """The JSON of each Keras object, from the places where tf_keras reads it."""
    from google.protobuf.message import DecodeError
    from tf_keras.protobuf.saved_metadata_pb2 import SavedMetadata

    graph = message.meta_graphs[0].object_graph_def
    found = [node.user_object.metadata for node in graph.nodes]
    beside = path / "keras_metadata.pb"
    if beside.exists():
        try:
            nodes = SavedMetadata.FromString(beside.read_bytes()).nodes
        except DecodeError as error:
            raise SourceError(f"{beside} is damaged: {first_line(error)}.") from error
        found += [node.metadata for node in nodes]
    return found


# ---------------------------------------------------------------- what the model expects


def first_rescaling(loaded: Loaded) -> tuple[float, float] | None:
    """Scale and offset that a single-input model applies first; None if it applies none."""
    if len(loaded.inputs) != 1 or not loaded.layers:
        return None
    for layer in loaded.layers:
        kind = type(layer).__name__
        if kind == "Rescaling" and np.ndim(layer.scale) == 0 and np.ndim(layer.offset) == 0:
            return float(layer.scale), float(layer.offset)
        if kind == "Normalization":
            return None  # `batch_statistics` compares what it learned
        if getattr(layer, "weights", None) and not hasattr(layer, "layers"):  # no model itself
            break
    return None


_STATISTIC_ROWS = 50_000  # values per channel, enough for a mean and a standard deviation
_TINY = 1e-7  # keras.backend.epsilon(), which Normalization adds
_LEARNED = {
    "BatchNormalization": ("moving_mean", "moving_variance"),
    "Normalization": ("mean", "variance"),
}


def batch_statistics(loaded: Loaded, arrays: Arrays) -> tuple[float, float] | None:
    """Compare the data at the normalization layer that runs first with its training data.

    Args:
        loaded: the model.
        arrays: input name to [batch, ...], preprocessed.

    Returns:
        Median over channels of observed / stored standard deviation, and of the shift of the mean
        in stored standard deviations; None without such a layer, and if it was never trained.
    """
    found = _first_normalized(loaded, arrays)
    if found is None:
        return None
    first, values = found
    names = _LEARNED[type(first).__name__]
    mean, variance = (np.ravel(np.asarray(getattr(first, name))) for name in names)
    is_untrained = not mean.any() and (variance == 1).all()
    if is_untrained or mean.size not in (1, values.shape[-1]):
        return None
    flat = values.reshape(-1, mean.size)
    rows = flat[:: max(1, len(flat) // _STATISTIC_ROWS)].astype(np.float64)
    stored = np.sqrt(variance + getattr(first, "epsilon", _TINY))
    spread = np.median(rows.std(axis=0) / stored)
    shift = np.median(np.abs(rows.mean(axis=0) - mean) / stored)
    return float(spread), float(shift)


class _SeenError(Exception):
    """Ends the run of a model after the layer that was searched."""


def _first_normalized(loaded: Loaded, arrays: Arrays) -> tuple[Any, NDArray[Any]] | None:
    """The normalization layer that runs first, at any depth, and its input.

    The model runs once, eagerly, up to that layer.
    """
    seen: list[tuple[Any, NDArray[Any]]] = []

    def watch(layer: Any) -> Any:
        def call(inputs: Any, *args: Any, **kwargs: Any) -> Any:
            seen.append((layer, np.asarray(inputs)))
            raise _SeenError

        return call

    watched = [layer for layer in loaded.layers if type(layer).__name__ in _LEARNED]
    original = [layer.call for layer in watched]
    for layer in watched:
        layer.call = watch(layer)
    try:
        if watched:
            tensorflow_lowering.predict(loaded, arrays)
    except _SeenError:
        return seen[0]
    finally:
        for layer, call in zip(watched, original, strict=True):
            layer.call = call
    return None
