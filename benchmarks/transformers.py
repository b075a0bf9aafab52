"""Two small transformers with GELU, trained for a few minutes: pictures, and spoken words.

The vision transformer (Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021) normalizes before
each part of a block; the keyword transformer (Berg et al., "Keyword Transformer", 2021; its size
KWT-1) after it. Both take the mean over the positions where the papers have a class token.

The first of the 10 cepstral coefficients varies 25 times as much as the last one. An INT8 input has
one scale, and in a model that scales them itself, its rounding alone left 16 dB of SQNR. So
`--preprocess` scales each one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from cases import Arrays, Case, garments, read_idx

_WORDS = "speech_commands_500_mfcc49x10.npz"
_TRAINED = 400  # of the 500 clips of words


def transformer_cases(shared: Path, folder: Path) -> list[Case]:
    """The two transformers as files in `folder`; the words need `shared`."""
    pictures = Case(
        "vision transformer",
        folder / "vit.keras",
        lambda: {"x": garments("calibration")},
        lambda: {"x": garments("test")[:500]},
        ("scale=1/255",),
    )
    if not shared.is_dir():
        return [pictures]
    clips = _words(shared)["x"]
    mean, std = _statistics(clips)
    scaled = (f"mean={_listed(mean)}", f"std={_listed(std)}")
    words = Case(
        "keyword transformer",
        folder / "kwt.keras",
        lambda: {"x": clips[:_TRAINED]},
        lambda: {"x": clips[_TRAINED:]},
        scaled,
    )
    return [pictures, words]


def _words(shared: Path) -> Arrays:
    """Clips as cepstral coefficients [n, 49, 10], and their labels."""
    stored = np.load(shared / "kws" / _WORDS)
    return {"x": stored["x"][..., 0], "y": stored["y"]}


def _statistics(clips: Any) -> tuple[Any, Any]:
    """Mean and standard deviation of each coefficient in the clips for training."""
    return clips[:_TRAINED].mean((0, 1)), clips[:_TRAINED].std((0, 1))


def _listed(values: Any) -> str:
    return ":".join(f"{value:.4f}" for value in values)


def train(shared: Path, folder: Path) -> None:
    """Train those whose files are not in `folder`."""
    import keras

    if not (folder / "vit.keras").exists():
        keras.utils.set_random_seed(0)
        model = _vision_transformer()
        _fit(model, _pictures(shared), epochs=2)
        model.save(folder / "vit.keras")
    if shared.is_dir() and not (folder / "kwt.keras").exists():
        keras.utils.set_random_seed(0)
        model, clips = _keyword_transformer(), _words(shared)
        mean, std = _statistics(clips["x"])
        scaled = (clips["x"][:_TRAINED] - mean) / std
        _fit(model, {"x": scaled, "y": clips["y"][:_TRAINED]}, epochs=30)
        model.save(folder / "kwt.keras")


def _pictures(shared: Path) -> Arrays:
    """All of Fashion-MNIST's training pictures if the folder exists, or half of those that ship."""
    if shared.is_dir():
        arrays = read_idx(shared / "fashion_mnist", "train")
    else:
        import edgeq.models

        stored = np.load(edgeq.models.path("fashion_mnist_test.npz"))
        arrays = {name: stored[name][1000:] for name in ("x", "y")}
    return {"x": arrays["x"] / np.float32(255), "y": arrays["y"]}


def _vision_transformer(width: int = 48, blocks: int = 4) -> Any:
    import keras
    from keras import layers

    entry = keras.Input((28, 28, 1), name="x")
    patches = layers.Conv2D(width, 4, 4, name="patches")(entry)
    value = _positions(layers.Reshape((49, width))(patches), width)
    for _ in range(blocks):
        normal = layers.LayerNormalization(epsilon=1e-6)(value)
        value = value + layers.MultiHeadAttention(4, width // 4)(normal, normal)
        value = value + _perceptron(layers.LayerNormalization(epsilon=1e-6)(value), 2 * width)
    value = layers.LayerNormalization(epsilon=1e-6)(value)
    return keras.Model(entry, layers.Dense(10)(layers.GlobalAveragePooling1D()(value)))


def _keyword_transformer(width: int = 64, blocks: int = 12) -> Any:
    import keras
    from keras import layers

    entry = keras.Input((49, 10), name="x")
    value = _positions(layers.Dense(width)(entry), width)
    for _ in range(blocks):
        attended = layers.MultiHeadAttention(1, width)(value, value)
        value = layers.LayerNormalization(epsilon=1e-6)(value + attended)
        value = layers.LayerNormalization(epsilon=1e-6)(value + _perceptron(value, 4 * width))
    return keras.Model(entry, layers.Dense(12)(layers.GlobalAveragePooling1D()(value)))


def _positions(value: Any, width: int) -> Any:
    """Add a learned vector to each position: the bias of a layer with one per position."""
    from keras import layers

    shape = (value.shape[1], width)
    start = "random_normal"
    dense = layers.EinsumDense("abc,cd->abd", shape, bias_axes="bd", bias_initializer=start)
    return dense(value)


def _perceptron(value: Any, width: int) -> Any:
    from keras import layers

    return layers.Dense(value.shape[-1])(layers.Dense(width, activation="gelu")(value))


def _fit(model: Any, arrays: Arrays, epochs: int) -> None:
    import keras

    steps = epochs * -(-len(arrays["x"]) // 64)
    rate = keras.optimizers.schedules.CosineDecay(
        1e-5, steps, warmup_target=1e-3, warmup_steps=steps // 10
    )
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=1e-4, clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(arrays["x"], arrays["y"], batch_size=64, epochs=epochs, verbose=2)
