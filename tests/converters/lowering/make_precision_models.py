"""Make models of half and double precision: python make_precision_models.py FOLDER."""

import sys
from pathlib import Path

import keras
import numpy as np

# The kinds of file by dtype policy.
POLICIES = {
    "mixed_float16": ("keras", "h5"),
    "bfloat16": ("keras", "saved"),
    "float64": ("h5", "saved"),
}


def build(policy: str, *, unrolled: bool = False) -> keras.Model:
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    layers = keras.layers
    image = keras.Input((8, 8, 3), name="image")
    inside = keras.Input((6, 6, 8))
    nested = keras.Model(inside, layers.BatchNormalization()(layers.Conv2D(8, 3)(inside)))
    seen = nested(layers.Conv2D(8, 3, activation="relu")(image))
    steps = layers.GRU(6, unroll=unrolled, recurrent_initializer="normal")(
        layers.Reshape((4, 32))(seen)
    )
    model = keras.Model(image, layers.Dense(4, activation="softmax", dtype="float32")(steps))
    keras.config.set_dtype_policy("float32")
    return model


def main(folder: Path) -> None:
    plain = build("float32")
    samples = np.random.default_rng(0).normal(0, 1, (6, 8, 8, 3)).astype("f4")
    for policy, kinds in POLICIES.items():
        model = build(policy)
        # The weights as they are stored, computed with in float32.
        plain.set_weights([np.asarray(weight).astype("f4") for weight in model.get_weights()])
        np.savez(folder / f"{policy}.npz", x=samples, y=plain.predict(samples, verbose=0))
        for kind in kinds:
            if kind == "saved":
                # TensorFlow Lite cannot lower the loop of a SavedModel.
                build(policy, unrolled=True).export(folder / f"{policy}.saved", verbose=False)
            else:
                model.save(folder / f"{policy}.{kind}")
        if policy == "bfloat16":
            model.export(folder / "loop.saved", verbose=False)
    vector = keras.Input((3,), dtype="float16", name="x")
    rounded = vector + 8192.0
    keras.Model(vector, rounded - 8192.0).save(folder / "overwhelmed.keras")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
