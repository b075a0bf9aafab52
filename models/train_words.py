"""Train the models of spoken words: a GRU, an LSTM, and a keyword transformer.

python -m edgeq.models.train_words words_gru

The transformer is that of Berg et al., "Keyword Transformer" (2021), with the mean over the
positions where the paper has a class token.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from edgeq.models.training import add_output
from edgeq.models.words import BANDS, FRAMES, WORDS, clips

_BATCH_SIZE = 64


@dataclass(frozen=True)
class WordsRecipe:
    """How one model comes about.

    Attributes:
        build: makes it, untrained and not compiled.
        epochs: passes over the training clips.
        learning_rate: at its highest; it rises during the first tenth of the steps and falls to 0
            along half a cosine.
    """

    build: Callable[[], keras.Model]
    epochs: int
    learning_rate: float


def build_gru() -> keras.Model:
    """Two GRU layers over the frames; float32 [N, 31, 20]."""
    return _classifier(
        "words_gru",
        lambda clip: layers.GRU(64)(
            layers.Dropout(0.2)(layers.GRU(96, return_sequences=True)(clip))
        ),
    )


def build_lstm() -> keras.Model:
    """A two-way LSTM layer and another one over the frames; float32 [N, 31, 20]."""
    both = layers.Bidirectional(layers.LSTM(48, return_sequences=True))
    return _classifier("words_lstm", lambda clip: layers.LSTM(64)(layers.Dropout(0.2)(both(clip))))


def build_transformer(width: int = 48, blocks: int = 4) -> keras.Model:
    """A transformer over the frames, which normalizes after each part; float32 [N, 31, 20]."""

    def body(clip: Any) -> Any:
        value = layers.Dense(width)(clip)
        positions = layers.EinsumDense(
            "abc,cd->abd", (FRAMES, width), bias_axes="bd", bias_initializer="random_normal"
        )
        value = positions(value)
        for _ in range(blocks):
            attended = layers.MultiHeadAttention(2, width // 2, dropout=0.1)(value, value)
            value = layers.LayerNormalization(epsilon=1e-6)(value + attended)
            inner = layers.Dense(2 * width, activation="gelu")(value)
            added = layers.Dropout(0.1)(layers.Dense(width)(inner))
            value = layers.LayerNormalization(epsilon=1e-6)(value + added)
        return layers.GlobalAveragePooling1D()(value)

    return _classifier("words_transformer", body)


def _classifier(name: str, body: Callable[[Any], Any]) -> keras.Model:
    clip = keras.Input((FRAMES, BANDS), name="clip")
    value = layers.Dropout(0.3)(body(layers.GaussianNoise(0.5)(clip)))
    found = layers.Dense(len(WORDS), activation="softmax", name="word")(value)
    return keras.Model(clip, found, name=name)


RECIPES = {
    "words_gru": WordsRecipe(build_gru, 16, 3e-3),
    "words_lstm": WordsRecipe(build_lstm, 26, 4e-3),
    "words_transformer": WordsRecipe(build_transformer, 36, 2e-3),
}


def train(recipe: WordsRecipe) -> keras.Model:
    """Build and fit a model; it is not compiled."""
    keras.utils.set_random_seed(0)
    model = recipe.build()
    features, labels = clips("train")
    # Compiling another model around the same layers keeps the optimizer out of the saved one.
    trainee = keras.Model(model.inputs, model.outputs)
    steps = recipe.epochs * -(-len(features) // _BATCH_SIZE)
    rate = keras.optimizers.schedules.CosineDecay(
        1e-5, steps - steps // 10, warmup_target=recipe.learning_rate, warmup_steps=steps // 10
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=1e-3, clipnorm=1.0)
    trainee.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    trainee.fit(features, labels, batch_size=_BATCH_SIZE, epochs=recipe.epochs, verbose=2)
    return model


def main() -> None:
    """Be the command line: train, measure on the test clips, save."""
    parser = argparse.ArgumentParser(description="Train a model of spoken words.")
    parser.add_argument("name", choices=RECIPES)
    add_output(parser)
    arguments = parser.parse_args()
    model = train(RECIPES[arguments.name])
    features, labels = clips("test")
    found = model.predict(features, batch_size=500, verbose=0).argmax(-1)
    target = arguments.output / f"{arguments.name}.keras"
    model.save(target)
    correct = (found == labels).mean()
    print(f"{target}: {model.count_params():,} parameters, {correct:.2%} of the test clips")


if __name__ == "__main__":
    main()
