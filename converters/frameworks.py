"""Read model files with the framework that can: Keras 3, else tf_keras, or TensorFlow itself.

Runs in the child process only. Loading a model file must never run code that came with it: a
Lambda layer is refused, whichever library would load it, unless the user trusts the file.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edgeq import flatbuffer
from edgeq.converters import tflite
from edgeq.converters.learned_ranges import PACKAGE
from edgeq.converters.tflite import Arrays, Loaded
from edgeq.errors import SourceError, UsageError


def load(
    path: Path,
    kind: str,
    *,
    custom_objects: Sequence[str] = (),
    trusted: bool = False,
    signature: str | None = None,
) -> Loaded:
    """A live model from a file.

    Args:
        kind: "keras", "h5" or "saved_model", as `source.identify` found it.
        custom_objects: "module:NAME" each.
        trusted: run code that the file carries (Lambda layers).
        signature: of a SavedModel with several.

    Raises:
        SourceError: damaged, untrusted, or with layers nobody can load.
        UsageError: a custom object or signature that does not exist.
    """
    objects = dict(_import_object(text) for text in custom_objects)
    if kind == "saved_model":
        return _load_saved_model(path, objects, trusted=trusted, signature=signature)
    config = _read_h5_config(path) if kind == "h5" else _read_keras_config(path)
    if not trusted:
        _refuse_lambda(path, config)
    return _load_keras(path, objects, config, trusted=trusted)


def _import_object(text: str) -> tuple[str, Any]:
    module, _, name = text.partition(":")
    try:
        return name, getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            f"--custom-objects {text!r} cannot be imported: {error}.",
            hint="Write module:NAME, with the module importable from the current folder.",
        ) from error


# ---------------------------------------------------------------- Keras files


def _read_keras_config(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
            if broken is not None:
                raise SourceError(f"{path} is damaged: {broken} fails its checksum.")
            config = json.loads(archive.read("config.json"))
            metadata = json.loads(archive.read("metadata.json"))
    except (zipfile.BadZipFile, KeyError, ValueError, OSError, EOFError) as error:
        raise SourceError(
            f"{path} is not a whole Keras file: {error}.",
            hint="Save it again with model.save('model.keras').",
        ) from error
    return {"config": config, "keras_version": str(metadata.get("keras_version", ""))}


def _read_h5_config(path: Path) -> dict[str, Any]:
    import h5py

    try:
        with h5py.File(path, "r") as archive:
            config = archive.attrs.get("model_config")
            version = archive.attrs.get("keras_version", "")
    except OSError as error:
        raise SourceError(
            f"{path} is not a whole HDF5 file: {_first_line(error)}.",
            hint="Save it again with model.save('model.h5').",
        ) from error
    if config is None:
        raise SourceError(
            f"{path} holds weights only, no model.",
            hint="Rebuild the model, load_weights, and save the whole of it.",
        )
    return {"config": json.loads(config), "keras_version": _decoded(version)}


def _decoded(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _refuse_lambda(path: Path, config: Any) -> None:
    if re.search(r'"class_name": "Lambda"', json.dumps(config)):
        raise SourceError(
            f"{path} contains a Lambda layer, which would run Python code stored in the file.",
            hint="Pass --unsafe-deserialization if you trust where the file comes from.",
        )


def _load_keras(
    path: Path, objects: dict[str, Any], config: dict[str, Any], *, trusted: bool
) -> Loaded:
    import keras

    if PACKAGE in json.dumps(config):
        importlib.import_module("edgeq.converters.qat_layers")  # registers them with Keras
    try:
        model = keras.models.load_model(
            path, custom_objects=objects, compile=False, safe_mode=not trusted
        )
        return tflite.wrap_keras(model, f"keras {keras.__version__}")
    except Exception as error:
        saved = str(config["keras_version"])
        if saved.startswith("2."):
            return _load_with_tf_keras(path, objects, f"keras {keras.__version__}", error)
        if path.suffix == ".h5" or flatbuffer.release(saved) <= flatbuffer.release(
            keras.__version__
        ):
            raise _explain_load(path, error) from error
        return _load_newer(path, objects, saved, trusted=trusted)


def _load_newer(path: Path, objects: dict[str, Any], saved: str, *, trusted: bool) -> Loaded:
    """A `.keras` file from a newer Keras, without arguments that this one does not know yet.

    Only those left at None or False, and their companions, are dropped: a new feature that the
    model does not use.
    """
    import keras

    here = keras.__version__
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.with_suffix(".keras").name
        _copy_without_unknown(path, copy)
        try:
            model = keras.models.load_model(
                copy, custom_objects=objects, compile=False, safe_mode=not trusted
            )
        except Exception as error:
            explained = _explain_load(path, error)
            explained.message += f" It was saved with Keras {saved}; here is {here}."
            explained.hint = explained.hint or "Upgrade Keras (3.13 and newer need Python 3.11)."
            raise explained from error
    note = f"Saved with Keras {saved}; {here} read it without arguments that are new and unused."
    return tflite.wrap_keras(model, f"keras {here}", (note,))


def _copy_without_unknown(path: Path, copy: Path) -> None:
    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(item) for item in value]
        if not isinstance(value, dict):
            return value
        kept = {key: plain(item) for key, item in value.items()}
        known = _known_arguments(str(value.get("module")), str(value.get("class_name")))
        if known is not None and isinstance(kept.get("config"), dict):
            config = kept["config"]
            off = [key for key in config if key not in known and config[key] in (None, False)]
            # renorm=False takes renorm_momentum=0.99 along
            companions = tuple(f"{key}_" for key in off)
            kept["config"] = {
                key: item
                for key, item in config.items()
                if key in known or not (key in off or key.startswith(companions))
            }
        return kept

    with zipfile.ZipFile(path) as source, zipfile.ZipFile(copy, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "config.json":
                content = json.dumps(plain(json.loads(content))).encode()
            target.writestr(name, content)


def _known_arguments(module: str, name: str) -> set[str] | None:
    """Constructor arguments of a class of this Keras, None when it is not one of Keras' own."""
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
    path: Path, objects: dict[str, Any], refused_by: str, refusal: Exception
) -> Loaded:
    import tf_keras

    try:
        model = tf_keras.models.load_model(path, custom_objects=objects, compile=False)
    except Exception as error:
        raise _explain_load(path, error) from error
    note = (
        f"{refused_by} cannot read this file ({_reason(refusal)}); "
        f"it was read with tf_keras {tf_keras.__version__}."
    )
    return tflite.wrap_keras(model, f"tf_keras {tf_keras.__version__}", (note,))


