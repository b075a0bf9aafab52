"""Train scenes_detector.keras, a detector of garments in scenes; it takes raw pixels.

python -m edgeq.models.train_detector --fashion-mnist DIR

Each of 8 x 8 cells predicts one box and ten scores: [64, 14], centre and size in pixels, and
probabilities (`--decode boxes=cxcywh,unit=pixels`).
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from edgeq.models.scene_training import SceneRecipe, convolve, run
from edgeq.models.scenes import SIZE, Scene
from edgeq.models.training import CLASS_COUNT

_CELLS = 8
_STRIDE = SIZE // _CELLS
_SPAN = 2 * _STRIDE  # a centre may be half a cell outside its own


def build() -> keras.Model:
    """Six convolutions with SiLU and two heads; float32 [N, 64, 64, 3] of 0..255."""
    entry = keras.Input((SIZE, SIZE, 3), name="image")
    x = layers.Rescaling(1 / 255)(entry)
    sizes = ((16, 2), (32, 2), (32, 1), (48, 2), (48, 1), (64, 1))
    for number, (channels, stride) in enumerate(sizes):
        x = convolve(x, channels, stride, f"down{number}")
    boxes = layers.Conv2D(4, 1, activation="sigmoid", name="boxes")(x)
    boxes = layers.Reshape((_CELLS**2, 4))(boxes)
    corners = (np.arange(_CELLS) + 0.5) * _STRIDE - _SPAN / 2
    offsets = [[left, top, 0, 0] for top in corners.tolist() for left in corners.tolist()]
    boxes = layers.Rescaling([_SPAN, _SPAN, SIZE, SIZE], offsets)(boxes)
    rare = keras.initializers.Constant(-4)  # most cells have no object
    scores = layers.Conv2D(
        CLASS_COUNT, 1, activation="sigmoid", bias_initializer=rare, name="scores"
    )(x)
    scores = layers.Reshape((_CELLS**2, CLASS_COUNT))(scores)
    found = layers.Concatenate(name="found")([boxes, scores])
    return keras.Model(entry, found, name="scenes_detector")


def assign(scene: Scene) -> np.ndarray:
    """Give each box to the cell of its centre: [64, 14] as the model predicts them."""
    target = np.zeros((_CELLS, _CELLS, 4 + CLASS_COUNT), np.float32)
    for kind, *corners in scene.boxes[scene.boxes[:, 0] >= 0]:
        left, top, right, bottom = np.array(corners) * SIZE
        centre = (left + right) / 2, (top + bottom) / 2
        column, row = (int(value // _STRIDE) for value in centre)
        target[row, column] = [*centre, right - left, bottom - top, *np.zeros(CLASS_COUNT)]
        target[row, column, 4 + int(kind)] = 1
    return target.reshape(_CELLS**2, -1)


def loss(wanted: Any, found: Any) -> Any:
    """1 - IoU and the distance of the boxes of cells with objects, and cross-entropy of all."""
    has_object = ops.sum(wanted[..., 4:], -1)
    count = ops.maximum(ops.sum(has_object), 1)
    low = [box[..., :2] - box[..., 2:4] / 2 for box in (wanted, found)]
    high = [box[..., :2] + box[..., 2:4] / 2 for box in (wanted, found)]
    overlap = ops.prod(ops.relu(ops.minimum(*high) - ops.maximum(*low)), -1)
    areas = sum(ops.prod(box[..., 2:4], -1) for box in (wanted, found))
    far = ops.mean(ops.abs(wanted[..., :4] - found[..., :4]), -1) / _STRIDE
    of_boxes = has_object * (1 - overlap / (areas - overlap + 1e-6) + far)
    scores = ops.clip(found[..., 4:], 1e-6, 1 - 1e-6)
    entropy = ops.sum(ops.binary_crossentropy(wanted[..., 4:], scores))
    return (2 * ops.sum(of_boxes) + entropy) / count


RECIPE = SceneRecipe(
    "scenes_detector.keras",
    build,
    assign,
    loss,
    label=lambda scene: scene.boxes,
    metric="map",
    decode="boxes=cxcywh,unit=pixels",
    epochs=15,
)

if __name__ == "__main__":
    run(RECIPE)
