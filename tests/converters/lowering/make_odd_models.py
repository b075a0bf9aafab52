"""Make the odd model files that test_lowering.py reads: python make_odd_models.py FOLDER."""

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf


@keras.saving.register_keras_serializable("odd")
class Twice(keras.layers.Layer):
    def call(self, inputs):
        return inputs * 2


class Signatures(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, "x")])
    def double(self, x):
        return {"doubled": 2 * x}

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, "x")])
    def triple(self, x):
        return {"tripled": 3 * x}

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, "x")])
    def erfinv(self, x):
        return {"y": tf.math.erfinv(tf.clip_by_value(x, -0.9, 0.9))}


def main(folder: Path) -> None:
    keras.utils.set_random_seed(0)
    layers = keras.layers
    vector = keras.Input((4,), name="x")
    dense = keras.Model(vector, layers.Dense(3)(vector))
    keras.Model(vector, Twice()(vector)).save(folder / "custom.keras")
    for name in ("lambda.keras", "lambda.h5"):
        keras.Model(vector, layers.Lambda(lambda t: t * 2, name="twice")(vector)).save(
            folder / name
        )
    image = keras.Input((4, 4, 3), name="x")
    keras.Model(image, layers.RandomGrayscale(name="grey")(image)).save(folder / "random.keras")
    dense.save_weights(folder / "only.weights.h5")
    hidden = keras.Input((4,), name="_in")
    keras.Model(hidden, layers.Dense(3, name="_out")(hidden)).save(folder / "underscore.keras")
    ids = keras.Input((7,), dtype="int32", name="ids")
    pooled = layers.GlobalAveragePooling1D()(layers.Embedding(100, 32)(ids))
    keras.Model(ids, layers.Dense(3, activation="softmax")(pooled)).save(folder / "embedding.keras")
    left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    outputs = {"sum": layers.Add()([left, right]), "side": layers.Dense(2)(left)}
    keras.Model({"right": right, "left": left}, outputs).save(folder / "dictionary.keras")
    image = keras.Input((None, None, 3), name="image")
    seen = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3, activation="relu")(image))
    keras.Model(image, layers.Dense(5)(seen)).save(folder / "dynamic.keras")
    sizes = {"first": 4, "second": 3, "third": 2}
    chain = keras.Sequential([vector, *(layers.Dense(n, name=name) for name, n in sizes.items())])
    for layer in chain.layers[1:]:
        layer.bias.assign(layer.bias + np.nan)
    chain.save(folder / "diverged.keras")
    rows = keras.Input((None, 4), name="rows")
    keras.Model(rows, layers.Reshape((8,))(rows)).save(folder / "two_rows.keras")
    chain.save(folder / "diverged.h5")
    chain.export(folder / "diverged_saved", verbose=False)
    module = Signatures()
    both = {"double": module.double, "triple": module.triple}
    tf.saved_model.save(module, str(folder / "signatures"), signatures=both)
    tf.saved_model.save(
        module, str(folder / "erfinv"), signatures={"serving_default": module.erfinv}
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