def _reason(error: Exception) -> str:
    """The telling part of a Keras error, which buries it under the layer's whole config."""
    text = str(error)
    unknown = re.search(r"Unrecognized keyword arguments passed to (\w+): \{'(\w+)'", text)
    if unknown:
        return f"{unknown.group(1)} has the argument {unknown.group(2)!r}"
    added = re.search(r"no attribute '(\w+)'", text)
    if added:
        return f"missing {added.group(1)!r}"
    return _first_line(error)[:160].rstrip(". ")


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), repr(error))


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
    path: Path, objects: dict[str, Any], *, trusted: bool, signature: str | None
) -> Loaded:
    try:
        restored = tf.saved_model.load(str(path))
    except Exception as error:  # noqa: BLE001 -- loading raises bare and private types
        carried = path / "keras_metadata.pb"
        if not trusted and carried.exists() and b'"class_name": "Lambda"' in carried.read_bytes():
            _refuse_lambda(path, {"class_name": "Lambda"})
        return _load_with_tf_keras(path, objects, f"tensorflow {tf.__version__}", error)
    function = _choose_signature(path, restored.signatures, signature)
    loaded = tflite.wrap_function(function, f"tensorflow {tf.__version__}")
    # The variables live as long as the restored object does.
    object.__setattr__(loaded.call, "__wrapped__", restored)
    return loaded


def _choose_signature(path: Path, signatures: Any, wanted: str | None) -> Any:
    names = sorted(signatures)
    chosen = wanted or ("serving_default" if "serving_default" in names else None)
    if chosen is None and len(names) == 1:
        chosen = names[0]
    if chosen not in names:
        raise UsageError(
            f"{path} has no signature {wanted or 'serving_default'!r}; it has: "
            f"{', '.join(names) or 'none'}.",
            hint="Choose one with --signature NAME." if names else "Export it with signatures.",
        )
    return signatures[chosen]


# ---------------------------------------------------------------- what the model expects


def first_rescaling(loaded: Loaded) -> tuple[float, float] | None:
    """Scale and offset that a single-input model applies first; None when it shows none."""
    if len(loaded.inputs) != 1 or not loaded.layers:
        return None
    for layer in loaded.layers:
        kind = type(layer).__name__
        if kind == "Rescaling" and np.ndim(layer.scale) == 0 and np.ndim(layer.offset) == 0:
            return float(layer.scale), float(layer.offset)
        if kind == "Normalization":
            return None  # what it learned is compared in `batch_statistics`
        if getattr(layer, "weights", None) and kind not in ("Sequential", "Functional"):
            break
    return None


_STATISTIC_ROWS = 50_000  # values per channel, enough for a mean and a spread
_TINY = 1e-7  # keras.backend.epsilon(), which Normalization adds
_LEARNED = {
    "BatchNormalization": ("moving_mean", "moving_variance"),
    "Normalization": ("mean", "variance"),
}


def batch_statistics(loaded: Loaded, arrays: Arrays) -> tuple[float, float] | None:
    """How the data looks to the first normalization layer, against what training saw.

    Args:
        arrays: input name to [batch, ...], preprocessed.

    Returns:
        Median over channels of observed / stored standard deviation, and of the shift of the
        mean in stored standard deviations; None without such a layer at the model's top level,
        and for one that was never trained.
    """
    first = next((layer for layer in loaded.layers if type(layer).__name__ in _LEARNED), None)
    values = None if first is None else _input_of(loaded, first, arrays)
    if first is None or values is None:
        return None
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
    """Ends the run of a model whose later layers nobody needs."""


def _input_of(loaded: Loaded, layer: Any, arrays: Arrays) -> NDArray[Any] | None:
    """What flows into `layer`: the model runs once, eagerly, as far as that layer."""
    seen: list[NDArray[Any]] = []
    original = layer.call

    def watch(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(np.asarray(inputs))
        raise _SeenError

    layer.call = watch
    try:
        tflite.predict(loaded, arrays)
    except _SeenError:
        return seen[0]
    finally:
        layer.call = original
    return None
