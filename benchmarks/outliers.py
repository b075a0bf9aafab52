"""Transformer encoders with outlier channels, as trained ones have them: what INT8 loses.

    python benchmarks/outliers.py [--only NAME]

Four encoders of four blocks, width 96, with random weights. In four of the 96 channels, gamma of
the normalizations is many times as large as in the others, or the residual stream has a large
constant. The layers that read these channels have small weights there, so that all channels matter.
Each is converted with the default options, without equalization, and with INT16 activations; the
figure is the SQNR in dB of the worst part of the outputs on 400 held-out samples.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import edgeq
from edgeq.accuracy.verdict import worst_sqnr_db

WIDTH, HEADS, BLOCKS, TOKENS, FEATURES = 96, 4, 4, 32, 24
OUTLIERS = 4  # channels
_CALIBRATED, _HELD_OUT = 200, 400

# Name, then how much larger gamma is in the outliers, the constant in the stream, whether each
# block normalizes first, and the normalization.
ENCODERS: dict[str, tuple[float, float, bool, str]] = {
    "gamma 30 times as large": (30.0, 0.0, True, "LayerNormalization"),
    "stream 30, gamma a fifth": (0.2, 30.0, True, "LayerNormalization"),
    "the same, RMS": (0.2, 30.0, True, "RMSNormalization"),
    "normalized behind, gamma 6 times": (6.0, 0.0, False, "LayerNormalization"),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "not equalized": {"corrections": "saturate,bias,rounding,refit,clip"},
    "INT16x8": {"scheme": "int16x8", "effort": "fast"},
}


def encoder(gamma: float, stream: float, *, is_first: bool, kind: str) -> Any:
    """A Keras model from [tokens, features] to 10 outputs."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)

    def normalize(value: Any) -> Any:
        return getattr(layers, kind)(epsilon=1e-6)(value)

    def attend(value: Any) -> Any:
        return layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(value, value)

    def perceive(value: Any) -> Any:
        return layers.Dense(WIDTH)(layers.Dense(2 * WIDTH, activation="gelu")(value))

    entry = keras.Input((TOKENS, FEATURES), name="x")
    value = layers.Dense(WIDTH, name="embedding")(entry)
    if not is_first:
        value = normalize(value)
    for part in (attend, perceive) * BLOCKS:
        value = value + part(normalize(value)) if is_first else normalize(value + part(value))
    if is_first:
        value = normalize(value)
    outputs = layers.Dense(10, name="head")(layers.GlobalAveragePooling1D()(value))
    model = keras.Model(entry, outputs)
    chosen = random.choice(WIDTH, OUTLIERS, replace=False)
    for layer in model.layers:
        _spread(layer, kind, chosen, gamma, random)
    kernel, bias = model.get_layer("embedding").get_weights()
    bias[chosen] += stream * random.choice([-1, 1], OUTLIERS)
    model.get_layer("embedding").set_weights([kernel, bias])
    return model


def _spread(layer: Any, kind: str, chosen: Any, gamma: float, random: Any) -> None:
    """Give a layer's channels unlike sizes."""
    name = type(layer).__name__
    if name == kind:
        sizes = np.exp(random.normal(0, 0.3, WIDTH))
        sizes[chosen] *= gamma
        betas = [random.normal(0, 0.1, WIDTH) * sizes] if len(layer.get_weights()) > 1 else []
        layer.set_weights([sizes, *betas])
    if name == "Dense" and layer.kernel.shape[0] == WIDTH:
        _shrink(layer, chosen, gamma)
    if name == "MultiHeadAttention":
        for dense in (layer.query_dense, layer.key_dense, layer.value_dense):
            _shrink(dense, chosen, gamma)
        sizes = np.exp(random.normal(0, 0.5, (HEADS, WIDTH // HEADS)))
        for dense, factor in (
            (layer.value_dense, sizes),
            (layer.output_dense, 1 / sizes[..., None]),
        ):
            kernel, bias = dense.get_weights()
            dense.set_weights([kernel * factor, bias])


def _shrink(dense: Any, chosen: Any, gamma: float) -> None:
    kernel, bias = dense.get_weights()
    kernel[chosen] /= gamma**0.8
    dense.set_weights([kernel, bias])


def samples() -> Any:
    """[count, tokens, features]; each token is near the previous one."""
    count = _CALIBRATED + _HELD_OUT
    steps = np.random.default_rng(1).normal(size=(count, TOKENS, FEATURES))
    walk = np.cumsum(steps, axis=1) / np.sqrt(np.arange(1, TOKENS + 1))[:, np.newaxis]
    return walk.astype(np.float32)


def main() -> None:
    """Convert, measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="encoders whose name contains this")
    given = parser.parse_args()
    print("| encoder |", " | ".join(f"{name}, dB" for name in OPTIONS), "|")
    print("|---|" + "--:|" * len(OPTIONS))
    with tempfile.TemporaryDirectory(prefix="edgeq-outliers-") as name:
        folder, values = Path(name), samples()
        data, test = folder / "data.npz", folder / "test.npz"
        np.savez(data, x=values[:_CALIBRATED])
        np.savez(test, x=values[_CALIBRATED:])
        for title, (gamma, stream, is_first, kind) in ENCODERS.items():
            if given.only not in title:
                continue
            model = folder / "encoder.keras"
            encoder(gamma, stream, is_first=is_first, kind=kind).save(model)
            found = []
            for options in OPTIONS.values():
                made = edgeq.convert(
                    model, folder / "made.tflite", data=data, test_data=test, **options
                )
                assert made.quality is not None
                found.append(f"{worst_sqnr_db(made.quality):.1f}")
            print(f"| {title} |", " | ".join(found), "|", flush=True)


if __name__ == "__main__":
    main()
