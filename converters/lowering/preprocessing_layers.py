"""Name the preprocessing layers of a Keras model that TensorFlow Lite cannot run."""

from __future__ import annotations

from typing import Any

from edgeq.converters.lowering.wrapping import Loaded
from edgeq.errors import LoweringError

_KINDS = ("CategoryEncoding", "DenseFeatures", "Discretization", "HashedCrossing", "Hashing",
          "IntegerLookup", "StringLookup", "TextVectorization")  # fmt: skip
# Of such layers in a SavedModel, which does not name them.
_OPERATORS = frozenset(
    ("AsString", "DenseBincount", "LookupTableFindV2", "StaticRegexReplace", "StringLower",
     "StringSplitV2", "StringToHashBucketFast", "StringToHashBucketStrong", "StringUpper")
)  # fmt: skip


def require_numbers(loaded: Loaded) -> None:
    """Refuse a model that takes text, before it is traced.

    Raises:
        LoweringError: names the input, and the layer that reads it.
    """
    texts = [spec.name for spec in loaded.inputs if spec.dtype == "string"]
    if texts:
        raise explain(loaded, f"Input {texts[0]!r} is text, which TensorFlow Lite cannot process")


def is_preprocessing(loaded: Loaded, operators: frozenset[str]) -> bool:
    """Whether operators that TensorFlow Lite lacks come from preprocessing layers."""
    return bool(operators & _OPERATORS) or ("Placeholder" in operators and bool(_find(loaded)))


def explain(loaded: Loaded, reason: str) -> LoweringError:
    """The error that names the layers, with the code that cuts them off."""
    found = _find(loaded)
    if not found:
        return LoweringError(
            f"{reason}.",
            hint="Export the part of the model behind the lookup of texts and categories, and run "
            "the lookup before the model.",
        )
    named = ", ".join(f"{layer.name!r} ({type(layer).__name__})" for layer in found)
    code = _code(loaded.layers[0])
    plural = "s" if len(found) > 1 else ""
    hint = "Run this before the model, and convert the part behind them"
    return LoweringError(
        f"{reason}; it has the preprocessing layer{plural} {named}.",
        hint=f"{hint}: {code}" if code else f"{hint}.",
    )


def _find(loaded: Loaded) -> list[Any]:
    found = [layer for layer in loaded.layers if type(layer).__name__ in _KINDS]
    parts = {id(part) for layer in found for part in getattr(layer, "_layers", ())}
    return [layer for layer in found if id(layer) not in parts]


def _code(model: Any) -> str | None:
    """Python that saves the model behind its preprocessing; None if a layer inside one has it."""
    layers = [*(getattr(model, "_operations", None) or model.layers)]
    cut = [layer for layer in layers if _is_end(layer)]
    if not cut or not getattr(model, "outputs", None):
        return None
    kept = [
        layer
        for layer in layers
        if type(layer).__name__ == "InputLayer"
        and any(type(reader).__name__ not in _KINDS for reader in _readers(layer))
    ]
    places = [f"m.get_layer({layer.name!r}).output" for layer in (*cut, *kept)]
    inputs = places[0] if len(places) == 1 else f"[{', '.join(places)}]"
    return f"keras.Model({inputs}, m.outputs).save('cut.keras'), where m is this model."


def _readers(layer: Any) -> list[Any]:
    nodes = getattr(layer, "_outbound_nodes", ())
    return [getattr(node, "operation", None) or node.layer for node in nodes]


def _is_end(layer: Any) -> bool:
    """Whether it is a preprocessing layer that another kind of layer reads."""
    return type(layer).__name__ in _KINDS and any(
        type(reader).__name__ not in _KINDS for reader in _readers(layer)
    )
