"""Models without declared inputs, in the form that users import with --custom-objects."""

import keras

register = keras.saving.register_keras_serializable("tests")


@register
class Pair(keras.Model):
    """Takes a dict: indices of an embedding, and values."""

    def __init__(self, **options):
        super().__init__(**options)
        self.embedding = keras.layers.Embedding(10, 8)
        self.pool = keras.layers.GlobalAveragePooling1D()
        self.side = keras.layers.Dense(8, activation="relu")
        self.dropout = keras.layers.Dropout(0.5)
        self.end = keras.layers.Dense(3)

    def call(self, inputs, training=False):
        joined = self.pool(self.embedding(inputs["ids"])) + self.side(inputs["values"])
        return {"scores": self.end(self.dropout(joined, training=training)), "side": joined}


@register
class Picture(keras.Model):
    """Takes images of any size, in raw pixels."""

    def __init__(self, **options):
        super().__init__(**options)
        self.scale = keras.layers.Rescaling(1 / 255)
        self.conv = keras.layers.Conv2D(4, 3, activation="relu")
        self.pool = keras.layers.GlobalAveragePooling2D()

    def call(self, pixels):
        return self.pool(self.conv(self.scale(pixels)))


@register
class Siblings(keras.Model):
    """Takes two separate tensors."""

    def __init__(self, **options):
        super().__init__(**options)
        self.first = keras.layers.Dense(2)

    def call(self, left, right):
        return self.first(left) + right
